"""The outbox keeps every alert until Telegram has taken it or refused it for good."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibloop.adapters.ledger import alerts, audit, check
from ibloop.adapters.ledger.connection import IntegrityError, Ledger
from ibloop.core.alerting import AlertState

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"  # noqa: S105  (the form of one, no more)


@pytest.fixture
def three(ledger: Ledger, make: Any) -> Ledger:
    """Return a ledger with three waiting alerts, a second apart."""
    with ledger.transaction() as tx:
        for number in (1, 2, 3):
            alerts.raise_alert(
                tx, "warning", "run.blocked", "r1", f"text {number}", None, make.at(number)
            )
    return ledger


def ids(found: tuple[alerts.Alert, ...]) -> list[int]:
    """Return the ids, in order."""
    return [alert.alert_id for alert in found]


def test_what_waits_comes_oldest_first(three: Ledger, make: Any) -> None:
    """In the order in which it happened, as many as asked for."""
    assert ids(alerts.waiting(three.db, 99)) == [1, 2, 3]
    assert ids(alerts.waiting(three.db, 2)) == [1, 2]
    assert ids(alerts.listing(three.db, 99)) == [3, 2, 1]


def test_a_delivered_alert_waits_no_more(three: Ledger, make: Any) -> None:
    """When, and that there was no error in the end; one audit row for all of a message."""
    with three.transaction() as tx:
        alerts.mark_failed(tx, [1], "no network", make.at(12), make.at(10))
        alerts.mark_delivered(tx, [2, 1], make.at(20), "alerts")
    assert ids(alerts.waiting(three.db, 99)) == [3]
    first = alerts.listing(three.db, 99)[-1]
    assert (first.delivered_at, first.attempts, first.last_error) == (make.at(20), 2, None)
    assert first.state is AlertState.DELIVERED
    assert alerts.last_delivered_at(three.db) == make.at(20)
    (row,) = audit.rows(three.db, 1)
    assert (row.actor, row.event, row.subject) == ("alerts", "alert.delivered", "1")
    assert row.payload == {"alert_ids": [1, 2]}


def test_a_failed_attempt_is_counted_and_still_waits(three: Ledger, make: Any) -> None:
    """Its reason and the next try are kept; the audit log is not filled with attempts."""
    before = audit.rows(three.db, 99)
    for attempt in (1, 2):
        with three.transaction() as tx:
            alerts.mark_failed(tx, [1], f"no network {attempt}", make.at(99), make.at(10))
    (first, *_) = alerts.waiting(three.db, 1)
    assert (first.attempts, first.last_error) == (2, "no network 2")
    assert first.next_try_at == make.at(99)
    assert audit.rows(three.db, 99) == before


def test_a_dead_alert_is_kept_but_not_tried(three: Ledger, make: Any) -> None:
    """It is listed as undelivered with its reason, and told in the audit log."""
    with three.transaction() as tx:
        alerts.mark_dead(tx, [2], "message is too long", make.at(20), "alerts")
        alerts.mark_delivered(tx, [3], make.at(21), "alerts")
    assert ids(alerts.waiting(three.db, 99)) == [1]
    assert ids(alerts.listing(three.db, 99, undelivered=True)) == [2, 1]
    assert ids(alerts.listing(three.db, 1, undelivered=True)) == [2]
    dead = alerts.listing(three.db, 99)[1]
    assert (dead.state, dead.last_error) == (AlertState.DEAD, "message is too long")
    assert "alert.died" in [row.event for row in audit.rows(three.db, 3)]


def test_how_far_delivery_is_behind(three: Ledger, make: Any) -> None:
    """How many wait, since when, and who died lately."""
    assert alerts.backlog(three.db, make.at(0)) == alerts.Backlog(3, make.at(1), None)
    with three.transaction() as tx:
        alerts.mark_dead(tx, [1], "bad", make.at(20), "alerts")
    found = alerts.backlog(three.db, make.at(0))
    assert (found.undelivered, found.oldest_at) == (2, make.at(2))
    assert found.last_dead is not None
    assert found.last_dead.alert_id == 1
    assert alerts.backlog(three.db, make.at(0) + timedelta(days=1)).last_dead is None
    with three.transaction() as tx:
        alerts.mark_delivered(tx, [2, 3], make.at(21), "alerts")
    assert alerts.backlog(three.db, make.at(30)) == alerts.Backlog(0, None, None)


def test_an_empty_outbox(ledger: Ledger, make: Any) -> None:
    """Nothing waits, nothing was delivered, nothing was told."""
    assert alerts.waiting(ledger.db, 9) == ()
    assert alerts.backlog(ledger.db, make.at(0)) == alerts.Backlog(0, None, None)
    assert alerts.last_delivered_at(ledger.db) is None
    assert alerts.last_event(ledger.db, ["gateway.lost"]) is None


def test_the_last_of_several_events_is_found(ledger: Ledger, make: Any) -> None:
    """Whatever else was raised in between."""
    with ledger.transaction() as tx:
        for event in ("gateway.lost", "gateway.back", "guard.lost"):
            alerts.raise_alert(tx, "info", event, "", event, None, make.at(1))
    assert alerts.last_event(ledger.db, ["gateway.lost", "gateway.back"]) == "gateway.back"
    assert alerts.last_event(ledger.db, ["stream.lost"]) is None


def test_no_token_gets_into_the_ledger(three: Ledger, make: Any) -> None:
    """Neither in an alert's text nor in the reason of a failure, nor by way of the audit log."""
    with three.transaction() as tx:
        url = f"https://api.telegram.org/bot{TOKEN}/sendMessage"
        alerts.raise_alert(tx, "info", "unit.failed", "", f"GET {url}", None, make.at(4))
        alerts.mark_failed(tx, [1], url, make.at(5), make.at(5))
        alerts.mark_dead(tx, [2], url, make.at(5), "alerts")
    three.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert TOKEN.partition(":")[2].encode() not in three.path.read_bytes()


def test_delivered_and_dead_exclude_each_other(three: Ledger, make: Any) -> None:
    """The schema knows it too."""
    with three.transaction() as tx:
        alerts.mark_dead(tx, [1], "bad", make.at(20), "alerts")
    with pytest.raises(IntegrityError), three.transaction() as tx:
        alerts.mark_delivered(tx, [1], make.at(21), "alerts")
    assert check.check(three.db) == ()


def acknowledge(ledger: Ledger, make: Any, *alert_ids: int, at_s: float = 30) -> tuple[int, ...]:
    """Acknowledge as Ann does and return which were fresh."""
    with ledger.transaction() as tx:
        return alerts.acknowledge(tx, alert_ids, "read it", make.at(at_s), "ann")


def test_an_acknowledged_alert_waits_no_more(three: Ledger, make: Any) -> None:
    """Waiting or dead: who has read it need not be told again; who, when and why are kept."""
    with three.transaction() as tx:
        alerts.mark_dead(tx, [2], "bad", make.at(20), "alerts")
    assert acknowledge(three, make, 2, 1) == (1, 2)
    assert ids(alerts.waiting(three.db, 99)) == [3]
    assert alerts.waiting_count(three.db) == 1
    assert ids(alerts.listing(three.db, None, undelivered=True)) == [3]
    assert alerts.backlog(three.db, make.at(0)) == alerts.Backlog(1, make.at(3), None)
    first = alerts.named(three.db, [1])[1]
    assert (first.state, first.acknowledged_at, first.acknowledged_by, first.next_try_at) == (
        *(AlertState.ACKNOWLEDGED, make.at(30), "ann"),
        None,
    )
    (row,) = audit.rows(three.db, 1)
    assert (row.actor, row.event, row.subject) == ("ann", "alert.acknowledged", "1")
    assert row.payload == {"alert_ids": [1, 2], "reason": "read it"}
    assert check.check(three.db) == ()


def test_the_first_acknowledgement_counts(three: Ledger, make: Any) -> None:
    """A second one changes nothing and is not told; the rest of its call is."""
    acknowledge(three, make, 1)
    before = audit.rows(three.db, 99)
    with three.transaction() as tx:
        assert alerts.acknowledge(tx, [1], None, make.at(40), "bob") == ()
    assert audit.rows(three.db, 99) == before
    assert acknowledge(three, make, 1, 2) == (2,)
    assert alerts.named(three.db, [1])[1].acknowledged_at == make.at(30)


@pytest.mark.parametrize("fate", ["waits", "dead", "dead long ago"])
def test_what_somebody_has_read_blocks_nothing(ledger: Ledger, make: Any, fate: str) -> None:
    """A critical alert that reached nobody counts until it is acknowledged, a dead one a while."""
    with ledger.transaction() as tx:
        alerts.raise_alert(tx, "critical", "order.unknown", "", "lost", None, make.at(1))
        if fate != "waits":
            alerts.mark_dead(tx, [1], "bad", make.at(5), "alerts")
    dead_since = make.at(6 if fate == "dead long ago" else 5)
    expected = None if fate == "dead long ago" else make.at(1)
    assert alerts.undelivered_since(ledger.db, dead_since) == expected
    acknowledge(ledger, make, 1)
    assert alerts.undelivered_since(ledger.db, dead_since) is None


def test_those_that_there_are_are_found_by_number(three: Ledger, make: Any) -> None:
    """Whatever number is asked for, also one that no ledger could hold."""
    assert list(alerts.named(three.db, [3, 99, 1, 0, -1, 2**63, 10**400])) == [1, 3]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE alerts SET acknowledged_at = '2026-11-20T15:30:00.000Z' WHERE alert_id = 2",
        "UPDATE alerts SET acknowledged_by = 'ann' WHERE alert_id = 2",
        "UPDATE alerts SET acknowledged_by = '', acknowledged_at = created_at WHERE alert_id = 2",
        "UPDATE alerts SET acknowledged_by = NULL, acknowledged_at = NULL WHERE alert_id = 1",
        "UPDATE alerts SET acknowledged_by = 'bob' WHERE alert_id = 1",
    ],
)
def test_an_acknowledgement_is_whole_and_never_changed(three: Ledger, make: Any, sql: str) -> None:
    """The schema knows it too."""
    acknowledge(three, make, 1)
    with pytest.raises(IntegrityError), three.transaction() as tx:
        tx.execute(sql)


STEPS = st.lists(
    st.tuples(st.sampled_from(["acknowledged", "delivered", "failed", "dead"]), st.integers(1, 3)),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(steps=STEPS)
def test_every_view_agrees_on_who_still_has_to_be_told(
    ledger: Ledger, make: Any, steps: list[tuple[str, int]]
) -> None:
    """In whatever order people and Telegram answer; a delivery under way is noted all the same."""
    with ledger.transaction() as tx:
        raised = [
            alerts.raise_alert(tx, "critical", "a.b", "", "text", None, make.at(1))
            for _ in range(3)
        ]
    facts: dict[int, set[str]] = {int(number or 0): set() for number in raised}
    with ledger.transaction() as tx:
        for what, index in steps:
            number = int(raised[index - 1] or 0)
            if what == "acknowledged":
                fresh = alerts.acknowledge(tx, [number], None, make.at(9), "ann")
                assert bool(fresh) is (what not in facts[number])
            elif facts[number] & {"delivered", "dead"}:
                continue  # the sender tries nothing that has come to its end
            elif what == "delivered":
                alerts.mark_delivered(tx, [number], make.at(9), "alerts")
            elif what == "dead":
                alerts.mark_dead(tx, [number], "bad", make.at(9), "alerts")
            else:
                alerts.mark_failed(tx, [number], "no network", make.at(20), make.at(9))
            facts[number].add(what)
    expected = {number: _state(done) for number, done in facts.items()}
    rows = alerts.named(ledger.db, facts)
    assert {number: row.state for number, row in rows.items()} == expected
    for number, done in facts.items():
        row = rows[number]
        assert (row.delivered_at is not None, row.dead_at is not None) == (
            "delivered" in done,
            "dead" in done,
        )
        assert (row.next_try_at is not None) is (row.state is AlertState.WAITING)
    waits = [n for n, state in expected.items() if state is AlertState.WAITING]
    dead = [n for n, state in expected.items() if state is AlertState.DEAD]
    assert [i for i in ids(alerts.waiting(ledger.db, 999)) if i in facts] == waits
    listed = ids(alerts.listing(ledger.db, None, undelivered=True))
    assert sorted(i for i in listed if i in facts) == sorted([*waits, *dead])


def _state(done: set[str]) -> AlertState:
    if "acknowledged" in done:
        return AlertState.ACKNOWLEDGED
    if "delivered" in done:
        return AlertState.DELIVERED
    return AlertState.DEAD if "dead" in done else AlertState.WAITING


def test_a_token_in_a_reason_is_not_kept(three: Ledger, make: Any) -> None:
    """People paste errors, and errors have had addresses in them."""
    with three.transaction() as tx:
        alerts.acknowledge(tx, [1], f"GET /bot{TOKEN}/getMe", make.at(30), "ann")
    assert TOKEN not in json.dumps(audit.rows(three.db, 1)[0].payload)

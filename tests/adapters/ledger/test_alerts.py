"""The outbox keeps every alert until Telegram has taken it or refused it for good."""

from datetime import timedelta
from typing import Any

import pytest

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

"""The sender of the outbox: in order, at least once, and no bad message holds up the rest."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.ledger import alerts, audit
from ibloop.adapters.ledger.connection import Ledger, LedgerBusyError, open_ledger
from ibloop.core.alerting import AlertState, Part
from ibloop.core.delivery import DEAD_IN_A_ROW_MAX, TRIES_MAX, Outcome, Reply
from ibloop.core.model import Mode
from ibloop.daemons.alert_sender import AlertSender, ThreadCourier
from tests.fakes.clock import FakeClock
from tests.fakes.courier import FakeCourier


class World:
    """A ledger, a courier and a clock, with one sender between them."""

    def __init__(self, ledger: Ledger) -> None:
        """Begin with an empty outbox."""
        self.ledger = ledger
        self.clock = FakeClock()
        self.courier = FakeCourier()
        self.restart()

    def restart(self) -> None:
        """Begin anew with the sender, as after a kill."""
        self.courier.forget()
        self.sender = AlertSender(self.ledger, self.courier, self.clock, 7, "paper (paper ...567)")

    def raise_one(self, text: str = "no prices", severity: str = "warning") -> int:
        """Put an alert into the outbox."""
        with self.ledger.transaction() as tx:
            found = alerts.raise_alert(
                tx, severity, "run.blocked", "r1", text, None, self.clock.now().utc
            )
        assert found is not None
        return found

    def pass_s(self, seconds: float) -> list[str]:
        """Let time pass in quarters of a second, a step after each; return what was sent."""
        before = len(self.courier.sent)
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
            self.sender.step()
        return self.courier.texts[before:]

    def states(self) -> list[AlertState]:
        """Return the state of each alert, oldest first."""
        return [alert.state for alert in reversed(alerts.listing(self.ledger.db, 99))]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Return a new ledger."""
    path = tmp_path / "ibloop.db"
    opened = open_ledger(path, mode=Mode.PAPER, account="DU1234567", now=FakeClock().now().utc)
    yield opened
    opened.close()


@pytest.fixture
def world(ledger: Ledger) -> World:
    """Return a world whose outbox is empty."""
    return World(ledger)


WAITING, DELIVERED, DEAD = AlertState.WAITING, AlertState.DELIVERED, AlertState.DEAD


def test_alerts_go_in_order_one_a_second(world: World) -> None:
    """The oldest first, never two within a second, marked when Telegram has answered."""
    for number in range(4):
        world.raise_one(f"text {number}")
    sent_s = [world.clock.now().boottime_ns / 1e9 for _ in range(40) if world.pass_s(0.25)]
    assert [f"text {n}" in text for n, text in enumerate(world.courier.texts)] == [True] * 4
    assert all(later - earlier >= 1 for earlier, later in pairwise(sent_s))
    assert world.states() == [DELIVERED] * 4
    assert world.sender.last_delivered_at is not None


def test_infos_are_silent_the_rest_is_not(world: World) -> None:
    """As the severity says, in HTML."""
    world.raise_one("a", "info")
    world.raise_one("b", "critical")
    world.pass_s(5)
    assert [(as_html, silent) for _, as_html, silent in world.courier.sent] == [
        (True, True),
        (True, False),
    ]


def test_nothing_is_marked_before_the_answer(world: World) -> None:
    """A crash in between repeats the message: at least once."""
    world.raise_one()
    world.courier.is_slow = True
    assert len(world.pass_s(30)) == 1
    assert world.states() == [WAITING]
    world.restart()
    world.courier.is_slow = False
    assert len(world.pass_s(5)) == 1
    assert world.states() == [DELIVERED]
    assert world.courier.texts[0] == world.courier.texts[1]


def test_the_end_waits_a_moment_for_the_answer(world: World) -> None:
    """What did arrive is then not repeated by the next start; nothing new is begun."""
    world.raise_one()
    world.raise_one()
    world.courier.is_slow = True
    world.pass_s(1)
    world.sender.finish(2.0)
    assert world.states() == [DELIVERED, WAITING]
    assert len(world.courier.sent) == 1


def test_too_many_requests_wait_exactly_as_long_as_told(world: World) -> None:
    """Telegram's number and no other; then the same message again."""
    world.raise_one()
    world.courier.planned = [Reply(Outcome.SLOW_DOWN, "429", retry_after_s=37.0)]
    assert len(world.pass_s(0.5)) == 1
    assert world.pass_s(36.5) == []
    assert len(world.pass_s(0.75)) == 1
    assert world.states() == [DELIVERED]


def test_a_ban_outlives_a_restart(world: World) -> None:
    """The next try is in the ledger, so a new process does not hammer."""
    world.raise_one()
    world.courier.planned = [Reply(Outcome.SLOW_DOWN, "429", retry_after_s=100.0)]
    world.pass_s(1)
    world.restart()
    assert world.pass_s(90) == []
    assert len(world.pass_s(15)) == 1


def test_a_clock_set_back_does_not_silence_a_restart(world: World) -> None:
    """After a restart the pause is known by the wall clock only: at most an hour of it counts."""
    world.raise_one()
    world.courier.planned = [Reply(Outcome.SLOW_DOWN, "429", retry_after_s=100.0)]
    world.pass_s(1)
    world.clock.step_wall(-86_400 * 30)
    world.restart()
    assert len(world.pass_s(3601)) == 1


@pytest.mark.parametrize("outcome", [Outcome.UNREACHABLE, Outcome.BAD_CHANNEL])
def test_an_outage_delays_and_loses_nothing(world: World, outcome: Outcome) -> None:
    """Ever longer waits up to five minutes; then everything, in order. Nothing dies of it."""
    for number in range(3):
        world.raise_one(f"text {number}")
    world.courier.planned = [Reply(outcome, "no network")] * 12
    tried = world.pass_s(3600)
    assert len(tried) > 12
    assert all("text 0" in text for text in tried[:13])
    assert world.states() == [DELIVERED] * 3
    assert world.sender.trouble == ""


def test_an_outage_is_told_with_its_reason(world: World) -> None:
    """In the daemon's status and in the alert's row; one success clears it."""
    world.raise_one()
    world.courier.planned = [Reply(Outcome.BAD_CHANNEL, "Telegram answers 401: Unauthorized")]
    world.pass_s(1)
    assert world.sender.trouble == "Telegram answers 401: Unauthorized"
    (head,) = alerts.waiting(world.ledger.db, 1)
    assert (head.attempts, head.last_error) == (1, "Telegram answers 401: Unauthorized")
    world.pass_s(5)
    assert world.sender.trouble == ""


def test_broken_html_goes_as_plain_text(world: World) -> None:
    """Once more, without the form; then it is delivered."""
    world.raise_one("1 < 2")
    world.courier.planned = [Reply(Outcome.UNFORMATTED, "can't parse entities")]
    world.pass_s(5)
    (first, second) = world.courier.sent
    assert (first[1], second[1]) == (True, False)
    assert "1 &lt; 2" in first[0]
    assert "1 < 2" in second[0]
    assert "<b>" not in second[0]
    assert world.states() == [DELIVERED]


def test_a_bad_message_holds_nobody_up(world: World) -> None:
    """It dies with its reason kept; those behind it go at once."""
    for text in ("good", "poison", "also good"):
        world.raise_one(text)
    world.courier.refused = "poison"
    world.pass_s(10)
    assert world.states() == [DELIVERED, DEAD, DELIVERED]
    dead = alerts.listing(world.ledger.db, 99, undelivered=True)
    assert [alert.last_error for alert in dead] == ["Telegram answers 400: no"]


def test_plain_text_that_is_refused_too_dies(world: World) -> None:
    """There is no third form."""
    world.raise_one()
    world.raise_one()
    world.courier.planned = [Reply(Outcome.UNFORMATTED, "can't parse")] * 2
    world.pass_s(10)
    assert world.states() == [DEAD, DELIVERED]


def test_a_row_of_refusals_is_doubted_but_blocks_nothing_for_ever(world: World) -> None:
    """After three deaths in a row each message gets five tries, with the back-off between."""
    for _ in range(DEAD_IN_A_ROW_MAX + 1):
        world.raise_one("poison")
    world.raise_one("good")
    world.courier.refused = "poison"
    world.pass_s(10)
    assert world.states() == [DEAD] * DEAD_IN_A_ROW_MAX + [WAITING, WAITING]
    assert world.sender.trouble != ""
    world.pass_s(300)
    assert world.states() == [DEAD] * (DEAD_IN_A_ROW_MAX + 1) + [DELIVERED]
    last_dead = alerts.listing(world.ledger.db, 99, undelivered=True)[0]
    assert last_dead.attempts == TRIES_MAX


def test_refusals_between_deliveries_are_no_row(world: World) -> None:
    """A delivery proves the channel: every bad message after it dies at once again."""
    for _ in range(DEAD_IN_A_ROW_MAX + 2):
        world.raise_one("poison")
        world.raise_one("good")
    world.courier.refused = "poison"
    world.pass_s(4 * (DEAD_IN_A_ROW_MAX + 2))
    assert world.states() == [DEAD, DELIVERED] * (DEAD_IN_A_ROW_MAX + 2)


def test_long_texts_go_in_parts_and_are_delivered_with_the_last(world: World) -> None:
    """A part that fails is tried again, not those before it."""
    world.raise_one("x" * 9000)
    world.raise_one("after")
    delivered = Reply(Outcome.DELIVERED)
    world.courier.planned = [delivered, Reply(Outcome.UNREACHABLE, "no network"), delivered]
    sent = world.pass_s(3.5)
    assert world.states() == [WAITING, WAITING]
    sent += world.pass_s(10)
    numbers = [text.splitlines()[0][-5:] for text in sent]
    assert numbers == ["(1/3)", "(2/3)", "(2/3)", "(3/3)", "ocked"]
    assert world.states() == [DELIVERED] * 2


def test_a_burst_of_infos_is_one_message(world: World) -> None:
    """Twenty infos waiting are delivered by one digest, before the warning behind them."""
    for number in range(20):
        world.raise_one(f"run {number} done", "info")
    world.raise_one("a warning")
    sent = world.pass_s(10)
    assert len(sent) == 2
    assert sent[0].startswith("<b>20 ALERTS</b>")
    assert "a warning" in sent[1]
    assert world.states() == [DELIVERED] * 21


def test_a_bad_info_does_not_take_a_digest_with_it(world: World) -> None:
    """A digest that is refused is taken apart: only the one to blame dies."""
    for number in range(12):
        world.raise_one("poison" if number == 5 else f"run {number} done", "info")
    world.courier.refused = "poison"
    world.pass_s(60)
    assert world.states() == [DELIVERED] * 5 + [DEAD] + [DELIVERED] * 6


def test_a_busy_ledger_costs_no_reply(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is kept until it can be written down: the message is not sent again."""
    world.raise_one()
    busy = LedgerBusyError("somebody holds the gate")

    def refuse() -> Any:
        raise busy

    with monkeypatch.context() as patch:
        patch.setattr(world.ledger, "transaction", refuse)
        for _ in range(3):
            with suppress(LedgerBusyError):
                world.pass_s(1)
    assert world.states() == [WAITING]
    world.pass_s(1)
    assert world.states() == [DELIVERED]
    assert len(world.courier.sent) == 1


def test_a_thread_that_dies_is_an_attempt_that_failed() -> None:
    """Nothing waits for ever for a reply that cannot come."""
    hook, threading.excepthook = threading.excepthook, lambda _: None

    class Broken:
        def send(self, text: str, *, as_html: bool, silent: bool) -> Reply:  # noqa: ARG002
            """End the thread."""
            raise SystemExit

    courier = ThreadCourier(Broken(), lambda: None)
    assert courier.take() is None
    courier.begin(Part("a", "a"), as_html=True, silent=False)
    courier.wait(60.0)
    reply = courier.take()
    threading.excepthook = hook
    assert reply is not None
    assert reply.outcome is Outcome.UNREACHABLE


# --- what a person has read


def acknowledge(world: World, *alert_ids: int) -> None:
    """Say that somebody has read these."""
    with world.ledger.transaction() as tx:
        alerts.acknowledge(tx, alert_ids, None, world.clock.now().utc, "ann")


READ = AlertState.ACKNOWLEDGED


def test_what_has_been_read_is_not_sent(world: World) -> None:
    """Before it has left; those behind it go."""
    for text in ("read", "unread"):
        world.raise_one(text)
    acknowledge(world, 1)
    assert [text.splitlines()[1] for text in world.pass_s(5)] == ["unread"]
    assert world.states() == [READ, DELIVERED]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(Outcome.DELIVERED, message_id=1),
        Reply(Outcome.UNREACHABLE, "no network"),
        Reply(Outcome.SLOW_DOWN, "429", retry_after_s=5.0),
        Reply(Outcome.BAD_CHANNEL, "401"),
        Reply(Outcome.BAD_MESSAGE, "400"),
        Reply(Outcome.UNFORMATTED, "can't parse"),
    ],
)
def test_what_is_read_while_it_is_sent_is_told_as_it_was(world: World, reply: Reply) -> None:
    """The answer is written down whatever it is, and nothing of it is sent again."""
    world.raise_one("under way")
    world.courier.planned = [reply]
    world.courier.is_slow = True
    assert len(world.pass_s(1)) == 1
    acknowledge(world, 1)
    world.raise_one("behind it")
    world.courier.is_slow = False
    assert [text.splitlines()[1] for text in world.pass_s(30)] == ["behind it"]
    assert world.states() == [READ, DELIVERED]
    row = alerts.named(world.ledger.db, [1])[1]
    is_delivered = reply.outcome is Outcome.DELIVERED
    assert (row.delivered_at is not None) is is_delivered
    assert (row.dead_at is not None) is (reply.outcome is Outcome.BAD_MESSAGE)
    is_noted = reply.outcome is not Outcome.UNFORMATTED  # the same attempt in another form
    assert (row.attempts, row.next_try_at) == (int(is_noted), None)
    told = [r.event for r in audit.rows(world.ledger.db, 99) if r.subject == "1"]
    assert ("alert.delivered" in told) is is_delivered


def test_the_rest_of_what_has_been_read_is_not_sent(world: World) -> None:
    """Neither its further parts, nor a digest that has failed: what is left of that goes."""
    world.raise_one("x" * 9000)
    assert len(world.pass_s(0.5)) == 1
    acknowledge(world, 1)
    assert world.pass_s(5) == []
    for number in range(12):
        world.raise_one(f"news {number}", "info")
    world.courier.planned = [Reply(Outcome.UNREACHABLE, "no network")]
    assert len(world.pass_s(0.5)) == 1
    acknowledge(world, 2)
    (sent,) = world.pass_s(10)
    assert sent.startswith("<b>11 ALERTS</b>")
    assert "news 0" not in sent
    assert world.states() == [READ, READ] + [DELIVERED] * 11


def test_a_doubted_message_is_counted_by_its_own_tries(world: World) -> None:
    """Reading it while it is refused spends none of the tries of the one behind it."""
    for _ in range(DEAD_IN_A_ROW_MAX + 2):
        world.raise_one("poison")
    world.courier.refused = "poison"
    world.pass_s(5)
    doubted = DEAD_IN_A_ROW_MAX + 1
    assert world.states()[doubted - 1] is WAITING
    acknowledge(world, doubted)
    world.pass_s(400)
    assert alerts.named(world.ledger.db, [doubted + 1])[doubted + 1].attempts == TRIES_MAX

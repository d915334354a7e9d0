"""A claimed run waits for prices that are a moment away: bounded, told, and never in the way."""

from dataclasses import replace
from datetime import time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import audit
from ibloop.config import Config
from ibloop.core.gates import Gate
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import HaltLevel, MarketDataType, Position
from ibloop.core.retrying import Retry
from ibloop.core.unusable import FileFault, Unusable
from ibloop.core.windows import Recurring
from tests.fakes.house import House

D = Decimal
WAIT_S = 20.0
NEW = Unusable(FileFault.UNSUBSCRIBED, "the stream is not subscribed to EEE: all 4 lines are taken")


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house whose stream has no line for EEE yet, and a run queued for it."""
    made = House(tmp_path, execution={"quote_wait_s_max": WAIT_S})
    made.settle()
    without_eee(made)
    made.queue()
    return made


def without_eee(house: House) -> None:
    """Take the price of EEE away, as it is before the stream has subscribed it."""
    house.quotes.missing.add("EEE")
    house.quotes.causes["EEE"] = NEW


def subscribe(house: House) -> None:
    """Let the stream bring the price."""
    house.quotes.missing.clear()
    house.quotes.causes.clear()


def preparing_only(house: House) -> bool:
    """Return whether the run waits, with nothing planned."""
    return house.run().status is RunState.PREPARING and not house.orders()


def preparing(house: House) -> bool:
    """Return whether the run waits, and nothing was ever sent."""
    return preparing_only(house) and not house.sent()


def described(house: House) -> list[str]:
    """Return what was said of the run while it was preparing, oldest first."""
    rows = audit.of_subject(house.ledger.db, house.run().run_id)
    moves = [row.payload for row in rows if row.event == "run.moved"]
    return [str(m["detail"]) for m in moves if m["from"] == m["to"] == "preparing"]


def test_a_late_quote_is_planned_with(house: House) -> None:
    """All orders of the run leave, none is refused; it goes on as soon as the price is there."""
    house.play(7)
    assert preparing(house)
    subscribe(house)
    house.play(2)
    assert "EEE" in house.sent()
    assert house.until_ended().status is RunState.DONE
    assert set(house.states().values()) == {"filled"}


def test_it_says_what_it_waits_for_and_until_when(house: House) -> None:
    """The names and the end of the wait are the run's detail, written once and not every second."""
    house.until(lambda: bool(house.run().detail), seconds=2)
    until = house.clock.now().utc + timedelta(seconds=WAIT_S)
    said = f"waits for prices until {until:%H:%M:%S} UTC at most: EEE"
    house.play(12)
    assert house.run().detail == said
    assert described(house) == [said]
    house.quotes.missing.add("DDD")
    house.play(2)
    assert house.run().detail == said.replace("EEE", "DDD, EEE")
    subscribe(house)
    house.until_ended()
    assert "waits" not in house.run().detail


def test_what_never_comes_is_refused_after_the_wait(house: House) -> None:
    """The contract's market_data_error with its cause; the others are traded."""
    house.play(WAIT_S - 1)
    assert preparing(house)
    house.play(3)
    assert house.states()["EEE"] == "rejected"
    order = house.orders()["EEE"]
    assert (order.reject_source, order.reject_code) == ("ibloop", "market_data_error")
    assert NEW.text in str(order.reject_reason)
    assert house.until_ended().status is RunState.PARTIAL
    assert set(house.sent()) == {"AAA", "BBB", "CCC", "DDD"}


def test_nothing_waits_where_all_prices_are_there(tmp_path: Path) -> None:
    """Not one step longer, and not a word in the audit log."""
    house = House(tmp_path, execution={"quote_wait_s_max": WAIT_S})
    house.settle()
    house.queue()
    house.play(1)
    assert house.sent()
    assert described(house) == []


@pytest.mark.parametrize(
    "cause",
    [
        Unusable(FileFault.REFUSED, "the stream is not subscribed to EEE: 200 no such contract"),
        None,
    ],
)
def test_what_no_time_mends_is_not_waited_for(cause: Unusable | None, tmp_path: Path) -> None:
    """A contract the gateway does not know, and delayed data, are refused at once."""
    house = House(tmp_path, execution={"quote_wait_s_max": WAIT_S})
    house.settle()
    if cause is None:
        house.quotes.freeze("EEE", market_data_type=MarketDataType.DELAYED)
    else:
        house.quotes.missing.add("EEE")
        house.quotes.causes["EEE"] = cause
    house.queue()
    house.play(1)
    assert house.states()["EEE"] == "rejected"
    assert house.sent()


def test_what_is_not_traded_is_not_waited_for(tmp_path: Path) -> None:
    """Neither a target of zero that nobody holds, nor a holding outside the universe."""
    house = House(tmp_path, execution={"quote_wait_s_max": WAIT_S})
    house.settle()
    planner = house.trader._planner
    house.queue("K1", {"AAA": "0.05", "CCC": "0", "DDD": "0.1"})
    house.quotes.missing |= {"CCC", "EEE", "DDD", "BBB"}
    content, evidence = planner.snapshot_of(house.run()), house.broker.evidence()
    now = house.clock.now()
    assert planner.awaited(content, evidence, now) == ("BBB", "DDD")
    assert planner.awaited(content, evidence, now, {"DDD"}) == ("BBB",)
    stranger = Position("XYZ", 99, D(5), D(1))
    other = tuple(replace(p, con_id=77) if p.symbol == "BBB" else p for p in evidence.positions)
    changed = replace(evidence, positions=(*other, stranger))
    assert planner.awaited(content, changed, now) == ("DDD",)


def test_a_failing_gate_ends_the_wait(house: House) -> None:
    """What would have kept the run from starting keeps it from waiting on: a halt, for one."""
    house.play(5)
    house.halt()
    house.gate = Gate("halt", False, RunReason.GUARD_HALTED, "pause: a test")
    house.play(1)
    run = house.run()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.GUARD_HALTED)
    house.gate = None
    subscribe(house)
    house.play(WAIT_S)
    assert house.sent() == []


def test_a_kill_in_the_wait_cancels_what_works(tmp_path: Path) -> None:
    """The loop goes on while a run waits: an order of the run before is cancelled at once."""
    house = House(tmp_path, execution={"quote_wait_s_max": WAIT_S})
    house.settle()
    house.script("BBB", fills=())  # a sell at work keeps the buys planned
    house.queue("K0")
    house.play(3)
    house.guard_silence = "a test"
    house.play(3)
    house.guard_silence = None
    assert (house.run("K0").status, house.states("K0")["BBB"]) == (RunState.BLOCKED, "new")
    without_eee(house)
    house.queue()
    house.play(3)
    assert preparing_only(house)
    house.halt(HaltLevel.KILL)
    house.play(1)
    assert house.states("K0")["BBB"] == "canceled"
    assert preparing_only(house)


def test_a_person_ends_the_wait(house: House) -> None:
    """`ibloop run cancel` is answered within a step, and nothing was sent."""
    house.play(5)
    house.cancel_run()
    house.play(1)
    assert house.run().status is RunState.CANCELED
    assert house.run().reason is RunReason.CANCELED_BY_OPERATOR
    subscribe(house)
    house.play(WAIT_S)
    assert house.sent() == []


def test_a_crash_in_the_wait_begins_it_anew(house: House) -> None:
    """Nothing was planned, so nothing can be twice; each process waits for its own bound."""
    house.play(WAIT_S - 2)
    house.restart()
    house.play(WAIT_S - 2)
    assert preparing(house)
    house.restart()
    house.play(3)
    subscribe(house)
    assert house.until_ended().status is RunState.DONE
    assert sorted(house.sent()) == ["AAA", "BBB", "CCC", "DDD", "EEE"]
    assert house.broken() == ()


def test_a_crash_in_the_wait_after_which_no_price_comes(house: House) -> None:
    """The wait after the restart is bounded, too."""
    house.play(10)
    house.restart()
    house.play(WAIT_S + 3)
    assert house.states()["EEE"] == "rejected"


def test_a_lost_connection_in_the_wait_has_its_own_patience(tmp_path: Path) -> None:
    """A run that has waited long for prices is not blocked the moment the gateway drops."""
    house = House(tmp_path, execution={"quote_wait_s_max": 200.0})
    house.settle()
    without_eee(house)
    house.queue()
    house.play(90)
    assert preparing(house)
    house.broker.lose_client()
    house.play(20)
    assert preparing(house)
    house.broker.connect()
    house.play(3)
    subscribe(house)
    assert house.until_ended().status is RunState.DONE


def test_the_wait_leaves_time_for_the_orders(tmp_path: Path) -> None:
    """Where the session is about to end, the run goes on with what it has while it still fits."""
    house = House(tmp_path, execution={"quote_wait_s_max": WAIT_S})
    house.settle()
    without_eee(house)
    start = house.clock.now().utc
    house.trader._deadline = lambda _now: start + timedelta(seconds=25)
    house.queue()
    house.play(25)
    assert house.states()["EEE"] == "rejected"
    others = {symbol: state for symbol, state in house.states().items() if symbol != "EEE"}
    assert set(others.values()) == {"filled"}


def test_the_wait_does_not_reach_into_a_quiet_stretch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In it the run would be blocked: it goes on a few seconds before."""
    house = House(tmp_path, execution={"quote_wait_s_max": WAIT_S})
    minute = house.clock.now().utc.replace(second=0, microsecond=0)
    begins = minute + timedelta(minutes=2)
    rule = Recurring("a reset", time(begins.hour, begins.minute), timedelta(minutes=5), "UTC")
    monkeypatch.setattr(Config, "quiet", property(lambda _config: (rule,)))
    house.restart()
    house.clock.advance((begins - house.clock.now().utc).total_seconds() - 12)
    house.settle()
    without_eee(house)
    house.queue()
    house.play(9)
    assert house.clock.now().utc < begins
    assert house.states()["EEE"] == "rejected"
    assert house.sent()


def test_a_wait_that_is_over_does_not_begin_again(tmp_path: Path) -> None:
    """A price that goes stale while margin is asked for is refused, not waited for once more."""
    house = House(tmp_path, execution={"quote_wait_s_max": WAIT_S}, margin_check=True)
    house.settle()
    without_eee(house)
    house.queue()
    house.play(5)
    subscribe(house)
    house.play(1)
    without_eee(house)
    assert house.until_ended(seconds=WAIT_S).status is not RunState.PREPARING
    assert len(described(house)) == 1


def test_a_retry_waits_for_what_it_trades(tmp_path: Path) -> None:
    """For what was refused for want of a price, which is tried again; not for what has filled."""
    house = House(tmp_path, execution={"quote_wait_s_max": WAIT_S, "retry": Retry.REMAINDER})
    house.settle()
    without_eee(house)
    house.script("DDD", fills=())
    house.queue()
    house.until(lambda: house.run().attempt == 1, seconds=2000)
    house.quotes.missing.add("CCC")
    house.play(3)
    assert house.run().detail.endswith("at most: EEE")
    house.quotes.missing.discard("EEE")
    house.play(3)
    assert {s for s, state in house.states().items() if state != "rejected"} == {"DDD", "EEE"}

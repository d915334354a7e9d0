"""A run asks for its margin before it writes orders; waiting for the answer holds up nothing."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import orders, risk
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import HaltLevel, MarginImpact, Side
from ibloop.core.retrying import Retry
from ibloop.core.risk import breaches
from ibloop.daemons.executing.margin_desk import MARGIN_PATIENCE_S
from tests.fakes.house import House

D = Decimal


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house whose broker is asked."""
    made = House(tmp_path, margin_check=True)
    made.settle()
    return made


def blocked(house: House) -> str:
    """Let the run end and return its detail: it was refused, and nothing was written or sent."""
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.LIMIT_BREACHED)
    assert house.orders() == {}
    assert house.broker.placed == []
    return run.detail


def asked(house: House) -> list[str]:
    """Return the symbols of the last question."""
    return [order.symbol for order in house.broker.margin_asked[-1]]


def test_a_run_that_the_margin_allows_is_sent(house: House) -> None:
    """Asked once, about what opens or enlarges only; the answer is stored with the plan."""
    house.queue()
    assert house.until_ended().status is RunState.DONE
    assert len(house.broker.margin_asked) == 1
    assert asked(house) == ["CCC", "DDD", "EEE"]
    (plan,) = (r for r in risk.verdict_rows(house.ledger.db, "run-K1") if r.moment == "plan")
    told = [v for v in plan.verdicts if v.check == "margin_check"]
    assert [v.subject for v in told] == ["CCC", "DDD", "EEE", ""]
    assert (told[-1].found, told[-1].limit, told[-1].passed) == (D(15_000), D(90_000), True)
    assert house.broken() == ()


def test_its_ids_are_used_up(house: House) -> None:
    """No order carries an id that was asked with, also in a later run."""
    for key in ("K1", "K2"):
        house.queue(key, {"AAA": "0.05", "CCC": "0.08" if key == "K1" else "0.1"})
        assert house.until_ended(key).status is RunState.DONE
    used = [o.ib_order_id for question in house.broker.margin_asked for o in question]
    placed = [row.order.ib_order_id for row in orders.all_sent(house.ledger.db)]
    assert len(used) == 2
    assert len({*used, *placed}) == len(used) + len(placed)


def test_a_run_that_costs_too_much_is_blocked(house: House) -> None:
    """The broker's requirement, not ours: with a cent less than it takes nothing is written."""
    house.broker.margin_answers = lambda i: replace(i, initial_change_usd=D("30000.01"))
    house.queue()
    detail = blocked(house)
    assert "margin_check: 90000.03 USD, allowed 90000 USD; lower the targets" in detail
    (plan,) = risk.verdict_rows(house.ledger.db, "run-K1")
    assert [v.found for v in breaches(plan.verdicts)] == [D("90000.03")]


def test_an_answer_that_is_none_denies(house: House) -> None:
    """A refused what-if refuses the run, in the broker's words."""
    house.broker.margin_answers = lambda i: MarginImpact(i.ib_order_id, problem="error 201: no")
    house.queue()
    assert "margin_check (CCC): error 201: no, allowed the broker's answer" in blocked(house)


def test_silence_denies_in_time(house: House) -> None:
    """Whatever the adapter does, the run waits for so long and no longer."""
    house.broker.margin_held = True
    house.queue()
    house.play(MARGIN_PATIENCE_S - 1)
    assert house.run().status is RunState.PREPARING
    assert len(house.broker.margin_asked) == 1
    house.play(3)
    assert "margin_check (CCC): no answer" in blocked(house)


def test_a_late_answer_is_not_the_next_one(house: House) -> None:
    """What was asked for the attempt before is dropped, and the retry asks anew."""
    house.broker.margin_held = True
    house.queue()
    house.play(MARGIN_PATIENCE_S + 2)
    assert house.run().status is RunState.BLOCKED
    house.retry()
    house.until(lambda: len(house.broker.margin_asked) == 2)
    house.broker.answer_margin(0)
    house.settle()
    assert house.run().status is RunState.PREPARING
    house.broker.answer_margin(1)
    assert house.until_ended().status is RunState.DONE


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (lambda h: h.cancel_run(), RunState.CANCELED, RunReason.CANCELED_BY_OPERATOR),
        (lambda h: h.broker.disconnect(), RunState.BLOCKED, RunReason.GATEWAY_UNAVAILABLE),
    ],
    ids=["canceled", "disconnected"],
)
def test_waiting_stays_interruptible(
    house: House, end: Callable[[House], object], status: RunState, reason: RunReason
) -> None:
    """While the answer is awaited a person and the connection are heard as ever."""
    house.broker.margin_held = True
    house.queue()
    house.until(lambda: bool(house.broker.margin_asked))
    end(house)
    run = house.until_ended(seconds=90)
    assert (run.status, run.reason) == (status, reason)
    assert house.broker.placed == []


def test_a_kill_does_not_wait_for_the_answer(house: House) -> None:
    """Orders that work are cancelled in the very step, with a margin question open."""
    house.script("CCC", fills=())
    house.queue("K0", {"AAA": "0.1", "BBB": "0.1", "CCC": "0.01"})
    house.until(lambda: "new" in house.states("K0").values())
    (ccc,) = house.orders("K0").values()
    house.broker.margin_held = True
    house.desk.margin.verdicts(_draft(house), house.clock.now())
    house.halt(HaltLevel.KILL)
    house.settle()
    assert house.broker.canceled == [ccc.client_order_id]


def _draft(house: House):  # type: ignore[no-untyped-def]
    """Return a draft of the run under way, as if it were being prepared."""
    run, sync = house.run("K0"), house.desk.sync
    assert sync is not None
    now = house.clock.now()
    return house.trader._draft(run, sync, now, now.utc)


def test_a_restart_while_it_waits_asks_again(house: House) -> None:
    """Nothing of a question survives its process; the new one plans and asks anew."""
    house.broker.margin_held = True
    house.queue()
    house.until(lambda: bool(house.broker.margin_asked))
    house.restart()
    house.broker.margin_held = False
    assert house.until_ended().status is RunState.DONE
    first, second = house.broker.margin_asked
    assert {o.ib_order_id for o in first}.isdisjoint({o.ib_order_id for o in second})


@pytest.mark.parametrize("weights", [{"AAA": "0.05", "BBB": "0.1"}, {"AAA": "0.1", "BBB": "0.1"}])
def test_what_only_reduces_is_not_asked_about(house: House, weights: dict[str, str]) -> None:
    """Selling works when the broker answers no question, and so does having nothing to do."""
    house.broker.margin_held = True
    house.queue("K1", weights)
    assert house.until_ended().status is RunState.DONE
    assert house.broker.margin_asked == []


def test_nobody_is_asked_where_the_check_is_off(tmp_path: Path) -> None:
    """Or about a plan that is refused already."""
    house = House(tmp_path)
    house.queue()
    assert house.until_ended().status is RunState.DONE
    assert house.broker.margin_asked == []
    other = House(tmp_path / "other", margin_check=True, orders_per_run_max=1)
    other.queue()
    assert "orders_per_run_max" in blocked(other)
    assert other.broker.margin_asked == []


# --- shorts ---------------------------------------------------------------------------------------


def test_a_short_is_opened_and_covered(tmp_path: Path) -> None:
    """Sold short, and bought back in the next run, with every promise kept."""
    house = House(tmp_path, margin_check=True, short_allowed=True)
    house.queue("K1", {"AAA": "0.1", "BBB": "-0.1"})
    assert house.until_ended("K1").status is RunState.DONE
    assert house.broker.positions["BBB"] == 0  # closed first: no order crosses zero
    house.queue("K2", {"AAA": "0.1", "BBB": "-0.1", "CCC": "0.1"})
    assert house.until_ended("K2").status is RunState.DONE
    assert house.broker.positions["BBB"] == -500
    assert asked(house) == ["BBB", "CCC"]
    house.queue("K3", {"AAA": "0.1", "CCC": "0.1"})
    assert house.until_ended("K3").status is RunState.DONE
    assert house.broker.positions["BBB"] == 0
    assert [(o.symbol, o.side) for o in house.orders("K3").values()] == [("BBB", Side.BUY)]
    assert house.broken() == ()


def test_what_opens_waits_for_what_reduces(tmp_path: Path) -> None:
    """A short sale does not leave beside the sell that makes its room; nor does it jump a cover."""
    house = House(tmp_path, short_allowed=True, gross_weight_max=D("0.2"), position_weight_max=D(1))
    house.script("AAA", fills=())
    house.queue("K1", {"BBB": "0.1", "CCC": "-0.09"})
    house.until(lambda: house.states().get("AAA") == "new")
    house.play(5)
    assert house.sent() == ["AAA"]
    (live,) = (x for x in house.broker.live if x.order.symbol == "AAA")
    house.broker.fill(live, live.order.quantity)
    assert house.until_ended().status is RunState.DONE
    assert house.sent() == ["AAA", "CCC"]


def test_short_targets_need_shorts_allowed(tmp_path: Path) -> None:
    """A snapshot from elsewhere does not get past the check: the order is refused by its name."""
    house = House(tmp_path)
    house.queue("K1", {"AAA": "0.1", "BBB": "0.1", "CCC": "-0.1"})
    house.until_ended()
    assert house.orders()["CCC"].reject_code == "short_allowed"
    assert house.broker.placed == []


@pytest.mark.parametrize("policy", Retry)
def test_sides_are_changed_in_two_attempts(tmp_path: Path, policy: Retry) -> None:
    """With a retry the other side follows in the same run; without one it is the next run's."""
    house = House(
        tmp_path, execution={"retry": policy}, short_allowed=True, position_weight_max=D(1)
    )
    house.queue("K1", {"AAA": "0.1", "BBB": "-0.05"})
    assert house.until_ended(seconds=120).status is RunState.DONE
    follows = policy is Retry.REMAINDER
    assert house.broker.positions["BBB"] == (-250 if follows else 0)
    assert house.run().attempt == (1 if follows else 0)

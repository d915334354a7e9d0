"""Margin questions over the socket: what-ifs are answered or explained, and are never orders."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from ibloop.adapters.ib.broker import IbBroker
from ibloop.adapters.ib.whatif import impact_of, is_answer
from ibloop.core.events import (
    Connected,
    ErrorReported,
    EvidenceCollected,
    Executed,
    MarginAnswered,
    OrderReported,
)
from ibloop.core.invariant import InvariantError
from ibloop.core.model import Side
from ibloop.sim.model import AccountKind, AccountSpec

D = Decimal
MARGIN = (AccountSpec("DU1234567", AccountKind.MARGIN, Decimal(100_000)),)
UNSET = "1.7976931348623157E308"
PLACE_ORDER = 3


async def connected(bench: Any, log_of: Any, **values: Any) -> tuple[IbBroker, Any, int]:
    """Return a connected broker, its log and the gateway's next order id."""
    broker = bench.broker(**values)
    log = log_of(broker)
    await broker.connect()
    return broker, log, (await log.first(Connected)).next_order_id


def test_what_it_would_cost_is_told_and_nothing_is_ordered(
    play: Any, log_of: Any, make_order: Any
) -> None:
    """Half of the value, of longs and shorts; no order, no callback, no evidence of one."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        aapl, ibm = bench.instrument("AAPL"), bench.instrument("IBM")
        bench.control("POST", "/quote", symbol="AAPL", bid=99.9, ask=100.1, last=100)
        bench.control("POST", "/quote", symbol="IBM", bid=199.9, ask=200.1, last=200)
        first = make_order(aapl, next_id, quantity=D(100), limit_price=D(100))
        short = make_order(ibm, next_id + 1, quantity=D(50), side=Side.SELL, limit_price=D(200))
        broker.ask_margin([(first, aapl), (short, ibm)])
        told = {i.ib_order_id: i for i in (await log.first(MarginAnswered)).impacts}
        assert {number: i.problem for number, i in told.items()} == {next_id: "", next_id + 1: ""}
        assert told[next_id].initial_change_usd == D(5000)
        assert told[next_id].initial_after_usd == D(5000)
        assert told[next_id + 1].initial_change_usd == D(5000)
        commission = told[next_id].commission_usd
        assert commission == D(1)
        assert told[next_id].equity_after_usd == D(100_000) - commission
        await log.settle()
        seen = log.all(EvidenceCollected)[-1].evidence
        assert (seen.open_orders, seen.completed_orders, seen.executions) == ((), (), ())
        assert seen.account_values.available_funds == D(100_000)
        assert log.all(OrderReported) + log.all(Executed) == []
        truth = bench.truth()
        assert (truth["orders"], truth["positions"]) == ([], [])
        assert [f["orderRef"] for f in truth["frames"]] == ["", ""]
        # The next order is numbered behind them and goes its way.
        broker.place(make_order(aapl, next_id + 2), aapl)
        await log.first(OrderReported, ib_order_id=next_id + 2)

    play(scenario, accounts=MARGIN)


def test_an_id_that_was_asked_with_is_used_up(play: Any, log_of: Any, make_order: Any) -> None:
    """Neither an order nor another question may carry it on this connection."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        aapl = bench.instrument("AAPL")
        order = make_order(aapl, next_id)
        broker.ask_margin([(order, aapl)])
        with pytest.raises(InvariantError, match="placed twice"):
            broker.place(order, aapl)
        with pytest.raises(InvariantError, match="placed twice"):
            broker.ask_margin([(order, aapl)])
        await log.first(MarginAnswered)

    play(scenario)


def test_a_refusal_is_told_in_the_gateways_words(play: Any, log_of: Any, make_order: Any) -> None:
    """An error under the question's id; the other answers are there all the same."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        aapl, ibm = bench.instrument("AAPL"), bench.instrument("IBM")
        off_tick = make_order(aapl, next_id, limit_price=D("100.001"))
        broker.ask_margin([(off_tick, aapl), (make_order(ibm, next_id + 1), ibm)])
        refused, fine = (await log.first(MarginAnswered)).impacts
        assert refused.problem.startswith("error 110: ")
        assert fine.problem == ""
        # It is not an order's error: nobody looks for an order of this id.
        assert {e.ib_order_id for e in log.all(ErrorReported)} <= {None}

    play(scenario)


def test_silence_and_echoes_are_no_answer(play: Any, log_of: Any, make_order: Any) -> None:
    """A what-if that gets lost is a problem in time, and a late answer belongs to nobody."""

    async def scenario(bench: Any) -> None:
        bench.proxy.muted.add(PLACE_ORDER)
        broker, log, next_id = await connected(bench, log_of, port=bench.proxy.port)
        broker._margin_timeout_s = 0.3
        aapl = bench.instrument("AAPL")
        broker.ask_margin([(make_order(aapl, next_id), aapl)])
        (impact,) = (await log.first(MarginAnswered)).impacts
        assert impact.problem == "what-if: no answer within 0.3 s"
        state = SimpleNamespace(initMarginChange="5")
        broker._on_open_order(next_id, None, SimpleNamespace(whatIf=True), state)
        assert log.all(OrderReported) == []
        assert len(log.all(MarginAnswered)) == 1

    play(scenario)


def test_a_lost_connection_answers_at_once(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """Cut off while asked, and asked while not connected: one event each, with the reason."""

    async def scenario(bench: Any) -> None:
        bench.proxy.muted.add(PLACE_ORDER)
        broker, log, next_id = await connected(bench, log_of, port=bench.proxy.port)
        aapl = bench.instrument("AAPL")
        broker.ask_margin([(make_order(aapl, next_id), aapl)])
        await until(lambda: any(f[0] == "3" for f in bench.proxy.received), "the question")
        broker.disconnect("pulled")
        (cut,) = (await log.first(MarginAnswered)).impacts
        assert "pulled" in cut.problem
        broker.ask_margin([(make_order(aapl, next_id + 1), aapl)])
        for _ in range(5):
            await asyncio.sleep(0)
        assert "not connected" in log.all(MarginAnswered)[-1].impacts[0].problem

    play(scenario)


def test_many_questions_leave_room_for_cancels(play: Any, log_of: Any, make_order: Any) -> None:
    """They are paced like orders: the slots for cancels stay free, and nothing waits in a queue."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        aapl = bench.instrument("AAPL")
        least = []
        room = broker.room
        broker.room = lambda: least.append(room()) or least[-1]  # type: ignore[method-assign]
        broker.ask_margin([(make_order(aapl, next_id + n), aapl) for n in range(100)])
        answer = await log.first(MarginAnswered)
        assert [i.ib_order_id for i in answer.impacts] == list(range(next_id, next_id + 100))
        assert {i.problem for i in answer.impacts} == {""}
        assert min(least) == 0  # it had to wait; cancels have slots beyond that
        assert broker._client.unsent is None

    play(scenario, accounts=MARGIN)


def state(**changes: object) -> SimpleNamespace:
    """Return an order state as the decoder gives it."""
    values = {
        "initMarginChange": "5000.5",
        "initMarginAfter": "6000",
        "equityWithLoanAfter": "99999",
        "commission": 1.25,
        "maxCommission": 2.5,
        "commissionCurrency": "USD",
    }
    return SimpleNamespace(**(values | changes))


def test_an_answer_is_read() -> None:
    """Decimals by their text; without a commission the most it may be counts."""
    impact = impact_of(7, state())
    assert (impact.ib_order_id, impact.problem) == (7, "")
    assert impact.initial_change_usd == D("5000.5")
    assert (impact.initial_after_usd, impact.equity_after_usd) == (D(6000), D(99_999))
    assert impact.commission_usd == D("1.25")
    unset = float(UNSET)
    assert impact_of(7, state(commission=unset)).commission_usd == D("2.5")
    assert impact_of(7, state(commission=unset, maxCommission=unset)).commission_usd is None
    assert replace(impact_of(7, state(equityWithLoanAfter=""))).equity_after_usd is None


@pytest.mark.parametrize(
    "changes",
    [
        {"initMarginChange": "a lot"},
        {"initMarginAfter": "NaN"},
        {"equityWithLoanAfter": "inf"},
        {"commissionCurrency": "EUR"},
    ],
)
def test_what_cannot_be_read_is_a_problem(changes: dict[str, object]) -> None:
    """It is an answer, so nobody waits for another, and it is not a number either."""
    assert is_answer(state(**changes))
    assert impact_of(7, state(**changes)).problem.startswith("an answer that cannot be read: ")


@pytest.mark.parametrize("text", ["", UNSET])
def test_an_echo_is_no_answer(text: str) -> None:
    """A gateway may send the order back before it has worked out its margin."""
    assert not is_answer(state(initMarginChange=text))

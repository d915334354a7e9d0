"""Evidence is complete or it is none: what every query can do to a pass."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.adapters.ib.evidence import (
    StatusRow,
    account_values,
    next_order_id,
    nothing_filled,
    open_orders,
)
from ibloop.adapters.ib.queries import QueryError
from ibloop.core.events import (
    Connected,
    Disconnected,
    EvidenceCollected,
    EvidenceFailed,
    Executed,
    OrderReported,
)
from ibloop.core.model import BrokerOrder, Moment, Side

RESTING = Decimal(1)
POSITIONS, OPEN, COMPLETED, EXECUTIONS, NEXT_ID, SUMMARY = 61, 16, 99, 7, 8, 62
NOW = Moment(datetime(2026, 7, 1, 12, tzinfo=UTC), 1, "b" * 32)


async def connected(bench: Any, log_of: Any, **values: Any) -> tuple[Any, Any, int]:
    """Return a connected broker behind the proxy, its log and the next order id."""
    broker = bench.broker(port=bench.proxy.port, **values)
    log = log_of(broker)
    await broker.connect()
    return broker, log, (await log.first(Connected)).next_order_id


async def traded(bench: Any, broker: Any, log: Any, make_order: Any, order_id: int) -> Any:
    """Buy ten shares of AAPL and return the execution."""
    aapl = bench.instrument("AAPL")
    broker.place(make_order(aapl, order_id), aapl)
    return (await log.first(Executed)).execution


def test_a_pass_asked_for_at_the_moment_another_ends_ends_too(play: Any, log_of: Any) -> None:
    """Its end is told before its task is tidied up; who asks in between must not wait for ever."""

    async def scenario(bench: Any) -> None:
        broker, _, _ = await connected(bench, log_of)
        for _ in range(3):
            broker.collect_evidence()
            ended = False
            async with asyncio.timeout(10):
                # Without a pause, as a loop with work to do: it sees the end in the next turn.
                while not ended:
                    await asyncio.sleep(0)
                    ended = any(isinstance(event, EvidenceCollected) for event in broker.events())

    play(scenario)


def test_a_pass_tells_all_the_broker_knows(play: Any, log_of: Any, make_order: Any) -> None:
    """Open and completed orders of all clients, executions with commissions, positions, figures."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        execution = await traded(bench, broker, log, make_order, next_id)
        ibm = bench.instrument("IBM")
        broker.place(make_order(ibm, next_id + 1, limit_price=RESTING), ibm)
        other = bench.broker(client_id=5)
        await other.connect()
        foreign = make_order(ibm, 1, limit_price=RESTING, client_order_id="")
        other.place(foreign, ibm)
        await log_of(other).settle()
        broker.collect_evidence()
        evidence = (await log.first(EvidenceCollected)).evidence

        assert [(p.symbol, p.quantity) for p in evidence.positions] == [("AAPL", 10)]
        assert evidence.positions[0].avg_cost > execution.price
        assert {(o.client_order_id, o.client_id) for o in evidence.open_orders} == {
            (f"ibl:test:IBM:B:{next_id + 1}", 11),
            ("", 5),
        }
        assert all(o.filled_quantity == 0 and o.perm_id for o in evidence.open_orders)
        [done] = evidence.completed_orders
        assert (done.client_order_id, done.ib_status) == (f"ibl:test:AAPL:B:{next_id}", "Filled")
        assert (done.filled_quantity, done.perm_id) == (10, execution.perm_id)
        [told] = evidence.executions
        assert told.exec_id == execution.exec_id
        assert (told.quantity, told.price) == (execution.quantity, execution.price)
        assert told.commission == Decimal(1)
        values = evidence.account_values
        assert values.account == "DU1234567"
        assert values.total_cash == 100_000 - told.quantity * told.price - 1
        assert values.net_liquidation > values.total_cash
        assert abs((datetime.now(UTC) - evidence.collected_at).total_seconds()) < 5

    play(scenario)


def test_a_pass_under_way_is_joined(play: Any, log_of: Any) -> None:
    """However often it is asked for meanwhile, a pass ends in one event; later a new one begins."""

    async def scenario(bench: Any) -> None:
        broker, log, _ = await connected(bench, log_of)
        for _ in range(3):
            broker.collect_evidence()
        await log.first(EvidenceCollected)
        await log.settle()
        assert len(log.all(EvidenceCollected)) == 2

    play(scenario)


@pytest.mark.parametrize("muted", [POSITIONS, OPEN, COMPLETED, NEXT_ID])
def test_an_unanswered_question_fails_the_pass_and_ends_the_connection(
    play: Any, log_of: Any, make_order: Any, muted: int
) -> None:
    """Failed is not empty; and a late answer must not pass for the next question's."""

    async def scenario(bench: Any) -> None:
        broker, log, _ = await connected(bench, log_of, timeout_s=0.3)
        bench.proxy.muted = {muted}
        broker.collect_evidence()
        reason = (await log.first(EvidenceFailed)).reason
        assert "no answer within 0.3 s" in reason
        assert "late answer" in (await log.first(Disconnected)).reason
        assert not broker.is_connected()
        bench.proxy.muted = set()
        log.events.clear()
        await broker.connect()
        broker.collect_evidence()
        await log.first(EvidenceCollected)

    play(scenario)


def test_a_pass_tells_the_next_order_id(play: Any, log_of: Any, make_order: Any) -> None:
    """Asked anew by each pass; an id that only questions can have fails it."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        ibm = bench.instrument("IBM")
        broker.place(make_order(ibm, next_id, limit_price=RESTING), ibm)
        broker.collect_evidence()
        assert (await log.first(EvidenceCollected)).evidence.next_order_id == next_id + 1

    play(scenario)
    assert next_order_id([5], 9) == 5
    with pytest.raises(QueryError, match="up to 9, was 10"):
        next_order_id([10], 9)


def test_a_frozen_gateway_gives_no_evidence(play: Any, log_of: Any) -> None:
    """A pass against silence fails in time."""

    async def scenario(bench: Any) -> None:
        broker, log, _ = await connected(bench, log_of, timeout_s=0.3)
        bench.fault("freeze", client_id=11, seconds=0)
        broker.collect_evidence()
        await log.first(EvidenceFailed)
        assert log.all(EvidenceCollected) == []

    play(scenario)


def test_unanswered_figures_fail_the_pass_only(play: Any, log_of: Any) -> None:
    """A question with a number cannot be confused with a later one, so the connection stays."""

    async def scenario(bench: Any) -> None:
        broker, log, _ = await connected(bench, log_of, timeout_s=0.3)
        bench.proxy.muted = {SUMMARY}
        broker.collect_evidence()
        assert "reqAccountSummary" in (await log.first(EvidenceFailed)).reason
        assert broker.is_connected()

    play(scenario)


def test_unanswered_executions_are_none_only_where_nothing_was_filled(
    play: Any, log_of: Any, make_order: Any
) -> None:
    """Real gateways stay silent when there are none; with a fill about, silence proves nothing."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of, timeout_s=0.3)
        bench.proxy.muted = {EXECUTIONS}
        ibm = bench.instrument("IBM")
        broker.place(make_order(ibm, next_id, limit_price=RESTING), ibm)
        broker.collect_evidence()
        evidence = (await log.first(EvidenceCollected)).evidence
        assert evidence.executions == ()
        assert len(evidence.open_orders) == 1
        await traded(bench, broker, log, make_order, next_id + 1)
        broker.collect_evidence()
        assert "reqExecutions" in (await log.first(EvidenceFailed)).reason
        assert broker.is_connected()

    play(scenario)


def test_a_refused_question_fails_the_pass_at_once(play: Any, log_of: Any, until: Any) -> None:
    """Error 321 with id -1 is how a read-only gateway refuses to show orders."""

    async def scenario(bench: Any) -> None:
        broker, log, _ = await connected(bench, log_of, timeout_s=300.0)
        bench.proxy.muted = {OPEN}
        broker.collect_evidence()
        await until(
            lambda: [str(OPEN), "1"] in bench.proxy.received, "the question for open orders"
        )
        bench.proxy.inject(4, 2, -1, 321, "The API interface is currently in Read-Only mode.", "")
        assert "Read-Only" in (await log.first(EvidenceFailed)).reason
        assert broker.is_connected()

    play(scenario)


def test_an_unreadable_message_fails_the_pass(play: Any, log_of: Any, until: Any) -> None:
    """It may have been an execution: what follows it cannot be called complete."""

    async def scenario(bench: Any) -> None:
        broker, log, _ = await connected(bench, log_of, timeout_s=300.0)
        bench.proxy.muted = {OPEN}
        broker.collect_evidence()
        await until(
            lambda: [str(OPEN), "1"] in bench.proxy.received, "the question for open orders"
        )
        bench.proxy.inject(11, -1, "garbled")
        bench.proxy.inject(53, 1)
        assert "could not be read" in (await log.first(EvidenceFailed)).reason

    play(scenario)


def test_a_lost_connection_fails_the_pass(play: Any, log_of: Any, until: Any) -> None:
    """One EvidenceFailed, at once."""

    async def scenario(bench: Any) -> None:
        broker, log, _ = await connected(bench, log_of, timeout_s=300.0)
        bench.proxy.muted = {COMPLETED}
        broker.collect_evidence()
        await until(lambda: ["99", "0"] in bench.proxy.received, "the question")
        bench.fault("socket_reset", client_id=11)
        await log.first(EvidenceFailed)
        await asyncio.sleep(0)
        assert len(log.all(EvidenceFailed)) == 1

    play(scenario)


def test_a_fill_during_the_pass_repeats_it(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """Positions from before and executions from after a fill would look like a break."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of, timeout_s=300.0)
        aapl = bench.instrument("AAPL")
        broker.place(make_order(aapl, next_id, limit_price=RESTING), aapl)
        await log.first(OrderReported, ib_status="Submitted")
        bench.proxy.muted = {COMPLETED}
        broker.collect_evidence()
        await until(lambda: ["99", "0"] in bench.proxy.received, "the question")
        bench.control("POST", "/quote", symbol="AAPL", bid=0.5, ask=0.6)
        await log.first(Executed)
        bench.proxy.muted = set()
        bench.proxy.inject(102)
        evidence = (await log.first(EvidenceCollected)).evidence
        assert [p.quantity for p in evidence.positions] == [10]
        assert (len(evidence.open_orders), len(evidence.completed_orders)) == (0, 1)
        assert len(evidence.executions) == 1
        asked = [fields[0] for fields in bench.proxy.received].count("99")
        assert asked == 2

    play(scenario)


def test_a_position_closed_behind_our_back_is_gone(play: Any, log_of: Any, make_order: Any) -> None:
    """Each pass begins with nothing: what an earlier connection was told does not linger."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        await traded(bench, broker, log, make_order, next_id)
        await log.settle()
        assert len(log.all(EvidenceCollected)[-1].evidence.positions) == 1
        broker.disconnect()
        other = bench.broker(client_id=5)
        others = log_of(other)
        await other.connect()
        aapl = bench.instrument("AAPL")
        other.place(make_order(aapl, 1, side=Side.SELL, limit_price=RESTING), aapl)
        await others.first(Executed)
        await broker.connect()
        await log.settle()
        assert log.all(EvidenceCollected)[-1].evidence.positions == ()

    play(scenario)


def test_a_summary_is_given_back(play: Any, log_of: Any, until: Any) -> None:
    """A gateway allows two account summaries: each pass ends its own."""

    async def scenario(bench: Any) -> None:
        broker, log, _ = await connected(bench, log_of)
        broker.collect_evidence()
        await log.first(EvidenceCollected)
        await until(lambda: bench.proxy.received[-1][0] == "63", "the end of the summary")
        numbers = {
            kind: [fields[2] for fields in bench.proxy.received if fields[0] == kind]
            for kind in ("62", "63")
        }
        assert len(numbers["62"]) == 1
        assert numbers["62"] == numbers["63"]

    play(scenario)


def shown(perm_id: int, status: str, **changes: Any) -> BrokerOrder:
    """Return an open-order row."""
    values: dict[str, Any] = {
        "client_order_id": f"ref{perm_id}",
        "account": "DU1",
        "perm_id": perm_id,
        "client_id": 11,
        "ib_order_id": perm_id,
        "symbol": "AAPL",
        "side": Side.BUY,
        "quantity": Decimal(10),
        "ib_status": status,
        "filled_quantity": None,
    }
    return BrokerOrder(**(values | changes))


def status_of(perm_id: int, status: str, filled: int, client_id: int = 11) -> StatusRow:
    """Return the status row beside an open order."""
    report = OrderReported("", perm_id, perm_id, status, "locate")
    return StatusRow(report, client_id, Decimal(filled))


def test_open_orders_take_fills_and_status_from_the_row_that_follows() -> None:
    """The last status counts, by permId even under another client's id; ended ones are left out."""
    rows = [
        shown(1, "PreSubmitted"),
        status_of(1, "Submitted", 0),
        shown(2, "Submitted"),
        status_of(2, "Cancelled", 3, client_id=0),
        status_of(1, "Submitted", 4),
        shown(3, "Submitted", account="DU2"),
        shown(4, "Inactive"),
    ]
    found = {order.perm_id: order for order in open_orders(rows, "DU1")}
    assert set(found) == {1, 4}
    assert (found[1].ib_status, found[1].filled_quantity) == ("Submitted", 4)
    assert found[1].why_held == "locate"
    assert found[4].filled_quantity is None


def test_nothing_filled_needs_to_know() -> None:
    """An order whose fills are not given is not an order without fills."""
    assert nothing_filled([])
    assert nothing_filled([shown(1, "Submitted", filled_quantity=Decimal(0))])
    assert not nothing_filled([shown(1, "Submitted")])
    assert not nothing_filled([shown(1, "Submitted", filled_quantity=Decimal(1))])


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [("DU1", "NetLiquidation", "1", "USD")],
        [("DU1", "NetLiquidation", "1", "EUR"), ("DU1", "TotalCashValue", "1", "EUR")],
        [("DU2", "NetLiquidation", "1", "USD"), ("DU2", "TotalCashValue", "1", "USD")],
        [("DU1", "NetLiquidation", "nan", "USD"), ("DU1", "TotalCashValue", "1", "USD")],
        [("DU1", "NetLiquidation", "", "USD"), ("DU1", "TotalCashValue", "1", "USD")],
    ],
)
def test_figures_that_cannot_be_used_fail_the_pass(rows: list[tuple[str, str, str, str]]) -> None:
    """Missing, foreign, not a number, or not in USD: no figures rather than wrong ones."""
    with pytest.raises(QueryError, match="reqAccountSummary"):
        account_values(rows, "DU1", NOW)


@given(
    st.decimals(min_value=-(10**12), max_value=10**12, places=2),
    st.decimals(min_value=-(10**12), max_value=10**12, places=2),
)
def test_figures_are_taken_as_printed(net: Decimal, cash: Decimal) -> None:
    """Not a cent is lost on the way through text."""
    rows = [("DU1", "NetLiquidation", str(net), "USD"), ("DU1", "TotalCashValue", str(cash), "")]
    values = account_values(rows, "DU1", NOW)
    assert (values.net_liquidation, values.total_cash, values.as_of) == (net, cash, NOW.utc)

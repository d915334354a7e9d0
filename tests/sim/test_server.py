"""The simulator over TCP, as the real ib_insync sees it, and its control port over HTTP."""

import asyncio
import json
import logging
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import ib_insync
import pytest

from ibloop.sim import SimError, SimGateway, SimOptions, WorldOptions
from ibloop.sim.faults import parse
from ibloop.sim.protocol.wire import frame

Result = TypeVar("Result")
IB: Any = ib_insync.IB  # half typed, half not
OPTIONS = WorldOptions(speed=0.0, start=date(2012, 10, 1))


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until the condition holds, or fail."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the client has no event to wait for
            await asyncio.sleep(0.01)


async def fetch(port: int, path: str, body: object = None) -> tuple[int, Any]:
    """Call the control port; return status and JSON value."""

    def call() -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return await asyncio.to_thread(call)


class Watch(logging.Handler):
    """Collect what ib_insync's decoder complains about."""

    def __init__(self) -> None:
        """Start with no complaint."""
        super().__init__(logging.ERROR)
        self.complaints: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a complaint."""
        self.complaints.append(record.getMessage())


@asynccontextmanager
async def connected(sim: SimGateway, client_id: int = 5) -> AsyncIterator[Any]:
    """Connect an ib_insync client, and insist that its decoder understood everything."""
    watch = Watch()
    logging.getLogger("ib_insync.Decoder").addHandler(watch)
    ib = IB()
    ib.RaiseRequestErrors = True
    try:
        await ib.connectAsync("127.0.0.1", sim.port, clientId=client_id, timeout=10)
        yield ib
    finally:
        ib.disconnect()
        await asyncio.sleep(0.02)
        logging.getLogger("ib_insync.Decoder").removeHandler(watch)
    assert watch.complaints == []


@pytest.fixture
def run(samples_dir: Path) -> Callable[..., Any]:
    """Return a runner of a test against an embedded simulator."""

    def runner(test: Callable[[SimGateway], Awaitable[Result]], **changes: Any) -> Result:
        options = SimOptions(world=OPTIONS, samples=samples_dir)

        async def main() -> Result:
            async with SimGateway(replace(options, **changes)) as sim:
                return await test(sim)

        return asyncio.run(main())

    return runner


def apple() -> ib_insync.Contract:
    """Return AAPL as a program names it."""
    return ib_insync.Stock("AAPL", "SMART", "USD")


def test_connect_syncs_everything(run: Callable[..., Any]) -> None:
    """connectAsync finds accounts, values, and nothing else in a new account."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            assert ib.client.serverVersion() == 176
            assert ib.managedAccounts() == ["DU1234567"]
            values = {(v.tag, v.currency): v.value for v in ib.accountValues()}
            assert values["NetLiquidation", "USD"] == "100000.00"
            assert values["CashBalance", "BASE"] == "100000.00"
            assert (ib.positions(), ib.openTrades(), ib.fills()) == ([], [], [])
            now = await ib.reqCurrentTimeAsync()
            assert abs(now.timestamp() - sim.gateway.world.now().timestamp()) < 5

    run(test)


def test_contracts_qualify(run: Callable[..., Any]) -> None:
    """By symbol and by conId; an unknown one is error 200."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            by_symbol, by_id = apple(), ib_insync.Contract(conId=8314)
            assert len(await ib.qualifyContractsAsync(by_symbol, by_id)) == 2
            assert (by_symbol.conId, by_id.symbol) == (265598, "IBM")
            (details,) = await ib.reqContractDetailsAsync(by_id)
            assert details.longName == "International Business Machines"
            assert details.minTick == 0.01
            assert details.contract.primaryExchange == "NYSE"
            assert len(details.liquidSessions()) == 6
            with pytest.raises(ib_insync.wrapper.RequestError, match="No security definition"):
                await ib.reqContractDetailsAsync(ib_insync.Stock("NOPE", "SMART", "USD"))

    run(test)


def test_market_data_streams_and_snapshots(run: Callable[..., Any]) -> None:
    """A ticker fills, moves, stops; a snapshot ends by itself; unknown contracts are refused."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            ib.reqMarketDataType(1)
            contract = apple()
            (snapshot,) = await ib.reqTickersAsync(contract)
            assert (snapshot.last, snapshot.close, snapshot.open) == (100.0, 100.0, 100.0)
            ticker = ib.reqMktData(contract)
            await until(lambda: ticker.bid > 0 and ticker.halted == 0.0)
            assert ticker.bid < ticker.ask
            assert ticker.marketDataType == 1
            await fetch(sim.control_port, "/quote", {"symbol": "AAPL", "bid": 101, "ask": 102})
            await until(lambda: (ticker.bid, ticker.ask) == (101.0, 102.0))
            ib.cancelMktData(contract)
            nothing = ib_insync.Stock("NOPE", "SMART", "USD")
            errors: list[int] = []
            ib.errorEvent += lambda _id, code, *_rest: errors.append(code)
            ib.reqMktData(nothing)
            await until(lambda: 200 in errors)

    run(test)


def test_a_market_order_fills_with_commission(run: Callable[..., Any]) -> None:
    """Fill, commission report, position, portfolio and cash all arrive by themselves."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            contract = apple()
            await ib.qualifyContractsAsync(contract)
            statuses: list[str] = []
            order = ib_insync.MarketOrder("BUY", 50, tif="DAY", orderRef="ibl:x")
            trade = ib.placeOrder(contract, order)
            trade.statusEvent += lambda item: statuses.append(item.orderStatus.status)
            await until(lambda: trade.isDone() and trade.fills[0].commissionReport.execId)
            (fill,) = trade.fills
            assert statuses == ["PreSubmitted", "Filled"]
            assert (fill.execution.shares, fill.execution.side) == (50.0, "BOT")
            assert (fill.execution.orderRef, fill.commissionReport.commission) == ("ibl:x", 1.0)
            assert trade.order.permId == fill.execution.permId > 0
            await until(ib.portfolio)
            (position,), (item,) = ib.positions(), ib.portfolio()
            assert (position.position, item.position) == (50.0, 50.0)
            assert position.avgCost == pytest.approx(fill.execution.price + 0.02)
            cash = 100_000 - 50 * fill.execution.price - 1
            values = {(v.tag, v.currency): v.value for v in ib.accountValues()}
            assert float(values["TotalCashValue", "USD"]) == pytest.approx(cash)
            summary = {(v.tag, v.currency): v.value for v in await ib.accountSummaryAsync()}
            assert summary["TotalCashValue", "USD"] == values["TotalCashValue", "USD"]

    run(test)


def test_a_limit_order_lives_changes_and_ends(run: Callable[..., Any]) -> None:
    """Submitted, modified in price and quantity, cancelled with 202."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            codes: list[int] = []
            ib.errorEvent += lambda _id, code, *_rest: codes.append(code)
            order = ib_insync.LimitOrder("BUY", 10, 90.00, tif="GTC")
            trade = ib.placeOrder(apple(), order)
            await until(lambda: trade.orderStatus.status == "Submitted")
            order.lmtPrice, order.totalQuantity = 91.00, 20
            ib.placeOrder(apple(), order)
            await until(lambda: trade.orderStatus.remaining == 20)
            (shown,) = await ib.reqOpenOrdersAsync()
            assert (shown.order.lmtPrice, shown.order.totalQuantity) == (91.0, 20.0)
            ib.cancelOrder(order)
            await until(lambda: trade.orderStatus.status == "Cancelled" and 202 in codes)
            assert await ib.reqOpenOrdersAsync() == []
            (completed,) = await ib.reqCompletedOrdersAsync(False)
            assert completed.orderStatus.status == "Cancelled"

    run(test)


@pytest.mark.parametrize(
    ("order", "code", "status"),
    [
        (ib_insync.LimitOrder("BUY", 1, 90.001, tif="DAY"), 110, "PendingSubmit"),
        (ib_insync.LimitOrder("BUY", 9999, 90.00, tif="DAY"), 201, "Inactive"),
        (ib_insync.MarketOrder("SELL", 1, tif="DAY"), 201, "Inactive"),
        (ib_insync.StopOrder("SELL", 1, 90, tif="DAY"), 201, "Inactive"),
        (ib_insync.LimitOrder("BUY", 1, 90, tif="DAY", minQty=1), 321, "Cancelled"),
    ],
)
def test_rejections_arrive_as_from_ib(
    run: Callable[..., Any], order: ib_insync.Order, code: int, status: str
) -> None:
    """With the known results in ib_insync, its traps included: 110 leaves PendingSubmit."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            codes: list[int] = []
            ib.errorEvent += lambda _id, code, *_rest: codes.append(code)
            trade = ib.placeOrder(apple(), replace_ids(order))
            await until(lambda: code in codes and trade.orderStatus.status == status)

    run(test)


def replace_ids(order: ib_insync.Order) -> ib_insync.Order:
    """Return a copy no connection has used yet."""
    values = {item: getattr(order, item) for item in order.__dataclass_fields__}
    return ib_insync.Order(**values | {"orderId": 0, "permId": 0, "clientId": 0})


@pytest.mark.parametrize("tif", ["IOC", "FOK", "GTD", "GTC", "DAY"])
def test_every_time_in_force_can_fill(run: Callable[..., Any], tif: str) -> None:
    """A marketable limit order fills at once under each of them."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            order = ib_insync.LimitOrder("BUY", 5, 105.00, tif=tif)
            order.goodTillDate = "20991231-23:59:59" if tif == "GTD" else ""
            trade = ib.placeOrder(apple(), order)
            await until(lambda: trade.orderStatus.status == "Filled")

    run(test)


def test_a_gtd_order_expires_on_server_time(run: Callable[..., Any]) -> None:
    """The clock of the control port moves it there."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            order = ib_insync.LimitOrder("BUY", 5, 90.00, tif="GTD")
            in_an_hour = sim.gateway.world.now().timestamp() + 3600
            order.goodTillDate = _utc_text(in_an_hour)
            trade = ib.placeOrder(apple(), order)
            await until(lambda: trade.orderStatus.status == "Submitted")
            status, _ = await fetch(sim.control_port, "/clock", {"offset_s": 3601})
            assert status == 200
            await until(lambda: trade.orderStatus.status == "Cancelled")
            assert (await ib.reqCurrentTimeAsync()).timestamp() > in_an_hour

    run(test)


def _utc_text(epoch_s: float) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 - only here

    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y%m%d-%H:%M:%S")


def test_orders_outlive_their_client(run: Callable[..., Any]) -> None:
    """After a disconnect they work on, others see them, the owner finds them and its fills."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim, 5) as ib:
            trade = ib.placeOrder(apple(), ib_insync.LimitOrder("BUY", 5, 90.00, tif="GTC"))
            await until(lambda: trade.orderStatus.status == "Submitted")
            perm_id, next_id = trade.order.permId, trade.order.orderId + 1
        async with connected(sim, 6) as ib:
            assert ib.openTrades() == []
            assert [t.order.permId for t in await ib.reqAllOpenOrdersAsync()] == [perm_id]
        await fetch(sim.control_port, "/quote", {"symbol": "AAPL", "last": 80})
        await until(lambda: sim.gateway.world.broker.executions)
        async with connected(sim, 5) as ib:
            (fill,) = ib.fills()
            assert (fill.execution.permId, fill.commissionReport.commission) == (perm_id, 1.0)
            assert ib.client.getReqId() >= next_id

    run(test)


def test_clients_work_side_by_side_and_ids_are_a_fence(run: Callable[..., Any]) -> None:
    """Two clients at once; a third with a used id gets 326 and is closed."""

    async def test(sim: SimGateway) -> None:
        async with (
            connected(sim, 5) as one,
            connected(sim, 10) as master,
            connected(sim, 0) as zero,
        ):
            trade = one.placeOrder(apple(), ib_insync.MarketOrder("BUY", 5, tif="DAY"))
            for watcher in (master, zero):
                await until(lambda: trade.isDone() and watcher.fills())  # noqa: B023 - used at once
                assert watcher.fills()[0].execution.clientId == 5
            third, codes = IB(), []
            third.errorEvent += lambda _id, code, *_rest: codes.append(code)
            with pytest.raises((TimeoutError, ConnectionError)):
                await third.connectAsync("127.0.0.1", sim.port, clientId=5, timeout=0.5)
            assert codes == [326]
            assert one.isConnected()

    run(test)


def test_global_cancel(run: Callable[..., Any]) -> None:
    """It takes other clients' orders too."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim, 5) as one, connected(sim, 6) as two:
            order = ib_insync.LimitOrder("BUY", 5, 90.00, tif="GTC")
            trade = one.placeOrder(apple(), order)
            await until(lambda: trade.orderStatus.status == "Submitted")
            two.reqGlobalCancel()
            await until(lambda: trade.orderStatus.status == "Cancelled")

    run(test)


def test_what_if_is_answered_and_not_worked(run: Callable[..., Any]) -> None:
    """The order state carries numbers; no order exists."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            order = ib_insync.MarketOrder("BUY", 50, tif="DAY")
            state = await asyncio.wait_for(ib.whatIfOrderAsync(apple(), order), 5)
            assert float(state.initMarginChange) == pytest.approx(5000, rel=0.01)
            assert state.commission == 1.0
            assert sim.gateway.world.broker.orders == {}

    run(test)


def test_several_accounts(run: Callable[..., Any]) -> None:
    """Orders name their account; each has its own cash and positions."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            assert ib.managedAccounts() == ["DU1", "DU2"]
            order = ib_insync.MarketOrder("BUY", 5, tif="DAY", account="DU2")
            trade = ib.placeOrder(apple(), order)
            await until(lambda: trade.isDone() and ib.positions())
            assert [position.account for position in ib.positions()] == ["DU2"]

    run(test, world=replace(OPTIONS, accounts=("DU1", "DU2")))


def test_partial_fills_reach_the_client(run: Callable[..., Any]) -> None:
    """Three executions with their own ids and commissions, one order."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            trade = ib.placeOrder(apple(), ib_insync.MarketOrder("BUY", 50, tif="DAY"))
            await until(lambda: trade.orderStatus.status == "Filled")
            await until(lambda: all(fill.commissionReport.execId for fill in trade.fills))
            assert [fill.execution.shares for fill in trade.fills] == [20.0, 20.0, 10.0]
            assert sum(fill.commissionReport.commission for fill in trade.fills) == 1.0
            assert len({fill.execution.execId for fill in trade.fills}) == 3

    run(test, faults=(parse("partial_fills:shares=20,interval_s=0.1"),))


def test_freeze_holds_an_order_until_it_ends(run: Callable[..., Any]) -> None:
    """A frozen gateway answers nothing; on waking up it works what was sent meanwhile."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            await fetch(sim.control_port, "/fault", {"name": "freeze", "seconds": 0})
            trade = ib.placeOrder(apple(), ib_insync.MarketOrder("BUY", 5, tif="DAY"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ib.reqCurrentTimeAsync(), 0.3)
            assert trade.orderStatus.status == "PendingSubmit"
            assert sim.gateway.world.frames == []
            await fetch(sim.control_port, "/fault", {"name": "clear"})
            await until(lambda: trade.orderStatus.status == "Filled")

    run(test)


def test_a_frozen_client_hears_nothing_until_it_wakes(run: Callable[..., Any]) -> None:
    """What happens meanwhile is told afterwards; other clients notice nothing."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim, 5) as one, connected(sim, 6) as two:
            trade = one.placeOrder(apple(), ib_insync.LimitOrder("BUY", 5, 90, tif="GTC"))
            await until(lambda: trade.orderStatus.status == "Submitted")
            await fetch(sim.control_port, "/fault", {"name": "freeze", "client_id": 5})
            two.reqGlobalCancel()
            assert await two.reqAllOpenOrdersAsync() == []
            # What was written to client 5 would be here by now: a later round trip is over.
            await two.reqCurrentTimeAsync()
            assert trade.orderStatus.status == "Submitted"
            await fetch(sim.control_port, "/fault", {"name": "clear"})
            await until(lambda: trade.orderStatus.status == "Cancelled")

    run(test)


def test_socket_reset_after_place_leaves_the_order_in_the_market(
    run: Callable[..., Any],
) -> None:
    """The client loses its connection without an answer; the order is there all the same."""

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            lost = asyncio.Event()
            ib.disconnectedEvent += lost.set
            body = {"name": "socket_reset", "after_place": True, "client_id": 5}
            assert (await fetch(sim.control_port, "/fault", body))[0] == 200
            trade = ib.placeOrder(apple(), ib_insync.LimitOrder("BUY", 5, 90, tif="GTC"))
            await asyncio.wait_for(lost.wait(), 5)
            assert trade.orderStatus.status == "PendingSubmit"
        async with connected(sim) as ib:
            assert len(ib.openTrades()) == 1

    run(test)


def test_a_reset_is_a_tcp_reset(run: Callable[..., Any]) -> None:
    """The peer sees ECONNRESET, not an orderly end."""

    async def test(sim: SimGateway) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        writer.write(b"API\0\0\0\0\x09v176..176" + frame(["71", "2", "3", ""]))
        await reader.readuntil(b"2158")
        await fetch(sim.control_port, "/fault", {"name": "socket_reset"})
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(-1), 5)
        writer.close()

    run(test)


# ---------------------------------------------------------------------- control port


def test_control_answers(run: Callable[..., Any]) -> None:
    """Truth, faults, quote, shock and clock, as JSON."""

    async def test(sim: SimGateway) -> None:
        port = sim.control_port
        status, truth = await fetch(port, "/truth")
        assert status == 200
        assert {"accounts", "positions", "orders", "executions", "frames"} <= set(truth)
        assert truth["accounts"]["DU1234567"]["cash"] == 100_000
        _, known = await fetch(port, "/faults")
        assert known["active"] == []
        assert "freeze" in {item["name"] for item in known["faults"]}
        body = {"name": "partial_fills", "shares": 5, "symbol": "AAPL"}
        _, answer = await fetch(port, "/fault", body)
        assert answer["id"] == 1
        assert answer["active"] == [{"id": 1, **body, "interval_s": 0.5, "struck": 0}]
        _, answer = await fetch(port, "/fault", {"name": "clear"})
        assert answer["active"] == []
        _, quote = await fetch(port, "/quote", {"symbol": "AAPL", "bid": 99.5, "halted": 1})
        assert (quote["bid"], quote["halted"]) == (99.5, True)
        _, quote = await fetch(port, "/quote", {"symbol": "AAPL", "bid": None, "halted": None})
        assert (quote["last"], quote["halted"]) == (100, False)
        await fetch(port, "/quote", {"shock": -0.3})
        assert sim.gateway.world.price_of(265598) == Decimal(70)
        _, answer = await fetch(port, "/clock", {"offset_s": -5.5})
        assert answer["offset_s"] == -5.5

    run(test)


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/nothing", None, 404, "no GET /nothing"),
        ("/truth", {}, 404, "no POST /truth"),
        ("/fault", {"name": "nonsense"}, 400, "no fault named"),
        ("/fault", {"name": "freeze", "seconds": "long"}, 400, "expected seconds as"),
        ("/fault", {}, 400, "expected a fault's name"),
        ("/fault", [1], 400, "expected a JSON object"),
        ("/quote", {"symbol": "NOPE", "bid": 1}, 400, "expected a symbol"),
        ("/quote", {"symbol": "AAPL"}, 400, "expected bid"),
        ("/quote", {"symbol": "AAPL", "bid": -1}, 400, "expected bid above 0"),
        ("/quote", {"symbol": "AAPL", "bid": 5, "ask": 4}, 400, "bid below ask"),
        ("/quote", {"symbol": "AAPL", "bit": 5}, 400, "unknown: bit"),
        ("/quote", {"symbol": "AAPL", "halted": 7}, 400, "expected halted"),
        ("/quote", {"symbol": "FB", "last": 20}, 400, "FB has no price"),
        ("/quote", {"symbol": "AAPL", "ask": 99.123456}, 400, "expected ask in steps of 0.01"),
        ("/quote", {"symbol": "AAPL", "last": 100.001}, 400, "expected last in steps of 0.01"),
        ("/quote", {"shock": -1}, 400, "expected a shock above -1"),
        ("/quote", {"shock": 1e9}, 400, "expected a shock above -1 and up to 9"),
        ("/quote", {"shock": 0.1, "symbol": "AAPL"}, 400, "shock alone, with it came symbol"),
        ("/fault", {"name": "clear", "x": 1}, 400, "expected clear alone, with it came x"),
        ("/fault", {"clear": 1, "x": 1}, 400, "expected clear alone, with it came x"),
        ("/clock", {"offset_s": "now"}, 400, "expected offset_s as a number"),
        ("/clock", {"offset_s": 1e12}, 400, "expected an offset of at most"),
        ("/clock", {}, 400, "expected offset_s or to"),
        ("/clock", {"to": "2026-11-27T09:30:00-05:00", "offset_s": 1}, 400, "expected offset_s or"),
        ("/clock", {"to": "2026-11-27T09:30:00"}, 400, "with its zone"),
        ("/clock", {"to": 7}, 400, "expected to as an ISO-8601 time"),
        ("/clock", {"to": "9999-12-31T00:00:00Z"}, 400, "expected an offset of at most"),
    ],
)
def test_control_refuses_what_makes_no_sense(
    run: Callable[..., Any], path: str, body: object, status: int, error: str
) -> None:
    """404 for unknown routes, 400 with a sentence for bad input."""

    async def test(sim: SimGateway) -> None:
        answer = await fetch(sim.control_port, path, body)
        assert answer[0] == status
        assert error in answer[1]["error"]

    run(test)


def test_a_quote_may_be_a_sum_of_floats(run: Callable[..., Any]) -> None:
    """660.1 - 0.05 is 660.0500000000001 in JSON, and a price all the same."""

    async def test(sim: SimGateway) -> None:
        body = {"symbol": "AAPL", "bid": 660.1 - 0.05, "ask": 660.1 + 0.2}
        status, quote = await fetch(sim.control_port, "/quote", body)
        assert (status, quote["bid"], quote["ask"]) == (200, 660.05, 660.3)

    run(test)


def test_shocks_are_bounded_together(run: Callable[..., Any]) -> None:
    """However many come, prices stay such as can be written and traded."""

    async def test(sim: SimGateway) -> None:
        for number in range(5):
            status, answer = await fetch(sim.control_port, "/quote", {"shock": 9})
            assert status == (200 if number < 4 else 400)
        assert "at most 10,000 times" in answer["error"]
        assert (await fetch(sim.control_port, "/quote", {"shock": -0.9}))[0] == 200

    run(test)


# ---------------------------------------------------------------------- starting and failing


def test_a_port_in_use_is_one_sentence(run: Callable[..., Any], samples_dir: Path) -> None:
    """For the API port and the control port; nothing stays open behind the failure."""

    async def test(sim: SimGateway) -> None:
        options = SimOptions(world=OPTIONS, samples=samples_dir)
        for clash in (
            replace(options, port=sim.port),
            replace(options, control_port=sim.control_port),
        ):
            with pytest.raises(SimError, match="cannot listen on"):
                await SimGateway(clash).start()

    run(test)


def test_a_failing_disk_cuts_every_client_off(run: Callable[..., Any], tmp_path: Path) -> None:
    """What cannot be stored is told to nobody, and the simulator says that it failed."""
    import os  # noqa: PLC0415 - only here

    async def test(sim: SimGateway) -> None:
        async with connected(sim) as ib:
            journal: Any = sim.gateway.world._journal
            os.dup2(os.open("/dev/full", os.O_WRONLY), journal._file)
            trade = ib.placeOrder(apple(), ib_insync.MarketOrder("BUY", 5, tif="DAY"))
            await until(lambda: not ib.isConnected())
            assert trade.orderStatus.status == "PendingSubmit"
            assert "No space left" in str(sim.failure)

    run(test, state=tmp_path / "state")


def test_a_clean_stop_stores_how_far_the_market_ran(samples_dir: Path, tmp_path: Path) -> None:
    """Though no order was ever placed, the next start goes on from there."""
    world = replace(OPTIONS, speed=1000.0)
    options = SimOptions(world=world, samples=samples_dir, state=tmp_path / "state")

    async def main() -> tuple[float, float]:
        async with SimGateway(options) as sim:
            await until(lambda: sim.gateway.world.moment().market_s > 0)
            ran_s = sim.gateway.world.moment().market_s
        async with SimGateway(options) as sim:
            return ran_s, sim.gateway.world.moment().market_s

    ran_s, resumed_s = asyncio.run(main())
    assert resumed_s >= ran_s > 0


def test_a_stranger_is_cut_off(run: Callable[..., Any]) -> None:
    """A web browser on the API port is closed at once."""

    async def test(sim: SimGateway) -> None:
        def call() -> bytes:
            with socket.create_connection(("127.0.0.1", sim.port), timeout=5) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return sock.recv(100)

        assert await asyncio.to_thread(call) == b""

    run(test)

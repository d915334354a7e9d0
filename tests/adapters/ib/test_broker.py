"""Orders out, events in: what the executor can rely on."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ibloop.adapters.ib.lib import SENDS_MAX, SENDS_URGENT
from ibloop.adapters.ports import NotSentError
from ibloop.core.events import (
    AccountReported,
    CommissionReported,
    Connected,
    Disconnected,
    ErrorReported,
    EvidenceCollected,
    EvidenceFailed,
    Executed,
    OrderReported,
)
from ibloop.core.invariant import InvariantError
from ibloop.core.model import Algo, OrderType, Side, Tif

RESTING = Decimal(1)


async def connected(bench: Any, log_of: Any, **values: Any) -> tuple[Any, Any, int]:
    """Return a connected broker, its log and the gateway's next order id."""
    broker = bench.broker(**values)
    log = log_of(broker)
    await broker.connect()
    return broker, log, (await log.first(Connected)).next_order_id


def test_an_order_is_acknowledged_filled_and_charged(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """Acknowledgement, execution and commission come as events under our own order id."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        aapl = bench.instrument("AAPL")
        order = make_order(aapl, next_id)
        broker.place(order, aapl)
        ref = order.client_order_id
        seen = await log.first(OrderReported, client_order_id=ref, ib_order_id=next_id)
        assert seen.perm_id > 0
        await log.first(OrderReported, client_order_id=ref, ib_status="Filled")
        execution = (await log.first(Executed)).execution
        assert execution.client_order_id == ref
        assert (execution.side, execution.quantity) == (Side.BUY, Decimal(10))
        assert execution.perm_id == seen.perm_id
        assert execution.executed_at.tzinfo is UTC
        report = await log.first(CommissionReported, exec_id=execution.exec_id)
        assert report.commission == Decimal(1)
        assert report.realized_pnl in {None, Decimal(0)}
        paid = execution.quantity * execution.price + report.commission
        await until(
            lambda: 100_000 - paid in {e.values.total_cash for e in log.all(AccountReported)},
            "the cash that is left",
        )

    play(scenario)


def test_every_field_of_an_order_is_explicit(play: Any, log_of: Any, make_order: Any) -> None:
    """Nothing is left to presets: account, reference, time in force, expiry in UTC, transmit."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of, port=bench.proxy.port)
        ibm = bench.instrument("IBM")
        till = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
        limit = Decimal("1.10")
        broker.place(make_order(ibm, next_id, limit_price=limit, good_till=till), ibm)
        broker.place(
            make_order(ibm, next_id + 1, order_type=OrderType.MKT, limit_price=None, tif=Tif.DAY),
            ibm,
        )
        await log.settle()
        limited, market = (fields for fields in bench.proxy.received if fields[0] == "3")
        contract = [str(ibm.con_id), "IBM", "STK", "", "0.0", "", "", "SMART", "NASDAQ", "USD"]
        assert limited[1:12] == [str(next_id), *contract]
        assert limited[16:22] == ["BUY", "10", "LMT", "1.1", "", "GTD"]
        account, reference, transmit, outside_rth = 23, 26, 27, 34
        assert limited[account] == "DU1234567"
        assert limited[reference] == f"ibl:test:IBM:B:{next_id}"
        assert (limited[transmit], limited[outside_rth]) == ("1", "0")
        assert "20300102-15:04:05" in limited
        assert market[16:22] == ["BUY", "10", "MKT", "", "", "DAY"]
        assert not any(field.startswith("20") and "-" in field for field in market)

    play(scenario)


@pytest.mark.parametrize(
    ("algo", "word"),
    [
        (Algo.ADAPTIVE_URGENT, "Urgent"),
        (Algo.ADAPTIVE_NORMAL, "Normal"),
        (Algo.ADAPTIVE_PATIENT, "Patient"),
    ],
)
def test_an_adaptive_order_is_sent_as_one_and_filled(
    play: Any, log_of: Any, make_order: Any, algo: Algo, word: str
) -> None:
    """Strategy, its one parameter and DAY are on the wire; it works like its base type."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of, port=bench.proxy.port)
        ibm = bench.instrument("IBM")
        limited = make_order(ibm, next_id, algo=algo, tif=Tif.DAY)
        market = replace(
            make_order(ibm, next_id + 1, algo=algo, tif=Tif.DAY, limit_price=None),
            order_type=OrderType.MKT,
        )
        for order in (limited, market):
            broker.place(order, ibm)
            ref = order.client_order_id
            await log.first(OrderReported, client_order_id=ref, ib_status="Filled")
        for fields in (f for f in bench.proxy.received if f[0] == "3"):
            at = fields.index("Adaptive")
            assert fields[at : at + 4] == ["Adaptive", "1", "adaptivePriority", word]
            assert fields[21] == "DAY"

    play(scenario)


def test_an_adaptive_order_that_rests_can_be_cancelled(
    play: Any, log_of: Any, make_order: Any
) -> None:
    """That is how it dies at the deadline: it has no expiry of its own."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        ibm = bench.instrument("IBM")
        order = make_order(
            ibm, next_id, algo=Algo.ADAPTIVE_PATIENT, tif=Tif.DAY, limit_price=RESTING
        )
        broker.place(order, ibm)
        ref = order.client_order_id
        await log.first(OrderReported, client_order_id=ref, ib_status="Submitted")
        broker.cancel(order)
        await log.first(OrderReported, client_order_id=ref, ib_status="Cancelled")

    play(scenario)


@pytest.mark.parametrize(
    "changes",
    [
        {"ib_order_id": None},
        {"ib_order_id": 0},
        {"ib_order_id": 1_000_000_000},
        {"limit_price": None},
        {"quantity": Decimal("1.5")},
        {"quantity": Decimal(0)},
        {"symbol": "MSFT"},
    ],
)
def test_a_malformed_order_never_reaches_the_socket(
    play: Any, log_of: Any, make_order: Any, changes: dict[str, Any]
) -> None:
    """What cannot be meant is a bug of the caller: it raises before the first byte."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        ibm = bench.instrument("IBM")
        with pytest.raises(InvariantError):
            broker.place(replace(make_order(ibm, next_id), **changes), ibm)
        await log.settle()
        assert bench.truth()["frames"] == []

    play(scenario)


def test_an_order_id_is_written_once(play: Any, log_of: Any, make_order: Any) -> None:
    """A gateway would take the second one for a change of the first."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        ibm = bench.instrument("IBM")
        broker.place(make_order(ibm, next_id, limit_price=RESTING), ibm)
        with pytest.raises(InvariantError, match="placed twice"):
            broker.place(make_order(ibm, next_id, limit_price=RESTING, quantity=Decimal(5)), ibm)
        await log.settle()
        assert len(bench.truth()["frames"]) == 1

    play(scenario)


def test_a_closed_socket_is_the_one_certain_not_sent(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """Before connect and after a loss place raises, and the id may be used afterwards."""

    async def scenario(bench: Any) -> None:
        ibm = bench.instrument("IBM")
        with pytest.raises(NotSentError):
            bench.broker().place(make_order(ibm, 1), ibm)
        broker, log, next_id = await connected(bench, log_of)
        bench.fault("socket_reset", client_id=11)
        await until(lambda: not broker.is_connected(), "the loss")
        order = make_order(ibm, next_id, limit_price=RESTING)
        with pytest.raises(NotSentError):
            broker.place(order, ibm)
        assert bench.truth()["frames"] == []
        assert len(log.all(Disconnected)) == 1
        await broker.connect()
        broker.place(order, ibm)
        await log.first(OrderReported, client_order_id=order.client_order_id)

    play(scenario)


def test_a_socket_that_breaks_after_the_order_is_not_called_not_sent(
    play: Any, log_of: Any, make_order: Any
) -> None:
    """The bytes have left: place returns, the loss comes as an event, evidence finds the order."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        ibm = bench.instrument("IBM")
        bench.fault("socket_reset", client_id=11, after_place=True)
        order = make_order(ibm, next_id, limit_price=RESTING)
        broker.place(order, ibm)
        await log.first(Disconnected)
        assert log.all(OrderReported) == []
        await broker.connect()
        broker.collect_evidence()
        evidence = (await log.first(EvidenceCollected)).evidence
        assert [o.client_order_id for o in evidence.open_orders] == [order.client_order_id]

    play(scenario)


def test_a_rejection_is_attributed_and_nothing_is_made_up(
    play: Any, log_of: Any, make_order: Any
) -> None:
    """The error carries our order id; the only statuses reported are the gateway's own."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        ibm = bench.instrument("IBM")
        bench.fault("order_rejected", symbol="IBM", code=201, text="Order rejected - reason: no")
        broker.place(make_order(ibm, next_id), ibm)
        error = await log.first(ErrorReported, code=201)
        assert error.ib_order_id == next_id
        assert "no" in error.text
        await log.first(OrderReported, ib_status="Inactive")
        broker.place(make_order(ibm, next_id + 1, limit_price=Decimal("1.005")), ibm)
        assert (await log.first(ErrorReported, code=110)).ib_order_id == next_id + 1
        await log.settle()
        # The library's own IB class would say Cancelled here, on no authority but its own.
        assert log.all(OrderReported, ib_status="Cancelled") == []

    play(scenario)


def test_errors_about_questions_are_not_errors_about_orders(
    play: Any, log_of: Any, make_order: Any
) -> None:
    """A number is taken for an order only if that order was placed or seen on this connection."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of, port=bench.proxy.port)
        ibm = bench.instrument("IBM")
        broker.place(make_order(ibm, next_id, limit_price=RESTING), ibm)
        for number, code in ((next_id, 399), (next_id + 7, 322), (1_000_000_003, 300), (-1, 1100)):
            bench.proxy.inject(4, 2, number, code, "text", "")
        assert (await log.first(ErrorReported, code=399)).ib_order_id == next_id
        for code in (322, 300, 1100):
            assert (await log.first(ErrorReported, code=code)).ib_order_id is None

    play(scenario)


def test_a_status_is_attributed_by_perm_id_else_by_our_own_order_id(
    play: Any, log_of: Any, make_order: Any
) -> None:
    """Order ids are per client: another client's order of the same number is not ours."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of, port=bench.proxy.port)
        ibm = bench.instrument("IBM")
        order = make_order(ibm, next_id, limit_price=RESTING)
        broker.place(order, ibm)
        perm_id = (await log.first(OrderReported, ib_status="Submitted")).perm_id
        for seen_perm_id, client_id, status in (
            (0, 11, "PendingSubmit"),
            (424242, 5, "PreSubmitted"),
            (perm_id, 5, "PendingCancel"),
        ):
            numbers = (0, 10, 0.0, seen_perm_id, 0, 0.0, client_id)
            bench.proxy.inject(3, next_id, status, *numbers, "", 0.0)
        ours = {"client_order_id": order.client_order_id}
        await log.first(OrderReported, ib_status="PendingCancel", perm_id=perm_id, **ours)
        await log.first(OrderReported, ib_status="PendingSubmit", perm_id=0, **ours)
        await log.first(OrderReported, ib_status="PreSubmitted", perm_id=424242, client_order_id="")

    play(scenario)


def test_a_cancel_is_confirmed_by_events(play: Any, log_of: Any, make_order: Any) -> None:
    """The cancelled order reports Cancelled and 202, both under our ids."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        ibm = bench.instrument("IBM")
        order = make_order(ibm, next_id, limit_price=RESTING)
        broker.place(order, ibm)
        await log.first(OrderReported, ib_status="Submitted")
        broker.cancel(order)
        await log.first(OrderReported, ib_status="Cancelled", client_order_id=order.client_order_id)
        assert (await log.first(ErrorReported, code=202)).ib_order_id == next_id

    play(scenario)


def test_a_cancel_on_a_closed_socket_is_silent(play: Any, make_order: Any) -> None:
    """Its answer comes as events, or never: the next evidence tells."""

    async def scenario(bench: Any) -> None:
        bench.broker().cancel(make_order(bench.instrument("IBM"), 1))
        assert bench.truth()["frames"] == []

    play(scenario)


def test_an_earlier_connections_order_is_adopted_by_its_reference(
    play: Any, log_of: Any, make_order: Any
) -> None:
    """A new process sees it with its reference, is told of its fills, and can cancel it."""

    async def scenario(bench: Any) -> None:
        first, log, next_id = await connected(bench, log_of)
        ibm, aapl = bench.instrument("IBM"), bench.instrument("AAPL")
        resting = make_order(ibm, next_id, limit_price=RESTING)
        other = make_order(aapl, next_id + 1, limit_price=RESTING)
        for order, instrument in ((resting, ibm), (other, aapl)):
            first.place(order, instrument)
            await log.first(OrderReported, client_order_id=order.client_order_id)
        first.disconnect()

        second, log, again = await connected(bench, log_of)
        assert again == next_id + 2
        # A fill of an order that this process has never heard of: no evidence was collected yet.
        bench.control("POST", "/quote", symbol="AAPL", bid=0.5, ask=0.6)
        execution = (await log.first(Executed)).execution
        assert execution.client_order_id == other.client_order_id
        second.collect_evidence()
        evidence = (await log.first(EvidenceCollected)).evidence
        [seen] = evidence.open_orders
        assert seen.client_order_id == resting.client_order_id
        assert (seen.ib_order_id, seen.client_id) == (next_id, 11)
        assert (seen.quantity, seen.filled_quantity, seen.side) == (10, 0, Side.BUY)
        second.cancel(resting)
        await log.first(
            OrderReported, ib_status="Cancelled", client_order_id=resting.client_order_id
        )
        assert (await log.first(ErrorReported, code=202)).ib_order_id == next_id

    play(scenario)


def test_questions_use_up_no_order_ids(play: Any, log_of: Any, make_order: Any) -> None:
    """However much is asked, the next order id stays the one after the last order."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        for count in range(1, 4):
            await log.settle()
            ibm = bench.instrument("IBM")
            broker.place(make_order(ibm, next_id + count - 1, limit_price=RESTING), ibm)
        await log.settle()
        assert log.all(ErrorReported, code=103) == []
        broker.disconnect()
        _, _, again = await connected(bench, log_of)
        assert again == next_id + 3

    play(scenario)


def test_global_cancel_takes_every_order(play: Any, log_of: Any, make_order: Any) -> None:
    """Orders of other clients too; their owner is told under its own references."""

    async def scenario(bench: Any) -> None:
        broker, log, next_id = await connected(bench, log_of)
        other, _, _ = await connected(bench, log_of, client_id=5)
        ibm = bench.instrument("IBM")
        order = make_order(ibm, next_id, limit_price=RESTING)
        broker.place(order, ibm)
        await log.first(OrderReported, ib_status="Submitted")
        other.global_cancel()
        await log.first(OrderReported, ib_status="Cancelled", client_order_id=order.client_order_id)

    play(scenario)


def test_room_leaves_slots_for_cancels_and_comes_back(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """Orders stop at 45 in a window, cancels still go out at once, a second later there is room."""

    async def scenario(bench: Any) -> None:
        broker, _, next_id = await connected(bench, log_of)
        assert bench.broker().room() == 0
        await until(lambda: broker.room() >= SENDS_MAX - SENDS_URGENT - 1, "an idle window")
        ibm = bench.instrument("IBM")
        placed = []
        while broker.room():
            placed.append(make_order(ibm, next_id + len(placed), limit_price=RESTING))
            broker.place(placed[-1], ibm)
        assert SENDS_MAX - SENDS_URGENT - 2 <= len(placed) <= SENDS_MAX - SENDS_URGENT
        for order in placed[: SENDS_URGENT - 1]:
            broker.cancel(order)
            assert broker._client.unsent is None
        await until(lambda: broker.room() > SENDS_URGENT, "room again")

    play(scenario)


def test_disconnect_is_reported_once(play: Any, log_of: Any) -> None:
    """One Connected, one Disconnected, and nothing from a connection that is closed."""

    async def scenario(bench: Any) -> None:
        broker, log, _ = await connected(bench, log_of)
        broker.disconnect("enough")
        broker.disconnect()
        await asyncio.sleep(0)
        assert [event.reason for event in log.all(Disconnected)] == ["enough"]
        assert not broker.is_connected()
        assert broker.room() == 0

    play(scenario)


def test_evidence_on_a_closed_socket_fails(play: Any, log_of: Any) -> None:
    """Nobody asked is not the same as nothing there."""

    async def scenario(bench: Any) -> None:
        broker = bench.broker()
        log = log_of(broker)
        broker.collect_evidence()
        assert "not connected" in (await log.first(EvidenceFailed)).reason

    play(scenario)

"""The connection under its message limit: what leaves first, what waits, what is cut off."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from ibloop.adapters.ib.lib import SENDS_MAX, SENDS_URGENT
from ibloop.adapters.ports import NotSentError
from ibloop.core.events import Connected, ErrorReported, EvidenceCollected, EvidenceFailed

RESTING = Decimal(1)
PLACE, CANCEL, POSITIONS, GLOBAL_CANCEL, TIME = "3", "4", "61", "58", "49"


async def full(
    bench: Any, log_of: Any, make_order: Any, until: Any, **values: Any
) -> tuple[Any, Any, list[Any]]:
    """Return a broker that has filled an idle window with orders, its log and the orders."""
    broker = bench.broker(port=bench.proxy.port, **values)
    log = log_of(broker)
    await broker.connect()
    next_id = (await log.first(Connected)).next_order_id
    await until(lambda: broker.room() >= SENDS_MAX - SENDS_URGENT - 1, "an idle window")
    ibm = bench.instrument("IBM")
    placed: list[Any] = []
    while broker.room():
        placed.append(make_order(ibm, next_id + len(placed), limit_price=RESTING))
        broker.place(placed[-1], ibm)
    return broker, log, placed


def kinds(bench: Any) -> list[str]:
    """Return the numbers of the messages that came, in order."""
    return [fields[0] for fields in bench.proxy.received]


def test_cancels_leave_before_the_questions_that_wait(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """45 orders, then an evidence pass, then a cancel of each: every cancel comes first."""

    async def scenario(bench: Any) -> None:
        broker, log, placed = await full(bench, log_of, make_order, until)
        broker.collect_evidence()
        await asyncio.sleep(0)  # the pass has asked its first question
        for order in placed:
            broker.cancel(order)
        await log.first(EvidenceCollected)
        came = kinds(bench)
        asked = came.index(POSITIONS)
        assert came[:asked].count(CANCEL) == len(placed)
        assert came[:asked].count(PLACE) == len(placed)
        assert log.all(ErrorReported, code=100) == []

    play(scenario)


def test_a_kill_is_not_kept_behind_a_full_window(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """The slots kept for cancels are kept from questions too: a global cancel waits for none."""

    async def scenario(bench: Any) -> None:
        broker, log, _ = await full(bench, log_of, make_order, until)
        broker.collect_evidence()
        await asyncio.sleep(0)
        unsent = broker._write(lambda client: client.reqCurrentTime())
        assert unsent is not None
        broker.global_cancel()
        assert not unsent.done()
        await log.first(EvidenceCollected)
        came = kinds(bench)
        assert came.index(GLOBAL_CANCEL) < came.index(POSITIONS)

    play(scenario)


def test_an_order_without_room_is_not_sent(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """It does not wait in a queue: not one byte leaves, and its number can still be used."""

    async def scenario(bench: Any) -> None:
        broker, log, placed = await full(bench, log_of, make_order, until)
        ibm = bench.instrument("IBM")
        late = make_order(ibm, placed[-1].ib_order_id + 1, limit_price=RESTING)
        with pytest.raises(NotSentError, match="no room"):
            broker.place(late, ibm)
        await log.settle()
        assert kinds(bench).count(PLACE) == len(placed)
        broker.place(late, ibm)
        await log.settle()
        assert kinds(bench).count(PLACE) == len(placed) + 1
        assert log.all(ErrorReported, code=103) == []

    play(scenario)


def test_a_question_that_waits_its_turn_is_not_unanswered(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """Its time begins when it has left: a gateway that was not asked is not a silent one."""

    async def scenario(bench: Any) -> None:
        broker, log, _ = await full(bench, log_of, make_order, until, timeout_s=0.5)
        broker.collect_evidence()
        await log.first(EvidenceCollected)
        assert log.all(EvidenceFailed) == []

    play(scenario)


def test_what_waits_is_cut_off_with_its_connection(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """A question in the queue fails at once, and is written on no later connection."""

    async def scenario(bench: Any) -> None:
        broker, log, placed = await full(bench, log_of, make_order, until)
        broker.collect_evidence()
        await asyncio.sleep(0)
        for order in placed:
            broker.cancel(order)
        client, unsent = broker._client, broker._client.unsent
        broker.disconnect("pulled")
        assert unsent.cancelled()
        assert client._timer is None
        assert client._pace.waiting() == []
        assert "pulled" in (await log.first(EvidenceFailed)).reason
        came = kinds(bench)
        assert POSITIONS not in came
        await broker.connect()
        await broker.prove()
        assert kinds(bench)[len(came) :].count(CANCEL) <= SENDS_URGENT + 1
        assert POSITIONS not in kinds(bench)

    play(scenario)


def test_an_end_is_put_off_until_the_cancels_have_left(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """The executor may not be able to start again, and then nobody else asks for them."""

    async def scenario(bench: Any) -> None:
        broker, _, placed = await full(bench, log_of, make_order, until)
        for order in placed:
            broker.cancel(order)
        assert broker._client.cancels_waiting() > 0
        await broker.let_cancels_leave(10.0)
        broker.disconnect("the end")
        await until(lambda: kinds(bench).count(CANCEL) == len(placed), "every cancel")
        await broker.let_cancels_leave(10.0)  # nothing to wait for without a connection

    play(scenario)


def test_the_time_is_asked_for_a_second_after_it_left(
    play: Any, log_of: Any, make_order: Any, until: Any
) -> None:
    """A probe that had to wait counts from when it left, or gateways leave the next unanswered."""

    async def scenario(bench: Any) -> None:
        broker, _, _ = await full(bench, log_of, make_order, until)
        asked_at = broker._time_asked_at
        unsent = broker._ask_time()
        assert unsent is not None
        assert broker._time_asked_at == asked_at
        await asyncio.wait({unsent})
        assert broker._time_asked_at > asked_at

    play(scenario)

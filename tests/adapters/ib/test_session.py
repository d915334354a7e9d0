"""One connection: let in, kept out, proven, frozen and lost."""

import asyncio
import math
import subprocess
import sys
from typing import Any

import pytest

from ibloop.adapters.ib.errors import (
    ClientIdInUseError,
    GatewayAbsentError,
    GatewaySilentError,
    WrongAccountError,
)
from ibloop.adapters.ib.session import REQUEST_ID_FIRST, clock_skew_s
from ibloop.adapters.ports import NotSentError
from ibloop.core.binding import Endpoint
from ibloop.errors import GatewayUnavailableError


def test_a_connection_is_proven_by_a_round_trip(play: Any, until: Any) -> None:
    """After connect the account is ours and the gateway has answered; the proof is renewed."""

    async def scenario(bench: Any) -> None:
        session = bench.session()
        assert not session.is_connected()
        assert session.proof_age_s() == math.inf
        await session.connect()
        assert session.is_connected()
        first = session._proof
        assert session.proof_age_s() < 5
        await until(lambda: session._proof != first, "a second round trip by itself")

    play(scenario)


@pytest.mark.parametrize("accounts", [("DU7654321",), ("DU1234567", "DU7654321")])
def test_a_gateway_with_other_accounts_is_refused(play: Any, accounts: tuple[str, ...]) -> None:
    """The login must manage exactly our account; the refusal gives the client id back."""

    async def scenario(bench: Any) -> None:
        session = bench.session()
        with pytest.raises(WrongAccountError, match="expected a gateway logged in to DU1234567"):
            await session.connect()
        assert not session.is_connected()
        if len(accounts) == 1:
            other = bench.session(account=accounts[0])
            await other.connect()
            assert other.is_connected()

    play(scenario, accounts)


@pytest.mark.parametrize(("account", "port"), [("DU1234567", 4001), ("U1234567", 7497)])
def test_a_port_that_contradicts_the_account_is_not_even_tried(
    play: Any, account: str, port: int
) -> None:
    """Whatever a file says where the gateway is: paper does not go to a live port (P9)."""

    async def scenario(bench: Any) -> None:
        session = bench.session(account=account, port=port)
        with pytest.raises(WrongAccountError, match=f"does not go to the .* port {port}"):
            await session.connect()
        assert not session.is_connected()

    play(scenario)


def test_a_connection_says_where_it_has_led(play: Any) -> None:
    """Account and port of the one in use, also when the next one will go elsewhere (P9)."""

    async def scenario(bench: Any) -> None:
        session = bench.session()
        assert session.endpoint() is None
        await session.connect()
        there = Endpoint(session.account, session.port)
        session.port = 1
        assert session.endpoint() == there
        session.disconnect()
        assert session.endpoint() is None

    play(scenario)


@pytest.mark.parametrize(("seconds", "side"), [(75, -1), (-75, 1)])
def test_the_brokers_clock_is_compared_with_ours(
    play: Any, until: Any, seconds: int, side: int
) -> None:
    """Its time comes with every proof; a difference is seen with the next one, and its end."""

    async def scenario(bench: Any) -> None:
        session = bench.session()
        assert session.clock_skew_s() is None
        await session.connect()
        assert session.clock_skew_s() == 0
        bench.control("POST", "/fault", name="clock_skew", seconds=seconds)
        await until(lambda: abs(session.clock_skew_s()) > 70, "the difference")
        assert session.clock_skew_s() * side == pytest.approx(75, abs=4)
        bench.control("POST", "/fault", name="clear")
        await until(lambda: session.clock_skew_s() == 0, "agreement")
        session.disconnect()
        assert session.clock_skew_s() is None

    play(scenario)


@pytest.mark.parametrize(
    ("ahead_s", "trip_s", "skew_s"),
    [
        (0.0, 0.0, 0.0),
        (0.99, 0.0, 0.0),
        (1.0, 0.0, 0.0),
        (3.5, 0.0, 2.5),
        (3.5, 1.5, 1.0),
        (1.5, 1.0, 0.0),
        (-0.5, 0.2, -0.5),
        (-60.0, 3.0, -60.0),
    ],
)
def test_a_whole_second_and_the_trip_are_no_difference(
    ahead_s: float, trip_s: float, skew_s: float
) -> None:
    """Only what neither the cut second nor the way of the answer explains is a skew."""
    assert clock_skew_s(ahead_s, trip_s) == skew_s


def test_a_used_client_id_is_told_at_once(play: Any) -> None:
    """Error 326 ends the attempt with its own error, long before the timeout, and harms nobody."""

    async def scenario(bench: Any) -> None:
        holder, second = bench.session(), bench.session()
        await holder.connect()
        with pytest.raises(ClientIdInUseError, match="client id 19 is in use"):
            await asyncio.wait_for(second.connect(timeout_s=300), 10)
        assert holder.is_connected()
        assert not second.is_connected()

    play(scenario)


def test_the_ways_of_not_being_there_are_told_apart(bare_server: Any, play: Any) -> None:
    """Nobody listening, hanging up and saying nothing are different errors, the first two quick."""

    async def scenario(bench: Any) -> None:
        async with bare_server(hangs_up=True) as server:
            with pytest.raises(GatewaySilentError):
                await asyncio.wait_for(bench.session(port=server.port).connect(300), 10)
        with pytest.raises(GatewayAbsentError, match="nobody listens"):
            await asyncio.wait_for(bench.session(port=server.port).connect(300), 10)
        async with bare_server() as server:
            with pytest.raises(GatewaySilentError, match="no answer within"):
                await bench.session(port=server.port).connect(0.2)

    play(scenario)


def test_a_gateway_that_lets_in_but_does_not_answer_is_no_gateway(play: Any, until: Any) -> None:
    """Without the round trip there is no connection, and its socket is closed again."""

    async def scenario(bench: Any) -> None:
        bench.proxy.muted = {49}
        session = bench.session(port=bench.proxy.port)
        with pytest.raises(GatewaySilentError, match="does not answer"):
            await session.connect(timeout_s=0.5)
        assert not session.is_connected()
        await until(lambda: bench.proxy.open == 0, "the socket closed")

    play(scenario)


@pytest.mark.parametrize("muted", [71, 49])
def test_a_cancelled_connect_leaves_no_socket_behind(play: Any, until: Any, muted: int) -> None:
    """A socket left open would hold our client id: neither handshake nor round trip leaves one."""

    async def scenario(bench: Any) -> None:
        bench.proxy.muted = {muted}
        session = bench.session(port=bench.proxy.port)
        attempt = asyncio.ensure_future(session.connect(timeout_s=300))
        await until(
            lambda: any(fields[0] == str(muted) for fields in bench.proxy.received),
            "the question that is not answered",
        )
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        await until(lambda: bench.proxy.open == 0, "the socket closed")

    play(scenario)


def test_a_frozen_gateway_ages_its_proof(play: Any, until: Any) -> None:
    """The socket of a frozen gateway looks alive; the age of the proof tells, until it thaws."""

    async def scenario(bench: Any) -> None:
        session = bench.session()
        await session.connect()
        bench.fault("freeze", client_id=19, seconds=0)
        await until(lambda: session.proof_age_s() > 2.5, "an old proof")
        assert session.is_connected()
        with pytest.raises(GatewaySilentError):
            await session.prove(timeout_s=0.2)
        bench.fault("clear")
        await until(lambda: session.proof_age_s() < 1, "a fresh proof")

    play(scenario)


def test_round_trips_keep_their_distance(play: Any) -> None:
    """No two reqCurrentTime within 1.1 s: real gateways leave the second one unanswered."""

    async def scenario(bench: Any) -> None:
        session = bench.session(port=bench.proxy.port)
        await session.connect()
        asked = bench.proxy.received
        times = []
        loop = asyncio.get_running_loop()
        for _ in range(2):
            before = len([f for f in asked if f[0] == "49"])
            await session.prove()
            assert len([f for f in asked if f[0] == "49"]) == before + 1
            times.append(loop.time())
        assert times[1] - times[0] >= 1.0

    play(scenario)


def test_a_lost_connection_is_noticed_and_can_be_made_again(play: Any, until: Any) -> None:
    """After a reset nothing claims to be connected, nothing can be written, and connect works."""

    async def scenario(bench: Any) -> None:
        session = bench.session()
        await session.connect()
        session.wake.clear()
        bench.fault("socket_reset", client_id=19)
        await until(lambda: not session.is_connected(), "the loss")
        assert session.wake.is_set()
        assert session.proof_age_s() == math.inf
        with pytest.raises(NotSentError):
            session.global_cancel()
        with pytest.raises(GatewayUnavailableError):
            await session.prove(0.2)
        await session.connect()
        assert session.is_connected()

    play(scenario)


def test_questions_are_numbered_above_all_orders(play: Any) -> None:
    """The library's counter for questions begins where no order id can be."""

    async def scenario(bench: Any) -> None:
        session = bench.session()
        await session.connect()
        assert session._client.getReqId() == REQUEST_ID_FIRST

    play(scenario)


def test_an_unreadable_message_is_counted_and_the_rest_is_read(play: Any, until: Any) -> None:
    """What the decoder cannot read is lost; that must be seen, and must not stop the stream."""

    async def scenario(bench: Any) -> None:
        session = bench.session(port=bench.proxy.port)
        await session.connect()
        bench.proxy.inject(11, 1, "not an execution")
        bench.proxy.inject(49, 1, "not a time")
        bench.proxy.inject(987654, 1)
        await until(lambda: session.unreadable_messages == 3, "three unreadable messages")
        await session.prove()

    play(scenario)


@pytest.mark.parametrize("first", ["asyncio.run(asyncio.sleep(0))", "pass"])
def test_the_adapter_can_be_imported_at_any_time(first: str) -> None:
    """Its client library asks for an event loop at import and fails after a finished run."""
    code = (
        f"import asyncio; {first}; import ibloop.adapters.ib.broker; asyncio.run(asyncio.sleep(0))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_reasons_for_no_gateway_need_no_client_library() -> None:
    """The error types can be imported where half a second of imports would be felt."""
    code = "import sys, ibloop.adapters.ib.errors; sys.exit('ib_insync' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The limit of messages per second: refused above it, cut off in the end, or made to wait."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ib_insync
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.sim import GatewayOptions, SimGateway, SimOptions, WorldOptions
from ibloop.sim.protocol.wire import Hello, frame
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.service.pacing import WINDOW_S, Pace
from ibloop.sim.world import World

RATE = 50
ACCOUNTS = (17, 1)


@pytest.fixture
def gateway(make_world: Callable[..., World]) -> Gateway:
    """Return a gateway over a frozen market with the limit of a real one."""
    return Gateway(make_world())


def paced(gateway: Gateway, connect: Callable[..., Any]) -> Any:
    """Return a client that is held to the limit, its greeting forgotten."""
    client = connect(gateway)
    client.session.pace.per_second = gateway.desk.options.message_rate_max
    return client


def send_many(client: Any, count: int) -> tuple[int, list[str]]:
    """Ask for the accounts many times; return how many answers came and the texts of errors."""
    messages = [message for _ in range(count) for message in client.send(*ACCOUNTS)]
    texts = [fields[4] for fields in messages if fields[0] == "4"]
    return sum(fields[0] == "15" for fields in messages), texts


def test_the_51st_message_of_a_second_is_refused(
    gateway: Gateway, connect: Callable[..., Any], clock: Any
) -> None:
    """Error 100 in IB's words, once for all that are too many, with id -1; then all is well."""
    client = paced(gateway, connect)
    assert send_many(client, RATE) == (RATE, [])
    (error,) = client.send(*ACCOUNTS)
    text = "Max rate of messages per second has been exceeded:max=50 rec=51 (1)"
    assert error == ("4", "2", "-1", "100", text, "")
    assert send_many(client, 20) == (0, [])
    clock.advance(1.0)
    assert send_many(client, RATE) == (RATE, [])
    assert client.line.state == "open"


def test_a_refused_order_is_not_placed(
    gateway: Gateway, connect: Callable[..., Any], place_fields: Callable[..., Any]
) -> None:
    """What is above the limit never reaches the broker."""
    client = paced(gateway, connect)
    send_many(client, RATE)
    client.send(*place_fields(1))
    assert not gateway.world.broker.orders


def test_the_third_violation_closes_the_connection(
    gateway: Gateway, connect: Callable[..., Any], clock: Any
) -> None:
    """IB disconnects clients that violate the limit again and again."""
    client = paced(gateway, connect)
    for violation in (1, 2, 3):
        assert client.line.state == "open"
        served, (text,) = send_many(client, RATE + 30)
        assert (served, text[-4:]) == (RATE, f" ({violation})")
        clock.advance(1.0)
    assert client.line.state == "closed"
    assert client.send(*ACCOUNTS) == []
    assert not gateway.desk.clients


def test_a_steady_flood_is_cut_off_within_three_seconds(
    gateway: Gateway, connect: Callable[..., Any], clock: Any
) -> None:
    """A client that never pauses violates the limit anew every second."""
    client = paced(gateway, connect)
    for _ in range(300):
        client.send(*ACCOUNTS)
        clock.advance(0.01)
    assert client.line.state == "closed"


def test_other_clients_have_limits_of_their_own(
    gateway: Gateway, connect: Callable[..., Any]
) -> None:
    """One client's flood costs another nothing."""
    first, second = paced(gateway, connect), connect(gateway, 2)
    second.session.pace.per_second = RATE
    send_many(first, 2 * RATE)
    assert send_many(second, RATE) == (RATE, [])


def test_the_limit_can_be_another_or_none(
    make_world: Callable[..., World], connect: Callable[..., Any]
) -> None:
    """`message_rate_max`, 0 for any number."""
    client = paced(Gateway(make_world(), GatewayOptions(message_rate_max=0)), connect)
    assert send_many(client, 1000) == (1000, [])
    client = paced(Gateway(make_world(), GatewayOptions(message_rate_max=5)), connect)
    assert send_many(client, 6) == (
        5,
        ["Max rate of messages per second has been exceeded:max=5 rec=6 (1)"],
    )


@settings(deadline=None)
@given(st.lists(st.floats(0, 0.2), max_size=200), st.integers(1, 20))
def test_no_second_ever_holds_more_than_the_limit(gaps_s: list[float], rate: int) -> None:
    """In any window of a second, wherever it begins, and when waiting nothing is refused."""
    refusing, waiting = Pace(rate), Pace(rate, waits=True)
    admitted_s: list[float] = []
    waited_s: list[float] = []
    now_s = own_s = 0.0
    for gap_s in gaps_s:
        now_s += gap_s
        if refusing.admits(now_s):
            admitted_s.append(now_s)
        own_s = max(own_s, now_s)
        while wait_s := waiting.wait_s(own_s):
            own_s += wait_s
        assert waiting.admits(own_s)
        waited_s.append(own_s)
    for times_s in (admitted_s, waited_s):
        for first_s, last_s in zip(times_s, times_s[rate:], strict=False):
            assert last_s - first_s > WINDOW_S - 1e-9


def test_pace_api_is_asked_for_in_the_greeting(
    gateway: Gateway, connect: Callable[..., Any]
) -> None:
    """`+PACEAPI` is one of the connect options."""
    client = connect(gateway)
    assert not client.session.pace.waits
    for options, waits in (("+PACEAPI", True), ("x +PACEAPI", True), ("PACEAPI", False)):
        gateway.receive(client.session, Hello(157, 176, options))
        assert client.session.pace.waits is waits


@pytest.fixture
def run(samples_dir: Path) -> Callable[..., None]:
    """Return a runner of a test against an embedded simulator with a limit of messages."""

    def runner(test: Callable[[SimGateway], Any], rate: int) -> None:
        async def main() -> None:
            gateway = GatewayOptions(message_rate_max=rate)
            world = WorldOptions(speed=0.0)
            options = SimOptions(world=world, samples=samples_dir, gateway=gateway)
            async with SimGateway(options) as sim:
                await test(sim)

        asyncio.run(main())

    return runner


def test_a_client_that_asks_for_it_is_paced_in_order(run: Callable[..., None]) -> None:
    """Over a socket every message is answered in its order, none is refused."""

    async def test(sim: SimGateway) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        greeting = b"v157..176 +PACEAPI"
        writer.write(b"API\0" + len(greeting).to_bytes(4, "big") + greeting)
        writer.write(frame(("71", "2", "1", "")))
        for number in range(250):
            writer.write(frame(("104", str(number))))
        answers: list[str] = []
        async with asyncio.timeout(20):
            while len(answers) < 250:
                length = int.from_bytes(await reader.readexactly(4), "big")
                fields = (await reader.readexactly(length)).decode().split("\0")
                assert fields[:4] != ["4", "2", "-1", "100"]
                answers += [fields[1]] if fields[0] == "107" else []
        assert answers == [str(number) for number in range(250)]
        writer.close()

    run(test, 100)


def test_stock_ib_insync_stays_within_the_limit(run: Callable[..., None]) -> None:
    """It paces itself at 45 a second: 100 questions in one go meet no error 100."""

    async def test(sim: SimGateway) -> None:
        ib: Any = ib_insync.IB()
        codes: list[int] = []
        ib.errorEvent += lambda _id, code, *_rest: codes.append(code)
        await ib.connectAsync("127.0.0.1", sim.port, clientId=1, timeout=10)
        try:
            apple = ib_insync.Stock("AAPL", "SMART", "USD")
            found = await asyncio.gather(*(ib.reqContractDetailsAsync(apple) for _ in range(100)))
            assert all(found)
        finally:
            ib.disconnect()
        assert 100 not in codes

    run(test, 50)

"""The state file: what a broker was before a crash it is again, whatever the crash tore."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.sim.market.market import Shock
from ibloop.sim.model import SimError
from ibloop.sim.service.desk import GatewayOptions
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.state import AccountOpened, ClockSet, MarketTime, StateFile
from ibloop.sim.truth import truth
from ibloop.sim.world import World

LIMIT = {"orderType": "LMT", "lmtPrice": "90", "tif": "GTC", "orderRef": "rest"}


def test_a_restart_finds_everything_again(
    make_world: Callable[..., World],
    connect: Callable[..., Any],
    place_fields: Callable[..., Any],
    state_file: Callable[[], StateFile],
) -> None:
    """Truth, working orders, next ids, fixed prices and the clock survive; so do clients' views."""
    first = state_file()
    gateway = Gateway(make_world(first), GatewayOptions(None))
    client = connect(gateway, 4)
    client.send(*place_fields(3, orderRef="fill"))
    client.send(*place_fields(7, **LIMIT))
    apple = gateway.world.samples.instruments[265598]
    gateway.world.pin(apple, {"last": Decimal(91)})
    gateway.world.shock(-0.5)
    gateway.world.set_clock(60.0)
    before, quote = truth(gateway.world), gateway.world.quote_of(265598)
    # No orderly end: only the journal speaks for the first broker.
    first.close()
    second = state_file()
    gateway = Gateway(make_world(second, cash_usd=Decimal(5)), GatewayOptions(None))
    assert truth(gateway.world) == before
    assert gateway.world.quote_of(265598) == quote
    assert gateway.world.offset_s == 60.0
    again = connect(gateway, 4)
    assert again.send(8, 1, 1) == [("9", "1", "8")]
    (shown, status, _) = again.send(5, 1)
    assert (shown[1], shown[23], status[2]) == ("7", "rest", "Submitted")
    executions = again.send(7, 3, 9, 0, "", "", "", "", "", "")
    assert [fields[0] for fields in executions] == ["11", "59", "55"]
    perm_ids = {order["permId"] for order in before["orders"]}
    again.send(*place_fields(8, **LIMIT, action="SELL", totalQuantity=1))
    assert len({order["permId"] for order in truth(gateway.world)["orders"]} - perm_ids) == 1
    second.close()


def test_nothing_is_told_before_it_is_stored(
    make_world: Callable[..., World],
    connect: Callable[..., Any],
    place_fields: Callable[..., Any],
    state_file: Callable[[], StateFile],
) -> None:
    """When the disk refuses, the client hears nothing of the order."""
    journal = state_file()
    gateway = Gateway(make_world(journal), GatewayOptions(None))
    client = connect(gateway)
    real, journal._file = journal._file, os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(SimError, match="No space left"):
        client.send(*place_fields(1))
    assert client.line.take() == []
    os.close(journal._file)
    journal._file = real
    journal.close()


@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_a_journal_torn_anywhere_is_a_whole_prefix(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A kill may cut the last line at any byte: steps before it count, its own does not."""
    path = tmp_path_factory.mktemp("torn") / "state"
    journal = StateFile(path)
    start = path.stat().st_size
    sizes = []
    for number in range(4):
        journal.append([ClockSet(float(number)), AccountOpened(f"DU{number}", Decimal(number))])
        sizes.append(path.stat().st_size)
    journal.close()
    cut = data.draw(st.integers(start, sizes[-1]))
    path.write_bytes(path.read_bytes()[:cut])
    whole = sum(size <= cut for size in sizes)
    journal = StateFile(path)
    assert list(journal.memory.accounts) == [f"DU{number}" for number in range(whole)]
    assert journal.memory.offset_s == max(0, whole - 1)
    journal.close()


def test_a_state_file_has_one_owner(state_file: Callable[[], StateFile]) -> None:
    """Two simulators on one file would each believe in half of the truth."""
    journal = state_file()
    with pytest.raises(SimError, match="another simulator"):
        state_file()
    journal.close()
    state_file().close()


@pytest.mark.parametrize(
    "text",
    [
        "hello\n",
        '[{"record": "header", "format": "other"}]\n',
        '[{"record": "header", "format": "ibloop.sim.state.v1"}]\n[{"record": "Nothing"}]\n',
        '[{"record": "header", "format": "ibloop.sim.state.v1"}]\n{"broken\n[]\n',
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    """It is neither used nor overwritten."""
    path = tmp_path / "sim.state"
    path.write_text(text)
    with pytest.raises(SimError, match=r"sim\.state line \d is not simulator state"):
        StateFile(path)
    assert path.read_text() == text


def test_compaction_keeps_one_line_for_each_thing(state_file: Callable[[], StateFile]) -> None:
    """The journal does not grow with the number of restarts."""
    journal = state_file()
    for number in range(50):
        journal.append([ClockSet(float(number)), MarketTime(1, "2012-10-01", float(number))])
    journal.close()
    state_file().close()
    journal = state_file()
    assert journal._path.read_text().count("\n") == 3
    assert journal.memory.market == MarketTime(1, "2012-10-01", 49.0)
    journal.close()


def test_the_market_goes_on_where_it_stopped(
    make_world: Callable[..., World], state_file: Callable[[], StateFile], clock: Any
) -> None:
    """With the same seed and start date; another one begins its own market, without old shocks."""
    journal = state_file()
    world = make_world(journal, speed=60.0)
    clock.advance(100)
    world.shock(-0.1)
    journal.close()
    journal = state_file()
    world = make_world(journal, speed=1.0)
    assert world.moment().market_s == 6000.0
    assert world.market.shocks == [Shock(6000.0, 0.9)]
    journal.close()
    journal = state_file()
    world = make_world(journal, start=date(2012, 10, 2))
    assert (world.moment().market_s, world.market.shocks) == (0.0, [])
    world.note_market_time()
    journal.close()
    journal = state_file()
    assert journal.memory.shocks == []
    journal.close()


# ---------------------------------------------------------------------- real processes

SIM = [sys.executable, "-c", "from ibloop.cli.sim import sim; sim()", "--port", "0"]


class Process:
    """A real `ibloop sim`, to be killed."""

    def __init__(self, state: Path) -> None:
        """Start it and wait until it is ready."""
        arguments = ["--speed", "0", "--state", str(state)]
        self.popen = subprocess.Popen([*SIM, *arguments], stdout=subprocess.PIPE)
        assert self.popen.stdout is not None
        self.ready = json.loads(self.popen.stdout.readline())

    def truth(self) -> dict[str, Any]:
        """Ask for the truth."""
        url = f"http://127.0.0.1:{self.ready['control_port']}/truth"
        with urllib.request.urlopen(url) as answer:
            value: dict[str, Any] = json.load(answer)
        return value

    def kill(self) -> None:
        """Kill it, as kill -9 does."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()
        assert self.popen.stdout is not None
        self.popen.stdout.close()


@pytest.mark.e2e
def test_kill_9_loses_no_order_a_client_was_told_of(
    tmp_path: Path, place_fields: Callable[..., Any]
) -> None:
    """Every acknowledged order and fill is there after kill -9 in the middle of a burst."""
    state, acknowledged, filled = tmp_path / "state", set(), set()
    order_id = 1
    for _ in range(3):
        process = Process(state)
        told = _burst(process.ready["port"], order_id, place_fields, process.kill)
        acknowledged |= {int(fields[1]) for fields in told if fields[0] == "3"}
        filled |= {fields[14] for fields in told if fields[0] == "11"}
        order_id = max(acknowledged) + 1000
    process = Process(state)
    truth = process.truth()
    process.kill()
    assert len(acknowledged) >= 15
    assert acknowledged <= {order["orderId"] for order in truth["orders"]}
    assert filled <= {execution["execId"] for execution in truth["executions"]}
    spent = sum(fill["shares"] * fill["price"] + fill["commission"] for fill in truth["executions"])
    assert truth["accounts"]["DU1234567"]["cash"] == pytest.approx(100_000 - spent)
    (held,) = truth["positions"]
    assert held["quantity"] == sum(fill["shares"] for fill in truth["executions"])


def _burst(
    port: int, first_id: int, place_fields: Callable[..., Any], kill: Callable[[], None]
) -> list[tuple[str, ...]]:
    """Send 60 orders, kill after a few answers, and return all that still arrived."""
    import socket  # noqa: PLC0415 - only here

    from ibloop.sim.protocol.wire import FrameDecoder, frame  # noqa: PLC0415 - only here

    decoder = FrameDecoder()
    decoder.feed(b"API\0\0\0\0\x09v157..200")
    told: list[Any] = []
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(b"API\0\0\0\0\x09v176..176" + frame(["71", "2", "1", ""]))
        for number in range(60):
            kind = {"totalQuantity": 1} if number % 2 else {**LIMIT, "totalQuantity": 1}
            sock.sendall(frame(map(str, place_fields(first_id + number, **kind))))
        deadline = time.monotonic() + 20
        killed = False
        while time.monotonic() < deadline:
            try:
                data = sock.recv(2048)
            except ConnectionError:
                break
            if not data:
                break
            told += decoder.feed(data)
            if not killed and sum(fields[0] == "3" for fields in told) > 20:
                kill()
                killed = True
    assert killed
    return told

"""The gateway under requests of every kind, bent in every way: it answers, refuses or hangs up.

`make fuzz` runs the same with a million frames: FRAMES says how many, the default is for CI.
"""

import functools
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ibloop.sim import GatewayOptions
from ibloop.sim.protocol.wire import FrameDecoder, WireError
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.state import StateFile
from ibloop.sim.truth import truth
from ibloop.sim.world import World
from tests.sim.layouts import VERSIONS, place_order, requests
from tests.sim.replies import length

FRAMES = int(os.environ.get("FRAMES", "8000"))
# What the lengths below come to.
SCRIPT_FRAMES = 30
EXAMPLES = settings(
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# Orders that lead into every branch of the longest request.
ORDERS: tuple[dict[str, Any], ...] = (
    {},
    {"orderType": "LMT", "lmtPrice": "99.5", "tif": "GTC"},
    {"orderType": "LMT", "lmtPrice": "120", "tif": "IOC", "action": "SELL"},
    {"orderType": "LMT", "lmtPrice": "99", "tif": "GTD", "goodTillDate": "20261231-20:00:00"},
    {"orderType": "LMT", "lmtPrice": "101", "tif": "FOK", "outsideRth": 1},
    {"orderType": "STP", "auxPrice": "101", "ocaGroup": "g", "ocaType": 1},
    {"orderType": "STP LMT", "auxPrice": "101", "lmtPrice": "102", "parentId": 7},
    {"orderType": "TRAIL", "auxPrice": "1", "trailStopPrice": "98"},
    {"orderType": "TRAIL", "trailingPercent": "2", "action": "SELL"},
    {"orderType": "MOC"},
    {"orderType": "LOC", "lmtPrice": "100"},
    {"orderType": "MKT", "tif": "OPG"},
    {"whatIf": 1},
    {"transmit": 0},
    {"algoStrategy": "Adaptive", "algoParams": [("adaptivePriority", "Normal")]},
    {"conditions": [(1, "a", 1, "10", 265598, "SMART", 0), (3, "o", 1, "20260101 00:00:00")]},
    {"secType": "BAG", "legs": [(265598, 1, "BUY", "SMART", 0, 0, "", -1)], "orderLegs": [("1",)]},
    {"orderType": "PEG BENCH"},
    {"hedgeType": "D", "hedgeParam": "1", "deltaNeutralOrderType": "MKT", "deltaNeutral": 1},
    {"scalePriceIncrement": "0.1", "scaleTable": "t"},
    {"exchange": "IBKRATS", "pegged": [1]},
    {"orderType": "PEG BEST", "pegged": [1, "Infinite", "0.1", "0.1"]},
)
VALUES = (
    *("", "0", "1", "-1", "2", "3", "5", "7", "100", "0.5", "0.0001", "1e-320", "1e14", "1e308"),
    *("2147483647", "2147483648", "-2147483648", "9223372036854775807", "9" * 400, "-0"),
    *("1.7976931348623157E308", "nan", "Infinity", "-inf", "Infinite", "0x10", "1_0", "\u0663"),
    *("x", "a" * 5000, "\u00e9", "\U0001f600", "\udcff", "\\u0000", "\\", "\n", "true", "false"),
    *("AAPL", "IBM", "FB", "NOPE", "265598", "8314", "DU1234567", "All", "$LEDGER:ALL", "None"),
    *("BUY", "SELL", "SSHORT", "MKT", "LMT", "STP", "STP LMT", "TRAIL", "MOC", "MIDPRICE"),
    *("DAY", "GTC", "IOC", "FOK", "GTD", "OPG", "DTC", "STK", "OPT", "BAG", "CASH", "USD", "EUR"),
    *("SMART", "NYSE", "TRADES", "BID_ASK", "MIDPOINT", "SCHEDULE", "Last", "AllLast", "BidAsk"),
    *("20121001-15:00:00", "20121001 15:00:00 US/Eastern", "20261118 12:00:00 Mars/Base"),
    *("99991231 23:59:59 US/Eastern", "00010101 00:00:00 Asia/Tokyo", "99991231-23:59:59"),
    *("99999999-99:99:99", "00010101-00:00:00", "20261118", "1 day", "1 secs", "5 mins", "1 M"),
    *("1 D", "1 Y", "99999999 Y", "-1 D", "0 S", "233,375,bogus", "100,101", "mdoff"),
)


@dataclass(frozen=True)
class Bend:
    """One change of a request: what to do at which field."""

    how: str
    at: int
    value: str

    def apply(self, fields: list[str]) -> list[str]:
        """Return the changed fields."""
        at = self.at % (len(fields) + 1)
        match self.how:
            case "replace":
                return [*fields[:at], self.value, *fields[at + 1 :]]
            case "insert":
                return [*fields[:at], self.value, *fields[at:]]
            case "delete":
                return fields[:at] + fields[at + 1 :]
            case "cut":
                return fields[:at]
            case _:
                return [*fields[:at], *fields]


HOWS = ("replace", "replace", "replace", "insert", "delete", "cut", "repeat")
FIELDS = 160
REQUESTS = 81
VARIANTS = 50


PAUSES_S = (0.25, 5.0, 90_000.0)


@dataclass(frozen=True)
class Step:
    """A request and how it is bent (an order when below 0), or a pause in seconds."""

    number: int = 0
    bends: tuple[Bend, ...] = ()
    pause_s: float = 0.0


def _step(data: bytes) -> Step:
    """Decode a step: one draw each, because a million frames are many draws."""
    number, kind = divmod(int.from_bytes(data, "big"), 16)
    if kind == 0:
        return Step(pause_s=PAUSES_S[number % len(PAUSES_S)])
    number, variant = divmod(number, REQUESTS * VARIANTS)
    number, count = divmod(number, 4)
    bends = []
    for _ in range(count):
        number, how = divmod(number, len(HOWS))
        number, at = divmod(number, FIELDS)
        number, value = divmod(number, len(VALUES))
        bends.append(Bend(HOWS[how], at, VALUES[value]))
    return Step(-1 - variant % VARIANTS if kind < 5 else variant, tuple(bends))


STEPS = st.binary(min_size=10, max_size=10).map(_step)
SCRIPTS = st.tuples(st.sampled_from(VERSIONS), st.lists(STEPS, min_size=25, max_size=60))
STREAMS = st.tuples(
    st.sampled_from([b"", b"API\0\0\0\0\x09v157..200", b"API\0\0\0\0\x09v157..176\0\0\0\x0671"]),
    st.lists(st.binary(max_size=40), max_size=20),
)


@functools.cache
def written(version: int, number: int) -> tuple[str, ...]:
    """Return a whole request: an order for numbers below 0, else one of all."""
    if number < 0:
        return place_order(-number % 9 + 1, version, **ORDERS[-number % len(ORDERS)])
    variant, kind = divmod(number, REQUESTS)
    whole = requests(version, req_id=variant % 7)
    return whole[sorted(whole)[kind % len(whole)]]


@dataclass
class Target:
    """A gateway and a client that comes back whenever it is thrown out."""

    gateway: Gateway
    clock: Any
    connect: Callable[..., Any]
    version: int = 176
    frames: int = 0
    client: Any = field(default=None)

    def play(self, script: list[Step]) -> None:
        """Send, or let time pass."""
        for step in script:
            if step.pause_s:
                self.clock.advance(step.pause_s)
                self.gateway.tick()
                self.gateway.agenda.run(self.gateway.world.monotonic_s())
            else:
                self._send(step.number, step.bends)

    def _send(self, number: int, bends: tuple[Bend, ...]) -> None:
        if self.client is None or self.client.session not in self.gateway.desk.sessions:
            self.client = self.connect(self.gateway, 1, self.version)
        fields = list(written(self.version, number))
        for bend in bends:
            fields = bend.apply(fields)
        text = "".join(f"{item}\0" for item in fields).encode(errors="surrogatepass")
        self.feed(len(text).to_bytes(4, "big") + text)

    def feed(self, data: bytes) -> None:
        """Hand bytes to the gateway as a connection does."""
        self.frames += 1
        decoder = FrameDecoder()
        decoder.feed(b"API\0\0\0\0\x09v157..200")
        for message in decoder.feed(data):
            self.gateway.receive(self.client.session, message)

    def check(self) -> None:
        """What was answered is whole; the world can be stored and told; the next client trades."""
        self.gateway.world.commit()
        json.dumps(truth(self.gateway.world), default=str)
        fresh = self.connect(self.gateway, 31, self.version)
        assert fresh.send(17, 1) == [("15", "1", "DU1234567")]
        order_id = int(fresh.send(8, 1, 1)[0][2])
        assert fresh.send(*place_order(order_id, self.version, symbol="IBM", conId=8314))
        if self.client is not None:
            for message in self.client.line.take():
                assert len(message) == length(message, self.version), message


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """Keep no log lines: a million refused messages would fill the memory of the test runner."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def make_target(make_world: Callable[..., World], connect: Callable[..., Any], clock: Any) -> Any:
    """Return a maker of targets over a small frozen world."""

    def make(version: int, *journal: StateFile) -> Target:
        gateway = Gateway(make_world(*journal), GatewayOptions(message_rate_max=0))
        return Target(gateway, clock, connect, version)

    return make


def test_bent_requests_break_nothing(
    make_target: Callable[..., Target], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every request at every version, with fields replaced, lost, added, repeated and cut off."""
    count, began_s = 0, time.monotonic()

    @settings(EXAMPLES, max_examples=max(1, FRAMES // SCRIPT_FRAMES))
    @given(SCRIPTS)
    def play(script: tuple[int, list[Step]]) -> None:
        nonlocal count
        version, steps = script
        target = make_target(version)
        target.play(steps)
        target.check()
        count += target.frames

    play()
    rate = count / (time.monotonic() - began_s)
    with capsys.disabled():
        sys.stdout.write(f"\nfuzz: {count} frames, {rate:.0f} a second\n")


@settings(EXAMPLES, max_examples=max(1, FRAMES // 20))
@given(STREAMS)
def test_raw_bytes_give_messages_or_a_wire_error(stream: tuple[bytes, list[bytes]]) -> None:
    """The decoder ends a stream it does not understand in one way only."""
    greeting, pieces = stream
    decoder = FrameDecoder()
    try:
        for piece in (greeting, *pieces):
            decoder.feed(piece)
    except WireError:
        return


def test_what_bent_requests_leave_can_be_read_again(
    make_target: Callable[..., Target], tmp_path: Path
) -> None:
    """The state file of a world under attack opens, and the world it holds trades."""
    path = tmp_path / "fuzz.state"

    @settings(EXAMPLES, max_examples=max(1, FRAMES // 500))
    @given(SCRIPTS)
    def play(script: tuple[int, list[Step]]) -> None:
        version, steps = script
        path.unlink(missing_ok=True)
        for _ in range(2):
            journal = StateFile(path)
            try:
                target = make_target(version, journal)
                target.play(steps)
                target.check()
            finally:
                journal.close()

    play()

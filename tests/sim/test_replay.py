"""A recording is played as it was: each state at its time, and nothing that it does not know."""

import gzip
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibloop.sim.market.history import load_samples, samples_directory
from ibloop.sim.market.market import Moment
from ibloop.sim.market.pins import Pin
from ibloop.sim.market.replay import ReplayMarket, open_market, open_recording
from ibloop.sim.model import SimError
from ibloop.sim.world import DEFAULT_START

D = Decimal
AAPL, SPY = 265598, 756733
BOOT = "a" * 32
STATE: dict[str, Any] = {
    "symbol": "AAPL",
    "con_id": AAPL,
    "seq": 7,
    "received_at": "2026-11-20T15:00:00.000000Z",
    "event_time": None,
    "boottime_ns": 10**12,
    "boot_id": BOOT,
    "source": "ib_stream",
    "market_data_type": "live",
    "bid": 187.4,
    "ask": 187.42,
    "last": 187.41,
    "close": 186.9,
    "open": 186.5,
    "high": 188.01,
    "low": 185.2,
    "bid_size": 300,
    "ask_size": 200,
    "last_size": 100,
    "volume": 48123456,
    "halted": False,
    "currency": "USD",
    "exchange": "SMART",
}


def state(after_s: float, **changes: object) -> dict[str, Any]:
    """Return a line so many seconds after the first, with changes."""
    return STATE | {"boottime_ns": 10**12 + int(after_s * 1e9)} | changes


def lines(*states: dict[str, Any]) -> bytes:
    """Return lines as the recorder writes them."""
    return b"".join(json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in states)


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Path]:
    """Return how to write a recording: each state a gzip member of its own."""

    def write(*states: dict[str, Any]) -> Path:
        path = tmp_path / "day.jsonl.gz"
        path.write_bytes(b"".join(gzip.compress(lines(each)) for each in states))
        return path

    return write


def market(path: Path) -> ReplayMarket:
    """Return the market of a recording."""
    samples = load_samples(samples_directory())
    _, made = open_market(samples, 1, DEFAULT_START, 1, path)
    assert isinstance(made, ReplayMarket)
    return made


def bids(made: ReplayMarket, moments: Sequence[float], con_id: int = AAPL) -> list[Decimal | None]:
    """Return the bid at each moment of market time."""
    quotes = [made.quote(con_id, Moment(at_s, index)) for index, at_s in enumerate(moments)]
    return [quote.bid if quote else None for quote in quotes]


def test_each_state_is_shown_at_its_time(recorded: Callable[..., Path]) -> None:
    """Spacing is that of the boot clock; between two lines and after the last, prices stand."""
    made = market(recorded(state(0), state(1.5, bid=187.3), state(4, bid=187.2)))
    assert bids(made, [0, 1.4, 1.5, 3.9]) == [D("187.4"), D("187.4"), D("187.3"), D("187.3")]
    assert not made.play(3.9)
    assert bids(made, [4, 10_000]) == [D("187.2"), D("187.2")]
    assert made.play(10_000)


def test_spacing_over_a_restart_of_the_machine_is_wall_time(recorded: Callable[..., Path]) -> None:
    """Another boot's clock says nothing; a wall clock that was set back counts as no time."""
    other = {"boot_id": "b" * 32, "boottime_ns": 5}
    later = state(0, bid=2, received_at="2026-11-20T15:01:00Z", **other)
    back = state(0, bid=3, received_at="2026-11-20T14:00:00Z")
    made = market(recorded(state(0), later, back))
    assert bids(made, [59.9, 60]) == [D("187.4"), D(3)]


def test_everything_that_was_recorded_is_shown(recorded: Callable[..., Path]) -> None:
    """Prices and sizes, to the last digit; halted too."""
    quote = market(recorded(state(0, halted=True))).quote(AAPL, Moment(0, 0))
    assert quote is not None
    for name in ("bid", "ask", "last", "open", "high", "low", "close"):
        assert getattr(quote, name) == D(str(STATE[name]))
    assert (quote.bid_size, quote.ask_size, quote.last_size) == (300, 200, 100)
    assert (quote.volume, quote.halted) == (48123456, True)


def test_a_missing_side_fills_nobody(recorded: Callable[..., Path]) -> None:
    """What is null is 0, and shows no size: an order would be filled for nothing otherwise."""
    quote = market(recorded(state(0, bid=None, last=None))).quote(AAPL, Moment(0, 0))
    assert quote is not None
    assert (quote.bid, quote.bid_size, quote.last) == (0, 0, 0)
    assert quote.ask_size == 200


def test_new_size_is_shown_with_every_update(recorded: Callable[..., Path]) -> None:
    """What our orders took of the old size is gone until then."""
    made = market(recorded(state(0), state(1), state(2)))
    quotes = [made.quote(AAPL, Moment(at_s, 0)) for at_s in (0, 0.5, 2)]
    depths = [quote.depth_id for quote in quotes if quote]
    assert depths[0] == depths[1] != depths[2]


def test_only_what_was_recorded_has_a_price(recorded: Callable[..., Path]) -> None:
    """No price is made up beside a recording, no bar, and no price of before."""
    made = market(recorded(state(0), state(60)))
    ibm = next(
        i for i in load_samples(samples_directory()).instruments.values() if i.symbol == "IBM"
    )
    assert made.quote(ibm.con_id, Moment(0, 0)) is None
    assert made.bar(AAPL, 0) is None
    assert made.path(AAPL, 0) is None
    assert bids(made, [60, 0]) == [D("187.4"), None]


def test_symbols_no_sample_has_are_known(recorded: Callable[..., Path]) -> None:
    """What a real account recorded can be subscribed under its own contract id."""
    path = recorded(state(0, symbol="SPY", con_id=SPY), state(0, con_id=42))
    samples, made = open_market(load_samples(samples_directory()), 1, DEFAULT_START, 1, path)
    assert samples.instruments[SPY].symbol == "SPY"
    assert samples.by_symbol("AAPL") == samples.instruments[42]
    assert samples.instruments[42].primary_exchange == "NASDAQ"
    assert AAPL not in samples.instruments
    assert isinstance(made, ReplayMarket)
    assert bids(made, [0], SPY) == [D("187.4")]


def test_an_operator_still_has_the_last_word(recorded: Callable[..., Path]) -> None:
    """Shocks, splits and fixed prices act on recorded prices as on any."""
    made = market(recorded(state(0)))
    made.shock(0.5, 0.0)
    assert bids(made, [1]) == [D("93.70")]
    made.pins[AAPL] = Pin(bid=D(50), ask=D(51))
    assert bids(made, [2]) == [D(50)]


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"", mtime=0), gzip.compress(b"{}\n", mtime=0)],
    ids=["empty", "no gzip", "no line", "no recording"],
)
def test_what_is_no_recording_is_refused(content: bytes, tmp_path: Path) -> None:
    """The message names the file and what is wrong with it."""
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(SimError, match="other is no recording"):
        open_recording(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Missing files and directories are one sentence, no traceback."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(SimError, match="cannot read"):
            open_recording(path)


def test_a_recording_cut_off_anywhere_plays_what_is_whole(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    """After a power cut the end is missing; what is there is played, and the loss is told."""
    whole = recorded(*(state(n, bid=100 + n) for n in range(5))).read_bytes()
    ends = [index for index in range(len(whole)) if whole[index : index + 3] == b"\x1f\x8b\x08"]
    cut = tmp_path / "cut.jsonl.gz"
    for length in range(ends[1], len(whole)):
        cut.write_bytes(whole[:length])
        found = open_recording(cut)
        assert found.lines >= sum(1 for end in ends[1:] if end <= length)
        assert bool(found.damage) == (length not in ends)
        assert bids(market(cut), [1000]) == [D(99 + found.lines)]


def test_damage_in_the_middle_ends_the_recording_there(recorded: Callable[..., Path]) -> None:
    """Nothing behind damage is believed."""
    path = recorded(state(0), state(1, bid=101), state(2, bid=102))
    content = path.read_bytes()
    second = content.index(b"\x1f\x8b\x08", 3)
    path.write_bytes(content[: second + 30] + b"\0\0\0\0" + content[second + 34 :])
    assert open_recording(path).damage
    made = market(path)
    assert bids(made, [1000]) in ([D("187.4")], [D(101)])
    assert made.play(1000)


def test_a_version_that_was_written_late_takes_no_time(recorded: Callable[..., Path]) -> None:
    """After a full disk old versions come behind newer ones: the day does not get longer."""
    late = [state(t, bid=t) for t in (1, 50, 2, 51, 3, 52)]
    made = market(recorded(state(0), *late, state(60, bid=60)))
    assert bids(made, [1, 49, 50, 52, 59.9, 60]) == [D(1), D(1), D(2), D(52), D(52), D(60)]


@pytest.mark.parametrize(
    "odd",
    [
        {"bid": "x"},
        {"bid": [1]},
        {"bid": -1},
        {"volume": 1e300},
        {"halted": "no"},
        {"boottime_ns": None},
        {"received_at": "yesterday"},
        {"symbol": ""},
    ],
)
def test_one_odd_line_ends_the_recording_there(
    odd: dict[str, object], recorded: Callable[..., Path]
) -> None:
    """What is looked through and what is played agree, and the prices stand still behind it."""
    path = recorded(state(0), state(1, bid=101), state(2) | odd, state(3, bid=103))
    found = open_recording(path)
    assert found.lines == 2
    assert found.damage.startswith("behind line 2: ")
    made = market(path)
    assert bids(made, [1000]) == [D(101)]
    assert made.play(1000)


@pytest.mark.parametrize("name", ["bid", "con_id", "boot_id", "received_at", "volume"])
def test_a_line_that_lacks_something_is_odd(name: str, recorded: Callable[..., Path]) -> None:
    """Absence is not null, and not zero."""
    lacking = state(1)
    del lacking[name]
    path = recorded(state(0), lacking)
    assert (open_recording(path).lines, bool(open_recording(path).damage)) == (1, True)
    assert bids(market(path), [1000]) == [D("187.4")]


NOT_TEXT = lines(state(1)).strip().replace(b'"exchange":"SMART"', b'"exchange":"\xff"')


@pytest.mark.parametrize("line", [b"{}", b"[" * 9000, NOT_TEXT, b'{"bid":NaN}', b""])
def test_a_line_of_nonsense_is_odd(line: bytes, tmp_path: Path) -> None:
    """Whatever is in the file, it ends the recording and not the simulator."""
    path = tmp_path / "day.jsonl.gz"
    path.write_bytes(gzip.compress(lines(state(0)) + line + b"\n" + lines(state(5, bid=5))))
    assert (open_recording(path).lines, bool(open_recording(path).damage)) == (1, True)
    assert bids(market(path), [1000]) == [D("187.4")]


def test_the_marks_of_missing_versions_are_passed_over(tmp_path: Path) -> None:
    """They say that there is a gap, to who reads the file."""
    path = tmp_path / "day.jsonl.gz"
    gap = b'{"lost":12}\n'
    path.write_bytes(gzip.compress(gap + lines(state(0)) + gap + lines(state(5, bid=5)) + gap))
    found = open_recording(path)
    assert (found.lines, found.damage) == (2, "")
    assert bids(market(path), [1000]) == [D(5)]

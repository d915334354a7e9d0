"""Prices that are late: a new symbol beyond the lines of the stream, a stream that was stopped."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.streamfiles import QuoteReader

from .conftest import SLOW_TOML, Loop, broken_promises, sent_twice, wait_for

pytestmark = pytest.mark.e2e

LINES = 4
NEW = ("UNFU", "VIKU", "YANU", "ZULO")
FEW_LINES_TOML = SLOW_TOML + f"\n[stream]\nlines_max = {LINES}\n"
STOPPED_S = 10.5
"""Longer than what a stream takes for a pause of its own steps."""


def targets(loop: Loop, symbols: tuple[str, ...]) -> Path:
    """Return a targets file with two per cent of each symbol."""
    path = loop.data / "few.csv"
    lines = ["symbol,weight", *(f"{symbol},0.02" for symbol in symbols)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_targets_beyond_the_lines_are_waited_for(make_loop: Callable[..., Loop]) -> None:
    """What the decision names is subscribed for it, and every order of the run fills."""
    loop = make_loop(toml=FEW_LINES_TOML)
    before = loop.beat("stream").document
    assert len(before["subscribed_symbols"]) == LINES
    assert set(NEW) <= set(before["left_out"])
    path = targets(loop, NEW)
    preview = loop.ask("rebalance", "--targets", path, "--dry-run")
    assert f"would wait for prices, 20 s at most: {', '.join(NEW)}" in preview.stderr
    done = loop.ask("rebalance", "--targets", path, "--key", "new", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "new preparing: waits for prices until" in done.stderr
    assert {(o.symbol, o.status) for o in loop.orders("new")} == {(s, "filled") for s in NEW}
    assert loop.beat("stream").document["subscribed_symbols"] == list(NEW)
    truth = loop.truth()
    assert sent_twice(truth) == []
    assert broken_promises(loop.data / "ibloop.db", truth) == ()


def test_a_stream_that_was_stopped_tells_nothing_old(make_loop: Callable[..., Loop]) -> None:
    """SIGSTOP for ten seconds: a gate says no meanwhile; then every line is ordered anew."""
    loop = make_loop()
    reader, clock = QuoteReader(loop.data / "ib" / "stream"), SystemClock()
    symbols = loop.beat("stream").document["subscribed_symbols"]
    stopped = loop.running["stream"]
    stopped.send_signal(signal.SIGSTOP)
    try:
        wait_for("old age", lambda: clock.now().age_s(loop.beat("stream").stamp) > STOPPED_S)
        before = reader.read(symbols)
        done = loop.ask("rebalance", "--targets", targets(loop, NEW), "--key", "stopped")
        assert done.returncode == 77, done.stdout + done.stderr
        assert loop.run("stopped").reason == "stream_stale"
        resumed = clock.now()
    finally:
        stopped.send_signal(signal.SIGCONT)

    def renewed() -> bool:
        quotes = reader.read(symbols)
        for symbol, quote in quotes.items():
            is_old = quote.received == before[symbol].received
            assert is_old or quote.received.boottime_ns >= resumed.boottime_ns, symbol
            assert quote.seq >= before[symbol].seq, symbol
        return all(quotes[s].seq > before[s].seq for s in symbols)

    wait_for("new prices of all", renewed)
    loop.await_well("stream")
    told = loop.log("stream").read_text(encoding="utf-8")
    assert "stream.was_stopped" in told
    assert "stream.resubscribed" in told

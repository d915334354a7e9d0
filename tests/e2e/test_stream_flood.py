"""The stream under a flood of ticks while its gateway is killed, and everybody's readers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import DEADLINE_S, SLOW_TOML, Loop, children, wait_for

pytestmark = pytest.mark.e2e

READER = Path(__file__).parent / "flood_reader.py"
FLOOD_TOML = SLOW_TOML.replace(
    '["--speed", "60", "--seed", "7"]', '["--speed", "600", "--seed", "7", "--sample-ms", "10"]'
)
KILLS = 3


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """Return a gateway whose market is sampled a hundred times a second, and a stream."""
    config = tmp_path / "flood.toml"
    config.write_text(FLOOD_TOML, encoding="utf-8")
    made = Loop(tmp_path / "data", config)
    made.start("gateway", "stream")
    made.await_well("gateway", "stream")
    yield made
    made.end()


@contextmanager
def reader(loop: Loop, kind: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """Run a reader beside the block; what is yielded stops it and returns what it found."""
    command = [sys.executable, str(READER), str(loop.data / "ib" / "stream"), kind]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def stop() -> dict[str, Any]:
            said, _ = process.communicate(timeout=DEADLINE_S)
            found: dict[str, Any] = json.loads(said)
            return found

        try:
            yield stop
        finally:
            process.kill()


def published(loop: Loop) -> int:
    """Return how many quotes the stream says it has written."""
    return int(loop.beat("stream").document["publishes_total"])


def test_no_reader_is_lied_to_while_the_gateway_dies_again_and_again(loop: Loop) -> None:
    """Whole files, seq never back, every symbol goes on after each death; a shock arrives."""
    wanted = set(loop.beat("stream").document["subscribed_symbols"])
    with reader(loop, "locked") as locked, reader(loop, "plain") as plain:
        for _ in range(KILLS):
            before = published(loop)
            wait_for("a flood", lambda before=before: published(loop) > before + 2_000)
            (simulator,) = children(loop.running["gateway"].pid)
            os.kill(simulator, signal.SIGKILL)
            wait_for("the loss to be told", lambda: loop.beat("stream").status != "connected")
            loop.await_well("gateway", "stream")
            told = loop.beat("stream").document["subscribed_symbols"]
            assert set(told) == wanted
        before = published(loop)
        wait_for("the flood to go on", lambda: published(loop) > before + 2_000)
        found = [stop() for stop in (locked, plain)]
    for one in found:
        assert one["wrong"] == []
        assert one["reads"] > 1_000
        assert {name.removesuffix(".json") for name in one["seen"]} >= wanted
    quote = loop.data / "ib" / "stream" / "AAPL.json"
    bid = json.loads(quote.read_text(encoding="utf-8"))["bid"]
    loop.control().shock(-0.5)
    wait_for("the shock", lambda: json.loads(quote.read_text(encoding="utf-8"))["bid"] < bid * 0.6)

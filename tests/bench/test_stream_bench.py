"""The bench of the stream's receiving runs: its numbers are measured, none is judged."""

import importlib
import os
from pathlib import Path

import pytest

BENCH = Path(__file__).parent


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the programs of this directory, and those they start, find each other and ibloop."""
    monkeypatch.syspath_prepend(str(BENCH))
    root = str(BENCH.parents[1])
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.mark.e2e
@pytest.mark.parametrize("way", ["bare", "states"])
def test_a_burst_is_drained(way: str, programs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small burst over a socket, to the last byte."""
    decode = importlib.import_module("stream_decode")
    monkeypatch.setattr(decode, "LINES", 4)
    assert decode.drained_us(way, 2_000, 16_384) > 0


@pytest.mark.e2e
@pytest.mark.parametrize("way", ["floor", "fast"])
def test_no_tick_is_missing(
    way: str, programs: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each tick of a short play is found in a file, and none before it was sent."""
    wire = importlib.import_module("stream_wire")
    monkeypatch.setattr(wire, "LINES", 4)
    found = wire.one_way(way, 200, 1.0, tmp_path)
    assert found[f"{way}_200_missing"] == 0
    assert found[f"{way}_200_p50_ms"] > 0


def test_latency_is_that_of_the_first_version_that_has_the_tick(programs: None) -> None:
    """A later version counts for the ticks it took the place of; a file's number never falls."""
    wire = importlib.import_module("stream_wire")
    moments = [["A", number, 1_000_000 * number] for number in range(1, 11)]
    rows = [["A", 3, 4_000_000], ["A", 2, 5_000_000], ["A", 10, 12_000_000], ["B", 10, 1]]
    assert wire.latencies_ms(moments, rows) == [2.0, 1.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0]

"""Ages survive stepped clocks, sides have signs, and impossible things raise."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ibloop.core.invariant import InvariantError, invariant, present
from ibloop.core.model import HALT_ORDER, SYMBOL, HaltLevel, Moment, Side

NOW = Moment(datetime(2026, 11, 20, 15, 30, tzinfo=UTC), 10**12, "a" * 32)


def test_ages_within_one_boot_ignore_the_wall_clock() -> None:
    """A wall clock stepped by an hour neither ages nor freshens anything."""
    stamp = replace(NOW, boottime_ns=NOW.boottime_ns - 5 * 10**9)
    assert NOW.age_s(stamp) == 5
    assert replace(NOW, utc=NOW.utc + timedelta(hours=1)).age_s(stamp) == 5
    assert NOW.age_s(replace(stamp, boottime_ns=NOW.boottime_ns + 10**9)) == -1


def test_ages_over_a_reboot_are_by_the_wall_clock() -> None:
    """Boot clocks of two boots have nothing to do with each other."""
    before = Moment(NOW.utc - timedelta(minutes=2), 10**15, "b" * 32)
    assert NOW.age_s(before) == 120


def test_sides_have_signs() -> None:
    """Buying adds, selling takes away."""
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)


def test_halts_have_an_order() -> None:
    """Kill over pause over reduce-only: the severest of several counts."""
    assert HALT_ORDER == (HaltLevel.REDUCE_ONLY, HaltLevel.PAUSE, HaltLevel.KILL)
    assert set(HALT_ORDER) == set(HaltLevel)


@pytest.mark.parametrize("symbol", ["A", "BRK B", "BF.B", "RDS-A", "3M", "A" * 12])
def test_symbols(symbol: str) -> None:
    """Capitals and digits, with blank, dot or dash inside, at most twelve."""
    assert SYMBOL.fullmatch(symbol)


@pytest.mark.parametrize(
    "symbol", ["", " A", "aapl", "A" * 13, "A:B", "../A", "A\n", "Ä", "A/B", ".A", "-A"]
)
def test_what_is_no_symbol(symbol: str) -> None:
    """Nothing that could leave a directory or split a reference."""
    assert not SYMBOL.fullmatch(symbol)


def test_invariants_raise_with_their_message() -> None:
    """What cannot be true ends the process, also under ``-O``."""
    invariant(True, "fine")
    with pytest.raises(InvariantError, match="two is three"):
        invariant(False, "two is three")


def test_present_returns_what_is_there() -> None:
    """Zero and empty are present; only None is missing."""
    assert present(0, "number") == 0
    assert present("", "text") == ""
    with pytest.raises(InvariantError, match=re.escape("price is missing")):
        present(None, "price")

"""What an evaluation of the guard costs with 500 positions: alone, and with files and ledger.

Run: ``python tests/bench/guard.py [--json] [--rounds N]``. ``judge`` is the pure part: double
entry, prices, worth, losses. ``evaluate`` is all of it: 500 quote files, the drop copy, one durable
row. ``append`` is the least a durable write costs here, measured side by side.
"""

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from ibloop.adapters.host import SystemClock  # noqa: E402
from ibloop.adapters.ledger.connection import open_ledger  # noqa: E402
from ibloop.adapters.streamfiles import QuoteReader, StreamWriter  # noqa: E402
from ibloop.config import BUILTIN_TOML, Profile, parse  # noqa: E402
from ibloop.core.model import (  # noqa: E402
    AccountValues,
    MarketDataType,
    Moment,
    Position,
    Quote,
    QuoteSource,
)
from ibloop.daemons.guard import TradeGuard  # noqa: E402
from ibloop.daemons.guarding.judging import judge  # noqa: E402

POSITIONS = 500
APPEND_BYTES = 4120


class Session:
    """An IB session that always says the same: so many positions and 100,000 USD."""

    def __init__(self, clock: SystemClock, count: int) -> None:
        """Hold ten shares of each symbol."""
        self._clock = clock
        ten = Decimal(10)
        self._held = tuple(Position(f"S{i:03}", i, ten, ten) for i in range(1, count + 1))

    def positions(self) -> tuple[Position, ...]:
        """Return what is held."""
        return self._held

    def values(self) -> AccountValues:
        """Return the figures."""
        worth, cash = Decimal(600_000), Decimal(100_000)
        return AccountValues("DU1234567", worth, cash, self._clock.now().utc)

    def is_connected(self) -> bool:
        """Return that the session is up."""
        return True

    def proof_age_s(self) -> float:
        """Return a fresh round trip."""
        return 0.1

    def values_age_s(self) -> float:
        """Return fresh figures."""
        return 0.1

    def clock_skew_s(self) -> float:
        """Return no difference."""
        return 0.0

    def marks(self) -> dict[int, Any]:
        """Return none of the broker's own prices."""
        return {}

    def executions(self) -> dict[str, Any]:
        """Return no executions."""
        return {}

    def executions_complete_at(self) -> Moment:
        """Return that the answer is of now."""
        return self._clock.now()

    def ask_executions(self) -> None:
        """Ask nothing."""

    def global_cancel(self) -> None:
        """Cancel nothing."""


def quote(symbol: str, con_id: int, seq: int, now: Moment, price: Decimal) -> Quote:
    """Return a quote a cent around ``price``."""
    cent = Decimal("0.01")
    return Quote(
        *(symbol, con_id, seq, now, None, QuoteSource.STREAM, MarketDataType.LIVE),
        *(price - cent, price + cent, price, price),
    )


class Post:
    """A guard with its files and its ledger in a directory."""

    def __init__(self, directory: Path, count: int) -> None:
        """Write the first quotes and evaluate once."""
        self.clock = SystemClock()
        config = parse(BUILTIN_TOML, "bench")
        # The quotes are written once: they must not grow old while rounds go on.
        quotes = replace(config.quotes, quote_age_s_max=3600.0)
        self.profile = Profile(replace(config, quotes=quotes), None, directory)
        self.profile.stream_dir.mkdir(parents=True)
        self.ledger = open_ledger(
            self.profile.ledger_path, mode=config.mode, account=config.account
        )
        session = Session(self.clock, count)
        writer = StreamWriter(self.profile.stream_dir)
        for held in session.positions():
            now = self.clock.now()
            seq = writer.next_seq(held.symbol, now)
            writer.publish(quote(held.symbol, held.con_id, seq, now, Decimal(100)))
        reader = QuoteReader(self.profile.stream_dir)
        self.guard = TradeGuard(self.profile, self.ledger, session, reader, self.clock)
        assert self.guard.evaluate().status == "ok"

    def read_and_judge(self) -> None:
        """Do what an evaluation does without writing."""
        sight = self.guard._look.look(self.ledger.db, Decimal(600_000))
        judge(self.ledger.db, self.profile.config, sight, self.clock.now())

    def read(self) -> None:
        """Read the quote files alone."""
        self.guard._look._quotes.read([f"S{i:03}" for i in range(1, POSITIONS + 1)])


def times_ms(action: Callable[[], object], rounds: int) -> list[float]:
    """Return how long each of so many rounds took, in ms."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        found.append((time.perf_counter() - began) * 1000)
    return found


def appended(directory: Path) -> Callable[[], object]:
    """Return an append with fdatasync: the floor of a durable write."""
    file = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append() -> None:
        os.write(file, b"x" * APPEND_BYTES)
        os.fdatasync(file)

    return append


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        post = Post(directory / "data", POSITIONS)
        rounds = {
            "append": times_ms(appended(directory), options.rounds),
            "read_files": times_ms(post.read, options.rounds),
            "read_and_judge": times_ms(post.read_and_judge, options.rounds),
            "evaluate": times_ms(post.guard.evaluate, options.rounds),
        }
        post.ledger.close()
    if options.json:
        print(json.dumps({"positions": POSITIONS, "rounds": rounds}))  # noqa: T201
        return
    print(f"{POSITIONS} positions, ms (median, slowest of {options.rounds})")  # noqa: T201
    for title, found in rounds.items():
        print(f"  {title:16} {statistics.median(found):8.2f} {max(found):8.2f}")  # noqa: T201


if __name__ == "__main__":
    main()

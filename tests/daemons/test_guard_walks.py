"""Random histories: one bad print never halts, and a loss that stays always does."""

import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.adapters.ledger import halts
from ibloop.core.model import HaltLevel, Position
from ibloop.core.valuing import Mark
from tests.fakes.house import instrument
from tests.fakes.post import Post

D = Decimal
KILL_EVALUATIONS = 40
RESUMED = {
    "resume of a pause": ("cli", "lunch"),
    "resume of a loss": ("guard", "day loss 3.00% reached the limit"),
    "resume of the peak": ("guard", "drawdown from peak 10.00% reached the limit"),
    "resume of the year": ("guard", "drawdown of 52 weeks 10.00% reached the limit"),
    "resume of failures": ("guard", "20 orders refused reached the limit"),
}


class History:
    """An account whose worth does not change: days, flows, resumes, quotes of every kind.

    ``see`` is called before each evaluation with its number.
    """

    def __init__(self, directory: Path, see: Callable[["History", int], None]) -> None:
        """Hold 1000 AAA at 50 beside 50,000 USD."""
        self.post = Post(directory)
        quotes = self.post.quotes
        quotes._instruments = {"AAA": instrument("AAA", 1), "BBB": instrument("BBB", 2)}
        quotes.prices["BBB"] = D(100)
        self._see = see
        self._seq = 100
        self.evaluations = 0

    def look(self, times: int) -> None:
        """Evaluate so often, two seconds apart."""
        for _ in range(times):
            self.post.clock.advance(2)
            self._see(self, self.evaluations)
            self.post.glance()
            self.evaluations += 1
            self.post.quotes.frozen.clear()

    def quote(self, symbol: str, price: Decimal, *, last_only: bool = False) -> None:
        """Let the next evaluation see another price; the prior close stays."""
        self._seq += 1
        sides = None if last_only else price
        close = self.post.quotes.prices[symbol]
        self.post.quotes.freeze(
            symbol, bid=sides, ask=sides, last=price, close=close, seq=self._seq
        )

    def happen(self, what: str) -> None:
        """Let something happen that is neither profit nor loss."""
        watch, clock = self.post.watch, self.post.clock
        if what == "night":
            clock.advance(24 * 3600)
        elif what in {"deposit", "withdrawal"}:
            amount = D(20_000 if what == "deposit" else -3_000)
            watch.cash = (watch.cash or D(0)) + amount
            watch.net_liquidation += amount
        elif what == "transfer" and len(watch.held or ()) == 1:
            watch.held = (*(watch.held or ()), Position("BBB", 2, D(200), D(90)))
            watch.net_liquidation += 20_000
        elif what in RESUMED:
            source, reason = RESUMED[what]
            with self.post.site.ledger.transaction() as tx:
                halts.halt(tx, HaltLevel.PAUSE, reason, source, "test", clock.now().utc)
            self.post.resume()
        elif what == "restart":
            self.post.restart()
        elif what == "silence":
            watch.connected = False
            self.look(2)
            watch.connected = True
        elif what == "marks":
            price = self.post.quotes.prices["AAA"]
            watch.marked = {1: Mark(price, clock.now())}

    def close(self) -> None:
        """Close the ledger."""
        self.post.site.ledger.close()


HAPPENINGS = st.sampled_from(
    ["night", "deposit", "withdrawal", "transfer", "restart", "silence", "marks", *RESUMED]
)
STORY = st.lists(st.tuples(HAPPENINGS, st.integers(1, 9)), max_size=4)
PRINT = st.tuples(
    st.integers(0, 40),
    st.sampled_from(["AAA", "BBB"]),
    st.decimals("0.05", "20", places=2).filter(lambda factor: factor != 1),
    st.booleans(),
)


@settings(deadline=None, max_examples=40)
@given(STORY, PRINT)
def test_one_bad_print_never_halts(
    story: list[tuple[str, int]], bad: tuple[int, str, Decimal, bool]
) -> None:
    """Wherever it falls: on a first value, a midnight, a resume, a flow or a new connection."""
    position, symbol, factor, last_only = bad

    def see(history: History, number: int) -> None:
        if number == position:
            price = history.post.quotes.prices[symbol] * factor
            history.quote(symbol, price, last_only=last_only)

    with tempfile.TemporaryDirectory() as name:
        history = History(Path(name), see)
        history.look(3)
        for what, times in story:
            history.happen(what)
            history.look(times)
        history.look(8)
        levels = history.post.levels()
        history.close()
    assert levels == []


@settings(deadline=None, max_examples=40)
@given(STORY, st.integers(0, 6), st.booleans())
def test_a_loss_that_stays_always_halts(
    story: list[tuple[str, int]], wide: int, answered: bool
) -> None:
    """Whatever was seen before it: flows under way, days, resumes, wide spreads."""

    def see(history: History, number: int) -> None:
        if number % 7 < wide:
            price = history.post.quotes.prices["AAA"]
            history.post.quotes.freeze("AAA", bid=price * D("0.9"), ask=price * D("1.2"))

    with tempfile.TemporaryDirectory() as name:
        history = History(Path(name), see)
        history.look(3)
        for what, times in story:
            history.happen(what)
            history.look(times)
        history.look(3)  # a start is made of three valuations
        if not answered:
            history.post.watch.answers = False
        watch = history.post.watch
        watch.marked = {}
        history.post.quotes.prices["AAA"] = D("38.5")
        watch.net_liquidation -= 11_500
        history.look(KILL_EVALUATIONS)
        levels = history.post.levels()
        history.close()
    assert "kill" in levels

"""What the guard sees: the account by double entry, every holding priced, and what to doubt.

Reading happens outside the transaction that judges; nothing here is kept before that has
committed (:meth:`AccountLook.keep`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Protocol

from ibloop.adapters.calendar import session_at
from ibloop.adapters.ledger import fills
from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.guard_memory import GuardMemory
from ibloop.adapters.ports import Clock, Quotes
from ibloop.config import Config
from ibloop.core.dropcopy import Seen
from ibloop.core.flows import Books, Pending, Posting, Reading, expected_shares, read_books
from ibloop.core.invariant import present
from ibloop.core.model import AccountValues, Moment, Position, Quote
from ibloop.core.quotes import valuation_price
from ibloop.core.valuing import (
    MARK_AGE_S_MAX,
    Mark,
    PriceRules,
    Valuation,
    price_all,
    split_ratio,
    value_account,
)

PROOF_AGE_S_MAX = 10.0
"""What was pushed counts while the gateway answers."""
CLOCK_SKEW_S_MAX = 3.0
"""Beyond two seconds nothing is sent (execution-safety F16); IB's time has whole seconds."""
FILLS_BACK = timedelta(days=1)
BLIND = Valuation(None, "none", sound=False, note="the broker's figures are not there")


class Watch(Protocol):
    """What the guard needs of its IB session (``IbAccountWatch``)."""

    def is_connected(self) -> bool:
        """Return whether the transport is up and the account proven to be ours."""
        ...

    def proof_age_s(self) -> float:
        """Return the seconds since the gateway last answered a round trip."""
        ...

    def positions(self) -> tuple[Position, ...] | None:
        """Return the positions, ``None`` until told in full."""
        ...

    def values(self) -> AccountValues | None:
        """Return the broker's figures, ``None`` until told."""
        ...

    def values_age_s(self) -> float:
        """Return the seconds since the broker last refreshed them."""
        ...

    def marks(self) -> Mapping[int, Mark]:
        """Return the broker's own prices by contract id."""
        ...

    def executions(self) -> Mapping[str, Seen]:
        """Return the executions of today by base, as far as they were told."""
        ...

    def executions_complete_at(self) -> Moment | None:
        """Return when the last whole answer about executions was asked for."""
        ...

    def ask_executions(self) -> None:
        """Ask for all executions of today."""
        ...

    def open_orders(self) -> int | None:
        """Return how many orders worked by the last answer, ``None`` before it."""
        ...

    def ask_open_orders(self) -> None:
        """Ask which orders work at the broker."""
        ...

    def clock_skew_s(self) -> float:
        """Return how far our clock is ahead of the broker's."""
        ...

    def global_cancel(self) -> None:
        """Cancel every order of the account. Raises: NotSentError."""
        ...


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at the account: its worth, a flow if one was believed, and what to doubt.

    ``memory`` and ``pending`` are what to keep; ``market_open`` as of the look; ``quoted`` are
    prices by symbol as they came, believed or not.
    """

    valuation: Valuation
    market_open: bool
    memory: GuardMemory
    pending: Pending | None = None
    flow_usd: Decimal | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    quoted: Mapping[str, Decimal] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()
    missing_since: Mapping[str, Moment] = field(default_factory=dict)


def is_fresh(watch: Watch) -> bool:
    """Return whether what the session was told still counts."""
    return watch.is_connected() and watch.proof_age_s() <= PROOF_AGE_S_MAX


def price_rules(config: Config) -> PriceRules:
    """Return when a price is used, and when it is held back."""
    return PriceRules(
        quotes=config.quotes,
        jump_fraction=config.guard.price_jump_fraction,
        confirmations=config.guard.price_confirmations,
    )


class AccountLook:
    """Looks at the account and remembers what it takes to look again."""

    def __init__(self, config: Config, watch: Watch, quotes: Quotes, clock: Clock) -> None:
        """Take the ports; ``memory`` may be set to what the ledger remembers."""
        self._config = config
        self._watch = watch
        self._quotes = quotes
        self._clock = clock
        self.memory = GuardMemory()
        self._pending: Pending | None = None
        self._missing: Mapping[str, Moment] = {}

    def keep(self, sight: Sight) -> None:
        """Remember what a look has learnt, once it is in the ledger."""
        self.memory, self._pending = sight.memory, sight.pending
        self._missing = sight.missing_since

    def look(self, db: Connection, equity_usd: Decimal | None) -> Sight:
        """Return what is seen now; ``equity_usd`` is the worth before, to tell a flow by."""
        now = self._clock.now()
        calendar = self._config.session.calendar
        market_open = session_at(calendar, now.utc) is not None
        positions, values = self._watch.positions(), self._watch.values()
        if not is_fresh(self._watch) or positions is None or values is None:
            return Sight(BLIND, market_open, self.memory, self._pending)
        return self._value(db, positions, values, equity_usd, now, market_open=market_open)

    def _value(
        self,
        db: Connection,
        positions: tuple[Position, ...],
        values: AccountValues,
        equity_usd: Decimal | None,
        now: Moment,
        *,
        market_open: bool,
    ) -> Sight:
        books, marks = self.memory.books, self._watch.marks()
        symbols = {p.symbol for p in positions if p.quantity}
        symbols |= {p.symbol for p in books.holdings.values()} if books else set()
        quotes = self._quotes.read(sorted(symbols))
        prices = self._prices(positions, quotes, marks, now)
        executions = self._executions(db, books, now)
        splits = self._splits(books, positions, executions, prices)
        reading = read_books(
            books,
            self._pending,
            values.total_cash,
            positions,
            executions,
            prices=prices,
            equity_usd=equity_usd,
            splits=splits,
            now=now,
        )
        priced, remembered = price_all(
            reading.positions,
            quotes,
            marks,
            self.memory.prices,
            now=now,
            rules=price_rules(self._config),
            splits=splits,
        )
        figures = values if self._watch.values_age_s() <= MARK_AGE_S_MAX else None
        valuation = value_account(priced, reading.cash_usd, figures)
        valuation = _doubted(valuation, reading)
        if reading.flow_usd is not None and not valuation.sound:
            # A flow moves every baseline: it waits for a worth that it can be measured by.
            known = present(books, "books before a flow")
            reading = replace(reading, books=known, pending=self._pending, flow_usd=None)
        missing = self._missing_since(valuation, now, market_open=market_open)
        return Sight(
            valuation,
            market_open,
            GuardMemory(reading.books, remembered),
            reading.pending,
            reading.flow_usd,
            dict(splits.values()),
            {p.symbol: prices[p.con_id] for p in positions if p.con_id in prices},
            self._troubles(missing, now),
            missing,
        )

    def _prices(
        self,
        positions: tuple[Position, ...],
        quotes: Mapping[str, Quote],
        marks: Mapping[int, Mark],
        now: Moment,
    ) -> dict[int, Decimal]:
        """Return a price by contract, good enough to tell a split or the worth of a flow by."""
        found = {con_id: known.price for con_id, known in self.memory.prices.items()}
        for position in positions:
            quote = quotes.get(position.symbol)
            own = quote if quote is not None and quote.con_id == position.con_id else None
            price = valuation_price(own, now, self._config.quotes)
            mark = marks.get(position.con_id)
            if price is not None:
                found[position.con_id] = price
            elif mark is not None:
                found[position.con_id] = mark.price
        return found

    def _executions(self, db: Connection, books: Books | None, now: Moment) -> dict[str, Posting]:
        """Return executions by base: those of the ledger, and over them the session's own."""
        since = (now.utc if books is None else books.at) - FILLS_BACK
        recorded = fills.recorded_after(db, since)
        found = {
            fill.exec_base: Posting(
                *(fill.con_id, fill.symbol, fill.signed_quantity, fill.price),
                *(fill.commission, fill.executed_at),
            )
            for fill in recorded
        }
        for base, seen in self._watch.executions().items():
            execution = seen.execution
            signed = execution.side.sign * execution.quantity
            found[base] = Posting(
                *(execution.con_id, execution.symbol, signed, execution.price),
                *(execution.commission, execution.executed_at),
            )
        return found

    def _splits(
        self,
        books: Books | None,
        positions: tuple[Position, ...],
        executions: Mapping[str, Posting],
        prices: Mapping[int, Decimal],
    ) -> dict[int, tuple[str, str]]:
        """Return contracts whose shares have split since the books, as symbol and words."""
        if books is None:
            return {}
        expected = expected_shares(books, executions)
        found = {}
        for position in positions:
            before = expected.get(position.con_id)
            if before is None or before.quantity == position.quantity:
                continue
            known = self.memory.prices.get(position.con_id)
            ratio = split_ratio(
                before.quantity,
                position.quantity,
                known.price if known else None,
                prices.get(position.con_id),
            )
            if ratio is not None:
                text = f"{before.quantity} shares became {position.quantity}"
                words = f"{text}: a split {ratio.numerator}:{ratio.denominator}"
                found[position.con_id] = (position.symbol, words)
        return found

    def _missing_since(
        self, valuation: Valuation, now: Moment, *, market_open: bool
    ) -> dict[str, Moment]:
        if not market_open:
            return {}  # nobody quotes, and nothing is missed
        return {symbol: self._missing.get(symbol, now) for symbol in valuation.missing}

    def _troubles(self, missing: Mapping[str, Moment], now: Moment) -> tuple[str, ...]:
        limit_s = self._config.guard.price_missing_s_max
        late = sorted(symbol for symbol, at in missing.items() if now.age_s(at) >= limit_s)
        found = []
        if late:
            shown = ", ".join(late[:5]) + (f" and {len(late) - 5} more" if len(late) > 5 else "")
            found.append(f"no usable price of {shown} for {limit_s:g} s: look at the stream")
        skew_s = self._watch.clock_skew_s()
        if abs(skew_s) > CLOCK_SKEW_S_MAX:
            way = "ahead of" if skew_s > 0 else "behind"
            found.append(f"our clock is {abs(skew_s):.0f} s {way} the broker's: check NTP")
        return tuple(found)


def _doubted(valuation: Valuation, reading: Reading) -> Valuation:
    """Return the valuation, unsound when the broker's figure holds cash nobody can explain yet.

    Its own figure shows a withdrawal at once, and as a loss; the books wait until it is believed.
    """
    waits = reading.pending is not None and not reading.pending.shares
    if valuation.source != "ib_net_liquidation" or not waits or reading.pending is None:
        return valuation
    note = f"{reading.pending.cash_usd} USD came or went, and no fill explains it yet"
    return replace(valuation, sound=False, note=note)

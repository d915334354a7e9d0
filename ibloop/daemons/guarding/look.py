"""What the guard sees: the account by double entry, every holding priced, and what to doubt.

Reading happens outside the transaction that judges; nothing here is kept before that has
committed (:meth:`AccountLook.keep`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from ibloop.adapters.calendar import session_at
from ibloop.adapters.ledger import fills, freezes
from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.guard_memory import GuardMemory
from ibloop.adapters.ports import Clock, Quotes
from ibloop.config import Config
from ibloop.core.books import Books, Posting, expected_shares
from ibloop.core.dropcopy import Seen
from ibloop.core.flows import Known, Pending, Reading, read_books
from ibloop.core.invariant import present
from ibloop.core.model import AccountValues, Moment, Position, Quote
from ibloop.core.splits import split_ratio
from ibloop.core.valuing import (
    MARK_AGE_S_MAX,
    Mark,
    Priced,
    PriceRules,
    Valuation,
    live_price,
    price_all,
    value_account,
)

ACTOR = "guard"
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

    def open_perm_ids(self) -> frozenset[int]:
        """Return the broker's own numbers of those orders."""
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
    prices by symbol: of shares that have changed as they came, believed or not. ``stream_errors``
    are those of the last ``order_failures_minutes``: when they were noticed, and how many.
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
    stream_errors: tuple[tuple[datetime, int], ...] = ()


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
        executions = self._executions(db, books, now)
        expected = {} if books is None else expected_shares(books, executions)
        # Shares come and go before anybody says why: what is there by either side has a price.
        priceable = tuple({**expected, **{p.con_id: p for p in positions}}.values())
        quotes = self._quotes.read(sorted({p.symbol for p in priceable}))
        changed = tuple(
            p
            for p in positions
            if p.con_id in expected and p.quantity != expected[p.con_id].quantity
        )
        quoted = self._quoted(changed, quotes, marks, now)
        splits = self._splits(expected, changed, quoted)
        rules = price_rules(self._config)
        priced, remembered = price_all(
            priceable, quotes, marks, self.memory.prices, now=now, rules=rules, splits=splits
        )
        believed = {p.con_id: p.price for p in priced if p.price is not None and p.is_usable}
        known = Known(
            prices=believed,
            equity_usd=equity_usd,
            answered=self._watch.executions_complete_at(),
            splits=splits,
            accepted=self._accepted(db),
            unexplained=self.memory.unexplained,
            # What differs at the first look may have come at any time since the last one.
            since=self.memory.saved,
        )
        reading = read_books(
            books, self._pending, values.total_cash, positions, executions, known, now
        )
        figures = values if self._watch.values_age_s() <= MARK_AGE_S_MAX else None
        held = _holdings(priced, reading.positions)
        valuation = _doubted(value_account(held, reading.cash_usd, figures), reading)
        if reading.flow_usd is not None and not valuation.sound:
            # A flow moves every baseline: it waits for a worth that it can be measured by.
            kept = present(books, "books before a flow")
            unexplained = self.memory.unexplained
            reading = replace(reading, books=kept, pending=self._pending, flow_usd=None)
            reading = replace(reading, unexplained=unexplained)
        missing = self._missing_since(valuation, now, market_open=market_open)
        prices = believed | quoted
        return Sight(
            valuation,
            market_open,
            GuardMemory(reading.books, remembered, reading.unexplained),
            reading.pending,
            reading.flow_usd,
            dict(splits.values()),
            {p.symbol: prices[p.con_id] for p in positions if p.con_id in prices},
            (*self._troubles(missing, now), *([reading.doubt] if reading.doubt else [])),
            missing,
        )

    def _accepted(self, db: Connection) -> frozenset[int]:
        """Return the contracts whose shares a person has accepted since they differ."""
        return frozenset(
            con_id
            for con_id, odd in self.memory.unexplained.items()
            if odd.symbol in freezes.accepted_since(db, odd.since.utc)
            or odd.symbol in freezes.released_since(db, odd.since.utc, ACTOR)
        )

    def _quoted(
        self,
        positions: tuple[Position, ...],
        quotes: Mapping[str, Quote],
        marks: Mapping[int, Mark],
        now: Moment,
    ) -> dict[int, Decimal]:
        """Return a price by contract as it came, believed or not: to tell a split by."""
        found = {}
        for position in positions:
            quote = quotes.get(position.symbol)
            own = quote if quote is not None and quote.con_id == position.con_id else None
            mark = marks.get(position.con_id)
            price = live_price(own, mark, now, self._config.quotes)
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
        expected: Mapping[int, Position],
        changed: tuple[Position, ...],
        prices: Mapping[int, Decimal],
    ) -> dict[int, tuple[str, str]]:
        """Return contracts whose shares have split since the books, as symbol and words."""
        found = {}
        for position in changed:
            before = expected[position.con_id]
            known = self.memory.prices.get(position.con_id)
            odd = self.memory.unexplained.get(position.con_id)  # the shares came before the price
            was = odd.price if odd else known.price if known else None
            price = prices.get(position.con_id)
            ratio = split_ratio(before.quantity, position.quantity, was, price)
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
        return {symbol: self._missing.get(symbol, now) for symbol in valuation.unseen}

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


def _holdings(priced: tuple[Priced, ...], positions: tuple[Position, ...]) -> tuple[Priced, ...]:
    """Return the prices of what is held, each with as many shares as are to be valued."""
    prices = {p.con_id: p for p in priced}
    return tuple(replace(prices[p.con_id], quantity=p.quantity) for p in positions)


def _doubted(valuation: Valuation, reading: Reading) -> Valuation:
    """Return the valuation, unsound when the broker's figure holds what nobody can explain yet.

    Its own figure shows a withdrawal at once, of cash or of shares, and as a loss; the books wait
    until it is believed.
    """
    pending = reading.pending
    if valuation.source != "ib_net_liquidation" or pending is None:
        return valuation
    if pending.shares and not reading.unexplained:
        return valuation
    what = "shares" if pending.shares else f"{pending.cash_usd} USD"
    note = f"{what} came or went, and no fill explains it yet"
    return replace(valuation, sound=False, note=note)

"""Drop copy: what the guard's own session shows of executions and positions, against the ledger.

The ledger is written by the process that sends the orders; a second pair of eyes compares it with
the broker. What differs for longer than a grace period is a break: its symbol is frozen, because
what is held of it is not known. Where nothing explains it the whole account is in doubt, and
nothing is bought. A break ends when both agree again, or when a person accepts.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ibloop.core.model import ZERO, Execution, Moment, Position
from ibloop.core.promises import exec_base
from ibloop.core.splits import split_ratio

ACCOUNT = "*"
"""Stands for every symbol: the whole account is frozen."""
CASH = "cash"
"""Stands for money that went out without an execution; no symbol has small letters."""
UNEXPLAINED = "nothing explains it"
"""The end of a freeze's reason where no cause is known."""
SYMBOLS_MAX = 5
"""More symbols than these at once are no trouble of single symbols: the account is frozen."""
CLEAR_S = 30.0
"""How long both must agree again before a freeze is lifted."""


ENTERED_BY_HAND = "resolved:"
"""What the execution ids begin with that `ibloop orders resolve` makes."""


class BreakKind(StrEnum):
    """How ledger and broker differ."""

    UNRECORDED = "unrecorded"  # the broker shows an execution that the ledger lacks
    DIFFERENT = "different"  # the ledger has an older revision of it, or other shares
    UNCONFIRMED = "unconfirmed"  # the ledger has a fill of today that the broker does not show
    POSITION = "position"  # what is held is not what the fills say
    MANY = "many"  # too many symbols at once


@dataclass(frozen=True, slots=True)
class Seen:
    """An execution as the guard's own session was told of it.

    ``client_id`` 0 with an empty reference is nobody's order of the API; ``is_liquidation`` is
    IB's mark that it closed the position itself.
    """

    execution: Execution
    client_id: int
    is_liquidation: bool

    @property
    def is_foreign(self) -> bool:
        """Return whether no program sent the order: a person or the broker did."""
        return self.client_id == 0 and not self.execution.client_order_id


@dataclass(frozen=True, slots=True)
class Recorded:
    """A fill of the ledger: id with its revision, signed shares, the broker's time."""

    exec_id: str
    symbol: str
    quantity: Decimal
    executed_at: datetime


@dataclass(frozen=True, slots=True)
class Break:
    """One difference. ``subject`` is an execution base, or the symbol for a position.

    ``has_cause``: it is known what has happened, though not what to do about it.
    """

    kind: BreakKind
    symbol: str
    subject: str
    text: str
    has_cause: bool = True

    @property
    def key(self) -> tuple[str, str]:
        """Return what makes two sightings the same break."""
        return self.kind.value, self.subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Both sides at one moment.

    ``shown``: the broker's executions of today by base. ``is_complete``: they come from a whole
    answer, so that what is not among them is not there. ``recorded``: the ledger's fills of today
    and of those bases, by base. ``expected``: shares by symbol that the ledger expects, ``None``
    before the first run; ``held``: what the broker says. Prices by symbol, before and now, and the
    contracts of what was held before, tell splits and new symbols. ``unexplained``: by symbol what
    the guard's own books cannot explain, ``None`` before it has any. ``released`` are the breaks,
    by their keys, that a person has lifted a freeze of.
    """

    shown: Mapping[str, Seen]
    is_complete: bool
    recorded: Mapping[str, Recorded]
    expected: Mapping[str, Decimal] | None
    held: Sequence[Position]
    con_ids: Mapping[str, int]
    prices_before: Mapping[str, Decimal]
    prices_now: Mapping[str, Decimal]
    since: datetime
    unexplained: Mapping[str, str] | None = None
    released: frozenset[tuple[str, str]] = frozenset()


def compare(copies: Copies) -> tuple[Break, ...]:
    """Return every difference between ledger and broker, sorted by symbol."""
    found = (*_executions(copies), *_unconfirmed(copies), *_positions(copies))
    found = (*found, *_unbooked(copies, {b.symbol for b in found}))
    told = (b if b.has_cause else replace(b, text=f"{b.text}; {UNEXPLAINED}") for b in found)
    return tuple(sorted(told, key=lambda b: (b.symbol, b.key)))


def account_troubles(standing: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield why nothing new may be bought, from each freeze that stands: its symbol and reason."""
    for symbol, reason in standing:
        if symbol == CASH:
            yield f"{reason}; `ibloop guard release {CASH} REASON` accepts it"
        elif reason.endswith(UNEXPLAINED):
            yield f"{reason}: `ibloop positions explain`, then accept or release {symbol}"


def _executions(copies: Copies) -> Iterator[Break]:
    for base, seen in copies.shown.items():
        execution = seen.execution
        signed = execution.side.sign * execution.quantity
        known = copies.recorded.get(base)
        what = f"{execution.side} {execution.quantity} {execution.symbol} at {execution.price}"
        if known is None:
            who = _who(seen)
            text = f"the broker shows {what} ({who}, {execution.exec_id}), the ledger does not"
            yield Break(BreakKind.UNRECORDED, execution.symbol, base, text)
        elif _revision(known.exec_id) < _revision(execution.exec_id):
            text = f"the broker corrected {known.exec_id} to {what}, the ledger does not know"
            yield Break(BreakKind.DIFFERENT, execution.symbol, base, text)
        elif known.exec_id == execution.exec_id and known.quantity != signed:
            text = f"the broker shows {what}, the ledger {known.quantity} ({execution.exec_id})"
            yield Break(BreakKind.DIFFERENT, execution.symbol, base, text, has_cause=False)


def _who(seen: Seen) -> str:
    if seen.is_liquidation:
        return "a liquidation by the broker"
    if seen.is_foreign:
        return "entered by hand"
    return f"client {seen.client_id}, order ref {seen.execution.client_order_id or 'none'}"


def _revision(exec_id: str) -> int:
    last = exec_id.rpartition(".")[2]
    return int(last) if last.isdecimal() else 0


def _unconfirmed(copies: Copies) -> Iterator[Break]:
    if not copies.is_complete:
        return
    for base, fill in copies.recorded.items():
        # What a person has entered for an order that the broker has forgotten is never shown.
        entered = fill.exec_id.startswith(ENTERED_BY_HAND)
        if base not in copies.shown and fill.executed_at >= copies.since and not entered:
            text = f"the ledger has {fill.quantity} {fill.symbol} ({fill.exec_id}) of today"
            text = f"{text}, the broker does not show it"
            yield Break(BreakKind.UNCONFIRMED, fill.symbol, base, text, has_cause=False)


def _positions(copies: Copies) -> Iterator[Break]:
    if copies.expected is None:
        return
    held = {p.symbol: p for p in copies.held if p.quantity}
    off = {
        symbol
        for symbol in copies.expected.keys() | held.keys()
        if _quantity(held, symbol) != copies.expected.get(symbol, ZERO)
    }
    renamed = dict(_renamed(off, held, copies))
    for symbol in sorted(off):
        expected, now = copies.expected.get(symbol, ZERO), _quantity(held, symbol)
        text = f"{symbol}: {now} held, {expected} expected by the fills"
        cause = _cause(symbol, expected, now, renamed, copies)
        text = f"{text}: {cause}" if cause else text
        yield Break(BreakKind.POSITION, symbol, symbol, text, has_cause=bool(cause))


def _unbooked(copies: Copies, known: Collection[str]) -> Iterator[Break]:
    """Yield what the ledger does not object to, or cannot, and the guard's own books do."""
    for symbol, text in sorted((copies.unexplained or {}).items()):
        if symbol not in known:
            yield Break(BreakKind.POSITION, symbol, symbol, text, has_cause=False)


def _quantity(held: Mapping[str, Position], symbol: str) -> Decimal:
    return held[symbol].quantity if symbol in held else ZERO


def _renamed(
    off: Iterable[str], held: Mapping[str, Position], copies: Copies
) -> Iterator[tuple[str, str]]:
    """Yield old and new symbol of what kept its contract, in both directions."""
    by_contract = {p.con_id: symbol for symbol, p in held.items()}
    for symbol in off:
        new = by_contract.get(copies.con_ids.get(symbol, -1))
        if new is not None and new != symbol and symbol not in held:
            yield symbol, new
            yield new, symbol


def _cause(
    symbol: str, expected: Decimal, now: Decimal, renamed: Mapping[str, str], copies: Copies
) -> str:
    """Return what the difference looks like; empty when nothing is recognised."""
    if symbol in renamed:
        old, new = (symbol, renamed[symbol]) if expected else (renamed[symbol], symbol)
        return f"the symbol changed from {old} to {new}, the contract is the same"
    before, after = copies.prices_before.get(symbol), copies.prices_now.get(symbol)
    ratio = split_ratio(expected, now, before, after)
    if ratio is not None:
        return f"looks like a split {ratio.numerator}:{ratio.denominator}"
    closing = [s for s in copies.shown.values() if s.is_liquidation]
    if any(s.execution.symbol == symbol for s in closing):
        return "the broker has liquidated"
    unrecorded = (
        seen.execution.side.sign * seen.execution.quantity
        for base, seen in copies.shown.items()
        if base not in copies.recorded and seen.execution.symbol == symbol
    )
    if sum(unrecorded, ZERO) == now - expected:
        return "so many were executed that the ledger lacks"
    return ""


# --- over time ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Watch:
    """How long each difference has been seen, and each freeze has been without its reason."""

    differing: Mapping[tuple[str, str], Moment]
    agreeing: Mapping[int, Moment]


@dataclass(frozen=True, slots=True)
class Freeze:
    """A freeze that stands; ``accepted`` when a person has accepted its symbol since."""

    freeze_id: int
    symbol: str
    kind: BreakKind
    subject: str
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from one comparison."""

    watch: Watch
    to_freeze: tuple[Break, ...]
    to_clear: tuple[Freeze, ...]


NOTHING_SEEN = Watch({}, {})


def conclude(
    found: Sequence[Break],
    standing: Sequence[Freeze],
    copies: Copies,
    watch: Watch,
    *,
    now: Moment,
    grace_s: float,
) -> Outcome:
    """Return what to freeze and what to lift after one comparison.

    A break that has lasted for ``grace_s`` freezes its symbol; more than :data:`SYMBOLS_MAX`
    symbols at once freeze the account. A freeze is lifted after :data:`CLEAR_S` of being explained.
    A difference about one execution that a person has released is not frozen again: nothing else
    could end one that the broker took back. Positions go on being compared.
    """
    found = [b for b in found if b.kind is BreakKind.POSITION or b.key not in copies.released]
    differing = {b.key: watch.differing.get(b.key, now) for b in found}
    frozen = {(f.kind.value, f.subject) for f in standing}
    due = [b for b in found if now.age_s(differing[b.key]) >= grace_s and b.key not in frozen]
    symbols = {b.symbol for b in due} | {f.symbol for f in standing if f.symbol != ACCOUNT}
    if len(symbols) > SYMBOLS_MAX and (BreakKind.MANY.value, ACCOUNT) not in frozen and due:
        text = f"ledger and broker differ in {len(symbols)} symbols: {', '.join(sorted(symbols))}"
        due = [*due, Break(BreakKind.MANY, ACCOUNT, ACCOUNT, text)]
    agreeing = {
        f.freeze_id: watch.agreeing.get(f.freeze_id, now)
        for f in standing
        if _is_explained(f, found, standing, copies)
    }
    clear = tuple(
        f
        for f in standing
        if f.freeze_id in agreeing and now.age_s(agreeing[f.freeze_id]) >= CLEAR_S
    )
    return Outcome(Watch(differing, agreeing), tuple(due), clear)


def _is_explained(
    freeze: Freeze, found: Sequence[Break], standing: Sequence[Freeze], copies: Copies
) -> bool:
    """Return whether the reason of a freeze is gone by evidence, or was accepted.

    The broker forgets executions over night: that one is no longer shown explains nothing.
    """
    if freeze.accepted:
        return True
    if any(b.key == (freeze.kind.value, freeze.subject) for b in found):
        return False
    if freeze.kind is BreakKind.MANY:
        return len({f.symbol for f in standing} - {ACCOUNT}) <= SYMBOLS_MAX
    if freeze.kind is BreakKind.POSITION:
        return copies.expected is not None or copies.unexplained is not None
    recorded, shown = freeze.subject in copies.recorded, freeze.subject in copies.shown
    if freeze.kind is BreakKind.UNCONFIRMED:
        return recorded and shown
    return recorded and (shown or freeze.kind is BreakKind.UNRECORDED)


def by_base(seen: Iterable[Seen]) -> dict[str, Seen]:
    """Return executions by base, each in its highest revision."""
    found: dict[str, Seen] = {}
    for each in seen:
        base = exec_base(each.execution.exec_id)
        known = found.get(base)
        newer = known is None or _revision(each.execution.exec_id) >= _revision(
            known.execution.exec_id
        )
        if newer:
            found[base] = each
    return found

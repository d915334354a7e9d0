"""The checks of one send, asked inside the transaction that journals it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from ibloop.core.model import ZERO, HaltLevel, Instrument, Quote, Side
from ibloop.core.orders import Intent, commission_bound_usd
from ibloop.core.quotes import mid
from ibloop.core.risk.daytrades import DAY_TRADER_EQUITY_USD, DayTrades
from ibloop.core.risk.exposure import Exposure, Holding
from ibloop.core.risk.funds import check_account_age
from ibloop.core.risk.halts import halt_allows, reduces
from ibloop.core.risk.limits import Limits
from ibloop.core.risk.order import check_order, weight
from ibloop.core.risk.plan import cap_verdicts
from ibloop.core.risk.verdict import Verdict, at_most, breaches, multiples_of


@dataclass(frozen=True, slots=True)
class SentOrder:
    """An order of ours in the symbol: sent today, or still at the broker.

    ``may_have_filled`` is False once it is known to have ended without a single share.
    """

    side: Side
    quantity: Decimal
    sent_at: datetime
    may_have_filled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SendContext:
    """What is committed at the instant of a send.

    ``equity_usd`` is net liquidation at its most careful, ``planned_equity_usd`` what it was when
    the run was planned, ``account_age_s`` how old the broker's figures are, ``None`` when one that
    is needed is missing. ``holding`` is the position of the symbol with everything of it that still
    works; ``exposure`` is the whole book's, ``baseline`` what it was when the run was planned.
    ``cash_usd`` is what is there for buys once every order already sent is paid for.
    ``quote_verdicts`` are
    :func:`~ibloop.core.risk.check_quote`'s on ``quote``; without any nothing leaves. ``recent``
    are today's orders of the symbol. ``day_trades`` is ``None`` where the limits ask for no count.
    """

    now: datetime
    halt: HaltLevel | None
    equity_usd: Decimal
    planned_equity_usd: Decimal
    account_age_s: float | None
    holding: Holding
    exposure: Exposure
    baseline: Exposure
    cash_usd: Decimal
    orders_today: int
    orders_this_run: int
    traded_today_usd: Decimal
    quote: Quote | None
    quote_verdicts: tuple[Verdict, ...]
    is_frozen: bool = False
    recent: Sequence[SentOrder] = ()
    day_trades: DayTrades | None = None


# What is said of nearly every send, made once.
_NO_HALT = Verdict("guard_halted", "no halt", "no halt", passed=True)
_NOT_FROZEN = Verdict("symbol_frozen", "not frozen", "not frozen", passed=True)
_FROZEN = Verdict("symbol_frozen", "frozen: what is held is in doubt", "not frozen", passed=False)
_NO_DUPLICATE = Verdict("duplicate_window_s", "none", "none", passed=True)
_UNCHECKED = Verdict("market_data", None, "a live quote", passed=False)


def check_send(
    intent: Intent,
    instrument: Instrument | None,
    limit_price: Decimal,
    context: SendContext,
    limits: Limits,
) -> tuple[Verdict, ...]:
    """Return what every check says of this order now.

    Nothing more is asked where the answer would mean nothing: under a halt, frozen, or without a
    usable quote.
    """
    held = context.holding.held
    first = (
        _NO_HALT if context.halt is None else _halt(intent, held, context.halt),
        _FROZEN if context.is_frozen else _NOT_FROZEN,
        *(context.quote_verdicts or (_UNCHECKED,)),
    )
    if breaches(first):
        return first
    # A sell may find a better price than its limit: what it opens is worth at least the mid.
    middle = mid(context.quote) if context.quote else None
    worst = limit_price if intent.side is Side.BUY else max(limit_price, middle or ZERO)
    # Made anew rather than replaced: `replace` looks at every field and costs five times as much.
    priced = Intent(intent.symbol, intent.con_id, intent.side, intent.quantity, worst)
    working = context.holding.working(intent.side)
    by_itself = check_order(
        priced,
        instrument,
        equity_usd=context.equity_usd,
        held=held,
        limits=limits,
        working=working,
    )
    if instrument is None or (len(by_itself) == 1 and breaches(by_itself)):
        return (*first, *by_itself)
    adds = not reduces(intent.side, intent.quantity + working, held)
    return (
        *first,
        *by_itself,
        *_price(limit_price, middle, instrument, limits),
        *_repetition(intent, context, limits),
        *_counts(priced, context, limits, adds=adds),
        *((check_account_age(context.account_age_s),) if adds else ()),
        *_cash(intent, limit_price, context, limits),
        *_caps(intent, context, limits, adds=adds),
        *_day_trades(intent, context, limits),
    )


def _halt(intent: Intent, held: Decimal, halt: HaltLevel) -> Verdict:
    found = f"{intent.side} of {intent.quantity} with {held} held"
    allowed = halt_allows(halt, intent.side, intent.quantity, held)
    return Verdict("guard_halted", found, f"what {halt} allows", allowed)


def _price(
    limit_price: Decimal, middle: Decimal | None, instrument: Instrument, limits: Limits
) -> Iterator[Verdict]:
    distance = abs(limit_price / middle - 1) if middle and limit_price > 0 else None
    yield at_most("price_collar_fraction", distance, limits.price_collar_fraction)
    on_grid = not limit_price % instrument.min_tick
    yield Verdict("min_tick", limit_price, multiples_of(instrument.min_tick), on_grid)


def _repetition(intent: Intent, context: SendContext, limits: Limits) -> Iterator[Verdict]:
    """Yield whether the order repeats, meets or follows others of ours in the symbol."""
    opposite = Side.SELL if intent.side is Side.BUY else Side.BUY
    for check, side in (("open_order", intent.side), ("opposite_side", opposite)):
        yield at_most(check, context.holding.working(side), 0)
    if limits.duplicate_window_s is not None:
        yield _duplicate(intent, context, limits.duplicate_window_s)
    if limits.submissions_per_symbol_max is not None:
        count = 1 + sum(1 for order in context.recent if order.side is intent.side)
        yield at_most(
            "submissions_per_symbol_max", Decimal(count), limits.submissions_per_symbol_max
        )


def _duplicate(intent: Intent, context: SendContext, window_s: float) -> Verdict:
    if not context.recent:
        return _NO_DUPLICATE
    ages_s = [
        (context.now - order.sent_at).total_seconds()
        for order in context.recent
        if order.may_have_filled and (order.side, order.quantity) == (intent.side, intent.quantity)
    ]
    age_s = min(ages_s, default=None)
    if age_s is None:
        return _NO_DUPLICATE
    return Verdict("duplicate_window_s", age_s, f"more than {window_s:g} s", age_s > window_s)


def _counts(
    intent: Intent, context: SendContext, limits: Limits, *, adds: bool
) -> Iterator[Verdict]:
    """Yield the counts of the day and the run.

    A loss makes every turnover a larger fraction of what is left: it must not keep anybody in.
    """
    turnover = context.traded_today_usd + intent.quantity * intent.price
    equity_usd = context.equity_usd if adds else context.planned_equity_usd
    for check, found, cap in (
        ("orders_per_run_max", Decimal(context.orders_this_run + 1), limits.orders_per_run_max),
        ("orders_per_day_max", Decimal(context.orders_today + 1), limits.orders_per_day_max),
        (
            "day_turnover_weight_max",
            weight(turnover, equity_usd),
            limits.day_turnover_weight_max,
        ),
    ):
        yield at_most(check, found, cap)


def _caps(intent: Intent, context: SendContext, limits: Limits, *, adds: bool) -> Iterator[Verdict]:
    """Yield the caps on the book with this order and all that works at its worst.

    The book may stay as high as it was when the run was planned: to shrink and shift is allowed.
    """
    before = context.holding
    if before.price_usd is None:
        before = replace(before, price_usd=intent.price)
    with_order = context.exposure.moved(before, before.with_order(intent.side, intent.quantity))
    sectors = () if before.sector is None else (before.sector,)
    yield from cap_verdicts(
        context.baseline, with_order, context.equity_usd, limits, sectors, adds=adds
    )


def _cash(
    intent: Intent, limit_price: Decimal, context: SendContext, limits: Limits
) -> Iterator[Verdict]:
    """Yield whether a buy can be paid for.

    Buying back a short needs no spare cash, but what goes on beyond zero does.
    """
    if intent.side is Side.SELL or reduces(Side.BUY, intent.quantity, context.holding.held):
        return
    need = intent.quantity * limit_price + commission_bound_usd(intent.quantity)
    spare = context.cash_usd - limits.cash_weight_min * context.equity_usd
    yield at_most("cash_weight_min", need, max(spare, ZERO))


def _day_trades(intent: Intent, context: SendContext, limits: Limits) -> Iterator[Verdict]:
    """Yield whether the order would be one day trade too many in a small margin account.

    Under a reduce-only halt the risk counts more than the account's freedom to trade.
    """
    trades, most = context.day_trades, limits.day_trades_max
    if most is None or trades is None or context.equity_usd >= DAY_TRADER_EQUITY_USD:
        return
    used = trades.used(most)
    if not trades.would_be_one(intent.symbol, intent.side):
        yield Verdict("day_trades_max", Decimal(used), most, passed=True)
        return
    fits = used + 1 <= most or context.halt is HaltLevel.REDUCE_ONLY
    yield Verdict("day_trades_max", Decimal(used + 1), most, fits)

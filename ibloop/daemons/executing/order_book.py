"""What is committed at the instant of a send, and what each order journalled with it adds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from ibloop.adapters.calendar import session_days_back
from ibloop.adapters.ledger import account, fills, freezes, orders, risk, runs
from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.fills import Move
from ibloop.adapters.ledger.runs import Run
from ibloop.config import Config
from ibloop.core.invariant import present
from ibloop.core.model import ZERO, AccountValues, HaltLevel, Instrument, Order, Quote, Side
from ibloop.core.orders import commission_bound_usd
from ibloop.core.risk import (
    DAY_TRADER_EQUITY_USD,
    DayTrades,
    Exposure,
    Holding,
    SendContext,
    SentOrder,
    Trade,
    Verdict,
    careful_equity,
    check_account_age,
    count_day_trades,
    exposure_of,
    holdings_of,
    reduces,
)
from ibloop.core.sessions import day_start, trade_date
from ibloop.daemons.executing.comparing import POSITION_LAG

BUSINESS_DAYS = 5
"""Over how many days day trades are counted, today included (FINRA 4210)."""


@dataclass(frozen=True, slots=True)
class PlanBook:
    """The book as a run attempt was planned on it: nothing changes it once the run executes."""

    run_id: str
    attempt: int
    holdings: Mapping[str, Holding]
    exposure: Exposure
    instruments: Mapping[str, Instrument]
    basis: risk.RiskBasis

    def belongs_to(self, run: Run) -> bool:
        """Return whether this is the plan of the run's present attempt."""
        return (self.run_id, self.attempt) == (run.run_id, run.attempt)

    def holding(self, symbol: str, price_usd: Decimal | None) -> Holding:
        """Return what was held of a symbol; of one that the plan does not name, nothing."""
        known = self.holdings.get(symbol)
        if known is not None:
            return known
        instrument = self.instruments.get(symbol)
        return Holding(symbol, instrument.sector if instrument else None, ZERO, price_usd)


def read_plan(db: Connection, run: Run, instruments: Mapping[str, Instrument]) -> PlanBook | None:
    """Return the plan of a run's present attempt; ``None`` when a version before wrote it."""
    basis = risk.basis_of(db, run.run_id, run.attempt)
    if basis is None:
        return None
    holdings = holdings_of(runs.plan_lines(db, run.run_id, run.attempt), instruments)
    exposure = exposure_of(holdings.values(), basis.unvalued_usd)
    return PlanBook(run.run_id, run.attempt, holdings, exposure, instruments, basis)


@dataclass(slots=True)
class SendBook:
    """The figures that the limits are held against, inside one sending transaction.

    Nobody else can write meanwhile, so what the transaction itself journals is all that changes.
    ``touched`` are the holdings that differ from the plan's, or are asked about. ``equity_usd`` and
    ``cash_usd`` are the more careful of the plan's and the broker's, ``account_age_s`` is how old
    the broker's are, ``None`` when one that the limits need is missing.
    """

    now: datetime
    halt: HaltLevel | None
    equity_usd: Decimal
    planned_equity_usd: Decimal
    account_age_s: float | None
    cash_usd: Decimal
    plan: PlanBook
    touched: dict[str, Holding]
    exposure: Exposure
    recent: dict[str, list[SentOrder]]
    day_trades: DayTrades | None
    orders_today: int
    orders_this_run: int
    traded_today_usd: Decimal
    sent_this_second: int
    next_order_id: int
    frozen: frozenset[str] = frozenset()

    def held(self, symbol: str) -> Decimal:
        """Return the shares held of a symbol whose orders may be sent."""
        return self.touched[symbol].held

    def context(
        self, symbol: str, quote: Quote | None, quote_verdicts: tuple[Verdict, ...]
    ) -> SendContext:
        """Return what one order is checked against."""
        return SendContext(
            now=self.now,
            halt=self.halt,
            equity_usd=self.equity_usd,
            planned_equity_usd=self.planned_equity_usd,
            account_age_s=self.account_age_s,
            holding=self.touched[symbol],
            exposure=self.exposure,
            baseline=self.plan.exposure,
            cash_usd=self.cash_usd,
            orders_today=self.orders_today,
            orders_this_run=self.orders_this_run,
            traded_today_usd=self.traded_today_usd,
            quote=quote,
            quote_verdicts=quote_verdicts,
            is_frozen=freezes.is_frozen(self.frozen, symbol),
            recent=self.recent.get(symbol, ()),
            day_trades=self.day_trades,
        )

    def is_paced(self, orders_per_second_max: int) -> bool:
        """Return whether the second that ends now has no room for one more order."""
        return self.sent_this_second >= orders_per_second_max

    def hinders(self, order: Order) -> str | None:
        """Return why an order has to wait for fresher figures; what only reduces never does.

        Evidence brings them, and is collected all the time: waiting is enough.
        """
        one = self.touched[order.symbol]
        if reduces(order.side, order.quantity + one.working(order.side), one.held):
            return None
        said = check_account_age(self.account_age_s)
        return None if said.passed else str(said)

    def add(self, order: Order, middle: Decimal) -> None:
        """Count an order that this transaction has journalled; ``middle`` is its quote's."""
        price = order.limit_price or middle
        self.orders_today += 1
        self.orders_this_run += 1
        self.traded_today_usd += order.quantity * price
        if order.side is Side.BUY:
            self.cash_usd -= _reserved_usd(order.quantity, price)
        before = self.touched[order.symbol]
        after = before.with_order(order.side, order.quantity)
        self.touched[order.symbol] = after
        self.exposure = self.exposure.moved(before, after)
        sent = SentOrder(order.side, order.quantity, self.now, may_have_filled=True)
        self.recent.setdefault(order.symbol, []).append(sent)
        if self.day_trades and self.day_trades.would_be_one(order.symbol, order.side):
            self.day_trades = replace(self.day_trades, count=self.day_trades.count + 1)
        self.sent_this_second += 1
        self.next_order_id += 1


def read_book(
    db: Connection,
    run: Run,
    plan: PlanBook,
    symbols: Collection[str],
    halt: HaltLevel | None,
    next_valid_id: int,
    *,
    now: datetime,
    config: Config,
) -> SendBook:
    """Return the figures for orders of a run in these symbols, at the start of a transaction.

    ``next_valid_id`` is the broker's: ids given away here begin above it and above all of ours.
    """
    since = day_start(now, config.session.timezone)
    today = orders.sent_today(db, since)
    # Foreign fills count too: somebody may have sold by hand what we are about to sell.
    moves = fills.moves_after(db, present(run.baseline_at, "baseline"))
    working = risk.working_orders(db)
    touched = _touched(plan, symbols, moves, working)
    exposure = plan.exposure.all_moved(
        (plan.holding(symbol, holding.price_usd), holding) for symbol, holding in touched.items()
    )
    values = account.values(db)
    planned_usd = present(run.equity_usd, "equity of an executing run")
    equity_usd = careful_equity(planned_usd, values.net_liquidation if values else None)
    reserved = (_reserved_usd(o.remaining, o.price) for o in working if o.side is Side.BUY)
    return SendBook(
        now=now,
        halt=halt,
        equity_usd=equity_usd,
        planned_equity_usd=planned_usd,
        account_age_s=_age_s(values, now, config),
        cash_usd=_cash_usd(db, run, plan, moves, values, config) - sum(reserved, ZERO),
        plan=plan,
        touched=touched,
        exposure=exposure,
        recent=risk.sent_since(db, symbols, since),
        day_trades=_day_trades(db, plan, equity_usd, working, now, config),
        orders_today=today.count,
        orders_this_run=orders.sent_count(db, run.run_id),
        traded_today_usd=today.notional,
        sent_this_second=orders.sent_count_after(db, now - timedelta(seconds=1)),
        next_order_id=max(next_valid_id, orders.max_ib_order_id(db) + 1),
        frozen=freezes.frozen_symbols(db),
    )


def _touched(
    plan: PlanBook,
    symbols: Collection[str],
    moves: Sequence[Move],
    working: Sequence[risk.WorkingOrder],
) -> dict[str, Holding]:
    """Return the holdings of ``symbols``, and of what has moved or still works since the plan."""
    touched = {symbol: plan.holding(symbol, None) for symbol in symbols}
    for move in moves:
        known = touched.get(move.symbol) or plan.holding(move.symbol, move.price)
        touched[move.symbol] = replace(known, held=known.held + move.signed_quantity)
    for order in working:
        known = touched.get(order.symbol) or plan.holding(order.symbol, order.price)
        touched[order.symbol] = known.with_order(order.side, order.remaining)
    return touched


def _age_s(values: AccountValues | None, now: datetime, config: Config) -> float | None:
    """Return how old the broker's figures are; ``None`` without one that the limits need."""
    if values is None or (config.limits.settled_cash_only and values.settled_cash is None):
        return None
    return (now - values.as_of).total_seconds()


def _cash_usd(
    db: Connection,
    run: Run,
    plan: PlanBook,
    moves: Sequence[Move],
    values: AccountValues | None,
    config: Config,
) -> Decimal:
    """Return the cash that buys may be paid from, before what is reserved for orders at work.

    By the plan less what has been spent since, and by what the broker tells now: the smaller.
    """
    cash_usd = present(run.cash_usd, "cash of an executing run")
    if not config.limits.settled_cash_only:
        by_plan = cash_usd - _spent_usd(moves)
        return by_plan if values is None else min(by_plan, _told_cash_usd(db, run, values))
    # What is sold today is paid tomorrow (T+1): only what is bought counts.
    settled_usd = plan.basis.settled_cash_usd or ZERO
    by_plan = min(cash_usd, settled_usd) - _spent_usd(_bought(moves))
    if values is None or values.settled_cash is None:
        return by_plan
    settled = replace(values, total_cash=values.settled_cash)
    told_usd = _told_cash_usd(db, run, settled, sells_pay=False)
    return min(by_plan, told_usd, _told_cash_usd(db, run, values))


def cash_gone_usd(db: Connection, run: Run) -> Decimal:
    """Return how much less cash there is, by the broker, than the plan and its executions say.

    Zero where there is not less, or no figure; USD.
    """
    values = account.values(db)
    if values is None:
        return ZERO
    moves = fills.moves_after(db, present(run.baseline_at, "baseline"))
    by_plan = present(run.cash_usd, "cash of a planned run") - _spent_usd(moves)
    return max(by_plan - _told_cash_usd(db, run, values), ZERO)


def _told_cash_usd(
    db: Connection, run: Run, values: AccountValues, *, sells_pay: bool = True
) -> Decimal:
    """Return what the broker's figure for cash leaves, at the most that it can mean.

    A figure can trail or run ahead of an execution by some seconds. One that close to it is taken
    as if a buy were in it and a sale were not: counted twice it would refuse what can be paid. The
    plan's own sum counts every execution, so nothing is missing from the smaller of the two.
    """
    baseline_at = present(run.baseline_at, "baseline")
    earliest, latest = values.as_of - POSITION_LAG, values.as_of + POSITION_LAG
    # A baseline from after the figure: the clock was set back, and nothing tells what is in it.
    later = fills.moves_after(db, latest) if baseline_at <= latest else ()
    sold = [
        move
        for move in fills.moves_after(db, max(earliest, baseline_at))
        if sells_pay and move.signed_quantity < 0
    ]
    return values.total_cash - _spent_usd(_bought(later)) - _spent_usd(sold)


def _bought(moves: Sequence[Move]) -> list[Move]:
    return [move for move in moves if move.signed_quantity > 0]


def _day_trades(
    db: Connection,
    plan: PlanBook,
    equity_usd: Decimal,
    working: Sequence[risk.WorkingOrder],
    now: datetime,
    config: Config,
) -> DayTrades | None:
    """Return the count of day trades, where the limits ask for one and the account is small.

    An order still at work that would close what was opened today counts as if it had.
    """
    limits, zone = config.limits, config.session.timezone
    if limits.day_trades_max is None or equity_usd >= DAY_TRADER_EQUITY_USD:
        return None
    today = trade_date(now, zone)
    first = session_days_back(today, BUSINESS_DAYS - 1)
    since = day_start(now - (today - first), zone)
    found = count_day_trades(
        (
            Trade(symbol, side, trade_date(at, zone))
            for symbol, side, at in risk.trades_since(db, since)
        ),
        today,
        short_allowed=limits.short_allowed,
        left_at_broker=plan.basis.day_trades_left,
    )
    closing = sum(1 for order in working if found.would_be_one(order.symbol, order.side))
    return replace(found, count=found.count + closing)


def _spent_usd(moves: Sequence[Move]) -> Decimal:
    """Return what fills have cost so far; a commission not yet known counts with its bound."""
    spent = ZERO
    for move in moves:
        known = move.commission
        spent += move.signed_quantity * move.price
        spent += commission_bound_usd(abs(move.signed_quantity)) if known is None else known
    return spent


@lru_cache(maxsize=8192)
def _reserved_usd(remaining: Decimal, price: Decimal) -> Decimal:
    """Return the most that the remaining shares of a buy can cost."""
    shares = max(remaining, ZERO)
    return shares * price + commission_bound_usd(shares)

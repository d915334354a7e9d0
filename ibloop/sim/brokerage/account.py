"""Cash and positions of one account, folded from its executions.

An account is never written down: its state is its opening cash plus every execution in force, so
that cash and positions cannot disagree with the fills, not even after a crash or a correction.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from ibloop.sim.brokerage.settlement import settlement_day
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.model import ZERO, AccountKind, AccountSpec, Action, Execution, SimError

CENT = Decimal("0.01")
SHARE_FRACTION = Decimal("1e-9")
# IB's fixed schedule for US stocks, USD: per share, least and (fraction of value) most per order.
# Exchange, clearing and regulatory fees are part of the fixed price, but for the SEC and FINRA
# fees on sales, which the simulator does not charge.
COMMISSION_PER_SHARE = Decimal("0.005")
COMMISSION_MIN = Decimal("1.00")
COMMISSION_FRACTION_MAX = Decimal("0.01")


def commission_usd(shares: Decimal, value_usd: Decimal) -> Decimal:
    """Return the commission of an order filled for so many shares and dollars, to the cent.

    Where 1 % of the value is less than the minimum, IB charges that 1 %.
    """
    charge = max(COMMISSION_MIN, shares * COMMISSION_PER_SHARE)
    return min(charge, value_usd * COMMISSION_FRACTION_MAX).quantize(CENT, ROUND_HALF_UP)


def after_split(shares: Decimal, ratio: Decimal) -> Decimal:
    """Return what shares become when each of them becomes `ratio`, fractions included."""
    # A ratio may have been a binary fraction: a third of three is not to be 0.9999999999999999.
    return (shares * ratio).quantize(SHARE_FRACTION)


@dataclass(slots=True)
class Day:
    """What the trades of one New York date did: shares, cash and realized profit, USD."""

    shares: Decimal = ZERO
    cash: Decimal = ZERO
    realized: Decimal = ZERO


@dataclass(slots=True)
class Position:
    """Shares held (short ones negative), their average cost, and the profit realized so far.

    As at IB the average cost of a share includes commissions: what a long one cost, what a short
    one brought.
    """

    quantity: Decimal = ZERO
    avg_cost: Decimal = ZERO
    realized: Decimal = ZERO
    days: dict[date, Day] = field(default_factory=dict)

    def closed_by(self, action: Action, shares: Decimal) -> Decimal:
        """Return how many of the shares of a fill close what is held."""
        against = self.quantity * action.sign < 0
        return min(abs(self.quantity), shares) if against else ZERO

    def realized_by(
        self, action: Action, shares: Decimal, price: Decimal, commission: Decimal
    ) -> Decimal:
        """Return the profit a fill realizes, USD, its part of the commission deducted."""
        closed = self.closed_by(action, shares)
        if not closed:
            return ZERO
        side = 1 if self.quantity > 0 else -1
        return closed * (price - self.avg_cost) * side - commission * closed / shares

    def book(self, execution: Execution) -> None:
        """Apply an execution: add to the position, reduce it, or turn it around."""
        action, shares, price = execution.action, execution.shares, execution.price
        if execution.ratio is not None:
            self._split(execution.ratio)
            return
        if not shares:
            return
        realized = self.realized_by(action, shares, price, execution.commission)
        opened = shares - self.closed_by(action, shares)
        quantity = self.quantity + action.sign * shares
        if quantity == 0:
            self.avg_cost = ZERO
        elif opened:
            # After a turn only the new part has a cost.
            kept = self.quantity * self.avg_cost if opened == shares else ZERO
            paid = action.sign * opened * price + execution.commission * opened / shares
            self.avg_cost = (kept + paid) / quantity
        self.quantity = quantity
        self.realized += realized
        day = self.days.setdefault(new_york_date(execution.time), Day())
        day.shares += action.sign * shares
        day.cash += execution.cash_change
        day.realized += realized

    def _split(self, ratio: Decimal) -> None:
        """Let shares come or go without a trade: what all of them cost stays the same.

        What was traded before is from now on counted in new shares too, or the day's profit would
        take what came for shares held overnight.
        """
        cost = self.quantity * self.avg_cost
        self.quantity = after_split(self.quantity, ratio)
        self.avg_cost = cost / self.quantity if self.quantity else ZERO
        for day in self.days.values():
            day.shares *= ratio

    def copy(self) -> "Position":
        """Return the position as it is now, which nothing later changes."""
        return replace(self, days={when: replace(day) for when, day in self.days.items()})

    def on(self, day: date) -> Day:
        """Return what was traded on a New York date."""
        return self.days.get(day, Day())


@dataclass(slots=True)
class Account:
    """A cash or margin account.

    A cash account buys with its cash and sells what it holds; with `settled_only` the proceeds of
    a sale may be spent only when they have settled. `proceeds` of sales are kept by trade date.
    """

    account_id: str
    opening_cash: Decimal
    kind: AccountKind = AccountKind.CASH
    settled_only: bool = False
    cash: Decimal = ZERO
    positions: dict[int, Position] = field(default_factory=dict)
    proceeds: dict[date, Decimal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start with the opening cash."""
        self.cash = self.opening_cash

    def held(self, con_id: int) -> Decimal:
        """Return the shares held of one instrument, negative when sold short."""
        position = self.positions.get(con_id)
        return position.quantity if position else ZERO

    def realized_by(
        self, con_id: int, action: Action, shares: Decimal, price: Decimal, commission: Decimal
    ) -> Decimal | None:
        """Return the profit a fill would realize, to the cent, None when it closes nothing."""
        position = self.positions.get(con_id)
        if position is None or not position.closed_by(action, shares):
            return None
        profit = position.realized_by(action, shares, price, commission)
        return profit.quantize(CENT, ROUND_HALF_UP)

    def book(self, execution: Execution) -> None:
        """Apply an execution to cash and position."""
        self.positions.setdefault(execution.con_id, Position()).book(execution)
        self.cash += execution.cash_change
        if execution.action is Action.SELL and not execution.corporate:
            day = new_york_date(execution.time)
            sold = execution.shares * execution.price
            self.proceeds[day] = self.proceeds.get(day, ZERO) + sold

    def reset(self) -> None:
        """Go back to the opening cash."""
        self.cash = self.opening_cash
        self.positions.clear()
        self.proceeds.clear()

    def take(self, execution: Execution) -> Execution:
        """Apply an execution, and return it with the profit it realizes here and now."""
        if execution.corporate:
            self.book(execution)
            return execution
        terms = (execution.action, execution.shares, execution.price, execution.commission)
        profit = self.realized_by(execution.con_id, *terms)
        self.book(execution)
        return replace(execution, realized_pnl=profit)

    def settled_cash(self, today: date) -> Decimal:
        """Return the cash without the proceeds of sales that settle after today, USD.

        As IB defines SettledCash: purchases count when they are made, sales when they settle.
        """
        open_sales = (sold for day, sold in self.proceeds.items() if settlement_day(day) > today)
        return self.cash - sum(open_sales, ZERO)

    def spendable(self, today: date) -> Decimal:
        """Return what a cash account may spend, USD."""
        return min(self.cash, self.settled_cash(today)) if self.settled_only else self.cash


def open_account(account_id: str, given: Decimal | AccountSpec, *, settled_only: bool) -> Account:
    """Return a new account; a bare amount of cash opens a cash account."""
    if isinstance(given, Decimal):
        return Account(account_id, given, settled_only=settled_only)
    return Account(account_id, given.cash_usd or ZERO, given.kind, settled_only)


def accounts_at_start(
    asked: Iterable[str | AccountSpec], cash_usd: Decimal, known: Mapping[str, AccountSpec]
) -> dict[str, AccountSpec]:
    """Return the accounts asked for, then the other known ones, each with its cash.

    A known account keeps the cash it began with; its kind may be another one now.
    Raises: SimError when one is asked for twice.
    """
    specs = [AccountSpec(each) if isinstance(each, str) else each for each in asked]
    names = [spec.account_id for spec in specs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SimError(f"expected each account once, was {twice} more than once")
    opened = {each.account_id: each for each in specs} | {
        name: spec for name, spec in known.items() if name not in {s.account_id for s in specs}
    }
    default = AccountSpec("", cash_usd=cash_usd)
    return {
        name: replace(spec, cash_usd=_cash(known.get(name), spec, default))
        for name, spec in opened.items()
    }


def _cash(*specs: AccountSpec | None) -> Decimal | None:
    """Return the cash of the first one that says it."""
    return next((spec.cash_usd for spec in specs if spec and spec.cash_usd is not None), None)

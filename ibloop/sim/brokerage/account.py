"""Cash, positions and account values of one cash account, folded from its executions.

An account is never written down: its state is its opening cash plus every execution, so that
cash and positions cannot disagree with the fills, not even after a crash.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

from ibloop.sim.model import ZERO, Action, Execution

CENT = Decimal("0.01")
# IB's fixed schedule for US stocks, USD: per share, least and (fraction of value) most per order.
COMMISSION_PER_SHARE = Decimal("0.005")
COMMISSION_MIN = Decimal("1.00")
COMMISSION_FRACTION_MAX = Decimal("0.01")

AccountValue = tuple[str, str, str]


def commission_usd(shares: Decimal, value_usd: Decimal) -> Decimal:
    """Return the commission of an order filled for so many shares and dollars, to the cent.

    Where 1 % of the value is less than the minimum, IB charges that 1 %.
    """
    charge = max(COMMISSION_MIN, shares * COMMISSION_PER_SHARE)
    return min(charge, value_usd * COMMISSION_FRACTION_MAX).quantize(CENT, ROUND_HALF_UP)


@dataclass(slots=True)
class Position:
    """Shares held, their average cost with commissions, and the profit realized so far, USD."""

    quantity: Decimal = ZERO
    avg_cost: Decimal = ZERO
    realized: Decimal = ZERO


@dataclass(slots=True)
class Account:
    """A cash account: `cash` may be spent at once, nothing can be borrowed or sold short."""

    account_id: str
    opening_cash: Decimal
    cash: Decimal = ZERO
    positions: dict[int, Position] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start with the opening cash."""
        self.cash = self.opening_cash

    def held(self, con_id: int) -> Decimal:
        """Return the shares held of one instrument."""
        position = self.positions.get(con_id)
        return position.quantity if position else ZERO

    def realized_by(
        self, con_id: int, action: Action, shares: Decimal, price: Decimal, commission: Decimal
    ) -> Decimal | None:
        """Return the profit a fill would realize, None when it closes nothing."""
        position = self.positions.get(con_id)
        if action is Action.BUY or position is None or position.quantity <= 0:
            return None
        return (shares * (price - position.avg_cost) - commission).quantize(CENT, ROUND_HALF_UP)

    def book(self, execution: Execution) -> None:
        """Apply an execution to cash and position."""
        position = self.positions.setdefault(execution.con_id, Position())
        self.cash += execution.cash_change
        quantity = position.quantity + execution.action.sign * execution.shares
        if execution.action is Action.BUY:
            cost = position.quantity * position.avg_cost - execution.cash_change
            position.avg_cost = cost / quantity
        elif quantity == 0:
            position.avg_cost = ZERO
        position.realized += execution.realized_pnl or ZERO
        position.quantity = quantity

    def market_value(self, price_of: Callable[[int], Decimal]) -> Decimal:
        """Return what the positions are worth, USD."""
        held = self.positions.items()
        return sum((p.quantity * price_of(con_id) for con_id, p in held if p.quantity), ZERO)

    def values(self, price_of: Callable[[int], Decimal]) -> tuple[AccountValue, ...]:
        """Return (key, value, currency) as updateAccountValue carries them.

        A cash account pays for stocks in full: its margin requirement is their whole value.
        """
        stocks = self.market_value(price_of)
        cost = sum((p.quantity * p.avg_cost for p in self.positions.values()), ZERO)
        realized = sum((p.realized for p in self.positions.values()), ZERO)
        money = {
            "AccruedCash": ZERO,
            "AvailableFunds": self.cash,
            "BuyingPower": self.cash,
            "EquityWithLoanValue": self.cash + stocks,
            "ExcessLiquidity": self.cash,
            "FullAvailableFunds": self.cash,
            "FullInitMarginReq": stocks,
            "FullMaintMarginReq": stocks,
            "GrossPositionValue": stocks,
            "InitMarginReq": stocks,
            "MaintMarginReq": stocks,
            "NetLiquidation": self.cash + stocks,
            "SettledCash": self.cash,
            "TotalCashValue": self.cash,
        }
        ledger = {
            "AccruedCash": ZERO,
            "CashBalance": self.cash,
            "NetLiquidationByCurrency": self.cash + stocks,
            "RealizedPnL": realized,
            "StockMarketValue": stocks,
            "TotalCashBalance": self.cash,
            "UnrealizedPnL": stocks - cost,
        }
        return (
            ("AccountCode", self.account_id, ""),
            ("AccountReady", "true", ""),
            ("AccountType", "INDIVIDUAL", ""),
            ("Currency", "BASE", "BASE"),
            ("Currency", "USD", "USD"),
            ("ExchangeRate", "1.00", "USD"),
            *((key, cents(value), "USD") for key, value in money.items()),
            *((key, cents(value), "BASE") for key, value in ledger.items()),
            *((key, cents(value), "USD") for key, value in ledger.items() if key not in money),
        )


def cents(value: Decimal) -> str:
    """Write an amount of money with two decimals."""
    return f"{value.quantize(CENT, ROUND_HALF_UP):f}"


LEDGER_KEYS = frozenset(
    {
        "AccruedCash",
        "CashBalance",
        "Currency",
        "ExchangeRate",
        "NetLiquidation",
        "NetLiquidationByCurrency",
        "RealizedPnL",
        "StockMarketValue",
        "TotalCashBalance",
        "UnrealizedPnL",
    }
)

"""What an account is worth and what it must keep: margin requirements, funds, buying power.

Source: IB's margin page for US stocks, Regulation T accounts. Initial margin is 50 % of a long
position; a short one needs 150 % of its value, of which its proceeds, which are in the cash, are
100 %. Maintenance is 25 % long and 30 % short. A cash account pays for stocks in full. IB asks
more for single stocks, and less by day for some; the simulator does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ibloop.sim.brokerage.account import Account, Position
from ibloop.sim.model import ZERO, AccountKind, Margins, Quote

QuoteOf = Callable[[int], Quote | None]

INITIAL_FRACTION = Decimal("0.50")
MAINTENANCE_LONG_FRACTION = Decimal("0.25")
MAINTENANCE_SHORT_FRACTION = Decimal("0.30")
# IB shows four times the available funds by day and two overnight. Two is what an initial margin
# of one half lets through: an order for all of the buying power is accepted.
BUYING_POWER_FACTOR = 2


def mark(quote: Quote | None) -> Decimal:
    """Return the price a position is valued at: the last one, 0 while there is none."""
    return quote.last if quote else ZERO


def initial_margin(kind: AccountKind, value: Decimal) -> Decimal:
    """Return the initial margin of a position of this value, USD, short ones negative."""
    return abs(value) if kind is AccountKind.CASH else abs(value) * INITIAL_FRACTION


def maintenance_margin(kind: AccountKind, value: Decimal) -> Decimal:
    """Return the maintenance margin of a position of this value, USD, short ones negative."""
    if kind is AccountKind.CASH:
        return abs(value)
    long = value >= 0
    return abs(value) * (MAINTENANCE_LONG_FRACTION if long else MAINTENANCE_SHORT_FRACTION)


@dataclass(frozen=True, slots=True)
class Balances:
    """An account at one moment, USD: `stocks` is the net value of positions, `gross` their sum.

    `spendable` is the cash a cash account may use.
    """

    kind: AccountKind
    cash: Decimal
    settled: Decimal
    spendable: Decimal
    stocks: Decimal
    gross: Decimal
    initial: Decimal
    maintenance: Decimal

    @property
    def equity(self) -> Decimal:
        """Return cash plus stocks: net liquidation, and equity with loan value as well."""
        return self.cash + self.stocks

    @property
    def available(self) -> Decimal:
        """Return the funds for new positions."""
        if self.kind is AccountKind.CASH:
            return self.spendable
        return self.equity - self.initial

    @property
    def excess(self) -> Decimal:
        """Return how far equity is above the maintenance margin; below zero IB liquidates."""
        return self.equity - self.maintenance

    @property
    def buying_power(self) -> Decimal:
        """Return the value of stocks that may be bought."""
        factor = 1 if self.kind is AccountKind.CASH else BUYING_POWER_FACTOR
        return max(ZERO, self.available * factor)

    @property
    def cushion(self) -> Decimal:
        """Return excess liquidity as a fraction of net liquidation."""
        return self.excess / self.equity if self.equity else ZERO

    @property
    def leverage(self) -> Decimal:
        """Return the gross value of positions by net liquidation."""
        return self.gross / self.equity if self.equity else ZERO

    @property
    def margins(self) -> Margins:
        """Return what a what-if answer says of an account."""
        return Margins(self.initial, self.maintenance, self.equity)


def balances(account: Account, quote_of: QuoteOf, today: date) -> Balances:
    """Return what an account is worth at the quotes of the moment."""
    values = [value_of(held, quote_of(con_id)) for con_id, held in open_positions(account)]
    return Balances(
        kind=account.kind,
        cash=account.cash,
        settled=account.settled_cash(today),
        spendable=account.spendable(today),
        stocks=sum(values, ZERO),
        gross=sum((abs(value) for value in values), ZERO),
        initial=sum((initial_margin(account.kind, value) for value in values), ZERO),
        maintenance=sum((maintenance_margin(account.kind, value) for value in values), ZERO),
    )


def open_positions(account: Account) -> list[tuple[int, Position]]:
    """Return the instruments of which shares are held or owed."""
    return [(con_id, held) for con_id, held in account.positions.items() if held.quantity]


def value_of(position: Position, quote: Quote | None) -> Decimal:
    """Return what a position is worth, USD, a short one negative."""
    return position.quantity * mark(quote)

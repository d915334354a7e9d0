"""Replies about positions and account values."""

from datetime import datetime
from decimal import Decimal

from ibloop.sim.model import NEW_YORK, Instrument
from ibloop.sim.protocol.replies.contracts import contract_eleven
from ibloop.sim.protocol.wire import (
    Fields,
    double_text,
    size_text,
)


def position(
    account: str, instrument: Instrument, quantity: Decimal, avg_cost: Decimal, version: int
) -> Fields:
    """61: a position; quantity 0 says that it is gone."""
    contract = contract_eleven(instrument, instrument.primary_exchange)
    size = size_text(quantity, version)
    return ("61", "3", account, *contract, size, double_text(avg_cost))


def portfolio(
    account: str,
    instrument: Instrument,
    quantity: Decimal,
    *,
    avg_cost: Decimal,
    price: Decimal,
    realized: Decimal,
    version: int,
) -> Fields:
    """7: a position with its market value and profit, USD."""
    value = quantity * price
    return (
        *("7", "8", str(instrument.con_id), instrument.symbol, "STK", "", "0.0", "0", ""),
        *(instrument.primary_exchange, instrument.currency),
        *(instrument.symbol, instrument.trading_class),
        *(size_text(quantity, version), double_text(price), double_text(value)),
        *(double_text(avg_cost), double_text(value - quantity * avg_cost)),
        *(double_text(realized), account),
    )


def account_value(account: str, key: str, value: str, currency: str) -> Fields:
    """6: one account value."""
    return ("6", "2", key, value, currency, account)


def account_time(now: datetime) -> Fields:
    """8: time of the account values, New York."""
    return ("8", "1", now.astimezone(NEW_YORK).strftime("%H:%M"))


def account_summary(req_id: int, account: str, key: str, value: str, currency: str) -> Fields:
    """63: one account value under a summary request."""
    return ("63", "1", str(req_id), account, key, value, currency)


def account_multi(
    req_id: int, account: str, key: str, value: str, currency: str, *, model: str
) -> Fields:
    """73: one account value under a multi request."""
    return ("73", "1", str(req_id), account, model, key, value, currency)


def position_multi(
    req_id: int,
    account: str,
    instrument: Instrument,
    quantity: Decimal,
    avg_cost: Decimal,
    version: int,
) -> Fields:
    """71: a position under a multi request; the model code at its end is always empty."""
    contract = contract_eleven(instrument, instrument.primary_exchange)
    size = size_text(quantity, version)
    return ("71", "1", str(req_id), account, *contract, size, double_text(avg_cost), "")


def pnl(req_id: int, daily: Decimal, unrealized: Decimal, realized: Decimal) -> Fields:
    """94: the profit of an account, USD."""
    return ("94", str(req_id), *(double_text(item) for item in (daily, unrealized, realized)))


def pnl_single(
    req_id: int,
    quantity: Decimal,
    *,
    daily: Decimal,
    unrealized: Decimal,
    realized: Decimal | None,
    value: Decimal,
    version: int,
) -> Fields:
    """95: the profit of a position and its value, USD; None is written as unset."""
    amounts = (double_text(item) for item in (daily, unrealized, realized, value))
    return ("95", str(req_id), size_text(quantity, version), *amounts)

"""From the client library's values to ours: pure, total, and nothing passed on by accident.

IB writes "not set" as a huge number; here it is ``None``. Numbers become decimals by their
shortest text, so 0.1 stays 0.1. A value that must be there and is not raises ValueError, which
the decoder turns into a lost message and the evidence into a failed pass.
"""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ibloop.core.events import CommissionReported
from ibloop.core.model import BrokerOrder, Execution, Position, Side

UNSET_FROM = 1e300
"""Anything this large is IB's UNSET_DOUBLE (1.797e308)."""

PENDING_COMMISSION = -1.0
"""Newer gateways report it before the commission is known (nautilus_trader#4230)."""

ENDED_STATUSES = frozenset({"Filled", "Cancelled", "ApiCancelled"})
"""Order states in which nothing works any more, whatever list they are shown in."""

_SIDES = {"BOT": Side.BUY, "SLD": Side.SELL, "BUY": Side.BUY, "SELL": Side.SELL}


def decimal_of(number: float) -> Decimal | None:
    """Return the number as its shortest decimal; ``None`` for unset, NaN and infinite."""
    if not math.isfinite(number) or abs(number) >= UNSET_FROM:
        return None
    return Decimal(int(number)) if number == int(number) else Decimal(repr(number))


def required(number: float, what: str) -> Decimal:
    """Return the number as a decimal; raise ValueError when it is not set."""
    found = decimal_of(number)
    if found is None:
        raise ValueError(f"expected {what} to be a number, was {number!r}")
    return found


def good_till_text(moment: datetime) -> str:
    """Return a time as IB reads it for UTC: ``YYYYMMDD-HH:MM:SS``."""
    return moment.astimezone(UTC).strftime("%Y%m%d-%H:%M:%S")


def side_of(text: str) -> Side:
    """Return the side for IB's action or execution side; ValueError for anything else."""
    if text not in _SIDES:
        raise ValueError(f"expected a side of {', '.join(_SIDES)}, was {text!r}")
    return _SIDES[text]


def name_of(contract: Any) -> str:
    """Return the symbol of a stock in USD, and for everything else a name that no stock has.

    An option on AAPL carries the symbol AAPL too: it must never pass for shares.
    """
    if contract.secType == "STK" and contract.currency == "USD":
        return str(contract.symbol)
    return f"{contract.localSymbol or contract.symbol}@{contract.conId}"


def execution_of(contract: Any, execution: Any) -> Execution:
    """Return an execDetails message as a value; its commission is not known yet."""
    return Execution(
        exec_id=execution.execId,
        account=execution.acctNumber,
        client_order_id=execution.orderRef,
        perm_id=execution.permId,
        symbol=name_of(contract),
        con_id=contract.conId,
        side=side_of(execution.side),
        quantity=required(execution.shares, "shares"),
        price=required(execution.price, "price"),
        executed_at=execution.time.astimezone(UTC),
    )


def commission_of(report: Any) -> CommissionReported:
    """Return a commissionReport message as a value; amounts in account currency."""
    pending = report.commission == PENDING_COMMISSION
    return CommissionReported(
        exec_id=report.execId,
        commission=None if pending else decimal_of(report.commission),
        realized_pnl=decimal_of(report.realizedPNL),
    )


def broker_order_of(contract: Any, order: Any, state: Any) -> BrokerOrder:
    """Return an openOrder or completedOrder message as a value.

    A completed order comes without order id and client id (both 0) and, once filled, with
    quantity 0; its ``filled_quantity`` is the one to trust. An open order says nothing of fills
    here: they come with the orderStatus that follows it.
    """
    return BrokerOrder(
        client_order_id=order.orderRef,
        account=order.account,
        perm_id=order.permId,
        client_id=order.clientId,
        ib_order_id=order.orderId,
        symbol=name_of(contract),
        side=side_of(order.action),
        quantity=required(order.totalQuantity, "totalQuantity"),
        ib_status=state.status,
        filled_quantity=decimal_of(order.filledQuantity),
        ended_at=ended_at_of(state.completedTime),
    )


def ended_at_of(text: str) -> datetime | None:
    """Return IB's completedTime, ``YYYYMMDD HH:MM:SS ZONE`` or ``YYYYMMDD-HH:MM:SS`` for UTC.

    ``None`` for everything else: a time without a zone, as old gateways write it, says nothing.
    """
    day_and_time, _, zone = text.strip().rpartition(" ")
    try:
        if not day_and_time:
            return datetime.strptime(zone, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
        naive = datetime.strptime(day_and_time, "%Y%m%d %H:%M:%S")  # noqa: DTZ007 (its zone follows)
        return naive.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except (ValueError, ZoneInfoNotFoundError):
        return None


def position_of(contract: Any, quantity: float, avg_cost: float) -> Position:
    """Return a position message as a value; ``avg_cost`` per share."""
    return Position(
        symbol=name_of(contract),
        con_id=contract.conId,
        quantity=required(quantity, "position"),
        avg_cost=required(avg_cost, "average cost"),
    )

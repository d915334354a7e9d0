"""Replies of the gateway: one encoder per message, version differences in plain `if`s.

Each function returns the message's fields in wire order, message id first; a literal second
field such as "6" in tickPrice is that message's own version number. openOrder and
completedOrder, by far the longest, are in `orderlayout`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from ibloop.sim.model import Execution, Instrument, Order
from ibloop.sim.wire import (
    NEW_YORK,
    UNSET_DOUBLE,
    Fields,
    Since,
    double_text,
    size_text,
    time_text,
)

ORDER_TYPES = "ACTIVETIM,DAY,GTC,GTD,IOC,FOK,LMT,MKT,WHATIF"
PENNY_RULE_ID = 26


def error(req_id: int, code: int, text: str, version: int, now: datetime) -> Fields:
    """4: an error, warning or notice; `req_id` is -1 for the system's own."""
    fields = ["4"] + ([] if version >= Since.ERROR_TIME else ["2"])
    fields += [str(req_id), str(code), text]
    if version >= Since.ADVANCED_REJECT:
        fields.append("")
    if version >= Since.ERROR_TIME:
        fields.append(str(int(now.timestamp() * 1000)))
    return tuple(fields)


def managed_accounts(accounts: Sequence[str]) -> Fields:
    """15: the accounts of this login."""
    return ("15", "1", ",".join(accounts))


def next_valid_id(order_id: int) -> Fields:
    """9: the lowest order id this client may use."""
    return ("9", "1", str(order_id))


def current_time(now: datetime) -> Fields:
    """49: server time in whole seconds."""
    return ("49", "1", str(int(now.timestamp())))


def current_time_millis(now: datetime) -> Fields:
    """109: server time in milliseconds."""
    return ("109", str(int(now.timestamp() * 1000)))


def user_info(req_id: int) -> Fields:
    """107: no white branding."""
    return ("107", str(req_id), "")


def end(message_id: int, *values: object) -> Fields:
    """Mark the end of an answer (52-55, 57, 62, 64, 74), with its literal version 1."""
    return (str(message_id), "1", *map(str, values))


def completed_orders_end() -> Fields:
    """102: end of completed orders, the only end without a version field."""
    return ("102",)


def tick_req_params(req_id: int, instrument: Instrument) -> Fields:
    """81: first answer to a market data request."""
    return ("81", str(req_id), size_text(instrument.min_tick), "9c0001", "3")


def market_data_type(req_id: int, kind: int) -> Fields:
    """58: 1 live, 2 frozen, 3 delayed, 4 delayed-frozen."""
    return ("58", "1", str(req_id), str(kind))


def tick_price(req_id: int, tick: int, price: Decimal, size: str, mask: int) -> Fields:
    """1: a price with its size; mask 1 means it can be hit automatically."""
    return ("1", "6", str(req_id), str(tick), double_text(price), size, str(mask))


def tick_size(req_id: int, tick: int, size: str) -> Fields:
    """2: a size or the volume."""
    return ("2", "6", str(req_id), str(tick), size)


def tick_generic(req_id: int, tick: int, value: str) -> Fields:
    """45: a number such as halted (tick 49)."""
    return ("45", "6", str(req_id), str(tick), value)


def tick_string(req_id: int, tick: int, value: str) -> Fields:
    """46: a text such as the time of the last trade (tick 45)."""
    return ("46", "6", str(req_id), str(tick), value)


def order_status(order: Order, version: int) -> Fields:
    """3: where an order stands."""
    return (
        "3",
        str(order.order_id),
        order.status,
        size_text(order.filled, version),
        size_text(order.remaining, version),
        double_text(order.avg_fill_price),
        str(order.perm_id),
        "0",
        double_text(order.last_fill_price),
        str(order.client_id),
        "",
        "0.0",
    )


def exec_details(req_id: int, execution: Execution, instrument: Instrument, version: int) -> Fields:
    """11: one execution; `req_id` is -1 when it happens and the request's id when asked for."""
    fields = [
        *("11", str(req_id), str(execution.order_id)),
        *contract_eleven(instrument, execution.exchange),
        *(execution.exec_id, time_text(execution.time, version)),
        *(execution.account, execution.exchange, execution.action.execution_side),
        *(size_text(execution.shares, version), double_text(execution.price)),
        *(str(execution.perm_id), str(execution.client_id), "0"),
        *(size_text(execution.cum_quantity, version), double_text(execution.avg_price)),
        *(execution.order_ref, "", "", "", "2"),
    ]
    if version >= Since.PENDING_PRICE_REVISION:
        fields.append("0")
    if version >= Since.SUBMITTER:
        fields.append("")
    return tuple(fields)


def commission_report(execution: Execution) -> Fields:
    """59: what an execution cost; realized profit is unset for an opening trade."""
    realized = double_text(execution.realized_pnl)
    commission = double_text(execution.commission)
    return ("59", "1", execution.exec_id, commission, "USD", realized, UNSET_DOUBLE, "")


def contract_eleven(instrument: Instrument, exchange: str) -> tuple[str, ...]:
    """Return conId to tradingClass as positions and executions carry them."""
    return (
        *(str(instrument.con_id), instrument.symbol, "STK", "", "0.0", "", "", exchange),
        *(instrument.currency, instrument.symbol, instrument.trading_class),
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


def market_rule(rule_id: int) -> Fields:
    """93: one penny at any price."""
    return ("93", str(rule_id), "1", "0.0", "0.01")


def contract_details(req_id: int, instrument: Instrument, version: int, now: datetime) -> Fields:
    """10: everything about an instrument. The simulated market is open around the clock."""
    hours = open_hours(now)
    exchanges = f"SMART,{instrument.primary_exchange}"
    fields = ["10"] + ([] if version >= Since.SIZE_RULES else ["8"])
    fields += [str(req_id), instrument.symbol, "STK", ""]
    if version >= Since.LAST_TRADE_DATE:
        fields.append("")
    fields += ["0", "", "SMART", instrument.currency, instrument.symbol]
    fields += [instrument.trading_class, instrument.trading_class, str(instrument.con_id)]
    fields.append(size_text(instrument.min_tick))
    if version < Since.SIZE_RULES:
        fields.append("100")
    fields += ["", ORDER_TYPES, exchanges, "1", "0", instrument.name]
    fields += [instrument.primary_exchange, "", instrument.sector, "", "", "US/Eastern"]
    fields += [hours, hours, "", "", "0", "1", "", "", f"{PENNY_RULE_ID},{PENNY_RULE_ID}", ""]
    fields.append("COMMON")
    if version == Since.FRACTIONAL_SIZES:
        fields.append("100")
    if version >= Since.SIZE_RULES:
        fields += ["1", "1", "100"]
    if version >= Since.INELIGIBILITY_REASONS:
        fields.append("0")
    return tuple(fields)


def open_hours(now: datetime) -> str:
    """Return liquidHours for today and the five days after: whole days, New York dates."""
    today = now.astimezone(NEW_YORK).date()
    days = [(today + timedelta(days=n)).strftime("%Y%m%d") for n in range(6)]
    return ";".join(f"{day}:0000-{day}:2359" for day in days)

"""Replies that describe contracts, and the contract fields other replies share."""

from datetime import datetime, timedelta

from ibloop.sim.model import NEW_YORK, Instrument
from ibloop.sim.protocol.wire import (
    Fields,
    Since,
    size_text,
)

ORDER_TYPES = "ACTIVETIM,DAY,GTC,GTD,IOC,FOK,LMT,MKT,WHATIF"
PENNY_RULE_ID = 26


def contract_eleven(instrument: Instrument, exchange: str) -> tuple[str, ...]:
    """Return conId to tradingClass as positions and executions carry them."""
    return (
        *(str(instrument.con_id), instrument.symbol, "STK", "", "0.0", "", "", exchange),
        *(instrument.currency, instrument.symbol, instrument.trading_class),
    )


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

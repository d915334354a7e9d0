"""Replies that describe contracts, and the contract fields other replies share."""

from collections.abc import Sequence
from datetime import datetime

from ibloop.sim.market.grid import RULE_OF_TICK, RULES
from ibloop.sim.market.timetable import DayHours
from ibloop.sim.model import NEW_YORK, Instrument
from ibloop.sim.protocol.wire import Fields, Since, double_text, size_text

# What a client may find served here, in IB's words.
ORDER_TYPES = (
    "ACTIVETIM,ALGO,DAY,FOK,GTC,GTD,HID,IOC,LIT,LMT,LOC,MIT,MKT,MOC,OCA,OPG,STP,STPLMT,TRAIL,WHATIF"
)
# Of the companies whose history is played, by contract id: AAPL, IBM, MSFT, GOOG, FB.
ISINS = {
    265598: "US0378331005",
    8314: "US4592001014",
    272093: "US5949181045",
    208813720: "US38259P5089",
    107113386: "US30303M1027",
}


def contract_eleven(instrument: Instrument, exchange: str) -> tuple[str, ...]:
    """Return conId to tradingClass as positions and executions carry them."""
    return (
        *(str(instrument.con_id), instrument.symbol, "STK", "", "0.0", "", "", exchange),
        *(instrument.currency, instrument.symbol, instrument.trading_class),
    )


def market_rule(rule_id: int) -> Fields:
    """93: the lowest price and the step of each level of a rule. Raises: KeyError."""
    levels = RULES[rule_id]
    steps = (double_text(part) for level in levels for part in level)
    return ("93", str(rule_id), str(len(levels)), *steps)


def symbol_samples(req_id: int, instruments: Sequence[Instrument], version: int) -> Fields:
    """79: instruments that fit a pattern; none of them has derivatives."""
    fields = ["79", str(req_id), str(len(instruments))]
    for item in instruments:
        fields += [str(item.con_id), item.symbol, "STK", item.primary_exchange, item.currency, "0"]
        if version >= Since.ISSUER_ID:
            fields += [item.name, ""]
    return tuple(fields)


def option_parameters_end(req_id: int) -> Fields:
    """76: no more option chains."""
    return ("76", str(req_id))


def isin(instrument: Instrument) -> str:
    """Return the stock's ISIN; for one that is made up, one of ZZ, a country that is none.

    Source: ISO 6166 (the check digit is Luhn's over the letters written as 10 to 35).
    """
    if instrument.con_id in ISINS:
        return ISINS[instrument.con_id]
    code = f"ZZ{instrument.con_id % 10**9:09d}"
    digits = [int(digit) for letter in reversed(code) for digit in reversed(str(int(letter, 36)))]
    doubled = [digit * 2 if place % 2 == 0 else digit for place, digit in enumerate(digits)]
    return f"{code}{-sum(sum(divmod(number, 10)) for number in doubled) % 10}"


def contract_details(
    req_id: int, instrument: Instrument, exchange: str, hours: Sequence[DayHours], version: int
) -> Fields:
    """10: everything about an instrument, on the exchange it was asked for."""
    exchanges = ("SMART", instrument.primary_exchange)
    rules = ",".join(str(RULE_OF_TICK[instrument.min_tick]) for _ in exchanges)
    trading = _hours_text([(day.date.strftime("%Y%m%d"), day.trading) for day in hours])
    liquid = _hours_text([(day.date.strftime("%Y%m%d"), day.liquid) for day in hours])
    fields = ["10"] + ([] if version >= Since.SIZE_RULES else ["8"])
    fields += [str(req_id), instrument.symbol, "STK", ""]
    if version >= Since.LAST_TRADE_DATE:
        fields.append("")
    fields += ["0", "", exchange, instrument.currency, instrument.symbol]
    fields += [instrument.trading_class, instrument.trading_class, str(instrument.con_id)]
    fields.append(size_text(instrument.min_tick))
    if version < Since.SIZE_RULES:
        fields.append("100")
    fields += ["", ORDER_TYPES, ",".join(exchanges), "1", "0", instrument.name]
    # Industry, category and subcategory: clients count on finding all three.
    fields += [instrument.primary_exchange, "", *[instrument.sector] * 3, "US/Eastern"]
    # Nautilus, for one, refuses a stock that has no ISIN.
    fields += [trading, liquid, "", "", "1", "ISIN", isin(instrument)]
    fields += ["1", "", "", rules, ""]
    fields.append("COMMON")
    if version == Since.FRACTIONAL_SIZES:
        fields.append("100")
    if version >= Since.SIZE_RULES:
        fields += ["1", "1", "100"]
    if version >= Since.INELIGIBILITY_REASONS:
        fields.append("0")
    return tuple(fields)


def _hours_text(days: Sequence[tuple[str, tuple[datetime, datetime] | None]]) -> str:
    """Write hours as IB does: `20260405:CLOSED;20260406:0930-20260406:1600`, New York time."""
    texts = []
    for day, hours in days:
        if hours is None:
            texts.append(f"{day}:CLOSED")
        else:
            begin, end = (each.astimezone(NEW_YORK).strftime("%Y%m%d:%H%M") for each in hours)
            texts.append(f"{begin}-{end}")
    return ";".join(texts)

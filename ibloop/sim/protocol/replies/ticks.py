"""Replies to reqMktData."""

from decimal import Decimal

from ibloop.sim.model import Instrument
from ibloop.sim.protocol.wire import (
    Fields,
    double_text,
    size_text,
)


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

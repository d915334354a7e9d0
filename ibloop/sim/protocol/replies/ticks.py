"""Replies to reqMktData.

The ticks of a stream are what the simulator sends most, so they are written as text of whole
frames: join many and encode once, with `encoded`.
"""

from collections.abc import Iterable
from decimal import Decimal

from ibloop.sim.model import Instrument
from ibloop.sim.protocol.wire import Fields, double_text, size_text

# A frame as text, one character a byte: its length in four, then the fields with their NULs.
FrameText = str


def tick_req_params(req_id: int, instrument: Instrument) -> Fields:
    """81: first answer to a market data request."""
    return ("81", str(req_id), size_text(instrument.min_tick), "9c0001", "3")


def market_data_type(req_id: str, kind: int) -> FrameText:
    """58: 1 live, 2 frozen, 3 delayed, 4 delayed-frozen."""
    return _frame(f"58\x001\x00{req_id}\x00{kind}\x00")


def tick_price(req_id: str, tick: str, price: str, size: str = "0", mask: str = "0") -> FrameText:
    """1: a price with its size; mask 1 means it can be hit automatically, 4 is the pre-open."""
    return _frame(f"1\x006\x00{req_id}\x00{tick}\x00{price}\x00{size}\x00{mask}\x00")


def tick_size(req_id: str, tick: str, size: str) -> FrameText:
    """2: a size or the volume."""
    return _frame(f"2\x006\x00{req_id}\x00{tick}\x00{size}\x00")


def tick_side(req_id: str, ticks: tuple[str, str], price: str, size: str, mask: str) -> FrameText:
    """1 and 2: a price with its size, and the size again, as real gateways send them."""
    first = f"1\x006\x00{req_id}\x00{ticks[0]}\x00{price}\x00{size}\x00{mask}\x00"
    second = f"2\x006\x00{req_id}\x00{ticks[1]}\x00{size}\x00"
    # Such frames are far shorter than 256 bytes: three bytes of their length are zero.
    return f"\0\0\0{chr(len(first))}{first}\0\0\0{chr(len(second))}{second}"


def tick_generic(req_id: str, tick: str, value: str) -> FrameText:
    """45: a number such as halted (tick 49)."""
    return _frame(f"45\x006\x00{req_id}\x00{tick}\x00{value}\x00")


def tick_string(req_id: str, tick: str, value: str) -> FrameText:
    """46: a text such as the time of the last trade (tick 45)."""
    return _frame(f"46\x006\x00{req_id}\x00{tick}\x00{value}\x00")


def encoded(frames: Iterable[FrameText]) -> bytes:
    """Return frames as bytes."""
    return "".join(frames).encode("latin-1")


def _frame(body: str) -> FrameText:
    length = len(body)
    if length < 256:
        return f"\0\0\0{chr(length)}{body}"
    return f"{length.to_bytes(4).decode('latin-1')}{body}"


def price_text(price: Decimal) -> str:
    """Write a price as Java writes a double: `201.94`, `0.0`, `-1.0`."""
    text = str(price)
    plain = "." in text and text[-1] != "0" and "E" not in text
    return text if plain else double_text(price)

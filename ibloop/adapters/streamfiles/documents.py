"""A quote as the JSON document of its file, and back."""

from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Annotated

import msgspec

from ibloop.core.model import MarketDataType, Moment, Quote, QuoteSource
from ibloop.core.unusable import FileFault, Unusable

MAGNITUDE_MAX = 18  # a price, size or volume of 1e19 or 1e-19 is damage

ENCODER = msgspec.json.Encoder(decimal_format="number")
Utc = Annotated[datetime, msgspec.Meta(tz=True)]


class _QuoteDocument(msgspec.Struct, frozen=True, gc=False):
    """A quote file: the fields of ``Quote``, with ``received`` spelled as three of its own."""

    symbol: str
    con_id: int
    seq: Annotated[int, msgspec.Meta(ge=0)]
    received_at: Utc
    event_time: Utc | None
    boottime_ns: int
    boot_id: str
    source: QuoteSource
    market_data_type: MarketDataType
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    close: Decimal | None
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    bid_size: Decimal | None
    ask_size: Decimal | None
    last_size: Decimal | None
    volume: Decimal | None
    halted: bool | None
    currency: str
    exchange: str


_FIELDS = _QuoteDocument.__struct_fields__
_NUMBERS = _FIELDS[_FIELDS.index("bid") : _FIELDS.index("volume") + 1]
_numbers_of = attrgetter(*_NUMBERS)
_SLOTS = tuple(getattr(Quote, field.name).__set__ for field in fields(Quote))
_DECODER = msgspec.json.Decoder(_QuoteDocument)


def encode_quote(quote: Quote) -> bytes:
    """Return a quote as one line of JSON in the order of the fields above."""
    received = quote.received
    document = _QuoteDocument(
        quote.symbol,
        quote.con_id,
        quote.seq,
        received.utc,
        quote.event_time,
        received.boottime_ns,
        received.boot_id,
        quote.source,
        quote.market_data_type,
        quote.bid,
        quote.ask,
        quote.last,
        quote.close,
        quote.open,
        quote.high,
        quote.low,
        quote.bid_size,
        quote.ask_size,
        quote.last_size,
        quote.volume,
        quote.halted,
        quote.currency,
        quote.exchange,
    )
    return ENCODER.encode(document) + b"\n"


def decode_quote(payload: bytes) -> Quote | Unusable:
    """Return the quote a file holds, or why it cannot be used."""
    try:
        document = _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Unusable(FileFault.DAMAGED, f"damaged: {error}")
    problem = number_problem(document)
    if problem is not None:
        return Unusable(FileFault.DAMAGED, f"damaged: {problem}")
    event_time = document.event_time
    return _new_quote(
        document.symbol,
        document.con_id,
        document.seq,
        Moment(_utc(document.received_at), document.boottime_ns, document.boot_id),
        None if event_time is None else _utc(event_time),
        document.source,
        document.market_data_type,
        *_numbers_of(document),
        document.halted,
        document.currency,
        document.exchange,
    )


def _new_quote(*values: object) -> Quote:
    """Return the quote of these values, in the order of its fields.

    Its own constructor takes twice as long, for it has to get round its being frozen; and it is
    called for every symbol in every sending transaction.
    """
    quote = object.__new__(Quote)
    for put, value in zip(_SLOTS, values, strict=True):
        put(quote, value)
    return quote


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def number_problem(document: object) -> str | None:
    """Return which number of a quote, or of its document, is no possible price, size or volume."""
    for value in _numbers_of(document):
        if value is not None and not (
            value.is_finite() and -MAGNITUDE_MAX <= value.adjusted() <= MAGNITUDE_MAX
        ):
            name = next(name for name in _NUMBERS if getattr(document, name) is value)
            return f"{name} is {value}"
    return None

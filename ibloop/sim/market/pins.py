"""Prices an operator fixes, and what they make of the market's own.

Pure. What is fixed wins; what is not follows, so that bid < ask around the last price.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from ibloop.sim.model import Instrument, Quote


@dataclass(frozen=True, slots=True)
class Pin:
    """Values an operator fixed for one instrument; None leaves a value to the market."""

    bid: Decimal | None = None
    ask: Decimal | None = None
    last: Decimal | None = None
    halted: bool = False


def fixed_last(last: Decimal, pin: Pin) -> Decimal | None:
    """Return the last price a pin leads to, None when it fixes no price."""
    if pin.last is not None or (pin.bid is None and pin.ask is None):
        return pin.last
    floor = pin.bid if pin.bid is not None else last
    ceiling = pin.ask if pin.ask is not None else max(floor, last)
    return min(max(last, floor), ceiling)


def fixed_sides(instrument: Instrument, last: Decimal, pin: Pin) -> tuple[Decimal, Decimal]:
    """Return bid and ask beside a fixed last price: fixed ones, else a step away from it."""
    bid, ask = pin.bid, pin.ask
    if bid is None:
        below = min(last, ask or last)
        bid = max(instrument.min_tick, below - instrument.tick_at(below))
    if ask is None:
        above = max(last, bid)
        ask = above + instrument.tick_at(above)
    return bid, ask


def pinned(quote: Quote, pin: Pin, instrument: Instrument) -> Quote:
    """Lay fixed values over a quote; what is not fixed moves so that bid < ask around last."""
    last = fixed_last(quote.last, pin)
    if last is None:
        return replace(quote, halted=pin.halted)
    bid, ask = fixed_sides(instrument, last, pin)
    high, low = quote.high, quote.low
    if high:
        high, low = max(high, last), min(low, last)
    return replace(quote, bid=bid, ask=ask, last=last, high=high, low=low, halted=pin.halted)

"""Prices an operator fixes, and what they make of the market's own.

Pure. What is fixed wins; what is not follows, so that bid < ask around the last price.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal

from ibloop.sim.model import Instrument, Quote


@dataclass(frozen=True, slots=True)
class Pin:
    """Values an operator fixed for one instrument; None leaves a value to the market."""

    bid: Decimal | None = None
    ask: Decimal | None = None
    last: Decimal | None = None
    halted: bool = False


@dataclass(frozen=True, slots=True)
class PinHistory:
    """What was fixed for one instrument, by the turn of the market since which it holds.

    Turn 2n is the time before session n opens, turn 2n + 1 the session itself. Of several changes
    in one turn the last one is kept.
    """

    by_turn: dict[int, Pin] = field(default_factory=dict)

    def note(self, turn: int, pin: Pin) -> None:
        """Remember what is fixed from a turn on. Turns never fall."""
        self.by_turn[turn] = pin

    def at(self, turn: int) -> Pin | None:
        """Return what was fixed at the end of a turn, None when nothing ever was."""
        return next((self.by_turn[each] for each in reversed(self.by_turn) if each <= turn), None)

    def restart(self) -> None:
        """Let what is fixed last hold for a market that begins anew."""
        last = self.at(max(self.by_turn))
        self.by_turn.clear()
        self.by_turn[0] = last or Pin()


def at_open(session: int) -> int:
    """Return the turn that ends with the opening of a session."""
    return 2 * session


def at_close(session: int) -> int:
    """Return the turn that ends with the close of a session."""
    return 2 * session + 1


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

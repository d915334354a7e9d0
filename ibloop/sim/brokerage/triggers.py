"""Orders that wait for a price: stops, trailing stops and touched orders.

Pure. As IB does for stocks, the last price elects them (trigger method 0, or 2 by name).
"""

from decimal import ROUND_HALF_UP, Decimal

from ibloop.sim.model import ZERO, Action, Instrument, Order

STOPS = frozenset({"STP", "STP LMT", "TRAIL"})
TOUCHES = frozenset({"MIT", "LIT"})
TRIGGERED = STOPS | TOUCHES


def waits(order: Order) -> bool:
    """Tell whether an order still waits for its price."""
    return order.order_type in TRIGGERED and not order.elected


def rises(order: Order) -> bool:
    """Tell whether the market must rise to reach the price: bought stops and sold touches."""
    return (order.action is Action.BUY) is (order.order_type in STOPS)


def trigger_price(order: Order) -> Decimal | None:
    """Return the price that elects an order, None for a trailing stop that has none yet."""
    return order.trail_stop if order.order_type == "TRAIL" else order.aux_price


def trailed(order: Order, last: Decimal, instrument: Instrument) -> Decimal:
    """Return where a trailing stop stands after a last price: it only ever comes closer."""
    percent = order.trailing_percent
    distance = (order.aux_price or ZERO) if percent is None else last * percent / 100
    stop = last + order.action.sign * distance
    tick = instrument.tick_at(stop)
    stop = (stop / tick).to_integral_value(ROUND_HALF_UP) * tick
    if order.trail_stop is None:
        return stop
    closer = min if order.action is Action.BUY else max
    return closer(stop, order.trail_stop)

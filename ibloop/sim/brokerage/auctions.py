"""Orders for an auction: at the opening (tif OPG) or at the closing (MOC, LOC) of one session.

Pure. An auction fills an order whole at the session's first or last price, whatever size was
shown; what its limit keeps out is cancelled.
"""

from decimal import Decimal

from ibloop.sim.market.venue import Phase, Venue
from ibloop.sim.model import Order

CLOSING = frozenset({"MOC", "LOC"})


def is_auction(order: Order) -> bool:
    """Tell whether an order trades only in an auction."""
    return order.tif == "OPG" or order.order_type in CLOSING


def next_auction(order: Order, venue: Venue) -> int | None:
    """Return the session whose auction an order that is taken now goes into, None for none."""
    if not is_auction(order):
        return None
    opened = order.tif == "OPG" and venue.phase() is Phase.OPEN
    return venue.session() + int(opened)


def is_over(order: Order, venue: Venue) -> bool:
    """Tell whether an order's auction has taken place."""
    session, now = order.auction_session, venue.session()
    if session is None or now < session:
        return False
    return now > session or (order.tif == "OPG" and venue.phase() is Phase.OPEN)


def auction_price(order: Order, venue: Venue) -> Decimal | None:
    """Return what an order gets in its auction, None when that is nothing."""
    session, quote = order.auction_session, venue.quote_of(order.con_id)
    if session is None or quote is None or quote.halted:
        return None
    price_of = venue.opening_price if order.tif == "OPG" else venue.closing_price
    price = price_of(order.con_id, session)
    if price is None or order.limit_price is None:
        return price
    return price if (price - order.limit_price) * order.action.sign <= 0 else None

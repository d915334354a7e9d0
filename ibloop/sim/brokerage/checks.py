"""Reasons for which an order is refused, as functions from a ticket to a Refusal or None.

`refuse_ticket` looks at the request alone, in the order IB's own validation seems to take;
`refuse_price_band` at the market as well. Codes and their standard texts are IB's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from ibloop.sim.brokerage.auctions import CLOSING
from ibloop.sim.brokerage.triggers import TOUCHES, TRIGGERED
from ibloop.sim.market.venue import Venue
from ibloop.sim.model import NEW_YORK, ZERO, Action, Instrument, OrderTicket, Quote

LIMITED = frozenset({"LMT", "LOC", "STP LMT", "LIT"})
ORDER_TYPES = LIMITED | TRIGGERED | CLOSING | {"MKT"}
# Order types of the API (IB's "Order Types" pages) that the simulator does not serve.
OTHER_ORDER_TYPES = frozenset(
    {
        *("BOX TOP", "FIX PEGGED", "LMT + MKT", "MIDPRICE", "MKT PRT", "MTL", "PASSV REL"),
        *("PEG BENCH", "PEG BEST", "PEG MID", "PEG MKT", "PEG PRIM", "PEG STK"),
        *("PDV", "PMV", "PPV", "PSV", "QUOTE", "REL", "REL + LMT", "REL + MKT", "RPI"),
        *("SNAP MID", "SNAP MKT", "SNAP PRIM", "SNAP REL", "STP PRT"),
        *("TRAIL LIMIT", "TRAIL LIT", "TRAIL LMT + MKT", "TRAIL MIT", "TRAIL REL + MKT"),
        *("VOL", "VWAP"),
    }
)
TIMES_IN_FORCE = frozenset({"DAY", "GTC", "GTD", "IOC", "FOK", "OPG"})
# Hours outside the regular ones mean nothing to these: warning 2109, the order is processed.
REGULAR_ONLY = frozenset({"MKT", "MOC", "LOC"})
# 0 is the default, for stocks the last price; 2 names it.
TRIGGER_METHODS = frozenset({0, 2})
OCA_TYPES = frozenset({0, 1, 2, 3})
ALGOS = frozenset({"Adaptive"})
# How far, as a fraction, a limit may go beyond the market before it is taken for a mistake.
PRICE_BAND = Decimal("0.5")
# Official clients write this number for an id that was never set.
ORDER_ID_UNSET = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """Error code and text; `inactive` orders get a permId and the status Inactive as well."""

    code: int
    text: str
    inactive: bool = False


def rejected(reason: str) -> Refusal:
    """Return the rejection every other reason falls under: 201, and the order is Inactive."""
    return Refusal(201, f"Order rejected - reason:{reason}", inactive=True)


def invalid(cause: str) -> Refusal:
    """Return IB's answer to a request that makes no sense: 321, nothing is kept."""
    return Refusal(321, f"Error validating request.-'bF' : cause - {cause}")


def refuse_ticket(
    ticket: OrderTicket, instrument: Instrument, accounts: Sequence[str], now: datetime
) -> Refusal | None:
    """Return why this request cannot become an order, None when it can."""
    checks: Iterable[Refusal | None] = (
        _refuse_kind(ticket),
        _refuse_time_in_force(ticket),
        _refuse_features(ticket),
        _refuse_account(ticket, accounts),
        _refuse_quantity(ticket),
        _refuse_prices(ticket, instrument),
        _refuse_trail(ticket, instrument),
        _refuse_expiry(ticket, now),
    )
    return next((refusal for refusal in checks if refusal), None)


def refuse_price_band(ticket: OrderTicket, quote: Quote | None, band: Decimal) -> Refusal | None:
    """Refuse a limit that goes through the market by more than the band, a fraction of it.

    A limit far from the market on the safe side only rests. The client may override the check.
    """
    limit = ticket.limit_price
    if ticket.order_type not in LIMITED or limit is None or ticket.override_percentage:
        return None
    buys = ticket.action == Action.BUY
    market = ZERO if quote is None else quote.ask if buys else quote.bid
    if quote is not None and market <= 0:
        market = quote.last
    if ticket.order_type in {"STP LMT", "LIT"}:
        # They meet the market only when it is at their own price.
        market = ticket.aux_price or market
    beyond = limit - market if buys else market - limit
    if market <= 0 or beyond <= market * band:
        return None
    text = "Price is out of the range defined by the Percentage setting at order defaults frame."
    return Refusal(109, f"{text} The order will not be transmitted.")


# ---------------------------------------------------------------------- kind


def _refuse_kind(ticket: OrderTicket) -> Refusal | None:
    if ticket.unserved:
        return invalid(f"The simulator does not serve {ticket.unserved}")
    if ticket.action not in {Action.BUY, Action.SELL}:
        return invalid(f"Invalid action '{ticket.action}'")
    if ticket.order_type in OTHER_ORDER_TYPES:
        return invalid(f"The simulator does not serve order type {ticket.order_type}")
    if ticket.order_type not in ORDER_TYPES:
        return invalid("Invalid order type was entered")
    if ticket.tif not in TIMES_IN_FORCE | {""}:
        return invalid(f"Invalid time in force '{ticket.tif}'")
    return None


def _refuse_time_in_force(ticket: OrderTicket) -> Refusal | None:
    if ticket.order_type in CLOSING and ticket.tif not in {"", "DAY"}:
        return Refusal(113, "The Tif option should be set to DAY for MOC and LOC orders.")
    if ticket.tif == "OPG" and ticket.order_type not in {"MKT", "LMT"}:
        return Refusal(111, "The TIF (Tif type) and the order type are incompatible.")
    return None


def _refuse_features(ticket: OrderTicket) -> Refusal | None:
    if ticket.trigger_method not in TRIGGER_METHODS:
        return invalid(f"The simulator does not serve trigger method {ticket.trigger_method}")
    if ticket.oca_type not in OCA_TYPES:
        return invalid(f"Invalid OCA type {ticket.oca_type}")
    if ticket.algo and ticket.algo not in ALGOS:
        return invalid(f"The simulator does not serve the algo strategy {ticket.algo}")
    if ticket.algo and ticket.order_type not in {"MKT", "LMT"}:
        return invalid(f"Order type {ticket.order_type} does not go with {ticket.algo}")
    return None


def _refuse_account(ticket: OrderTicket, accounts: Sequence[str]) -> Refusal | None:
    if not ticket.account:
        return Refusal(435, "You must specify an account.") if len(accounts) > 1 else None
    if ticket.account not in accounts:
        return invalid(f"Invalid account code '{ticket.account}'")
    return None


# ---------------------------------------------------------------------- numbers


def _refuse_quantity(ticket: OrderTicket) -> Refusal | None:
    if ticket.quantity <= 0:
        return Refusal(434, "The order size cannot be zero.")
    if ticket.quantity % 1:
        text = "Fractional-sized order cannot be placed via API. Please use desktop version"
        return Refusal(10243, f"{text} to place this order.")
    return None


def _refuse_prices(ticket: OrderTicket, instrument: Instrument) -> Refusal | None:
    needed = [("limit", ticket.limit_price)] if ticket.order_type in LIMITED else []
    if ticket.order_type in TRIGGERED - {"TRAIL"}:
        needed.append(
            ("touch" if ticket.order_type in TOUCHES else "stop", ticket.aux_price or None)
        )
    for called, price in needed:
        if price is None:
            return invalid(f"Missing {called} price")
    found = (_off_tick(price, instrument) for _, price in needed if price is not None)
    return next((refusal for refusal in found if refusal), None)


def _refuse_trail(ticket: OrderTicket, instrument: Instrument) -> Refusal | None:
    if ticket.order_type != "TRAIL":
        return None
    percent = ticket.trailing_percent
    if bool(ticket.aux_price) == bool(percent):
        return invalid("A trailing stop takes either an amount or a percentage")
    if percent and not 0 < percent < 100:
        return invalid(f"Invalid trailing percentage {percent}")
    prices = (ticket.aux_price, ticket.trail_stop)
    found = (_off_tick(price, instrument) for price in prices if price)
    return next((refusal for refusal in found if refusal), None)


def _off_tick(price: Decimal, instrument: Instrument) -> Refusal | None:
    if price > 0 and not price % instrument.tick_at(price):
        return None
    text = "The price does not conform to the minimum price variation for this contract."
    return Refusal(110, text)


# ---------------------------------------------------------------------- time


def _refuse_expiry(ticket: OrderTicket, now: datetime) -> Refusal | None:
    if ticket.tif != "GTD":
        return None
    good_till = parse_good_till(ticket.good_till)
    if good_till is None:
        return invalid(f"Invalid good till date '{ticket.good_till}'")
    return rejected("the good till date is in the past") if good_till <= now else None


def parse_good_till(text: str) -> datetime | None:
    """Return a goodTillDate as aware UTC, None when it cannot be read.

    Accepts `YYYYMMDD-HH:MM:SS` (UTC), `YYYYMMDD HH:MM:SS ZONE`, and without a zone New York.
    """
    try:
        if "-" in text.partition(" ")[0]:
            return datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
        date_and_time, zone = text[:17], text[17:].strip()
        local = datetime.strptime(date_and_time, "%Y%m%d %H:%M:%S")  # noqa: DTZ007 - zone follows
        return local.replace(tzinfo=ZoneInfo(zone) if zone else NEW_YORK).astimezone(UTC)
    except (ValueError, KeyError, OSError, OverflowError):
        return None


def good_till(ticket: OrderTicket, venue: Venue) -> datetime | None:
    """Return when an accepted order dies: GTD as told, DAY with the venue's day.

    Orders for an auction end with it.
    """
    if ticket.tif == "GTD":
        return parse_good_till(ticket.good_till)
    if ticket.tif in {"", "DAY"} and ticket.order_type not in CLOSING:
        return venue.day_end(outside_rth=ticket.outside_rth)
    return None

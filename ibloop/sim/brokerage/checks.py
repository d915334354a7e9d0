"""Reasons for which an order is refused, as functions from a ticket to a Refusal or None.

`refuse_ticket` looks at the request alone, in the order IB's own validation seems to take. Codes
and their standard texts are IB's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from ibloop.sim.market.venue import Venue
from ibloop.sim.model import NEW_YORK, Action, Instrument, OrderTicket

ORDER_TYPES = frozenset({"MKT", "LMT"})
TIMES_IN_FORCE = frozenset({"DAY", "GTC", "GTD", "IOC", "FOK"})


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
        _refuse_account(ticket, accounts),
        _refuse_quantity(ticket),
        _refuse_price(ticket, instrument),
        _refuse_expiry(ticket, now),
    )
    return next((refusal for refusal in checks if refusal), None)


def _refuse_kind(ticket: OrderTicket) -> Refusal | None:
    if ticket.unserved:
        return invalid(f"The simulator does not serve {ticket.unserved}")
    if ticket.action not in {Action.BUY, Action.SELL}:
        return invalid(f"Invalid action '{ticket.action}'")
    if ticket.order_type not in ORDER_TYPES:
        return invalid("Invalid order type was entered")
    if ticket.tif not in TIMES_IN_FORCE | {""}:
        return invalid(f"Invalid time in force '{ticket.tif}'")
    return None


def _refuse_account(ticket: OrderTicket, accounts: Sequence[str]) -> Refusal | None:
    if not ticket.account:
        return Refusal(435, "You must specify an account.") if len(accounts) > 1 else None
    if ticket.account not in accounts:
        return invalid(f"Invalid account code '{ticket.account}'")
    return None


def _refuse_quantity(ticket: OrderTicket) -> Refusal | None:
    if ticket.quantity <= 0:
        return Refusal(434, "The order size cannot be zero.")
    if ticket.quantity % 1:
        text = "Fractional-sized order cannot be placed via API. Please use desktop version"
        return Refusal(10243, f"{text} to place this order.")
    return None


def _refuse_price(ticket: OrderTicket, instrument: Instrument) -> Refusal | None:
    if ticket.order_type != "LMT":
        return None
    if ticket.limit_price is None:
        return invalid("Missing limit price")
    if ticket.limit_price <= 0 or ticket.limit_price % instrument.min_tick:
        text = "The price does not conform to the minimum price variation for this contract."
        return Refusal(110, text)
    return None


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
    """Return when an accepted order dies: GTD as told, DAY with the venue's day."""
    if ticket.tif == "GTD":
        return parse_good_till(ticket.good_till)
    if ticket.tif in {"", "DAY"}:
        return venue.day_end(outside_rth=ticket.outside_rth)
    return None

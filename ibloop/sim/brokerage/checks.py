"""Reasons for which an order is refused, as functions from a ticket to a Refusal or None.

`refuse_ticket` looks at the request alone, in the order IB's own validation seems to take;
`short_of` looks at the account. Codes and their standard texts are IB's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from ibloop.sim.brokerage.account import Account, commission_usd
from ibloop.sim.model import ZERO, Action, Instrument, Order, OrderTicket, Quote
from ibloop.sim.protocol.wire import NEW_YORK

ORDER_TYPES = frozenset({"MKT", "LMT"})
TIMES_IN_FORCE = frozenset({"DAY", "GTC", "GTD", "IOC", "FOK"})
QuoteOf = Callable[[int], Quote | None]


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


def good_till(ticket: OrderTicket, now: datetime) -> datetime | None:
    """Return when an accepted order dies: GTD as told, DAY at midnight in New York."""
    if ticket.tif == "GTD":
        return parse_good_till(ticket.good_till)
    if ticket.tif in {"", "DAY"}:
        tomorrow = now.astimezone(NEW_YORK).date() + timedelta(days=1)
        return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=NEW_YORK).astimezone(
            UTC
        )
    return None


def short_of(
    order: Order, account: Account, working: Iterable[Order], quote_of: QuoteOf
) -> Refusal | None:
    """Return why a cash account cannot carry the order beside its other working ones."""
    others = [
        other
        for other in working
        if other.perm_id != order.perm_id
        and other.account == order.account
        and other.action is order.action
    ]
    if order.action is Action.SELL:
        offered = sum((o.remaining for o in others if o.con_id == order.con_id), ZERO)
        held = account.held(order.con_id)
        if offered + order.remaining <= held:
            return None
        return rejected(f"no short sales in a cash account: {held} held, {offered} being sold")
    needed = _reserve(order, quote_of)
    if needed is None:
        return rejected("no market price to check the funds for a market order")
    reserved = sum((_reserve(other, quote_of) or ZERO for other in others), ZERO)
    if needed + reserved <= account.cash:
        return None
    return rejected(
        f"insufficient funds: {needed:.2f} USD needed, {account.cash - reserved:.2f} USD available"
    )


def _reserve(order: Order, quote_of: QuoteOf) -> Decimal | None:
    """Return the cash a working purchase may still take, None without a price to tell."""
    price = order.limit_price
    if price is None:
        quote = quote_of(order.con_id)
        if quote is None:
            return None
        price = quote.ask
    value = order.remaining * price
    filled_value = order.filled * order.avg_fill_price
    commission = commission_usd(order.quantity, filled_value + value) - order.commission_usd
    return value + max(ZERO, commission)

"""Numbers, times and words as people read them. Machines read the API, which rounds nothing."""

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
PLACES_MAX = 4

TONES = {
    "good": (
        *("ok", "connected", "ready", "watching", "done", "filled", "live", "passed", "serving"),
        *("delivered", "acknowledged"),
    ),
    "warn": (
        *("warn", "warning", "degraded", "starting", "synchronising", "restarting", "silent"),
        *("waiting_login", "waiting_2fa", "reduce_only", "reduce-only", "partial", "canceled"),
        *("expired", "not_sent", "partially_filled", "pending_cancel", "awaiting_approval"),
        *("frozen", "delayed", "delayed_frozen"),
    ),
    "bad": (
        *("not running", "stopped", "failed", "disconnected", "kill", "pause", "critical"),
        *("blocked", "rejected", "unknown", "dead"),
    ),
    "busy": ("queued", "preparing", "executing", "reconciling", "planned", "sending", "new"),
}
"""What a status word means, whoever says it; every tone has a sign of its own beside a colour."""
SIGNS = {"good": "✓", "warn": "▲", "bad": "✕", "busy": "▸", "plain": "·"}


def tone(word: object) -> str:
    """Return the tone of a status word; ``plain`` for one that says nothing good or bad."""
    return next((name for name, words in TONES.items() if str(word) in words), "plain")


def number(value: Decimal | None, places: int | None = None) -> str:
    """Return a number with thousands separators: to ``places``, else as many as it has, up to 4."""
    if value is None:
        return NOTHING
    if places is None:
        exponent = value.normalize().as_tuple().exponent
        places = min(PLACES_MAX, max(0, -exponent)) if isinstance(exponent, int) else 0
    return f"{value:,.{places}f}".replace("-", MINUS)


def price(value: Decimal | None) -> str:
    """Return a price: two decimal places, up to four where it has them."""
    if value is None:
        return NOTHING
    exponent = value.normalize().as_tuple().exponent
    return number(value, min(PLACES_MAX, max(2, -exponent)) if isinstance(exponent, int) else 2)


def usd(value: Decimal | None) -> str:
    """Return an amount of USD to the cent."""
    return number(value, 2)


def signed_usd(value: Decimal | None) -> str:
    """Return a gain or loss with its sign."""
    return NOTHING if value is None else f"{value:+,.2f}".replace("-", MINUS)


def percent(fraction: Decimal | None) -> str:
    """Return a fraction of 1 as per cent with two decimal places."""
    return NOTHING if fraction is None else f"{fraction * 100:,.2f} %".replace("-", MINUS)


def signed_percent(fraction: Decimal | None) -> str:
    """Return a change as per cent with its sign."""
    return NOTHING if fraction is None else f"{fraction * 100:+,.2f} %".replace("-", MINUS)


def age(seconds: float | None) -> str:
    """Return an age in the largest unit that still says something."""
    if seconds is None:
        return NOTHING
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if -9.95 < seconds < 9.95 else f"{seconds:.0f} s"


def clock(moment: datetime | None, today: datetime, zone: str = "UTC") -> str:
    """Return a time of day in ``zone``, with the date in front unless it is ``today``'s there."""
    if moment is None:
        return NOTHING
    local, now = moment.astimezone(ZoneInfo(zone)), today.astimezone(ZoneInfo(zone))
    return f"{local:%H:%M:%S}" if local.date() == now.date() else f"{local:%d %b %H:%M}"


def zone_name(moment: datetime, zone: str) -> str:
    """Return what the market's clock is called at ``moment``, such as ``EST``."""
    return moment.astimezone(ZoneInfo(zone)).tzname() or zone


def words(code: object) -> str:
    """Return a code as words: ``guard_halted`` is ``guard halted``."""
    return str(code).replace("_", " ")

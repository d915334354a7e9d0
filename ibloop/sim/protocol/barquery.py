"""What a request for bars of the past means, and the reasons for which IB refuses one.

Pure: the text fields of reqHistoricalData in, a `BarQuery` or a `Refused` out. Order of the
checks, bounds and texts as current gateways have them (public issue threads and captures).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from zoneinfo import ZoneInfo

from ibloop.sim.model import NEW_YORK

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
DURATION_S_MAX = 86_400
YEAR_MIN, YEAR_MAX = 1978, 3000
DAYS_MAX, WEEKS_MAX, MONTHS_MAX, YEARS_MAX = 365, 52, 12, 50
ONE_SECOND_BARS_MAX = 2000
# A year of minutes; more would neither fit a message nor be made in a bearable time.
BARS_MAX = 100_000
SESSION_S = 23_400


@dataclass(frozen=True, slots=True)
class Refused:
    """An error instead of an answer: IB's code and text."""

    code: int
    text: str


class What(StrEnum):
    """Kinds of data (whatToShow); of some of them the simulator, like IB, may have none."""

    TRADES = "TRADES"
    MIDPOINT = "MIDPOINT"
    BID = "BID"
    ASK = "ASK"
    BID_ASK = "BID_ASK"
    ADJUSTED_LAST = "ADJUSTED_LAST"
    SCHEDULE = "SCHEDULE"
    HISTORICAL_VOLATILITY = "HISTORICAL_VOLATILITY"
    OPTION_IMPLIED_VOLATILITY = "OPTION_IMPLIED_VOLATILITY"
    FEE_RATE = "FEE_RATE"
    YIELD_ASK = "YIELD_ASK"
    YIELD_BID = "YIELD_BID"
    YIELD_BID_ASK = "YIELD_BID_ASK"
    YIELD_LAST = "YIELD_LAST"
    AGGTRADES = "AGGTRADES"


PRICED = frozenset({What.TRADES, What.MIDPOINT, What.BID, What.ASK, What.BID_ASK})


class Unit(StrEnum):
    """Units of a duration."""

    SECONDS = "S"
    DAYS = "D"
    WEEKS = "W"
    MONTHS = "M"
    YEARS = "Y"


class Period(StrEnum):
    """How long a bar is: a number of seconds of a day, or a whole day, week or month."""

    SECONDS = "seconds"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class BarSize:
    """A legal bar size; `seconds` is 0 for bars of a day and longer."""

    period: Period
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class Duration:
    """How far a query reaches back."""

    count: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class BarQuery:
    """A query that can be answered; `end` is None for now, `zone` whether the end named one."""

    end: datetime | None
    zoned: bool
    duration: Duration
    size: BarSize
    what: What
    epoch: bool
    updates: bool


LEGAL_SIZES = (
    "1 secs, 5 secs, 10 secs, 15 secs, 30 secs, 1 min, 2 mins, 3 mins, 5 mins, 10 mins, 15 mins, "
    "20 mins, 30 mins, 1 hour, 2 hours, 3 hours, 4 hours, 8 hours, 1 day, 1W, 1M"
)
_UNIT_S = {"sec": 1, "secs": 1, "min": MINUTE_S, "mins": MINUTE_S, "hour": HOUR_S, "hours": HOUR_S}


def _legal_sizes() -> dict[str, BarSize]:
    sizes = {
        "1 day": BarSize(Period.DAY),
        **dict.fromkeys(("1w", "1 w", "1 week"), BarSize(Period.WEEK)),
        **dict.fromkeys(("1m", "1 m", "1 month"), BarSize(Period.MONTH)),
    }
    for text in LEGAL_SIZES.split(", ")[:18]:
        count, unit = text.split()
        sizes[text] = BarSize(Period.SECONDS, int(count) * _UNIT_S[unit])
    return sizes


SIZES = _legal_sizes()
# The longer the unit of the duration, the coarser the bars must be (IB, "Max Duration Per Bar").
_TRADING_S = {
    Unit.SECONDS: 1,
    Unit.DAYS: SESSION_S,
    Unit.WEEKS: 5 * SESSION_S,
    Unit.MONTHS: 21 * SESSION_S,
    Unit.YEARS: 252 * SESSION_S,
}
STEP_S_MIN = {Unit.SECONDS: 1, Unit.DAYS: 5, Unit.WEEKS: 10, Unit.MONTHS: 30, Unit.YEARS: 60}

BAD_END = (
    "End Date/Time: The date, time, or time-zone entered is invalid.\n"
    "The correct format is yyyymmdd hh:mm:ss xx/xxxx\n"
    "where yyyymmdd and xx/xxxx are optional.\n"
    "E.g.: 20031126 15:59:00 US/Eastern\n\n"
    "Note that there is a space between the date and time,\n"
    "and between the time and time-zone.\n\n"
    "If no date is specified, current date is assumed.\n"
    "If no time-zone is specified, local time-zone is assumed(deprecated).\n\n"
    "You can also provide yyyymmddd-hh:mm:ss time is in UTC.\n"
    "Note that there is a dash between the date and time in UTC notation."
)
NO_ZONE = (
    "Warning: You submitted request with date-time attributes without explicit time zone. "
    "Please switch to use yyyymmdd-hh:mm:ss in UTC or use instrument time zone, like US/Eastern. "
    "Implied time zone functionality will be removed in the next API release"
)
_LOCAL = re.compile(r"(?:(\d{8}) +)?(\d{1,2}:\d{2}:\d{2})(?: +(\D.*))?", re.ASCII)
_UTC = re.compile(r"(\d{8})-(\d{1,2}:\d{2}:\d{2})", re.ASCII)


def invalid(cause: str) -> Refused:
    """Return IB's answer to a query that makes no sense."""
    return Refused(321, f"Error validating request.-'bM' : cause - {cause}")


def service_error(text: str) -> Refused:
    """Return an error of the historical data service."""
    return Refused(162, f"Historical Market Data Service error message:{text}")


def read_query(
    *,
    end: str,
    duration: str,
    size: str,
    what: str,
    format_date: int,
    updates: bool,
    now: datetime,
) -> BarQuery | Refused:
    """Return what the texts of a reqHistoricalData ask for, or why they are refused."""
    moment = read_time(end, now)
    if isinstance(moment, Refused):
        return moment
    lasting = read_duration(duration)
    if isinstance(lasting, Refused):
        return lasting
    adjusted = what.upper() == What.ADJUSTED_LAST
    if adjusted and moment.time:
        return invalid("End date not supported with adjusted last")
    bar = SIZES.get(size.strip().lower())
    if bar is None:
        legal = f"Legal ones are: {LEGAL_SIZES}"
        return invalid(f"Historical data bar size setting is invalid. {legal}")
    if adjusted and bar.period in {Period.WEEK, Period.MONTH}:
        return invalid("Multi day bar size not supported with adjusted last")
    if what.upper() not in What.__members__:
        return invalid(f"What to show value of {what[:40]} rejected.")
    if format_date not in {1, 2}:
        return invalid(f"Date formatting selection of {format_date} rejected.")
    kind = What(what.upper())
    if kind is What.SCHEDULE and bar.period is not Period.DAY:
        return invalid("Only daily resolution supported for Schedule requests")
    if updates and moment.time:
        return invalid("Historical data updates need an empty end date")
    query = BarQuery(moment.time, moment.zoned, lasting, bar, kind, format_date == 2, updates)
    return _refuse_step(query) or query


def read_period(text: str) -> BarQuery | Refused:
    """Return the query for minutes that a time such as `3 days`, up to now, stands for."""
    found = re.fullmatch(r"(\d{1,6}) (second|minute|hour|day|week|month|year)s?", text.strip())
    if found is None:
        return invalid(f"Time period of {text[:40]} rejected.")
    count, unit = int(found[1]), found[2]
    seconds = {"second": 1, "minute": MINUTE_S, "hour": HOUR_S}.get(unit)
    form = f"{count * seconds} S" if seconds else f"{count} {unit[0]}"
    duration = read_duration(form)
    if isinstance(duration, Refused):
        return duration
    return BarQuery(None, True, duration, SIZES["1 min"], What.TRADES, False, False)


def _refuse_step(query: BarQuery) -> Refused | None:
    seconds, duration = query.size.seconds, query.duration
    if seconds and seconds < STEP_S_MIN[duration.unit]:
        return service_error(f"invalid step: {seconds}")
    trading_s = duration.count * _TRADING_S[duration.unit]
    bars_max = ONE_SECOND_BARS_MAX if seconds == 1 else BARS_MAX
    if seconds and trading_s / seconds > bars_max:
        return service_error("Time length exceed max.")
    return None


@dataclass(frozen=True, slots=True)
class Given:
    """A time as a client wrote it: None for an empty field; `zoned` when it named its zone."""

    time: datetime | None
    zoned: bool = True


def read_time(text: str, now: datetime) -> Given | Refused:
    """Return the UTC time a field names: IB's two forms, New York time where it names no zone."""
    text = text.strip()
    if not text:
        return Given(None)
    refused = Refused(10314, BAD_END)
    if found := _UTC.fullmatch(text):
        moment = _at(found[1], found[2], UTC)
        return Given(moment) if moment else refused
    found = _LOCAL.fullmatch(text)
    zone = _zone(found[3]) if found else None
    if not found or zone is None:
        return refused
    moment = _at(found[1] or now.astimezone(zone).strftime("%Y%m%d"), found[2], zone)
    return Given(moment, zoned=found[3] is not None) if moment else refused


def _at(day: str, time: str, zone: tzinfo) -> datetime | None:
    try:
        local = datetime.strptime(f"{day} {time}", "%Y%m%d %H:%M:%S").replace(tzinfo=zone)
        return local.astimezone(UTC) if YEAR_MIN <= local.year <= YEAR_MAX else None
    except (ValueError, OverflowError):
        return None


def _zone(name: str | None) -> tzinfo | None:
    """Return a zone by the names clients use; US/Eastern also where the host has no such zone."""
    if name is None or name in {"US/Eastern", "EST", "EDT", "EST5EDT"}:
        return NEW_YORK
    if name in {"UTC", "GMT", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return None


def read_duration(text: str) -> Duration | Refused:
    """Return a duration; a plain number is of seconds, the unit may be written in either case."""
    if not text.strip():
        return invalid("Historical data request duration not specified.")
    found = re.fullmatch(r"(\d{1,9})(?: ([SDWMY]))?", text.strip().upper(), re.ASCII)
    if found is None:
        form = "duration format is integer{SPACE}unit (S|D|W|M|Y)."
        return invalid(f"When specifying a unit, historical data request {form}")
    count, unit = int(found[1]), Unit(found[2] or "S")
    if count < 1 or (unit is Unit.YEARS and count > YEARS_MAX):
        return invalid("Historical data requested duration is invalid.")
    if unit is Unit.SECONDS and count > DURATION_S_MAX:
        return invalid(
            f"Historical data request for greater than {DURATION_S_MAX} seconds rejected."
        )
    if unit is Unit.DAYS and count > DAYS_MAX:
        return invalid(
            f"Historical data requests for durations longer than {DAYS_MAX} days "
            "must be made in years."
        )
    longest = {Unit.WEEKS: (WEEKS_MAX, "weeks"), Unit.MONTHS: (MONTHS_MAX, "months")}
    if unit in longest and count > longest[unit][0]:
        most, name = longest[unit]
        return invalid(
            f"Historical data request for durations longer than {most} {name} "
            "must be made in years."
        )
    return Duration(count, unit)

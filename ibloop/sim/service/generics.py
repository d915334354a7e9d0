"""Generic ticks: what a client asks for by number beside the standard ticks of a stream.

Numbers and names are those a real gateway lists as legal for stocks, and 104, 256, 258 and 292 of
IB's documentation. `SERVED` tells which of them the simulator has something to say about; the
others are accepted and say nothing: there are no options, funds, dividends, news, auctions with
imbalances or fundamental data here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ibloop.sim.market import statistics
from ibloop.sim.market.market import Market, Moment
from ibloop.sim.market.venue import Phase
from ibloop.sim.model import Instrument, Quote
from ibloop.sim.protocol.replies import ticks
from ibloop.sim.protocol.replies.ticks import FrameText, price_text
from ibloop.sim.world import World

LEGAL = {
    100: "Option Volume",
    101: "Option Open Interest",
    104: "histvol",
    105: "Average Opt Volume",
    106: "impvolat",
    165: "Misc. Stats",
    221: "Creditman Mark Price",
    225: "Auction",
    232: "Pl Price",
    233: "RTVolume",
    236: "inventory",
    256: "inventory",
    258: "Fundamentals",
    292: "Wide_news",
    293: "TradeCount",
    294: "TradeRate",
    295: "VolumeRate",
    318: "LastRTHTrade",
    375: "RTTrdVolume",
    411: "rthistvol",
    456: "IBDividends",
    460: "Bond Factor Multiplier",
    576: "EtfNavBidAsk(navbidask)",
    577: "EtfNavLast(navlast)",
    578: "EtfNavClose(navclose)",
    586: "IPOHLMPRC",
    587: "Pl Price Delayed",
    588: "Futures Open Interest",
    595: "Short-Term Volume X Mins",
    614: "EtfNavMisc(high/low)",
    619: "Creditman Slow Mark Price",
    623: "EtfFrozenNavLast(fznavlast)",
}
# A wrong list is quoted up to so many characters.
SHOWN_MAX = 200
# Asks for news only, without the standard ticks.
NEWS_ONLY = "mdoff"


def illegal(wanted: tuple[str, ...]) -> str:
    """Return a real gateway's complaint about a generic tick list, '' when it is legal."""
    if all(part == NEWS_ONLY or _number(part) in LEGAL for part in wanted):
        return ""
    known = ",".join(f"{number}({name})" for number, name in LEGAL.items())
    return (
        "Error validating request.-'bW' : cause - Incorrect generic tick list of"
        f" {','.join(wanted)[:SHOWN_MAX]}.  Legal ones for (STK) are: {known}"
    )


def _number(part: str) -> int:
    """Return the number of an item such as 233, or 292:BRFG for one source of news."""
    text = part.partition(":")[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else -1


@dataclass(frozen=True, slots=True)
class View:
    """What the ticks of one sample are made from; `epoch_ms` is the time of the last trade."""

    market: Market
    instrument: Instrument
    quote: Quote
    moment: Moment
    epoch_ms: int

    @property
    def con_id(self) -> int:
        """Return the contract id."""
        return self.instrument.con_id

    @property
    def over(self) -> int:
        """Return the number of the last session that is over."""
        return self.moment.session - (self.moment.phase is Phase.OPEN)


# Tick id, the message that carries it (p, s, g or t: price, size, generic, text), and its value.
Tick = tuple[int, str, str]
Teller = Callable[[View], Iterator[Tick]]


def _trade(tick: int) -> Teller:
    def tell(view: View) -> Iterator[Tick]:
        quote = view.quote
        average = statistics.average_price(view.market, view.con_id, view.moment)
        parts = (price_text(quote.last), f"{quote.last_size:f}", view.epoch_ms, quote.volume)
        yield tick, "t", ";".join(map(str, (*parts, f"{average:.4f}", "true")))

    return tell


def _misc_stats(view: View) -> Iterator[Tick]:
    known = statistics.ranges(view.market, view.quote, view.over)
    for number, (low, high) in enumerate(known):
        yield 15 + 2 * number, "p", price_text(low)
        yield 16 + 2 * number, "p", price_text(high)
    sessions = statistics.AVERAGE_VOLUME_SESSIONS
    volume = statistics.average_volume(view.market, view.con_id, view.over, sessions)
    yield 21, "s", str(volume)


def _shortable(view: View) -> Iterator[Tick]:
    # Above 2.5 means that at least 1,000 shares are there to borrow; we lend a tenth of a day.
    yield 46, "g", "3.0"
    yield 89, "s", str(view.instrument.adv_shares // 10)


def _volatility(tick: int, *, with_today: bool) -> Teller:
    def tell(view: View) -> Iterator[Tick]:
        now = view.quote.last if with_today else None
        value = statistics.volatility(view.market, view.con_id, view.over, now=now)
        yield tick, "g", f"{value:.6f}"

    return tell


def _mark(view: View) -> Iterator[Tick]:
    yield 37, "p", price_text(view.quote.last)


def _last_regular(view: View) -> Iterator[Tick]:
    yield 57, "p", price_text(view.quote.last)


def _trade_count(view: View) -> Iterator[Tick]:
    yield 54, "g", str(statistics.trades(view.quote.volume))


def _trade_rate(view: View) -> Iterator[Tick]:
    volume = statistics.volume_within(view.market, view.con_id, view.moment, 1)
    yield 55, "g", str(statistics.trades(volume))


def _volume_rate(view: View) -> Iterator[Tick]:
    yield 56, "g", str(statistics.volume_within(view.market, view.con_id, view.moment, 1))


def _short_term_volume(view: View) -> Iterator[Tick]:
    for tick, minutes in ((63, 3), (64, 5), (65, 10)):
        volume = statistics.volume_within(view.market, view.con_id, view.moment, minutes)
        yield tick, "s", str(volume)


# Told at the beginning and with every new session.
DAILY: dict[int, Teller] = {
    104: _volatility(23, with_today=False),
    # Without options the historical volatility is all there is to imply one from.
    106: _volatility(24, with_today=False),
    165: _misc_stats,
    236: _shortable,
}
# Told when the quote changes.
LIVE: dict[int, Teller] = {
    221: _mark,
    232: _mark,
    233: _trade(48),
    293: _trade_count,
    294: _trade_rate,
    295: _volume_rate,
    318: _last_regular,
    375: _trade(77),
    411: _volatility(58, with_today=True),
    595: _short_term_volume,
}
SERVED = frozenset(DAILY) | frozenset(LIVE)
_WRITE: dict[str, Callable[[str, str, str], FrameText]] = {
    "p": ticks.tick_price,
    "s": ticks.tick_size,
    "g": ticks.tick_generic,
    "t": ticks.tick_string,
}


@dataclass(slots=True)
class Generics:
    """The generic ticks of one stream: only those that changed."""

    req_id: int
    wanted: tuple[int, ...]
    _over: int | None = None
    _traded: tuple[object, ...] = ()
    _sent: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, req_id: int, wanted: tuple[str, ...]) -> "Generics | None":
        """Return what serves a legal list, None when there is nothing to serve."""
        numbers = tuple(dict.fromkeys(_number(part) for part in wanted))
        served = tuple(number for number in numbers if number in SERVED)
        return cls(req_id, served) if served else None

    def changes(self, world: World, instrument: Instrument, quote: Quote) -> list[FrameText]:
        """Return the ticks that are new since the last call."""
        moment = world.moment()
        epoch_ms = int(world.last_trade().timestamp() * 1000)
        view = View(world.market, instrument, quote, moment, epoch_ms)
        new_day = view.over != self._over
        traded = (quote.last, quote.volume, quote.last_size)
        new_trade = new_day or traded != self._traded
        self._over, self._traded = view.over, traded
        frames = []
        for number in self.wanted:
            due = new_day if number in DAILY else new_trade
            tell = DAILY.get(number) or LIVE[number]
            for tick, kind, text in tell(view) if due else ():
                if self._sent.get(tick) != text:
                    self._sent[tick] = text
                    frames.append(_WRITE[kind](str(self.req_id), str(tick), text))
        return frames

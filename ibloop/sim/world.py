"""The simulated world: market, broker, time and memory, without any client.

Everything that must survive a crash passes through `commit`, in one place, before the gateway
tells anybody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from ibloop.sim.brokerage.account import accounts_at_start
from ibloop.sim.brokerage.broker import Broker
from ibloop.sim.brokerage.checks import PRICE_BAND
from ibloop.sim.clock import Clock
from ibloop.sim.market.chronicle import Chronicle
from ibloop.sim.market.history import Samples
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.market.market import DEPTH_SAMPLES, Moment
from ibloop.sim.market.pins import Pin, PinHistory, at_close, at_open
from ibloop.sim.market.replay import open_market
from ibloop.sim.market.synthetic import with_synthetic
from ibloop.sim.market.timeline import Timeline
from ibloop.sim.market.timetable import ALWAYS, Anchor, DayHours, Timetable, timetable
from ibloop.sim.market.venue import Phase
from ibloop.sim.marks import DayMarks
from ibloop.sim.model import (
    ZERO,
    AccountSpec,
    Instrument,
    Quote,
    ReceivedFrame,
    SimError,
)
from ibloop.sim.state import (
    AccountOpened,
    ClockSet,
    Journal,
    MarketTime,
    Memory,
    Record,
    Renamed,
    Split,
    StateFile,
    fixed_by,
)

# Streaming prices of stocks are samples taken four times a second.
SAMPLE_S = 0.25
# How old delayed market data is.
DELAY_S = 900.0
DEFAULT_START = date(2012, 10, 1)
OFFSET_S_MAX = 10 * 366 * 86_400.0
# A new broker counts permIds from its first second on, four a second, so that two brokers
# without a common memory do not give the same number to different orders.
PERM_ID_EPOCH_S = 1_600_000_000


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """How to begin: accounts, seed, market speed and first session.

    An account named by its id alone is a cash account with `cash_usd`, which is also the cash of
    accounts that do not say theirs; with `settled_only` cash accounts may not spend the proceeds
    of a sale before they settle; with `liquidation` the broker closes positions of margin accounts
    that fall below their maintenance margin. `speed` is market seconds per real second; 0
    freezes the market at its moment. With `hours` "exchange" sessions are played in the
    exchange's hours, else one after the other. `sample_s` is the time between two samples of
    the market in real seconds, `synthetic` the number of made-up instruments beside the
    samples, `replay` a recording to play. A limit may go through the market by the fraction
    `price_band`.
    """

    accounts: Sequence[str | AccountSpec] = ("DU1234567",)
    cash_usd: Decimal = Decimal(100_000)
    seed: int = 1
    speed: float = 1.0
    start: date = DEFAULT_START
    hours: str = ALWAYS
    sample_s: float = SAMPLE_S
    synthetic: int = 0
    settled_only: bool = False
    liquidation: bool = True
    price_band: Decimal = PRICE_BAND
    replay: Path | None = None


class World:
    """Market, broker and server time of one simulated login."""

    def __init__(
        self, options: WorldOptions, samples: Samples, journal: Journal, clock: Clock
    ) -> None:
        """Begin new, or where the state file stopped.

        Raises: SimError when the history ends before the start date.
        """
        # A copy: a symbol may change, and synthetic instruments come on top.
        self._options = options
        self.sample_s = options.sample_s
        # A market sampled more often than a real one is there to be a load: everything changes.
        depth_samples = DEPTH_SAMPLES if options.sample_s >= SAMPLE_S else 1
        known, begins = with_synthetic(samples, options.synthetic), (options.seed, options.start)
        self.samples, self.market = open_market(known, *begins, depth_samples, options.replay)
        self._journal = journal
        self._clock = clock
        memory = journal.memory if isinstance(journal, StateFile) else Memory()
        self.frames = memory.frames
        self.offset_s = memory.offset_s
        self._pending: list[Record] = []
        self._quotes: dict[int, Quote | None] = {}
        self._delayed: dict[int, Quote | None] = {}
        self._sample = -1
        self._began_s = clock.monotonic_s()
        self._timetable = self._resume_market(memory)
        self._moment = self._timetable.moment(self.now(), 0.0, 0)
        began_s = clock.utc().timestamp()
        self.chronicle = Chronicle(began_s, self.offset_s, self.market.pins)
        self.broker = self._open_broker(memory)
        self._marks = DayMarks(memory.marks, new_york_date(self.now()))
        self._mark()
        self.commit()

    def _resume_market(self, memory: Memory) -> Timetable:
        """Return when sessions are played, from where the market stopped."""
        known, saved, options = self.samples.instruments, memory.market, self._options
        for con_id, symbol in memory.symbols.items():
            if con_id in known:
                self.samples.rename(con_id, symbol)
        self.market.ratios.update(memory.ratios)
        if saved is not None and saved.timeline != (options.seed, str(options.start)):
            saved = None
        self._fix({key: history for key, history in memory.pins.items() if key in known}, saved)
        anchor = Anchor(saved.anchor, saved.anchor_session) if saved and saved.anchor else None
        played = timetable(options.hours, options.speed, self.now(), anchor)
        if saved is not None:
            self.market.shocks.extend(memory.shocks)
            played.resume(self.now(), saved.market_s)
        return played

    def _fix(self, pins: Mapping[int, PinHistory], saved: MarketTime | None) -> None:
        """Take up what was fixed; a market that begins anew only knows the last of it."""
        for con_id, history in pins.items():
            if saved is None:
                history.restart()
            self.market.pin_histories[con_id] = history
            self.market.pins[con_id] = [*history.by_turn.values()][-1]

    def _open_broker(self, memory: Memory) -> Broker:
        options, known = self._options, memory.accounts
        specs = accounts_at_start(options.accounts, options.cash_usd, known)
        opened = (spec for name, spec in specs.items() if known.get(name) != spec)
        self._pending += [AccountOpened(s.account_id, s.cash_usd or ZERO, s.kind) for s in opened]
        first = int(self._clock.utc().timestamp() - PERM_ID_EPOCH_S) * 4
        broker = Broker(
            self.samples.instruments,
            specs,
            first_perm_id=max(1, first),
            settled_only=options.settled_only,
            price_band=options.price_band,
        )
        broker.restore([*memory.orders.values(), *memory.executions.values()])
        return broker

    @property
    def liquidates(self) -> bool:
        """Tell whether the broker closes positions of accounts below maintenance margin."""
        return self._options.liquidation

    @property
    def seed(self) -> int:
        """Return the seed of prices, sizes and chance."""
        return self._options.seed

    # ------------------------------------------------------------------ time

    def now(self) -> datetime:
        """Return server time: real time plus the offset, aware UTC."""
        return self._clock.utc() + timedelta(seconds=self.offset_s)

    def monotonic_s(self) -> float:
        """Return the clock for waits, which no offset moves."""
        return self._clock.monotonic_s()

    def moment(self) -> Moment:
        """Return simulated time, which moves in samples."""
        sample = int((self._clock.monotonic_s() - self._began_s) / self.sample_s)
        if sample != self._sample:
            now = self.now()
            if (today := new_york_date(now)) != self._marks.today:
                # Before the market moves: what it showed last is what the day begins with.
                self._marks.today = today
                self._mark()
            self._sample, self._quotes, self._delayed = sample, {}, {}
            self._moment = self._timetable.moment(now, sample * self.sample_s, sample)
        return self._moment

    def _mark(self) -> None:
        """Note what everything that is held costs as the day begins."""
        held = (self.market.quote(con_id, self._moment) for con_id in self.broker.held())
        self._pending += self._marks.note(held)

    def timeline(self) -> Timeline:
        """Return when the past was played, seen from the present sample."""
        moment, now = self.moment(), self.now()
        ran_s = moment.sample * self.sample_s
        began_s = self.chronicle.began_s(now.timestamp() - self.offset_s, ran_s)
        return self._timetable.timeline(now, moment, ran_s, began_s + self.offset_s)

    # ------------------------------------------------------------------ venue

    def phase(self) -> Phase:
        """Return the part of the trading day."""
        return self.moment().phase

    def session(self) -> int:
        """Return the number of the session being played, or of the next one while closed."""
        moment = self.moment()
        return moment.session if moment.phase is Phase.OPEN else moment.session + 1

    def next_open(self) -> datetime:
        """Return when regular trading begins next, aware UTC; now while it is open."""
        return self._timetable.next_open(self.now())

    def day_end(self, *, outside_rth: bool) -> datetime:
        """Return when a DAY order that is placed now ends, aware UTC."""
        return self._timetable.day_end(self.now(), outside_rth=outside_rth)

    def opening_price(self, con_id: int, session: int) -> Decimal | None:
        """Return the price of a session's opening auction, None while there was none."""
        begun = session <= self.moment().session
        return self.market.opening_price(con_id, session) if begun else None

    def closing_price(self, con_id: int, session: int) -> Decimal | None:
        """Return the price of a session's closing auction, None while there was none."""
        over = session < self.session()
        return self.market.closing_price(con_id, session) if over else None

    def last_trade(self, *, delayed: bool = False) -> datetime:
        """Return when stocks last traded, aware UTC; `delayed`: as seen a quarter hour ago."""
        then = self.now() - timedelta(seconds=DELAY_S) if delayed else self.now()
        return self._timetable.last_trade(then)

    def hours(self) -> list[DayHours]:
        """Return the hours of today and the days after it."""
        return self._timetable.hours(self.now())

    def set_clock(self, offset_s: float) -> None:
        """Move server time by an offset from real time.

        With the exchange's hours the market moves along; put back, it goes on with its next
        session. Raises: SimError for more than ten years.
        """
        if abs(offset_s) > OFFSET_S_MAX:
            raise SimError(f"expected an offset of at most {OFFSET_S_MAX:.0f} s, was {offset_s}")
        before = self.moment()
        self.offset_s = offset_s
        self._timetable.clock_moved(self.now(), before.market_s)
        self._pending.append(ClockSet(offset_s))
        self._market_moved()
        self.commit()

    def set_time(self, to: datetime) -> None:
        """Move server time to an aware time. Raises: SimError for more than ten years."""
        self.set_clock((to - self._clock.utc()).total_seconds())

    # ------------------------------------------------------------------ market

    def quote_of(self, con_id: int) -> Quote | None:
        """Return an instrument's quote, the same for everybody within one sample."""
        moment = self.moment()
        if con_id not in self._quotes:
            self._quotes[con_id] = self.market.quote(con_id, moment)
        return self._quotes[con_id]

    def delayed_quote_of(self, con_id: int) -> Quote | None:
        """Return an instrument's quote of a quarter of an hour ago."""
        sample = self.moment().sample
        if con_id not in self._delayed:
            then = self.now() - timedelta(seconds=DELAY_S)
            at = self._timetable.moment(then, sample * self.sample_s - DELAY_S, sample)
            self._delayed[con_id] = self.market.quote(con_id, at)
        return self._delayed[con_id]

    def account_quote_of(self, con_id: int) -> Quote | None:
        """Return an instrument's quote with the close that today's profit compares with.

        In the exchange's hours that is the close of the last trading day before today, in a
        market that never closes the last price before midnight in New York.
        """
        quote, session = self.quote_of(con_id), self._timetable.session_before(self.now())
        if session is not None:
            close = self.market.closing_price(con_id, session)
        else:
            close = self._marks.price(con_id)
        if quote is None or close is None or close == quote.close:
            return quote
        return replace(quote, close=close)

    def price_of(self, con_id: int) -> Decimal:
        """Return the last price, 0 while there is none."""
        quote = self.quote_of(con_id)
        return quote.last if quote else ZERO

    def pin(
        self, instrument: Instrument, values: Mapping[str, Decimal | bool | None]
    ) -> Quote | None:
        """Fix parts of a quote (None frees one), and return what the market now shows.

        Raises: SimError when the bid would not stay below the ask, or there is no price at all.
        """
        old = self.market.pins.get(instrument.con_id, Pin())
        merged = {name: getattr(old, name) for name in ("bid", "ask", "last", "halted")}
        pin = Pin(**(merged | dict(values)))
        if pin.bid is not None and pin.ask is not None and pin.bid >= pin.ask:
            raise SimError(f"expected bid below ask, was {pin.bid} and {pin.ask}")
        if self.quote_of(instrument.con_id) is None:
            raise SimError(f"{instrument.symbol} has no price on this day of the history")
        self.market.pins[instrument.con_id] = pin
        self._market_moved()
        self._pending += [*fixed_by(instrument.con_id, self._pins_of(instrument.con_id))][-1:]
        self.commit()
        return self.quote_of(instrument.con_id)

    def shock(self, fraction: float) -> None:
        """Multiply every price by 1 + fraction from now on.

        Raises: SimError when nothing would be left.
        """
        if fraction <= -1:
            raise SimError(f"expected a shock above -1, was {fraction}")
        self.market.shock(1 + fraction, self.moment().market_s)
        self._pending.append(self.market.shocks[-1])
        self._market_moved()
        for con_id in self.market.pins:
            self._pending += [*fixed_by(con_id, self._pins_of(con_id))][-1:]
        self.commit()

    def split(self, con_id: int, ratio: Decimal) -> None:
        """Turn every share of an instrument into `ratio` shares: its prices fall accordingly.

        What accounts hold is not touched. Raises: SimError for a ratio that is not above 0.
        """
        if ratio <= 0:
            raise SimError(f"expected a split ratio above 0, was {ratio}")
        self.market.split(con_id, ratio)
        self._pending.append(Split(con_id, self.market.ratios[con_id]))
        self._pending += self._marks.split(con_id, ratio)
        self._market_moved()
        self._pending += fixed_by(con_id, self._pins_of(con_id))
        self.commit()

    def rename(self, con_id: int, symbol: str) -> None:
        """Give an instrument another symbol; contract id and prices go on.

        Raises: SimError when the symbol is empty or another instrument's.
        """
        other = self.samples.by_symbol(symbol)
        if not symbol or (other is not None and other.con_id != con_id):
            raise SimError(f"expected a symbol nobody has, was {symbol!r}")
        self.samples.rename(con_id, symbol)
        self._pending.append(Renamed(con_id, symbol))
        self.commit()

    def _pins_of(self, con_id: int) -> PinHistory:
        return self.market.pin_histories.get(con_id, PinHistory())

    def _market_moved(self) -> None:
        """Look at the market anew, and remember what is fixed in it."""
        self._sample = -1
        self.chronicle.note(self._clock.utc().timestamp(), self.offset_s, self.market.pins)
        during = at_close if self.phase() is Phase.OPEN else at_open
        self.market.note_pins(during(self.session()))

    # ------------------------------------------------------------------ memory

    def receive(self, frame: ReceivedFrame) -> None:
        """Note an order message as received; the next commit stores it."""
        self.frames.append(frame)
        self._pending.append(frame)

    def commit(self) -> None:
        """Store everything that changed since the last commit, as one step.

        Raises: SimError when it cannot be stored.
        """
        changes: list[Record] = [*self._pending, *self.broker.take_changes()]
        self._pending = []
        if changes:
            self._journal.append([self._market_time(), *changes])

    def note_market_time(self) -> None:
        """Store how far the market has run."""
        self._journal.append([self._market_time()])

    def _market_time(self) -> MarketTime:
        options, anchor = self._options, self._timetable.anchor
        played = (options.seed, str(options.start), self.moment().market_s)
        return MarketTime(*played, *((anchor.date, anchor.session) if anchor else ()))

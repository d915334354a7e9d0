"""IBStreamRunner: subscribes what may be traded or is held, and writes each change to its file.

It goes where ``_gateway.json`` points, publishes every tick at once (publishing costs tens of
microseconds, timers only add latency), republishes nothing, and says in ``_status.json`` how it is.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from ibloop import log
from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import account, runs, snapshots
from ibloop.adapters.ledger.connection import Connection, open_readonly
from ibloop.adapters.ports import Clock
from ibloop.adapters.streamfiles import StreamWriter, is_nameable, iso_utc
from ibloop.adapters.universe import load_universe
from ibloop.config import Profile
from ibloop.core.events import ErrorReported
from ibloop.core.lifecycle import RunState
from ibloop.core.model import Instrument, MarketDataType, Moment, Position, QuoteSource
from ibloop.core.quotes import StreamStatus, TickState, quote_of, stream_status
from ibloop.daemons.link import GatewayLink, Session
from ibloop.daemons.loop import Report, run_daemon
from ibloop.errors import LedgerError

LINES_MAX = 100  # IB's default number of market data lines
LOOK_AROUND_S = 2.0  # how often the wanted set is read
STARTING_S = 10.0  # not connected for this long after the start is "disconnected"
RESUBSCRIBE_S = 60.0  # lines may stay silent after 1102, "data maintained"
QUEUED_MAX = 5

# Farm and connection notices that mean all is well, and "delayed data is shown".
INFORMATION = frozenset({1102, 2104, 2106, 2107, 2108, 2119, 2158, 10167})

_log = log.get(__name__)


class MarketData(Session, Protocol):
    """One IB session that delivers ticks; a new connection begins without lines.

    ``wake`` is set when :meth:`updates` would return something.
    """

    def proof_age_s(self) -> float:
        """Return the seconds since the gateway last answered a round trip; inf if never."""
        ...

    def subscribe(self, instruments: Sequence[Instrument]) -> None:
        """Add market data lines, paced; the adapter renews them after error 1101, data lost."""
        ...

    def unsubscribe(self, symbols: Sequence[str]) -> None:
        """Give lines back."""
        ...

    def updates(self) -> list[TickState]:
        """Return the symbols that changed since the last call, each with its latest state."""
        ...

    def errors(self) -> list[ErrorReported]:
        """Return the system and subscription errors since the last call."""
        ...


class IBStreamRunner:
    """The stream daemon without its loop: :meth:`step` again and again."""

    def __init__(
        self,
        stream_dir: Path,
        clock: Clock,
        client_id: int,
        market: MarketData,
        wanted: Callable[[], Sequence[Instrument]],
    ) -> None:
        """Take the session, and ``wanted()``: what to subscribe, foremost first."""
        self._clock = clock
        self._client_id = client_id
        self._market = market
        self._wanted = wanted
        self._link = GatewayLink(stream_dir, clock, market)
        self._writer = StreamWriter(stream_dir)
        self._started = clock.now()
        self._since: Moment | None = None  # when the connection came up
        self._was_connected = False
        self._looked: Moment | None = None
        self._lines: dict[str, Instrument] = {}
        self._left_out: tuple[str, ...] = ()
        self._resubscribed = False
        self._last_tick: Moment | None = None
        self._types: dict[str, MarketDataType] = {}
        self._errors = 0
        self._last_error: str | None = None
        self._status, self._reason = StreamStatus.STARTING, ""
        self._degraded_since: str | None = None
        self._ticks = self._publishes = 0

    def step(self) -> bool:
        """Look after the connection and the lines, publish what changed; nothing is left over."""
        now = self._clock.now()
        self._link.step()
        self._note_connection(now)
        if self._since is not None:
            if self._looked is None or now.age_s(self._looked) >= LOOK_AROUND_S:
                self._looked = now
                self._keep_subscribed()
            self._publish()
            self._break_silence()
        self._note_errors()
        self._assess()
        return False

    def report(self) -> Report:
        """Return the contract's ``_status.json``."""
        fields = {
            "subscribed_symbols": sorted(self._lines),
            "market_data_type": self._worst_type(),
            "ib_error_count": self._errors,
            "last_error": self._last_error,
            "degraded_since": self._degraded_since,
            "degraded_reason": self._reason or None,
            "last_snapshot_refresh": None,
            "host": self._market.host,
            "port": self._market.port,
            "client_id": self._client_id,
            "ticks_total": self._ticks,
            "publishes_total": self._publishes,
        }
        detail = [
            self._reason if self._since is not None else self._link.problem,
            f"not subscribed: {', '.join(self._left_out)}" if self._left_out else "",
        ]
        return Report(self._status, "; ".join(filter(None, detail)), fields)

    def close(self) -> None:
        """Disconnect."""
        self._link.close()

    def _note_connection(self, now: Moment) -> None:
        """Notice that the connection came up, or that it and its lines are gone."""
        connected = self._market.is_connected()
        if connected and self._since is None:
            self._since, self._was_connected, self._looked = now, True, None
            self._resubscribed = False
            _log.info("stream.connected", host=self._market.host, port=self._market.port)
        elif not connected and self._since is not None:
            self._since = None
            self._lines, self._types = {}, {}
            _log.warning("stream.disconnected", host=self._market.host, port=self._market.port)

    def _keep_subscribed(self) -> None:
        """Bring the market data lines in step with what is wanted, at most 100."""
        lines, self._left_out = choose_lines(self._wanted())
        gone = [symbol for symbol, old in self._lines.items() if lines.get(symbol) != old]
        new = [item for symbol, item in lines.items() if self._lines.get(symbol) != item]
        if gone:
            self._market.unsubscribe(gone)
            self._types = {s: kind for s, kind in self._types.items() if s not in gone}
        if new:
            self._market.subscribe(new)
        if gone or new:
            _log.info("stream.subscribed", added=len(new), removed=len(gone), lines=len(lines))
        self._lines = lines

    def _note_errors(self) -> None:
        for error in self._market.errors():
            if error.code in INFORMATION:
                continue
            self._errors += 1
            self._last_error = f"{error.code} {error.text}"
            _log.warning("ib.error_reported", code=error.code, text=error.text)

    def _publish(self) -> None:
        """Write every changed symbol, stamped with the moment we write it."""
        for state in self._market.updates():
            if state.symbol not in self._lines:
                continue  # unsubscribed meanwhile: its file says when it was last true
            now = self._clock.now()
            seq = self._writer.next_seq(state.symbol, now)
            self._writer.publish(quote_of(state, seq, now, QuoteSource.STREAM))
            self._types[state.symbol] = state.market_data_type
            self._last_tick = now
            self._ticks += 1
            self._publishes += 1
            self._resubscribed = False

    def _silence_s(self) -> float:
        """Return the seconds since the last tick of this connection, or since it came up."""
        if self._since is None:
            return 0.0
        now = self._clock.now()
        silence_s = now.age_s(self._since)
        return silence_s if self._last_tick is None else min(silence_s, now.age_s(self._last_tick))

    def _break_silence(self) -> None:
        """Order all lines anew over the same socket, once, after a minute without any tick."""
        if self._resubscribed or not self._lines or self._silence_s() <= RESUBSCRIBE_S:
            return
        self._resubscribed = True
        _log.warning("stream.resubscribed", lines=len(self._lines))
        self._market.unsubscribe(list(self._lines))
        self._market.subscribe(list(self._lines.values()))

    def _assess(self) -> None:
        """Decide the status and since when it is degraded."""
        now = self._clock.now()
        connected = self._since is not None
        status, self._reason = stream_status(
            connected=connected,
            attempted=self._was_connected or now.age_s(self._started) >= STARTING_S,
            tick_silence_s=self._silence_s(),
            proof_age_s=self._market.proof_age_s() if connected else 0.0,
        )
        if status is not self._status:
            _log.info("stream.status_changed", status=status, was=self._status, reason=self._reason)
        if status is not StreamStatus.DEGRADED:
            self._degraded_since = None
        elif self._degraded_since is None:
            self._degraded_since = iso_utc(now.utc)
        self._status = status

    def _worst_type(self) -> MarketDataType | None:
        """Return the worst kind of data among the lines, None before the first tick."""
        return max(self._types.values(), key=list(MarketDataType).index, default=None)


def choose_lines(
    wanted: Sequence[Instrument],
) -> tuple[dict[str, Instrument], tuple[str, ...]]:
    """Return the instruments to subscribe by symbol, and the symbols left out.

    The first 100 different symbols, in the order given; a symbol that cannot have a file is out.
    """
    lines: dict[str, Instrument] = {}
    left_out: dict[str, None] = {}
    for instrument in wanted:
        symbol = instrument.symbol
        if symbol in lines or symbol in left_out:
            continue
        if len(lines) < LINES_MAX and is_nameable(symbol):
            lines[symbol] = instrument
        else:
            left_out[symbol] = None
    return lines, tuple(left_out)


def wanted_lines(ledger_path: Path, universe: Mapping[str, Instrument]) -> list[Instrument]:
    """Return what needs a price, foremost first: positions, targets of open runs, the universe.

    Without a ledger yet that is the universe.
    """
    wanted: list[Instrument] = []
    try:
        with closing(open_readonly(ledger_path)) as db:
            wanted += [universe.get(p.symbol) or _held(p) for p in account.positions(db)]
            wanted += [universe[s] for s in _targets_of_open_runs(db) if s in universe]
    except LedgerError as error:
        _log.debug("stream.ledger_missing", error=str(error))
    return [*wanted, *universe.values()]


def _targets_of_open_runs(db: Connection) -> Iterator[str]:
    for run in (*runs.active(db), *runs.listing(db, QUEUED_MAX, RunState.QUEUED)):
        snapshot = snapshots.find(db, run.snapshot_id) if run.snapshot_id else None
        for target in json.loads(snapshot.content)["targets"] if snapshot else ():
            yield target["symbol"]


def _held(position: Position) -> Instrument:
    """Return a position outside the universe as an instrument: its contract id is enough for IB.

    It can be valued, not traded; the builder knows the universe only.
    """
    return Instrument(
        symbol=position.symbol,
        con_id=position.con_id,
        name=position.symbol,
        primary_exchange="",
        currency="USD",
        min_tick=Decimal("0.01"),
        lot=Decimal(1),
        sector="",
        adv_shares=None,
    )


async def run(profile: Profile) -> None:
    """Run the stream daemon of one profile until SIGTERM or SIGINT.

    Raises: LockHeldError when it is already running; ConfigError for a bad universe or a wrong
    account.
    """
    from ibloop.adapters.ib.market import IbMarketData  # noqa: PLC0415  # why: 0.35 s of imports

    config, clock = profile.config, SystemClock()
    gateway = config.gateway
    client_id = gateway.client_ids.stream
    market = IbMarketData(gateway.host, gateway.port, client_id, config.account, clock)
    universe = load_universe(profile).instruments
    runner = IBStreamRunner(
        profile.stream_dir,
        clock,
        client_id,
        market,
        lambda: wanted_lines(profile.ledger_path, universe),
    )
    try:
        await run_daemon(
            "stream",
            profile.data_dir,
            runner.step,
            runner.report,
            clock=clock,
            wake=market.wake,
            document="status",
            status_failed=StreamStatus.STOPPED,  # the contract of _status.json knows no "failed"
        )
    finally:
        runner.close()

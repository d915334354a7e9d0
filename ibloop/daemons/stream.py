"""IBStreamRunner: subscribes what may be traded or is held, and writes each change to its file.

It goes where ``_gateway.json`` points, publishes every tick at once (publishing costs tens of
microseconds, timers only add latency), asks about what is silent, and says in ``_status.json`` how
it is. ``docs/explanation/how-the-stream-stays-honest.md`` tells the whole story.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from ibloop import log
from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.adapters.ports import Clock
from ibloop.adapters.recording import Recorder
from ibloop.adapters.streamfiles import is_nameable, iso_utc
from ibloop.adapters.universe import load_universe
from ibloop.config import Profile
from ibloop.core.lines import choose_lines
from ibloop.core.model import Instrument, Moment, QuoteSource
from ibloop.core.stream import Facts, StreamStatus, look, next_status
from ibloop.daemons.link import GatewayLink
from ibloop.daemons.loop import Report, run_daemon
from ibloop.daemons.streaming.files import Publisher
from ibloop.daemons.streaming.lines import LineBook, MarketData
from ibloop.daemons.streaming.notices import Notices
from ibloop.daemons.streaming.report import Seen, report_of
from ibloop.daemons.streaming.wanted import Answers, WantedSet

CYCLE_S = 0.25
"""How often silence is looked for, and the status worked out; ticks wait for neither."""

STARTING_S = 10.0  # not connected for this long after the start is "disconnected"
OWN_STOP_S = 10.0  # steps come every 0.8 s: after so long a gap we were stopped, not the market
ORDER_ALL_S_MIN, ORDER_ALL_S_MAX = 5.0, 60.0
ORDER_ALL_CALM_S = 300.0
LIMIT_AGAIN_S = 600.0

_log = log.get(__name__)


class IBStreamRunner:
    """The stream daemon without its loop: :meth:`step` again and again."""

    def __init__(
        self,
        stream_dir: Path,
        clock: Clock,
        client_id: int,
        market: MarketData,
        wanted: Callable[[], Sequence[Instrument]],
        *,
        is_open: Callable[[datetime], bool] = lambda _now: True,
        lines_max: int = 100,
        silence_s: float = 5.0,
        recorder: Recorder | None = None,
    ) -> None:
        """Take the session, and ``wanted()``: what to subscribe, foremost first.

        ``is_open`` says whether the market is open at an aware time. ``lines_max`` and
        ``silence_s`` as in the configuration.
        """
        self._clock = clock
        self._client_id = client_id
        self._market = market
        self._wanted = wanted
        self._is_open = is_open
        self._lines_max = lines_max
        self._silence_s = silence_s
        self._link = GatewayLink(stream_dir, clock, market)
        self._files = Publisher(stream_dir, recorder)
        self._book = LineBook(market)
        self._notices = Notices(self._book)
        self._orders = _OrderAll()
        self._started = self._stepped = clock.now()
        self._since: Moment | None = None  # when the connection came up
        self._was_connected = False
        self._cycled_ns = 0
        self._open_ns: int | None = None  # since when the market has been open for us
        self._followed: tuple[Sequence[Instrument], int] | None = None
        self._left_out: dict[str, str] = {}
        self._ticks = 0
        self._refreshed_at: str | None = None
        self._status, self._reason = StreamStatus.STARTING, ""
        self._degraded_since: str | None = None
        self._report = Report(StreamStatus.STARTING)
        self._failure: Exception | None = None
        market.deliver = self._deliver
        self._assess(self._started)

    def step(self) -> bool:
        """Look after the connection and the lines, publish what changed; nothing is left over."""
        if self._failure is not None:
            raise self._failure
        now = self._clock.now()
        self._link.step()
        changed = self._note_connection(now) | self._note_own_stop(now)
        if self._since is not None:
            changed |= self._notices.take(self._market.errors(), now.boottime_ns)
            self._publish(now)
            self._publish_answers(now)
        if changed or now.boottime_ns - self._cycled_ns >= CYCLE_S * 1e9:
            self._cycled_ns = now.boottime_ns
            self._cycle(now)
        return False

    def report(self) -> Report:
        """Return the contract's ``_status.json``, as of the last look at most 0.25 s ago."""
        return self._report

    def close(self) -> None:
        """Disconnect."""
        self._link.close()

    # --- the connection -----------------------------------------------------------------------

    def _note_connection(self, now: Moment) -> bool:
        """Notice that the connection came up, or that it and its lines are gone."""
        connected = self._market.is_connected()
        if connected is (self._since is not None):
            return False
        self._since = now if connected else None
        self._was_connected = True
        self._followed = None
        self._book.clear()
        self._notices.clear()
        self._orders.clear()
        said = _log.info if connected else _log.warning
        word = "stream.connected" if connected else "stream.disconnected"
        said(word, host=self._market.host, port=self._market.port)
        return True

    def _note_own_stop(self, now: Moment) -> bool:
        """Notice that this process was stopped: what waited in the socket meanwhile is old."""
        gap_s, self._stepped = now.age_s(self._stepped), now
        if gap_s < OWN_STOP_S or self._since is None:
            return False
        _log.warning("stream.was_stopped", seconds=round(gap_s))
        self._open_ns = None  # silence counts from now
        self._book.forget_questions()
        self._orders.want("this process was stopped", at_once=True)
        return True

    # --- ticks in, files out --------------------------------------------------------------------

    def _publish(self, now: Moment) -> None:
        """Write every changed symbol, stamped with the moment it was received."""
        if self._orders.wanted:
            self._order_all(now)
        for state in self._market.updates():
            # Unsubscribed meanwhile: its file says when it was last true.
            known = self._book.take(state, now.boottime_ns)
            if known is not None:
                self._ticks += 1
                self._files.publish(known, now, QuoteSource.STREAM)
        for symbol, kind in self._market.worsened().items():
            self._book.worsen(symbol, kind)
            self._files.worsen(symbol, kind)

    def _deliver(self) -> None:
        """Publish a packet's ticks within its receipt, unless a step has to look at things first.

        Waiting for the step would take as long again as writing the file.
        """
        now = self._clock.now()
        is_late = now.age_s(self._stepped) >= OWN_STOP_S
        if self._since is None or self._orders.wanted or is_late or self._market.wake.is_set():
            self._market.wake.set()
            return
        try:
            self._publish(now)
        except Exception as error:  # noqa: BLE001  # why: the event loop would only log it
            self._failure = error
            self._market.wake.set()

    def _publish_answers(self, now: Moment) -> None:
        for answer in self._market.answers():
            self._notices.take_answer(answer, now.boottime_ns)
            state = self._book.answered(answer, now.boottime_ns)
            if state is not None:
                self._refreshed_at = iso_utc(now.utc)
                self._files.publish(state, now, answer.source)

    # --- in turn ----------------------------------------------------------------------------------

    def _cycle(self, now: Moment) -> None:
        """Do what is due, and work out how the stream is."""
        now_ns = now.boottime_ns
        if self._files.problem:
            self._files.retry()
        if self._since is None or not self._is_open(now.utc):
            self._open_ns = None
        elif self._open_ns is None:
            self._open_ns = now_ns
        if self._since is not None:
            self._keep_subscribed(now_ns)
            if self._notices.ib_lost:
                self._notices.look_for_ib(now_ns)
            if not self._notices.ib_lost:
                self._mend(now, self._open_ns)
        self._assess(now)

    def _keep_subscribed(self, now_ns: int) -> None:
        """Bring the market data lines in step with what is wanted."""
        limit, why = self._lines_max, "stream.lines_max"
        learned = self._notices.line_limit(now_ns, LIMIT_AGAIN_S)
        if learned is not None and learned < limit:
            limit, why = learned, "error 101: the gateway allows no more"
        wanted = self._wanted()
        if (wanted, limit) == self._followed:
            return
        lines, self._left_out = choose_lines(wanted, limit, is_nameable, why)
        self._book.follow(lines, now_ns)
        self._followed = wanted, limit

    def _mend(self, now: Moment, open_ns: int | None) -> None:
        """Ask about silent lines, order failed ones anew, and refresh them meanwhile."""
        now_ns = now.boottime_ns
        if self._notices.take_order_all():
            self._orders.want("the gateway had lost its data")
        if self._orders.wanted:
            self._order_all(now)
        self._book.order_due(now_ns)
        if open_ns is not None:  # a closed market is silent, and that is as it should be
            self._book.ask_the_silent(now_ns, self._silence_s, open_ns)
            self._book.refresh(now_ns)

    def _order_all(self, now: Moment) -> None:
        """Order every line anew if that is not too soon after the last time."""
        if self._orders.begin(now.boottime_ns):
            _log.warning("stream.resubscribed", lines=len(self._book.records))
            if self._notices.take_forgotten():
                self._market.forget_lines()
            self._book.order_anew(list(self._book.records), now.boottime_ns)

    def _assess(self, now: Moment) -> None:
        """Work out the status, since when it is degraded, and the report."""
        book, connected = self._book, self._since is not None
        dead, refused = book.dead(), book.refused()
        blocked = book.blocked()
        event, self._reason = look(
            Facts(
                connected=connected,
                attempted=self._was_connected or now.age_s(self._started) >= STARTING_S,
                proof_age_s=self._market.proof_age_s() if connected else 0.0,
                ib_lost=self._notices.ib_lost,
                farms_down=self._notices.farms_down(),
                blocked=blocked,
                delayed=book.delayed(),
                dead=[symbol for symbol in dead if symbol not in blocked],
                refused=list(refused),
                lines=len(book.records),
                favourite=book.dead_favourite(),
                unwritten=self._files.problem,
            )
        )
        status = next_status(self._status, event)
        if status is not self._status:
            _log.info("stream.status_changed", status=status, was=self._status, reason=self._reason)
        if status is not StreamStatus.DEGRADED:
            self._degraded_since = None
        elif self._degraded_since is None:
            self._degraded_since = iso_utc(now.utc)
        self._status = status
        self._report = report_of(
            Seen(
                status=status,
                reason=self._reason,
                waiting="" if connected else self._link.problem,
                closed=connected and self._open_ns is None,
                market=self._market,
                client_id=self._client_id,
                book=book,
                notices=self._notices,
                left_out=self._left_out,
                degraded_since=self._degraded_since,
                refreshed_at=self._refreshed_at,
                ticks=self._ticks,
                files=self._files,
            )
        )


class _OrderAll:
    """Whether all lines are to be ordered anew, and not more often than flapping farms deserve."""

    def __init__(self) -> None:
        self.wanted = ""
        self._at_once = False
        self._begun_ns = 0
        self._pause_s = 0.0

    def want(self, why: str, *, at_once: bool = False) -> None:
        """Ask for it, in words; ``at_once`` where nothing may be published before."""
        self.wanted = why
        self._at_once |= at_once

    def clear(self) -> None:
        """Forget it: a new connection orders everything anyway."""
        self.wanted, self._at_once = "", False

    def begin(self, now_ns: int) -> bool:
        """Return whether it is to be done now; 5 s after the last time, then 10, up to 60."""
        since_s = (now_ns - self._begun_ns) / 1e9
        if self._begun_ns and since_s < self._pause_s and not self._at_once:
            return False
        calm = not self._begun_ns or since_s >= ORDER_ALL_CALM_S
        self._pause_s = ORDER_ALL_S_MIN if calm else min(ORDER_ALL_S_MAX, self._pause_s * 2)
        self._begun_ns, self.wanted, self._at_once = now_ns, "", False
        return True


async def run(profile: Profile, record: Path | None = None) -> None:
    """Run the stream daemon of one profile until SIGTERM or SIGINT; ``record`` all it publishes.

    Raises: LockHeldError when it is already running; ConfigError for a bad universe or a wrong
    account; BadInputError when there can be no such recording.
    """
    from ibloop.adapters.ib.market import IbMarketData  # noqa: PLC0415  # why: 0.35 s of imports

    config, clock = profile.config, SystemClock()
    gateway, mode, account = config.gateway, config.mode, config.account
    client_id = gateway.client_ids.stream
    market = IbMarketData(
        gateway.host,
        gateway.port,
        client_id,
        account,
        clock,
        fast_receive=config.stream.fast_receive,
    )
    universe = load_universe(profile).instruments
    wanted = WantedSet(profile.ledger_path, universe)
    answers = Answers(
        partial(open_ledger, profile.ledger_path, mode=mode, account=account), universe, clock
    )
    recorder = Recorder(record) if record else None
    runner = IBStreamRunner(
        profile.stream_dir,
        clock,
        client_id,
        market,
        wanted,
        is_open=_sessions(config.session.calendar),
        lines_max=config.stream.lines_max,
        silence_s=config.stream.silence_s,
        recorder=recorder,
    )

    def step() -> bool:
        more = runner.step()
        answers.step(waiting=wanted.requests_waiting)
        return more

    try:
        await run_daemon(
            "stream",
            profile.data_dir,
            step,
            runner.report,
            clock=clock,
            wake=market.wake,
            poll_s=CYCLE_S,
            document="status",
            status_failed=StreamStatus.STOPPED,  # the contract of _status.json knows no "failed"
        )
    finally:
        runner.close()
        if recorder is not None:
            recorder.close()


def _sessions(calendar: str) -> Callable[[datetime], bool]:
    """Return what says whether the market is open; what knows the holidays is 4 MiB of imports."""
    if calendar == "always":
        return lambda _now: True
    from ibloop.adapters.calendar import session_at  # noqa: PLC0415

    return lambda now: session_at(calendar, now) is not None

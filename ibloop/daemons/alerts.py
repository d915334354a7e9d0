"""The alerts daemon: watches the heartbeats of the others, and delivers the outbox to Telegram.

Whoever has a ledger raises its own alerts. Gateway and stream have none, and a daemon that is dead
or hangs raises nothing; so this one watches the heartbeats of all four and raises in their place.
"""

import asyncio
import os
import random
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from ibloop import log
from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import alerts
from ibloop.adapters.ledger.connection import Ledger, LedgerBusyError, open_ledger
from ibloop.adapters.ports import Clock
from ibloop.adapters.streamfiles import iso_utc, read_heartbeat
from ibloop.adapters.telegram import TelegramBot, token_reader
from ibloop.config import Profile
from ibloop.core.invariant import present
from ibloop.core.model import Moment
from ibloop.core.watching import (
    EVENTS,
    WATCHED,
    Beat,
    Change,
    Condition,
    Reading,
    observe,
    told_by,
)
from ibloop.daemons.alert_sender import ACTOR, AlertSender, Courier, ThreadCourier
from ibloop.daemons.loop import Report, run_daemon

POLL_S = 0.25
WATCH_S = 1.0
LAST_ANSWER_S = 1.5
"""How long the end waits for a reply: a message that did arrive is then not sent again."""
DEAD_SHOWN = timedelta(hours=24)

_log = log.get(__name__)


class HeartbeatWatch:
    """Reads the heartbeats of the others once a second and raises what people must know.

    What was told last is read back from the outbox, so that a restart neither repeats it nor
    forgets to say that all is well again.
    """

    def __init__(self, stream_dir: Path, ledger: Ledger, clock: Clock, age_s_max: float) -> None:
        """Take the ports; heartbeats older than ``age_s_max`` seconds are silence."""
        self._stream_dir = stream_dir
        self._ledger = ledger
        self._clock = clock
        self._age_s_max = age_s_max
        self._looked: Moment | None = None
        self._readings = _told_before(ledger, clock.now())

    def step(self) -> tuple[Change, ...]:
        """Look when a second has passed; raise all that has changed in one transaction."""
        now = self._clock.now()
        if self._looked is not None and now.age_s(self._looked) < WATCH_S:
            return ()
        self._looked = now
        beats = {watched.name: self._beat(watched.document) for watched in WATCHED}
        readings, changes = observe(beats, self._readings, now, self._age_s_max)
        if changes:
            self._raise(changes, now)
        self._readings = readings  # only now: what could not be written is found again
        return changes

    def _beat(self, document: str) -> Beat | None:
        found = read_heartbeat(self._stream_dir, document)
        return None if found is None else Beat(found.status, found.stamp, found.detail)

    def _raise(self, changes: tuple[Change, ...], now: Moment) -> None:
        with self._ledger.transaction() as tx:
            for c in changes:
                alerts.raise_alert(
                    tx, c.severity, c.event, c.subject, c.text, c.dedup_key, now.utc, ACTOR
                )
        for change in changes:
            _log.warning("daemon.changed", change=change.event, text=change.text)


def _told_before(ledger: Ledger, now: Moment) -> dict[str, Reading]:
    """Return readings that know nothing but what people were told last."""
    readings = {}
    for watched in WATCHED:
        names = [f"{watched.name}.{word}" for word in EVENTS]
        event = alerts.last_event(ledger.db, names)
        told = Condition.WELL if event is None else told_by(event)
        readings[watched.name] = Reading(Condition.ABSENT, now, told)
    return readings


class AlertsProcess:
    """Everything the alerts daemon is made of. The ledger is opened by the first step."""

    def __init__(self, profile: Profile, courier: Courier | None, clock: Clock, seed: int) -> None:
        """Take the ports; without a ``courier`` the alerts stay in the outbox."""
        self._profile = profile
        self._courier = courier
        self._clock = clock
        self._seed = seed
        self._ledger: Ledger | None = None
        self._watch: HeartbeatWatch | None = None
        self._sender: AlertSender | None = None
        self._busy = ""

    def step(self) -> bool:
        """Watch, then deliver; a ledger that is busy is asked again by the next step."""
        self._busy = ""
        try:
            if self._ledger is None:
                self._start()
            present(self._watch, "watch").step()
            if self._sender is not None:
                self._sender.step()
        except LedgerBusyError as error:
            self._busy = str(error)
        return False

    def report(self) -> Report:
        """Return ``ready``, ``degraded`` or ``unconfigured``, and how far delivery is behind."""
        if self._ledger is None:
            return Report("degraded" if self._busy else "starting", self._busy)
        now = self._clock.now().utc
        backlog = alerts.backlog(self._ledger.db, now - DEAD_SHOWN)
        last = self._sender.last_delivered_at if self._sender else None
        age_s = None
        if backlog.oldest_at is not None:
            age_s = max(0.0, round((now - backlog.oldest_at).total_seconds(), 1))
        fields = {
            "undelivered": backlog.undelivered,
            "oldest_age_s": age_s,
            "last_delivered_at": iso_utc(last) if last else None,
        }
        status, detail = self._status(backlog)
        return Report(status, detail, fields)

    def close(self) -> None:
        """Wait a moment for the reply under way, note it, and close the ledger."""
        if self._sender is not None:
            with suppress(LedgerBusyError):  # then the next start repeats the message
                self._sender.finish(LAST_ANSWER_S)
        if self._ledger is not None:
            self._ledger.close()

    def _start(self) -> None:
        profile, config = self._profile, self._profile.config
        ledger = open_ledger(profile.ledger_path, mode=config.mode, account=config.account)
        age_s_max = config.guard.heartbeat_age_s_max
        self._watch = HeartbeatWatch(profile.stream_dir, ledger, self._clock, age_s_max)
        if self._courier is not None:
            self._sender = AlertSender(
                ledger, self._courier, self._clock, self._seed, origin(profile)
            )
        self._ledger = ledger

    def _status(self, backlog: alerts.Backlog) -> tuple[str, str]:
        if self._busy:
            return "degraded", self._busy
        if self._sender is None:
            return "unconfigured", UNCONFIGURED
        if self._sender.trouble:
            return "degraded", self._sender.trouble
        if backlog.last_dead is not None:
            dead = backlog.last_dead
            why = f"alert {dead.alert_id} was refused for good: {dead.last_error}"
            return "degraded", f"{why}; once read: `ibloop alerts ack {dead.alert_id}`"
        return "ready", f"{backlog.undelivered} wait" if backlog.undelivered else "nothing waits"


UNCONFIGURED = (
    "Telegram is not configured, alerts stay in the outbox: set telegram.chat_id and "
    "telegram.token_file (`ibloop alerts list` shows them)"
)


def origin(profile: Profile) -> str:
    """Return how people recognise a profile in a message; the account by its last digits."""
    config = profile.config
    return f"{profile.name} ({config.mode} ...{config.account[-3:]})"


def bot_of(profile: Profile) -> TelegramBot | None:
    """Return the bot that a profile configures; ``None`` without a chat or a token.

    Raises: ConfigError when the token's file is missing, unreadable, open to others or no token.
    """
    telegram = profile.config.telegram
    token_file = profile.resolve(telegram.token_file) if telegram.token_file else None
    reader = token_reader(token_file, os.environ)
    if telegram.chat_id is None or reader is None:
        return None
    reader()
    return TelegramBot(telegram.api_base, telegram.chat_id, reader)


async def run(profile: Profile) -> None:
    """Run the alerts daemon of one profile until SIGTERM or SIGINT.

    Raises: LockHeldError when it is already running; ConfigError, LedgerError.
    """
    clock, wake, loop = SystemClock(), asyncio.Event(), asyncio.get_running_loop()

    def replied() -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(wake.set)

    bot = bot_of(profile)
    if bot is None:
        _log.warning("telegram.unconfigured", advice=UNCONFIGURED)
    courier = None if bot is None else ThreadCourier(bot, replied)
    process = AlertsProcess(profile, courier, clock, random.getrandbits(32))
    try:
        await run_daemon(
            "alerts",
            profile.data_dir,
            process.step,
            process.report,
            clock=clock,
            wake=wake,
            poll_s=POLL_S,
        )
    finally:
        process.close()

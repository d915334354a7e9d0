"""The outbox on its way: one message at a time, in order, at least once.

An alert is marked delivered after Telegram has answered, never before: a crash between the two
repeats one message, which its number in the last line shows. How long to wait is written into the
row of the head of the queue, so a restart neither forgets a ban nor hammers a dead network. What a
person acknowledges before it has left is not sent any more; what came of an attempt that was under
way is noted as ever.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ibloop import log
from ibloop.adapters.ledger import alerts
from ibloop.adapters.ledger.connection import Ledger
from ibloop.adapters.ports import Clock
from ibloop.core.alerting import AlertState, Message, Part, next_message
from ibloop.core.delivery import INTERVAL_S, Outcome, Reply, backoff_s, must_die
from ibloop.core.invariant import present
from ibloop.core.model import Moment

ACTOR = "alerts"
HEAD_ROWS_MAX = 1000
REFUSALS = frozenset({Outcome.BAD_MESSAGE, Outcome.UNFORMATTED})
RESUMED_PAUSE_S_MAX = 3600.0
"""After a restart the pause is known by the wall clock only, which may have been set back."""

_log = log.get(__name__)


class Bot(Protocol):
    """Sends one message (``TelegramBot``); may take half a minute."""

    def send(self, text: str, *, as_html: bool, silent: bool) -> Reply:
        """Send and return what came of it."""
        ...


class Courier(Protocol):
    """Sends one message in the background; :meth:`begin` returns at once."""

    def begin(self, part: Part, *, as_html: bool, silent: bool) -> None:
        """Begin to send. Not before the reply to the last one has been taken."""
        ...

    def take(self) -> Reply | None:
        """Return the reply and forget it; ``None`` while there is none yet."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Wait until the message under way has its reply, at most so long."""
        ...


class ThreadCourier:
    """A thread a message: the loop goes on beating while a server takes its time.

    The threads are daemonic: a process that must end does not wait for a silent server.
    """

    def __init__(self, bot: Bot, wake: Callable[[], None]) -> None:
        """Take what sends, and what to call (from the thread) when a reply is there."""
        self._bot = bot
        self._wake = wake
        self._replies: list[Reply] = []
        self._thread: threading.Thread | None = None

    def begin(self, part: Part, *, as_html: bool, silent: bool) -> None:
        """Begin to send in a thread of its own."""
        text = part.html if as_html else part.plain

        def work() -> None:
            self._replies.append(self._bot.send(text, as_html=as_html, silent=silent))
            self._wake()

        self._thread = threading.Thread(target=work, name="telegram", daemon=True)
        self._thread.start()

    def take(self) -> Reply | None:
        """Return the reply and forget it; ``None`` while there is none yet."""
        is_over = self._thread is not None and not self._thread.is_alive()
        if self._replies:
            return self._replies.pop()
        if is_over:  # a bug in what sends: rather tried again than waited for
            return Reply(Outcome.UNREACHABLE, "the attempt ended without a reply")
        return None

    def wait(self, timeout_s: float) -> None:
        """Wait until the message under way has its reply, at most so long."""
        if self._thread is not None:
            self._thread.join(timeout_s)


@dataclass(frozen=True, slots=True)
class _Sending:
    """A message on its way: which part of it is next, and in which of the two forms."""

    message: Message
    index: int = 0
    as_html: bool = True

    @property
    def part(self) -> Part:
        return self.message.parts[self.index]

    @property
    def is_last(self) -> bool:
        return self.index + 1 == len(self.message.parts)


class AlertSender:
    """Drains the outbox of one ledger through one courier; :meth:`step` again and again."""

    def __init__(
        self, ledger: Ledger, courier: Courier, clock: Clock, seed: int, origin: str
    ) -> None:
        """Take the ports; ``origin`` is how people recognise this profile in a message."""
        self._ledger = ledger
        self._courier = courier
        self._clock = clock
        self._seed = seed
        self._origin = origin
        self._sending: _Sending | None = None
        self._is_under_way = False
        self._reply: Reply | None = None
        self._failures = 0
        self._dead_in_a_row = 0
        self._single_until = 0
        self._not_before_ns = clock.now().boottime_ns + self._left_of_pause_ns()
        self.trouble = ""
        """What a person should know, in words; empty while deliveries succeed."""
        self.last_delivered_at = alerts.last_delivered_at(ledger.db)

    def step(self) -> None:
        """Take in a reply, begin what is due.

        Raises: LedgerBusyError; the reply is kept then and taken in by the next step.
        """
        self._take_reply()
        if not self._is_under_way and self._clock.now().boottime_ns >= self._not_before_ns:
            self._begin()

    def finish(self, timeout_s: float) -> None:
        """Wait for the reply under way, at most so long, and take it in; begin nothing.

        Raises: LedgerBusyError.
        """
        if self._is_under_way and self._reply is None:
            self._courier.wait(timeout_s)
        self._take_reply()

    def _take_reply(self) -> None:
        if not self._is_under_way:
            return
        self._reply = self._reply or self._courier.take()
        if self._reply is not None:
            self._settle(present(self._sending, "message"), self._reply)
            self._reply, self._is_under_way = None, False

    def _begin(self) -> None:
        """Send the next part: of the message on its way, else of the head of the queue."""
        if self._sending is not None and not self._still_waits(self._sending.message):
            self._sending = None
        if self._sending is None:
            waiting = alerts.waiting(self._ledger.db, HEAD_ROWS_MAX)
            if not waiting:
                return
            is_single = waiting[0].alert_id <= self._single_until
            choose = waiting[:1] if is_single else waiting
            self._sending = _Sending(next_message(choose, self._origin))
        sending, silent = self._sending, self._sending.message.silent
        self._courier.begin(sending.part, as_html=sending.as_html, silent=silent)
        self._is_under_way = True

    def _still_waits(self, message: Message) -> bool:
        """Return whether nobody has acknowledged any alert of a message meanwhile."""
        told = alerts.named(self._ledger.db, message.alert_ids).values()
        return all(alert.state is AlertState.WAITING for alert in told)

    def _settle(self, sending: _Sending, reply: Reply) -> None:
        """Write down what came of it, then decide what is next and when."""
        now, pause_s = self._clock.now(), INTERVAL_S
        if reply.outcome is Outcome.DELIVERED:
            self._delivered(sending, reply, now)
        elif reply.outcome is Outcome.UNFORMATTED and sending.as_html:
            _log.warning("alert.sent_plain", alert_ids=_told(sending), error=reply.detail)
            self._sending = _Sending(sending.message, sending.index, as_html=False)
        elif reply.outcome in REFUSALS and len(sending.message.alert_ids) > 1:
            # One of them is to blame: one by one it will turn out which.
            self._sending, self._single_until = None, sending.message.alert_ids[-1]
        elif self._is_dead(sending, reply):
            self._died(sending, reply, now.utc)
        else:
            pause_s = max(INTERVAL_S, self._failed(sending, reply, now.utc))
        # From the answer on: two messages are a second apart at Telegram's end too.
        self._not_before_ns = now.boottime_ns + int(pause_s * 1e9)

    def _delivered(self, sending: _Sending, reply: Reply, now: Moment) -> None:
        if sending.is_last:
            with self._ledger.transaction() as tx:
                alerts.mark_delivered(tx, sending.message.alert_ids, now.utc, ACTOR)
            self._sending, self.last_delivered_at = None, now.utc
            self._dead_in_a_row = 0
            _log.info("alert.delivered", alert_ids=_told(sending), message_id=reply.message_id)
        else:
            self._sending = _Sending(sending.message, sending.index + 1)
        self._failures, self.trouble = 0, ""

    def _is_dead(self, sending: _Sending, reply: Reply) -> bool:
        if reply.outcome not in REFUSALS:
            return False
        (alert_id,) = sending.message.alert_ids  # a digest is taken apart before
        alert = alerts.named(self._ledger.db, [alert_id])[alert_id]
        return must_die(alert.attempts + 1, self._dead_in_a_row)

    def _died(self, sending: _Sending, reply: Reply, now: datetime) -> None:
        with self._ledger.transaction() as tx:
            alerts.mark_dead(tx, sending.message.alert_ids, reply.detail, now, ACTOR)
        self._sending, self.trouble = None, ""
        self._dead_in_a_row += 1
        _log.error("alert.died", alert_ids=_told(sending), error=reply.detail)

    def _failed(self, sending: _Sending, reply: Reply, now: datetime) -> float:
        """Note the failure; return the seconds to wait: Telegram's own number, else ours."""
        failures = self._failures + 1
        pause_s = backoff_s(failures, self._seed)
        if reply.outcome is Outcome.SLOW_DOWN and reply.retry_after_s is not None:
            failures, pause_s = self._failures, reply.retry_after_s
        due = now + timedelta(seconds=pause_s)
        with self._ledger.transaction() as tx:
            alerts.mark_failed(tx, sending.message.alert_ids, reply.detail, due, now)
        self._failures, self.trouble = failures, reply.detail
        _log.warning(
            "alert.delivery_failed",
            alert_ids=_told(sending),
            outcome=reply.outcome,
            error=reply.detail,
            retry_s=round(pause_s, 1),
        )
        return pause_s

    def _left_of_pause_ns(self) -> int:
        """Return how long the head of the queue must still wait, from before a restart."""
        head = alerts.waiting(self._ledger.db, 1)
        if not head or not head[0].attempts or head[0].next_try_at is None:
            return 0
        left_s = (head[0].next_try_at - self._clock.now().utc).total_seconds()
        return int(min(max(left_s, 0.0), RESUMED_PAUSE_S_MAX) * 1e9)


def _told(sending: _Sending) -> str:
    """Return which alerts a message tells of, for the journal: ``17`` or ``17-40``."""
    ids = sending.message.alert_ids
    return str(ids[0]) if len(ids) == 1 else f"{ids[0]}-{ids[-1]}"

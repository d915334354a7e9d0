"""Alerts, pure: what they are, how they read on a telephone, and which of them go together.

A message is made of the oldest alert that waits, or of a burst of small ones. Its text is HTML as
the Bot API understands it, escaped and cut into parts that Telegram accepts; each part exists as
plain text too, for the day when Telegram finds fault with the HTML.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from html import escape
from itertools import takewhile

TEXT_LENGTH_MAX = 4096
"""Bot API, sendMessage: "1-4096 characters after entities parsing". Counted here before the
parsing and in UTF-16 units, which is never less."""
PARTS_MAX = 5
DIGEST_ABOVE = 10
DIGEST_LINE_MAX = 160
EVENT_LENGTH_MAX = 100
DIGEST_REST_MAX = 300
CUT_NOTE = "\n[cut: `ibloop alerts list --json` has all of it]"
HIDDEN = "[hidden]"
SECRET_LENGTH_MIN = 6
"""Shorter pieces of a token are common words rather than secrets; real ones have 35 letters."""

# A token is digits, a colon and 35 letters (core.telegram.org/bots/api#authorizing-your-bot). In an
# address "bot" stands before it, and then its length does not matter.
_TOKEN = re.compile(r"bot\d+(?::|%3[Aa])[\w-]+|\b\d{6,}(?::|%3[Aa])[\w-]{30,}", re.ASCII)


class Severity(StrEnum):
    """How much an alert matters; ``critical`` means that a person must act."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """Where an alert is on its way to a person.

    ``dead`` ones were refused by Telegram for good; of an ``acknowledged`` one a person has said
    that they have read it, whatever became of its delivery.
    """

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True, slots=True)
class Alert:
    """A row of the outbox.

    ``delivered_at``, ``dead_at`` and ``acknowledged_at`` are all ``None`` while it waits.
    """

    alert_id: int
    created_at: datetime
    severity: Severity
    event: str
    subject: str
    text: str
    dedup_key: str | None
    attempts: int
    next_try_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None
    dead_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None

    @property
    def state(self) -> AlertState:
        """Return where it is on its way."""
        if self.acknowledged_at is not None:
            return AlertState.ACKNOWLEDGED
        if self.delivered_at is not None:
            return AlertState.DELIVERED
        return AlertState.WAITING if self.dead_at is None else AlertState.DEAD


@dataclass(frozen=True, slots=True)
class Part:
    """One message as Telegram takes it: as HTML, and the same as plain text."""

    html: str
    plain: str


@dataclass(frozen=True, slots=True)
class Message:
    """What goes out together: the alerts it tells of, its parts, and whether it makes a sound."""

    alert_ids: tuple[int, ...]
    parts: tuple[Part, ...]
    silent: bool


def redact(text: str, token: str = "") -> str:
    """Return ``text`` without any bot token: ``token`` itself, and whatever looks like one."""
    if token:
        secret = token.partition(":")[2]
        for word in (token, token.replace(":", "%3A"), secret):
            text = text.replace(word, HIDDEN) if len(word) >= SECRET_LENGTH_MIN else text
    return _TOKEN.sub(HIDDEN, text)


def next_message(waiting: Sequence[Alert], origin: str) -> Message:
    """Return the message for the head of the queue.

    Args: ``waiting`` oldest first, not empty; ``origin`` says whose alerts these are. While more
    than ten infos wait, those before the next warning go together as one digest: order is kept.
    """
    infos = sum(alert.severity is Severity.INFO for alert in waiting)
    burst = tuple(takewhile(lambda alert: alert.severity is Severity.INFO, waiting))
    if infos > DIGEST_ABOVE and len(burst) > 1:
        return digest(burst, origin)
    return compose(waiting[0], origin)


def compose(alert: Alert, origin: str) -> Message:
    """Return one alert as a message: severity and event, the text, whose and when."""
    event = _clean(alert.event)[:EVENT_LENGTH_MAX]
    stamp = f"{alert.created_at:%Y-%m-%d %H:%M:%S} UTC"
    foot = f"{origin}, {stamp}, alert {alert.alert_id}"
    parts = _parts(alert.severity.upper(), event, _clean(alert.text), foot)
    return Message((alert.alert_id,), parts, alert.severity is Severity.INFO)


def digest(alerts: Sequence[Alert], origin: str) -> Message:
    """Return many infos as one message: a line each while there is room, the rest counted."""
    first, last = alerts[0], alerts[-1]
    head = f"{len(alerts)} ALERTS"
    stamps = f"{first.created_at:%Y-%m-%d %H:%M:%S} to {last.created_at:%H:%M:%S} UTC"
    foot = f"{origin}, {stamps}, alerts {first.alert_id} to {last.alert_id}"
    room = _room(head, "", foot) - DIGEST_REST_MAX
    lines: list[str] = []
    for alert in alerts:
        line = _digest_line(alert)
        room -= units(escape(line)) + 1
        if room < 0:
            lines.append(_rest(alerts[len(lines) :]))
            break
        lines.append(line)
    part = _part(head, "", "\n".join(lines), foot)
    return Message(tuple(alert.alert_id for alert in alerts), (part,), silent=True)


def units(text: str) -> int:
    """Return a text's length as Telegram counts it: in UTF-16 code units."""
    return len(text) + sum(char > "\uffff" for char in text)


def split(text: str, room: int) -> list[str]:
    """Return ``text`` in pieces that are at most ``room`` units long once they are escaped.

    Cut after the last blank or line end of a piece if there is one in its second half, else
    anywhere: never inside an escaped character. Nothing is lost or added.
    """
    pieces: list[str] = []
    start, used, gap = 0, 0, 0
    for index, char in enumerate(text):
        cost = units(escape(char))
        if used + cost > room:
            end = gap if gap - start > (index - start) // 2 else index
            pieces.append(text[start:end])
            start, used = end, units(escape(text[end:index]))
        used += cost
        if char in " \n":
            gap = index + 1
    pieces.append(text[start:])
    return pieces


def _parts(severity: str, event: str, body: str, foot: str) -> tuple[Part, ...]:
    room = _room(severity, f"{event} (9/9)", foot)
    pieces = split(body, room)
    if len(pieces) > PARTS_MAX:
        shorter = split(pieces[PARTS_MAX - 1], room - units(escape(CUT_NOTE)))
        pieces[PARTS_MAX - 1 :] = [shorter[0] + CUT_NOTE]
    count = len(pieces)
    titles = [f"{event} ({n}/{count})" if count > 1 else event for n in range(1, count + 1)]
    found = zip(titles, pieces, strict=True)
    return tuple(_part(severity, title, piece, foot) for title, piece in found)


def _part(head: str, event: str, body: str, foot: str) -> Part:
    title = f"<b>{escape(head)}</b> {escape(event)}".rstrip()
    html = f"{title}\n{escape(body)}\n<i>{escape(foot)}</i>"
    return Part(html, f"{head} {event}".rstrip() + f"\n{body}\n{foot}")


def _room(head: str, event: str, foot: str) -> int:
    """Return how many units are left for the body between this head and foot."""
    return TEXT_LENGTH_MAX - units(_part(head, event, "", foot).html)


def _digest_line(alert: Alert) -> str:
    words = " ".join(_clean(f"{alert.event}: {alert.text}").split())
    cut = words if len(words) <= DIGEST_LINE_MAX else f"{words[: DIGEST_LINE_MAX - 3]}..."
    return f"{alert.created_at:%H:%M:%S} {cut}"


def _rest(alerts: Sequence[Alert]) -> str:
    """Return how many more alerts there are, of the five commonest kinds."""
    kinds = Counter(_clean(alert.event)[:EVENT_LENGTH_MAX] for alert in alerts).most_common(5)
    counts = ", ".join(f"{event} {count}" for event, count in kinds)
    return split(f"... and {len(alerts)} more ({counts})", DIGEST_REST_MAX)[0]


def _clean(text: str) -> str:
    """Return ``text`` without what no message may hold: control characters, halves of pairs."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() or char == "\n" else " " for char in whole).strip()

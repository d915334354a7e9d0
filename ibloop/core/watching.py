"""Who has gone silent, and who is back: pure, from one reading of the heartbeats to the next.

A daemon that is dead cannot raise its own alert, and gateway and stream have no ledger; whoever
delivers the alerts therefore watches the heartbeats of the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ibloop.core.alerting import Severity
from ibloop.core.gates import Pulse, silence
from ibloop.core.model import Moment


class Condition(StrEnum):
    """How a daemon is, as far as people want to be told."""

    ABSENT = "absent"  # it never ran here
    WELL = "well"
    DEGRADED = "degraded"
    LOST = "lost"
    STOPPED = "stopped"  # somebody stopped it in order


QUIET_S = {
    Condition.WELL: 0.0,
    Condition.DEGRADED: 0.0,  # the stream itself waits before it says so
    Condition.LOST: 10.0,
    Condition.STOPPED: 10.0,
}
"""How long a condition must last before it is told: a restart by systemd takes less than 10 s."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One daemon: the heartbeat it writes, and which of its words mean what.

    A word that is in neither set is ``lost``; with ``well`` empty every word but ``failed`` is
    well, and only silence counts: executor and guard tell of their own troubles.
    """

    name: str
    document: str
    severity: Severity
    well: frozenset[str] = frozenset()
    degraded: frozenset[str] = frozenset()


WATCHED = (
    Watched("gateway", "gateway", Severity.WARNING, frozenset({"connected"})),
    Watched(
        *("stream", "status", Severity.WARNING),
        well=frozenset({"connected"}),
        degraded=frozenset({"degraded"}),
    ),
    Watched("executor", "executor", Severity.CRITICAL),
    Watched("guard", "guard", Severity.CRITICAL),
)


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat as it was read: the daemon's own word, when, and its detail."""

    status: str
    stamp: Moment
    detail: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How a daemon is and since which reading; ``told`` is the last condition people know of."""

    condition: Condition
    since: Moment
    told: Condition = Condition.WELL


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be told: an alert without its row; the key is that of this one occurrence."""

    severity: Severity
    event: str
    subject: str
    text: str
    dedup_key: str


EVENTS: dict[str, Condition] = {
    "lost": Condition.LOST,
    "stopped": Condition.STOPPED,
    "degraded": Condition.DEGRADED,
    "back": Condition.WELL,
    "recovered": Condition.WELL,
}
"""The second words of the events, and the condition that each has told of."""


def told_by(event: str) -> Condition:
    """Return the condition that an event such as ``gateway.lost`` has told of."""
    return EVENTS[event.rpartition(".")[2]]


def observe(
    beats: Mapping[str, Beat | None],
    before: Mapping[str, Reading],
    now: Moment,
    age_s_max: float,
) -> tuple[dict[str, Reading], tuple[Change, ...]]:
    """Return the readings after one look at all heartbeats, and what is to be told now.

    Args: the heartbeats by daemon, ``None`` where there is none; the readings of the look before
    (empty at first); the age in seconds from which on a heartbeat is silence.
    """
    readings: dict[str, Reading] = {}
    changes: list[Change] = []
    for watched in WATCHED:
        last = before.get(watched.name, Reading(Condition.ABSENT, now))
        beat = beats.get(watched.name)
        condition, why = _condition(watched, beat, last, now, age_s_max)
        since = last.since if condition is last.condition else now
        is_news = condition not in {last.told, Condition.ABSENT}
        told = last.told
        if is_news and now.age_s(since) >= QUIET_S[condition]:
            changes.append(_change(watched, condition, last.told, why, since))
            told = condition
        readings[watched.name] = Reading(condition, since, told)
    return readings, tuple(changes)


def _condition(
    watched: Watched, beat: Beat | None, last: Reading, now: Moment, age_s_max: float
) -> tuple[Condition, str]:
    """Return how a daemon is now, and why that is so in words."""
    if beat is None:
        if last.condition is Condition.ABSENT:
            return Condition.ABSENT, ""
        return Condition.LOST, "it has no heartbeat any more"
    said = f"it says {beat.status}: {beat.detail}" if beat.detail else f"it says {beat.status}"
    if beat.status == "failed" or (beat.status == "stopped" and beat.detail):
        return Condition.LOST, said
    if beat.status == "stopped":
        return Condition.STOPPED, "it was stopped in order"
    silent = silence(Pulse(beat.status, beat.stamp), now, age_s_max, healthy=beat.status)
    if silent is not None:
        return Condition.LOST, silent
    if not watched.well or beat.status in watched.well:
        return Condition.WELL, said
    return (Condition.DEGRADED if beat.status in watched.degraded else Condition.LOST), said


def _change(
    watched: Watched, condition: Condition, told: Condition, why: str, since: Moment
) -> Change:
    word: str = condition.value
    severity = Severity.INFO
    if condition is Condition.WELL:
        word = "recovered" if told is Condition.DEGRADED else "back"
    elif condition is Condition.LOST:
        severity = watched.severity
    elif condition is Condition.DEGRADED:
        severity = Severity.WARNING
    event = f"{watched.name}.{word}"
    key = f"{event}:{since.utc.isoformat(timespec='milliseconds')}"
    return Change(severity, event, watched.name, f"{watched.name} {word}: {why}", key)

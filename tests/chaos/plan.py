"""What happens to the daemons in one round: decided by its seed alone, before anything starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

VICTIMS = ("executor", "executor", "executor", "stream", "guard")
"""Whom it strikes: the one that sends orders most often."""
ACTS = 8
CHAOS_S = 12.0
SILENT_S = 3.5
"""Longer than the acknowledgement timeout of a round."""
ON_SEND = 0.6
"""Chance that an act waits for the next order: what is torn there hurts most."""


class Kind(StrEnum):
    """What can happen."""

    KILL = "kill"
    STOP = "stop"
    FAULT = "fault"
    HALT = "halt"


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that happens, ``at_s`` after the first run was queued.

    ``seconds`` is how long a killed daemon stays dead, a stopped one stopped, the account halted;
    ``target`` the daemon or fault. With ``on_send`` it happens when the next order is journalled.
    """

    at_s: float
    kind: Kind
    target: str
    seconds: float = 0.0
    parameters: Mapping[str, object] = field(default_factory=dict)
    on_send: bool = False

    def __str__(self) -> str:
        """Return the act as a line of a story."""
        more = ", ".join(f"{key} {value}" for key, value in self.parameters.items())
        lasts = f" for {self.seconds:.2f} s" if self.seconds else ""
        return f"{self.kind} {self.target}{lasts}{f' ({more})' if more else ''}"


def draw(seed: int, client_id: int) -> tuple[Act, ...]:
    """Return the acts of a round, in the order of their times.

    The first leaves an order without an answer: a round without such an order shows little.
    Args: ``client_id`` is the executor's, whom half of the faults strike alone.
    """
    chance = Random(f"chaos {seed}")
    times = sorted(chance.uniform(0, CHAOS_S - 2) for _ in range(ACTS))
    silent = chance.choice(("place_swallowed", "ack_dropped", "ack_late"))
    parameters: dict[str, object] = {"every_n": chance.randint(1, 6)}
    if silent == "ack_late":
        parameters["delay_s"] = round(chance.uniform(SILENT_S, 2 * SILENT_S), 2)
    first = Act(0.0, Kind.FAULT, silent, parameters=parameters)
    return (first, *(_act(chance, at_s, client_id) for at_s in times))


def _act(chance: Random, at_s: float, client_id: int) -> Act:
    kind = chance.choices(
        (Kind.KILL, Kind.STOP, Kind.FAULT, Kind.HALT), weights=(6, 4, 10, 1), k=1
    )[0]
    on_send = chance.random() < ON_SEND
    if kind is Kind.KILL:
        return Act(at_s, kind, chance.choice(VICTIMS), chance.uniform(0.1, 1.5), on_send=on_send)
    if kind is Kind.STOP:
        return Act(at_s, kind, chance.choice(VICTIMS), chance.uniform(0.2, 5.0), on_send=on_send)
    if kind is Kind.HALT:
        return Act(at_s, kind, "account", chance.uniform(0.5, 3.0), on_send=on_send)
    name = chance.choice(tuple(FAULTS))
    parameters = FAULTS[name](chance, client_id)
    return Act(at_s, kind, name, parameters=parameters, on_send=on_send)


def _whom(chance: Random, client_id: int) -> dict[str, object]:
    return {"client_id": client_id} if chance.random() < 0.5 else {}


FAULTS: dict[str, Callable[[Random, int], dict[str, object]]] = {
    "socket_reset": lambda chance, client_id: {
        **_whom(chance, client_id),
        "after_place": chance.random() < 0.6,
    },
    "freeze": lambda chance, client_id: {
        **_whom(chance, client_id),
        "seconds": round(chance.uniform(0.5, 5.0), 2),
    },
    "place_swallowed": lambda chance, _: {"times": chance.randint(1, 2)},
    "ack_dropped": lambda chance, _: {"times": chance.randint(1, 3)},
    "ack_late": lambda chance, _: {
        "times": chance.randint(1, 4),
        "delay_s": round(chance.uniform(0.5, 6.0), 2),
    },
    "callbacks_duplicated": lambda chance, _: {"copies": chance.randint(2, 4)},
    "callbacks_reordered": lambda chance, _: {"spread_s": round(chance.uniform(0.1, 2.0), 2)},
    "partial_fills": lambda chance, _: {
        "shares": chance.choice((7, 20, 60)),
        "interval_s": round(chance.uniform(0.05, 0.5), 2),
    },
    "commission_late": lambda chance, _: {"delay_s": round(chance.uniform(0.5, 8.0), 2)},
}

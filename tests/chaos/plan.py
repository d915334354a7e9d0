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


GATEWAY, SIMULATOR = "gateway", "simulator"
"""The daemon, and the process that stands for IB's gateway: its child, which it restarts."""
CANCELS, GATEWAY_STRUCK = 0.5, 0.5
"""Of the rounds: those in which working orders are cancelled, and the gateway itself suffers."""
HARMLESS_CODES = (399, 2109, 10311)
"""Of errors about an order that lives on: warnings that refuse nothing."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that happens, ``at_s`` after the first run was queued, at 0 just before.

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
    What is decided by streams of chance of its own leaves the rest of a round as it was.
    Args: ``client_id`` is the executor's, whom half of the faults strike alone.
    """
    chance = Random(f"chaos {seed}")
    times = sorted(chance.uniform(0, CHAOS_S - 2) for _ in range(ACTS))
    silent = chance.choice(("place_swallowed", "ack_dropped", "ack_late"))
    parameters: dict[str, object] = {"every_n": chance.randint(1, 6)}
    if silent == "ack_late":
        parameters["delay_s"] = round(chance.uniform(SILENT_S, 2 * SILENT_S), 2)
    first = Act(0.0, Kind.FAULT, silent, parameters=parameters)
    acts = [_act(chance, at_s, client_id) for at_s in times]
    acts += (*_cancels(Random(f"chaos cancels {seed}")), *_gateway(Random(f"chaos gate {seed}")))
    return (first, *sorted(acts, key=lambda act: act.at_s))


def _cancels(chance: Random) -> tuple[Act, ...]:
    """Return how orders that fill in small parts are cancelled, and what a cancel then meets."""
    if chance.random() >= CANCELS:
        return ()
    slow = {"shares": chance.choice((1, 3)), "interval_s": round(chance.uniform(0.5, 1.0), 2)}
    warning = {"code": chance.choice(HARMLESS_CODES), "times": chance.randint(1, 2)}
    late = {"times": chance.randint(1, 3), "delay_s": round(chance.uniform(0.3, 2.0), 2)}
    kill_s, seconds = chance.uniform(2.0, 6.0), chance.uniform(0.5, 3.0)
    return (
        Act(0.0, Kind.FAULT, "partial_fills", parameters=slow),
        Act(0.0, Kind.FAULT, "error_on_order", parameters=warning),
        Act(0.0, Kind.FAULT, "fill_after_cancel", parameters=late),
        Act(kill_s, Kind.HALT, "account", seconds, {"level": "kill"}, on_send=True),
    )


def _gateway(chance: Random) -> tuple[Act, ...]:
    """Return what becomes of the gateway: killed or stopped, the daemon or IB's own process."""
    if chance.random() >= GATEWAY_STRUCK:
        return ()
    target = chance.choice((GATEWAY, SIMULATOR, SIMULATOR))
    kind = chance.choice((Kind.KILL, Kind.KILL, Kind.STOP))
    seconds = chance.uniform(0.1, 1.5) if kind is Kind.KILL else chance.uniform(0.2, 5.0)
    at_s = chance.uniform(1.0, CHAOS_S - 4)
    return (Act(at_s, kind, target, seconds, on_send=chance.random() < ON_SEND),)


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

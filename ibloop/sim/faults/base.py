"""What a fault is: a dataclass with hooks, found by name in one registry.

Name, parameters, defaults and documentation are read from the class. The gateway asks every
active fault at fixed points (the hooks of `Fault`) and knows no fault by name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any, TypeVar, get_args

from ibloop.sim.brokerage.checks import Refusal
from ibloop.sim.brokerage.events import Event
from ibloop.sim.model import Order, SimError


def parameter(default: Any, doc: str) -> Any:
    """Declare a fault's parameter with its default and what it means."""
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to one client: at `now_s` on the monotonic clock plus `delay_s`."""

    event: Event
    client_id: int
    now_s: float
    delay_s: float = 0.0


@dataclass(kw_only=True, slots=True)
class Fault:
    """A fault that changes nothing: every hook's None or False leaves things as they are.

    A fault sets `over` when it has nothing left to do; the gateway then forgets it.
    """

    over: bool = field(default=False, init=False, repr=False)

    def swallows(self, symbol: str) -> bool | None:
        """Tell whether a placeOrder vanishes after it was received."""

    def refusal(self, symbol: str) -> Refusal | None:
        """Return the rejection a new order gets."""

    def slice(self, order: Order, now: datetime) -> Decimal | None:
        """Return the most shares an order may fill now, None for no limit."""

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Return what becomes of a delivery: nothing, later, more than one; None: as it is."""

    def asked(self, perm_ids: set[int]) -> None:
        """Learn that a client asked for orders and was told of these."""

    def resets(self, client_id: int, *, placed: bool) -> bool | None:
        """Tell whether this connection is reset now; `placed` when an order just came in."""

    def freezes(self, client_id: int | None) -> bool | None:
        """Tell whether this connection is frozen; None is one that has not named itself."""

    def lasts_s(self) -> float | None:
        """Return after how many seconds the fault ends by itself, None for never."""


Registered = TypeVar("Registered", bound=type[Fault])
REGISTRY: dict[str, type[Fault]] = {}


def register(cls: Registered) -> Registered:
    """Enter a fault class under its name in snake_case."""
    REGISTRY[name_of(cls)] = cls
    return cls


def name_of(cls: type[Fault]) -> str:
    """Return a fault's public name."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


def parameters(cls: type[Fault]) -> dict[str, Field[Any]]:
    """Return a fault's parameters by name, the ones of its base first."""
    return {item.name: item for item in fields(cls) if "doc" in item.metadata}


def describe() -> list[dict[str, Any]]:
    """Return name, purpose and parameters of every fault, for people and for JSON."""
    return [
        {
            "name": name,
            "what": " ".join((cls.__doc__ or "").split()),
            "parameters": {
                key: {"default": item.default, "what": item.metadata["doc"]}
                for key, item in parameters(cls).items()
            },
        }
        for name, cls in sorted(REGISTRY.items())
    ]


def settings(fault: Fault) -> dict[str, Any]:
    """Return an active fault's name and parameter values."""
    values = {key: getattr(fault, key) for key in parameters(type(fault))}
    return {"name": name_of(type(fault)), **values}


def build(name: str, values: Mapping[str, Any]) -> Fault:
    """Return a fault with these parameters, values as from JSON.

    Raises: SimError naming the fault or parameter that is wrong.
    """
    cls = REGISTRY.get(name)
    if cls is None:
        raise SimError(f"no fault named {name!r}; known are {', '.join(sorted(REGISTRY))}")
    known = parameters(cls)
    for key, value in values.items():
        if key not in known:
            raise SimError(f"fault {name} has no parameter {key!r}; it has {', '.join(known)}")
        if not _fits(value, _kinds(known[key])):
            kinds = " or ".join(kind.__name__ for kind in _kinds(known[key]))
            raise SimError(f"fault {name}: expected {key} as {kinds} >= 0, was {value!r}")
    return cls(**values)


def parse(text: str) -> Fault:
    """Return the fault of a command line: `NAME` or `NAME:key=value,key=value`.

    Raises: SimError for anything else.
    """
    name, _, rest = text.partition(":")
    cls = REGISTRY.get(name)
    known = parameters(cls) if cls else {}
    values: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise SimError(f"fault {name}: expected key=value, was {part!r}")
        values[key] = _from_text(value, _kinds(known[key])) if key in known else value
    return build(name, values)


def _kinds(item: Field[Any]) -> tuple[type, ...]:
    """Return the types a parameter accepts."""
    kinds = get_args(item.type)
    return kinds or (item.type,)


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    """Tell whether a value has one of the types; numbers must be finite and not negative."""
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int | float) and not 0 <= value < float("inf"):
        return False
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def _from_text(text: str, kinds: tuple[type, ...]) -> Any:
    """Read a value of the command line as its parameter's type; what does not fit stays text."""
    if NoneType in kinds and text.lower() == "none":
        return None
    if bool in kinds and text.lower() in {"true", "false", "1", "0"}:
        return text.lower() in {"true", "1"}
    for kind in kinds:
        if kind in {int, float}:
            try:
                return kind(text)
            except ValueError:
                return text
    return text

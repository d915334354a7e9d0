"""All faults by name: their documentation, and how to build one from JSON or a command line.

Name, parameters, defaults and documentation are read from the classes.
"""

import re
from collections.abc import Mapping
from dataclasses import Field, fields
from difflib import get_close_matches
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from ibloop.sim.faults.base import Fault
from ibloop.sim.model import SimError

Registered = TypeVar("Registered", bound=type[Fault])
REGISTRY: dict[str, type[Fault]] = {}
KIND_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


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
                key: {"default": item.default, "what": _meaning(item)}
                for key, item in parameters(cls).items()
            },
        }
        for name, cls in sorted(REGISTRY.items())
    ]


def markdown_table() -> str:
    """Return all faults as a Markdown table: name, what happens, parameters with defaults."""
    lines = ["| fault | what happens | parameters (default): meaning |", "|---|---|---|"]
    for item in describe():
        known = [
            f"`{key}` ({shown(value['default'])}): {value['what']}"
            for key, value in item["parameters"].items()
        ]
        cells = (f"`{item['name']}`", item["what"], "<br>".join(known) or "none")
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def shown(default: Any) -> str:
    """Return a default as a command line would write it; no text is written as ''."""
    if default is None:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default) or "''"


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
        near = " or ".join(get_close_matches(name, REGISTRY))
        hint = f"did you mean {near}?" if near else "GET /faults lists them, and --list-faults"
        raise SimError(f"no fault named {name!r}; {hint}")
    known = parameters(cls)
    unknown = next((key for key in values if key not in known), None)
    if unknown is not None:
        raise SimError(f"fault {name} has no parameter {unknown!r}; it has {', '.join(known)}")
    fault = cls(**values)
    check(fault)
    return fault


def check(fault: Fault) -> None:
    """Judge a fault's parameters. Raises: SimError naming the first that is wrong."""
    cls = type(fault)
    for key, item in parameters(cls).items():
        value = getattr(fault, key)
        if not _fits(value, item, cls):
            expected = f"expected {key} as {_expected(item, cls)}, was {value!r}"
            raise SimError(f"fault {name_of(cls)}: {expected}")


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
        values[key] = _from_text(value, _kinds(key, cls)) if cls and key in known else value
    return build(name, values)


def _meaning(item: Field[Any]) -> str:
    choices = item.metadata["choices"]
    return f"{item.metadata['doc']}{': ' if choices else ''}{', '.join(choices)}"


def _kinds(key: str, cls: type[Fault]) -> tuple[type, ...]:
    """Return the types a parameter accepts."""
    hint = get_type_hints(cls)[key]
    return get_args(hint) or (hint,)


def _expected(item: Field[Any], cls: type[Fault]) -> str:
    if item.metadata["choices"]:
        return f"one of {', '.join(item.metadata['choices'])}"
    kinds = _kinds(item.name, cls)
    within = f" {item.metadata['within']}" if {int, float} & set(kinds) else ""
    words = " or ".join(KIND_WORDS[kind] for kind in kinds if kind is not NoneType)
    return f"{words}{within}{', or none' if NoneType in kinds else ''}"


def _fits(value: Any, item: Field[Any], cls: type[Fault]) -> bool:
    """Tell whether a value is a choice, or of a type and if a number within its range."""
    kinds, choices = _kinds(item.name, cls), item.metadata["choices"]
    if choices:
        return value in choices
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int | float):
        numeric = float in kinds or (int in kinds and isinstance(value, int))
        return numeric and value in item.metadata["within"]
    return isinstance(value, kinds)


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

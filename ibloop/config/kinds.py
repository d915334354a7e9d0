"""What the value of a key may be, in words: for errors and for the reference."""

import dataclasses
import re
import types
import typing
from decimal import Decimal
from enum import Enum
from typing import Any

_AT = re.compile(r" - at `\$(.*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")
_KINDS = {
    str: "a text in quotes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Decimal: "a number",
}


def without_none(hint: Any) -> Any:
    """Return the type of an optional key without its ``None``."""
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return hint


def choices(hint: Any) -> tuple[str, ...]:
    """Return the words a key may be; empty when it is no choice."""
    hint = without_none(hint)
    if typing.get_origin(hint) is typing.Literal:
        return tuple(map(str, typing.get_args(hint)))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return tuple(str(member.value) for member in hint)
    return ()


def kind_of(hint: Any) -> str:
    """Return what a key may be: its words, ``a number``, ``a list, each a text in quotes``."""
    hint = without_none(hint)
    if words := choices(hint):
        return " or ".join(f'"{word}"' for word in words)
    if dataclasses.is_dataclass(hint):
        return "a table"
    if typing.get_origin(hint) is tuple:
        return f"a list, each {kind_of(typing.get_args(hint)[0])}"
    return _KINDS[hint]


def wrong_value(error: str, raw: dict[str, Any], kind: type) -> str:
    """Return msgspec's complaint about ``raw`` as a sentence: key, what it may be, what it was.

    What a class says of its own values stays as it is. A value under ``[telegram]`` is not shown:
    somebody may have put the token there.
    """
    found = _AT.search(error)
    names = re.findall(r"\w+", re.sub(r"\[.*?\]", "", found[1])) if found else []
    if missing := _MISSING.search(error):
        return f"{'.'.join([*names, missing[1]])} is missing"
    if not error.startswith(("Expected `", "Invalid ")):
        return f"{'.'.join(names)}: {_AT.sub('', error)}"
    hint: Any = kind
    value: Any = raw
    for name in names:
        hint, value = typing.get_type_hints(without_none(hint))[name], value[name]
    was = "" if names[0] == "telegram" else f", was {_shown(value)}"
    return f"{'.'.join(names)} must be {kind_of(hint)}{was}"


def _shown(value: object) -> str:
    """Return a value of a file about as the file spells it."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case dict():
            return "a table"
        case list():
            return f"[{', '.join(map(_shown, value))}]"
    return str(value)

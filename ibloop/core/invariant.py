"""Assertions that stay on: for what can only be a programmer's error."""

from typing import TypeVar

T = TypeVar("T")


class InvariantError(AssertionError):
    """Something that cannot be true is; the process must end rather than guess."""


def invariant(condition: bool, message: str) -> None:
    """Raise :class:`InvariantError` unless ``condition`` holds; ``-O`` does not strip it."""
    if not condition:
        raise InvariantError(message)


def present(value: T | None, what: str) -> T:
    """Return ``value``, which cannot be ``None`` here; raise :class:`InvariantError` if it is."""
    if value is None:
        raise InvariantError(f"{what} is missing")
    return value

"""A verdict is one check with the number it found, the limit, and whether the limit held."""

from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from ibloop.core.risk.table import line_of

Value: TypeAlias = Decimal | float | str | None
"""What was found or is allowed; ``None`` is missing, and a missing value denies."""


class Verdict(NamedTuple):
    """What one check said. ``subject`` tells several of one check apart, such as a sector's name.

    A tuple, because each send makes thirty of them, and a frozen dataclass costs three times that.

    The unit and what a person can do about a refusal stand in :data:`~ibloop.core.risk.CHECKS`.
    """

    check: str
    found: Value
    limit: Value
    passed: bool
    subject: str = ""

    @property
    def code(self) -> str:
        """Return the order's ``reject_code`` for this refusal."""
        return line_of(self.check).code or self.check

    @property
    def advice(self) -> str:
        """Return what to do about a refusal."""
        return line_of(self.check).advice

    def __str__(self) -> str:
        unit = line_of(self.check).unit
        name = f"{self.check} ({self.subject})" if self.subject else self.check
        found, limit = shown(self.found, unit), shown(self.limit, unit)
        return f"{name}: {found}, allowed {limit}; {self.advice}"


def at_most(check: str, found: Decimal | None, limit: Decimal | int, subject: str = "") -> Verdict:
    """Return the verdict of a number against the largest that is allowed.

    What is missing, NaN or infinite is refused.
    """
    passed = found is not None and found.is_finite() and found <= limit
    return Verdict(check, found, limit, passed, subject)


@lru_cache(maxsize=1024)
def multiples_of(step: Decimal) -> str:
    """Return the words for what lots and ticks allow; the same few steps come with every order."""
    return f"whole multiples of {step}"


def breaches(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Return the verdicts that refuse."""
    return tuple(verdict for verdict in verdicts if not verdict.passed)


def because(verdicts: Iterable[Verdict], cause: object) -> tuple[Verdict, ...]:
    """Return the verdicts with ``cause`` told in the first refusal; unchanged for ``None``."""
    said = list(verdicts)
    for number, verdict in enumerate(said):
        if cause is not None and not verdict.passed:
            found = f"{shown(verdict.found, line_of(verdict.check).unit)}: {cause}"
            said[number] = verdict._replace(found=found)
            break
    return tuple(said)


def shown(value: Value, unit: str = "") -> str:
    """Return a value for a person: money in cents, other numbers with up to six places."""
    if value is None:
        return "unknown"
    if isinstance(value, str):
        return value
    return f"{_digits(value, 2 if unit == 'USD' else 6)} {unit}".rstrip()


def _digits(value: Decimal | float, places: int) -> str:
    if isinstance(value, float | int) or not value.is_finite():
        return f"{value:g}" if isinstance(value, float) else str(value)
    if value == value.to_integral_value():
        return f"{value:.0f}"
    text = f"{value:.{places}f}"
    if places == 2:
        return text
    # What is too small for six places must not look like nothing.
    return text.rstrip("0") if Decimal(text) else f"{value:f}"

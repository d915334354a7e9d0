"""How things look: tables, colours and amounts on a terminal, tab-separated text elsewhere."""

import dataclasses
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from rich.table import Table

PLACES_MAX = 4
"""More decimal places than a price has; averages have more, which only a machine reads."""

COLOURS = {
    "green": ("ok", "connected", "ready", "watching", "serving", "done", "filled"),
    "yellow": (
        *("warn", "degraded", "starting", "synchronising", "restarting", "reduce_only"),
        *("partial", "canceled", "expired", "not_sent", "partially_filled", "pending_cancel"),
    ),
    "red": (
        *("BAD", "not running", "silent", "stopped", "failed", "disconnected", "kill"),
        *("blocked", "rejected", "unknown"),
    ),
}
"""The colour of a status word, whoever says it: daemon, guard, run, order or check."""


def is_terminal() -> bool:
    """Return whether a person looks at stdout."""
    return sys.stdout.isatty()


def style(text: str, colour: str) -> str:
    """Return ``text`` coloured for stdout when it is a terminal that wants colour."""
    return click.style(text, fg=colour) if _wants_colour() else text


def coloured(status: object) -> str:
    """Return a status word in the colour of :data:`COLOURS`, uncoloured when it has none."""
    word = str(status)
    return next((style(word, c) for c, words in COLOURS.items() if word in words), word)


def _wants_colour() -> bool:
    """Return whether escapes may be written (https://no-color.org)."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def usd(amount: Decimal | None) -> str:
    """Return an amount of USD for people: to the cent, with thousands separators."""
    return "-" if amount is None else f"{amount:,.2f} USD"


def average(value: Decimal | None) -> Decimal | None:
    """Return an average price for people: with no more places than a price has."""
    if value is None or -int(value.as_tuple().exponent) <= PLACES_MAX:
        return value
    return round(value, PLACES_MAX)


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return labelled lines: aligned on a terminal, ``label TAB text`` elsewhere."""
    found = [(label, text) for label, text in pairs if text]
    if not is_terminal():
        return "\n".join(f"{label}\t{text}" for label, text in found)
    width = max((len(label) for label, _ in found), default=0)
    return "\n".join(f"{label.ljust(width)}  {text}" for label, text in found)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> str:
    """Return rows as a table on a terminal, as tab-separated lines without title elsewhere.

    Cells are plain values or words from :func:`coloured`. On a terminal the numbers of a column
    have the same number of decimal places; elsewhere every digit is kept.
    """
    given = [list(row) for row in rows]
    if not is_terminal():
        lines = [list(columns), *([_cell(value) for value in row] for row in given)]
        return "\n".join("\t".join(line) for line in lines)
    return _drawn(columns, given, title)


def _drawn(columns: Sequence[str], rows: list[list[object]], title: str) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        _add_column(drawn, column, [row[index] for row in rows], is_name=index == 0)
    _add_rows(drawn, rows)
    console = Console(color_system="auto" if _wants_colour() else None, highlight=False)
    with console.capture() as capture:
        console.print(drawn)
    lines = [line.rstrip() for line in capture.get().rstrip("\n").split("\n")]
    heading = [click.style(title, bold=True) if _wants_colour() else title] if title else []
    return "\n".join([*heading, *lines])


def _add_column(drawn: "Table", column: str, values: list[object], *, is_name: bool) -> None:
    numbers = [v for v in values if v is not None]
    is_numeric = bool(numbers) and all(isinstance(v, Decimal | int | float) for v in numbers)
    # The name of a thing stays in one piece, to be copied; long texts are folded, never cut.
    justify: Literal["left", "right"] = "right" if is_numeric else "left"
    drawn.add_column(column, justify=justify, overflow="fold", no_wrap=is_name)


def _add_rows(drawn: "Table", rows: list[list[object]]) -> None:
    from rich.text import Text

    columns = [_same_places(list(values)) for values in zip(*rows, strict=True)]
    for cells in zip(*columns, strict=True):
        drawn.add_row(*(Text.from_ansi(cell) for cell in cells))


def _same_places(values: list[object]) -> list[str]:
    """Return a column's cells; decimal numbers all with as many places as the longest has."""
    exponents = [v.as_tuple().exponent for v in values if isinstance(v, Decimal) and v.is_finite()]
    places = min(PLACES_MAX, max((-int(e) for e in exponents), default=0))
    return [f"{v:.{max(places, 0)}f}" if isinstance(v, Decimal) else _cell(v) for v in values]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    # A cell is one line: a tab or a line end in a broker's text would make two cells of it.
    return " ".join(str(plain(value)).split())


def plain(value: object) -> object:
    """Return ``value`` as JSON can hold it: decimals and times as text, dataclasses as objects."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)

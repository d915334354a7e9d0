"""What every command shares: the profile, output as JSON or text, tables on a terminal."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ibloop.errors import ConfigError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.connection import Connection, Ledger
    from ibloop.config import Config, Profile


class Context:
    """The profile the command line names, loaded when a command first needs it."""

    def __init__(self) -> None:
        """Begin with nothing named; the global options fill it in."""
        self.config_option: Path | None = None
        self.profile_option: str | None = None
        self.data_option: Path | None = None

    @cached_property
    def profile(self) -> "Profile":
        """Return the loaded profile. Raises: ConfigError."""
        from ibloop.config import load_profile

        return load_profile(self.config_option, self.profile_option, self.data_option)

    @property
    def config(self) -> "Config":
        """Return the configuration. Raises: ConfigError."""
        return self.profile.config

    @property
    def data_dir(self) -> Path:
        """Return the data directory, which need not exist."""
        return self.profile.data_dir

    def writable_data_dir(self) -> Path:
        """Return the data directory, made if need be. Raises: ConfigError if not writable."""
        path = self.data_dir
        try:
            path.mkdir(mode=0o2770, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the data directory {path}: {error.strerror}") from None
        if not os.access(path, os.W_OK | os.X_OK):
            raise ConfigError(f"the data directory {path} is not writable for this user")
        return path

    def open_ledger(self) -> "Ledger":
        """Open the ledger for writing. Raises: LedgerError, ConfigError."""
        from ibloop.adapters.ledger.connection import open_ledger

        self.writable_data_dir()
        return open_ledger(
            self.profile.ledger_path, mode=self.config.mode, account=self.config.account
        )

    def open_readonly(self) -> "Connection":
        """Open the ledger for reading only. Raises: LedgerError when there is none."""
        from ibloop.adapters.ledger.connection import open_readonly

        return open_readonly(self.profile.ledger_path)


pass_context = click.make_pass_decorator(Context, ensure=True)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def emit(noun: str, data: object, as_json: bool, text: Callable[[], str] | str) -> None:
    """Print ``data`` as ``{"schema": "ibloop.NOUN.v1", "data": ...}``, or ``text`` for people."""
    if as_json:
        document = {"schema": f"ibloop.{noun}.v1", "data": data}
        click.echo(json.dumps(document, default=plain, ensure_ascii=False, indent=2))
    else:
        click.echo(text if isinstance(text, str) else text())


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


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> str:
    """Return rows as a table on a terminal, as tab-separated lines elsewhere."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        return "\n".join("\t".join(line) for line in [list(columns), *cells])
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for index, column in enumerate(columns):
        numeric = bool(cells) and all(_is_number(line[index]) for line in cells)
        drawn.add_column(column, justify="right" if numeric else "left")
    for line in cells:
        drawn.add_row(*(Text(cell) for cell in line))
    console = Console(no_color="NO_COLOR" in os.environ)
    with console.capture() as capture:
        console.print(drawn)
    return capture.get().rstrip("\n")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(plain(value)) if not isinstance(value, str) else value


def _is_number(text: str) -> bool:
    return text == "-" or text.lstrip("+-").replace(".", "", 1).replace(",", "").isdigit()


def style(text: str, colour: str) -> str:
    """Return ``text`` coloured for stdout when it is a terminal that wants colour."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return click.style(text, fg=colour)

"""What every command shares: the profile, kinds of arguments, output as JSON or text."""

import getpass
import json
import os
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ibloop.cli.terminal import plain
from ibloop.errors import ConfigError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.commands import Command
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
        return writable(self.data_dir)

    def open_ledger(self, *, create: bool = True) -> "Ledger":
        """Open the ledger for writing; with ``create`` false only one that exists.

        Raises: LedgerError, ConfigError.
        """
        from ibloop.adapters.ledger.connection import open_ledger

        if not create:
            self.open_readonly().close()
        self.writable_data_dir()
        return open_ledger(
            self.profile.ledger_path, mode=self.config.mode, account=self.config.account
        )

    def open_readonly(self) -> "Connection":
        """Open the ledger for reading only.

        Raises: LedgerError when there is none; ConfigError when this user may not read it.
        """
        from ibloop.adapters.ledger.connection import open_readonly

        try:
            return open_readonly(self.profile.ledger_path)
        except PermissionError as error:
            raise ConfigError(f"may not look at {error.filename}: {NOT_A_MEMBER}") from None


class Reason(click.ParamType[str]):
    """Why a person does something: a text that the audit log keeps."""

    name = "reason"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text without the blanks around it, or fail as click does."""
        text = value.strip()
        if not text or len(text) > REASON_LENGTH_MAX or not is_text(text):
            self.fail(f"expected a text of 1 to {REASON_LENGTH_MAX} characters", param, ctx)
        return text


NOT_A_MEMBER = "operators are members of the group that owns it"
ANY_PATH = click.Path(path_type=Path, readable=False)
"""A path that is checked where it is read: unreadable is bad input, not a usage error."""
REASON_LENGTH_MAX = 500
ROWS_MAX = 100_000
ANSWER_POLL_S = 0.05

pass_context = click.make_pass_decorator(Context, ensure=True)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def limit_option(default: int) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """Return the option that says how many rows to list."""
    return click.option(
        "--limit",
        default=default,
        show_default=True,
        type=click.IntRange(1, ROWS_MAX),
        help="How many, at most.",
    )


def wait_for_answer(connection: "Connection", number: int, wait_s: float) -> "Command | None":
    """Wait for a daemon's answer to a command; ``None`` when there is none in time."""
    from ibloop.adapters.ledger import commands

    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        found = commands.find(connection, number)
        if found is not None and found.done_at is not None:
            return found
        time.sleep(ANSWER_POLL_S)
    return None


def is_text(value: str) -> bool:
    """Return whether ``value`` can be stored: an argument may hold bytes that are no text."""
    return value.isprintable()


def writable(path: Path) -> Path:
    """Return a directory, made if need be, that this process may write to.

    Raises: ConfigError.
    """
    try:
        path.mkdir(mode=0o2770, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the data directory {path}: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"the data directory {path} is not writable for you: {NOT_A_MEMBER}")
    return path


def operator() -> str:
    """Return who asks, for the audit log; a user without a name is called by the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the user database; which of them varies by version
        return f"uid-{os.getuid()}"


def emit(noun: str, data: object, as_json: bool, text: Callable[[], str] | str) -> None:
    """Print ``data`` as ``{"schema": "ibloop.NOUN.v1", "data": ...}``, or ``text`` for people."""
    if as_json:
        document = {"schema": f"ibloop.{noun}.v1", "data": data}
        click.echo(json.dumps(document, default=plain, ensure_ascii=False, indent=2))
    else:
        click.echo(text if isinstance(text, str) else text())

"""What every command shares: the profile, kinds of arguments, output as JSON or text."""

import getpass
import json
import os
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ibloop.cli.terminal import plain
from ibloop.errors import ConfigError, RefusedError

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

    @cached_property
    def options(self) -> str:
        """Return the options that a command given from here needs to find this profile."""
        from ibloop.daemons.hints import options_here

        return options_here(self.profile)

    def complete(self, text: str, run_key: str | None = None) -> str:
        """Return advice with its commands complete; as it is while the profile is unknown."""
        from ibloop.daemons.hints import complete

        return complete(text, self.options if "profile" in self.__dict__ else "", run_key)

    def tell(self, text: str, run_key: str | None = None) -> None:
        """Say something on stderr, the commands in it complete."""
        click.echo(self.complete(text, run_key), err=True)

    def require_directory(self) -> None:
        """Refuse a data directory that is something else; one that is missing is no error.

        Raises: ConfigError, also when this user may not look at it.
        """
        require_directory(self.data_dir)

    def writable_data_dir(self) -> Path:
        """Return the data directory, made if need be. Raises: ConfigError if not writable."""
        return writable(self.data_dir)

    def has_ledger(self) -> bool:
        """Return whether there is a ledger's file. Raises: ConfigError if it cannot be said."""
        self.require_directory()
        try:
            return self.profile.ledger_path.exists()
        except PermissionError as error:
            raise ConfigError(f"may not look at {error.filename}: {NOT_A_MEMBER}") from None

    def open_ledger(self, *, create: bool = False) -> "Ledger":
        """Open the ledger for writing; only with ``create`` one that does not exist yet.

        Raises: LedgerError, ConfigError.
        """
        from ibloop.adapters.ledger.connection import open_ledger

        if not create:
            self._opened().close()
        self.writable_data_dir()
        return open_ledger(
            self.profile.ledger_path, mode=self.config.mode, account=self.config.account
        )

    def open_readonly(self) -> "Connection":
        """Open the ledger for reading only.

        Raises: LedgerError when there is none; RefusedError when it is another account's;
        ConfigError when this user may not read it.
        """
        from ibloop.adapters.ledger import identity

        with ExitStack() as undo:
            db = undo.enter_context(closing(self._opened()))
            config = self.config
            if identity.is_missing(db) or identity.owner(db) == (config.mode, config.account):
                undo.pop_all()
                return db
            mode, account = identity.owner(db)
        raise RefusedError(
            f"{self.profile.ledger_path} is the ledger of {mode} account {account}, and this "
            f"profile is {config.mode} account {config.account}: name the other one with "
            "--config, --profile or --data"
        )

    def _opened(self) -> "Connection":
        from ibloop.adapters.ledger.connection import open_readonly

        self.has_ledger()  # or why it cannot be said
        return open_readonly(self.profile.ledger_path)


class Reason(click.ParamType[str]):
    """Why a person does something: a text that the audit log keeps."""

    name = "reason"

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """Return what to write: the shell passes several words as one only in quotes."""
        return 'Say why, in quotes: "prices look wrong".'

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


def require_directory(path: Path) -> None:
    """Refuse a path that is there and is no directory. Raises: ConfigError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise ConfigError(f"the data directory {path} lies below a file") from None
    except OSError as error:
        raise ConfigError(f"may not look at {path}: {error.strerror}; {NOT_A_MEMBER}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"the data directory {path} is not a directory")


def unmakeable(path: Path) -> str | None:
    """Return why a directory that is missing cannot be made; ``None`` when it can, or is there."""
    above = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    if above == path and path.is_dir():
        return None
    if not above.is_dir():
        return f"{above} is not a directory"
    if not os.access(above, os.W_OK | os.X_OK):
        return f"{above} is not writable for you"
    return None


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

"""The demo from outside: its directory made anew, the story played, everything ended again."""

import shutil
import signal
import time
from pathlib import Path

import click

from ibloop.adapters.locks import DaemonLock
from ibloop.cli.common import writable
from ibloop.cli.demo_processes import Processes
from ibloop.cli.demo_story import Story
from ibloop.config import BUILTIN_TOML
from ibloop.errors import ConfigError, Exit

CONFIG_NAME = "ibloop.toml"
MARK = "# Made by `ibloop demo`, which empties this directory each time.\n"
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A service manager, Ctrl-C, a closed terminal."""


def play(directory: Path, *, once: bool) -> Exit:
    """Play the story in ``directory``, which is made anew; return the exit code.

    Interrupted before the end of its story it is a failure, unless it is to run until Ctrl-C.
    Raises: LockHeldError when another demo runs there; ConfigError; DemoError.
    """
    _refuse_foreign(directory)
    with DaemonLock(writable(directory.parent), "demo"):
        _refuse_in_use(directory)
        _make_anew(directory)
        config = directory / CONFIG_NAME
        options = ["--config", str(config), "--data", str(directory)]
        story = Story(directory, Processes(directory, options))
        begun_s, is_told = time.monotonic(), False
        try:
            for number in ENDING_SIGNALS:
                signal.signal(number, _interrupt)
            story.tell()
            is_told = True
            if not once:
                story.run_on()
        except KeyboardInterrupt:
            click.echo("\nstopping", err=True)
        finally:
            _ignore_signals()
            story.end()
        spent_s = time.monotonic() - begun_s
        click.echo(f"\nEverything is stopped, after {spent_s:.0f} s.", err=True)
    return Exit.OK if is_told or not once else Exit.FAILED


def _interrupt(_number: int, _frame: object) -> None:
    """End the story; from here on nothing interrupts its end, not even a second Ctrl-C."""
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _refuse_foreign(directory: Path) -> None:
    """Raise ConfigError for anything there that no demo has made: it would be deleted."""
    if not directory.exists() and not directory.is_symlink():
        return
    try:
        is_empty = not any(directory.iterdir())
        config = directory / CONFIG_NAME
        is_ours = config.is_file() and config.read_text("utf-8", "replace").startswith(MARK)
    except OSError as error:
        raise ConfigError(f"cannot look into {directory}: {error.strerror}") from None
    if directory.is_symlink() or not (is_empty or is_ours):
        raise ConfigError(f"{directory} holds something else than a demo; move it away")


def _refuse_in_use(directory: Path) -> None:
    """Raise LockHeldError while a daemon runs there: its ledger would be deleted under it."""
    for lock in sorted((directory / "locks").glob("*.lock")):
        with DaemonLock(directory, lock.stem):
            pass


def _make_anew(directory: Path) -> None:
    try:
        if directory.exists():
            shutil.rmtree(directory)
        (directory / "logs").mkdir(parents=True)
        # The built-in profile itself: `ibloop ... --data data/demo` then means the same one.
        (directory / CONFIG_NAME).write_text(MARK + BUILTIN_TOML, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {directory}: {error.strerror}") from None

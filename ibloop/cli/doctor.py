"""``ibloop doctor``: whether installation, configuration and data are fit to trade with."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import NOT_A_MEMBER, Context, emit, json_option, pass_context, unmakeable
from ibloop.cli.terminal import coloured, table
from ibloop.errors import Exit, IbloopError, RefusedError

if TYPE_CHECKING:
    from ibloop.config import Profile

DISK_FREE_BYTES_MIN = 200_000_000
SQLITE_VERSION_MIN = (3, 51, 3)
"""Older ones can lose commits of a WAL that two connections checkpoint (sqlite.org/wal.html)."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question, its answer, and what to do when the answer is bad."""

    name: str
    ok: bool
    found: str
    advice: str = ""


@click.command()
@json_option
@pass_context
def doctor(context: Context, as_json: bool) -> None:
    """Check the installation, the configuration and the data.

    Exits 1 when anything is unfit, and says what to do about it.

    \b
    Example:
      ibloop doctor
    """
    checks = [*_installation(), *_profile(context)]
    rows = [(c.name, coloured("ok" if c.ok else "BAD"), c.found, c.advice) for c in checks]
    columns = ("CHECK", "VERDICT", "FOUND", "WHAT TO DO")
    emit("doctor", checks, as_json, lambda: table(columns, rows))
    bad = [c.name for c in checks if not c.ok]
    click.echo(f"unfit: {', '.join(bad)}" if bad else "fit to trade with", err=True)
    raise SystemExit(Exit.FAILED if bad else Exit.OK)


def _installation() -> Iterator[Check]:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from ibloop.adapters.ledger.connection import sqlite_version

    version = sys.version_info[:3]
    yield Check(
        "python",
        (3, 11) <= version[:2] < (3, 14),
        ".".join(map(str, version)),
        "" if (3, 11) <= version[:2] < (3, 14) else "use CPython 3.11 to 3.13",
    )
    found = sqlite_version()
    ok = found >= SQLITE_VERSION_MIN
    text = ".".join(map(str, found))
    yield Check("sqlite", ok, text, "" if ok else "install pysqlite3 >= 0.6.1")
    try:
        ZoneInfo("US/Eastern")
        yield Check("time zones", True, "US/Eastern is known")
    except ZoneInfoNotFoundError:
        yield Check("time zones", False, "no US/Eastern", "install the package tzdata")
    library = importlib.metadata.version("ib_insync")
    same = library == "0.9.86"
    yield Check("ib_insync", same, library, "" if same else "install ib_insync 0.9.86")


def _profile(context: Context) -> Iterator[Check]:
    from ibloop.adapters.universe import load_universe

    try:
        profile = context.profile
    except IbloopError as error:
        yield Check("configuration", False, str(error), "mend the file, then ask again")
        return
    source = str(profile.source) if profile.source else "built-in sim profile"
    yield Check("configuration", True, f"{source}: {profile.config.mode} {profile.config.account}")
    yield _doubts(profile)
    yield _asked("universe", lambda: f"{len(load_universe(profile).instruments)} names")
    yield _targets(profile)
    yield _data_dir(context)
    yield from _ledger(context)


def _doubts(profile: "Profile") -> Check:
    """Name what is allowed and probably not meant: no reason to call anything unfit."""
    from ibloop.config.rules import doubts

    found = doubts(profile.config)
    advice = "look whether it is meant, see docs/reference/risk-checks.md" if found else ""
    return Check("values", True, "; ".join(found) or "none is doubtful", advice)


def _asked(name: str, ask: Callable[[], str]) -> Check:
    try:
        return Check(name, True, ask())
    except IbloopError as error:
        return Check(name, False, str(error), "mend it, then ask again")


def _targets(profile: "Profile") -> Check:
    """Look at the targets file; the built-in profile names none of its own."""
    from ibloop.adapters.universe import load_universe
    from ibloop.daemons.pretrade import read_targets

    path = profile.resolve(profile.config.targets.file)
    if profile.source is None and not path.exists():
        return Check("targets", True, f"none at {path}: name one with --targets")

    def read() -> str:
        reading, as_of = read_targets(path, load_universe(profile), profile.config.limits)
        return f"{path}: {len(reading.targets)} targets as of {as_of:%F %T} UTC"

    return _asked("targets", read)


def _data_dir(context: Context) -> Check:
    path = context.data_dir
    try:
        context.require_directory()
    except IbloopError as error:
        return Check("data directory", False, str(error), "name another with data_dir or --data")
    if not path.exists():
        if problem := unmakeable(path):
            found = f"{path} cannot be made: {problem}"
            return Check("data directory", False, found, "make it, or name another with data_dir")
        return Check("data directory", True, f"{path} does not exist yet; it is made when needed")
    if not os.access(path, os.W_OK | os.X_OK):
        return Check("data directory", False, f"{path} is not writable", NOT_A_MEMBER)
    free = shutil.disk_usage(path).free
    ok = free >= DISK_FREE_BYTES_MIN
    text = f"{path}, {free // 1_000_000} MB free"
    return Check("data directory", ok, text, "" if ok else "free some disk space")


def _ledger(context: Context) -> Iterator[Check]:
    from ibloop.adapters.ledger.check import check

    if not os.path.exists(context.profile.ledger_path):  # noqa: PTH110  # False, not an error
        yield Check("ledger", True, "none to be seen; it is made when the executor first starts")
        return
    try:
        with closing(context.open_readonly()) as db:
            problems = check(db)
    except RefusedError as error:
        yield Check("ledger", False, str(error), "use a data directory of its own for this account")
        return
    except IbloopError as error:
        yield Check("ledger", False, str(error), "see the message")
        return
    text = f"{len(problems)} problems" if problems else "whole, audit chain intact"
    yield Check("ledger", not problems, text, "`ibloop db check` names them" if problems else "")

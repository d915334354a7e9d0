"""``ibloop config``: what is in force, and whether it can be used."""

import dataclasses
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import Context, emit, json_option, pass_context, unmakeable
from ibloop.cli.terminal import table

if TYPE_CHECKING:
    from ibloop.config import Config


@click.group()
def config() -> None:
    """Show and check the configuration."""


@config.command()
@click.option("--toml", is_flag=True, help="Print the file itself, to start one of your own from.")
@json_option
@pass_context
def show(context: Context, toml: bool, as_json: bool) -> None:
    """Show every value in force and where the configuration comes from.

    \b
    Example:
      ibloop config show --profile paper
    """
    profile = context.profile
    if toml:
        from ibloop.config import BUILTIN_TOML

        text = profile.source.read_text(encoding="utf-8") if profile.source else BUILTIN_TOML
        click.echo(text, nl=False)
        return
    source = str(profile.source) if profile.source else "built-in sim profile"
    rows = _shown(profile.config)
    data = {
        "source": source,
        "data_dir": str(profile.data_dir),
        "config_hash": profile.config.config_hash,
        "config": profile.config,
    }
    emit("config", data, as_json, lambda: table(("KEY", "VALUE"), rows))
    if not as_json:
        click.echo(f"from {source}, data in {profile.data_dir}", err=True)


@config.command()
@json_option
@pass_context
def check(context: Context, as_json: bool) -> None:
    """Check the configuration and what it points at; exits 78 when something is wrong.

    What is allowed and probably not meant is a warning; in live mode so is every check that is
    off.

    \b
    Example:
      ibloop config check --config ibloop.toml
    """
    from ibloop.adapters.universe import load_universe
    from ibloop.core.model import Mode

    profile = context.profile
    universe = load_universe(profile)
    data = {
        "source": str(profile.source) if profile.source else None,
        "mode": profile.config.mode,
        "account": profile.config.account,
        "instruments": len(universe.instruments),
        "warnings": _warnings(context),
    }
    text = (
        f"ok: {profile.config.mode} account {profile.config.account}, {data['instruments']} names"
    )
    emit("config", data, as_json, text)
    for warning in _warnings(context):
        click.echo(f"warning: {warning}", err=True)
    if profile.config.mode is Mode.LIVE:
        click.echo("live: nothing is sent before `ibloop arm` and `ibloop run approve`", err=True)


def _warnings(context: Context) -> list[str]:
    from ibloop.config.rules import doubts

    found = doubts(context.config)
    if problem := unmakeable(context.data_dir):
        found.append(f"the data directory {context.data_dir} cannot be made: {problem}")
    return found


def _shown(config: "Config") -> list[tuple[str, object]]:
    """Return every key and value, with a word at each check that is off."""
    from ibloop.config.rules import checks_off

    off = checks_off(config)
    return [
        (name, ("off" if value is None else f"{value} (off)") if name in off else value)
        for name, value in flatten(config, "")
    ]


def flatten(value: object, prefix: str) -> list[tuple[str, object]]:
    """Return a tree of dataclasses as dotted keys and values."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return [(prefix, value)]
    rows: list[tuple[str, object]] = []
    for field in dataclasses.fields(value):
        name = f"{prefix}.{field.name}" if prefix else field.name
        rows.extend(flatten(getattr(value, field.name), name))
    return rows

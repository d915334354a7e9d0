"""``ibloop init``: a configuration file to begin with, every limit written out."""

import os
from pathlib import Path

import click

from ibloop.cli.common import ANY_PATH, Context, pass_context
from ibloop.errors import ConfigError, RefusedError

DEFAULT = Path("ibloop.toml")
"""Where every command looks for it."""
FILE_MODE = 0o660
"""Operators are members of the group that owns the file; others see nothing of it."""


@click.command()
@click.argument("file", type=ANY_PATH, required=False)
@click.option(
    "--mode",
    type=click.Choice(("paper", "live")),
    default="paper",
    show_default=True,
    help="Play money or real money.",
)
@click.option("--account", help="The account at the broker; required for live mode.")
@pass_context
def init(context: Context, file: Path | None, mode: str, account: str | None) -> None:
    """Write a configuration to begin with.

    Every key is there with a line that says what it is for, every limit that guards money with a
    proposed value: in paper mode those of the simulated gateway. FILE is ./ibloop.toml unless it,
    --config or --profile say otherwise; a file that exists is left alone.

    \b
    Examples:
      ibloop init
      ibloop init /etc/ibloop/live.toml --mode live --account U1234567
    """
    from ibloop.config import SYSTEM_CONFIG_DIR, parse
    from ibloop.config.template import PAPER_ACCOUNT_EXAMPLE, template
    from ibloop.core.model import Mode

    if account is None and mode == "live":
        raise click.UsageError("live mode needs --account: the one account this profile trades")
    path = file or _named(context) or DEFAULT
    is_system = path.absolute().parent == SYSTEM_CONFIG_DIR
    data_dir = None if is_system else "data"
    text = template(Mode(mode), account or PAPER_ACCOUNT_EXAMPLE, data_dir)
    parse(text, "--account" if account else "the template")
    _write_new(path, text)
    named = "" if path == DEFAULT else f" --config {path}"
    told = f"wrote {path}; look at each limit, then `ibloop config check{named}`"
    click.echo(told, err=True)
    if mode == "live":
        click.echo("it names universe.csv beside it: list there what may be traded", err=True)


def _named(context: Context) -> Path | None:
    from ibloop.config.loading import profile_path

    if context.config_option is not None:
        return context.config_option
    return None if context.profile_option is None else profile_path(context.profile_option)


def _write_new(path: Path, text: str) -> None:
    """Write a file that must not exist. Raises: RefusedError, ConfigError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except FileExistsError:
        raise RefusedError(f"{path} exists and is left alone; name another file") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)

"""``ibloop targets``: check a targets file before it is used."""

from pathlib import Path

import click

from ibloop.cli.common import ANY_PATH, Context, emit, json_option, pass_context
from ibloop.cli.terminal import table


@click.group()
def targets() -> None:
    """Check a targets file."""


@targets.command()
@click.argument("file", type=ANY_PATH, required=False)
@json_option
@pass_context
def validate(context: Context, file: Path | None, as_json: bool) -> None:
    """Check a targets file (default: the configured one) and show what it says.

    Exits 65 with every problem of the file.

    \b
    Example:
      ibloop targets validate targets.csv
    """
    from ibloop.adapters.universe import load_universe
    from ibloop.core.snapshot import total_weight
    from ibloop.daemons.pretrade import read_targets

    path = file or context.profile.resolve(context.config.targets.file)
    reading, as_of = read_targets(path, load_universe(context.profile))
    total = total_weight(reading.targets)
    rows = [(t.symbol, t.weight) for t in reading.targets]
    data = {"path": str(path), "as_of": as_of, "total_weight": total, "targets": reading.targets}
    emit("targets", data, as_json, lambda: table(("SYMBOL", "WEIGHT"), rows))
    if not as_json:
        click.echo(f"{path}: {len(rows)} targets, total {total}, as of {as_of:%F %T} UTC", err=True)

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
    from ibloop.core.snapshot import gross_weight, total_weight
    from ibloop.daemons.pretrade import read_targets

    path = file or context.profile.resolve(context.config.targets.file)
    reading, as_of = read_targets(path, load_universe(context.profile), context.config.limits)
    total, gross = total_weight(reading.targets), gross_weight(reading.targets)
    rows = [(t.symbol, t.weight) for t in reading.targets]
    data = {
        "path": str(path),
        "as_of": as_of,
        "total_weight": total,
        "gross_weight": gross,
        "targets": reading.targets,
    }
    emit("targets", data, as_json, lambda: table(("SYMBOL", "WEIGHT"), rows))
    if not as_json:
        longs_less_shorts = f"total {total}" + (f" (gross {gross})" if gross != total else "")
        told = f"{len(rows)} targets, {longs_less_shorts}, as of {as_of:%F %T} UTC"
        click.echo(f"{path}: {told}", err=True)

"""The root of the command tree: lazy subcommands, global options, errors as sentences."""

import importlib
import os
import sys
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path

import click

from ibloop import __version__
from ibloop.cli.common import Context
from ibloop.errors import Exit, IbloopError

COMMANDS: dict[str, str] = {
    "demo": "ibloop.cli.demo:demo",
    "status": "ibloop.cli.status:status",
    "doctor": "ibloop.cli.doctor:doctor",
    "rebalance": "ibloop.cli.rebalance:rebalance",
    "run": "ibloop.cli.run:run",
    "orders": "ibloop.cli.orders:orders",
    "fills": "ibloop.cli.fills:fills",
    "positions": "ibloop.cli.positions:positions",
    "halt": "ibloop.cli.halt:halt",
    "resume": "ibloop.cli.halt:resume",
    "arm": "ibloop.cli.arm:arm",
    "disarm": "ibloop.cli.arm:disarm",
    "targets": "ibloop.cli.targets:targets",
    "calendar": "ibloop.cli.calendar:calendar",
    "gateway": "ibloop.cli.gateway:gateway",
    "stream": "ibloop.cli.stream:stream",
    "executor": "ibloop.cli.executor:executor",
    "guard": "ibloop.cli.guard:guard",
    "alerts": "ibloop.cli.alerts:alerts",
    "web": "ibloop.cli.web:web",
    "sim": "ibloop.cli.sim:sim",
    "db": "ibloop.cli.db:db",
    "init": "ibloop.cli.init:init",
    "config": "ibloop.cli.config:config",
    "systemd": "ibloop.cli.systemd:systemd",
}
"""Where each command lives, in the order of the help page."""


PROFILE = "profile_option"


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, with the global options added throughout."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        if cmd_name != "sim":  # a product of its own: it knows no profiles
            _add_globals(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest others by name for one that is misspelt."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from :data:`SUMMARIES`: importing them all would cost a second."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in COMMANDS])


SUMMARIES: dict[str, str] = {
    "demo": "Play a whole week on the simulated gateway: no account needed.",
    "status": "Show on one screen whether the loop is well.",
    "doctor": "Check the installation, the configuration and the data.",
    "rebalance": "Turn target weights into a queued run.",
    "run": "List, show, approve, retry and cancel runs.",
    "orders": "List, explain, cancel and resolve the orders of runs.",
    "fills": "List executions.",
    "positions": "List, explain and accept what the broker says we hold.",
    "halt": "Stop sending orders, now.",
    "resume": "Clear all halts.",
    "arm": "Permit live trading for a while, an amount and a number of runs.",
    "disarm": "End the permission to trade live, now.",
    "targets": "Check a targets file.",
    "calendar": "Show sessions and when the rebalance is due.",
    "gateway": "Run the gateway keeper.",
    "stream": "Run the price stream, show how it is and what it writes.",
    "executor": "Run the executor.",
    "guard": "Run the guard, ask it, and release what it has frozen.",
    "alerts": "List, raise, test, deliver and acknowledge alerts.",
    "web": "Run the page that shows the loop.",
    "sim": "Run a simulated IB Gateway.",
    "db": "Migrate, back up, check, accept and describe the ledger.",
    "init": "Write a configuration to begin with.",
    "config": "Show and check the configuration.",
    "systemd": "Install, check and compare the systemd units.",
}
"""One line a command; a test holds it equal to the command's own help."""


def _set_global(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    if not value:  # `--data "$DIR"` with an unset DIR must not mean the current directory
        raise click.BadParameter("expected a value, was an empty text", ctx, param)
    option = str(param.name)
    setattr(ctx.ensure_object(Context), option, value if option == PROFILE else Path(value))


def global_options() -> Iterable[click.Option]:
    """Return fresh options that name the profile; they work before and after the subcommand."""
    for name, metavar, text in (
        ("--config", "PATH", "Configuration file to use."),
        ("--profile", "NAME", "Profile to use: /etc/ibloop/NAME.toml."),
        ("--data", "PATH", "Data directory to use."),
    ):
        yield click.Option(
            [name, f"{name.strip('-')}_option"],
            metavar=metavar,
            expose_value=False,
            callback=_set_global,
            help=text,
        )


def _add_globals(command: click.Command) -> None:
    names = {option for param in command.params for option in param.opts}
    if "--data" not in names:
        command.params.extend(global_options())
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _add_globals(child)


@click.command(
    cls=LazyGroup,
    params=[*global_options()],
    epilog="Try `ibloop demo`, then `ibloop status --data data/demo`.",
)
@click.version_option(__version__, prog_name="ibloop")
def ibloop() -> None:
    """Turn target weights into audited fills at Interactive Brokers.

    Data goes to stdout, talk to stderr. Exit codes: 0 ok, 1 failed, 2 usage, 3 degraded or not
    running, 65 bad input, 69 gateway unavailable, 75 lock held, 77 refused by a safety rail,
    78 bad configuration.
    """


def main() -> None:
    """Run the command line; a person's mistake is one sentence and an exit code.

    An error of the operating system that nobody expected (a full disk, a lost mount) is no bug
    either: it names the file and exits 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a file's name may hold bytes that are no text
            stream.reconfigure(errors="backslashreplace")
    context = Context()
    try:
        ibloop.main(prog_name="ibloop", obj=context)
    except IbloopError as error:
        _tell(context.complete(str(error)))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe has gone (`ibloop orders list | head`): not our failure.
        _drop_stdout()
        sys.exit(Exit.OK)
    except OSError as error:
        _drop_stdout()
        where = f"{error.filename}: " if error.filename else ""
        _tell(f"{where}{error.strerror or error}")
        sys.exit(Exit.FAILED)


def _tell(sentence: str) -> None:
    click.echo(f"ibloop: {sentence}", err=True)


def _drop_stdout() -> None:
    """Let what is left in the buffer of stdout go nowhere, or Python complains at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""Every command says what it does, with an example, before it asks for anything."""

import inspect
from collections.abc import Iterator

import click
import pytest

from ibloop.cli.root import COMMANDS, SUMMARIES, ibloop
from ibloop.errors import Exit

GLOBALS = {"--config", "--profile", "--data"}
ROOT_CONTEXT = click.Context(ibloop, info_name="ibloop")


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with its full name."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(ROOT_CONTEXT):
        child = command.get_command(ROOT_CONTEXT, name)
        assert child is not None
        yield from leaves(child, f"{path} {name}")


LEAVES = dict(leaves(ibloop, "ibloop"))


def paragraphs(command: click.Command) -> list[str]:
    """Return the paragraphs of a command's help text."""
    return inspect.cleandoc(command.help or "").split("\n\n")


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_help_with_an_example(name: str) -> None:
    """The first paragraph is one sentence; an example begins with this very command."""
    command = LEAVES[name]
    summary, *rest = paragraphs(command)
    assert summary.endswith(".")
    assert "\n" not in summary
    (example,) = (part for part in rest if part.startswith(("\b\nExample:", "\b\nExamples:")))
    assert example.splitlines()[2].strip().startswith(name)


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_says_what_it_does(name: str) -> None:
    """No option is left to be guessed."""
    options = [p for p in LEAVES[name].params if isinstance(p, click.Option)]
    assert [option.opts for option in options if not option.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_root_page_tells_the_commands_own_summary(name: str) -> None:
    """The root's list is written down, so that it imports nothing: it must not lie."""
    command = ibloop.get_command(ROOT_CONTEXT, name)
    assert command is not None
    assert paragraphs(command)[0] == SUMMARIES[name]


@pytest.mark.parametrize("name", [name for name in LEAVES if name != "ibloop sim"])
def test_every_command_takes_the_global_options(name: str) -> None:
    """They work after the subcommand too; once each."""
    options = [option for param in LEAVES[name].params for option in param.opts]
    assert set(options) >= GLOBALS
    assert len(options) == len(set(options))


def test_the_simulator_knows_no_profiles() -> None:
    """It is a product of its own."""
    assert not GLOBALS & {option for param in LEAVES["ibloop sim"].params for option in param.opts}


def test_the_root_page_names_every_exit_code() -> None:
    """And no other."""
    text = " ".join(paragraphs(ibloop)[1].split())
    told = {int(part.split()[0]) for part in text.partition("Exit codes: ")[2].split(", ")}
    assert told == {code.value for code in Exit}

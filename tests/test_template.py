"""The configuration to begin with: complete, explained, accepted as it stands."""

import dataclasses
import re
import tomllib
import typing
from collections.abc import Iterator

import pytest

from ibloop.config import Config, parse
from ibloop.config.rules import doubts
from ibloop.config.template import HEADS, KEYS, PAPER_ACCOUNT_EXAMPLE, template
from ibloop.core.model import Mode

ACCOUNTS = {Mode.PAPER: PAPER_ACCOUNT_EXAMPLE, Mode.LIVE: "U1234567"}
MODES = pytest.mark.parametrize("mode", list(Mode))


def fields(
    kind: type = Config, prefix: str = ""
) -> Iterator[tuple[str, "dataclasses.Field[object]"]]:
    """Yield every key of the tree by its dotted name."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = f"{prefix}.{field.name}" if prefix else field.name
        if dataclasses.is_dataclass(hints[field.name]):
            yield from fields(hints[field.name], name)
        else:
            yield name, field


def written(text: str) -> dict[str, object]:
    """Return the keys of a TOML text by their dotted names."""

    def flat(table: dict[str, object], prefix: str) -> Iterator[tuple[str, object]]:
        for key, value in table.items():
            name = f"{prefix}{key}"
            if isinstance(value, dict):
                yield from flat(value, f"{name}.")
            else:
                yield name, value

    return dict(flat(tomllib.loads(text), ""))


def test_every_key_is_explained_and_no_other() -> None:
    """A new key needs a comment in ``config/template.py``, and what guards money a proposal."""
    assert set(KEYS) == {name for name, _ in fields()}
    assert {name.rpartition(".")[0] for name in KEYS} - {""} == set(HEADS)
    assert [name for name, key in KEYS.items() if len(key.comment) > 98] == []


@MODES
def test_every_required_value_is_written_out(mode: Mode) -> None:
    """There is no hidden default for what guards money, so the file must bring the value."""
    required = {
        name
        for name, field in fields()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    assert required <= set(written(template(mode, ACCOUNTS[mode])))


@MODES
def test_the_file_is_accepted_as_it_stands(mode: Mode) -> None:
    """For the account it was made for, in its mode."""
    config = parse(template(mode, ACCOUNTS[mode]), "x")
    assert (config.mode, config.account) == (mode, ACCOUNTS[mode])
    assert config.gateway.launcher == ("sim" if mode is Mode.PAPER else "external")


def test_the_live_file_leaves_no_check_off() -> None:
    """What `ibloop init` writes for real money needs no warning; the kind of account is said."""
    text = template(Mode.LIVE, ACCOUNTS[Mode.LIVE])
    assert doubts(parse(text, "x")) == []
    found = written(text)
    assert (found["limits.margin_check"], found["limits.settled_cash_only"]) == (True, False)


def test_live_proposals_are_no_looser_than_those_for_play_money() -> None:
    """What can be lost is real there; the position limit alone is wider, for fewer names."""
    paper, live = (written(template(mode, account)) for mode, account in ACCOUNTS.items())
    looser = {
        name
        for name, value in live.items()
        if name.startswith(("limits.", "quotes.", "guard."))
        and name in paper
        and not isinstance(value, bool)
        and name != "limits.cash_weight_min"
        and typing.cast(float, value) > typing.cast(float, paper[name])
    }
    assert looser == {"limits.position_weight_max"}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_is_switched_on_keeps_its_value(name: str) -> None:
    """What stands in a comment is the default, or an example that can be used."""
    text = template(Mode.PAPER, PAPER_ACCOUNT_EXAMPLE)
    lines, table = text.splitlines(), ""
    for number, line in enumerate(lines):
        if line.startswith("["):
            table = f"{line.strip('[]')}."
        key = re.match(r"#?(\w+) = ", line)
        if key and f"{table}{key[1]}" == name:
            lines[number] = line.removeprefix("#")
            assert lines[number - 1] == f"# {KEYS[name].comment}"
            break
    else:
        raise AssertionError(f"expected a line for {name}")
    config = parse("\n".join(lines), "x")
    if KEYS[name].example is None:
        assert config == parse(text, "x")

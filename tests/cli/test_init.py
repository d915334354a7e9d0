"""``ibloop init`` writes a file that can be used, and never over another one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ibloop.config import load_profile


def test_a_first_configuration_passes_its_check(ibloop: Callable) -> None:
    """Written where every command looks for it."""
    said = ibloop("init")
    assert (said.code, said.out) == (0, "")
    assert "`ibloop config check`" in said.err
    checked = ibloop("config", "check")
    assert (checked.code, checked.out) == (0, "ok: paper account DU1234567, 25 names\n")


def test_it_can_be_named_and_made_for_an_account(ibloop: Callable) -> None:
    """The argument, or the global option that every other command uses."""
    assert ibloop("init", "mine.toml", "--account", "DU7654321").code == 0
    assert load_profile(Path("mine.toml"), None, None).config.account == "DU7654321"
    assert (
        "`ibloop config check --config other.toml`" in ibloop("init", "--config", "other.toml").err
    )
    assert Path("other.toml").exists()
    assert not Path("ibloop.toml").exists()


def test_a_live_configuration_names_its_account(ibloop: Callable) -> None:
    """No account is proposed for real money; the universe has to be written by a person."""
    assert ibloop("init", "--mode", "live").code == 2
    said = ibloop("init", "--mode", "live", "--account", "U1234567")
    assert (said.code, "universe.csv" in said.err) == (0, True)
    assert load_profile(None, None, None).config.mode == "live"
    assert "universe.csv" in ibloop("config", "check").err


def test_an_existing_file_is_left_alone(ibloop: Callable) -> None:
    """77, and not a byte of it changes."""
    Path("ibloop.toml").write_text("mine", encoding="utf-8")
    said = ibloop("init")
    assert (said.code, said.out) == (77, "")
    assert "exists and is left alone" in said.err
    assert Path("ibloop.toml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nowhere/x.toml",),
        ("--account", "U1234567"),
        ("--account", 'DU1"\nx = 1'),
        ("--profile", "../x"),
    ],
)
def test_what_cannot_be_written_or_meant_leaves_nothing(
    arguments: tuple[str, ...], ibloop: Callable
) -> None:
    """78 with a sentence: no directory, an account of the other mode, a name that is none."""
    said = ibloop("init", *arguments)
    assert (said.code, said.out) == (78, "")
    assert list(Path().iterdir()) == []

"""``ibloop doctor`` says fit only of what could trade."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ibloop.adapters.universe import samples_dir
from ibloop.config import BUILTIN_TOML


def verdict(said: object, name: str) -> str:
    """Return the words of one check on the screen."""
    lines = str(getattr(said, "out", "")).splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}\t"))
    return line


@pytest.fixture
def own() -> Path:
    """Write a configuration where every command looks for it, with targets beside it."""
    Path("ibloop.toml").write_text(BUILTIN_TOML, encoding="utf-8")
    Path("targets.csv").write_text("symbol,weight\nAAPL,0.5\n", encoding="utf-8")
    return Path("targets.csv")


def test_what_is_well_is_fit(ibloop: Callable, own: Path) -> None:
    """Before the first start there is neither data nor ledger, and nothing is wrong with that."""
    said = ibloop("doctor")
    assert (said.code, "fit to trade with" in said.err) == (0, True)
    assert "targets.csv: 1 targets as of" in verdict(said, "targets")
    assert not Path("data").exists()


def test_without_a_configuration_no_targets_are_needed(ibloop: Callable) -> None:
    """The built-in profile trades what `--targets` names."""
    said = ibloop("doctor")
    assert (said.code, "name one with --targets" in said.out) == (0, True)


@pytest.mark.parametrize(
    ("content", "told"), [(None, "No such file"), ("symbol,weight\nAAPL,5\n", "above 1")]
)
def test_without_usable_targets_nothing_can_be_traded(
    ibloop: Callable, own: Path, content: str | None, told: str
) -> None:
    """1, and the file and its problem are named."""
    own.unlink()
    if content is not None:
        own.write_text(content, encoding="utf-8")
    said = ibloop("doctor")
    assert (said.code, "unfit: targets" in said.err) == (1, True)
    assert told in verdict(said, "targets")


@pytest.mark.parametrize("data", ["a-file", "a-file/below", "a-link"])
def test_a_data_directory_that_cannot_be_is_unfit(ibloop: Callable, own: Path, data: str) -> None:
    """Not "made when needed" where it cannot be made; `config check` warns of the same."""
    Path("a-file").write_text("mine", encoding="utf-8")
    Path("a-link").symlink_to("nowhere")
    said = ibloop("doctor", "--data", data)
    assert said.code == 1
    assert "data directory" in said.err
    warned = ibloop("config", "check", "--data", data)
    assert (warned.code, "warning: the data directory" in warned.err) == (0, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_where_nothing_may_be_made_is_unfit(ibloop: Callable, own: Path) -> None:
    """The directory above is looked at as well."""
    Path("locked").mkdir(mode=0o555)
    assert ibloop("doctor", "--data", "locked/data").code == 1


def test_the_ledger_of_another_account_is_unfit(ibloop: Callable, own: Path, traded: Path) -> None:
    """Named with both accounts."""
    Path("ibloop.toml").write_text(BUILTIN_TOML.replace("DU1234567", "DU7654321"), encoding="utf-8")
    said = ibloop("doctor", "--data", traded)
    assert (said.code, "paper account DU1234567" in verdict(said, "ledger")) == (1, True)


def test_checks_that_are_off_are_named_where_money_is_real(ibloop: Callable) -> None:
    """By `config check`, `config show`, `doctor` and `status`; none of them calls that unfit."""
    assert ibloop("init", "--mode", "live", "--account", "U1234567").code == 0
    Path("universe.csv").write_bytes((samples_dir() / "universe.csv").read_bytes())
    Path("targets.csv").write_text("symbol,weight\nAAPL,0.1\n", encoding="utf-8")
    assert "warning" not in ibloop("config", "check").err
    assert "none is doubtful" in verdict(ibloop("doctor"), "values")
    path = Path("ibloop.toml")
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("duplicate_window_s", "margin_check"))]
    text = "\n".join(kept).replace("global_cancel = true", "global_cancel = false")
    path.write_text(text, encoding="utf-8")
    names = ("duplicate_window_s", "margin_check", "settled_cash_only", "global_cancel")
    checked, seen = ibloop("config", "check"), ibloop("doctor")
    assert (checked.code, seen.code) == (0, 0)
    for name in names:
        assert f"{name} is off: " in checked.err
        assert f"{name} is off: " in verdict(seen, "values")
        assert f"{name} is off: " in ibloop("status").out
    shown = ibloop("config", "show").out.splitlines()
    assert "limits.duplicate_window_s\toff" in shown
    assert "guard.global_cancel\tFalse (off)" in shown

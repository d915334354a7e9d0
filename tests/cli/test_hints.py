"""A command that advice names can be pasted: it finds the same profile, and names the run."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ibloop.config import BUILTIN_TOML, load_profile
from ibloop.config import loading as module
from ibloop.daemons.hints import command_options, complete, options_here


@pytest.fixture
def loop(tmp_path: Path, traded: Path) -> Path:
    """Return a configuration whose data beside it holds the traded ledger."""
    config = tmp_path / "ibloop.toml"
    config.write_text(f'data_dir = "data"\n{BUILTIN_TOML}', encoding="utf-8")
    assert traded == tmp_path / "data"
    return config


def test_the_shortest_options_that_find_the_same_profile(
    loop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None where none is needed; never fewer than a shell in that place needs."""
    profile = load_profile(loop, None, None)
    elsewhere = load_profile(loop, None, tmp_path / "my data")
    builtin = load_profile(None, None, None)
    assert options_here(profile) == command_options(profile) == f"--config {loop}"
    assert options_here(elsewhere) == f"--config {loop} --data '{tmp_path}/my data'"
    assert (options_here(builtin), command_options(builtin)) == (
        *("", f"--data {Path('data').absolute()}"),
    )
    monkeypatch.chdir(tmp_path)
    assert options_here(profile) == ""
    assert options_here(elsewhere) == f"--data '{tmp_path}/my data'"


def test_a_profile_of_the_system_is_named_by_its_name(
    loop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its data directory only where that is another one."""
    monkeypatch.setattr(module, "SYSTEM_CONFIG_DIR", tmp_path)
    monkeypatch.setattr("ibloop.daemons.hints.SYSTEM_CONFIG_DIR", tmp_path)
    assert command_options(load_profile(None, "ibloop", None)) == "--profile ibloop"
    told = command_options(load_profile(None, "ibloop", tmp_path / "x"))
    assert told == f"--profile ibloop --data {tmp_path / 'x'}"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("do `ibloop run retry RUN` now", "do `ibloop run retry K1 --data d` now"),
        (
            "`ibloop status`, `ibloop fills list`",
            "`ibloop status --data d`, `ibloop fills list --data d`",
        ),
        ("`ibloop status --data x`", "`ibloop status --data x`"),
        ("`ibloop init x.toml`", "`ibloop init x.toml`"),
        ("`fuser` names it", "`fuser` names it"),
    ],
)
def test_commands_are_made_complete_once(text: str, whole: str) -> None:
    """Every command of ours gets the options, unless it has some or knows none."""
    assert complete(text, "--data d", "K1") == whole
    assert complete(whole, "--data d", "K1") == whole


def test_a_blocked_run_is_named_in_the_advice(ibloop: Callable, loop: Path, traded: Path) -> None:
    """`run retry` alone is a usage error; what is printed is the command itself."""
    with closing(sqlite3.connect(traded / "ibloop.db")) as db, db:
        db.execute("UPDATE trade_runs SET status = 'blocked', reason = 'config_changed'")
    whole = f"`ibloop run retry 2026W47 --config {loop}`"
    shown = ibloop("run", "show", "2026W47", "--config", loop)
    assert f"then {whole}" in shown.out
    assert whole in ibloop("status", "--config", loop).out


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("run", "show", "nix"), "`ibloop run list {options}` shows them"),
        (("run", "retry", "2026W47"), "`ibloop rebalance --key NAME {options}`"),
        (("halt", "why"), "`ibloop resume REASON {options}` ends it"),
        (("orders", "explain", "nix"), "`ibloop orders list {options}` shows them"),
    ],
)
def test_what_is_said_names_the_profile_where_needed(
    command: tuple[str, ...],
    told: str,
    ibloop: Callable,
    loop: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Errors and hints alike; in the directory of the configuration without options."""
    assert told.format(options=f"--config {loop}") in ibloop(*command, "--config", loop).err
    monkeypatch.chdir(loop.parent)
    assert told.replace(" {options}", "") in ibloop(*command).err


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (("demoo",), 2, "Did you mean 'demo'?"),
        (("halt",), 2, 'Say why, in quotes: "prices look wrong".'),
        (("status", "--config", "no.toml"), 78, "`ibloop init {here}/no.toml` writes one"),
        (("rebalance", "--targets", "no.csv"), 65, "targets-initial.csv"),
        (("rebalance", "--targets", "no.csv"), 65, "--targets or targets.file"),
    ],
)
def test_a_mistake_is_told_with_the_way_out(
    command: tuple[str, ...], code: int, told: str, ibloop: Callable
) -> None:
    """A name that was meant, an example, the command that makes what is missing."""
    said = ibloop(*command)
    assert said.code == code
    assert told.format(here=Path.cwd()) in said.err


def test_a_period_that_has_run_is_not_due(ibloop: Callable, traded: Path) -> None:
    """`calendar next` names the period's run, where there is one."""
    key = ibloop("calendar", "next", "--json").data[0]["key"]
    assert ibloop("calendar", "next", "--json").data[0]["run"] is None
    with closing(sqlite3.connect(traded / "ibloop.db")) as db, db:
        db.execute("UPDATE trade_runs SET run_key = ?", (key,))
    (found,) = ibloop("calendar", "next", "--json", "--data", traded).data
    assert (found["key"], found["run"]) == (key, "partial")
    assert "\tpartial\t" in ibloop("calendar", "next", "--data", traded).out


def test_on_paper_nothing_has_to_be_armed(ibloop: Callable, traded: Path) -> None:
    """It is no trouble that it is not."""
    said = ibloop("arm", "--status", "--data", traded)
    assert (said.code, said.out) == (0, "armed\tnot needed on paper\n")


def test_a_gate_that_passed_has_no_reason(ibloop: Callable, traded: Path) -> None:
    """In `--json` a reason is why a run was blocked."""
    Path("t.csv").write_text("symbol,weight\nAAPL,0.5\n", encoding="utf-8")
    found = ibloop("rebalance", "--targets", "t.csv", "--key", "k", "--json", "--data", traded)
    assert found.code == 77
    for gates in (
        found.data["gates"],
        ibloop("run", "show", "k", "--json", "--data", traded).data["pretrade"]["gates"],
    ):
        assert {gate["passed"] for gate in gates} == {True, False}
        assert all((gate["reason"] is None) is gate["passed"] for gate in gates)


def test_an_average_has_the_places_of_a_price(ibloop: Callable, traded: Path) -> None:
    """Nobody reads the tenth decimal; --json keeps every digit."""
    with closing(sqlite3.connect(traded / "ibloop.db")) as db, db:
        db.execute("UPDATE positions SET avg_cost = '10.0543219876'")
        db.execute("UPDATE trade_orders SET avg_fill_price = '10.0543219876' WHERE symbol = 'AAA'")
    for command in (("positions", "list"), ("orders", "list")):
        said = ibloop(*command, "--data", traded)
        assert "10.0543\t" in f"{said.out}\t".replace("\n", "\t")
        assert "10.0543219876" in ibloop(*command, "--json", "--data", traded).out

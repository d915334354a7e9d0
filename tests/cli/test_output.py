"""stdout is data, stderr is talk; a table only where a person looks; light where it must be."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

READS = {
    "status": ("status",),
    "runs": ("run", "list"),
    "run": ("run", "show", "2026W47"),
    "orders": ("orders", "list"),
    "fills": ("fills", "list"),
    "positions": ("positions", "list"),
    "doctor": ("doctor",),
    "config": ("config", "show"),
    "config check": ("config", "check"),
    "db": ("db", "check"),
    "db schema": ("db", "schema"),
    "targets": ("targets", "validate"),
}
HEAVY = ("ib_insync", "numpy", "sqlite_utils", "asyncio", "rich", "structlog", "requests")
HEAVY += ("holidays",)


@pytest.fixture
def targets() -> str:
    """Write a targets file into the current directory, where the default is looked for."""
    Path("targets.csv").write_text("symbol,weight\nAAPL,0.5\nIBM,0.1\n", encoding="utf-8")
    return "targets.csv"


@pytest.mark.parametrize("noun", READS)
def test_json_is_one_object_with_its_schema(
    noun: str, ibloop: Callable, targets: str, traded: Path
) -> None:
    """Every read command: `{"schema": "ibloop.NOUN.v1", "data": ...}`, and nothing beside it."""
    said = ibloop(*READS[noun], "--json", "--data", traded)
    document = json.loads(said.out)
    assert set(document) == {"schema", "data"}
    assert document["schema"] == f"ibloop.{noun.partition(' ')[0]}.v1"
    assert said.code == (3 if noun == "status" else 0)


@pytest.mark.parametrize("noun", [noun for noun in READS if noun != "db schema"])
def test_without_a_terminal_there_are_tabs_and_no_escapes(
    noun: str, ibloop: Callable, targets: str, traded: Path
) -> None:
    """A pipe gets text that `cut` and `awk` can use."""
    said = ibloop(*READS[noun], "--data", traded)
    assert "\x1b" not in said.out
    assert "─" not in said.out
    assert "\t" in said.out or noun in {"db", "config check"}


def test_json_holds_every_digit_as_text(ibloop: Callable, traded: Path) -> None:
    """Money is a decimal: a JSON number would make a float of it."""
    (fill,) = ibloop("fills", "list", "--json", "--data", traded).data
    assert (fill["price"], fill["commission"]) == ("10.054321", "1")
    assert fill["executed_at"] == "2026-11-20T15:30:00.000Z"


def test_a_row_is_one_line_whatever_the_broker_said(ibloop: Callable, traded: Path) -> None:
    """Tabs and line ends inside a text would shift the columns."""
    said = ibloop("orders", "list", "--data", traded)
    header, *rows = said.out.splitlines()
    assert {line.count("\t") for line in (header, *rows)} == {7}
    why = {row.split("\t")[0]: row.split("\t")[-1] for row in rows}
    assert why["ibl:2026W47:BBB:S:0"] == "broker 201: Order rejected - reason: no locate"


def test_talk_goes_to_stderr(ibloop: Callable, targets: str, traded: Path) -> None:
    """The table alone is on stdout: what is said about it would spoil a pipe."""
    said = ibloop("positions", "list", "--data", traded)
    assert said.out == "SYMBOL\tQUANTITY\tAVG COST\nAAA\t100\t10.0543\n"
    assert said.err == "as of 2026-11-20 15:30:00 UTC\n"
    said = ibloop("targets", "validate", "--data", traded)
    assert said.out == "SYMBOL\tWEIGHT\nAAPL\t0.5\nIBM\t0.1\n"
    assert "2 targets, total 0.6" in said.err


def test_global_options_count_before_and_after_the_subcommand(
    ibloop: Callable, traded: Path
) -> None:
    """Wherever they stand they mean the same; the later one wins."""
    after = ibloop("run", "list", "--data", traded)
    assert after.code == 0
    assert "2026W47" in after.out
    assert ibloop("--data", traded, "run", "list") == after
    assert ibloop("run", "--data", traded, "list") == after
    assert ibloop("--data", "/nowhere", "run", "list", "--data", traded) == after
    assert ibloop("--data", traded, "run", "list", "--data", "/nowhere").code == 78


def test_a_terminal_gets_an_aligned_table(on_terminal: Callable, traded: Path) -> None:
    """Numbers with equal places, the order's name in one piece, statuses in colour."""
    said = on_terminal("orders", "list", "--data", traded).finish()
    assert said.code == 0
    assert "─" in said.out
    assert "\x1b[32mfilled" in said.out
    assert "\x1b[31mrejected" in said.out
    assert "ibl:2026W47:BBB:S:0" in said.out
    assert " 10.0543\r\n" in said.out
    assert "10.054321" not in said.out


@pytest.mark.parametrize("command", [("status",), ("run", "show", "2026W47"), ("doctor",)])
def test_no_color_is_obeyed(command: tuple[str, ...], on_terminal: Callable, traded: Path) -> None:
    """https://no-color.org: the table stays, the escapes go; an empty value does not count."""
    plain = on_terminal(*command, "--data", traded, NO_COLOR="1").finish()
    assert "─" in plain.out
    assert "\x1b" not in plain.out
    assert "\x1b" in on_terminal(*command, "--data", traded, NO_COLOR="").finish().out


def test_watch_draws_over_itself_and_ends_with_ctrl_c(on_terminal: Callable, traded: Path) -> None:
    """No clearing between two pictures, which would flicker; exit 0, for nothing has failed."""
    terminal = on_terminal("status", "--watch", "--data", traded)
    drawn = terminal.until(lambda text: text.count("\x1b[H") >= 3)
    assert drawn.count("\x1b[2J") <= 1
    assert drawn.count("last run") >= 2
    terminal.child.send_signal(signal.SIGINT)
    said = terminal.finish()
    assert said.code == 0
    assert "Traceback" not in said.out
    assert "Aborted" not in said.out


def test_watch_and_json_exclude_each_other(ibloop: Callable) -> None:
    """One object is what --json promises."""
    said = ibloop("status", "--watch", "--json")
    assert (said.code, said.out) == (2, "")


@pytest.mark.parametrize("arguments", [("--help",), ("status",)])
def test_the_light_commands_import_nothing_heavy(
    arguments: tuple[str, ...], traded: Path, tmp_path: Path
) -> None:
    """What a person types most answers at once: a second of imports is for those who trade."""
    script = (
        "import sys\nfrom ibloop.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print(sorted(set(sys.modules) & {set(HEAVY)!r}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments, "--data", str(traded)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.stdout
    assert done.stderr == "[]\n"


def test_a_closed_pipe_is_no_failure(traded: Path, tmp_path: Path) -> None:
    """`ibloop db schema | head -1` ends quietly."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "ibloop", "db", "schema"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=env,
        cwd=tmp_path,
    )
    os.close(writer)
    assert done.stderr == ""


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """What cannot be written is said, and the exit code tells that it failed."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ibloop", "db", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            cwd=tmp_path,
        )
    assert (done.returncode, done.stderr) == (1, "ibloop: No space left on device\n")

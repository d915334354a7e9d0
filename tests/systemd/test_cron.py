"""bin/ibloop-rebalance as cron calls it: alone, quiet when well, with the command's exit code."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.systemd.conftest import ROOT

IBLOOP = """#!/bin/sh
echo "$* umask=$(umask)" > "$(dirname "$0")/asked"
echo "run 2026W47 is $STATE"
exit $CODE
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return the script, installed beside an ibloop that only writes down what it is asked."""
    bindir = tmp_path / "bin"
    bindir.mkdir()
    (tmp_path / "run").mkdir()
    shutil.copy(ROOT / "bin" / "ibloop-rebalance", bindir)
    (bindir / "ibloop").write_text(IBLOOP, encoding="utf-8")
    (bindir / "ibloop").chmod(0o755)
    return bindir / "ibloop-rebalance"


def call(script: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Call it with an environment as short as cron's."""
    environment = {"PATH": "/usr/bin:/bin", "CODE": "0", "STATE": "done"}
    environment["IBLOOP_RUN_DIR"] = str(script.parents[1] / "run")
    return subprocess.run(
        (str(script), *arguments),
        env={**environment, **more},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_asks_with_if_due_and_is_quiet(script: Path) -> None:
    """The command beside it is found without a PATH; further options are passed on."""
    done = call(script, "paper", "--targets", "my targets.csv")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    asked = (script.parent / "asked").read_text(encoding="utf-8")
    assert asked == "rebalance --profile paper --if-due --targets my targets.csv umask=0007\n"


@pytest.mark.parametrize("code", [1, 65, 69, 77, 78])
def test_a_failure_is_told_with_its_code(code: int, script: Path) -> None:
    """cron sends as mail what stands on stderr."""
    done = call(script, "paper", CODE=str(code), STATE="blocked")
    assert done.returncode == code
    assert f"paper: exit code {code}: run 2026W47 is blocked" in done.stderr


def test_one_at_a_time_for_each_profile(script: Path) -> None:
    """While one is at work the next ends with 75; another profile is not held up."""
    lock = script.parents[1] / "run" / "rebalance.paper.lock"
    with lock.open("w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = call(script, "paper")
        assert done.returncode == 75
        assert "still at work" in done.stderr
        assert not (script.parent / "asked").exists()
        assert call(script, "live").returncode == 0
    assert call(script, "paper").returncode == 0


@pytest.mark.parametrize("arguments", [(), ("",), ("../paper",), ("Paper",), ("--targets",)])
def test_a_profile_is_needed(arguments: tuple[str, ...], script: Path) -> None:
    """A missing or impossible name is a usage error: exit 2."""
    done = call(script, *arguments)
    assert done.returncode == 2
    assert "expected the name of a profile" in done.stderr


def test_without_a_directory_for_the_lock_it_refuses(script: Path) -> None:
    """Exit 78, naming the directory and the way out."""
    done = call(script, "paper", IBLOOP_RUN_DIR="/nonexistent")
    assert done.returncode == 78
    assert "IBLOOP_RUN_DIR" in done.stderr

"""The bench runs: every number is measured, none is judged."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent / "sim.py"
QUICK = ("--rounds", "1", "--seconds", "0.05", "--orders", "3", "--truth", "5")


@pytest.mark.e2e
def test_every_number_of_the_table_is_measured() -> None:
    """A round of everything, as short as can be; what the numbers are is nobody's promise."""
    command = [sys.executable, str(BENCH), "--json", *QUICK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert " cores" in result["machine"]
    titles = re.findall(r'^    "(\w+)": f?"', BENCH.read_text(), re.MULTILINE)
    assert set(result["rounds"]) == set(titles)
    assert all(value >= 0 for values in result["rounds"].values() for value in values)


def test_all_programs_together_print_one_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A program that reads the numbers gets one JSON document, and no number is left out."""
    monkeypatch.syspath_prepend(str(BENCH.parent))
    every = importlib.import_module("every")
    for name in ("one", "two"):
        document = json.dumps({"rounds": {name: [1.0]}})
        (tmp_path / f"{name}.py").write_text(f"print({document!r})")
    monkeypatch.setattr(every, "HERE", tmp_path)
    monkeypatch.setattr(every, "PROGRAMS", {"one": (), "two": ("--quick",)})
    monkeypatch.setattr(sys, "argv", ["every.py", "--json", "--quick"])
    assert every.main() == 0
    printed = json.loads(capfd.readouterr().out)
    assert " cores" in printed.pop("machine")
    assert printed == {name: {"rounds": {name: [1.0]}} for name in ("one", "two")}


def test_every_program_that_measures_is_run() -> None:
    """A benchmark with a table of its own is part of the whole."""
    takes_json = {p.stem for p in BENCH.parent.glob("*.py") if '"--json"' in p.read_text()}
    run = set(
        re.findall(r'^    "(\w+)": \(', (BENCH.parent / "every.py").read_text(), re.MULTILINE)
    )
    assert run == takes_json - {"every", "test_bench"}


@pytest.mark.e2e
def test_every_number_of_the_stream_files_is_measured() -> None:
    """As short as can be; without a C compiler the floors are left out, with a word."""
    bench = Path(__file__).parent / "stream_files.py"
    command = [sys.executable, str(bench), "--json", "--plan", "tiny"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=BENCH.parents[2],
        env=os.environ | {"PYTHONPATH": "."},
    )
    assert done.returncode == 0, done.stderr
    found = set(json.loads(done.stdout)["rounds"])
    titles = set(re.findall(r'^    "(\w+)": "', bench.read_text(), re.MULTILINE))
    in_c = {"floor_us", "publish_ratio", "replace_floor_us", "read_floor_us"}
    assert found == (titles if shutil.which("gcc") or shutil.which("cc") else titles - in_c)

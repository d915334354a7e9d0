"""The bench runs: every number is measured, none is judged."""

import json
import re
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

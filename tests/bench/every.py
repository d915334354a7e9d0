"""Run every benchmark, one after the other: `make bench`, or `python tests/bench/every.py`.

With ``--json`` one document is printed: the machine, and each program's document under its name.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from sim import machine

HERE = Path(__file__).parent
PROGRAMS = {
    "sim": (),
    "execution": ("--quick",),
    "stream_decode": ("--rounds", "1"),
    "stream_files": ("--quick",),
    "stream_wire": ("--rounds", "1"),
    "guard": (),
    "risk": (),
}
"""Each program and the options that make it short; all of them take ``--json``."""


def main() -> int:
    """Run them; return the first exit code that is not 0."""
    parser = argparse.ArgumentParser(description="Run every benchmark.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="the short forms")
    parser.add_argument("--only", nargs="*", choices=PROGRAMS, default=list(PROGRAMS))
    given = parser.parse_args()
    found: dict[str, object] = {"machine": machine()}
    for name in given.only:
        options = PROGRAMS[name] if given.quick else ()
        command = [sys.executable, str(HERE / f"{name}.py"), *options]
        if not given.json:
            done = subprocess.run(command, check=False)
        else:
            done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, check=False)
        if done.returncode:
            return done.returncode
        if given.json:
            found[name] = json.loads(done.stdout)
    if given.json:
        print(json.dumps(found, indent=1))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())

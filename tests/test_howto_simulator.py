"""Every example of the simulator's pages runs as it is printed, on other ports."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ibloop.sim.faults.registry import REGISTRY
from ibloop.sim.testing import Simulator, running
from tests.clients.matrix import ENVIRONMENTS, KINDS

ROOT = Path(__file__).resolve().parents[1]
HOWTO = ROOT / "docs/how-to/test-your-bot-against-the-simulator.md"
REFERENCE = ROOT / "docs/reference/simulator.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# The ports of the pages.
API_PORT, CONTROL_PORT = "4002", "4003"
WAIT_S = 60

pytestmark = pytest.mark.e2e


def blocks(page: Path, language: str) -> list[str]:
    """Return the page's blocks of code in a language."""
    return [
        code for found, code in BLOCK.findall(page.read_text(encoding="utf-8")) if found == language
    ]


def named(page: Path, language: str, name: str) -> str:
    """Return the one block whose first line is a comment with this name."""
    (code,) = [
        code
        for code in blocks(page, language)
        if re.fullmatch(rf"(#|//) {re.escape(name)}", code.splitlines()[0])
    ]
    return code


def on_ports(code: str, simulator: Simulator) -> str:
    """Return code with this simulator's ports."""
    code = code.replace(API_PORT, str(simulator.port))
    return code.replace(CONTROL_PORT, str(simulator.control_port))


def free_ports() -> tuple[str, str]:
    """Return two ports that nobody has, for the examples that must name theirs.

    They are below those that the system gives to other tests meanwhile.
    """
    free: list[str] = []
    while len(free) < 2:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            free.append(str(port))
    return free[0], free[1]


def run(command: list[str | Path], directory: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command in a directory of its own; `ibloop` is on its path and importable."""
    shim = directory / "bin" / "ibloop"
    shim.parent.mkdir(exist_ok=True)
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ibloop "$@"\n')
    shim.chmod(0o755)
    path = f"{shim.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=directory,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Return a simulator with a frozen market and AAPL offered at 100."""
    with running() as simulator:
        simulator.quote("AAPL", bid=99.98, ask=100.00)
        yield simulator


@pytest.mark.clients
@pytest.mark.parametrize("client", [kind.name for kind in KINDS])
def test_the_example_of_each_client_buys_ten_shares(
    client: str, simulator: Simulator, tmp_path: Path
) -> None:
    """With the client as it is installed from its registry."""
    (kind,) = [kind for kind in KINDS if kind.name == client]
    kind.require()
    command: list[str | Path]
    if client == "stoqey":
        example = tmp_path / "bot.mjs"
        example.write_text(on_ports(named(HOWTO, "js", "@stoqey/ib"), simulator))
        (tmp_path / "node_modules").symlink_to(ENVIRONMENTS / "stoqey" / "node_modules")
        command = ["node", example]
    else:
        example = tmp_path / "bot.py"
        name = "ibapi" if "ibapi" in client else client
        example.write_text(on_ports(named(HOWTO, "python", name), simulator))
        command = [ENVIRONMENTS / client / "bin" / "python", example]
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Filled 100(\.0)?$", done.stdout.strip()), done.stdout + done.stderr
    (execution,) = simulator.executions()
    assert (execution["symbol"], execution["shares"], execution["price"]) == ("AAPL", 10, 100)


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    """Conftest, tests and the fixture that says how to begin, each under the name it has there."""
    for name in ("conftest.py", "test_bot.py", "test_poor.py"):
        (tmp_path / name).write_text(named(HOWTO, "python", name))
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], tmp_path)
    assert "4 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("page", "name", "output"),
    [(HOWTO, "running", r"100(\.0)?\n"), (REFERENCE, "embedded", r"\d+ \d+\n")],
)
def test_the_simulator_in_python(page: Path, name: str, output: str, tmp_path: Path) -> None:
    """In a block, and in an event loop of the caller's own."""
    done = run([sys.executable, "-W", "error", "-c", named(page, "python", name)], tmp_path)
    assert re.fullmatch(output, done.stdout), done.stdout + done.stderr


def shell_examples() -> list[str]:
    """Return the shell blocks that talk to a running simulator."""
    return [code for code in blocks(HOWTO, "sh") if "curl" in code and "# ci" not in code]


@pytest.mark.parametrize("code", shell_examples())
def test_shell_examples(code: str, simulator: Simulator, tmp_path: Path) -> None:
    """Each line succeeds, and none of the control port's answers is an error."""
    done = run(["bash", "-euo", "pipefail", "-c", on_ports(code, simulator)], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"error"' not in done.stdout
    assert done.stdout


def test_it_starts_as_the_page_says(tmp_path: Path) -> None:
    """The first line a reader types; Ctrl-C ends it."""
    api_port, control_port = free_ports()
    line = blocks(HOWTO, "sh")[0].strip()
    line = line.replace(API_PORT, api_port).replace(CONTROL_PORT, control_port)
    command = [sys.executable, "-m", *line.split()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f'"port": {api_port}, "control_port": {control_port}' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0


@pytest.mark.clients
def test_the_recipe_for_continuous_integration(tmp_path: Path) -> None:
    """With the bot of the page, for Node; the truth it keeps has the bot's order."""
    (kind,) = [kind for kind in KINDS if kind.name == "stoqey"]
    kind.require()
    api_port, control_port = free_ports()

    def moved(code: str) -> str:
        return code.replace(API_PORT, api_port).replace(CONTROL_PORT, control_port)

    (tmp_path / "bot.mjs").write_text(moved(named(HOWTO, "js", "@stoqey/ib")))
    (tmp_path / "node_modules").symlink_to(ENVIRONMENTS / "stoqey" / "node_modules")
    done = run(["bash", "-euo", "pipefail", "-c", moved(named(HOWTO, "sh", "ci"))], tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"status": "Filled"' in (tmp_path / "truth.json").read_text()


def test_the_faults_of_the_page_exist(simulator: Simulator) -> None:
    """By name, with the parameters it names; each can begin."""
    rows = re.findall(r"^\| .+? \| `(\w+)`(?: with `(\w+)`)? \|$", HOWTO.read_text(), re.MULTILINE)
    assert len(rows) > 5
    for name, parameter in rows:
        assert name in REGISTRY
        simulator.fault(name, **({parameter: True} if parameter else {}))

"""`ibloop sim` as a process: ready line, signals, exit codes."""

import gzip
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from ibloop.cli.sim import sim
from ibloop.sim import AccountSpec, faults

COMMAND = [sys.executable, "-c", "from ibloop.cli.sim import sim; sim()"]


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start `ibloop sim`; end it by force if the test did not."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ready_line(process: subprocess.Popen[str]) -> dict[str, object]:
    """Read the ready line."""
    assert process.stdout is not None
    line: dict[str, object] = json.loads(process.stdout.readline())
    return line


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_ends_cleanly(number: signal.Signals) -> None:
    """One JSON line, nothing else on stdout or stderr, exit 0 with a client connected."""
    with started("--port", "0", "--speed", "60", "--account", "DU1", "--account", "DU2") as process:
        line = ready_line(process)
        assert set(line) == {"event", "host", "port", "control_port"}
        assert (line["event"], line["host"]) == ("sim.ready", "127.0.0.1")
        url = f"http://127.0.0.1:{line['control_port']}/truth"
        with urllib.request.urlopen(url) as answer:
            assert set(json.load(answer)["accounts"]) == {"DU1", "DU2"}
        with socket.create_connection(("127.0.0.1", int(str(line["port"])))) as client:
            client.sendall(b"API\0\0\0\0\x09v157..176")
            assert b"176\0" in client.recv(100)
            process.send_signal(number)
            assert process.communicate(timeout=20) == ("", "")
        assert process.returncode == 0


@pytest.mark.e2e
def test_a_port_in_use_is_a_configuration_error() -> None:
    """One sentence on stderr, exit 78, no ready line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with started("--port", port) as process:
            output, errors = process.communicate(timeout=20)
    assert process.returncode == 78
    assert output == ""
    assert errors.startswith(f"ibloop sim: cannot listen on 127.0.0.1:{port}: ")
    assert errors.count("\n") == 1


@pytest.mark.e2e
def test_a_state_file_in_use_is_a_configuration_error(tmp_path: Path) -> None:
    """The second simulator names the lock and leaves the first alone."""
    state = str(tmp_path / "state")
    with started("--port", "0", "--state", state) as first:
        ready_line(first)
        with started("--port", "0", "--state", state) as second:
            _, errors = second.communicate(timeout=20)
        assert second.returncode == 78
        assert "another simulator uses this state file" in errors
        assert first.poll() is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--fault", "nonsense"], 78, "no fault named 'nonsense'; GET /faults lists them"),
        (["--fault", "frezze:seconds=1"], 78, "did you mean freeze?"),
        (["--fault", "order_rejected:symbol=ZZZ"], 78, "expected a symbol of the universe"),
        (["--fault", "muted:messages=x"], 78, "expected message ids the simulator sends"),
        (["--fault", "ack_dropped:probability=2"], 78, "as a number from 0 to 1, was 2"),
        (["--date", "2099-01-01"], 78, "no history on or after 2099-01-01"),
        (["--date", "1990-01-01"], 78, "no history on 1990-01-01: it begins on"),
        (["--account", "DU1:margin:1000", "--account", "DU1:cash:5"], 78, "each account once"),
        (["--account", "DU1,DU2"], 78, "expected an account id"),
        (["--state", "/proc/none/state"], 78, "cannot write the state file"),
        (["--host", "not.a.host.invalid"], 78, "cannot listen on"),
        (["--hours", "exchange", "--speed", "60"], 78, "expected speed 1, or 0"),
        (["--synthetic", "10001"], 2, "is not in the range"),
        (["--market-data", "some"], 2, "is not one of"),
        (["--cash", "-5"], 2, "expected an amount above 0"),
        (["--cash", "nan"], 2, "expected an amount above 0"),
        (["--date", "tomorrow"], 2, "does not match the format"),
        (["--speed", "-1"], 2, "is not in the range"),
        (["--speed", "nan"], 2, "expected a number, was nan"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(
    arguments: list[str], code: int, message: str
) -> None:
    """Usage errors exit 2, configuration errors 78; both say what was expected."""
    result = CliRunner().invoke(sim, ["--port", "0", *arguments])
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


def test_faults_are_listed() -> None:
    """With their parameters and defaults, as the command line takes them."""
    result = CliRunner().invoke(sim, ["--list-faults"])
    assert result.exit_code == 0
    assert "partial_fills: Orders fill in slices" in result.output
    assert "    interval_s=0.5  least seconds" in result.output
    assert "    client_id=none  " in result.output


@pytest.mark.e2e
def test_a_fault_of_the_command_line_is_in_force() -> None:
    """`--fault NAME:key=value` begins with the simulator."""
    with started("--port", "0", "--fault", "ack_late:delay_s=7,symbol=IBM") as process:
        line = ready_line(process)
        url = f"http://127.0.0.1:{line['control_port']}/faults"
        with urllib.request.urlopen(url) as answer:
            (active,) = json.load(answer)["active"]
    assert (active["name"], active["symbol"], active["times"]) == ("ack_late", "IBM", 1)
    assert (active["delay_s"], active["struck"]) == (7.0, 0)


@pytest.mark.e2e
def test_the_market_of_the_command_line_is_played() -> None:
    """Synthetic symbols have a price, and on Christmas nobody trades."""
    options = ("--hours", "exchange", "--synthetic", "3", "--sample-ms", "20")
    with started("--port", "0", *options) as process:
        control = f"http://127.0.0.1:{ready_line(process)['control_port']}"
        for path, body in (
            ("/quote", {"symbol": "SYN003", "last": 12.5}),
            ("/clock", {"to": "2026-12-25T12:00:00-05:00"}),
        ):
            request = urllib.request.Request(control + path, json.dumps(body).encode())  # noqa: S310 - ours
            with urllib.request.urlopen(request) as answer:  # noqa: S310 - ours
                told = json.load(answer)
            assert told.get("last", 12.5) == 12.5
    assert told["server_time"].startswith("2026-12-25T17:00:0")


def test_every_option_has_its_group() -> None:
    """An option that is added shows up where its like are; only what is left stands under Other."""
    grouped = [name for names in sim.groups.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert {param.name for param in sim.params} - set(grouped) == {"verbose"}


def examples() -> list[list[str]]:
    """Return the arguments of the examples in the help."""
    lines = (sim.help or "").partition("Examples:")[2].splitlines()
    commands = [re.split(r"  +", line.strip())[0] for line in lines if line.strip()]
    return [shlex.split(command)[2:] for command in commands]


@pytest.mark.parametrize("arguments", examples(), ids=" ".join)
def test_the_examples_of_the_help_are_right(arguments: list[str]) -> None:
    """Whoever copies one gets a simulator, not an error."""
    given = sim.make_context("ibloop sim", list(arguments)).params
    assert all(faults.parse(text) for text in given["faults"])
    assert all(AccountSpec.parse(text) for text in given["accounts"])


def recording(path: Path) -> Path:
    """Write a recording of half a second and return its path."""
    state = {"symbol": "AAPL", "con_id": 265598, "boot_id": "a", "halted": None, "volume": None}
    state["received_at"] = "2026-11-20T15:00:00Z"
    numbers = ("bid", "ask", "last", "open", "high", "low", "close")
    state |= dict.fromkeys((*numbers, "bid_size", "ask_size", "last_size"), 5)
    lines = [
        json.dumps(state | {"boottime_ns": n * 10**8}, separators=(",", ":")) for n in range(6)
    ]
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))
    return path


@pytest.mark.e2e
def test_it_says_when_a_recording_is_over(tmp_path: Path) -> None:
    """The prices of a simulator seldom stand still: it is told, and it goes on serving."""
    with started("--port", "0", "--replay", str(recording(tmp_path / "day.gz"))) as process:
        ready_line(process)
        assert process.stderr is not None
        assert "the recording is over; its prices stand still" in process.stderr.readline()
        assert process.poll() is None


@pytest.mark.parametrize(
    "arguments", [("--hours", "exchange"), ("--market-data", "delayed")], ids=lambda a: a[0]
)
def test_what_a_recording_cannot_do_is_a_usage_error(
    arguments: tuple[str, str], tmp_path: Path
) -> None:
    """It has hours of its own and knows no prices of a quarter of an hour before."""
    path = recording(tmp_path / "day.gz")
    done = CliRunner().invoke(sim, ["--port", "0", "--replay", str(path), *arguments])
    assert done.exit_code == 2
    assert "a recording has hours of its own" in done.output


@pytest.mark.parametrize(
    "content",
    [None, b"no gzip", gzip.compress(b"[]\n", mtime=0)],
    ids=["missing", "no gzip", "no recording"],
)
def test_what_is_no_recording_exits_78(content: bytes | None, tmp_path: Path) -> None:
    """The file is named, and there is no traceback."""
    path = tmp_path / "day.gz"
    if content is not None:
        path.write_bytes(content)
    done = CliRunner().invoke(sim, ["--port", "0", "--replay", str(path)])
    assert done.exit_code == 78
    assert str(path) in done.output

"""A gateway run by a command: when it counts as started, how it ends, and bin/ib-gateway itself."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.config import BUILTIN_TOML, parse
from ibloop.core.gateway import LOGIN_PACE, QUICK_PACE, restart_delay_s
from ibloop.daemons import launchers
from ibloop.daemons.gateway import GatewayKeeper, _launcher
from ibloop.daemons.launchers import SECOND_FACTOR_MARK, CommandLauncher, SimLauncher
from ibloop.errors import ConfigError, GatewayUnavailableError

DEADLINE_S = 30.0
ROOT = Path(__file__).resolve().parents[2]
LISTEN = """
import os, socket, sys, time
if "ask" in sys.argv:
    sys.stdout.write("IBC: Second Factor Authen"); sys.stdout.flush(); time.sleep(0.05)
    sys.stdout.write("tication initiated\\n"); sys.stdout.flush()
    while not os.path.exists(sys.argv[3]):
        time.sleep(0.02)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    server.accept()
"""
"""A program that listens, at once or (with ``ask PATH``) when a person has made the file."""


@pytest.fixture
def port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listening(port: int) -> bool:
    """Return whether somebody listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def gone(pid: int) -> bool:
    """Return whether a process has ended; one that nobody has reaped yet has."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"expected {what}"
        await asyncio.sleep(0.01)
    return found


def play(scenario: Callable[[CommandLauncher], Awaitable[None]], port: int, *command: str) -> None:
    """Play a scenario with a launcher of a command; stop it in the end."""

    async def run() -> None:
        launcher = CommandLauncher(command, "127.0.0.1", port)
        try:
            await scenario(launcher)
        finally:
            await launcher.stop()

    asyncio.run(run())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for the port every few milliseconds."""
    monkeypatch.setattr(launchers, "LISTEN_POLL_S", 0.02)


def test_a_command_has_started_when_it_listens(port: int) -> None:
    """Start returns the configured address once somebody listens there; stop ends the command."""

    async def scenario(launcher: CommandLauncher) -> None:
        address = await launcher.start()
        assert (address.host, address.port, address.control_port) == ("127.0.0.1", port, None)
        assert listening(port)
        await launcher.stop()
        assert not listening(port)

    play(scenario, port, sys.executable, "-c", LISTEN, str(port))


def test_nothing_is_started_where_somebody_else_listens() -> None:
    """Another program's port must not be taken for our gateway's."""

    async def scenario(launcher: CommandLauncher) -> None:
        with pytest.raises(GatewayUnavailableError, match="another program listens"):
            await launcher.start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        play(scenario, server.getsockname()[1], "/nonexistent")


@pytest.mark.parametrize("command", ["/nonexistent/ib-gateway", "/etc/passwd"])
def test_a_command_that_cannot_be_run_is_a_configuration_error(command: str, port: int) -> None:
    """Trying again would not help: exit 78."""

    async def scenario(launcher: CommandLauncher) -> None:
        with pytest.raises(ConfigError, match=command):
            await launcher.start()

    play(scenario, port, command)


@pytest.mark.parametrize(
    ("end", "error", "message"),
    [
        ("exit 1", GatewayUnavailableError, "ended by exit code 1"),
        ("exit 87", GatewayUnavailableError, "ended by exit code 87"),
        ("kill -9 $$", GatewayUnavailableError, "ended by signal SIGKILL"),
        ("exit 78", ConfigError, "configuration is wrong"),
    ],
)
def test_how_a_command_ends_before_it_listens(
    end: str, error: type[Exception], message: str, port: int
) -> None:
    """Most ends are tried again; 78 is for a person, because a wrong password locks the user."""

    async def scenario(launcher: CommandLauncher) -> None:
        with pytest.raises(error, match=message):
            await launcher.start()

    play(scenario, port, "/bin/sh", "-c", end)


def test_a_command_that_never_listens_is_ended(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung start does not last for ever."""
    monkeypatch.setattr(launchers, "LISTEN_S_MAX", 0.2)

    async def scenario(launcher: CommandLauncher) -> None:
        with pytest.raises(GatewayUnavailableError, match="nobody listens"):
            await launcher.start()
        assert launcher._process is None

    play(scenario, port, "/bin/sleep", "600")


def test_a_login_that_waits_for_a_person_is_not_ended(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second factor is reported once, even when it is printed in two pieces, and may take."""
    confirmed = tmp_path / "confirmed"
    asked: list[int] = []

    async def scenario(launcher: CommandLauncher) -> None:
        launcher.on_second_factor = lambda: asked.append(1)
        task = asyncio.create_task(launcher.start())
        await until(lambda: asked, "to be asked for the second factor")
        monkeypatch.setattr(launchers, "LISTEN_S_MAX", 0.0)
        await asyncio.sleep(10 * launchers.LISTEN_POLL_S)
        assert not task.done()
        confirmed.touch()
        await asyncio.wait_for(task, DEADLINE_S)
        assert asked == [1]

    play(scenario, port, sys.executable, "-c", LISTEN, str(port), "ask", str(confirmed))


def test_what_a_dead_command_leaves_behind_is_killed(port: int, tmp_path: Path) -> None:
    """A Java that outlives its killed script would keep the port and the login."""
    pid_file = tmp_path / "pid"
    script = f'"{sys.executable}" -c "$1" {port} & echo $! > "{pid_file}"; wait'

    async def scenario(launcher: CommandLauncher) -> None:
        await launcher.start()
        assert launcher._process is not None
        launcher._process.kill()
        assert "SIGKILL" in await launcher.wait()
        await until(lambda: gone(int(pid_file.read_text())), "the rest of the group to end")
        assert not listening(port)

    play(scenario, port, "/bin/sh", "-c", script, "sh", LISTEN)


def test_a_command_that_ignores_sigterm_is_killed(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping takes no longer than the time given for it."""
    monkeypatch.setattr(launchers, "COMMAND_STOP_S_MAX", 0.2)
    stubborn = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{LISTEN}"

    async def scenario(launcher: CommandLauncher) -> None:
        await launcher.start()
        process = launcher._process
        assert process is not None
        await launcher.stop()
        assert process.returncode == -signal.SIGKILL

    play(scenario, port, sys.executable, "-c", stubborn, str(port))


class DeafProbe:
    """A connection that nobody lets in."""

    def is_connected(self) -> bool:
        """Never."""
        return False

    async def connect(self) -> None:
        """Fail like a gateway that is not there."""
        raise GatewayUnavailableError("nobody listens")

    async def prove(self, _timeout_s: float) -> None:
        """Never asked."""

    def disconnect(self) -> None:
        """Do nothing."""


def test_the_second_factor_is_published(port: int, tmp_path: Path) -> None:
    """`_gateway.json` says waiting_2fa while the login waits, and goes on when it is confirmed."""
    confirmed = tmp_path / "confirmed"

    async def scenario(launcher: CommandLauncher) -> None:
        keeper = GatewayKeeper(launcher, lambda *_: DeafProbe(), "DU1234567", SystemClock())
        launcher.on_second_factor = keeper.second_factor_asked

        def says(status: str) -> bool:
            keeper.step()
            return keeper.report().status == status

        await until(lambda: says("waiting_2fa"), "waiting_2fa")
        assert "confirm" in keeper.report().detail
        confirmed.touch()
        await until(lambda: says("degraded"), "a gateway that listens and is not proven")
        await keeper.close()

    play(scenario, port, sys.executable, "-c", LISTEN, str(port), "ask", str(confirmed))


def test_a_command_is_restarted_at_the_pace_of_logins() -> None:
    """Ten seconds at first, a quarter of an hour at most; the simulator comes back at once."""
    assert restart_delay_s(1, LOGIN_PACE) == 10.0
    assert restart_delay_s(100, LOGIN_PACE) == 900.0
    assert restart_delay_s(1, QUICK_PACE) == 0.5


def test_the_configuration_names_the_command(tmp_path: Path) -> None:
    """Launcher and list need each other, and a command needs a port."""
    text = BUILTIN_TOML.replace('launcher = "sim"\nport = 0', "@")
    assert text.count("@") == 1
    text += '\n[universe]\nfile = "universe.csv"\n'
    good = 'launcher = "command"\ncommand = ["ib-gateway", "paper.ib"]\nport = 4002'
    config = parse(text.replace("@", good), "test")
    launcher = _launcher(config, tmp_path)
    assert isinstance(launcher, CommandLauncher)
    assert launcher._command == ("ib-gateway", "paper.ib")
    for bad, message in (
        ('launcher = "command"\nport = 4002', "need each other"),
        ('launcher = "external"\ncommand = ["x"]\nport = 4002', "need each other"),
        ('launcher = "command"\ncommand = ["x"]', "needs gateway.port"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse(text.replace("@", bad), "test")
    assert replace(config.gateway, port=1).command == config.gateway.command


# --- bin/ib-gateway -----------------------------------------------------------------------------

XVFB = """#!/bin/sh
echo "xvfb $*" >> "$LOG"
trap 'echo xvfb-ended >> "$LOG"; exit 0' TERM
echo 77 >&3
exec 3>&-
while :; do sleep 0.05; done
"""
IBCSTART = """#!/bin/bash
echo "ibc $* DISPLAY=$DISPLAY" >> "$LOG"
for word; do
    case $word in --ibc-ini=*) cp "${word#*=}" "$LOG.ini"; stat -c %a "${word#*=}" >> "$LOG" ;; esac
done
trap 'echo ibc-ended >> "$LOG"; exit 0' TERM
[ -z "$IBC_EXIT" ] || exit "$IBC_EXIT"
echo "IBC: Second Factor Authentication initiated"
while :; do sleep 0.05; done
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> dict[str, str]:
    """Make an Xvfb and an IBC that only write down what they are asked; return the environment."""
    for name, text in (("bin/Xvfb", XVFB), ("ibc/scripts/ibcstart.sh", IBCSTART)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    (tmp_path / "ibc.ini").write_text("TradingMode=paper\nIbPassword=\n", encoding="utf-8")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "ib-username").write_text("edemo\n", encoding="utf-8")
    (tmp_path / "secrets" / "ib-password").write_text("a b\\c€\n", encoding="utf-8")
    write_config(tmp_path)
    return {
        "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
        "LOG": str(tmp_path / "log"),
        "CREDENTIALS_DIRECTORY": str(tmp_path / "secrets"),
        "TMPDIR": str(tmp_path),
    }


def write_config(tmp_path: Path, **changes: str) -> Path:
    """Write the configuration file of bin/ib-gateway."""
    values = {
        "version": "1037",
        "mode": "paper",
        "ibc_path": f"{tmp_path}/ibc",
        "tws_path": f"{tmp_path}/Jts",
        "settings_path": f"{tmp_path}/settings",
        "ibc_ini": f"{tmp_path}/ibc.ini",
        **changes,
    }
    path = tmp_path / "gateway.conf"
    lines = ["# a comment", "", *(f"{key}={value}" for key, value in values.items() if value)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def start_wrapper(tmp_path: Path, environment: dict[str, str]) -> "subprocess.Popen[str]":
    """Start bin/ib-gateway with the stand-ins."""
    return subprocess.Popen(
        [str(ROOT / "bin" / "ib-gateway"), str(tmp_path / "gateway.conf")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.e2e
def test_the_wrapper_starts_ibc_on_its_own_screen(tmp_path: Path, stand_in: dict[str, str]) -> None:
    """IBC gets version, mode, paths and display; the password only in a file that goes away."""
    with start_wrapper(tmp_path, stand_in) as wrapper:
        assert wrapper.stdout is not None
        assert wrapper.stdout.readline().encode().strip().endswith(SECOND_FACTOR_MARK)
        command = Path(f"/proc/{wrapper.pid}/cmdline").read_bytes()
        wrapper.send_signal(signal.SIGTERM)
        wrapper.communicate(timeout=DEADLINE_S)
    assert wrapper.returncode == 143
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert "xvfb -displayfd 3" in log
    assert "ibc 1037 --gateway --mode=paper --on2fatimeout=exit" in log
    assert f"--tws-settings-path={tmp_path}/settings" in log
    assert "DISPLAY=:77" in log
    assert "\n600\n" in log
    assert log.splitlines()[-2:] == ["ibc-ended", "xvfb-ended"]
    ini = (tmp_path / "log.ini").read_text(encoding="utf-8")
    assert ini.startswith("TradingMode=paper\n")
    assert ini.endswith("\nIbLoginId=edemo\n\nIbPassword=a b\\\\c€\n")
    assert b"edemo" not in command
    assert "edemo" not in log
    assert list(tmp_path.glob("tmp.*")) == []


@pytest.mark.e2e
@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (4, 78), (87, 87), (88, 88)])
def test_the_wrapper_ends_as_ibc_does(
    code: int, expected: int, tmp_path: Path, stand_in: dict[str, str]
) -> None:
    """IBC's codes pass through; those for a wrong installation become 78."""
    with start_wrapper(tmp_path, {**stand_in, "IBC_EXIT": str(code)}) as wrapper:
        _, said = wrapper.communicate(timeout=DEADLINE_S)
    assert wrapper.returncode == expected, said
    assert "xvfb-ended" in (tmp_path / "log").read_text(encoding="utf-8")
    assert list(tmp_path.glob("tmp.*")) == []


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "latest"}, "version must be"),
        ({"mode": "demo"}, "mode must be paper or live"),
        ({"settings_path": ""}, "settings_path is missing"),
        ({"ibc_path": "/nonexistent"}, "there is no IBC"),
        ({"ibc_ini": "/nonexistent"}, "cannot read"),
        ({"password": "x"}, "unknown key 'password'"),
    ],
)
def test_the_wrapper_refuses_a_wrong_configuration(
    changes: dict[str, str], message: str, tmp_path: Path, stand_in: dict[str, str]
) -> None:
    """Exit 78, a sentence, and nothing was started."""
    write_config(tmp_path, **changes)
    with start_wrapper(tmp_path, stand_in) as wrapper:
        _, said = wrapper.communicate(timeout=DEADLINE_S)
    assert wrapper.returncode == 78
    assert message in said
    assert not (tmp_path / "log").exists()


@pytest.mark.e2e
def test_the_launcher_runs_the_wrapper(tmp_path: Path, stand_in: dict[str, str], port: int) -> None:
    """Through the launcher: the second factor is noticed, and stopping leaves no process."""
    asked: list[int] = []
    log = tmp_path / "log"
    environment = [f"{key}={value}" for key, value in stand_in.items()]
    command = ("env", "-i", *environment, str(ROOT / "bin" / "ib-gateway"))

    async def scenario(launcher: CommandLauncher) -> None:
        launcher.on_second_factor = lambda: asked.append(1)
        task = asyncio.create_task(launcher.start())
        await until(lambda: asked, "to be asked for the second factor")
        assert launcher._process is not None
        group = launcher._process.pid
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await launcher.stop()
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)

    play(scenario, port, *command, str(tmp_path / "gateway.conf"))
    assert re.search(r"ibc-ended\nxvfb-ended\n$", log.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("arguments", "accounts"),
    [
        ((), ["DU1234567"]),
        (("--account", "DU1234567:margin:5000"), ["DU1234567:margin:5000"]),
        (("--account=DU1234567:margin",), []),
    ],
)
def test_the_simulators_account_may_be_of_another_kind(
    tmp_path: Path, arguments: tuple[str, ...], accounts: list[str]
) -> None:
    """Named in sim_args it is opened as these say, and not a second time by us."""
    config = parse(BUILTIN_TOML, "test")
    config = replace(config, gateway=replace(config.gateway, sim_args=arguments))
    command = SimLauncher(config, tmp_path)._command()
    said = [command[n + 1] for n, word in enumerate(command) if word == "--account"]
    assert said == accounts
    assert set(arguments) <= set(command)

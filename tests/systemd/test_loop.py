"""The whole loop under a real systemd: it starts, trades by its timer, heals, and stops."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.systemd.conftest import LIBRARY, OPERATOR, OUTSIDER, PROFILE, write_profile
from tests.systemd.sdbox import Box, as_user

pytestmark = [pytest.mark.e2e, pytest.mark.systemd, pytest.mark.timeout(500)]

TARGET = "ibloop@paper.target"
DAEMONS = ("guard", "gateway", "stream", "executor", "alerts", "web")
TIMERS = ("ibloop-rebalance@paper.timer", "ibloop-backup@paper.timer")
EVERY_TWO_SECONDS = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\n"


def unit(daemon: str) -> str:
    """Return the unit of a daemon of the profile ``paper``."""
    return f"ibloop-{daemon}@paper.service"


def mode_of(path: Path) -> int:
    """Return the mode that a file of the data directory should have."""
    if path.is_dir():
        return 0o2770
    return 0o640 if path.parent.name == "backups" else 0o660


def is_active(box: Box, name: str) -> bool:
    """Return whether a unit is active."""
    return box.show(name, "ActiveState") == "active"


def ask(box: Box, *arguments: str) -> Any:
    """Return the data of an ibloop command as the operator sees it."""
    command = ("ibloop", *arguments, "--profile", "paper", "--json")
    done = box.run(*as_user(OPERATOR, command), check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)["data"]


def is_well(box: Box) -> bool:
    """Return whether `ibloop status` finds nothing to complain about."""
    return bool(ask(box, "status")["healthy"])


@pytest.fixture(scope="module")
def running(box: Box) -> Iterator[Box]:
    """Start the profile and wait until all is well."""
    box.systemctl("start", TARGET)
    box.until(lambda: is_well(box), "a healthy status", 90.0)
    yield box
    box.systemctl("stop", "ibloop.target")


def test_every_unit_is_active_and_says_how_it_is(running: Box) -> None:
    """One start brings up the daemons and the timers; `systemctl status` shows their word."""
    for name in (*map(unit, DAEMONS), *TIMERS, TARGET, "ibloop.target"):
        assert is_active(running, name), running.journal(name)
    words = {daemon: running.show(unit(daemon), "StatusText") for daemon in DAEMONS}
    assert words["gateway"].startswith("connected")
    assert words["executor"].startswith("ready")
    assert all(words.values()), words


def test_nothing_complained(running: Box) -> None:
    """Neither systemd nor a daemon had anything to warn of during the start."""
    for daemon in DAEMONS:
        journal = running.journal(unit(daemon))
        assert "Traceback" not in journal
        assert "Unknown" not in journal
        assert running.show(unit(daemon), "NRestarts") == "0", journal


def test_a_rebalance_by_its_timer_ends_in_fills(running: Box) -> None:
    """A tick asks, `--if-due` says yes once, and the fills are in the ledger."""
    running.write("/etc/systemd/system/ibloop-rebalance@.timer.d/test.conf", EVERY_TWO_SECONDS)
    running.systemctl("daemon-reload")
    running.systemctl("restart", "ibloop-rebalance@paper.timer")
    running.until(
        lambda: [run["status"] for run in ask(running, "run", "list")] == ["done"],
        "one run that is done",
        120.0,
    )
    assert len(ask(running, "fills", "list")) >= 5
    ticks = running.journal("ibloop-rebalance@paper.service").count("Finished")
    running.until(
        lambda: running.journal("ibloop-rebalance@paper.service").count("Finished") > ticks + 1,
        "further ticks",
    )
    assert len(ask(running, "run", "list")) == 1, "a tick that is not due makes no run"
    running.systemctl("stop", "ibloop-rebalance@paper.timer")


def test_cron_can_ask_as_well(running: Box) -> None:
    """With cron's short PATH: nothing is due, nothing is printed, the system log has the answer."""
    command = ("env", "-i", "PATH=/usr/bin:/bin", "/usr/local/bin/ibloop-rebalance", "paper")
    done = running.run(*as_user("ibloop", command))
    assert done.stdout + done.stderr == ""
    log = running.run("journalctl", "--no-pager", "-t", "ibloop-rebalance", "-o", "cat").stdout
    assert "paper: exit code 0" in log
    assert len(ask(running, "run", "list")) == 1


def test_the_ledger_is_backed_up(running: Box) -> None:
    """The backup's unit ends well under its sandbox."""
    running.systemctl("start", "ibloop-backup@paper.service")
    assert running.show("ibloop-backup@paper.service", "Result") == "success"


def test_all_files_belong_to_the_group(running: Box) -> None:
    """Files are 0660 and directories 2770: an operator can read the WAL ledger, and halt.

    A backup is not written again, so it is 0640.
    """
    data = running.path("/var/lib/ibloop/paper")
    group = running.path("/var/lib/ibloop").stat().st_gid
    found = {path: path.lstat() for path in (data, *data.rglob("*"))}
    assert {"ibloop.db", "ibloop.db-wal", "ibloop.db-shm", "ibloop.db.gate", "_wake"} <= {
        path.name for path in found
    }
    wrong = [
        f"{path}: {stat.filemode(status.st_mode)} gid {status.st_gid}"
        for path, status in found.items()
        if status.st_gid != group or stat.S_IMODE(status.st_mode) != mode_of(path)
    ]
    assert wrong == []


def test_an_outsider_sees_nothing(running: Box) -> None:
    """Who is not in the group reads neither the configuration nor the data."""
    for path in ("/etc/ibloop/paper.toml", "/var/lib/ibloop/paper/ibloop.db"):
        assert running.run(*as_user(OUTSIDER, ("cat", path)), check=False).returncode == 1
    command = ("ibloop", "halt", "let me in", "--profile", "paper")
    assert running.run(*as_user(OUTSIDER, command), check=False).returncode == 78


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_killed_daemon_comes_back(daemon: str, running: Box) -> None:
    """SIGKILL: a new process of the same unit, and the others go on as they were."""
    before = {name: running.show(unit(name), "MainPID") for name in DAEMONS}
    running.systemctl("kill", "--kill-whom=main", "--signal=KILL", unit(daemon))
    running.until(
        lambda: (
            is_active(running, unit(daemon))
            and running.show(unit(daemon), "MainPID") not in ("0", before[daemon])
        ),
        f"a new {daemon}",
        60.0,
    )
    after = {name: running.show(unit(name), "MainPID") for name in DAEMONS}
    assert {name for name in DAEMONS if after[name] != before[name]} == {daemon}
    running.until(lambda: is_well(running), "a healthy status", 90.0)


@pytest.mark.parametrize("daemon", ["gateway", "guard", "executor"])
def test_a_restart_touches_nobody_else(daemon: str, running: Box) -> None:
    """Each daemon may be restarted alone, in any order."""
    before = {name: running.show(unit(name), "MainPID") for name in DAEMONS}
    running.systemctl("restart", unit(daemon))
    after = {name: running.show(unit(name), "MainPID") for name in DAEMONS}
    assert {name for name in DAEMONS if after[name] != before[name]} == {daemon}
    running.until(lambda: is_well(running), "a healthy status", 90.0)


def test_a_hung_daemon_is_killed_by_its_watchdog(running: Box) -> None:
    """SIGSTOP: no step is completed, so nothing feeds the watchdog; the unit is started again."""
    running.write(
        "/etc/systemd/system/ibloop-stream@.service.d/test.conf", "[Service]\nWatchdogSec=3\n"
    )
    running.systemctl("daemon-reload")
    running.systemctl("restart", unit("stream"))
    before = running.show(unit("stream"), "MainPID")
    running.systemctl("kill", "--kill-whom=main", "--signal=STOP", unit("stream"))
    running.until(
        lambda: running.show(unit("stream"), "MainPID") not in ("0", before), "a new stream", 60.0
    )
    journal = running.journal(unit("stream"))
    assert "Watchdog timeout" in journal
    assert "Current thread" in journal, "the journal shows where it hung"


def test_a_wrong_configuration_fails_once(running: Box) -> None:
    """Exit 78: the unit fails, is not restarted, and the journal says so as critical."""
    write_profile(running, "wrong", "mode = 'paper'\n")
    running.systemctl("start", "ibloop-executor@wrong.service", check=False)
    for daemon in ("executor", "guard", "gateway"):
        name = f"ibloop-{daemon}@wrong.service"
        running.until(lambda name=name: running.show(name, "ActiveState") == "failed", "failure")  # type: ignore[misc]
        assert running.show(name, "ExecMainStatus") == "78"
        assert running.show(name, "NRestarts") == "0"
        told = f"ibloop-failed@{name}.service"
        running.until(
            lambda told=told, name=name: (
                f"{name} failed: exit-code, exit status 78"  # type: ignore[misc]
                in running.journal(told, "--priority=crit")
            ),
            f"{told} to speak",
        )


def test_a_profile_without_configuration_is_not_started(running: Box) -> None:
    """A mistyped profile makes no data directory."""
    done = running.run("systemctl", "start", "ibloop-guard@papre.service", check=False)
    assert done.returncode != 0
    assert "ssert" in done.stderr
    assert not running.path("/var/lib/ibloop/papre").exists()


def test_a_unit_that_failed_is_an_alert(running: Box) -> None:
    """A second stream exits 75, its unit stays down, and the outbox has the alert."""
    running.systemctl("stop", unit("stream"))
    hold = ("ibloop", "stream", "run", "--profile", "paper")
    running.run(
        *("systemd-run", "--unit=holder", "--uid=ibloop", "--gid=ibloop", "--property=UMask=0007"),
        *hold,
    )
    running.until(lambda: "daemon.started" in running.journal("holder"), "the holder")
    running.systemctl("start", unit("stream"), check=False)
    assert running.show(unit("stream"), "ExecMainStatus") == "75"
    running.until(
        lambda: any(
            alert["event"] == "unit.failed" and unit("stream") in alert["text"]
            for alert in ask(running, "alerts", "list")
        ),
        "an alert of the failed unit",
        60.0,
    )
    running.systemctl("stop", "holder")
    running.systemctl("reset-failed", unit("stream"))
    running.systemctl("start", unit("stream"))
    running.until(lambda: is_well(running), "a healthy status", 90.0)


def test_credentials_are_optional_and_passed_on(running: Box) -> None:
    """Without the file the daemon ran all along; with it, the token is only in its directory."""
    running.write("/etc/credstore/ibloop.paper.telegram-token", "123:abc", 0o600)
    running.run("chmod", "700", "/etc/credstore")
    running.systemctl("restart", unit("alerts"))
    token = running.path(f"/run/credentials/{unit('alerts')}/ibloop-telegram-token")
    running.until(token.exists, "the credential")
    assert token.read_text(encoding="utf-8") == "123:abc"
    assert stat.S_IMODE(token.stat().st_mode) & 0o077 in (0, 0o040)
    running.run("rm", "/etc/credstore/ibloop.paper.telegram-token")
    running.systemctl("restart", unit("alerts"))


def test_sigterm_during_the_start_is_a_clean_stop(running: Box) -> None:
    """A unit that is stopped before it is ready ends without a failure."""
    running.systemctl("stop", unit("guard"))
    running.systemctl("start", "--no-block", unit("guard"))
    running.until(lambda: running.show(unit("guard"), "MainPID") != "0", "a process")
    running.systemctl("stop", unit("guard"))
    assert running.show(unit("guard"), "Result") == "success"
    running.systemctl("start", unit("guard"))


def test_the_target_stops_in_order_and_an_operator_is_not_locked_out(running: Box) -> None:
    """Stop runs into no timeout; with every daemon down the operator reads, halts and resumes."""
    running.systemctl("stop", TARGET)
    for daemon in DAEMONS:
        running.until(
            lambda daemon=daemon: running.show(unit(daemon), "ActiveState") == "inactive",  # type: ignore[misc]
            f"the {daemon} to stop",
        )
        assert running.show(unit(daemon), "Result") == "success"
        assert "timed out" not in running.journal(unit(daemon))
    status = ask(running, "status")
    assert {line["status"] for line in status["daemons"]} == {"stopped"}
    assert ask(running, "fills", "list")
    command = ("ibloop", "halt", "nobody is there", "--profile", "paper")
    running.run(*as_user(OPERATOR, command))
    assert ask(running, "status")["halt"]["reason"] == "nobody is there"
    test_all_files_belong_to_the_group(running)
    running.systemctl("start", TARGET)
    running.until(lambda: is_active(running, unit("executor")), "the executor")
    assert ask(running, "status")["halt"]["reason"] == "nobody is there"
    running.run(*as_user(OPERATOR, ("ibloop", "resume", "all there", "--profile", "paper")))
    running.until(lambda: is_well(running), "a healthy status", 90.0)


def test_a_gateway_run_by_a_command_is_proven_as_well(running: Box) -> None:
    """Launcher `command` under the unit's sandbox, with the simulator as the command."""
    samples = next(running.path(LIBRARY).glob("lib/*/site-packages/ibloop/_samples")).as_posix()
    command = [
        *("/usr/local/bin/ibloop", "sim", "--port", "4002", "--account", "DU1234567"),
        *("--state", "/var/lib/ibloop/command/state.jsonl"),
    ]
    text = PROFILE.replace(
        'launcher = "sim"', f'launcher = "command"\nport = 4002\ncommand = {command}'
    )
    universe = f"{LIBRARY}{samples.partition(LIBRARY)[2]}/universe.csv"
    assert text.count("[universe]\n") == 1
    named = text.replace("[universe]\n", f'[universe]\nfile = "{universe}"\n')
    write_profile(running, "command", named)
    name = "ibloop-gateway@command.service"
    running.systemctl("start", name)
    running.until(lambda: running.show(name, "StatusText") == "connected", "a proven gateway", 60.0)
    running.systemctl("stop", name)
    assert running.show(name, "Result") == "success"


def test_a_ledger_made_by_an_operator_serves_the_daemons(running: Box) -> None:
    """Whoever of the group makes the ledger, before anything ever ran, locks nobody out."""
    write_profile(running, "fresh")
    for command in (("db", "migrate"), ("halt", "not yet")):
        running.run(*as_user(OPERATOR, ("ibloop", *command, "--profile", "fresh")))
    running.systemctl("start", "ibloop-guard@fresh.service", "ibloop-executor@fresh.service")
    for daemon in ("guard", "executor"):
        name = f"ibloop-{daemon}@fresh.service"
        assert is_active(running, name)
        assert running.show(name, "NRestarts") == "0", running.journal(name)

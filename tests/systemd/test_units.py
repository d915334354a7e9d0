"""The unit files themselves: what systemd-analyze says, and what must not be lost in an edit."""

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from ibloop.cli.root import ibloop
from ibloop.cli.systemd_verify import EXPOSURE_MAX, verify_units
from tests.systemd.conftest import ROOT

UNITS = ROOT / "systemd" / "system"
DAEMONS = ("guard", "gateway", "stream", "executor", "alerts", "web")
ONESHOTS = ("rebalance", "backup", "failed")

needs_analyze = [
    pytest.mark.systemd,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze"),
]


def text(name: str) -> str:
    """Return a file of the unit directory."""
    return (UNITS / name).read_text(encoding="utf-8")


def setting(name: str, key: str) -> list[str]:
    """Return the values of a key in a file, in order."""
    return re.findall(rf"^{key}=(.*)$", text(name), re.MULTILINE)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the units to spoil."""
    shutil.copytree(UNITS, tmp_path / "system")
    return tmp_path / "system"


class TestAnalyze:
    """What systemd-analyze finds."""

    pytestmark = needs_analyze

    def test_the_units_are_without_a_complaint(self) -> None:
        """Verify is silent, and no service is more exposed than it may be."""
        checked = verify_units(UNITS, None)
        assert checked.findings == ()
        assert {e.unit for e in checked.exposures} == {
            f"ibloop-{name}@.service" for name in (*DAEMONS, *ONESHOTS)
        }

    @pytest.mark.parametrize(
        ("name", "good", "bad", "finding"),
        [
            ("ibloop-.service.d/10-hardening.conf", "ProtectHome=", "ProtectHme=", "ProtectHme"),
            ("ibloop-rebalance@.timer", "Mon..Fri", "Mon..Fry", "calendar"),
            ("ibloop-web@.service", "Type=notify", "Type=notfy", "notfy"),
            (
                "ibloop@.target",
                "[Install]",
                "Requires=ibloop-nothing.service\n[Install]",
                "nothing",
            ),
            (
                "ibloop-.service.d/10-hardening.conf",
                "SystemCallFilter=@system-service\n",
                "",
                f"ibloop-executor@.service: expected an exposure of at most {EXPOSURE_MAX}",
            ),
        ],
    )
    def test_a_spoilt_unit_is_found(
        self, name: str, good: str, bad: str, finding: str, copy: Path
    ) -> None:
        """Each kind of mistake is a finding, although systemd-analyze ends with 0 for most."""
        spoilt = text(name).replace(good, bad)
        assert spoilt != text(name)
        (copy / name).write_text(spoilt, encoding="utf-8")
        found = verify_units(copy, None).findings
        assert any(finding in line for line in found), found

    @pytest.mark.parametrize(
        ("base", "expected"),
        [
            ("2026-03-06 14:31:00 UTC", "14:35:00 UTC"),  # winter in New York: five hours
            ("2026-03-09 12:58:00 UTC", "13:00:00 UTC"),  # the Monday after the clocks moved
            ("2026-03-06 20:56:00 UTC", "13:00:00 UTC"),  # Friday evening: Monday morning
        ],
    )
    def test_the_timer_ticks_in_the_trading_day_of_new_york(self, base: str, expected: str) -> None:
        """Every five minutes from nine to four, in New York's time, whatever the host's zone."""
        command = ("systemd-analyze", "calendar", f"--base-time={base}")
        [calendar] = setting("ibloop-rebalance@.timer", "OnCalendar")
        done = subprocess.run(
            (*command, calendar),
            capture_output=True,
            text=True,
            check=True,
            env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
        )
        assert re.search(rf"Next elapse: .*{expected}", done.stdout), done.stdout


@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_restarts_only_where_that_helps(name: str) -> None:
    """A usage error, a held lock, a refusal and a bad configuration stay down."""
    service = f"ibloop-{name}@.service"
    assert setting(service, "Restart") == ["on-failure"]
    assert setting(service, "RestartPreventExitStatus") == ["2 75 77 78"]


@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_says_when_it_is_ready_and_is_watched(name: str) -> None:
    """READY comes from the daemon, a watchdog waits for its steps, and a failure is told."""
    service = f"ibloop-{name}@.service"
    assert setting(service, "Type") == ["notify"]
    assert int(setting(service, "WatchdogSec")[0]) >= 30
    assert setting(service, "OnFailure") == ["ibloop-failed@%n.service"]
    assert setting(service, "StateDirectory") == ["ibloop/%i"]
    assert setting(service, "PartOf") == ["ibloop@%i.target"]


def test_no_unit_takes_another_one_down() -> None:
    """Wants and After only: with BindsTo or Requires a restart of one would end the others."""
    for path in UNITS.rglob("*"):
        if path.is_file():
            content = path.read_text(encoding="utf-8")
            assert not re.search(r"^(BindsTo|Requires|Requisite|Upholds)=", content, re.MULTILINE)


def test_the_alert_of_a_failure_has_none_itself() -> None:
    """A failing alert that starts an alert would never end."""
    assert setting("ibloop-failed@.service", "OnFailure") == []


def test_the_target_wants_every_daemon_and_timer() -> None:
    """`systemctl start ibloop@NAME.target` starts all there is."""
    wanted = " ".join(setting("ibloop@.target", "Wants")).split()
    assert sorted(wanted) == sorted(
        [
            "ibloop.target",
            *(f"ibloop-{name}@%i.service" for name in DAEMONS),
            "ibloop-rebalance@%i.timer",
            "ibloop-backup@%i.timer",
        ]
    )


def test_only_gateway_and_alerts_reach_the_internet() -> None:
    """The network is closed for all, and opened by two drop-ins."""
    assert setting("ibloop-.service.d/10-hardening.conf", "IPAddressDeny") == ["any"]
    opened = {
        path.parent.name
        for path in UNITS.rglob("*")
        if path.is_file() and "IPAddressDeny=\n" in path.read_text(encoding="utf-8")
    }
    assert opened == {"ibloop-gateway@.service.d", "ibloop-alerts@.service.d"}


def test_the_units_call_commands_that_exist() -> None:
    """Each ExecStart is a command of this ibloop, with options that it knows."""
    called = 0
    for path in sorted(UNITS.glob("*.service")):
        content = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for words in re.findall(r'@BINDIR@/ibloop"? (.+)', content):
            assert_is_command(words.split())
            called += 1
    assert called == len(DAEMONS) + len(ONESHOTS)


def assert_is_command(words: list[str]) -> None:
    """Walk down the command tree along the words and check the options after them."""
    command: click.Command = ibloop
    context = click.Context(command)
    rest = list(words)
    while isinstance(command, click.Group):
        name = rest.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"expected a command {name} in {words}"
        command, context = found, click.Context(found, parent=context)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_user_and_directories_are_those_of_the_units() -> None:
    """sysusers.d and tmpfiles.d make what the hardening drop-in names."""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text("ibloop-.service.d/10-hardening.conf"))
    service = parser["Service"]
    assert (service["User"], service["Group"], service["UMask"]) == ("ibloop", "ibloop", "0007")
    users = (ROOT / "systemd" / "sysusers.d" / "ibloop.conf").read_text(encoding="utf-8")
    assert re.search(r"^u ibloop ", users, re.MULTILINE)
    made = (ROOT / "systemd" / "tmpfiles.d" / "ibloop.conf").read_text(encoding="utf-8")
    assert re.search(r"^d /var/lib/ibloop +2770 ibloop ibloop", made, re.MULTILINE)
    assert service["WorkingDirectory"] == "/var/lib/ibloop"

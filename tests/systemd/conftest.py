"""One installation for all tests, made as a sysadmin makes it; one booted box a module."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ibloop.config.template import PAPER_ACCOUNT_EXAMPLE, template
from ibloop.core.model import Mode
from tests.systemd.sdbox import Box, why_not

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
LIBRARY = "/usr/local/lib/ibloop"
INSTALL_S_MAX = 400.0
SAMPLES = ROOT / "data" / "samples"
PROFILE = template(Mode.PAPER, PAPER_ACCOUNT_EXAMPLE)
"""What the installation page tells a sysadmin to begin with: the output of `ibloop init`."""
QUICK_RESTART = "[Service]\nRestartSec=200ms\n"
OPERATOR, OUTSIDER = "olivia", "oscar"


@pytest.fixture(scope="session")
def installed(pytestconfig: pytest.Config) -> Path:
    """Return a DESTDIR into which `make install` has installed this tree.

    It is kept between runs: what ibloop needs is installed once for each requirements.lock.
    """
    if not Path(PYTHON).exists() or shutil.which("make") is None:
        pytest.skip(f"needs {PYTHON} and make")
    cache = pytestconfig.cache
    assert cache is not None
    destination = cache.mkdir("ibloop-destdir")
    environment = {key: text for key, text in os.environ.items() if not key.startswith("MAKE")}
    command = ("make", "-C", str(ROOT), "install", f"DESTDIR={destination}", f"PYTHON={PYTHON}")
    with (destination / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_S_MAX,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return destination


@pytest.fixture(scope="module")
def box(installed: Path) -> Iterator[Box]:
    """Boot a box with ibloop installed, the profile ``paper``, an operator and an outsider."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Box({installed / LIBRARY.lstrip("/"): LIBRARY}) as booted:
        for name in ("ibloop", "ibloop-rebalance"):
            booted.run("ln", "-sfn", f"{LIBRARY}/bin/{name}", f"/usr/local/bin/{name}")
        booted.run("ibloop", "systemd", "install")
        booted.run("useradd", "--groups", "ibloop", OPERATOR)
        booted.run("useradd", OUTSIDER)
        write_profile(booted, "paper")
        booted.write("/etc/systemd/system/ibloop-.service.d/50-test.conf", QUICK_RESTART)
        booted.systemctl("daemon-reload")
        yield booted


def write_profile(box: Box, name: str, text: str = PROFILE) -> None:
    """Write a profile's configuration and its targets as the sysadmin would."""
    box.write(f"/etc/ibloop/{name}.toml", text, 0o640)
    targets = (SAMPLES / "targets-initial.csv").read_text(encoding="utf-8")
    box.write("/etc/ibloop/targets.csv", targets, 0o640)
    box.run("chown", "-R", "root:ibloop", "/etc/ibloop")

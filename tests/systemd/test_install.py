"""Installing: what is written where, that it is all there, and that differences are seen."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ibloop.config import parse
from tests.systemd.conftest import LIBRARY, PROFILE, ROOT
from tests.systemd.sdbox import Box

UNITS = "usr/local/lib/systemd/system"
HARDENING = f"{UNITS}/ibloop-.service.d/10-hardening.conf"


def systemd(*arguments: str, umask: int = 0o022) -> "subprocess.CompletedProcess[str]":
    """Run `ibloop systemd` and return how it ended."""
    return subprocess.run(
        (sys.executable, "-m", "ibloop", "systemd", *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        umask=umask,
    )


def packaged() -> list[str]:
    """Return every file of the package's tree, by where it belongs below the prefix."""
    places = {"system": "systemd/system", "sysusers.d": "sysusers.d", "tmpfiles.d": "tmpfiles.d"}
    files = (path for path in (ROOT / "systemd").rglob("*") if path.is_file())
    parts = (path.relative_to(ROOT / "systemd").parts for path in files)
    return sorted("/".join((places[first], *rest)) for first, *rest in parts)


def test_install_writes_everything_once(tmp_path: Path) -> None:
    """New, then the same; readable by everybody even under a strict umask; nothing enabled."""
    first = systemd("install", "--root", str(tmp_path), umask=0o077)
    assert first.returncode == 0, first.stderr
    lib = tmp_path / "usr/local/lib"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.relative_to(lib).as_posix() for path in files) == packaged()
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}
    directories = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o755}
    assert first.stdout.count("new\t") == len(files)
    again = systemd("install", "--root", str(tmp_path))
    assert again.stdout.count("same\t") == len(files)
    assert not (tmp_path / "etc").exists()


def test_install_names_the_running_program(tmp_path: Path) -> None:
    """@BINDIR@ becomes the directory of the running ibloop."""
    systemd("install", "--root", str(tmp_path))
    text = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "@BINDIR@" not in text
    assert f"ExecStart={Path(sys.executable).absolute().parent}/ibloop guard run" in text


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    """It says what it would do, file by file."""
    done = systemd("install", "--root", str(tmp_path), "--dry-run")
    assert done.stdout.count("new\t") == len(packaged())
    assert list(tmp_path.iterdir()) == []


def test_the_profile_of_the_installation_page_is_a_configuration() -> None:
    """What `ibloop init` writes for a sysadmin is accepted as it stands."""
    assert parse(PROFILE, "ibloop init").gateway.launcher == "sim"


def test_a_prefix_must_be_absolute(tmp_path: Path) -> None:
    """A relative one would end up somewhere: a usage error."""
    for command in ("install", "diff", "verify"):
        done = systemd(command, "--root", str(tmp_path), "--prefix", "opt")
        assert done.returncode == 2, done.stderr
        assert "absolute" in done.stderr


def test_diff_shows_what_was_changed(tmp_path: Path) -> None:
    """Exit 0 and silence when nothing was; else a unified diff, missing and foreign files."""
    root = ("--root", str(tmp_path))
    systemd("install", *root)
    done = systemd("diff", *root)
    assert (done.returncode, done.stdout) == (0, "")
    path = tmp_path / HARDENING
    path.write_text(path.read_text().replace("PrivateTmp=yes", "PrivateTmp=no"))
    (tmp_path / UNITS / "ibloop-web@.service").unlink()
    (tmp_path / UNITS / "ibloop-old@.service").touch()
    done = systemd("diff", *root)
    assert done.returncode == 1
    assert "\n-PrivateTmp=no\n+PrivateTmp=yes\n" in done.stdout
    assert "not installed: " in done.stdout
    assert "only installed: " in done.stdout
    systemd("install", *root)
    assert "PrivateTmp=yes" in path.read_text()


@pytest.mark.systemd
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_verify_judges_what_is_installed(tmp_path: Path) -> None:
    """The package's own units are well; installed ones have to have their program, too."""
    own = systemd("verify", "--root", str(tmp_path))
    assert own.returncode == 0, own.stdout
    assert "the package's own units" in own.stderr
    systemd("install", "--root", str(tmp_path))
    done = systemd("verify", "--root", str(tmp_path), "--json")
    assert done.returncode == 1
    assert "missing or not executable" in done.stdout
    assert '"schema": "ibloop.systemd.verify.v1"' in done.stdout


@pytest.mark.systemd
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_verify_sees_a_program_that_the_units_cannot(tmp_path: Path) -> None:
    """ProtectHome hides an interpreter in a home: the unit would end with 203/EXEC."""
    systemd("install", "--root", str(tmp_path))
    bindir = tmp_path / Path(sys.executable).absolute().parent.relative_to("/")
    bindir.mkdir(parents=True)
    (bindir / "ibloop").write_text("#!/home/somebody/venv/bin/python\n")
    (bindir / "ibloop").chmod(0o755)
    done = systemd("verify", "--root", str(tmp_path))
    assert done.returncode == 1
    assert "/home/somebody/venv/bin/python: hidden from the units" in done.stdout


@pytest.mark.e2e
@pytest.mark.systemd
@pytest.mark.timeout(500)
def test_make_install_makes_a_complete_tree(installed: Path) -> None:
    """Program, scripts and units below DESTDIR, naming each other as they will be called."""
    lib = installed / "usr/local/lib"
    assert all((lib / name).is_file() for name in packaged())
    for name in ("ibloop", "ibloop-rebalance", "ib-gateway"):
        link = installed / "usr/local/bin" / name
        assert os.access(link, os.X_OK)
        assert link.resolve().is_relative_to(lib / "ibloop" / "bin")
    for path in (lib / "ibloop" / "bin").iterdir():
        if not path.is_symlink() and path.is_file():
            assert str(installed).encode() not in path.read_bytes(), path
    unit = (lib / "systemd/system/ibloop-guard@.service").read_text(encoding="utf-8")
    assert f"\nExecStart={LIBRARY}/bin/ibloop guard run --profile %i\n" in unit
    done = systemd("verify", "--root", str(installed))
    assert done.returncode == 0, done.stdout


@pytest.mark.e2e
@pytest.mark.systemd
@pytest.mark.timeout(500)
def test_installing_enables_and_starts_nothing(box: Box) -> None:
    """User, group and directories are there, systemd knows the units, and none is up or enabled."""
    assert box.run("id", "-gn", "ibloop").stdout.strip() == "ibloop"
    assert box.run("stat", "-c", "%a %U %G", "/var/lib/ibloop").stdout == "2770 ibloop ibloop\n"
    assert box.run("stat", "-c", "%a %U %G", "/etc/ibloop").stdout == "750 root ibloop\n"
    states = box.systemctl("list-unit-files", "--no-legend", "ibloop*")
    assert "enabled" not in {line.split()[1] for line in states.splitlines()}
    assert box.systemctl("list-units", "--no-legend", "ibloop*") == ""
    assert box.run("ibloop", "systemd", "verify").returncode == 0
    assert box.run("ibloop", "systemd", "diff").stdout == ""
    box.systemctl("enable", "ibloop@paper.target")
    assert box.systemctl("is-enabled", "ibloop@paper.target") == "enabled"
    assert "multi-user.target" in box.show("ibloop@paper.target", "WantedBy")


@pytest.mark.systemd
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck")
def test_the_scripts_pass_shellcheck() -> None:
    """No script has a finding of any severity."""
    scripts = [*sorted((ROOT / "bin").iterdir()), ROOT / ".ci" / "run"]
    command = ("shellcheck", "--severity=style", *map(str, scripts))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

"""What ``systemd-analyze`` and the file system say about units, without a running systemd.

``systemd-analyze verify`` ends with 0 for warnings too (an unknown key, a bad value), so any
output is a finding.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ibloop.errors import ConfigError

EXPOSURE_MAX = 1.5
EXPOSURE_MAX_OF = {"ibloop-gateway@.service": 2.0}
"""The gateway talks to the internet, and its Java needs writable executable memory."""
HIDDEN = ("/home", "/root", "/run/user")
"""``ProtectHome=yes`` hides these: a program there ends with 203/EXEC."""
PROGRAM = re.compile(r'(?:@BINDIR@|/[^\s"]*)/ibloop(?="? )')
_EXPOSURE = re.compile(r"Overall exposure level for \S+: ([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Exposure:
    """How much of the system one service can reach, 0 to 10, and how much it may."""

    unit: str
    exposure: float
    limit: float


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found; nothing in ``findings`` means that all is well."""

    exposures: tuple[Exposure, ...]
    findings: tuple[str, ...]


def verify_units(units: Path, root: Path | None) -> Verified:
    """Check every unit named ``ibloop*`` in a directory, with its drop-ins.

    Args: ``root`` is where the units' programs are looked for; None leaves them out.
    Raises: ConfigError when there is no systemd-analyze.
    """
    findings = list(program_findings(units, root)) if root is not None else []
    with tempfile.TemporaryDirectory(prefix="ibloop-units-") as name:
        copies = _copy(units, Path(name))
        findings.extend(_complaints(copies))
        services = [path for path in copies if path.suffix == ".service"]
        exposures = tuple(_exposure(service) for service in services)
    findings.extend(
        f"{e.unit}: expected an exposure of at most {e.limit}, was {e.exposure}"
        for e in exposures
        if e.exposure > e.limit
    )
    return Verified(exposures, tuple(findings))


def _copy(units: Path, into: Path) -> list[Path]:
    """Copy the units, with a program that exists in place of theirs; return those copied."""
    program = into / "ibloop"
    program.symlink_to("/bin/true")
    copies = []
    for source in sorted(units.rglob("*")):
        path = source.relative_to(units)
        if not source.is_file() or not path.parts[0].startswith("ibloop"):
            continue
        copy = into / path
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(PROGRAM.sub(str(program), source.read_text(encoding="utf-8")))
        if len(path.parts) == 1:
            copies.append(copy)
    return copies


def program_findings(units: Path, root: Path) -> Iterator[str]:
    """Find programs of the units that are not below ``root``, or that the units cannot see."""
    texts = (path.read_text(encoding="utf-8") for path in units.glob("ibloop*.service"))
    for program in sorted({found for text in texts for found in PROGRAM.findall(text)}):
        path = root / program.lstrip("/")
        if not os.access(path, os.X_OK):
            yield f"{path}: expected the program of the units, was missing or not executable"
            continue
        first = path.read_bytes().split(b"\n", 1)[0].decode(errors="replace")
        interpreter = first.removeprefix("#!").split(" ")[0]
        for place in (program, interpreter, str(Path(interpreter).resolve())):
            if place.startswith(tuple(f"{hidden}/" for hidden in HIDDEN)):
                yield f"{place}: hidden from the units by ProtectHome; install ibloop elsewhere"
                break


def _complaints(copies: list[Path]) -> list[str]:
    done = _analyze(copies[0].parent, "verify", "--man=no", *map(str, copies))
    said = (done.stdout + done.stderr).replace(f"{copies[0].parent}/", "").splitlines()
    if done.returncode and not said:
        said = [f"systemd-analyze verify ended with {done.returncode}"]
    return list(dict.fromkeys(said))  # a drop-in is read once for each unit


def _exposure(service: Path) -> Exposure:
    limit = EXPOSURE_MAX_OF.get(service.name, EXPOSURE_MAX)
    done = _analyze(service.parent, "security", "--offline=yes", "--no-pager", str(service))
    found = _EXPOSURE.search(done.stdout)
    if found is None:
        raise ConfigError(f"systemd-analyze security says nothing of {service.name}: {done.stderr}")
    return Exposure(service.name, float(found[1]), limit)


def _analyze(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run systemd-analyze with the directory before systemd's own ones."""
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LC_ALL": "C.UTF-8",
        "SYSTEMD_COLORS": "0",
        "SYSTEMD_UNIT_PATH": f"{directory}:",  # the colon appends the directories of the system
    }
    command = ("systemd-analyze", *arguments)
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ConfigError("there is no systemd-analyze: install systemd 250 or later") from None

"""What is built and locked is complete, and installs without asking any particular machine."""

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME: list[str] = PROJECT["project"]["dependencies"]
BUILD: list[str] = PROJECT["build-system"]["requires"]
DEVELOPMENT: list[str] = PROJECT["dependency-groups"]["dev"]
LOCKS = {
    "requirements.lock": RUNTIME + BUILD,
    "requirements-dev.lock": RUNTIME + BUILD + DEVELOPMENT,
}
PINNED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^\]]+\])?==(?P<version>[^\s;]+)(\s*;.*?)?")
HASHES = re.compile(r"(\s+--hash=sha256:[0-9a-f]{64})+")
# No other option: the rest names an index, a directory or another file.
OPTIONS = frozenset({"--no-binary", "--only-binary", "--require-hashes"})
SAMPLES = ("universe.csv", "targets-initial.csv", "targets-weekly.csv", "PROVENANCE.toml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Yield the wheel of this tree, built without network and without isolation."""
    into = tmp_path_factory.mktemp("wheel")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", str(into), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = into.glob("ibloop-*.whl")
    with zipfile.ZipFile(path) as built:
        yield built


def in_dist_info(wheel: zipfile.ZipFile, name: str) -> str:
    """Return the text of one file of the wheel's metadata."""
    (member,) = (m for m in wheel.namelist() if re.fullmatch(rf"[^/]+\.dist-info/{name}", m))
    return wheel.read(member).decode("utf-8")


@pytest.mark.e2e
def test_wheel_carries_the_samples(wheel: zipfile.ZipFile) -> None:
    """An installed ibloop can run its demo: the wheel holds every sample, byte for byte."""
    samples = ROOT / "data" / "samples"
    prices = [path.relative_to(samples).as_posix() for path in (samples / "prices").glob("*.csv")]
    assert len(prices) == 5
    for name in (*SAMPLES, *prices):
        assert wheel.read(f"ibloop/_samples/{name}") == (samples / name).read_bytes()


@pytest.mark.e2e
def test_wheel_carries_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """The wheel holds the typed package and its metadata: no tests, no caches, no other tree."""
    names = wheel.namelist()
    assert {"ibloop/__init__.py", "ibloop/py.typed"} <= set(names)
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"ibloop"}
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


@pytest.mark.e2e
def test_wheel_carries_licence_and_command(wheel: zipfile.ZipFile) -> None:
    """The licence travels with the package, and installing it gives the command ``ibloop``."""
    licence = in_dist_info(wheel, "licenses/LICENSE")
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "\nLicense-Expression: MIT\n" in in_dist_info(wheel, "METADATA")
    scripts = ConfigParser()
    scripts.read_string(in_dist_info(wheel, r"entry_points\.txt"))
    assert dict(scripts["console_scripts"]) == {"ibloop": "ibloop.cli:main"}


def logical_lines(lock: str) -> list[str]:
    """Return the lines of a lock, continuations joined, comments and empty lines gone."""
    joined = re.sub(r"\\\n", " ", lock)
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def lock_findings(lock: str, wanted: list[str]) -> list[str]:
    """Return what is wrong with a lock: unpinned, unhashed, tied to a place, or incomplete.

    Args: lock is the text of a requirements file; wanted are requirements it has to satisfy.
    """
    findings = [
        f"names a place: {word}" for word in re.findall(r"\b(?:https?|file|git\+\w+):", lock)
    ]
    pinned: dict[str, Version] = {}
    for line in logical_lines(lock):
        if line.startswith("-"):
            if line.split("=")[0].split()[0] not in OPTIONS:
                findings.append(f"expected no option but {', '.join(sorted(OPTIONS))}, was {line}")
            continue
        requirement, _, hashes = line.partition(" --hash")
        match = PINNED.fullmatch(requirement.strip())
        if match is None:
            findings.append(f"not pinned with ==: {requirement}")
            continue
        pinned[canonicalize_name(match["name"])] = Version(match["version"])
        if not HASHES.fullmatch(f" --hash{hashes}"):
            findings.append(f"expected sha256 hashes only, and one at least: {match['name']}")
    for needed in map(Requirement, wanted):
        version = pinned.get(canonicalize_name(needed.name))
        if version is None or version not in needed.specifier:
            findings.append(f"expected {needed}, was {version}")
    return findings


@pytest.mark.parametrize(("name", "wanted"), LOCKS.items(), ids=list(LOCKS))
def test_lock_is_complete_pinned_and_hashed(name: str, wanted: list[str]) -> None:
    """Each lock stands alone: all we need and the build backend, pinned, hashed, from anywhere."""
    assert (ROOT / name).is_file(), f"expected {name} beside pyproject.toml; make it and commit it"
    assert lock_findings((ROOT / name).read_text(encoding="utf-8"), wanted) == []


def test_the_locks_cover_the_build_backend() -> None:
    """``hatchling`` is a requirement of the build, so both locks must pin it."""
    assert all("hatchling" in {Requirement(text).name for text in LOCKS[name]} for name in LOCKS)


GOOD_LOCK = f"""# made by a tool
--only-binary :all:
click==8.5.1 \\
    --hash=sha256:{"0" * 64} \\
    --hash=sha256:{"a" * 64}
    # via ibloop
ib-insync==0.9.86 ; python_version >= "3.11" --hash=sha256:{"b" * 64}
"""
GOOD_WANTED = ["click>=8.4", "ib_insync==0.9.86"]
DAMAGE = [
    ("# made", "--index-url https://somewhere/simple\n# made", 2),
    ("# made", "--find-links=wheels\n# made", 1),
    ("# made", "--extra-index-url=somewhere\n# made", 1),
    ("click==", "click>=", 2),
    ("click==8.5.1", "click @ file:///wheels/click.whl", 3),
    ("sha256:0", "md5:0", 1),
    ("sha256:0", "sha256:", 1),
    (f" --hash=sha256:{'b' * 64}", "", 1),
    ("ib-insync", "another", 1),
    ("8.5.1", "8.3.0", 1),
]


@pytest.mark.parametrize(("healthy", "damaged", "findings"), DAMAGE)
def test_the_lock_check_sees_damage(healthy: str, damaged: str, findings: int) -> None:
    """A good lock passes, and each way to spoil it is found."""
    assert lock_findings(GOOD_LOCK, GOOD_WANTED) == []
    assert GOOD_LOCK.count(healthy) == 1
    spoilt = GOOD_LOCK.replace(healthy, damaged)
    assert len(lock_findings(spoilt, GOOD_WANTED)) == findings

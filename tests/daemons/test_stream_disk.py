"""Real disks that are full or read-only: the stream's own writer meets them, not a patched one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORLD = """
import resource, signal, subprocess, sys, types
from pathlib import Path
# Some library has a package of this name, too.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [str(Path.cwd() / "tests")]
from tests.fakes.streamworld import World, instrument, play

kind, directory = sys.argv[1], Path(sys.argv[2])
filler = directory / "filler"
SYMBOLS = [f"NEW{number}" for number in range(3)]


def shell(*command):
    subprocess.run(command, check=True)


def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def damage():
    match kind:
        case "full":
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    return
        case "read-only":
            shell("mount", "-o", "remount,ro", str(directory))
        case "too large":
            limit(0)


def mend():
    match kind:
        case "full":
            filler.unlink()
        case "read-only":
            shell("mount", "-o", "remount,rw", str(directory))
        case "too large":
            limit(resource.RLIM_INFINITY)


async def test(world):
    world.wanted = [instrument(symbol) for symbol in SYMBOLS]
    await world.connect()
    world.market.tick("NEW0", "99")
    await world.steps()
    before = world.quote("NEW0")
    damage()
    for bid in ("100", "101"):
        for symbol in SYMBOLS:
            world.market.tick(symbol, bid)
        await world.steps()
    print(world.status, "|", world.fields()["degraded_reason"])
    waiting = world.fields()["unwritten_symbols"]
    assert set(waiting) >= {"NEW1", "NEW2"}, waiting
    if "NEW0" in waiting:
        assert world.quote("NEW0") == before
    received = world.clock.now()
    await world.steps(3)
    assert world.fields()["unwritten_symbols"] == waiting
    mend()
    await world.steps()
    for symbol in SYMBOLS:
        quote = world.quote(symbol)
        assert (str(quote.bid), quote.received) == ("101", received), quote
    assert world.quote("NEW0").seq > before.seq
    print(world.status, "|", world.fields()["unwritten_count"])


signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if kind != "too large":
    directory.mkdir()
    shell("mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(directory))
play(test, directory)
"""
"""Plays in a process of its own; the small file system is mounted where only that one sees it."""


def may_mount() -> bool:
    """Return whether this process may have mounts of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    made = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"]
    return subprocess.run(made, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("full", "No space left on device"),
        ("read-only", "Read-only file system"),
        ("too large", "File too large"),
    ],
)
def test_a_disk_that_takes_nothing(kind: str, told: str, tmp_path: Path) -> None:
    """Degraded with the kernel's reason, the old files whole; the latest prices once it heals."""
    command = [sys.executable, "-c", WORLD, kind, str(tmp_path / "stream")]
    if kind != "too large":
        if not may_mount():
            pytest.skip("a small file system needs root and a mount namespace")
        command = ["unshare", "--mount", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    degraded, healed = done.stdout.splitlines()
    assert degraded.startswith("degraded | quotes cannot be written: NEW")
    assert degraded.endswith(told)
    assert healed == "connected | 0"

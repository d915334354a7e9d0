"""Clock, boot and build are what other processes of this machine see too."""

import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import ibloop
from ibloop.adapters.host import SystemClock, boot_id, build_id


def test_moment_is_aware_utc_and_boot_time() -> None:
    """A moment lies between two readings of the system's own clocks."""
    before = datetime.now(UTC), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    moment = SystemClock().now()
    after = datetime.now(UTC), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert moment.utc.tzinfo is UTC
    assert before[1] <= moment.boottime_ns <= after[1]
    assert moment.boot_id == boot_id()


def test_boot_id_is_32_hex_digits_of_this_boot() -> None:
    """The contract's spelling, without dashes."""
    assert re.fullmatch(r"[0-9a-f]{32}", boot_id())
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    assert boot_id() == kernel.strip().replace("-", "")


def test_build_is_version_and_hash_and_the_same_in_another_process() -> None:
    """Two processes of the same code agree on their build."""
    assert re.fullmatch(rf"{re.escape(ibloop.__version__)}\+[0-9a-f]{{12}}", build_id())
    code = "from ibloop.adapters.host import build_id; print(build_id(), end='')"
    root = Path(ibloop.__file__).parent.parent
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    build_id.cache_clear()  # the tree may be edited while the tests run
    assert other.stdout == build_id()

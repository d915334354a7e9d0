"""This machine and this build: both clocks, the boot, the code that is running."""

import hashlib
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from ibloop import __version__
from ibloop.core.model import Moment

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot_id() -> str:
    """Return the identity of this boot: 32 hex digits.

    The kernel prints it with dashes, journald and we without.
    """
    return BOOT_ID_FILE.read_text(encoding="ascii").strip().replace("-", "")


class SystemClock:
    """The port ``Clock`` on the system's own clocks."""

    def now(self) -> Moment:
        """Return wall time in UTC and CLOCK_BOOTTIME, read one right after the other."""
        return Moment(datetime.now(UTC), time.clock_gettime_ns(time.CLOCK_BOOTTIME), boot_id())


@cache
def build_id() -> str:
    """Return ``VERSION+HASH``: the version and 12 hex digits over every .py file of the package.

    Two processes with the same build run the same code, also from an edited checkout.
    """
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return f"{__version__}+{digest.hexdigest()[:12]}"

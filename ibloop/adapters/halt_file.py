"""The HALT file: an admin's kill switch that needs no program. It exists, so trading is halted."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ibloop.core.model import HALT_ORDER, HaltLevel

LENGTH_MAX = 100
SHOWN_MAX = 30
FILE_MODE = 0o660
"""Executor and guard read what any operator of their group has written."""
REASON = "the HALT file exists"


@dataclass(frozen=True, slots=True)
class HaltFile:
    """What the file means; ``reason`` says so when its text was not understood."""

    level: HaltLevel
    reason: str = REASON


def read_halt_file(data_dir: Path) -> HaltFile | None:
    """Return what the file says; ``pause`` when it is empty, unreadable or says otherwise.

    ``None`` only when there is no such file: whatever else goes wrong halts.
    """
    # Asked with every order: the name alone is looked for first, which costs the least.
    name = f"{data_dir}/HALT"
    try:
        os.lstat(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return HaltFile(HaltLevel.PAUSE, f"cannot look for the HALT file: {error.strerror}")
    try:
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            text = file.read(LENGTH_MAX).strip()
    except OSError as error:
        # Also a link to nowhere has the name: whoever made it meant to halt.
        reason = f"{REASON}; it cannot be read, which is taken as pause: {error.strerror}"
        return HaltFile(HaltLevel.PAUSE, reason)
    return _understood(text)


def write_halt_file(data_dir: Path, level: HaltLevel) -> HaltLevel:
    """Make the file, or make a standing one severer; return the level in force then.

    Nobody reads a milder level in between: an empty file is a pause. Raises: OSError.
    """
    standing = read_halt_file(data_dir)
    if standing is not None and HALT_ORDER.index(standing.level) >= HALT_ORDER.index(level):
        return standing.level
    file = data_dir / "HALT"
    file.write_text(f"{level}\n", encoding="utf-8")
    with suppress(PermissionError):  # somebody else's: it has the rights its maker gave it
        file.chmod(FILE_MODE)
    return level


def _understood(text: str) -> HaltFile:
    word = text.lower()
    if not word:
        return HaltFile(HaltLevel.PAUSE)
    if word in set(HaltLevel):
        return HaltFile(HaltLevel(word))
    shown = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
    told = f"its text {shown!r} is no level ({', '.join(HaltLevel)}) and taken as pause"
    return HaltFile(HaltLevel.PAUSE, f"{REASON}; {told}")

"""The HALT file: an admin's kill switch that needs no program. It exists, so trading is halted."""

import os
from pathlib import Path

from ibloop.core.model import HaltLevel

LENGTH_MAX = 100


def read_halt_file(data_dir: Path) -> HaltLevel | None:
    """Return the level the file names; ``pause`` when it is empty, unreadable or says otherwise.

    ``None`` only when there is no such file: whatever else goes wrong halts.
    """
    # Asked with every order: the name alone is looked for first, which costs the least.
    name = f"{data_dir}/HALT"
    try:
        os.lstat(name)
    except FileNotFoundError:
        return None
    except OSError:
        return HaltLevel.PAUSE
    try:
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            text = file.read(LENGTH_MAX).strip().lower()
    except OSError:
        # Also a link to nowhere has the name: whoever made it meant to halt.
        return HaltLevel.PAUSE
    return HaltLevel(text) if text in set(HaltLevel) else HaltLevel.PAUSE

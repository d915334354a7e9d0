"""The HALT file: an admin's kill switch that needs no program. It exists, so trading is halted."""

from pathlib import Path

from ibloop.core.model import HaltLevel

LENGTH_MAX = 100


def read_halt_file(data_dir: Path) -> HaltLevel | None:
    """Return the level the file names; ``pause`` when it is empty, unreadable or says otherwise.

    ``None`` only when there is no such file: whatever else goes wrong halts.
    """
    path = data_dir / "HALT"
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(LENGTH_MAX).strip().lower()
    except FileNotFoundError:
        # A link to nowhere has the name: whoever made it meant to halt.
        return HaltLevel.PAUSE if path.is_symlink() else None
    except OSError:
        return HaltLevel.PAUSE
    return HaltLevel(text) if text in set(HaltLevel) else HaltLevel.PAUSE

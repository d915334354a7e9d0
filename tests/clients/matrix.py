"""The clients that the simulator is tested with, and where each one is found."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".venv-clients"
DRIVERS = Path(__file__).parent / "drivers"


@dataclass(frozen=True, slots=True)
class Kind:
    """A client: its name (that of its environment), what it negotiates, how it is driven.

    What depends on the version: times carry a zone from 174 on, contracts have sizes of their own
    from 164 on, executions of several days can be asked for at 200.
    """

    name: str
    version: int
    driver: str

    @property
    def is_insync(self) -> bool:
        """Return whether it keeps state of its own, as ib_insync does, or only calls back."""
        return self.driver == "insync.py"

    @property
    def missing(self) -> str:
        """Return why it cannot be driven on this machine, or an empty text."""
        if not (ENVIRONMENTS / self.name / ".locked").exists():
            return f"{self.name} is not installed; try make setup-clients"
        if self.driver.endswith(".mjs") and shutil.which("node") is None:
            return "there is no node"
        return ""

    def require(self) -> None:
        """Skip the test where this client is not.

        It needs an environment of its own and one client needs node, which users' machines may
        lack. CI has both: there the marker ``clients`` makes a skip fail (tests/conftest.py).
        """
        if self.missing:
            pytest.skip(self.missing)

    def command(self) -> list[str | Path]:
        """Return the command of its driver."""
        if self.driver.endswith(".mjs"):
            return ["node", DRIVERS / self.driver, ENVIRONMENTS / self.name]
        return [ENVIRONMENTS / self.name / "bin" / "python", DRIVERS / self.driver, self.name]


KINDS = (
    Kind("ib_insync", 176, "insync.py"),
    Kind("ib_async", 178, "insync.py"),
    Kind("stoqey", 193, "stoqey.mjs"),
    Kind("ibapi-stable", 200, "official.py"),
    Kind("nautilus-ibapi", 200, "official.py"),
    Kind("ibapi", 157, "official.py"),
)

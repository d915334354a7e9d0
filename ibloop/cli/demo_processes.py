"""The processes of the demo: the same commands that systemd starts, and their end."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ibloop.errors import IbloopError

PR_SET_PDEATHSIG = 1
STOP_S_MAX = 10.0
COMMAND = (sys.executable, "-m", "ibloop")


class DemoError(IbloopError):
    """The demo cannot go on; the message names the log to look into."""


class Processes:
    """Starts the daemons of one directory and stops them in the reverse order."""

    def __init__(self, directory: Path, options: Sequence[str]) -> None:
        """Take the data directory and the global options every command gets."""
        self._directory = directory
        self._options = tuple(options)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start ``ibloop NAME run`` with its log under ``logs/``.

        In a session of its own, so that Ctrl-C reaches the demo alone; and it ends with us.
        """
        with self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*COMMAND, *self._options, name, "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509  # no threads here
            )

    def check(self) -> None:
        """Raise DemoError when a daemon has ended by itself."""
        for name, process in self._running.items():
            code = process.poll()
            if code is not None:
                raise DemoError(f"{name} has ended with {code}; its log: {self._log(name)}")

    def stop(self, *names: str) -> None:
        """Stop the named daemons (default all), last started first."""
        for name in reversed([n for n in self._running if not names or n in names]):
            process = self._running.pop(name)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run one ``ibloop`` command to its end; return its exit code and what it printed."""
        done = subprocess.run(
            [*COMMAND, *arguments, *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def _log(self, name: str) -> Path:
        return self._directory / "logs" / f"{name}.log"


def _die_with_parent(parent: int) -> Callable[[], None]:
    """Return what a child does before it becomes the daemon: ask to end when we end."""
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return prepare

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
        """Start ``ibloop NAME run`` with its log under ``logs/``; it ends with us.

        In a session of its own, so that Ctrl-C reaches the demo alone.
        """
        with self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*COMMAND, *self._options, name, "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
                preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509  # no threads here
            )

    def pid(self, name: str) -> int:
        """Return the process id of a running daemon."""
        return self._running[name].pid

    def check(self) -> None:
        """Raise DemoError when a daemon has ended by itself."""
        for name, process in self._running.items():
            code = process.poll()
            if code is not None:
                raise DemoError(f"{name} has ended with {code}; its log: {self._log(name)}")

    def revive(self) -> list[str]:
        """Start again what has ended by itself, as systemd would; return the names."""
        ended = [name for name, process in self._running.items() if process.poll() is not None]
        for name in ended:
            self.start(name)
        return ended

    def stop(self, *names: str) -> None:
        """Stop the named daemons (default all), last started first."""
        stopping = {n: self._running.pop(n) for n in reversed(names or tuple(self._running))}
        for process in stopping.values():
            process.send_signal(signal.SIGTERM)
        for process in stopping.values():
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
            env=_environment(),
            preexec_fn=_die_with_parent(os.getpid()),
            check=False,
        )
        return done.returncode, done.stdout

    def _log(self, name: str) -> Path:
        return self._directory / "logs" / f"{name}.log"


def _environment() -> dict[str, str]:
    """Return the environment in which our own code is found, and not what lies about.

    ``-m`` looks into the current directory first: a file ``json.py`` of somebody's there would
    end every daemon. Where ibloop itself was found that way it is named instead.
    """
    root = str(Path(__file__).resolve().parents[2])
    found = dict(os.environ, PYTHONSAFEPATH="1")
    if root == str(Path.cwd()):
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return found


def _die_with_parent(parent: int) -> Callable[[], None]:
    """Return what a child does before it becomes the program: ask to end when we end."""
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return prepare

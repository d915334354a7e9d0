"""How a gateway comes to run: as our own child, simulated or real, or by somebody else's doing."""

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ibloop.adapters.wholefiles import make_directory
from ibloop.config import Config
from ibloop.errors import ConfigError, Exit, GatewayUnavailableError

READY_S_MAX = 30.0  # the simulator reads its samples and its state first
STOP_S_MAX = 5.0
COMMAND_STOP_S_MAX = 20.0  # a Java program; below the unit's TimeoutStopSec
LISTEN_S_MAX = 600.0  # a cold start with a login takes minutes
LISTEN_POLL_S = 0.5
PR_SET_PDEATHSIG = 1
STDERR = 2
SECOND_FACTOR_MARK = b"Second Factor Authentication initiated"
"""What IBC prints when the login asks for a second factor; any command may print it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a gateway listens; ``control_port`` only for the simulated one."""

    host: str
    port: int
    control_port: int | None = None


class Launcher(Protocol):
    """Starts a gateway and notices its end."""

    async def start(self) -> Address:
        """Return when the gateway listens. Raises: GatewayUnavailableError, ConfigError."""
        ...

    async def wait(self) -> str:
        """Return when the process has ended, with a sentence saying how."""
        ...

    async def stop(self) -> None:
        """End the process, if there is one."""
        ...


class ExternalLauncher:
    """A gateway that somebody else runs."""

    def __init__(self, host: str, port: int) -> None:
        """Take its address."""
        self._address = Address(host, port)

    async def start(self) -> Address:
        """Return the address; nothing is started."""
        return self._address

    async def wait(self) -> str:
        """Never return: this process is not ours to watch."""
        await asyncio.Event().wait()
        return ""

    async def stop(self) -> None:
        """Leave it alone."""


class SimLauncher:
    """The simulated gateway as a child of this process, which it does not outlive.

    A restart uses the same state file and the same ports, so that clients find it where it was.
    """

    def __init__(self, config: Config, data_dir: Path) -> None:
        """Take the profile; the simulator's state goes to ``data_dir/sim``."""
        self._config = config
        self._state = data_dir / "sim" / "state.jsonl"
        self._last: Address | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> Address:
        """Start the simulator and return when it accepts connections.

        Raises: GatewayUnavailableError when it does not get so far; ConfigError when it says that
        its arguments are wrong or its configured port is taken.
        """
        make_directory(self._state.parent)
        self._process = await asyncio.create_subprocess_exec(
            *self._command(),
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=_die_with_parent(os.getpid(), signal.SIGKILL),
        )
        stdout = self._process.stdout
        if stdout is None:
            raise GatewayUnavailableError("the simulator has no standard output")
        try:
            line = await asyncio.wait_for(stdout.readline(), READY_S_MAX)
            self._last = _ready_address(line)
        except (TimeoutError, ValueError, KeyError, TypeError) as error:
            raise await self._failed_start(error) from None
        self._reader = asyncio.create_task(_read_to_end(stdout))
        return self._last

    async def wait(self) -> str:
        """Return when the simulator has ended."""
        if self._process is None:
            return "the simulator was not started"
        code = await self._process.wait()
        return f"the simulator ended by {_ending(code)}"

    async def stop(self) -> None:
        """Ask the simulator to end, insist after a few seconds."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_S_MAX)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None

    def _command(self) -> list[str]:
        gateway, last = self._config.gateway, self._last
        port = last.port if last else gateway.port
        control = (last.control_port if last else None) or 0
        # The arguments may open the account themselves: as a margin account, or with other cash.
        opened = any(argument.partition("=")[0] == "--account" for argument in gateway.sim_args)
        account = () if opened else ("--account", self._config.account)
        return [
            *(sys.executable, "-m", "ibloop", "sim"),
            *("--host", gateway.host, "--port", str(port), "--control", str(control)),
            *("--state", str(self._state)),
            *account,
            *gateway.sim_args,
        ]

    async def _failed_start(self, error: Exception) -> Exception:
        """End what was started and return the error that says why it is of no use."""
        process = self._process
        code = process.returncode if process else None
        with suppress(TimeoutError):
            code = await asyncio.wait_for(process.wait(), 1.0) if process else None
        await self.stop()
        was_first, self._last = self._last is None, None
        # On a restart the ports of before may be taken by now: then others are picked.
        if was_first and code in {Exit.BAD_CONFIG, Exit.USAGE}:
            return ConfigError(
                f"the simulator refused to start ({_ending(code)}): see its message above, and "
                "[gateway] port and sim_args in the configuration"
            )
        how = f"it ended by {_ending(code)}" if code is not None else f"{error!r}"
        return GatewayUnavailableError(f"the simulator did not start: {how}")


class CommandLauncher:
    """Any program that runs a gateway in the foreground, with its children as one process group.

    Its standard output goes to ours for errors, which is the journal. It should end on SIGTERM,
    and exit with 78 when only a person can mend its configuration.
    """

    def __init__(self, command: Sequence[str], host: str, port: int) -> None:
        """Take the program with its arguments, and where the gateway will listen."""
        self.on_second_factor: Callable[[], None] = lambda: None
        self._command = tuple(command)
        self._address = Address(host, port)
        self._process: asyncio.subprocess.Process | None = None
        self._output: int | None = None
        self._seen = b""
        self._waits_for_person = False

    async def start(self) -> Address:
        """Start the program and return when its gateway listens, which may take a login.

        Raises: GatewayUnavailableError when it ends before, is still not listening after ten
        minutes without asking for a second factor, or when somebody else listens there; ConfigError
        when it cannot be run or exits with 78.
        """
        where = f"{self._address.host}:{self._address.port}"
        if await self._is_listening():
            raise GatewayUnavailableError(f"another program listens on {where}: end it first")
        process = await self._spawn()
        started = asyncio.get_running_loop().time()
        while not await self._is_listening():
            if process.returncode is not None:
                raise GatewayUnavailableError(await self.wait())
            waited_s = asyncio.get_running_loop().time() - started
            if waited_s > LISTEN_S_MAX and not self._waits_for_person:
                await self.stop()
                raise GatewayUnavailableError(f"nobody listens on {where} after {waited_s:.0f} s")
            await asyncio.sleep(LISTEN_POLL_S)
        return self._address

    async def wait(self) -> str:
        """Return when the program has ended; what it left behind is killed.

        Raises: ConfigError when it exits with 78.
        """
        process = self._process
        if process is None:
            return "the gateway command was not started"
        code = await process.wait()
        await self._clear()
        if code == Exit.BAD_CONFIG:
            raise ConfigError(
                f"{self._command[0]} says that its configuration is wrong (exit code 78): "
                "mend what its message above names"
            )
        return f"{self._command[0]} ended by {_ending(code)}"

    async def stop(self) -> None:
        """Ask the program to end, insist after 20 s; then kill what it left behind."""
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), COMMAND_STOP_S_MAX)
        await self._clear()

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._waits_for_person, self._seen = False, b""
        # Not asyncio's own pipe: with one, wait() lasts until the last grandchild has closed it.
        self._output, output = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._output, False)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                start_new_session=True,
                # SIGTERM, so that it can end its own children.
                preexec_fn=_die_with_parent(os.getpid(), signal.SIGTERM),
            )
        except OSError as error:
            self._close_output()
            raise ConfigError(
                f"cannot run [gateway] command {self._command[0]!r}: {error.strerror}"
            ) from None
        finally:
            os.close(output)
        asyncio.get_running_loop().add_reader(self._output, self._forward)
        return self._process

    async def _is_listening(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self._address.host, self._address.port)
        except OSError:
            return False
        writer.close()
        return True

    def _forward(self) -> bool:
        """Pass a piece of output on to stderr; look for the second factor; False at the end."""
        try:
            chunk = os.read(self._output, 65_536) if self._output is not None else b""
        except BlockingIOError:
            return False
        if not chunk:
            self._close_output()
            return False
        self._seen = self._seen[-len(SECOND_FACTOR_MARK) :] + chunk
        if SECOND_FACTOR_MARK in self._seen:
            self._seen, self._waits_for_person = b"", True
            self.on_second_factor()
        while chunk:
            chunk = chunk[os.write(STDERR, chunk) :]
        return True

    def _close_output(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            asyncio.get_running_loop().remove_reader(output)
            os.close(output)

    async def _clear(self) -> None:
        """Kill what is left of the process group: it would keep the port and the login."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        while self._forward():
            pass
        self._close_output()


def _die_with_parent(parent: int, number: signal.Signals) -> Callable[[], None]:
    """Return what a child runs before its program: the kernel signals it when we end."""
    libc = ctypes.CDLL(None)

    def in_child() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return in_child


def _ready_address(line: bytes) -> Address:
    """Read the simulator's first line. Raises: ValueError, KeyError for anything else."""
    ready = json.loads(line)
    if not isinstance(ready, dict) or ready.get("event") != "sim.ready":
        raise ValueError(f"expected sim.ready, was {line!r}")
    return Address(str(ready["host"]), int(ready["port"]), int(ready["control_port"]))


async def _read_to_end(stdout: asyncio.StreamReader) -> None:
    """Keep the child's pipe empty."""
    while await stdout.readline():
        pass


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"

"""A driver as a process: calls go in and events come out, as JSON lines."""

import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.clients.matrix import DRIVERS

Found = TypeVar("Found")
WAIT_S = 15.0
"""How long a test waits for anything before it fails; every answer takes milliseconds."""


class RequestFailed(Exception):  # noqa: N818 - an answer of the gateway, not our mistake
    """The gateway or the client refused; `code` is the API's, or 0."""

    def __init__(self, code: int, text: str) -> None:
        """Keep the code beside the text."""
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Driver:
    """One client library in an interpreter of its own."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=DRIVERS
        )
        self.events: list[tuple[str, list[Any]]] = []
        self._replies: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            with self._news:
                if "event" in message:
                    self.events.append((message["event"], message["args"]))
                else:
                    self._replies.append(message)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def send(self, call: str, args: Any) -> None:
        """Write a call and do not wait."""
        assert self._process.stdin is not None
        print(json.dumps({"call": call, "args": args}), file=self._process.stdin, flush=True)

    def call(self, call: str, args: Any) -> Any:
        """Make a call and return its reply. Raises: RequestFailed."""
        self.send(call, args)
        answer = self.wait(lambda: self._replies.pop(0) if self._replies else None, call)
        if "failed" in answer:
            raise RequestFailed(answer.get("code") or 0, answer["failed"])
        return answer["reply"]

    def wait(self, found: Callable[[], Found | None], what: str) -> Found:
        """Return what is found in the events, once it is; fail when nothing comes."""
        result: Found | None = None

        def looked() -> bool:
            nonlocal result
            result = found()
            return result is not None or self._ended

        with self._news:
            self._news.wait_for(looked, WAIT_S)
        assert result is not None, f"no {what} in {WAIT_S} s; the last: {self.events[-12:]}"
        return result

    def stop(self) -> None:
        """End the process: its input ends, and it has nothing else to do."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

"""A Bot API on loopback that takes and refuses messages as Telegram's does.

Its answers are those of the documentation and of api.telegram.org: 401 for a wrong token, 404 for
something that is none, 400 for an unknown chat, for HTML that does not parse and for texts of the
wrong length, 429 with ``retry_after``. What else can go wrong is planned, one request after the
other: ``api.plan(TooMany(3), Status(500), Reset(), Slow(1.0))``.
"""

import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"  # noqa: S105  (the form of one, no more)
CHAT = "-1001234567890"
TEXT_LENGTH_MAX = 4096
TAGS = frozenset({"b", "strong", "i", "em", "u", "s", "code", "pre", "a", "blockquote"})


@dataclass(frozen=True)
class TooMany:
    """Answer 429: wait so many seconds."""

    retry_after: int


@dataclass(frozen=True)
class Status:
    """Answer with a status and a description, as JSON or (``html``) as a gateway in between."""

    code: int
    description: str = "Internal Server Error"
    html: bool = False
    parameters: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """Answer 200 with these bytes."""

    content: bytes


@dataclass(frozen=True)
class Reset:
    """Break the connection without an answer; ``after_taking`` the message all the same."""

    after_taking: bool = False


@dataclass(frozen=True)
class Slow:
    """Wait so many seconds, or until the server ends, then answer as usual."""

    seconds: float


Plan = TooMany | Status | Raw | Reset | Slow


@dataclass(frozen=True)
class Taken:
    """A message that the chat has shown."""

    message_id: int
    chat_id: str
    text: str
    silent: bool
    parse_mode: str | None


class BotApi:
    """The server's state: what it took, what it will do next."""

    def __init__(self, interval_s: float = 0.0) -> None:
        """Refuse messages with 429 that come within ``interval_s`` seconds of the last."""
        self.taken: list[Taken] = []
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.refusals: list[str] = []
        self.poison: str | None = None
        self.ending = threading.Event()
        self._plans: list[Plan] = []
        self._interval_s = interval_s
        self._last_s: float | None = None
        self._lock = threading.Lock()
        self.base = ""

    def plan(self, *plans: Plan) -> None:
        """Let the next requests go this way, one each."""
        with self._lock:
            self._plans.extend(plans)

    @property
    def texts(self) -> list[str]:
        """Return the texts taken, in order."""
        return [message.text for message in self.taken]

    @property
    def repeated(self) -> list[str]:
        """Return the texts that were taken more than once."""
        return [text for text, count in Counter(self.texts).items() if count > 1]

    def next_plan(self) -> Plan | None:
        """Return what is to go wrong with this request, if anything."""
        with self._lock:
            return self._plans.pop(0) if self._plans else None

    def judge(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return status and document for a request, and take its message if it is good."""
        with self._lock:
            self.paths.append(path)
            self.requests.append(body)
            refusal = self._refusal(path, body)
            if refusal is not None:
                self.refusals.append(refusal[1])
                document = {"ok": False, "error_code": refusal[0], "description": refusal[1]}
                if refusal[0] == 429:
                    document["parameters"] = {"retry_after": 1}
                return refusal[0], document
            self._last_s = time.monotonic()
            return 200, {"ok": True, "result": {"message_id": self._take(body).message_id}}

    def _take(self, body: dict[str, Any]) -> Taken:
        silent = bool(body.get("disable_notification", False))
        number = 1000 + len(self.taken)
        message = Taken(number, body["chat_id"], body["text"], silent, body.get("parse_mode"))
        self.taken.append(message)
        return message

    def _refusal(self, path: str, body: dict[str, Any]) -> tuple[int, str] | None:
        found = re.fullmatch(r"/bot(\d+:[\w-]+)/sendMessage", path)
        if found is None:
            return 404, "Not Found"
        if found[1] != TOKEN:
            return 401, "Unauthorized"
        text = str(body.get("text", ""))
        if str(body.get("chat_id")) != CHAT:
            return 400, "Bad Request: chat not found"
        shown = text
        if body.get("parse_mode") == "HTML":
            parser = _Parser()
            parser.feed(text)
            parser.close()
            if parser.problem is not None:
                return 400, f"Bad Request: can't parse entities: {parser.problem}"
            shown = parser.shown
        if not shown.strip():
            return 400, "Bad Request: message text is empty"
        if len(shown.encode("utf-16-le")) // 2 > TEXT_LENGTH_MAX:
            return 400, "Bad Request: message is too long"
        if self.poison is not None and self.poison in text:
            return 400, "Bad Request: message cannot be sent"
        return self._pace()

    def _pace(self) -> tuple[int, str] | None:
        since_s = None if self._last_s is None else time.monotonic() - self._last_s
        if since_s is not None and since_s < self._interval_s:
            return 429, "Too Many Requests: retry after 1"
        return None


class _Parser(HTMLParser):
    """The little HTML of the Bot API: few tags, all closed, every ``<`` and ``&`` escaped."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shown = ""
        self.open: list[str] = []
        self.problem: str | None = None

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.problem = f'Unsupported start tag "{tag}" at byte offset {self.getpos()[1]}'
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problem = f"Unexpected end tag at byte offset {self.getpos()[1]}"

    def handle_data(self, data: str) -> None:
        self.shown += data

    def close(self) -> None:
        super().close()
        if self.open and self.problem is None:
            self.problem = f'Can\'t find end tag corresponding to start tag "{self.open[-1]}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: BotApi

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = json.loads(self.rfile.read(length))
        plan = self.api.next_plan()
        match plan:
            case Reset(after_taking=taking):
                if taking:
                    self.api.judge(self.path, body)
                self._reset()
            case TooMany(seconds):
                parameters: dict[str, object] = {"retry_after": seconds}
                text = f"Too Many Requests: retry after {seconds}"
                self._refuse(Status(429, text, parameters=parameters), body)
            case Status():
                self._refuse(plan, body)
            case Raw(content):
                self._answer(200, content)
            case _:
                if isinstance(plan, Slow):
                    self.api.ending.wait(plan.seconds)
                status, document = self.api.judge(self.path, body)
                self._answer(status, json.dumps(document).encode())

    def _refuse(self, status: Status, body: dict[str, Any]) -> None:
        self.api.requests.append(body)
        self.api.refusals.append(status.description)
        if status.html:
            self._answer(status.code, b"<html><body>Bad Gateway</body></html>")
            return
        document: dict[str, Any] = {
            "ok": False,
            "error_code": status.code,
            "description": status.description,
        }
        if status.parameters:
            document["parameters"] = status.parameters
        self._answer(status.code, json.dumps(document).encode())

    def _answer(self, status: int, content: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if 300 <= status < 400:
                self.send_header("Location", f"{self.api.base}/elsewhere")
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the client has gone
            self.close_connection = True

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)  # close sends RST
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.rfile.close()
        self.wfile.close()
        self.connection.close()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: broken connections are planned here."""


@contextmanager
def bot_api(interval_s: float = 0.0) -> Iterator[BotApi]:
    """Serve a Bot API on a free port of loopback for the length of the block."""
    api = BotApi(interval_s)
    handler = type("Handler", (_Handler,), {"api": api})
    server = _Server(("127.0.0.1", 0), handler)
    api.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()

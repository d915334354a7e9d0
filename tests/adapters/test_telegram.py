"""The bot sends as the Bot API wants it, says what came of it, and never tells the token."""

import io
import json
import logging
import os
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import structlog
from requests import exceptions as rx

from ibloop import log
from ibloop.adapters.telegram import CREDENTIAL, TelegramBot, redacted, token_reader
from ibloop.core.delivery import Outcome, Reply
from ibloop.errors import ConfigError
from tests.fakes.botapi import CHAT, TOKEN, BotApi, Raw, Reset, Slow, Status, TooMany, bot_api

SECRET = TOKEN.partition(":")[2]


@pytest.fixture
def api() -> Iterator[BotApi]:
    """Return a Bot API on loopback."""
    with bot_api() as served:
        yield served


@pytest.fixture
def send(api: BotApi) -> Iterator[Callable[..., Reply]]:
    """Return a sender to that API."""
    bot = TelegramBot(api.base, CHAT, lambda: TOKEN)

    def one(text: str = "hello", *, as_html: bool = True, silent: bool = False) -> Reply:
        return bot.send(text, as_html=as_html, silent=silent)

    yield one
    bot.close()


def test_a_message_arrives(api: BotApi, send: Callable[..., Reply]) -> None:
    """One POST to bot<token>/sendMessage with chat, text and form; the reply names the message."""
    reply = send("<b>a</b> &lt; \u20ac")
    assert reply == Reply(Outcome.DELIVERED, message_id=1000)
    assert api.paths == [f"/bot{TOKEN}/sendMessage"]
    assert api.requests == [{"chat_id": CHAT, "text": "<b>a</b> &lt; \u20ac", "parse_mode": "HTML"}]


def test_plain_and_silent_messages(api: BotApi, send: Callable[..., Reply]) -> None:
    """Plain text has no parse_mode; an info makes no sound."""
    send("1 < 2", as_html=False, silent=True)
    assert api.requests == [{"chat_id": CHAT, "text": "1 < 2", "disable_notification": True}]


def test_broken_html_is_told_from_a_bad_message(api: BotApi, send: Callable[..., Reply]) -> None:
    """The one can be sent as plain text, the other cannot be sent."""
    assert send("1 < 2 <x>").outcome is Outcome.UNFORMATTED
    assert send("x" * 5000).outcome is Outcome.BAD_MESSAGE
    assert send(" ").outcome is Outcome.BAD_MESSAGE
    assert api.taken == []


def test_too_many_requests_carry_the_seconds(api: BotApi, send: Callable[..., Reply]) -> None:
    """Telegram's own number of seconds, and none where it gives none that can be waited."""
    api.plan(TooMany(37))
    reply = send()
    assert (reply.outcome, reply.retry_after_s) == (Outcome.SLOW_DOWN, 37.0)
    for odd in (-1, "5", True, None, 1e300):
        api.plan(Status(429, "Too Many Requests", parameters={"retry_after": odd}))
        reply = send()
        assert (reply.outcome, reply.retry_after_s) == (Outcome.SLOW_DOWN, None)


@pytest.mark.parametrize(
    ("plan", "outcome"),
    [
        (Status(500), Outcome.UNREACHABLE),
        (Status(502, html=True), Outcome.UNREACHABLE),
        (Status(302, "Found", html=True), Outcome.UNREACHABLE),
        (Status(307, "Temporary Redirect", html=True), Outcome.UNREACHABLE),
        (Status(403, "Forbidden: bot was kicked from the group chat"), Outcome.BAD_CHANNEL),
        (Raw(b"<html>login to the hotel network</html>"), Outcome.UNREACHABLE),
        (Raw(b"[]"), Outcome.UNREACHABLE),
        (Raw(b'{"ok": false, "error_code": 403, "description": "no"}'), Outcome.BAD_CHANNEL),
        (Raw(b'{"ok": true, "result": true}'), Outcome.DELIVERED),
        (Raw(b"[" * 100_000), Outcome.UNREACHABLE),
        (Raw(b'"' + b"x" * 70_000 + b'"'), Outcome.UNREACHABLE),
        (Reset(), Outcome.UNREACHABLE),
    ],
)
def test_every_answer_has_a_meaning(
    api: BotApi, send: Callable[..., Reply], plan: Any, outcome: Outcome
) -> None:
    """Delivered is only what says ok; no answer raises, and none is followed elsewhere."""
    api.plan(plan)
    reply = send()
    assert reply.outcome is outcome
    assert bool(reply.detail) is (outcome is not Outcome.DELIVERED)
    assert len(api.paths) == 0  # neither taken nor redirected


def test_a_group_that_moved_is_named(api: BotApi, send: Callable[..., Reply]) -> None:
    """The answer carries the new number, which a person has to configure."""
    text = "Bad Request: group chat was upgraded to a supergroup chat"
    api.plan(Status(400, text, parameters={"migrate_to_chat_id": -100999}))
    reply = send()
    assert reply.outcome is Outcome.BAD_CHANNEL
    assert "-100999" in reply.detail
    assert "telegram.chat_id" in reply.detail


def test_a_wrong_token_or_chat_is_a_bad_channel(api: BotApi) -> None:
    """Everybody's messages would be refused alike; the advice says what to mend."""
    for token, chat, advice in (
        ("999:" + "x" * 35, CHAT, "@BotFather"),
        (TOKEN, "-999", "telegram.chat_id"),
    ):
        bot = TelegramBot(api.base, chat, lambda token=token: token)  # type: ignore[misc]
        reply = bot.send("hello", as_html=True, silent=False)
        bot.close()
        assert reply.outcome is Outcome.BAD_CHANNEL
        assert advice in reply.detail


def test_nobody_listens() -> None:
    """A refused connection is told with its reason and without the address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    bot = TelegramBot(f"http://127.0.0.1:{port}", CHAT, lambda: TOKEN)
    reply = bot.send("hello", as_html=True, silent=False)
    assert reply.outcome is Outcome.UNREACHABLE
    assert "refused" in reply.detail
    assert SECRET not in reply.detail


def test_a_slow_answer_times_out(
    api: BotApi, send: Callable[..., Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for an answer is bounded; the address stays out of what is told."""
    monkeypatch.setattr("ibloop.adapters.telegram.TIMEOUTS_S", (3.05, 0.2))
    api.plan(Slow(30))
    reply = send()
    assert reply.outcome is Outcome.UNREACHABLE
    assert "timed out" in reply.detail


def test_an_answer_in_drops_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece in time does not make the whole in time."""
    monkeypatch.setattr("ibloop.adapters.telegram.ANSWER_S_MAX", 0.2)
    stop = threading.Event()

    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while not stop.wait(0.05):
                    client.sendall(b"1\r\nx\r\n")
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        reply = TelegramBot(base, CHAT, lambda: TOKEN).send("hello", as_html=True, silent=False)
        stop.set()
        thread.join()
    assert reply.outcome is Outcome.UNREACHABLE
    assert "too slow" in reply.detail


def test_surroundings_do_not_redirect_the_token(
    api: BotApi, send: Callable[..., Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a proxy variable nor a .netrc has a say in where the token goes."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert send().outcome is Outcome.DELIVERED


def url() -> str:
    """Return the address that must not be seen."""
    return f"https://api.telegram.org/bot{TOKEN}/sendMessage"


def nested() -> Exception:
    """Return an exception whose causes, not itself, carry the token."""
    error = ValueError("outer")
    error.__cause__ = OSError(f"cannot open {url()}")
    return error


EXCEPTIONS: list[Callable[[], BaseException]] = [
    *(
        (lambda kind=kind: kind(f"Max retries exceeded with url: /bot{TOKEN}/sendMessage"))
        for kind in (
            rx.ConnectionError,
            rx.ConnectTimeout,
            rx.ReadTimeout,
            rx.SSLError,
            rx.ProxyError,
            rx.ChunkedEncodingError,
            rx.ContentDecodingError,
            rx.TooManyRedirects,
            rx.InvalidURL,
            rx.InvalidSchema,
            rx.RequestException,
            OSError,
            ValueError,
            RuntimeError,
            RecursionError,
            KeyError,
        )
    ),
    lambda: UnicodeError("encoding", url()),
    lambda: json.JSONDecodeError("bad", url(), 0),
    nested,
    lambda: ExceptionGroup("several", [OSError(url())]),
]


class _Broken:
    """A session whose every use raises."""

    trust_env = False

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def post(self, *_arguments: object, **_more: object) -> None:
        """Raise."""
        raise self._error


@pytest.mark.parametrize("number", range(len(EXCEPTIONS)))
def test_no_exception_leaves_and_none_tells_the_token(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong inside is a value: its kind, its reason, no token."""
    error = EXCEPTIONS[number]()
    monkeypatch.setattr(requests, "Session", lambda: _Broken(error))
    reply = TelegramBot("https://api.telegram.org", CHAT, lambda: TOKEN).send(
        "hello", as_html=True, silent=False
    )
    assert reply.outcome is Outcome.UNREACHABLE
    assert type(error).__name__ in reply.detail
    assert SECRET not in repr(reply)


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Return what the daemon's log writes to, behind the redaction."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    log.configure("alerts", stream=redacted(stream))
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize("number", range(len(EXCEPTIONS)))
def test_the_log_hides_the_token_in_tracebacks_too(number: int, out: io.StringIO) -> None:
    """The finished line is what is redacted: causes, reprs and other libraries included."""
    error = EXCEPTIONS[number]()
    log.get("x").error("alert.broke", exc_info=error, url=url(), found={"deep": [url()]})
    logging.getLogger("urllib3.connection").warning("Failed to parse headers (url=%s)", url())
    logging.getLogger("other").exception("at %s", url(), exc_info=error)
    assert len(out.getvalue().splitlines()) == 3
    assert all(json.loads(line) for line in out.getvalue().splitlines())
    assert SECRET not in out.getvalue()


def test_urllib3_finds_fault_with_headers_and_the_log_stays_clean(out: io.StringIO) -> None:
    """The library's own warning quotes the address; only the redaction keeps it out."""
    answer = b'HTTP/1.1 200 OK\r\nbroken header line\r\nContent-Length: 11\r\n\r\n{"ok":true}'

    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        bot = TelegramBot(base, CHAT, lambda: TOKEN)
        bot.send("hello", as_html=True, silent=False)
        bot.close()
        thread.join()
    assert "Failed to parse headers" in out.getvalue()
    assert SECRET not in out.getvalue()


def token_file(directory: Path, content: bytes = TOKEN.encode(), mode: int = 0o600) -> Path:
    """Return a file with a token."""
    path = directory / "token"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_token_is_read_anew_each_time(tmp_path: Path) -> None:
    """A person who mends the file need not restart anything."""
    reader = token_reader(token_file(tmp_path, f"{TOKEN}\n".encode()), {})
    assert reader is not None
    assert reader() == TOKEN
    token_file(tmp_path, b"1:new")
    assert reader() == "1:new"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_token_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Mode 0600, or it counts as known to others; the refusal says what to do."""
    reader = token_reader(token_file(tmp_path, mode=mode), {})
    assert reader is not None
    with pytest.raises(ConfigError, match="chmod 600") as refusal:
        reader()
    assert f"{mode:04o}" in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"AAH", b"1:a b", b"1:a\n2:b", b"\xff\xfe", b"x" * 9999])
def test_what_is_no_token_is_refused_unseen(tmp_path: Path, content: bytes) -> None:
    """The complaint names the file, never what is in it."""
    reader = token_reader(token_file(tmp_path, content), {})
    assert reader is not None
    with pytest.raises(ConfigError, match="BotFather") as refusal:
        reader()
    text = "".join(traceback.format_exception(refusal.value))
    assert not content.strip() or repr(content)[2:-1] not in text


def test_a_missing_token_file_is_an_error_a_fifo_hangs_nobody(tmp_path: Path) -> None:
    """A file that is named must be there, and be a file."""
    missing = token_reader(tmp_path / "none", {})
    os.mkfifo(tmp_path / "pipe", 0o600)
    pipe = token_reader(tmp_path / "pipe", {})
    assert missing is not None
    assert pipe is not None
    with pytest.raises(ConfigError, match="cannot read"):
        missing()
    with pytest.raises(ConfigError, match="expected a file"):
        pipe()


def test_the_credential_of_systemd(tmp_path: Path) -> None:
    """Its mode is systemd's business; a token file that is named comes first."""
    (tmp_path / CREDENTIAL).write_text(f"{TOKEN}\n")
    (tmp_path / CREDENTIAL).chmod(0o440)
    surroundings = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    reader = token_reader(None, surroundings)
    assert reader is not None
    assert reader() == TOKEN
    named = token_reader(token_file(tmp_path, b"1:named"), surroundings)
    assert named is not None
    assert named() == "1:named"


def test_without_a_token_nothing_is_configured(tmp_path: Path) -> None:
    """No file named, no credential given: that is a choice, not an error."""
    assert token_reader(None, {}) is None
    assert token_reader(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None
    assert token_reader(None, {"CREDENTIALS_DIRECTORY": ""}) is None


def test_a_token_that_went_away_is_a_bad_channel(tmp_path: Path) -> None:
    """While it runs, a missing file is told like a wrong token: everything waits."""
    reader = token_reader(tmp_path / "none", {})
    assert reader is not None
    bot = TelegramBot("https://api.telegram.org", CHAT, reader)
    reply = bot.send("hello", as_html=True, silent=False)
    assert reply.outcome is Outcome.BAD_CHANNEL
    assert str(tmp_path / "none") in reply.detail


def test_the_stream_hides_tokens_and_counts_what_it_was_given() -> None:
    """It behaves like the stream behind it."""
    behind = io.StringIO()
    stream = redacted(behind)
    assert stream.write(f"{url()}\n") == len(url()) + 1
    stream.flush()
    assert behind.getvalue() == "https://api.telegram.org/[hidden]/sendMessage\n"

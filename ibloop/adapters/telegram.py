"""The Bot API of Telegram: sends one message, and lets nothing out that holds the token.

The token is part of every address of that API, and the exceptions of requests and urllib3 quote the
address. So no exception leaves :meth:`TelegramBot.send`: what happened is a value, redacted. The
only import of requests.
"""

import io
import json
import math
import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TextIO, cast

import requests

from ibloop.core.alerting import redact
from ibloop.core.delivery import Outcome, Reply, advice, outcome_of
from ibloop.errors import ConfigError

CREDENTIAL = "ibloop-telegram-token"
TIMEOUTS_S = (3.05, 10.0)
"""For connecting (a little over TCP's first retransmission) and for each piece of the answer."""
ANSWER_S_MAX = 15.0
ANSWER_BYTES_MAX = 65_536
DETAIL_LENGTH_MAX = 300

_TOKEN = re.compile(r"\d+:[\w-]+", re.ASCII)
_TOKEN_BYTES_MAX = 4096

TokenReader = Callable[[], str]
"""Reads the token where it is kept. Raises: ConfigError."""


def token_reader(token_file: Path | None, environment: Mapping[str, str]) -> TokenReader | None:
    """Return what reads the token, ``None`` where none is configured.

    ``token_file`` comes first, then systemd's credential ``ibloop-telegram-token`` in the
    directory that ``$CREDENTIALS_DIRECTORY`` names.
    """
    if token_file is not None:
        return lambda: _read_token(token_file, is_private=True)
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if directory and (credential := Path(directory) / CREDENTIAL).exists():
        # systemd sees to its rights, by an access list that looks like a group's in the mode.
        return lambda: _read_token(credential, is_private=False)
    return None


def _read_token(path: Path, *, is_private: bool) -> str:
    """Return the token in a file; the errors name the file and never what is in it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"cannot read the Telegram token at {path}: {error.strerror}") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"expected a file with the Telegram token at {path}")
        if is_private and status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise ConfigError(
                f"expected mode 0600 of the Telegram token {path}, was {mode:04o}: others may read "
                f"it. `chmod 600 {path}`, and have @BotFather make a new token if they have"
            )
        content = os.read(handle, _TOKEN_BYTES_MAX)
    finally:
        os.close(handle)
    token = content.decode("ascii", "replace").strip()
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"expected a bot token and nothing else in {path}, as @BotFather shows it: digits, a "
            "colon, letters"
        )
    return token


class TelegramBot:
    """Sends to one chat. One call at a time; which thread makes it does not matter."""

    def __init__(self, api_base: str, chat_id: str, token: TokenReader) -> None:
        """Take the address, the chat and what reads the token, which is done anew each time."""
        self._api_base = api_base.rstrip("/")
        self._chat_id = chat_id
        self._token = token
        self._session = requests.Session()
        # Neither a proxy nor a .netrc of the surroundings: the token goes to api_base alone.
        self._session.trust_env = False

    def send(self, text: str, *, as_html: bool, silent: bool) -> Reply:
        """Send one message of up to 4096 characters and return what came of it.

        Takes up to 13 s, or 25 s from a server that answers in drops. Never raises. What may have
        arrived although no answer did counts as unreachable: sent again it is there twice.
        """
        try:
            token = self._token()
        except ConfigError as error:
            return Reply(Outcome.BAD_CHANNEL, redact(str(error)))
        body: dict[str, object] = {"chat_id": self._chat_id, "text": text}
        if as_html:
            body["parse_mode"] = "HTML"
        if silent:
            body["disable_notification"] = True
        try:
            reply = self._post(token, body)
        except Exception as error:  # noqa: BLE001  # why: any of them may quote the token
            reply = Reply(Outcome.UNREACHABLE, f"{type(error).__name__}: {_reason(error)}")
        return Reply(
            reply.outcome,
            redact(reply.detail, token)[:DETAIL_LENGTH_MAX],
            reply.message_id,
            reply.retry_after_s,
        )

    def close(self) -> None:
        """Close the connection that is kept for the next message."""
        self._session.close()

    def _post(self, token: str, body: Mapping[str, object]) -> Reply:
        url = f"{self._api_base}/bot{token}/sendMessage"
        answer = self._session.post(
            url,
            data=json.dumps(body).encode("ascii"),
            headers={"Content-Type": "application/json"},
            timeout=TIMEOUTS_S,
            allow_redirects=False,
            stream=True,
        )
        with closing(answer):
            return _reply(answer.status_code, _document(_content(answer)))


def _content(answer: requests.Response) -> bytes:
    """Return the body, at most 64 KiB of it and what came within 15 s."""
    end = time.monotonic() + ANSWER_S_MAX
    content = b""
    for chunk in answer.iter_content(4096):
        content += chunk
        if len(content) > ANSWER_BYTES_MAX or time.monotonic() > end:
            raise ValueError(f"an answer too long or too slow ({len(content)} bytes)")
    return content


def _document(content: bytes) -> dict[str, object]:
    """Return the JSON object in a body, an empty one where there is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _reply(status: int, document: Mapping[str, object]) -> Reply:
    """Return what an answer means: a success says ``ok``, whatever its status code."""
    if status == 200 and document.get("ok") is True:
        return Reply(Outcome.DELIVERED, message_id=_message_id(document.get("result")))
    code = document.get("error_code")
    if status == 200 and isinstance(code, int):
        status = code
    description = str(document.get("description", "an answer that is not the Bot API's"))
    outcome = outcome_of(status, description)
    detail = f"Telegram answers {status}: {description}"
    parameters = document.get("parameters")
    given = parameters if isinstance(parameters, dict) else {}
    if (migrated := given.get("migrate_to_chat_id")) is not None:
        description = f"supergroup {description}"
        detail = f"{detail} ({migrated})"
    if outcome is Outcome.BAD_CHANNEL and (help_text := advice(status, description)):
        detail = f"{detail}; {help_text}"
    return Reply(outcome, detail, retry_after_s=_seconds(given.get("retry_after")))


def _message_id(result: object) -> int | None:
    found = result.get("message_id") if isinstance(result, dict) else None
    return found if isinstance(found, int) else None


def _seconds(value: object) -> float | None:
    """Return a number of seconds that can be waited."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value < 1e6 else None


def _reason(error: BaseException) -> str:
    """Return the innermost cause that says something: requests wraps urllib3 wraps the system."""
    seen = [error]
    while len(seen) < 10:
        inner = seen[-1].__cause__ or seen[-1].__context__
        if inner is None:
            break
        seen.append(inner)
    texts = [str(found) for found in reversed(seen)]
    return next((text for text in texts if text), "no reason given")


class RedactedStream(io.TextIOBase):
    """A text stream that lets no bot token through: the log of whoever talks to Telegram.

    It sees the finished line, with library messages and tracebacks in it; urllib3 logs addresses.
    """

    def __init__(self, out: TextIO) -> None:
        """Write to ``out``."""
        self._out = out

    def write(self, text: str) -> int:
        """Write one text, such as a line of the log; a token must not be spread over two calls."""
        self._out.write(redact(text))
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        self._out.flush()


def redacted(out: TextIO) -> TextIO:
    """Return ``out`` behind a :class:`RedactedStream`."""
    return cast("TextIO", RedactedStream(out))

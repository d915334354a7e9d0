"""Delivering to Telegram, pure: its settings, what an answer means, when to try again.

The line between a bad message and a bad channel decides what may be lost. A bad message is put
aside as dead, or it would hold up all behind it for ever. With a bad channel (token, chat, rights)
every message would be refused alike, so everything waits for a person instead.
"""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from ibloop.core.alerting import redact

BACKOFF_S_MIN, BACKOFF_S_MAX = 1.0, 300.0
INTERVAL_S = 1.0
"""Bot API FAQ: "avoid sending more than one message per second" in a particular chat."""
DEAD_IN_A_ROW_MAX = 3
TRIES_MAX = 5

LOOPBACK = ("127.0.0.1", "::1", "localhost")
CHAT = re.compile(r"-?\d{1,19}|@\w{1,64}", re.ASCII)

# Words in descriptions of a 400 that blame the place, not the message ("chat not found", "not
# enough rights to send text messages to the chat", "PEER_ID_INVALID", "user is deactivated").
_CHANNEL_WORDS = ("chat", "rights", "peer", "user", "group", "channel", "topic", "thread", "bot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Telegram:
    """Where alerts go. Without ``chat_id`` or a token they stay in the outbox.

    ``chat_id`` is a number in quotes, or the ``@name`` of a channel. ``token_file`` holds the bot's
    token and nothing else, mode 0600; left out, it is systemd's credential
    ``ibloop-telegram-token``. ``user_ids`` are the people whose commands will be heard; this
    version hears none.
    """

    api_base: str = "https://api.telegram.org"
    chat_id: str | None = None
    user_ids: tuple[int, ...] = ()
    token_file: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant. Raises: ValueError (the token would go there in clear)."""
        address = urlsplit(self.api_base)
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise ValueError("api_base must be an address like https://api.telegram.org")
        has_secret = bool(address.username) or redact(self.api_base) != self.api_base
        if has_secret or address.query or address.fragment:
            raise ValueError("api_base must be the address alone: the token has its own file")
        if address.scheme == "http" and address.hostname not in LOOPBACK:
            raise ValueError("api_base must begin with https:// outside this machine")
        if self.chat_id is not None and not CHAT.fullmatch(self.chat_id):
            raise ValueError('chat_id must be a number in quotes like "-1001234", or "@channel"')


class Outcome(StrEnum):
    """What an attempt to send came to."""

    DELIVERED = "delivered"
    UNFORMATTED = "unformatted"  # its HTML cannot be parsed: once more as plain text
    SLOW_DOWN = "slow_down"  # 429: wait as long as it says
    UNREACHABLE = "unreachable"  # network, server: the same again later
    BAD_MESSAGE = "bad_message"  # this message will never be taken
    BAD_CHANNEL = "bad_channel"  # no message would be taken: a person must act


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one attempt; ``detail`` is fit for people and free of the token."""

    outcome: Outcome
    detail: str = ""
    message_id: int | None = None
    retry_after_s: float | None = None


def outcome_of(status: int, description: str) -> Outcome:
    """Return what an answer means that is not a success.

    Args: the HTTP status, and the ``description`` of the answer's JSON.
    """
    text = description.lower()
    if status == 429:
        return Outcome.SLOW_DOWN
    if status == 400 and "can't parse entities" in text:
        return Outcome.UNFORMATTED
    if status in {400, 413} and not any(word in text for word in _CHANNEL_WORDS):
        return Outcome.BAD_MESSAGE
    if 400 <= status < 500 and status != 408:
        return Outcome.BAD_CHANNEL
    return Outcome.UNREACHABLE


def advice(status: int, description: str) -> str:
    """Return what a person can do about a bad channel, empty when nothing is known."""
    if status == 401:
        return "the token is not valid: put the one that @BotFather shows into the token file"
    if status == 404:
        return "no such bot: check the token file and telegram.api_base"
    if status == 403:
        return "the bot may not write there: open the chat with it and press Start, or invite it"
    if "supergroup" in description.lower():
        return "the group has a new number: set telegram.chat_id to it"
    return "check telegram.chat_id, and that the bot may write there" if status == 400 else ""


def backoff_s(failures: int, seed: int) -> float:
    """Return how long to wait after the n-th failure in a row, in seconds.

    Twice as long each time from 2 s to 5 min, of which the seed takes off up to a half, so that
    many machines do not come back at the same moment; never less than 1 s.
    """
    longest = min(BACKOFF_S_MAX, 2.0 ** min(max(failures, 1), 30))
    digest = hashlib.sha256(f"{seed}:{failures}".encode()).digest()
    fraction = int.from_bytes(digest[:4]) / 2**32
    return max(BACKOFF_S_MIN, longest * (1 - fraction / 2))


def must_die(attempts: int, dead_in_a_row: int) -> bool:
    """Return whether a message that Telegram refuses is put aside for good.

    Args: how often it has been refused, this time included; how many died since the last delivery.
    After three deaths in a row the fault may well lie elsewhere: from then on a message is tried
    five times, with the back-off between, before it dies too.
    """
    return dead_in_a_row < DEAD_IN_A_ROW_MAX or attempts >= TRIES_MAX

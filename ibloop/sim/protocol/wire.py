"""Frames, fields and number formats of the TWS socket protocol, text form (server version <= 200).

Pure: bytes in, fields out, and the reverse. `Since` is the one place that knows at which server
version something appeared on the wire; encoders and parsers only compare with its members.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from enum import IntEnum

from ibloop.sim.model import NEW_YORK, ZERO

Fields = tuple[str, ...]

SERVER_VERSION_MIN = 157
SERVER_VERSION_MAX = 200
# 158: ib_insync reads openOrder.duration only from 159. 187-189: RFQ fields, undone again at 190.
NEVER_OFFERED = frozenset({158, 187, 188, 189})
# The longest request, an order with many conditions, has some kilobytes; a greeting has about 20.
FRAME_BYTES_MAX = 2**20
GREETING_BYTES_MAX = 2**10

GREETING = b"API\0"
UNSET_DOUBLE = "1.7976931348623157E308"
UNSET_INTEGER = "2147483647"
UNSET_LONG = "9223372036854775807"
UNSET_DECIMAL = "-9223372036854775808"
INTEGER_MAX = 2**31 - 1
# Above any price or quantity, far below the sentinels: keeps Decimal arithmetic exact and small.
NUMBER_MAX = Decimal(10) ** 15
# Below any price or quantity: a double that means zero must not become a million digits.
NUMBER_MIN = Decimal(10) ** -15
NUMBER_CHARACTERS_MAX = 400

_GREETING = re.compile(r"v([0-9]{1,5})(?:\.\.([0-9]{1,5}))?(?: (.*))?", re.DOTALL)
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")
_DOUBLE = Context(prec=15)
_SENTINEL_MIN = Decimal("1.79E308")
_SENTINEL_MAX = Decimal("1E309")


class Since(IntEnum):
    """Server version from which a change shows on the wire."""

    DURATION = 158
    POST_TO_ATS = 160
    AUTO_CANCEL_PARENT = 162
    WSH_EVENTS = 161
    FRACTIONAL_SIZES = 163
    USER_INFO = 163
    SIZE_RULES = 164
    ADVANCED_REJECT = 166
    MANUAL_ORDER_TIME = 169
    PEG_FIELDS = 170
    ZONED_TIMES = 174
    ISSUER_ID = 176
    NO_FA_PROFILE = 177
    PENDING_PRICE_REVISION = 178
    LAST_TRADE_DATE = 182
    CUSTOMER_ACCOUNT = 183
    PROFESSIONAL_CUSTOMER = 184
    BOND_ACCRUED_INTEREST = 185
    INELIGIBILITY_REASONS = 186
    INCLUDE_OVERNIGHT = 189
    MANUAL_ORDER_INDICATOR = 192
    OPEN_ORDER_OPERATOR = 193
    ERROR_TIME = 194
    ORDER_PREVIEW = 195
    HISTORICAL_DATA_END = 196
    CURRENT_TIME_MILLIS = 197
    SUBMITTER = 198
    IMBALANCE_ONLY = 199
    EXECUTION_DATES = 200


class WireError(ValueError):
    """Say that bytes or fields are not what the protocol allows."""


class MissingFieldError(WireError):
    """Say that a request ends too early."""


class UnknownMessageError(WireError):
    """Say that a message has a number that no request has."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The client's greeting: the range of server versions it speaks, and its connect options."""

    version_min: int
    version_max: int
    options: str


def negotiate(hello: Hello, version_max: int = SERVER_VERSION_MAX) -> int | None:
    """Return the server version to offer, or None when there is none both sides speak.

    `version_max` is the highest this gateway offers, up to SERVER_VERSION_MAX.
    """
    highest = min(hello.version_max, version_max, SERVER_VERSION_MAX)
    lowest = max(hello.version_min, SERVER_VERSION_MIN)
    for version in range(highest, lowest - 1, -1):
        if version not in NEVER_OFFERED:
            return version
    return None


class FrameDecoder:
    """Turn a client's byte stream, cut anywhere, into one Hello and then messages.

    Holds less than one frame between two calls, so at most FRAME_BYTES_MAX.
    """

    def __init__(self) -> None:
        """Start before the greeting."""
        self._buffer = bytearray()
        self._greeted = False

    def feed(self, data: bytes) -> list[Hello | Fields]:
        """Add received bytes; return what became complete.

        Raises: WireError for a stream that is not TWS API text; the connection is then useless.
        """
        self._buffer += data
        complete: list[Hello | Fields] = []
        start = 0
        if not self._greeted:
            if not GREETING.startswith(self._buffer[:4]):
                raise WireError(f"expected the API greeting, was {bytes(self._buffer[:40])!r}")
            text, start = self._frame(len(GREETING), GREETING_BYTES_MAX)
            if text is None:
                return complete
            complete.append(_hello(text))
            self._greeted = True
        while True:
            text, start = self._frame(start, FRAME_BYTES_MAX)
            if text is None:
                break
            complete.append(tuple(text.removesuffix("\0").split("\0")))
        del self._buffer[:start]
        return complete

    def _frame(self, start: int, bytes_max: int) -> tuple[str | None, int]:
        """Return the text of the frame that begins at `start`, None when incomplete, and its end.

        Raises: WireError for one that is too long.
        """
        body = start + 4
        if len(self._buffer) < body:
            return None, start
        length = int.from_bytes(self._buffer[start:body], "big")
        if length > bytes_max:
            raise WireError(f"expected a frame of at most {bytes_max} bytes, was {length}")
        end = body + length
        if len(self._buffer) < end:
            return None, start
        return self._buffer[body:end].decode(errors="backslashreplace"), end


def _hello(text: str) -> Hello:
    found = _GREETING.fullmatch(text.removesuffix("\0"))
    if found is None:
        raise WireError(f"expected a version range, was {text[:40]!r}")
    low, high, options = found.groups()
    return Hello(int(low), int(high or low), options or "")


def frame(fields: Iterable[str]) -> bytes:
    """Return one message as bytes: length, then each field with its NUL."""
    text = "\0".join(fields)
    body = text.encode() if text.isascii() else _escaped(text).encode()
    return (len(body) + 1).to_bytes(4, "big") + body + b"\0"


def _escaped(text: str) -> str:
    r"""Write what is not ASCII as Java's \uXXXX, which clients decode from version 153."""
    # Half a surrogate pair can come from a fault's parameters: it is passed on as it is.
    units = text.encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2))
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def handshake(version: int, now: datetime) -> bytes:
    """Return the answer to Hello: exactly two fields, never a message id."""
    return frame((str(version), now.astimezone(NEW_YORK).strftime("%Y%m%d %H:%M:%S %Z")))


class FieldReader:
    """Read a request's fields in order and insist that none is missing."""

    def __init__(self, fields: Fields) -> None:
        """Start at the first of the given fields."""
        self._fields = fields
        self._next = 0

    def text(self) -> str:
        """Return the next field. Raises: MissingFieldError when there is none."""
        if self._next >= len(self._fields):
            raise MissingFieldError(f"expected more than {len(self._fields)} fields")
        self._next += 1
        return self._fields[self._next - 1]

    def texts(self, names: str) -> dict[str, str]:
        """Return the next fields under the blank-separated names."""
        return {name: self.text() for name in names.split()}

    def skip(self, count: int) -> None:
        """Pass over fields the simulator has no use for. Raises: MissingFieldError."""
        if not 0 <= count <= len(self._fields) - self._next:
            raise MissingFieldError(f"expected {count} more fields")
        self._next += count

    def integer(self) -> int:
        """Return the next field as a whole number, 0 when empty. Raises: WireError."""
        return integer(self.text())

    def flag(self) -> bool:
        """Return the next field as a boolean: 1, 0 or empty (some clients send '' for false)."""
        return flag(self.text())

    def count(self) -> int:
        """Return the next field as the length of a group. Raises: WireError when impossible."""
        count = self.integer()
        if not 0 <= count <= len(self._fields):
            raise WireError(f"expected a count of what follows, was {count}")
        return count

    def left(self) -> Fields:
        """Return the fields nobody has read."""
        return self._fields[self._next :]


def integer(text: str) -> int:
    """Return a whole number of 32 bits, 0 for an empty field. Raises: WireError."""
    if not text:
        return 0
    if not _INTEGER.fullmatch(text) or abs(value := int(text)) > INTEGER_MAX:
        raise WireError(f"expected a whole number of 32 bits, was {text[:40]!r}")
    return value


def flag(text: str) -> bool:
    """Return a boolean field. Raises: WireError for anything but 1, 0, true, false and empty."""
    if text.lower() in {"1", "true"}:
        return True
    if text.lower() in {"", "0", "false"}:
        return False
    raise WireError(f"expected 0 or 1, was {text[:40]!r}")


def number(text: str) -> Decimal | None:
    """Return a price or quantity, None when it is empty or one of the unset sentinels.

    Like a double it has 15 sure digits: 0.30000000000000004 is 0.3.
    Raises: WireError when it is not a finite number below 1e15.
    """
    if not text:
        return None
    if len(text) > NUMBER_CHARACTERS_MAX or not _NUMBER.fullmatch(text):
        raise WireError(f"expected a number, was {text[:40]!r}")
    value = Decimal(text)
    if value == INTEGER_MAX or _SENTINEL_MIN < value < _SENTINEL_MAX:
        return None
    if not -NUMBER_MAX <= value <= NUMBER_MAX:
        raise WireError(f"expected a number below 1e15, was {text[:40]!r}")
    return ZERO if -NUMBER_MIN < value < NUMBER_MIN else _DOUBLE.plus(value)


def double_text(value: Decimal | None) -> str:
    """Write a price the way Java writes a double: `201.94`, `0.0`, never an exponent."""
    if value is None:
        return UNSET_DOUBLE
    # A double has 15 sure digits; an average price may have more.
    text = size_text(_DOUBLE.plus(value))
    return text if "." in text else f"{text}.0"


def size_text(value: Decimal, version: int = SERVER_VERSION_MAX) -> str:
    """Write a quantity bare: `100`, `0.0001`. Below version 163 only whole numbers exist."""
    if version < Since.FRACTIONAL_SIZES:
        return str(int(value))
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def time_text(moment: datetime, version: int = SERVER_VERSION_MAX) -> str:
    """Write an aware time in New York time, from version 174 on with the zone's name."""
    local = moment.astimezone(NEW_YORK)
    if version >= Since.ZONED_TIMES:
        return local.strftime("%Y%m%d %H:%M:%S US/Eastern")
    return local.strftime("%Y%m%d  %H:%M:%S")

"""Frames, fields and number formats of the TWS socket protocol, text form (server version <= 200).

Pure: bytes in, fields out, and the reverse. `Since` is the one place that knows at which server
version something appeared on the wire; encoders and parsers only compare with its members.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal, InvalidOperation
from enum import IntEnum

from ibloop.sim.model import NEW_YORK

Fields = tuple[str, ...]

SERVER_VERSION_MIN = 157
SERVER_VERSION_MAX = 200
# 158: ib_insync reads openOrder.duration only from 159. 187-189: RFQ fields, undone again at 190.
NEVER_OFFERED = frozenset({158, 187, 188, 189})
FRAME_BYTES_MAX = 0xFFFFFF

UNSET_DOUBLE = "1.7976931348623157E308"
UNSET_INTEGER = "2147483647"
UNSET_LONG = "9223372036854775807"
UNSET_DECIMAL = "-9223372036854775808"
INTEGER_MAX = 2**31 - 1
# Above any price or quantity, far below the sentinels: keeps Decimal arithmetic exact and small.
NUMBER_MAX = Decimal(10) ** 15

_DOUBLE = Context(prec=15)


class Since(IntEnum):
    """Server version from which a change shows on the wire."""

    DURATION = 158
    POST_TO_ATS = 160
    AUTO_CANCEL_PARENT = 162
    FRACTIONAL_SIZES = 163
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
    CURRENT_TIME_MILLIS = 197
    SUBMITTER = 198
    IMBALANCE_ONLY = 199
    EXECUTION_DATES = 200


class WireError(ValueError):
    """Say that bytes or fields are not what the protocol allows."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The client's greeting: the range of server versions it speaks, and its connect options."""

    version_min: int
    version_max: int
    options: str


def negotiate(hello: Hello) -> int | None:
    """Return the server version to offer, or None when there is none both sides speak."""
    highest = min(hello.version_max, SERVER_VERSION_MAX)
    lowest = max(hello.version_min, SERVER_VERSION_MIN)
    for version in range(highest, lowest - 1, -1):
        if version not in NEVER_OFFERED:
            return version
    return None


class FrameDecoder:
    """Turn a client's byte stream, cut anywhere, into one Hello and then messages."""

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
        while True:
            start = 0 if self._greeted else 4
            if not self._greeted and not b"API\0".startswith(self._buffer[:4]):
                raise WireError("expected the API greeting")
            if len(self._buffer) < start + 4:
                return complete
            (length,) = struct.unpack_from(">I", self._buffer, start)
            if length > FRAME_BYTES_MAX:
                raise WireError(f"expected a frame of at most {FRAME_BYTES_MAX} bytes")
            end = start + 4 + length
            if len(self._buffer) < end:
                return complete
            text = self._buffer[start + 4 : end].decode(errors="backslashreplace")
            del self._buffer[:end]
            complete.append(_fields(text) if self._greeted else _hello(text))
            self._greeted = True


def _fields(text: str) -> Fields:
    return tuple(text.removesuffix("\0").split("\0"))


def _hello(text: str) -> Hello:
    versions, _, options = text.removesuffix("\0").partition(" ")
    low, _, high = versions.removeprefix("v").partition("..")
    try:
        return Hello(int(low), int(high or low), options)
    except ValueError as error:
        raise WireError(f"expected a version range, was {text[:40]!r}") from error


def frame(fields: Iterable[str]) -> bytes:
    """Return one message as bytes: length, then each field with its NUL."""
    body = "".join(f"{_escaped(field)}\0" for field in fields).encode("ascii")
    return struct.pack(">I", len(body)) + body


def _escaped(text: str) -> str:
    r"""Write what is not ASCII as Java's \uXXXX, which clients decode from version 153."""
    if text.isascii():
        return text
    units = text.encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2))
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def handshake(version: int, now: datetime) -> bytes:
    """Return the answer to Hello: exactly two fields, never a message id."""
    return frame((str(version), now.astimezone(NEW_YORK).strftime("%Y%m%d %H:%M:%S %Z")))


class FieldReader:
    """Read a request's fields in order and insist that none is missing or left over."""

    def __init__(self, fields: Fields) -> None:
        """Start at the first of the given fields."""
        self._fields = fields
        self._next = 0

    def text(self) -> str:
        """Return the next field. Raises: WireError when there is none."""
        if self._next >= len(self._fields):
            raise WireError(f"expected more than {len(self._fields)} fields")
        self._next += 1
        return self._fields[self._next - 1]

    def texts(self, names: str) -> dict[str, str]:
        """Return the next fields under the blank-separated names."""
        return {name: self.text() for name in names.split()}

    def skip(self, count: int) -> None:
        """Pass over fields the simulator has no use for."""
        for _ in range(count):
            self.text()

    def integer(self) -> int:
        """Return the next field as a whole number, 0 when empty. Raises: WireError."""
        return integer(self.text())

    def flag(self) -> bool:
        """Return the next field as a boolean: 1, 0 or empty (some clients send '' for false)."""
        return flag(self.text())

    def end(self) -> None:
        """Raise WireError when fields are left over: the layout was misread."""
        left = len(self._fields) - self._next
        if left:
            raise WireError(f"expected {self._next} fields, was {left} more")


def integer(text: str) -> int:
    """Return a whole number of 32 bits, 0 for an empty field. Raises: WireError."""
    try:
        value = int(text or 0)
    except ValueError as error:
        raise WireError(f"expected a whole number, was {text[:40]!r}") from error
    if abs(value) > INTEGER_MAX:
        raise WireError(f"expected a 32-bit number, was {text[:40]!r}")
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

    Raises: WireError when it is not a finite number below 1e15.
    """
    if not text:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise WireError(f"expected a number, was {text[:40]!r}") from error
    if not value.is_finite():
        raise WireError(f"expected a finite number, was {text[:40]!r}")
    if Decimal("1.79E308") < value < Decimal("1E309") or value == INTEGER_MAX:
        return None
    if abs(value) > NUMBER_MAX:
        raise WireError(f"expected a number below 1e15, was {text[:40]!r}")
    return value


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

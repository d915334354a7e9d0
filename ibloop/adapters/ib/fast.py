"""The stream's receive path: frames cut by offset, ticks noted without a call, the rest as ever.

The library copies the whole rest of its buffer for each message and makes a list, five strings and
two calls of each tick. Here a packet is walked once; price, size, time and halt ticks of open
lines go straight into their ``Line``, and every other message goes to the library's own decoder,
at its place in the order. Whatever is unusual about a tick (an unknown line or number, a missing
field, a value that is no number, delayed data) makes it one of the others, so what is odd is
judged in one place.

For the stream only: a process that sends orders keeps the path its library was tested with.
``docs/explanation/fast-receive.md`` tells what it relies on.
"""

import inspect
import struct
from collections.abc import Callable
from typing import Any, Final

from ibloop.adapters.ib.lib import Client, Connection, Decoder, library_version
from ibloop.adapters.ib.ticks import DELAYED, HALTED, PRICES, SIZE_BESIDE, SIZES, TIMES, Line

FRAME_BYTES_MAX = 0xFFFFFF
"""IB's own limit of a message (``MAX_MSG_LEN`` of its client); a longer one is lost framing."""

LIBRARY_VERSION_READ = "0.9.86"
"""The version whose receive path was read for this one."""

SERVER_VERSION_MIN, SERVER_VERSION_MAX = 157, 200
"""Server versions in which a message begins with its number as text; from 201 on it does not."""

_SIGNATURES: Final = (
    (Client, "_onSocketHasData", ("self", "data")),
    (Client, "isReady", ("self",)),
    (Connection, "data_received", ("self", "data")),
    (Decoder, "interpret", ("self", "fields")),
    (Decoder, "priceSizeTick", ("self", "fields")),
)
_ATTRIBUTES: Final = ("_data", "_tcpDataProcessed", "conn", "decoder", "wrapper")
_HANDLED: Final = (1, 2, 45, 46)

_PRICE, _SIZE, _GENERIC, _TEXT = (b"%d" % number for number in _HANDLED)
_PRICE_NAMES: Final = {
    b"%d" % number: (name, SIZE_BESIDE.get(name))
    for number, name in PRICES.items()
    if number not in DELAYED
}
_SIZE_NAMES: Final = {b"%d" % n: name for n, name in SIZES.items() if n not in DELAYED}
_TIME_TICKS: Final = frozenset(b"%d" % number for number in TIMES - DELAYED)
_EXCHANGE_TICKS: Final = frozenset({b"32", b"33", b"84"})
"""Texts that come with every quote and are of no use here: who quotes the bid, ask and last."""

_HALTED_TICK: Final = b"%d" % HALTED
_TIME_DIGITS_MAX = 10

_length_at = struct.Struct(">I").unpack_from


def unsuited(client: Any) -> str | None:
    """Return why this client cannot have the fast path, as a sentence; None when it can.

    Args: ``client``, connected.
    """
    if library_version != LIBRARY_VERSION_READ:
        return f"ib_insync is {library_version}, expected {LIBRARY_VERSION_READ}"
    for owner, name, expected in _SIGNATURES:
        method = getattr(owner, name, None)
        found = None if method is None else tuple(inspect.signature(method).parameters)
        if found != expected:
            return f"ib_insync's {owner.__name__}.{name} takes {found}, expected {expected}"
    for name in _ATTRIBUTES:
        if not hasattr(client, name):
            return f"ib_insync's client has no {name}"
    missing = [number for number in _HANDLED if number not in client.decoder.handlers]
    if missing or not isinstance(client._data, bytes):
        return f"ib_insync's client does not decode messages {missing} from bytes"
    version = client.serverVersion()
    if not SERVER_VERSION_MIN <= version <= SERVER_VERSION_MAX:
        return (
            f"the gateway speaks version {version}, "
            f"expected {SERVER_VERSION_MIN} to {SERVER_VERSION_MAX}"
        )
    return None


class FastReceiver:
    """Takes the packets of one connection in place of the library, from :meth:`install` on.

    Args: ``client`` connected and not :func:`unsuited`; ``lines`` the open lines by their number
    as bytes, looked up for every tick; ``changed`` gets the symbol of each line with news;
    ``lost`` is told as a sentence when the stream cannot be read any further, and must disconnect.
    """

    def __init__(
        self,
        client: Any,
        lines: dict[bytes, Line],
        changed: dict[str, None],
        lost: Callable[[str], None],
    ) -> None:
        """Remember what to fill; nothing is taken yet."""
        self._client = client
        self._lines = lines
        self._changed = changed
        self._lost = lost
        self._interpret: Callable[[list[str]], None] = client.decoder.interpret
        self._processed: Callable[[], None] = client._tcpDataProcessed or _nothing
        self._parts: list[bytes] = []
        self._held = self._needed = 0

    def install(self) -> None:
        """Take over, with the beginning of a frame that the library may hold."""
        client = self._client
        begun, client._data = client._data, b""
        # Not through the library's event: that would swallow an error of ours.
        client.conn.data_received = self.take
        self._keep(begun)

    def take(self, data: bytes) -> None:
        """Handle a packet: every whole frame in it, and later the frame it ends within."""
        if self._parts:
            self._parts.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        self._keep(data[self._take_frames(data) :])
        self._processed()

    def _keep(self, rest: bytes) -> None:
        """Hold the beginning of a frame until all of it is here."""
        if not rest:
            return
        self._parts.append(rest)
        self._held = len(rest)
        # As the library does, wait for a fifth byte even where the length is zero.
        self._needed = 5 if self._held <= 4 else 4 + _length_at(rest)[0]
        if self._needed > 4 + FRAME_BYTES_MAX:
            self._parts.clear()
            self._lost(
                f"a message of {self._needed - 4} bytes was announced: the stream is damaged"
            )

    def _take_frames(self, data: bytes) -> int:
        """Handle the whole frames in ``data``; return where the next one begins.

        All of ``data`` counts as taken when a message has ended the connection.
        """
        lines, changed = self._lines, self._changed
        size, offset = len(data), 0
        while size - offset > 4:
            end = offset + 4 + _length_at(data, offset)[0]
            if end > size:
                break
            fields = data[offset + 4 : end].split(b"\0")
            offset = end
            try:
                if fields[0] == _PRICE:
                    _, _, key, tick, price, size_beside, _, _ = fields
                    line = lines[key]
                    name, name_beside = _PRICE_NAMES[tick]
                    number, number_beside = float(price), float(size_beside or 0)
                    news = line.news
                    if not news:
                        changed[line.instrument.symbol] = None
                    news[name] = number
                    if name_beside is not None:
                        news[name_beside] = number_beside
                elif fields[0] == _SIZE:
                    _, _, key, tick, value, _ = fields
                    line = lines[key]
                    name, number = _SIZE_NAMES[tick], float(value or 0)
                    news = line.news
                    if not news:
                        changed[line.instrument.symbol] = None
                    news[name] = number
                else:
                    self._take_seldom(fields)
            except (KeyError, ValueError):
                # Not ours, or odd. The library's decoder counts what cannot be read.
                self._interpret([field.decode(errors="backslashreplace") for field in fields[:-1]])
                if not self._client.isReady():
                    return size
        return offset

    def _take_seldom(self, fields: list[bytes]) -> None:
        """Take a time or a halt. Raises: KeyError, ValueError when it is none."""
        kind = fields[0]
        if kind == _TEXT:
            _, _, key, tick, text, _ = fields
            line = self._lines[key]
            if tick in _EXCHANGE_TICKS:
                return
            if tick not in _TIME_TICKS or not text.isdigit() or len(text) > _TIME_DIGITS_MAX:
                raise KeyError(tick)
            line.news_time = text
        elif kind == _GENERIC:
            _, _, key, tick, value, _ = fields
            line = self._lines[key]
            if tick != _HALTED_TICK:
                raise KeyError(tick)
            line.take_generic(HALTED, float(value or 0))
        else:
            raise KeyError(kind)
        self._changed[line.instrument.symbol] = None


def _nothing() -> None:
    """Do nothing after a packet."""

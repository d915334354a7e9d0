"""What stands between a session and its transport: the place where faults touch messages."""

import struct
from collections.abc import Iterator

from ibloop.sim.faults import ActiveFaults
from ibloop.sim.faults.base import TICKS, Outgoing, Says
from ibloop.sim.protocol.wire import Fields
from ibloop.sim.service.agenda import Agenda
from ibloop.sim.service.session import Line, Session
from ibloop.sim.world import World

# Where a message of a stream carries its request id.
_REQUEST_AT: dict[int, int] = {
    **dict.fromkeys((*TICKS, Says.REAL_TIME_BAR), 2),
    **dict.fromkeys((Says.HISTORICAL_UPDATE, Says.TICK_BY_TICK), 1),
}


class Outbox:
    """A Line that lets the faults see every message; without such faults it only hands bytes on.

    Works on bytes, so that no encoder, however fast, can bypass it.
    """

    def __init__(self, line: Line, faults: ActiveFaults, agenda: Agenda, world: World) -> None:
        """Write to this transport; `session` is known as soon as it exists."""
        self._line = line
        self._faults = faults
        self._agenda = agenda
        self._world = world
        self.session: Session | None = None

    def write(self, data: bytes) -> None:
        """Send whole messages as the faults allow."""
        if not self._faults.filtering:
            self._line.write(data)
            return
        for fields in unframed(data):
            outgoing = Outgoing(
                fields=fields,
                client_id=self.session.client_id if self.session else None,
                symbol=self._symbol(fields),
                now_s=self._world.monotonic_s(),
                wire=self,
            )
            for changed in self._faults.sends(outgoing):
                self._post(changed)

    def put(self, fields: Fields) -> None:
        """Write a message past all faults."""
        self._line.write(reframed(fields))

    def _post(self, outgoing: Outgoing) -> None:
        if outgoing.delay_s > 0:
            due_s = outgoing.now_s + outgoing.delay_s
            self._agenda.add(due_s, lambda: self.put(outgoing.fields))
        else:
            self.put(outgoing.fields)

    def _symbol(self, fields: Fields) -> str:
        """Return the symbol a streamed message is about."""
        at = _REQUEST_AT.get(int(fields[0])) if fields[0].isdecimal() else None
        if at is None or self.session is None or len(fields) <= at:
            return ""
        return self.session.symbols.get(fields[at], "")

    def close(self) -> None:
        """End the connection after what was written."""
        self._line.close()

    def reset(self) -> None:
        """Break the connection."""
        self._line.reset()

    def freeze(self, *, frozen: bool) -> None:
        """Stop or resume reading and writing."""
        self._line.freeze(frozen=frozen)


def unframed(data: bytes) -> Iterator[Fields]:
    """Return the messages in our own bytes, their texts still escaped."""
    start = 0
    while start < len(data):
        (length,) = struct.unpack_from(">I", data, start)
        start += 4 + length
        yield tuple(data[start - length : start].decode("ascii").split("\0")[:-1])


def reframed(fields: Fields) -> bytes:
    """Return a message whose texts are escaped already as bytes."""
    body = "".join(f"{field}\0" for field in fields).encode("ascii")
    return struct.pack(">I", len(body)) + body

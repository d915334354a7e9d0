"""Coverage-guided fuzzing of the simulated gateway, where atheris is installed.

atheris is no dependency of ibloop: it has no wheels for every Python we support. `make fuzz` runs
this where it can be imported; by hand:

    PYTHONPATH=tests/sim python tests/fuzz/atheris_sim.py -runs=100000

An input is a byte that chooses the server version and then the bodies of frames, with 0xFF between
them, which no UTF-8 text contains. It begins with every request of IB's list.
"""

import json
import logging
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import atheris
from layouts import VERSIONS, requests

with atheris.instrument_imports(include=["ibloop.sim"]):
    from ibloop.sim import GatewayOptions, WorldOptions
    from ibloop.sim.market.history import load_samples, samples_directory
    from ibloop.sim.protocol.wire import FrameDecoder, Hello
    from ibloop.sim.service.gateway import Gateway
    from ibloop.sim.state import Journal
    from ibloop.sim.truth import truth
    from ibloop.sim.world import World

GREETING = b"API\0\0\0\0\x09v157..200"
BETWEEN = b"\xff"
# Inputs that one world has to stand before it is looked at and replaced.
WORLD_INPUTS = 200


class Nowhere:
    """A line that ends in a void."""

    def write(self, data: bytes) -> None:
        """Drop it."""

    def close(self) -> None:
        """Do nothing."""

    def reset(self) -> None:
        """Do nothing."""

    def freeze(self, *, frozen: bool) -> None:
        """Do nothing."""


@dataclass
class SteppedClock:
    """A clock that moves 20 ms with every question."""

    elapsed_s: float = 0.0

    def utc(self) -> datetime:
        """Return a time of 2026."""
        return datetime.fromtimestamp(1_790_000_000 + self.elapsed_s, UTC)

    def monotonic_s(self) -> float:
        """Return seconds that grow."""
        self.elapsed_s += 0.02
        return self.elapsed_s


class Target:
    """Worlds under attack, one after the other."""

    def __init__(self) -> None:
        """Read the samples once."""
        self._samples = load_samples(samples_directory())
        self.inputs = self.frames = 0
        self._open()

    def _open(self) -> None:
        world = World(WorldOptions(speed=0.0), self._samples, Journal(), SteppedClock())
        self._gateway = Gateway(world, GatewayOptions(message_rate_max=0))

    def one(self, data: bytes) -> None:
        """Play one input."""
        gateway, version = self._gateway, VERSIONS[(data[0] if data else 0) % len(VERSIONS)]
        session = gateway.connect(Nowhere())
        gateway.receive(session, Hello(version, version, ""))
        gateway.receive(session, ("71", "2", "1", ""))
        decoder = FrameDecoder()
        decoder.feed(GREETING)
        for body in data[1:].split(BETWEEN):
            self.frames += 1
            for message in decoder.feed(len(body).to_bytes(4, "big") + body):
                gateway.receive(session, message)
        gateway.tick()
        gateway.disconnect(session)
        self.inputs += 1
        if self.inputs % WORLD_INPUTS == 0:
            gateway.world.commit()
            json.dumps(truth(gateway.world), default=str)
            sys.stderr.write(f"{self.frames} frames\n")
            self._open()


def seeds(directory: Path) -> None:
    """Write every request at some versions as inputs to begin with."""
    for version in (157, 176, 193, 200):
        first = bytes([VERSIONS.index(version)])
        for message_id, fields in requests(version).items():
            body = "".join(f"{text}\0" for text in fields).encode()
            (directory / f"{version}-{message_id}").write_bytes(first + body)


def main() -> None:
    """Fuzz as the command line says (libFuzzer's options)."""
    # A log line for each refused message would be most of the work.
    logging.disable(logging.CRITICAL)
    target = Target()
    with tempfile.TemporaryDirectory() as scratch:
        seeds(Path(scratch))
        atheris.Setup([*sys.argv, scratch], target.one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

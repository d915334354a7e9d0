"""Many worlds, one after the other: no seed may break a promise, and all must come to rest.

``make world SEEDS=N FIRST=M`` plays other seeds. A failure names the command that replays it.
"""

import os
from pathlib import Path

import pytest

from tests.world.world import World

SEEDS = int(os.environ.get("WORLD_SEEDS", "500"))
FIRST = int(os.environ.get("WORLD_FIRST", "0"))
CHUNK = 10


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_every_promise_holds_in_every_world(first: int, tmp_path: Path) -> None:
    """Whatever the broker, the network, the process and the people do (P1 to P16, L1, L2)."""
    for seed in range(first, min(first + CHUNK, FIRST + SEEDS)):
        directory = tmp_path / str(seed)
        directory.mkdir()
        world = World(directory, seed)
        try:
            world.play_out()
        except AssertionError as error:
            pytest.fail(f"{error}\n{world.report()}", pytrace=False)
        finally:
            world.close()

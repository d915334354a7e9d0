"""Rounds of chaos with real processes: whatever is killed, no promise may break.

``make chaos SEEDS=n FIRST=m`` plays other seeds. A failure names the command that replays it; a
seed decides what happens and when, the machine's load what that meets, so try it more than once.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos import planted
from tests.chaos.stage import Stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

SEEDS = int(os.environ.get("CHAOS_SEEDS", "8"))
FIRST = int(os.environ.get("CHAOS_FIRST", "0"))
CHUNK = 8
"""Rounds played at the same time: most of a round is waiting."""
FOUND_BY = {
    "send_again_on_timeout": ("was sent twice", (2, 3)),
    "late_fill_ignored": ("unknown long after healing, though at the broker", (3, 4, 9)),
    "cancel_believed_from_an_error": ("was called canceled at", (3, 9)),
}
"""What is then said, and seeds of which at least one finds it: a round meets it by chance."""


def failure(directory: Path, seed: int, bug: tuple[str, ...] = ()) -> str | None:
    """Play a round; return what was broken and its story, None when all is well."""
    stage = Stage(directory, seed, bug)
    try:
        stage.play()
    except AssertionError as error:
        return f"{error}\n{stage.report()}"
    print(stage.report())  # noqa: T201 - `pytest -s` tells what chaos did
    return None


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_every_promise_survives_chaos(first: int, tmp_path: Path) -> None:
    """Each order leaves once, each execution is recorded once, and both sides agree at the end."""
    seeds = range(first, min(first + CHUNK, FIRST + SEEDS))
    with ThreadPoolExecutor(CHUNK) as pool:
        found = pool.map(lambda seed: failure(tmp_path / str(seed), seed), seeds)
        broken = [text for text in found if text is not None]
    if broken:
        pytest.fail("\n\n".join(broken), pytrace=False)


def test_every_planted_bug_is_found(tmp_path: Path) -> None:
    """Chaos is not blind: an executor with one of these bugs does not survive it."""
    rounds = [(name, seed) for name, (_, seeds) in FOUND_BY.items() for seed in seeds]
    with ThreadPoolExecutor(CHUNK) as pool:
        told = list(pool.map(lambda item: planted_failure(tmp_path, *item), rounds))
    found = {
        name
        for (name, _), text in zip(rounds, told, strict=True)
        if text is not None and FOUND_BY[name][0] in text
    }
    assert found == set(planted.BUGS), "\n\n".join(text for text in told if text)


def planted_failure(directory: Path, name: str, seed: int) -> str | None:
    """Play a round with a bug in its executor; return what was broken."""
    bug = (sys.executable, "-P", planted.__file__, name)
    return failure(directory / f"{name}-{seed}", seed, bug)

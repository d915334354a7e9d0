"""The crash loop: every boundary of the canonical runs, one after the other, and once more."""

from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from ibloop.core.lifecycle import RunState
from tests.daemons.crash_stories import STORIES, crash, drawn
from tests.fakes.house import House, SimCrashError, crash_at

SHARES = 4
AT_LEAST = {
    "before commit",
    "after commit",
    "events taken",
    "before mark",
    "after mark",
    "before place",
    "after place",
}
CANCELS = {"before cancel", "after cancel"}


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", STORIES)
def test_a_crash_at_any_boundary_breaks_no_promise(tmp_path: Path, name: str, share: int) -> None:
    """Around every commit, file write and sending, and with events in hand (P1 to P5, L1)."""
    boundaries = crash(tmp_path / "calm", STORIES[name](), -1)
    assert set(boundaries) >= AT_LEAST | (CANCELS if name == "remainder" else set())
    for number in range(share, len(boundaries), SHARES):
        passed = crash(tmp_path / str(number), STORIES[name](), number)
        assert passed == boundaries[: number + 1]


@pytest.mark.parametrize("seed", range(12))
def test_a_crash_of_the_recovery_breaks_no_promise(tmp_path: Path, seed: int) -> None:
    """The next executor may die as well, wherever it stands, and the one after it."""
    chance = drawn(seed)
    name = chance.choice(list(STORIES))
    first = chance.randrange(len(crash(tmp_path / "calm", STORIES[name](), -1)))
    then = [chance.randrange(20) for _ in range(2)]
    crash(tmp_path / "crash", STORIES[name](), first, *then)


class Asleep(House):
    """A house whose first executor has not been started yet."""

    awake = False

    def start(self) -> None:
        """Start an executor, once somebody is awake."""
        if self.awake:
            super().start()


def test_a_crash_of_the_first_start_looks_like_no_restored_backup(tmp_path: Path) -> None:
    """Whatever of epoch and mark is there alone: the next start trades all the same (P15)."""
    for number in count():
        (tmp_path / str(number)).mkdir()
        house = Asleep(tmp_path / str(number))
        house.awake = True
        with crash_at(house, number) as passed, suppress(SimCrashError):
            house.start()
        died = len(passed) > number
        if died:
            house.restart()
        house.queue()
        assert house.until_ended().status is RunState.DONE, passed
        house.ledger.close()
        if not died:
            break
    assert {"after commit", "after mark"} <= set(passed)

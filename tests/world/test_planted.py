"""Tests of the tests: a bug that is put into the protocol on purpose must be found by a world.

The seeds below find them; with ``WORLD_SEARCH=1`` each bug is searched for from seed 0 on, at most
500 seeds far, and the seeds are printed: that is how the table is made anew when a world changes.
"""

import os
from pathlib import Path

import pytest

from tests.world.bugs import BUGS
from tests.world.world import World

SEEDS_MAX = 500
FOUND_BY = {
    "send_before_commit": 0,
    "send_again_on_timeout": 3,
    "halt_outside_the_transaction": 1,
    "fills_by_full_id": 2,
    "deaf_while_disconnected": 2,
    "cancel_believed_from_an_error": 9,
    "window_without_a_canary": 0,
    "restored_ledger_accepted": 12,
    "absence_believed_at_once": 7,
    "order_id_from_the_broker_alone": 0,
    "stale_quote_trades": 2,
    "late_fill_ignored": 124,
}


def is_found(name: str, seed: int, directory: Path) -> bool:
    """Tell whether the world of a seed notices a planted bug; however it does."""
    directory.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        BUGS[name](patch)
        world = World(directory, seed)
        try:
            world.play_out()
        except (AttributeError, NameError, TypeError):
            raise  # the patch does not fit the code any more: that finds nothing
        except Exception:  # noqa: BLE001 - a crash finds the bug as well as a broken promise
            return True
        finally:
            world.close()
    return False


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    """The world is not blind: this bug breaks a promise within 500 seeds."""
    if os.environ.get("WORLD_SEARCH"):
        seeds = range(SEEDS_MAX)
        found = next((seed for seed in seeds if is_found(name, seed, tmp_path / str(seed))), None)
        assert found is not None, f"expected {name} within {SEEDS_MAX} seeds"
        print(f'    "{name}": {found},')  # noqa: T201 - the table, for the developer to copy
    else:
        assert is_found(name, FOUND_BY[name], tmp_path / "world")


@pytest.mark.parametrize("seed", sorted(set(FOUND_BY.values())))
def test_without_the_bug_the_same_world_is_sound(seed: int, tmp_path: Path) -> None:
    """What finds the bugs is not a world that always fails."""
    world = World(tmp_path, seed)
    try:
        world.play_out()
    finally:
        world.close()

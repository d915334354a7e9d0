"""What ends a run under way: rejections one after the other, wherever in it they come."""

from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.retrying import Retry
from tests.fakes.house import House

D = Decimal
REFUSED = (201, "no")


def house_with(directory: Path, *refused: str, k: int = 2, **execution: object) -> House:
    """Return a house at rest in which the broker refuses the orders of these symbols."""
    made = House(directory, rejections_in_a_row_max=k, execution=execution)
    made.settle()
    for symbol in refused:
        made.script(symbol, refused=REFUSED)
    made.queue()
    return made


@pytest.mark.parametrize("retry", list(Retry))
def test_a_whole_window_of_rejections_blocks_the_run(tmp_path: Path, retry: Retry) -> None:
    """The last three orders leave at once, and nothing is left to send when they are refused."""
    house = house_with(tmp_path, "CCC", "DDD", "EEE", retry=retry)
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.REJECTIONS_IN_A_ROW)
    assert run.detail == "the broker rejected 3 in a row"
    assert house.sent() == ["AAA", "BBB", "CCC", "DDD", "EEE"]
    assert house.broken() == ()


def test_one_rejection_less_ends_the_run_as_it_is(tmp_path: Path) -> None:
    """Two of three allowed: the run has done what it could."""
    run = house_with(tmp_path, "DDD", "EEE", k=3).until_ended()
    assert run.status is RunState.PARTIAL


def test_what_still_works_is_followed_before_the_run_is_blocked(tmp_path: Path) -> None:
    """Nothing is left to send: the order at work is seen to its end, and then a person looks."""
    house = house_with(tmp_path, "DDD", "EEE")
    house.script("CCC", fills=())
    house.play(30)
    assert house.states()["CCC"] == "new"
    assert house.run().status is RunState.EXECUTING
    house.broker.fill(house.broker.find("ibl:K1:CCC:B:0"), D(300))
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.REJECTIONS_IN_A_ROW)
    assert house.states()["CCC"] == "filled"


def test_a_person_tries_what_was_rejected_again(tmp_path: Path) -> None:
    """Once the cause is mended `ibloop run retry` sends the remainder, and only that."""
    house = house_with(tmp_path, "CCC", "DDD", "EEE")
    house.until_ended()
    house.broker.scripts.clear()
    house.clock.advance(60)
    house.retry()
    assert house.until_ended().status is RunState.DONE
    assert house.sent()[5:] == ["CCC", "DDD", "EEE"]
    assert house.broken() == ()

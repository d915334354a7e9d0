"""A ledger that cannot be written: the executor ends, and its successor finds out what happened.

Nothing is kept in memory and nothing is half done: what the broker told of meanwhile it tells
again to the next process (execution-safety F17, F19). The faults are SQLite's own.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import audit, fills
from ibloop.adapters.ledger.connection import Connection, LedgerBusyError, OperationalError
from ibloop.core.lifecycle import RunState
from tests.fakes.house import House

FIRST = "ibl:K1:AAA:S:0"
HALF, WHOLE = Decimal(200), Decimal(500)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house at rest, synchronised with the broker."""
    made = House(tmp_path)
    made.settle()
    return made


@contextmanager
def full_disk(house: House) -> Iterator[None]:
    """Let the ledger have not one page more than it has: SQLite calls that a full disk."""
    db = house.ledger.db
    db.execute("VACUUM")
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        db.execute("PRAGMA max_page_count = 1000000")


@contextmanager
def locked(house: House) -> Iterator[None]:
    """Hold the write lock as a person's shell does, for longer than the executor waits."""
    house.ledger.db.execute("PRAGMA busy_timeout = 20")
    with closing(Connection(str(house.ledger.path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            house.ledger.db.execute("PRAGMA busy_timeout = 5000")


FAULTS = pytest.mark.parametrize(
    ("fault", "error"), [(full_disk, OperationalError), (locked, LedgerBusyError)]
)


def play_until_it_ends(house: House, error: type[Exception], seconds: int) -> None:
    """Let the executor work until a step fails, and fail if none does."""
    with pytest.raises(error):
        house.play(seconds)


@FAULTS
def test_nothing_is_sent_that_cannot_be_written_down(
    house: House, fault: object, error: type[Exception]
) -> None:
    """No row, no bytes (P2); once it can be written again the rest of the run follows.

    On a disk that is all but full a row or two may still fit, and those orders leave.
    """
    house.plan()
    with fault(house):  # type: ignore[operator]
        play_until_it_ends(house, error, 600)
        written = {o.client_order_id for o in house.orders().values() if o.sent_at}
        assert set(house.broker.placed) <= written
        assert len(written) < len(house.orders())
    house.restart()
    assert house.until_ended().status is RunState.DONE
    assert house.broken() == ()
    assert audit.verify(house.ledger.db).is_whole


@FAULTS
def test_a_fill_that_cannot_be_stored_is_asked_for_again(
    house: House, fault: object, error: type[Exception]
) -> None:
    """The broker tells it to the next process: once in the ledger, and its order goes on (P3)."""
    house.script("AAA", fills=())
    house.queue()
    house.play(3)
    with fault(house):  # type: ignore[operator]
        house.broker.fill(house.broker.find(FIRST), HALF)
        play_until_it_ends(house, error, 600)
        with suppress(error):  # what systemd starts meanwhile ends as well, whatever it has heard
            house.restart()
            house.play(60)
        house.broker.fill(house.broker.find(FIRST), WHOLE - HALF)
    house.restart()
    assert house.until_ended().status is RunState.DONE
    known = [f.quantity for f in fills.everything(house.ledger.db) if f.client_order_id == FIRST]
    assert sorted(known) == [HALF, WHOLE - HALF]
    assert house.broken() == ()
    assert house.broker.placed.count(FIRST) == 1
    assert audit.verify(house.ledger.db).is_whole

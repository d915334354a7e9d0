"""A ledger restored in the middle of a run, by whatever way, never sends an order again (P15)."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ibloop.adapters.ledger import orders
from ibloop.adapters.ledger.connection import Connection, Tx
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import Instrument, Order
from tests.fakes.house import House, SimCrashError

COMMITS_MAX = 60
"""More than a run of five orders has."""


class Restored(House):
    """A house whose ledger is copied after a commit, and which dies with the next order."""

    def __init__(self, directory: Path, commit: int) -> None:
        """Copy the ledger after so many commits of the run."""
        directory.mkdir()
        self.commits = 0
        super().__init__(directory)
        self._at = commit
        self._copy = directory / "copy.db"
        self._lost = False
        self.copy_knew = False
        self.ids: list[int] = []
        self._watch()

    def play_out(self) -> bool:
        """Trade until an order has left that the copy does not know; return whether one has."""
        self.queue()
        try:
            self.until_ended()
        except SimCrashError:
            return True
        return False

    def restore(self) -> None:
        """Put the copy in the place of the ledger; the mark stays.

        ``copy_knew`` tells whether the order that was lost last is in it as about to be sent.
        """
        self.ledger.close()
        self.broker.lose_client()
        for path in self.directory.glob("ibloop.db*"):
            if not path.name.endswith(".mark"):
                path.unlink()
        shutil.copy(self._copy, self.directory / "ibloop.db")
        self.ledger = self.open_ledger()
        row = orders.find(self.ledger.db, self.broker.placed[-1])
        self.copy_knew = row is not None and row.order.sent_at is not None
        self.start()
        self.play(90)

    def _watch(self) -> None:
        whole, place = self.ledger.transaction, self.broker.place

        @contextmanager
        def transaction() -> Iterator[Tx]:
            with whole() as tx:
                yield tx
            self.commits += 1
            if self.commits == self._at:
                with closing(Connection(str(self._copy))) as copy:
                    self.ledger.db.backup(copy)

        def placed(order: Order, instrument: Instrument) -> None:
            self.ids.append(order.ib_order_id or 0)
            if self._copy.exists() and not self._lost:
                # It has left, waits in the gateway and shows in no answer; the process dies.
                self._lost = True
                self.broker.placed.append(order.client_order_id)
                raise SimCrashError("after the bytes")
            place(order, instrument)

        self.ledger.transaction = transaction  # type: ignore[method-assign]
        self.broker.place = placed  # type: ignore[method-assign]


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[Iterator[Restored]]:
    """Give a house for each commit of a run after which an order has left."""

    def each() -> Iterator[Restored]:
        for commit in range(1, COMMITS_MAX):
            house = Restored(tmp_path / str(commit), commit)
            try:
                if not house.play_out():
                    return
                house.restore()
                yield house
            finally:
                house.ledger.close()

    return each()


def test_a_copy_of_any_moment_of_a_run_sends_nothing_again(houses: Iterator[Restored]) -> None:
    """Restored with the mark in place, the order it has forgotten parked at the gateway."""
    behind = 0
    for house in houses:
        moment = f"copied after commit {house.commits}: {house.broker.placed}"
        assert len(house.broker.placed) == len(set(house.broker.placed)), moment
        assert len(house.ids) == len(set(house.ids)), moment
        if not house.copy_knew:
            assert house.desk.trouble is not None, moment
            assert house.desk.trouble.reason is RunReason.LEDGER_BEHIND, moment
            behind += 1
    assert behind > 5


def test_without_a_mark_that_can_be_written_no_byte_leaves(tmp_path: Path) -> None:
    """Disk full or read-only: a backup put back later would not be noticed. The run tells why."""
    house = House(tmp_path)
    house.plan()
    mark = tmp_path / "ibloop.db.mark"
    mark.unlink()
    mark.mkdir()
    run = house.until_ended()
    row = house.orders()["AAA"]
    assert house.broker.placed == []
    assert (row.status, row.reject_source) == ("not_sent", "ibloop")
    assert "the mark beside the ledger cannot be written" in str(row.reject_reason)
    assert run.status is RunState.FAILED
    mark.rmdir()
    house.queue("K2")
    assert house.until_ended("K2").status is RunState.DONE
    house.ledger.close()

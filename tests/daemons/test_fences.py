"""Fences that only one moment needs: each test opens the gap that its fence closes, and no other.

A fence that nothing misses when it is taken away is as good as none.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ibloop.adapters.ledger import commands, identity
from ibloop.adapters.ledger.connection import Tx
from ibloop.core import events as ev
from ibloop.core.lifecycle import OrderState, RunState
from ibloop.daemons.executing.run_commands import ACCEPT_LEDGER
from ibloop.errors import LockHeldError
from tests.fakes.house import House

FIRST = "ibl:K1:AAA:S:0"


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house at rest, synchronised with the broker."""
    made = House(tmp_path)
    made.settle()
    return made


def test_a_fresh_connection_proves_no_absence(tmp_path: Path) -> None:
    """Condition 2 of the absence test: the first look comes well after the reconnection.

    A gateway that has just logged in may not show everything yet, so looks that are far enough
    apart prove nothing while both are young.
    """
    spacing_s = 60.0
    house = House(tmp_path, execution={"absence_spacing_s": spacing_s})
    house.settle()
    house.script("AAA", swallowed=True)
    house.queue()
    house.until_ended()
    good_till = house.orders()["AAA"].good_till
    life_s = (good_till - house.clock.now().utc).total_seconds()
    house.play(life_s - 120, tick_s=15)
    house.broker.evidence_fails = True  # from here on nothing is seen, so nothing is missed
    house.play(300, tick_s=15)
    house.broker.disconnect()
    house.settle()
    house.broker.evidence_fails = False
    house.broker.connect()
    house.settle()
    assert house.states()["AAA"] == "unknown"
    house.play(spacing_s + 30, tick_s=5)
    assert house.states()["AAA"] == "unknown", "seen twice, the first time too soon"
    house.until(lambda: house.states()["AAA"] == "not_sent", 2 * spacing_s, tick_s=5)


def test_an_executor_that_lost_its_epoch_after_the_commit_writes_nothing(house: House) -> None:
    """Between commit and bytes another one may take over, and answers for the row (P10)."""
    whole, waiting = house.ledger.transaction, [True]

    @contextmanager
    def transaction() -> Iterator[Tx]:
        with whole() as tx:
            yield tx
        if waiting and OrderState.SENDING in house.states().values():
            waiting.clear()
            with whole() as tx:
                identity.take_epoch(tx, "another", house.clock.now().utc)

    house.ledger.transaction = transaction  # type: ignore[method-assign]
    house.queue()
    with pytest.raises(LockHeldError, match="another executor"):
        house.play(5)
    assert house.broker.placed == []
    order = house.orders()["AAA"]
    assert (order.status, order.reject_reason) == ("not_sent", "another executor has taken over")


@pytest.mark.parametrize("code", [1100, 1300, 2110])
@pytest.mark.parametrize("restored", [1101, 1102])
def test_each_way_of_losing_the_line_stops_sending(house: House, code: int, restored: int) -> None:
    """IB says it in three ways, and that it is back in two; meanwhile nothing leaves (F9)."""
    house.script("AAA", fills=())
    house.queue()
    house.play(2)
    house.broker.emit(ev.ErrorReported(None, code, "lost"))
    house.broker.fill(house.broker.find(FIRST), house.orders()["AAA"].quantity)
    sent = house.sent()
    house.play(30)
    assert not house.desk.ready()
    assert (house.sent(), house.states()["AAA"]) == (sent, "filled")
    asked = house.broker.evidence_asked
    house.broker.emit(ev.ErrorReported(None, restored, "back"))
    assert house.until_ended().status is RunState.DONE
    assert house.broker.evidence_asked > asked, "what was missed has to be asked for"


def test_an_accepted_backup_uses_no_order_id_again(house: House, tmp_path: Path) -> None:
    """Ledger and gateway have both forgotten the ids that were used: the mark has not (P1)."""
    backup = tmp_path / "backup.db"
    house.ledger.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(house.directory / "ibloop.db", backup)
    house.queue()
    house.until_ended()
    used = [order.ib_order_id or 0 for order in house.orders().values()]
    house.broker.executions.clear()
    for live in house.broker.live:
        live.forgotten = True
    house.clock.advance(24 * 3600)
    house.ledger.close()
    for path in house.directory.glob("ibloop.db-*"):
        path.unlink()
    shutil.copy(backup, house.directory / "ibloop.db")
    house.ledger = house.open_ledger()
    house.broker.next_order_id = 1
    house.restart()
    house.play(20)
    with house.ledger.transaction() as tx:
        now = house.clock.now().utc
        commands.request(tx, ACCEPT_LEDGER, {"reason": "restored"}, "ann", now)
    house.play(20)
    house.broker.positions.update({"AAA": house.broker.positions["AAA"] * 2})
    house.queue("K2")
    house.play(20)
    anew = [order.ib_order_id or 0 for order in house.orders("K2").values() if order.sent_at]
    assert anew
    assert min(anew) > max(used)

"""The drop copy on a real ledger: what freezes a symbol, what that stops, what lifts it."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, freezes, orders
from ibloop.adapters.ledger.guard_memory import GuardMemory
from ibloop.adapters.ledger.resolution import Decision, Fate, resolve
from ibloop.core.dropcopy import (
    ACCOUNT,
    UNEXPLAINED,
    Break,
    BreakKind,
    Seen,
    account_troubles,
)
from ibloop.core.model import Execution, HaltLevel, Position, Side
from ibloop.daemons.executing.comparing import accept_positions
from ibloop.daemons.guarding.dropcopy import DropCopy, release
from ibloop.daemons.guarding.look import BLIND, Sight
from tests.fakes.house import House
from tests.fakes.post import FakeWatch, Post

D = Decimal
SIGHT = Sight(BLIND, market_open=True, memory=GuardMemory())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Return a house with an executor that is well."""
    made = House(tmp_path)
    yield made
    made.ledger.close()


def freeze(house: House, symbol: str) -> None:
    """Freeze a symbol as the guard does."""
    with house.ledger.transaction() as tx:
        found = Break(BreakKind.POSITION, symbol, symbol, "a test")
        freezes.freeze(tx, found, house.clock.now().utc, "guard")


class Copy:
    """The guard's drop copy beside a house, with a session that shows what its broker knows."""

    def __init__(self, house: House) -> None:
        """Begin with nothing compared."""
        self.house = house
        self.watch = FakeWatch(house.clock)
        self.copy = DropCopy(house.config, self.watch, house.clock)

    def play(self, seconds: float) -> None:
        """Let executor and guard go on side by side."""
        for _ in range(round(seconds / 2)):
            self.house.play(2)
            self.compare()

    def compare(self) -> None:
        """Show the guard what the broker knows now, and let it compare."""
        evidence = self.house.broker.evidence()
        self.watch.held = evidence.positions
        self.watch.executed = [Seen(e, 11, False) for e in evidence.executions]
        self.watch.complete_at = self.house.clock.now()
        ledger = self.house.ledger
        outcome = self.copy.compare(ledger.db, SIGHT)
        if outcome is not None:
            with ledger.transaction() as tx:
                self.copy.record(tx, outcome, self.house.clock.now().utc)

    def frozen(self) -> set[str]:
        """Return what is frozen."""
        return set(freezes.frozen_symbols(self.house.ledger.db))


def test_a_frozen_symbol_is_not_traded_and_others_are(house: House) -> None:
    """Not sold either: what is held of it is not known."""
    freeze(house, "AAA")  # to be halved
    freeze(house, "CCC")  # to be bought
    house.queue()
    house.until_ended()
    states = house.states()
    assert {s for s, state in states.items() if state == "rejected"} == {"AAA", "CCC"}
    assert {house.orders()[s].reject_code for s in ("AAA", "CCC")} == {"symbol_frozen"}
    assert states["BBB"] == states["DDD"] == "filled"


def test_a_frozen_account_trades_nothing(house: House) -> None:
    """The difference could not be pinned to single symbols."""
    freeze(house, ACCOUNT)
    house.queue()
    house.until_ended()
    assert set(house.states().values()) == {"rejected"}
    assert house.sent() == []


def test_a_run_that_fills_freezes_nothing(house: House) -> None:
    """Whichever of the two sessions is told first."""
    copy = Copy(house)
    house.queue()
    copy.play(120)
    assert house.run().status == "done"
    assert copy.frozen() == set()


def test_a_position_that_no_fill_explains_freezes_until_a_person_accepts(house: House) -> None:
    """A transfer, a split: after the acceptance both sides agree, and the symbol is free."""
    copy = Copy(house)
    house.queue()
    copy.play(60)
    house.broker.positions["DDD"] += 7
    copy.play(28)
    assert copy.frozen() == set()
    copy.play(20)
    assert copy.frozen() == {"DDD"}
    copy.play(60)
    now = house.clock.now().utc
    with house.ledger.transaction() as tx:
        accept_positions(tx, ["DDD"], reason="a transfer", now=now, actor="ann")
    copy.play(10)
    assert copy.frozen() == {"DDD"}
    copy.play(40)
    assert copy.frozen() == set()
    events = [a.event for a in alerts.listing(house.ledger.db, 9)]
    assert {"symbol.frozen", "symbol.released"} <= set(events)


def verdict(post: Post, times: int = 1) -> str:
    """Look some more times and return the last status."""
    return [post.look() for _ in range(times)][-1].status


def shown(post: Post, quantity: int, side: Side = Side.BUY, ref: str = "", **more: object) -> Seen:
    """Return an execution of AAA at 50 that the ledger does not have."""
    made = Execution(
        *("e.1.01", "DU1234567", ref, 7, "AAA", 1, side, D(quantity), D(50)),
        executed_at=post.clock.now().utc,
        commission=D(0),
    )
    return Seen(made, **({"client_id": 0, "is_liquidation": False} | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "more",
    [{}, {"is_liquidation": True}, {"client_id": 11, "ref": "ibl:K1:AAA:B:0"}, {"client_id": 42}],
    ids=str,
)
def test_a_trade_that_the_broker_shows_freezes_its_symbol_only(
    tmp_path: Path, more: dict[str, object]
) -> None:
    """By hand, by the broker, by another program: what has happened is known."""
    post = Post(tmp_path)
    post.look()
    post.watch.executed = [shown(post, 10, **more)]  # type: ignore[arg-type]
    post.watch.held = (Position("AAA", 1, D(1010), D(50)),)
    post.watch.cash = D(49_500)
    assert verdict(post, 30) == "ok"
    assert freezes.frozen_symbols(post.site.ledger.db) == {"AAA"}


def test_a_break_that_nothing_explains_stops_buying_for_the_account(house: House) -> None:
    """The symbol is frozen; of all others only what lowers exposure leaves, until a person says."""
    copy = Copy(house)
    house.queue()
    copy.play(60)
    house.broker.positions["DDD"] += 7
    copy.play(48)
    assert copy.frozen() == {"DDD"}
    [row] = freezes.standing(house.ledger.db)
    assert row.reason.endswith(UNEXPLAINED)
    [trouble] = account_troubles([(row.symbol, row.reason)])
    assert "DDD: 107 held" in trouble or "held" in trouble
    [told] = [a for a in alerts.listing(house.ledger.db, 9) if a.event == "symbol.frozen"]
    assert "nothing else is bought" in told.text


def test_the_guard_says_degraded_while_an_unexplained_break_stands(tmp_path: Path) -> None:
    """No run starts and nothing new is bought; a release ends it, a symbol's other freeze not."""
    post = Post(tmp_path)
    post.look()
    ledger, now = post.site.ledger, post.clock.now().utc
    with ledger.transaction() as tx:
        known = Break(BreakKind.POSITION, "BBB", "BBB", "BBB: looks like a split 2:1")
        freezes.freeze(tx, known, now, "guard")
    assert verdict(post) == "ok"
    with ledger.transaction() as tx:
        odd = Break(BreakKind.UNCONFIRMED, "CCC", "e.9", f"a fill; {UNEXPLAINED}")
        freezes.freeze(tx, odd, now, "guard")
    assert verdict(post) == "degraded"
    assert post.levels() == []
    assert post.look("44").halt is HaltLevel.KILL  # a loss still halts
    with ledger.transaction() as tx:
        release(tx, "CCC", "looked", now, "ann")
    post.resume()
    assert verdict(post) == "ok"


def test_a_fill_that_the_broker_does_not_show_stays_frozen_over_night(house: House) -> None:
    """That it is forgotten next day is no explanation; a person's release is."""
    copy = Copy(house)
    house.queue()
    copy.play(60)
    [base] = [e.exec_id for e in house.broker.evidence().executions if e.symbol == "BBB"]
    executions = house.broker.executions
    kept = [e for e in executions if e.exec_id != base]
    executions[:] = kept
    copy.play(60)
    assert copy.frozen() == {"BBB"}
    house.clock.advance(24 * 3600)
    house.restart()
    copy.play(120)
    assert copy.frozen() == {"BBB"}
    with house.ledger.transaction() as tx:
        assert len(release(tx, "BBB", "the broker took it back", house.clock.now().utc, "ann")) == 1
        assert release(tx, "BBB", "again", house.clock.now().utc, "ann") == ()
    copy.play(60)
    assert copy.frozen() == set()


def test_what_a_person_released_stays_released_the_same_day(house: House) -> None:
    """An execution that the broker took back is never shown again: nothing else could end it."""
    copy = Copy(house)
    house.queue()
    copy.play(60)
    executions = house.broker.executions
    executions[:] = [e for e in executions if e.symbol != "BBB"]
    copy.play(60)
    assert copy.frozen() == {"BBB"}
    with house.ledger.transaction() as tx:
        assert release(tx, "BBB", "the broker took it back", house.clock.now().utc, "ann")
    copy.play(120)
    assert copy.frozen() == set()
    executions[:] = [e for e in executions if e.symbol != "CCC"]
    copy.play(60)
    assert copy.frozen() == {"CCC"}


def test_a_fill_that_a_person_entered_is_not_missed_at_the_broker(house: House) -> None:
    """`orders resolve --as filled` is for what the broker has forgotten: it shows no such id."""
    copy = Copy(house)
    house.script("AAA", swallowed=True)
    house.queue()
    house.until_ended()
    house.clock.advance(24 * 3600)
    house.restart()
    house.play(60)
    row = orders.find(house.ledger.db, "ibl:K1:AAA:S:0")
    assert row is not None
    assert row.order.status == "unknown"
    house.broker.positions["AAA"] -= row.order.quantity
    decision = Decision(Fate.FILLED, "a test", quantity=row.order.quantity, price=D(50))
    with house.ledger.transaction() as tx:
        resolve(tx, row, decision, house.clock.now().utc, "ann")
    copy.play(120)
    assert copy.frozen() == set()


def test_a_symbol_that_changed_its_name_is_named(house: House) -> None:
    """The contract is the same: no loss, no gain, and a person has to look at the universe."""
    copy = Copy(house)
    house.queue()
    copy.play(60)
    held = [p for p in house.broker.evidence().positions if p.symbol != "DDD"]
    old = next(p for p in house.broker.evidence().positions if p.symbol == "DDD")
    for _ in range(20):
        copy.watch.held = (*held, Position("NEWX", old.con_id, old.quantity, old.avg_cost))
        house.clock.advance(2)
        outcome = copy.copy.compare(house.ledger.db, SIGHT)
        if outcome is not None:
            with house.ledger.transaction() as tx:
                copy.copy.record(tx, outcome, house.clock.now().utc)
    assert copy.frozen() == {"DDD", "NEWX"}
    texts = [f.reason for f in freezes.standing(house.ledger.db)]
    assert all("changed from DDD to NEWX" in text for text in texts)

"""What the guard's own session shows must be what the ledger says, or the symbol is frozen."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ibloop.core.dropcopy import (
    ACCOUNT,
    CASH,
    CLEAR_S,
    NOTHING_SEEN,
    SYMBOLS_MAX,
    UNEXPLAINED,
    Break,
    BreakKind,
    Copies,
    Freeze,
    Outcome,
    Recorded,
    Seen,
    Watch,
    account_troubles,
    by_base,
    compare,
    conclude,
)
from ibloop.core.model import Execution, Moment, Position, Side

D = Decimal
NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
GRACE_S = 30.0


def at(seconds: float) -> Moment:
    """Return a moment some seconds after the beginning."""
    return Moment(NOW + timedelta(seconds=seconds), int(1e12 + seconds * 1e9), "a" * 32)


def seen(exec_id: str = "e.1.01", quantity: int = 10, **changes: object) -> Seen:
    """Return an execution of ours: 10 AAA bought at 50."""
    execution = Execution(
        *(exec_id, "DU1", "ibl:x:AAA:B:0", 7, "AAA", 1, Side.BUY, D(quantity), D(50), NOW)
    )
    return replace(Seen(execution, 11, False), **changes)  # type: ignore[arg-type]


def fill(exec_id: str = "e.1.01", quantity: int = 10, symbol: str = "AAA") -> Recorded:
    """Return the ledger's row of it."""
    return Recorded(exec_id, symbol, D(quantity), NOW)


def copies(**changes: object) -> Copies:
    """Return two sides that agree: one execution, 10 AAA and 5 BBB held."""
    made = Copies(
        shown=by_base([seen()]),
        is_complete=True,
        recorded={"e.1": fill()},
        expected={"AAA": D(10), "BBB": D(5), "OLD": D(0)},
        held=(Position("AAA", 1, D(10), D(50)), Position("BBB", 2, D(5), D(20))),
        con_ids={},
        prices_before={"AAA": D(50), "BBB": D(20)},
        prices_now={"AAA": D(50), "BBB": D(20)},
        since=NOW - timedelta(hours=10),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def held(aaa: int, bbb: int = 5) -> tuple[Position, ...]:
    """Return positions."""
    return Position("AAA", 1, D(aaa), D(50)), Position("BBB", 2, D(bbb), D(20))


def only(found: tuple[Break, ...]) -> Break:
    """Return the one break there is."""
    [one] = found
    return one


def test_both_sides_agree() -> None:
    """Nothing is found where nothing differs."""
    assert compare(copies()) == ()
    assert compare(copies(expected=None, held=held(99))) == ()  # before the first run


def test_an_execution_that_the_ledger_lacks() -> None:
    """And who it was: ours, a person's, the broker's own."""
    for who, changes in {
        "order ref ibl:x:AAA:B:0": {},
        "entered by hand": {"client_id": 0, "execution": replace(seen().execution, **NO_REF)},
        "a liquidation by the broker": {"is_liquidation": True},
    }.items():
        shown = by_base([seen(**changes)])  # type: ignore[arg-type]
        found = only(compare(copies(shown=shown, recorded={})))
        assert (found.kind, found.symbol, found.subject) == (BreakKind.UNRECORDED, "AAA", "e.1")
        assert who in found.text


NO_REF = {"client_order_id": ""}


@pytest.mark.parametrize(
    ("shown", "recorded", "differs"),
    [
        (seen("e.1.02", 0), fill("e.1.01"), True),
        (seen("e.1.01", 9), fill("e.1.01"), True),
        (seen("e.1.01"), fill("e.1.02", 0), False),  # the ledger has learnt of it first
    ],
)
def test_a_correction_or_other_shares(shown: Seen, recorded: Recorded, differs: bool) -> None:
    """The highest revision counts; of two the older one in the ledger is wrong."""
    found = compare(copies(shown=by_base([shown]), recorded={"e.1": recorded}))
    assert [b.kind for b in found] == ([BreakKind.DIFFERENT] if differs else [])


def test_a_fill_that_the_broker_does_not_know() -> None:
    """Only a whole answer can say so, and only of today: the broker forgets over night."""
    alone = copies(shown={})
    assert only(compare(alone)).kind is BreakKind.UNCONFIRMED
    assert compare(replace(alone, is_complete=False)) == ()
    old = {"e.1": replace(fill(), executed_at=NOW - timedelta(days=1))}
    assert compare(replace(alone, recorded=old)) == ()


def test_a_position_that_the_fills_do_not_explain() -> None:
    """Named with both numbers; also when it is gone, or came from nowhere."""
    for quantity in (11, 0, -10):
        found = only(compare(copies(held=held(quantity))))
        assert (found.kind, found.symbol) == (BreakKind.POSITION, "AAA")
        assert f"{quantity} held, 10 expected" in found.text
    extra = (*held(10), Position("ZZZ", 9, D(1), D(1)))
    assert only(compare(copies(held=extra))).symbol == "ZZZ"


def test_a_split_is_named() -> None:
    """Shares times price has stayed; the same shares at the old price were bought."""
    split = copies(held=held(20), prices_now={"AAA": D(25), "BBB": D(20)})
    assert "looks like a split 2:1" in only(compare(split)).text
    assert "split" not in only(compare(copies(held=held(20)))).text


def test_a_new_symbol_of_the_same_contract_is_named() -> None:
    """Both names are frozen: the old one is gone, the new one unknown to the plan."""
    renamed = (Position("NEWX", 1, D(10), D(50)), held(10)[1])
    found = compare(copies(held=renamed, con_ids={"AAA": 1}))
    assert [b.symbol for b in found] == ["AAA", "NEWX"]
    assert all("changed from AAA to NEWX" in b.text for b in found)


def test_a_liquidation_is_named() -> None:
    """The broker has closed what the ledger still expects."""
    closing = by_base([seen(is_liquidation=True)])
    found = compare(copies(shown=closing, held=held(0)))
    assert "the broker has liquidated" in only(found).text


def test_what_has_a_cause_and_what_has_none() -> None:
    """Only what nothing explains puts the account in doubt, and its text says so."""
    split = copies(held=held(20), prices_now={"AAA": D(25), "BBB": D(20)})
    renamed = copies(held=(Position("NEWX", 1, D(10), D(50)), held(10)[1]), con_ids={"AAA": 1})
    by_hand = seen("e.2.01", 7, client_id=0)
    bought = copies(shown=by_base([seen(), by_hand]), held=held(17))
    table: list[tuple[Copies, bool]] = [
        (copies(shown=by_base([seen(is_liquidation=True)]), held=held(0)), True),
        (copies(shown=by_base([seen("e.1.02", 0)])), True),
        (split, True),
        (renamed, True),
        (bought, True),
        (replace(bought, held=held(18)), False),
        (copies(held=held(11)), False),
        (copies(held=(*held(10), Position("ZZZ", 9, D(1), D(1)))), False),
        (copies(shown={}), False),
        (copies(shown=by_base([seen("e.1.01", 9)])), False),
        (copies(unexplained={"AAA": "AAA: +3 shares without a fill"}), False),
    ]
    for number, (both, has_cause) in enumerate(table):
        found = compare(both)
        assert found, number
        explained = all(not b.text.endswith(UNEXPLAINED) for b in found)
        assert (number, all(b.has_cause for b in found), explained) == (
            *(number, has_cause),
            has_cause,
        )


def test_the_account_is_told_of_what_nobody_explains() -> None:
    """Money that has gone, and breaks without a cause; others stop their symbol only."""
    standing = [
        ("AAA", "AAA: 20 held, 10 expected by the fills: looks like a split 2:1"),
        ("BBB", f"BBB: 6 held, 5 expected by the fills; {UNEXPLAINED}"),
        (CASH, "48000.00 USD (48%) went out today without an execution"),
    ]
    odd, money = account_troubles(standing)
    assert "BBB" in odd
    assert "`ibloop guard release cash REASON`" in money


# --- over time ------------------------------------------------------------------------------------


class Desk:
    """Compares again and again, and keeps the freezes."""

    def __init__(self) -> None:
        """Begin with nothing frozen."""
        self.watch: Watch = NOTHING_SEEN
        self.standing: list[Freeze] = []

    def look(self, both: Copies, seconds: float) -> Outcome:
        """Compare and do what follows."""
        found = compare(both)
        outcome = conclude(found, self.standing, both, self.watch, now=at(seconds), grace_s=GRACE_S)
        self.watch = outcome.watch
        gone = {f.freeze_id for f in outcome.to_clear}
        self.standing = [f for f in self.standing if f.freeze_id not in gone]
        for b in outcome.to_freeze:
            number = len(self.standing) + round(seconds) * 100
            self.standing.append(Freeze(number, b.symbol, b.kind, b.subject))
        return outcome

    @property
    def symbols(self) -> list[str]:
        """Return what is frozen."""
        return sorted(f.symbol for f in self.standing)


def test_a_break_freezes_after_its_grace_and_once() -> None:
    """An execution reaches one of two sessions first; that is no break."""
    desk = Desk()
    off = copies(held=held(11))
    assert desk.look(off, 0).to_freeze == ()
    assert desk.look(off, GRACE_S - 1).to_freeze == ()
    assert len(desk.look(off, GRACE_S).to_freeze) == 1
    assert desk.look(off, GRACE_S + 60).to_freeze == ()
    assert desk.symbols == ["AAA"]


def test_a_difference_that_was_gone_in_between_begins_anew() -> None:
    """Two lags of twenty seconds are not one of forty."""
    desk = Desk()
    for seconds, quantity in ((0, 11), (20, 10), (25, 11), (50, 11)):
        desk.look(copies(held=held(quantity)), seconds)
    assert desk.symbols == []


def test_a_freeze_is_lifted_when_both_agree_for_a_while() -> None:
    """Not at the first glance at which they do."""
    desk = Desk()
    desk.look(copies(held=held(11)), 0)
    desk.look(copies(held=held(11)), GRACE_S)
    assert desk.look(copies(), 100).to_clear == ()
    assert desk.look(copies(held=held(11)), 100 + CLEAR_S - 1).to_clear == ()
    desk.look(copies(), 200)
    assert desk.look(copies(), 200 + CLEAR_S - 1).to_clear == ()
    assert len(desk.look(copies(), 200 + CLEAR_S).to_clear) == 1
    assert desk.symbols == []


@pytest.mark.parametrize("kind", [BreakKind.UNRECORDED, BreakKind.DIFFERENT, BreakKind.UNCONFIRMED])
def test_that_the_broker_has_forgotten_explains_nothing(kind: BreakKind) -> None:
    """Over night executions are gone from its answers; only the ledger or a person explains."""
    desk = Desk()
    desk.standing = [Freeze(1, "AAA", kind, "e.1")]
    recorded = {} if kind is BreakKind.UNRECORDED else {"e.1": fill()}
    later = copies(shown={}, recorded=recorded, since=NOW + timedelta(days=1))
    for seconds in (0, CLEAR_S, 10 * CLEAR_S):
        assert desk.look(later, seconds).to_clear == ()


def test_an_execution_that_came_into_the_ledger_frees() -> None:
    """The executor was down and has swept it in."""
    desk = Desk()
    desk.standing = [Freeze(1, "AAA", BreakKind.UNRECORDED, "e.1")]
    desk.look(copies(), 0)
    assert desk.look(copies(), CLEAR_S).to_clear != ()


def test_a_person_s_acceptance_frees() -> None:
    """Whatever was the reason."""
    desk = Desk()
    desk.standing = [Freeze(1, "AAA", BreakKind.UNCONFIRMED, "e.1", accepted=True)]
    gone = copies(shown={}, recorded={})
    desk.look(gone, 0)
    assert desk.look(gone, CLEAR_S).to_clear != ()


def test_many_symbols_at_once_freeze_the_account() -> None:
    """It is not about single symbols then; the account is free when they are."""
    desk = Desk()
    symbols = [f"S{i}" for i in range(SYMBOLS_MAX + 1)]
    extra = tuple(Position(s, 10 + i, D(1), D(1)) for i, s in enumerate(symbols))
    off = copies(held=(*held(10), *extra))
    desk.look(off, 0)
    desk.look(off, GRACE_S)
    assert desk.symbols == [ACCOUNT, *symbols]
    desk.look(copies(), 100)
    desk.look(copies(), 100 + CLEAR_S)
    assert desk.symbols == [ACCOUNT]
    desk.look(copies(), 140)
    desk.look(copies(), 140 + CLEAR_S)
    assert desk.symbols == []

"""``ibloop guard``: how the guard is, what it would say, and the release of what it froze."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import account, freezes, guard_state
from ibloop.adapters.ledger.connection import Ledger, Tx, open_ledger
from ibloop.adapters.streamfiles import heartbeat_document, status_path, write_status
from ibloop.core.dropcopy import Break, BreakKind
from ibloop.core.model import AccountValues, Mode, Position

ACCOUNT = "DU1234567"


@contextmanager
def writing(data: Path) -> Iterator[Tx]:
    """Give a transaction on the ledger of a data directory."""
    opened: Ledger = open_ledger(data / "ibloop.db", mode=Mode.PAPER, account=ACCOUNT)
    with closing(opened), opened.transaction() as tx:
        yield tx


def beat(data: Path, status: str) -> None:
    """Write the guard's heartbeat."""
    document = heartbeat_document(status, SystemClock().now(), "", {})
    write_status(status_path(data / "ib" / "stream", "guard"), document)


def freeze(data: Path, symbol: str) -> None:
    """Freeze a symbol as the guard does."""
    found = Break(BreakKind.POSITION, symbol, symbol, f"{symbol}: 7 held, 5 expected by the fills")
    with writing(data) as tx:
        freezes.freeze(tx, found, datetime.now(UTC), "guard")


def test_status_shows_what_is_frozen(ibloop: Callable, traded: Path) -> None:
    """Exit 3, the reason, and the command that ends it; the account's sign is quoted."""
    freeze(traded, "AAPL")
    freeze(traded, "*")
    said = ibloop("status", "--data", traded)
    assert said.code == 3
    assert "AAPL: 7 held, 5 expected by the fills" in said.out
    assert "`ibloop guard release AAPL REASON" in said.out
    assert "`ibloop guard release '*' REASON" in said.out
    found = ibloop("status", "--json", "--data", traded)
    assert [row["symbol"] for row in found.data["frozen"]] == ["AAPL", "*"]


def test_a_guard_that_watches_exits_0(ibloop: Callable, traded: Path) -> None:
    """With its last evaluation; near a limit is no trouble yet."""
    beat(traded, "watching")
    said = ibloop("guard", "status", "--data", traded)
    assert (said.code, "73,710.98 USD" in said.out) == (0, True)
    found = ibloop("guard", "status", "--json", "--data", traded)
    assert found.data["running"] is True
    assert found.data["evaluation"]["status"] == "warn"


@pytest.mark.parametrize("status", ["degraded", "stopped", None])
def test_a_guard_that_does_not_watch_exits_3(
    ibloop: Callable, traded: Path, status: str | None
) -> None:
    """And says why."""
    if status is not None:
        beat(traded, status)
    said = ibloop("guard", "status", "--data", traded)
    assert said.code == 3
    assert (f"it says {status}" if status else "no heartbeat") in said.out


def test_a_limit_that_was_reached_exits_3(ibloop: Callable, traded: Path) -> None:
    """Whoever asks in a script learns of it."""
    beat(traded, "watching")
    with writing(traded) as tx:
        last = guard_state.last(tx.db)
        assert last is not None
        guard_state.record(tx, replace(last, status="kill"))
    assert ibloop("guard", "status", "--data", traded).code == 3


def test_what_is_frozen_is_shown_and_can_be_released(ibloop: Callable, traded: Path) -> None:
    """With the reason of the freeze and that of the person."""
    freeze(traded, "AAA")
    said = ibloop("guard", "status", "--data", traded)
    assert "7 held, 5 expected" in said.out
    released = ibloop("guard", "release", "AAA", "the broker has corrected it", "--data", traded)
    assert released.code == 0
    with writing(traded) as tx:
        assert freezes.frozen_symbols(tx.db) == frozenset()
        row = tx.execute("SELECT clear_reason FROM freezes").fetchone()
        assert row[0] == "the broker has corrected it"


def test_releasing_what_is_not_frozen_is_refused(ibloop: Callable, traded: Path) -> None:
    """And tells what is: a slip of the pen must not pass for a release."""
    freeze(traded, "AAA")
    said = ibloop("guard", "release", "AAB", "a slip", "--data", traded)
    assert (said.code, "frozen: AAA" in said.err) == (77, True)


def test_once_needs_neither_session_nor_daemon(ibloop: Callable, traded: Path) -> None:
    """Old figures are degraded, exit 3; fresh ones are valued; nothing is written."""
    said = ibloop("guard", "once", "--data", traded)
    assert (said.code, "degraded" in said.out) == (3, True)
    now = datetime.now(UTC)
    with writing(traded) as tx:
        values = AccountValues(ACCOUNT, Decimal(73_000), Decimal(73_000), now)
        account.store_values(tx, values, now)
        account.store_positions(tx, (), now, now, "test")
        tx.execute("DELETE FROM trade_guard_state")
    said = ibloop("guard", "once", "--json", "--data", traded)
    assert (said.code, said.data["evaluation"]["equity"]) == (0, "73000")
    with writing(traded) as tx:
        assert guard_state.last(tx.db) is None


def test_once_without_a_price_is_not_well(ibloop: Callable, traded: Path) -> None:
    """A holding that nobody can value is no "ok": degraded, named, exit 3."""
    now = datetime.now(UTC)
    with writing(traded) as tx:
        values = AccountValues(ACCOUNT, Decimal(73_000), Decimal(72_000), now)
        account.store_values(tx, values, now)
        held = [Position("AAA", 1, Decimal(100), Decimal(10))]
        account.store_positions(tx, held, now, now, "test")
        tx.execute("DELETE FROM trade_guard_state")
    said = ibloop("guard", "once", "--data", traded)
    assert (said.code, "verdict\tdegraded" in said.out, "AAA" in said.out) == (3, True, True)


@pytest.mark.parametrize("command", [("once",), ("status",), ("release", "AAA", "why not")])
def test_before_the_first_start_it_says_how_to_begin(
    ibloop: Callable, command: tuple[str, ...]
) -> None:
    """A clear error, and nothing is made by asking."""
    said = ibloop("guard", *command)
    assert (said.code, "nothing has run yet" in said.err) == (78, True)
    assert not Path("data").exists()

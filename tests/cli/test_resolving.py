"""Deciding by hand: explain, resolve, accept. Reads change nothing, refusals say why."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.ledger import account, orders, runs
from ibloop.adapters.ledger.connection import Tx, open_ledger
from ibloop.core.model import Mode, Position
from ibloop.core.recovery import Refusal

NOW = datetime(2026, 11, 20, 15, 40, tzinfo=UTC)
REF = "ibl:2026W47:AAA:B:0"


def change(data: Path, act: Callable[[Tx], Any]) -> None:
    """Change the ledger as a daemon would."""
    with (
        closing(open_ledger(data / "ibloop.db", mode=Mode.PAPER, account="DU1234567")) as ledger,
        ledger.transaction() as tx,
    ):
        act(tx)


@pytest.fixture
def lost(traded: Path) -> Path:
    """Return a data directory with an unknown order that was acknowledged once."""

    def lose(tx: Tx) -> None:
        tx.execute(
            "UPDATE trade_orders SET status = 'unknown', filled_quantity = '0',"
            " avg_fill_price = NULL WHERE client_order_id = ?",
            (REF,),
        )
        orders.note_refusal(tx, REF, Refusal(399, "Order Message: it waits"), NOW, "executor")
        orders.note_judgement(tx, REF, "nowhere to be seen", NOW)

    change(traded, lose)
    return traded


def test_explain_tells_what_to_look_for_and_what_to_type(ibloop: Callable, lost: Path) -> None:
    """The Order Ref for TWS, what the broker said, what evidence meant, the next command."""
    said = ibloop("orders", "explain", REF, "--data", lost)
    assert said.code == 0
    for text in (
        "unknown",
        f"Order Ref {REF}",
        "399: Order Message: it waits",
        "nowhere to be seen (since 2026-11-20 15:40:00 UTC)",
        f"ibloop orders resolve {REF} --as working|filled|canceled|not-sent",
        "order.journalled",
    ):
        assert text in said.out, text


def test_explain_finds_an_order_by_its_perm_id(ibloop: Callable, traded: Path) -> None:
    """TWS shows the permId; another number is no order."""
    shown = ibloop("orders", "explain", REF, "--json", "--data", traded).data
    number = shown["order"]["perm_id"] or shown["order"]["ib_order_id"]
    again = ibloop("orders", "explain", str(number), "--json", "--data", traded).data
    assert again["order"]["client_order_id"] == REF
    missing = ibloop("orders", "explain", "123456789", "--data", traded)
    assert (missing.code, "there is no order '123456789'" in missing.err) == (65, True)


def test_resolve_moves_the_order_and_keeps_the_reason(ibloop: Callable, lost: Path) -> None:
    """Who decided what and why stays in the audit log."""
    said = ibloop(
        *("orders", "resolve", REF, "--as", "canceled", "--reason", "seen in TWS", "--data", lost)
    )
    assert (said.code, said.err) == (0, f"{REF} is canceled\n")
    told = ibloop("orders", "explain", REF, "--json", "--data", lost).data
    assert told["order"]["status"] == "canceled"
    assert told["history"][-1]["payload"]["to"] == "canceled"


def test_resolve_refuses_what_cannot_be(ibloop: Callable, traded: Path) -> None:
    """Exit 77 and a sentence: the order is not unknown, an amount is missing."""
    said = ibloop(
        *("orders", "resolve", REF, "--as", "not-sent", "--reason", "x", "--data", traded)
    )
    assert said.code == 77
    assert "only an unknown order is resolved" in said.err


@pytest.mark.parametrize("number", ["0", "-1", "NaN", "abc", "1e99"])
def test_an_amount_is_a_number_above_zero(ibloop: Callable, lost: Path, number: str) -> None:
    """Usage errors are exit 2 and change nothing."""
    words = ("orders", "resolve", REF, "--as", "filled", "--reason", "x")
    said = ibloop(*words, "--quantity", number, "--price", "1", "--data", lost)
    assert said.code == 2
    assert "expected a number above 0" in said.err


def begin(tx: Tx) -> None:
    """Let the run have begun with nothing held, an hour before its fill."""
    runs.set_basis(
        tx,
        "run-1",
        baseline_at=NOW - timedelta(hours=1),
        deadline_at=NOW,
        equity_usd=Decimal(100_000),
        cash_usd=Decimal(100_000),
        now=NOW,
        actor="executor",
    )


def hold(data: Path, quantity: str, as_of: datetime) -> None:
    """Let the broker report a position of AAA."""
    held = [Position("AAA", 1, Decimal(quantity), Decimal(10))]
    change(data, lambda tx: account.store_positions(tx, held, as_of, as_of, "executor"))


def test_positions_are_explained_and_accepted(ibloop: Callable, traded: Path) -> None:
    """A difference is shown, accepted with a reason, and gone; then there is none to accept."""
    change(traded, begin)
    hold(traded, "400", datetime.now(UTC))
    before = ibloop("positions", "explain", "--json", "--data", traded).data["positions"]
    (line,) = [x for x in before if x["symbol"] == "AAA"]
    assert (line["before"], line["filled"], line["held"]) == ("0", "100", "400")
    page = ibloop("positions", "explain", "--data", traded)
    assert "AAA\t0\t100\t100\t400\t300" in page.out
    said = ibloop("positions", "accept", "AAA", "--reason", "4:1 split", "--data", traded)
    assert (said.code, said.err) == (0, "AAA: 400 instead of 100\n")
    again = ibloop("positions", "accept", "AAA", "--reason", "again", "--data", traded)
    assert (again.code, "nothing to accept" in again.err) == (77, True)


@pytest.mark.parametrize("symbols", [("BBB",), ("AAA", "BBB")])
def test_every_difference_is_accepted_by_name(
    ibloop: Callable, traded: Path, symbols: tuple[str, ...]
) -> None:
    """Whoever accepts a split must not accept a lost fill with it."""
    change(traded, begin)
    hold(traded, "400", datetime.now(UTC))
    said = ibloop("positions", "accept", *symbols, "--reason", "split", "--data", traded)
    assert said.code == 77
    assert "name every symbol that differs, and no other: AAA 100 expected, 400 held" in said.err


def test_old_positions_cannot_be_accepted(ibloop: Callable, traded: Path) -> None:
    """With the executor down for days nobody knows what is held."""
    change(traded, begin)
    hold(traded, "400", NOW + timedelta(hours=1))
    said = ibloop("positions", "accept", "AAA", "--reason", "split", "--data", traded)
    assert (said.code, "the positions are not fresh" in said.err) == (77, True)


def test_accepting_a_ledger_needs_the_executor(ibloop: Callable, traded: Path) -> None:
    """It alone sees the broker: without an answer the exit code is that of a daemon not running."""
    said = ibloop(
        *("db", "accept-restore", "--reason", "restored", "--wait", "1", "--data", traded)
    )
    assert said.code == 3
    assert "the executor has not answered" in said.err

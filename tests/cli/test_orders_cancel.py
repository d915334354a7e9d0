"""``ibloop orders cancel`` asks the executor; ``orders show`` tells what has become of it."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ibloop.adapters.ledger import commands, orders
from ibloop.adapters.ledger.connection import Tx, open_ledger, open_readonly
from ibloop.core.model import Mode
from ibloop.daemons.executing.run_attempts import CANCEL_ORDER

NOW = datetime(2026, 11, 20, 15, 40, tzinfo=UTC)
REF = "ibl:2026W47:AAA:B:0"


@pytest.fixture
def working(traded: Path) -> Path:
    """Return a data directory in which one order works at the broker, by an algo."""
    with (
        closing(open_ledger(traded / "ibloop.db", mode=Mode.PAPER, account="DU1234567")) as ledger,
        ledger.transaction() as tx,
    ):
        _let_work(tx)
    return traded


def _let_work(tx: Tx) -> None:
    tx.execute(
        "UPDATE trade_orders SET status = 'partially_filled', filled_quantity = '40',"
        " algo = 'adaptive_urgent' WHERE client_order_id = ?",
        (REF,),
    )


def test_a_cancel_is_a_request_with_a_reason(ibloop: Callable, working: Path) -> None:
    """The executor owns the order: a row waits for it, and says who asked and why."""
    said = ibloop("orders", "cancel", REF, "--reason", "merger", "--data", working)
    assert (said.code, said.out) == (0, "")
    assert "asked the executor" in said.err
    with closing(open_readonly(working / "ibloop.db")) as db:
        (command,) = commands.queued(db)
        row = orders.find(db, REF)
    assert command.kind == CANCEL_ORDER
    assert command.args == {"client_order_id": REF, "reason": "merger"}
    assert row is not None
    assert row.order.status == "partially_filled"


def test_an_order_that_has_ended_is_not_cancelled(ibloop: Callable, traded: Path) -> None:
    """77 and what it is; 65 for one that nobody knows; 2 without a reason."""
    said = ibloop("orders", "cancel", REF, "--reason", "x", "--data", traded)
    assert (said.code, "has ended: filled" in said.err) == (77, True)
    missing = ibloop("orders", "cancel", "nothing", "--reason", "x", "--data", traded)
    assert missing.code == 65
    assert ibloop("orders", "cancel", REF, "--data", traded).code == 2


def test_the_algo_is_shown_wherever_the_order_is(ibloop: Callable, working: Path) -> None:
    """In the lists, in the explanation and as a field for programs."""
    for words in (("orders", "list"), ("orders", "show", REF), ("run", "show", "2026W47")):
        assert "adaptive_urgent" in ibloop(*words, "--data", working).out, words
    explained = ibloop("orders", "explain", REF, "--data", working).out
    assert "BUY 100 AAA LMT at 10.1, worked by adaptive_urgent" in explained
    shown = ibloop("orders", "show", REF, "--json", "--data", working)
    assert shown.data["order"]["algo"] == "adaptive_urgent"
    assert [fill["exec_id"] for fill in shown.data["fills"]] == ["0001.01"]

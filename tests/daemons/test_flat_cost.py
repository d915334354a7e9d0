"""What an order costs does not grow with what has gone before: no question reads whole tables."""

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import fills, runs
from ibloop.core.lifecycle import RunState
from ibloop.core.model import Execution, Side
from ibloop.core.retrying import Retry
from tests.fakes.house import ACCOUNT, House

GROWING = {
    *("trade_orders", "trade_fills", "trade_runs", "plan_lines", "baselines"),
    *("audit_log", "alerts", "commands", "halts", "pretrade_runs", "decision_snapshots"),
    *("f", "o"),  # aliases of the first two
}
EXCEPTIONS = {
    *("trade_orders_over_filled", "trade_orders_denied_filled", "trade_fills_unsent"),
    *("halts_active", "commands_queued"),
}
"""Indexes of what should not be: they may be read from end to end."""
STORIES: dict[str, Callable[[House], object]] = {
    "everything fills": lambda _: None,
    "an order is refused": lambda house: house.script("CCC", refused=(201, "no")),
    "an order expires": lambda house: house.script("DDD", fills=()),
    "somebody trades by hand": lambda house: house.broker.trade_by_hand("EEE", Side.BUY, 1),
    "a price is missing": lambda house: house.quotes.missing.add("CCC"),
    "the executor starts anew": lambda house: house.restart(),
}


@pytest.mark.parametrize("story", STORIES)
def test_no_question_of_a_run_reads_a_whole_table(tmp_path: Path, story: str) -> None:
    """From claim to verdict every statement finds its rows by an index."""
    house = House(tmp_path, execution={"retry": Retry.REMAINDER})
    house.settle()
    asked: set[str] = set()
    house.ledger.db.set_trace_callback(asked.add)
    house.script("AAA", ack_after_s=2)
    house.queue()
    house.until(lambda: bool(house.sent()))
    STORIES[story](house)
    house.until_ended(seconds=2400, tick_s=20)
    house.play(20)
    house.ledger.db.set_trace_callback(None)
    assert len(asked) > 100
    assert {sql: found for sql in asked if (found := scans(house, sql))} == {}


def scans(house: House, sql: str) -> list[str]:
    """Return the lines of a statement's plan that read a growing table from end to end."""
    newest = re.fullmatch(r"SELECT [^()]+ FROM \w+ ORDER BY [^()]+ LIMIT 1", sql)
    if newest or not sql.startswith(("SELECT", "UPDATE", "INSERT", "DELETE")):
        return []
    plan = (str(row[3]) for row in house.ledger.db.execute(f"EXPLAIN QUERY PLAN {sql}"))
    return [line for line in plan if _reads_everything(line)]


def _reads_everything(line: str) -> bool:
    found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", line)
    return found is not None and found[1] in GROWING and found[2] not in EXCEPTIONS


def test_the_watch_itself_sees_a_scan(tmp_path: Path) -> None:
    """A question without an index is found."""
    house = House(tmp_path)
    assert scans(house, "SELECT 1 FROM trade_orders WHERE symbol = 'AAA'")
    assert scans(house, "SELECT DISTINCT subject FROM audit_log WHERE seq > 0")
    assert not scans(house, "SELECT 1 FROM trade_orders WHERE client_order_id = 'x'")


def test_promises_are_asked_of_what_changed_since_they_were_asked(tmp_path: Path) -> None:
    """The end of a run examines all since the basis of the last one that ended well."""
    house = House(tmp_path)
    house.settle()
    assert runs.examined_seq(house.ledger.db) == 0
    house.queue()
    assert house.until_ended().status is RunState.DONE
    first = runs.examined_seq(house.ledger.db)
    assert first > 0
    house.queue("K2", {"AAA": "0.05"})
    house.until_ended("K2")
    assert runs.examined_seq(house.ledger.db) > first


def test_a_promise_broken_after_one_run_is_found_by_the_next(tmp_path: Path) -> None:
    """The row of an order of the run before is wrong, and the broker has forgotten that order."""
    house = House(tmp_path)
    house.settle()
    house.queue()
    assert house.until_ended().status is RunState.DONE
    house.broker.executions.clear()
    for live in house.broker.live:
        live.forgotten = True
    with house.ledger.transaction() as tx:
        tx.execute("UPDATE trade_orders SET status = 'canceled' WHERE symbol = 'CCC'")
    house.queue("K2", {"AAA": "0.05", "CCC": "0.09", "DDD": "0.10", "EEE": "0.18"})
    run = house.until_ended("K2", seconds=120)
    assert run.status is RunState.BLOCKED
    assert "K1:CCC" in run.detail


def test_a_fill_of_an_order_never_sent_is_found_for_ever(tmp_path: Path) -> None:
    """Recorded before its order was known or with one only planned, and even if taken back."""
    house = House(tmp_path)
    house.settle()
    house.script("AAA", fills=())
    house.queue()
    house.play(2)
    bought = Execution(
        exec_id="x",
        account=ACCOUNT,
        client_order_id="",
        perm_id=9,
        symbol="CCC",
        con_id=3,
        side=Side.BUY,
        quantity=Decimal(1),
        price=Decimal(30),
        executed_at=house.clock.now().utc,
    )
    refs = ("by hand", "ibl:K9:CCC:B:0", "ibl:K1:CCC:B:0", "ibl:K1:AAA:S:0")
    with house.ledger.transaction() as tx:
        for number, ref in enumerate(refs):
            told = replace(bought, exec_id=f"x{number}.01", client_order_id=ref)
            bust = replace(told, exec_id=f"x{number}.02", quantity=Decimal(0))
            fills.record_all(tx, (told, bust), bought.executed_at, "test")
    assert fills.unsent_refs(house.ledger.db) == ("by hand", "ibl:K1:CCC:B:0", "ibl:K9:CCC:B:0")

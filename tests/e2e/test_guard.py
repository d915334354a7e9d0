"""The guard among real processes: what the broker does behind our back, and a guard that hangs."""

import signal
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, freezes, guard_state, halts
from ibloop.adapters.ledger.connection import open_readonly
from tests.e2e.conftest import SLOW_TOML, WELL, Loop, wait_for

pytestmark = pytest.mark.e2e
GUARD = "[guard]\ndrop_copy_grace_s = 4"


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """Return a loop that has traded, whose guard freezes soon."""
    config = tmp_path / "slow.toml"
    config.write_text(SLOW_TOML.replace("[guard]", GUARD), encoding="utf-8")
    made = Loop(tmp_path / "data", config)
    made.start(*WELL)
    made.await_well(*WELL)
    yield made
    made.end()


def frozen(loop: Loop) -> dict[str, str]:
    """Return what is frozen and why."""
    with closing(open_readonly(loop.data / "ibloop.db")) as db:
        return {row.symbol: row.reason for row in freezes.standing(db)}


def await_valued(loop: Loop) -> None:
    """Wait until the guard has priced all twelve holdings and has compared them some times."""
    query = (
        "SELECT count(*) FROM trade_guard_state WHERE evaluation_id > ("
        "SELECT min(evaluation_id) FROM trade_guard_state"
        " WHERE instr(detail, '\"ib_stream\":12') > 0)"
    )
    with closing(open_readonly(loop.data / "ibloop.db")) as db:
        wait_for("the holdings to be valued", lambda: db.execute(query).fetchone()[0] >= 3)


def test_a_split_freezes_its_symbol_and_is_no_loss(loop: Loop) -> None:
    """And a liquidation is told; neither halts anything."""
    loop.rebalance("initial", "first")
    loop.await_end("first")
    await_valued(loop)
    loop.control().fault("stock_split", symbol="AAPL", ratio=2)
    reason = wait_for("the freeze", lambda: frozen(loop).get("AAPL"))
    assert "looks like a split 2:1" in reason
    loop.control().fault("liquidation", symbol="MSFT")
    with closing(open_readonly(loop.data / "ibloop.db")) as db:
        told = wait_for(
            "the alert",
            lambda: [a for a in alerts.listing(db, 20) if a.event == "guard.liquidation"],
        )
        assert "MSFT" in told[0].text
        row = guard_state.last(db)
        assert halts.active(db) == ()
    assert row is not None
    assert row.drawdown is not None
    assert row.drawdown < Decimal("0.02")
    said = loop.ask("guard", "status")
    assert "AAPL" in said.stdout


def test_a_guard_that_hangs_stops_the_run_and_goes_on(loop: Loop) -> None:
    """Stopped in the middle: its heartbeat falls silent, nothing is sent; continued, it is well."""
    loop.rebalance("initial", "first")
    loop.await_sent("first", 2)
    guard = loop.running["guard"]
    guard.send_signal(signal.SIGSTOP)
    try:
        run = loop.await_end("first")
    finally:
        guard.send_signal(signal.SIGCONT)
    assert (run.status, run.reason) == ("blocked", "guard_silent")
    loop.await_well("guard")

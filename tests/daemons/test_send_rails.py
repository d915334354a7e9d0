"""The rails are asked inside each sending transaction, whatever a run has looked at before."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import approvals, arming, orders, runs
from ibloop.adapters.ledger.connection import OperationalError
from ibloop.core.arming import term_from
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import HaltLevel, Mode
from tests.fakes.broker import ACCOUNT
from tests.fakes.house import House

D = Decimal
LIMITLESS = D(10_000_000)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house at rest, synchronised with the broker."""
    made = House(tmp_path)
    made.settle()
    return made


@pytest.fixture
def live(tmp_path: Path) -> House:
    """Return a live house, not armed."""
    made = House(tmp_path, Mode.LIVE)
    made.settle()
    return made


def arm(house: House, usd: Decimal = LIMITLESS, runs_max: int = 1, build: str = "test") -> None:
    """Arm as ``ibloop arm`` does, for two hours."""
    now = house.clock.now()
    with house.ledger.transaction() as tx:
        wanted = arming.Wanted(
            account=ACCOUNT,
            term=term_from(now, timedelta(hours=2)),
            config_hash=house.config.config_hash,
            universe_hash=house.universe_hash,
            build=build,
            notional_usd_max=usd,
            runs_max=runs_max,
        )
        arming.arm(tx, wanted, "ann", now.utc)


def approve(house: House, key: str = "K1") -> None:
    """Approve what a run waits for, as ``ibloop run approve`` does."""
    run = house.run(key)
    with house.ledger.transaction() as tx:
        found = approvals.find(tx.db, run.run_id, run.attempt)
        assert found is not None
        now = house.clock.now().utc
        assert approvals.approve(tx, run.run_id, run.attempt, found.ticket_hash, "ann", now)


def executing(house: House) -> None:
    """Let a live run get as far as sending, with the executor stopped there."""
    house.broker.slots = 0
    house.queue()
    house.until(lambda: house.run().status is RunState.AWAITING_APPROVAL)
    approve(house)
    house.until(lambda: house.run().status is RunState.EXECUTING)
    house.broker.slots = 45


def send_first(house: House) -> str | None:
    """Send the first planned order of the run past everything that the run itself looks at."""
    row = orders.of_run(house.ledger.db, "run-K1")[0]
    return house.desk.send(house.run(), [row])


# --- the guard ------------------------------------------------------------------------------------


def test_a_dead_guard_is_noticed_inside_the_send(house: House) -> None:
    """Between the run's look and the write lock it may have died: nothing leaves (F3)."""
    house.plan()
    house.guard = None
    assert send_first(house) == "guard: no heartbeat"
    house.guard = "starting"
    assert send_first(house) == "guard: it says starting"
    assert house.sent() == []


def test_a_guard_of_another_build_keeps_everything_back(house: House) -> None:
    """What it watches by may not be what this program sells by (F34)."""
    house.plan()
    house.guard_build = "older"
    assert send_first(house) == "the guard runs older, expected test"
    assert house.sent() == []


def test_with_a_degraded_guard_only_what_reduces_leaves(house: House) -> None:
    """Without a valuation no risk is taken on; the sells go, the buys wait until it is well."""
    house.plan()
    house.guard = "degraded"
    house.play(60)
    assert house.sent() == ["AAA", "BBB"]
    assert house.run().status is RunState.EXECUTING
    house.guard = "watching"
    assert house.until_ended().status is RunState.DONE
    assert house.sent() == ["AAA", "BBB", "CCC", "DDD", "EEE"]


def test_buys_that_waited_for_the_guard_too_long_are_left(house: House) -> None:
    """The deadline ends the waiting; nothing is sent late."""
    house.plan()
    house.guard = "degraded"
    run = house.until_ended(seconds=3600, tick_s=20)
    assert run.status is RunState.PARTIAL
    assert house.sent() == ["AAA", "BBB"]


# --- clocks and quiet stretches -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skew_s", "said"),
    [
        (2.0, None),
        (-2.0, None),
        (2.1, "our clock is 2 s ahead of the broker's: set the clock (NTP)"),
        (-75.0, "our clock is 75 s behind the broker's: set the clock (NTP)"),
        (None, "the broker's clock is not known"),
    ],
)
def test_a_clock_that_is_not_the_brokers_sends_nothing(
    house: House, skew_s: float | None, said: str | None
) -> None:
    """An order's end would be another one than meant (F16)."""
    house.plan()
    house.skew_s = skew_s
    assert send_first(house) == said
    assert house.sent() == ([] if said else ["AAA"])


def test_nothing_is_sent_in_a_quiet_stretch_and_the_run_goes_on_after_it(house: House) -> None:
    """The gateway restarts in the middle of a run: it is waited for, then the rest follows."""
    at = house.clock.now().utc + timedelta(minutes=15)
    gateway = replace(house.config.gateway, restart_at=f"{at:%H:%M}", restart_timezone="UTC")
    house.config = replace(house.config, gateway=gateway)
    house.restart()
    house.settle()
    house.script("AAA", fills=())
    house.queue()
    house.play(240, tick_s=5)  # the first sell does not fill, so the buys wait for it
    first = house.sent()
    assert first == ["AAA", "BBB"]
    house.play(70, tick_s=5)  # five minutes past: ten before the restart
    house.broker.fill(house.broker.find("ibl:K1:AAA:S:0"), D(500))
    house.play(300, tick_s=10)
    assert house.sent() == first
    assert "the gateway's daily restart until 15:55 UTC" in str(send_next(house))
    assert house.run().status is RunState.EXECUTING
    run = house.until_ended(seconds=1500, tick_s=10)
    assert run.status is RunState.DONE
    assert house.sent() == [*first, "CCC", "DDD", "EEE"]


def send_next(house: House) -> str | None:
    """Try to send what the run has planned and not sent."""
    rows = [r for r in orders.of_run(house.ledger.db, "run-K1") if r.order.sent_at is None]
    return house.desk.send(house.run(), rows[:1])


def test_a_ledger_that_cannot_be_written_sends_nothing(house: House) -> None:
    """No row, no order: a read-only or full disk ends the process before the first byte (P2)."""
    house.plan()
    house.ledger.db.execute("PRAGMA query_only = ON")
    with pytest.raises(OperationalError, match="readonly"):
        send_first(house)
    assert house.sent() == []
    house.ledger.db.execute("PRAGMA query_only = OFF")
    assert house.until_ended().status is RunState.DONE


# --- whose run, whose ledger ----------------------------------------------------------------------


def test_a_run_or_ledger_of_another_account_sends_nothing(house: House) -> None:
    """Mode and account are compared with the ledger's at every send (P9)."""
    house.plan()
    house.config = replace(house.config, account="DU7654321")
    house.restart()
    house.desk.poll()
    house.desk.poll()
    assert send_first(house) == f"the ledger belongs to {ACCOUNT} (paper)"
    assert house.sent() == []


def test_a_run_of_another_account_or_mode_sends_nothing(house: House) -> None:
    """The ledger is ours, the row is not: whatever has written it (P9)."""
    house.plan()
    with house.ledger.transaction() as tx:
        tx.execute("UPDATE trade_runs SET mode = 'live'")
    assert send_first(house) == f"the run belongs to {ACCOUNT} (live)"
    assert house.sent() == []


def test_a_connection_that_is_not_of_this_account_sends_nothing(house: House) -> None:
    """Asked inside the send, not only when it was opened."""
    house.plan()
    house.connection = "the gateway is logged in to U1, expected DU1234567"
    assert send_first(house) == house.connection
    assert house.sent() == []
    house.connection = None
    assert house.until_ended().status is RunState.DONE


# --- arming ---------------------------------------------------------------------------------------


def test_live_sends_nothing_that_is_not_armed(live: House) -> None:
    """Neither before a run nor, once the permission has ended, in its middle (P9)."""
    arm(live)
    executing(live)
    with live.ledger.transaction() as tx:
        arming.disarm(tx, "bob", "enough", live.clock.now().utc)
    assert send_first(live) == "not armed"
    run = live.until_ended()
    assert (run.reason, live.sent()) == (RunReason.UNARMED, [])


@pytest.mark.parametrize("change", ["hours", "build", "config", "universe", "boot"])
def test_a_permission_void_in_the_middle_stops_the_run(live: House, change: str) -> None:
    """Expiry, another program, other values or instruments, a reboot: the next send sees each."""
    arm(live)
    executing(live)
    if change == "hours":
        live.clock.advance(7200)
    elif change == "boot":
        live.clock.moment = replace(live.clock.moment, boot_id="b" * 32)
    elif change == "build":
        with live.ledger.transaction() as tx:
            arming.disarm(tx, "bob", "x", live.clock.now().utc)
        arm(live, build="another")
    elif change == "universe":
        live.universe_hash = "another"
        live.restart()
    else:
        live.config = replace(live.config, limits=replace(live.config.limits, orders_per_run_max=9))
        live.restart()
    run = live.until_ended(seconds=30)
    assert run.status in {RunState.BLOCKED, RunState.PARTIAL, RunState.FAILED}
    assert live.sent() == []


@pytest.mark.parametrize("window", [1, 8])
def test_the_armed_amount_bounds_what_is_sent_in_all(tmp_path: Path, window: int) -> None:
    """Counted inside the transaction, over orders and batches: the one too many is refused."""
    live = House(tmp_path, Mode.LIVE, execution={"window": window})
    live.settle()
    arm(live, usd=D(25_000))  # two sells of 5,000 and 10,000, then a buy of 9,000
    executing(live)
    live.until_ended()
    sent = [live.orders()[symbol] for symbol in live.sent()]
    worth = sum(o.quantity * (o.limit_price or 0) for o in sent)
    assert worth <= 25_000
    refused = {s: o for s, o in live.orders().items() if o.reject_code == "armed_notional_usd_max"}
    assert refused
    assert all("ibloop arm" in str(order.reject_reason) for order in refused.values())
    found = arming.current(live.ledger.db)
    assert found is not None
    assert (found.sent_usd, found.runs) == (worth, frozenset({"run-K1"}))


def test_a_run_uses_the_permission_up(live: House) -> None:
    """One armed run is one run: the next one does not send."""
    arm(live, runs_max=1)
    executing(live)
    assert live.until_ended().status is RunState.DONE
    live.queue("K2", {"AAA": "0.04", "CCC": "0.09", "DDD": "0.10", "EEE": "0.11"})
    live.until(lambda: live.run("K2").status is RunState.AWAITING_APPROVAL)
    approve(live, "K2")
    run = live.until_ended("K2")
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.UNARMED)
    assert "used up" in run.detail


# --- the ticket -----------------------------------------------------------------------------------


def test_what_was_not_approved_does_not_leave(live: House) -> None:
    """The market has gone beyond the ticket's collar: refused inside the send, the rest goes on."""
    arm(live)
    executing(live)
    live.quotes.prices["CCC"] = D(40)  # approved around 30
    run = live.until_ended()
    assert run.status is RunState.PARTIAL
    refused = live.orders()["CCC"]
    assert (refused.reject_code, "CCC" in live.sent()) == ("not_approved", False)
    assert live.orders()["DDD"].status == "filled"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE trade_orders SET quantity = '501' WHERE symbol = 'AAA'",
        "UPDATE trade_orders SET side = 'BUY' WHERE symbol = 'AAA'",
        "UPDATE trade_orders SET symbol = 'EEE', con_id = 5 WHERE symbol = 'AAA'",
    ],
)
def test_an_order_changed_after_the_approval_does_not_leave(live: House, sql: str) -> None:
    """Whatever has changed the row: symbol, side and quantity are held against the ticket."""
    arm(live)
    executing(live)
    with live.ledger.transaction() as tx:
        tx.execute("UPDATE trade_orders SET status = 'not_sent' WHERE symbol IN ('EEE', 'BBB')")
        tx.execute(sql)
    send_first(live)
    (row, *_) = orders.of_run(live.ledger.db, "run-K1")
    assert row.order.status == "rejected"
    assert live.sent() == []


def test_without_an_approval_nothing_leaves(live: House) -> None:
    """A run that came to send some other way than through its ticket is stopped at the send."""
    arm(live)
    live.queue()
    live.until(lambda: live.run().status is RunState.AWAITING_APPROVAL)
    with live.ledger.transaction() as tx:
        assert runs.move(
            tx,
            "run-K1",
            RunState.AWAITING_APPROVAL,
            RunState.EXECUTING,
            reason=None,
            detail="",
            now=live.clock.now().utc,
            actor="a bug",
        )
    assert send_first(live) == "nobody has approved it"
    assert live.sent() == []


def test_a_halt_wins_over_every_permission(live: House) -> None:
    """Armed and approved, and halted: nothing leaves."""
    arm(live)
    executing(live)
    live.halt(HaltLevel.KILL)
    assert send_first(live) == "halted"
    assert live.until_ended().reason is RunReason.GUARD_HALTED
    assert live.sent() == []

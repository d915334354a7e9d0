"""Arming and approving as a person does it: typed, named by hash, refused with what to do next."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import approvals, orders, runs
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.universe import samples_dir
from ibloop.config import BUILTIN_TOML, parse
from ibloop.core.approval import Ticket, TicketLine
from ibloop.core.arming import term_from
from ibloop.core.lifecycle import RunState
from ibloop.core.model import Mode, Order, OrderType, Side, Tif

LIVE_TOML = (
    BUILTIN_TOML.replace('mode = "paper"', 'mode = "live"')
    .replace("DU1234567", "U1234567")
    .replace('launcher = "sim"\nport = 0', 'launcher = "external"\nport = 5001')
    + f'\n[universe]\nfile = "{samples_dir() / "universe.csv"}"\n'
)
ARM = ("--hours", 2, "--notional", 50_000)
D = Decimal


@pytest.fixture
def live(ibloop: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a runner of commands for a live profile."""
    config, data = tmp_path / "live.toml", tmp_path / "data"
    config.write_text(LIVE_TOML, encoding="utf-8")
    return lambda *arguments: ibloop(*arguments, "--config", config, "--data", data)


def await_approval(data: Path, key: str = "K1", lasts: timedelta = timedelta(hours=1)) -> str:
    """Put a run that waits into the ledger and return its ticket's hash."""
    config = parse(LIVE_TOML, "x")
    ledger = open_ledger(data / "ibloop.db", mode=Mode.LIVE, account="U1234567")
    now = SystemClock().now()
    run = Run(
        run_id=f"run-{key}",
        run_key=key,
        mode=Mode.LIVE,
        account="U1234567",
        status=RunState.AWAITING_APPROVAL,
        reason=None,
        detail="1 orders wait for approval",
        snapshot_id=None,
        snapshot_hash=None,
        config_hash=config.config_hash,
        build="test",
        attempt=0,
        created_at=now.utc,
        updated_at=now.utc,
    )
    order = Order(
        client_order_id=f"ibl:{key}:IBM:B:0",
        run_id=run.run_id,
        symbol="IBM",
        con_id=8314,
        side=Side.BUY,
        quantity=D(10),
        order_type=OrderType.LMT,
        limit_price=D(203),
        tif=Tif.GTD,
        good_till=now.utc + timedelta(hours=1),
        status="planned",
    )
    ticket = Ticket(
        account="U1234567",
        mode=Mode.LIVE,
        run_id=run.run_id,
        run_key=key,
        attempt=0,
        snapshot_hash="5" * 64,
        config_hash=config.config_hash,
        collar_fraction=D("0.03"),
        lines=(TicketLine("IBM", 8314, Side.BUY, D(10), D(200)),),
    )
    with ledger.transaction() as tx:
        runs.insert(tx, run, "test")
        row = OrderRow(order, 0, 0, None, None, None, None, now.utc, now.utc)
        orders.insert(tx, [row], "test")
        digest = approvals.request(tx, ticket, term_from(now, lasts), now.utc, "executor")
    ledger.close()
    return digest


# --- arming ---------------------------------------------------------------------------------------


def test_arm_show_disarm(live: Any) -> None:
    """Given with the account in full, shown by both commands, ended by a third."""
    assert live("arm", "--status").code == 78  # there is no ledger yet
    assert live("arm", "--account", "U1234567", *ARM).code == 78
    assert live("db", "migrate").code == 0
    armed = live("arm", "--account", "U1234567", *ARM, "--runs", 2)
    assert armed.code == 0, armed.err
    shown = live("arm", "--status", "--json")
    assert shown.code == 0
    assert shown.data["armed"] is True
    assert (shown.data["notional_usd_left"], shown.data["runs_left"]) == ("50000", 2)
    assert "armed\tyes, 50,000.00 USD in 2 runs until" in live("status").out
    assert live("disarm", "enough").code == 0
    gone = live("arm", "--status", "--json")
    assert (gone.code, gone.data) == (3, {"armed": False, "problem": "not armed"})
    assert "armed\tno: not armed" in live("status").out
    assert "nothing was armed" in live("disarm").err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--account", "U7654321", *ARM), 77, "expected the account of this profile"),
        (("--account", "u1234567", *ARM), 77, "nothing is armed"),
        (("--account", "", *ARM), 77, "nothing is armed"),
        (ARM, 2, "name the account with --account"),
        (("--account", "U1234567"), 2, "--hours and --notional are needed"),
        (("--account", "U1234567", "--hours", 0, "--notional", 1), 2, "--hours"),
        (("--account", "U1234567", "--hours", 999, "--notional", 1), 2, "--hours"),
        (("--account", "U1234567", "--hours", 1, "--notional", "nan"), 2, "an amount above 0"),
        (("--account", "U1234567", "--hours", 1, "--notional", -5), 2, "an amount above 0"),
        (("--account", "U1234567", *ARM, "--runs", 0), 2, "--runs"),
    ],
)
def test_what_is_not_meant_arms_nothing(
    live: Any, arguments: tuple[object, ...], code: int, said: str
) -> None:
    """Another account, no account, no end, no amount: refused, and nothing is armed."""
    refused = live("arm", *arguments)
    assert refused.code == code, refused.err
    assert said in refused.err
    assert live("arm", "--status").code in {3, 78}


def test_paper_has_nothing_to_arm(ibloop: Any, tmp_path: Path) -> None:
    """Whoever arms the paper profile has the wrong one in mind."""
    refused = ibloop("arm", "--account", "DU1234567", *ARM, "--data", tmp_path / "paper")
    assert refused.code == 77
    assert "needs no arming" in refused.err


def test_a_change_of_the_configuration_disarms(live: Any, tmp_path: Path) -> None:
    """One digit of one limit, and what was permitted is something else."""
    assert live("db", "migrate").code == 0
    assert live("arm", "--account", "U1234567", *ARM).code == 0
    config = tmp_path / "live.toml"
    config.write_text(LIVE_TOML.replace("= 15_000", "= 15_001"), encoding="utf-8")
    shown = live("arm", "--status")
    assert shown.code == 3
    assert "configuration has changed" in shown.out


def test_a_change_of_the_universe_disarms(live: Any, tmp_path: Path) -> None:
    """Another contract behind a symbol, another sector: not what was permitted."""
    universe = tmp_path / "universe.csv"
    universe.write_bytes((samples_dir() / "universe.csv").read_bytes())
    named = LIVE_TOML.replace(str(samples_dir() / "universe.csv"), str(universe))
    (tmp_path / "live.toml").write_text(named, encoding="utf-8")
    assert live("db", "migrate").code == 0
    assert live("arm", "--account", "U1234567", *ARM).code == 0
    assert live("arm", "--status").code == 0
    universe.write_bytes(universe.read_bytes().replace(b"Technology", b"Software", 1))
    shown = live("arm", "--status")
    assert (shown.code, "universe has changed since it was armed" in shown.out) == (3, True)
    assert "universe has changed" in live("status").out
    universe.unlink()
    assert "universe cannot be read" in live("arm", "--status").out
    refused = live("arm", "--account", "U1234567", *ARM)
    assert (refused.code, "cannot read the universe" in refused.err) == (78, True)


# --- approving ------------------------------------------------------------------------------------


def test_show_then_approve_by_hash(live: Any, tmp_path: Path) -> None:
    """Without a hash it shows what and how; with it, once, by whom; again it says so."""
    digest = await_approval(tmp_path / "data")
    shown = live("run", "approve", "K1")
    assert shown.code == 0
    assert "IBM\tBUY\t10\t200\t194.00 to 206.00\t2000.00" in shown.out
    assert f"ibloop run approve K1 --hash {digest[:16]} --config" in shown.err
    assert live("run", "approve", "K1", "--json").data["hash"] == digest
    assert live("run", "show", "K1", "--json").data["approval"]["approved_at"] is None
    assert digest in live("run", "show", "K1").out
    assert "`ibloop run approve K1" in live("status").out
    done = live("run", "approve", "K1", "--hash", digest[:16].upper())
    assert done.code == 0, done.err
    assert "approved by" in done.err
    again = live("run", "approve", "K1", "--hash", digest)
    assert (again.code, "was approved by" in again.err) == (0, True)
    assert live("run", "show", "K1", "--json").data["approval"]["approved_by"]


@pytest.mark.parametrize(
    ("digits", "code", "said"),
    [
        ("0" * 64, 77, "has another hash: look at it anew"),
        ("0" * 12, 77, "nothing is approved"),
        ("abc", 2, "expected 12 to 64 hex digits"),
        ("x" * 64, 2, "expected 12 to 64 hex digits"),
        ("a" * 65, 2, "expected 12 to 64 hex digits"),
        ("", 2, "expected 12 to 64 hex digits"),
    ],
)
def test_a_wrong_hash_approves_nothing(
    live: Any, tmp_path: Path, digits: str, code: int, said: str
) -> None:
    """Something else than what waits, too few digits, no hash at all."""
    await_approval(tmp_path / "data")
    refused = live("run", "approve", "K1", "--hash", digits)
    assert refused.code == code
    assert said in refused.err
    assert live("run", "show", "K1", "--json").data["approval"]["approved_at"] is None


def test_only_a_run_that_waits_in_time_is_approved(live: Any, tmp_path: Path) -> None:
    """Too late, cancelled meanwhile, or never there: each says what it is."""
    digest = await_approval(tmp_path / "data", lasts=timedelta(seconds=-1))
    late = live("run", "approve", "K1", "--hash", digest)
    assert (late.code, "has run out" in late.err) == (77, True)
    assert live("run", "cancel", "K1").code == 0
    gone = live("run", "approve", "K1", "--hash", digest)
    assert (gone.code, "waits for no approval" in gone.err) == (77, True)
    assert live("run", "approve", "K9").code == 65
    rows = live("run", "show", "K1", "--json").data["orders"]
    assert [row["status"] for row in rows] == ["not_sent"]


# --- the halt file --------------------------------------------------------------------------------


def test_a_halt_file_is_removed_before_resuming(live: Any, tmp_path: Path) -> None:
    """Resuming past a file that halts would only seem to resume."""
    assert live("db", "migrate").code == 0
    assert live("halt", "why").code == 0
    file = tmp_path / "data" / "HALT"
    file.symlink_to("nowhere")
    refused = live("resume", "checked")
    assert refused.code == 77
    assert f"rm {file}" in refused.err
    file.unlink()
    assert "1 halt cleared" in live("resume", "checked").err

"""One screen: how the daemons are, what the account is worth, what to do next."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import account, guard_state
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.adapters.streamfiles import heartbeat_document, status_path, write_status
from ibloop.core.model import AccountValues, Mode, Moment
from ibloop.daemons.overview import DAEMONS

ACCOUNT = "DU1234567"


def beat(data: Path, name: str, status: str, age_s: float = 0, detail: str = "") -> None:
    """Write a daemon's heartbeat as it would be ``age_s`` seconds later."""
    now = SystemClock().now()
    then = Moment(
        now.utc - timedelta(seconds=age_s), now.boottime_ns - int(age_s * 1e9), now.boot_id
    )
    write_status(
        status_path(data / "ib" / "stream", name), heartbeat_document(status, then, detail, {})
    )


@pytest.fixture
def well(traded: Path) -> Path:
    """Return a data directory with four daemons that are well."""
    for _, file, word in DAEMONS:
        beat(traded, file, word)
    return traded


def test_all_well_exits_0(ibloop: Callable, well: Path) -> None:
    """Nothing to do, nothing to say."""
    said = ibloop("status", "--data", well)
    assert said.code == 0
    assert "next\t" not in said.out
    assert ibloop("status", "--json", "--data", well).data["healthy"] is True


def test_nothing_at_all_exits_3_and_says_how_to_begin(ibloop: Callable) -> None:
    """Before the first start there is a page too, and nothing is written by looking."""
    said = ibloop("status")
    assert said.code == 3
    assert said.out.count("not running") == 4
    assert "note\tnothing has run yet" in said.out
    assert "next\tstart the daemons" in said.out
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("status", "age_s", "word", "told"),
    [
        ("connected", 60, "silent", "last heartbeat 60."),
        ("degraded", 0, "degraded", "no ticks"),
        ("stopped", 99, "stopped", "no ticks"),
    ],
)
def test_a_daemon_that_is_not_well_is_named(
    ibloop: Callable, well: Path, status: str, age_s: float, word: str, told: str
) -> None:
    """A good word that is old is no good word; exit 3, and the page says whom to look after."""
    beat(well, "status", status, age_s, "no ticks")
    said = ibloop("status", "--data", well)
    assert said.code == 3
    (line,) = (line for line in said.out.splitlines() if line.startswith("stream\t"))
    assert line.split("\t")[1] == word
    assert told in line
    assert f"next\tlook after the stream: {told}" in said.out


def test_a_halt_is_shown_with_the_way_out(ibloop: Callable, well: Path) -> None:
    """Exit 3 although all daemons are well."""
    assert ibloop("halt", "prices look wrong", "--data", well).code == 0
    said = ibloop("status", "--data", well)
    assert said.code == 3
    assert "HALTED\tpause: prices look wrong" in said.out
    assert "`ibloop resume REASON --data" in said.out
    assert ibloop("resume", "checked", "--data", well).code == 0
    assert ibloop("status", "--data", well).code == 0


def test_a_halt_file_counts_and_resume_cannot_end_it(ibloop: Callable, well: Path) -> None:
    """Whoever made the file has to remove it: exit 77 says that trading is still halted."""
    (well / "HALT").write_text("kill", encoding="utf-8")
    said = ibloop("status", "--data", well)
    assert "HALTED\tkill: the HALT file exists" in said.out
    assert f"next\tremove {well / 'HALT'}" in said.out
    assert ibloop("resume", "checked", "--data", well).code == 77


def test_equity_is_the_guards_unless_the_guard_is_behind(ibloop: Callable, traded: Path) -> None:
    """In a crash the broker's figure, pushed now and then, is the older truth."""
    found = ibloop("status", "--json", "--data", traded).data
    assert (found["equity"], found["equity_source"]) == ("73710.985", "guard")
    assert "equity\t73,710.98 USD (guard," in ibloop("status", "--data", traded).out
    ledger = open_ledger(traded / "ibloop.db", mode=Mode.PAPER, account=ACCOUNT)
    later = SystemClock().now().utc
    with ledger.transaction() as tx:
        values = AccountValues(ACCOUNT, Decimal("88888"), Decimal(1), later)
        account.store_values(tx, values, later)
    ledger.close()
    found = ibloop("status", "--json", "--data", traded).data
    assert (found["equity"], found["equity_source"]) == ("88888", "broker")


@pytest.mark.parametrize("text", ["kil", "nonsense"])
def test_a_halt_file_that_was_not_understood_is_told(
    ibloop: Callable, well: Path, text: str
) -> None:
    """A person who misspelt kill reads on the screen that it is a pause."""
    (well / "HALT").write_text(text, encoding="utf-8")
    said = ibloop("status", "--data", well)
    assert f"HALTED\tpause: the HALT file exists; its text {text!r} is no level" in said.out


def test_a_fresh_heartbeat_is_never_less_than_nothing_old(ibloop: Callable, well: Path) -> None:
    """A stamp a few milliseconds ahead of us is 0.0 s old, not -0.0."""
    beat(well, "status", "connected", age_s=-0.02)
    assert "-0.0" not in ibloop("status", "--data", well).out


def test_a_loss_that_rounds_to_nothing_has_no_sign(ibloop: Callable, traded: Path) -> None:
    """A gain of a thousandth of a per cent is no loss of -0.00 %."""
    ledger = open_ledger(traded / "ibloop.db", mode=Mode.PAPER, account=ACCOUNT)
    with ledger.transaction() as tx:
        last = guard_state.last(tx.db)
        assert last is not None
        later = last.evaluated_at + timedelta(seconds=9)
        gain = replace(last, day_loss=Decimal("-0.00001"), evaluated_at=later)
        guard_state.record(tx, gain)
    ledger.close()
    said = ibloop("status", "--data", traded).out
    assert "day loss 0.00%" in said
    assert "-0.00%" not in said + ibloop("guard", "status", "--data", traded).out

"""`ibloop run why` tells what each check found, and what to do about a refusal."""

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from ibloop.adapters.ledger import risk, runs
from ibloop.adapters.ledger.connection import open_ledger, open_readonly
from ibloop.core.model import Mode
from ibloop.core.risk import Moment, Verdict
from tests.cli.conftest import ACCOUNT, T0

D = Decimal
PLAN = (
    Verdict("gross_weight_max", D("0.5"), D(1), passed=True),
    Verdict("sector_weight_max", D("0.6"), D("0.5"), passed=False, subject="Energy"),
)


def store(data: Path) -> str:
    """Give the newest run of a ledger verdicts of its plan and of its first order."""
    with closing(open_readonly(data / "ibloop.db")) as db:
        run = runs.listing(db, 1)[0]
        ref, symbol = db.execute(
            "SELECT client_order_id, symbol FROM trade_orders WHERE run_id = ?", (run.run_id,)
        ).fetchone()
    ledger = open_ledger(data / "ibloop.db", mode=Mode.PAPER, account=ACCOUNT)
    with closing(ledger), ledger.transaction() as tx:
        for moment, order, said in (
            (Moment.PLAN, None, PLAN),
            (Moment.SEND, ref, (Verdict("lot", D(7), "whole multiples of 1", passed=True),)),
        ):
            row = risk.VerdictRow(
                run.run_id, run.attempt, moment, order, T0, order is not None, said
            )
            risk.store_verdicts(tx, row)
    return f"{run.run_key} {symbol}"


def test_refusals_are_told_with_number_limit_and_advice(ibloop: Any, traded: Path) -> None:
    """Without --all only what refused; with a symbol only its orders."""
    key, symbol = store(traded).split()
    told = ibloop("run", "why", key, "--data", traded)
    assert told.code == 0
    assert "3 checks, 1 refused; --all shows what passed" in told.out
    assert "sector_weight_max (Energy)" in told.out
    assert "gross_weight_max" not in told.out
    whole = ibloop("run", "why", key, "--all", "--data", traded)
    assert "gross_weight_max" in whole.out
    one = ibloop("run", "why", key, symbol.lower(), "--data", traded)
    assert f"1 checks of {symbol}, 0 refused" in one.out
    none = ibloop("run", "why", key, "ZZZ", "--data", traded)
    assert "no checks of ZZZ are stored" in none.out


def test_programs_get_every_verdict(ibloop: Any, traded: Path) -> None:
    """Both commands carry the same: found, limit, passed, advice."""
    key, _ = store(traded).split()
    data = ibloop("run", "why", key, "--json", "--data", traded).data
    first = data["checks"][0]
    assert (first["moment"], first["passed"], first["client_order_id"]) == ("plan", False, None)
    refused = first["verdicts"][1]
    assert (refused["check"], refused["subject"], refused["passed"]) == (
        *("sector_weight_max", "Energy", False),
    )
    assert refused["advice"]
    shown = ibloop("run", "show", key, "--json", "--data", traded).data
    assert shown["risk"]["checks"] == data["checks"]
    assert shown["risk"]["limits"] is None


def test_an_unknown_run_is_told(ibloop: Any, traded: Path) -> None:
    """A misspelt key is a sentence, not a traceback."""
    told = ibloop("run", "why", "2001W01", "--data", traded)
    assert told.code != 0
    assert "2001W01" in told.err
    assert "Traceback" not in told.err

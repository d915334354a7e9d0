"""A margin account among real processes: its margin is asked for, and shorts go both ways."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.ledger import risk
from ibloop.adapters.ledger.connection import open_readonly
from ibloop.core.risk import Verdict
from tests.e2e.conftest import ACCOUNT, SLOW_TOML, WELL, Loop

pytestmark = pytest.mark.e2e
ARGS = 'sim_args = ["--speed", "60", "--seed", "7"'
TARGETS = "symbol,weight\nAAPL,0.10\nIBM,-0.08\n"


def margin_toml(cash_usd: int) -> str:
    """Return a profile with a margin account that asks for its margin and allows shorts."""
    account = f'"--account", "{ACCOUNT}:margin:{cash_usd}"'
    text = (
        SLOW_TOML.replace(ARGS, f"{ARGS}, {account}")
        .replace("short_allowed = false", "short_allowed = true\nmargin_check = true")
        .replace("jump_fraction_max = 0.50", "jump_fraction_max = 0.90")
    )
    assert account in text
    return text


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Loop]]:
    """Return a maker of loops with a configuration."""
    made: list[Loop] = []

    def start(toml: str) -> Loop:
        config = tmp_path / "margin.toml"
        config.write_text(toml, encoding="utf-8")
        loop = Loop(tmp_path / "data", config)
        made.append(loop)
        loop.start(*WELL)
        loop.await_well(*WELL)
        return loop

    yield start
    for loop in made:
        loop.end()


def rebalance(loop: Loop, targets: str, key: str) -> Any:
    """Trade targets and return the run at its end."""
    path = loop.data / f"{key}.csv"
    path.write_text(targets, encoding="utf-8")
    asked = loop.ask("rebalance", "--targets", path, "--key", key)
    assert asked.returncode == 0, asked.stdout + asked.stderr
    return loop.await_end(key)


def held(loop: Loop) -> dict[str, float]:
    """Return the simulator's positions by symbol."""
    return {p["symbol"]: p["quantity"] for p in loop.truth()["positions"] if p["quantity"]}


def margins(loop: Loop, run_id: str) -> list[Verdict]:
    """Return what was stored of the margin check."""
    with closing(open_readonly(loop.data / "ibloop.db")) as db:
        rows = risk.verdict_rows(db, run_id)
    return [v for row in rows for v in row.verdicts if v.check == "margin_check"]


def test_a_short_is_sold_turned_and_covered(make: Callable[[str], Loop]) -> None:
    """Half of the value is required; changing sides takes two attempts; covering asks nobody."""
    loop = make(margin_toml(100_000))
    first = rebalance(loop, TARGETS, "K1")
    assert first.status == "done", first
    assert held(loop)["IBM"] < 0 < held(loop)["AAPL"]
    ibm, aapl, together = margins(loop, first.run_id)
    assert [ibm.subject, aapl.subject, together.subject] == ["IBM", "AAPL", ""]
    values = {f["symbol"]: f["totalQuantity"] * f["lmtPrice"] for f in loop.truth()["frames"]}
    half = Decimal(str(sum(values.values()) / 2))
    assert isinstance(together.found, Decimal)
    assert abs(together.found / half - 1) < Decimal("0.05")

    turned = rebalance(loop, "symbol,weight\nAAPL,-0.05\nIBM,0.05\n", "K2")
    assert (turned.status, turned.attempt) == ("done", 1), turned
    assert held(loop)["AAPL"] < 0 < held(loop)["IBM"]

    flat = rebalance(loop, "symbol,weight\nIBM,0\nAAPL,0\n", "K3")
    assert flat.status == "done", flat
    assert held(loop) == {}
    assert margins(loop, flat.run_id) == []
    assert json.loads(loop.ask("doctor", "--json").stdout)["data"]


def test_a_run_that_the_margin_does_not_allow_sends_nothing(make: Callable[[str], Loop]) -> None:
    """Within all of our caps, and beyond the account's funds: the broker is asked, not tried."""
    wide = {
        "order_value_usd_max = 15_000": "order_value_usd_max = 200_000",
        "order_quantity_max = 2_000": "order_quantity_max = 100_000",
        "plan_turnover_weight_max = 1.2": "plan_turnover_weight_max = 3",
        "position_weight_max = 0.15": "position_weight_max = 1",
        "sector_weight_max = 0.50": "sector_weight_max = 3",
        "gross_weight_max = 1.0": "gross_weight_max = 3",
        "adv_participation_max = 0.05": "adv_participation_max = 1",
    }
    toml = margin_toml(100_000)
    for narrow, wider in wide.items():
        assert narrow in toml
        toml = toml.replace(narrow, wider)
    loop = make(toml)
    run = rebalance(loop, "symbol,weight\nAAPL,0.95\nIBM,-0.95\nMSFT,-0.3\n", "K1")
    assert (run.status, run.reason) == ("blocked", "limit_breached"), run
    assert run.detail.startswith("margin_check: "), run
    assert loop.truth()["orders"] == []
    assert loop.orders("K1") == []
    assert [v.subject for v in margins(loop, run.run_id)] == ["MSFT", "IBM", "AAPL", ""]

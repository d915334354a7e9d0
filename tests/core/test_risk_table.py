"""The table of checks is complete: in the program, and on the page that people read."""

import ast
import dataclasses
import re
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.config import BUILTIN_TOML, Config, parse
from ibloop.core.quotes import QuoteLimits
from ibloop.core.risk import CHECKS, Limits, Verdict, breaches, shown
from ibloop.core.risk.table import line_of
from ibloop.core.risk.verdict import at_most

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "risk-checks.md"
D = Decimal
NONE = "\N{EN DASH}"
NAMERS = {"Verdict", "at_most"}
FROM_ELSEWHERE = {"not_approved", "armed_notional_usd_max", "orders_per_second_max"}
"""Named by a constant of core.approval, or a reason to wait and no verdict."""


def named_in_source() -> set[str]:
    """Return the name of every check that a verdict is made of anywhere in the program."""
    found: set[str] = set()
    for path in (ROOT / "ibloop").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in NAMERS and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return found


def test_every_verdict_of_the_program_has_its_line() -> None:
    """A check nobody can look up is a refusal nobody can mend."""
    assert named_in_source() - {*CHECKS} == set()


def test_every_line_is_a_check_of_the_program() -> None:
    """A check that is only written about protects nothing."""
    in_text = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "ibloop").rglob("*.py")
        if path.name != "table.py"
    )
    unnamed = {*CHECKS} - named_in_source() - FROM_ELSEWHERE
    assert {name for name in unnamed if f'"{name}"' not in in_text} == set()


def test_every_line_says_what_to_do() -> None:
    """Name, moment, meaning and advice of every check; a limit has a proposed value."""
    for check in CHECKS.values():
        assert check.moments, check.name
        assert check.meaning, check.name
        assert check.advice, check.name
        assert bool(check.proposed) is check.key.startswith(("limits.", "quotes.")), check.name


def test_every_limit_of_the_configuration_is_asked() -> None:
    """A key that no check reads would be a promise nobody keeps."""
    keys = {f"limits.{f.name}" for f in dataclasses.fields(Limits)}
    keys |= {f"quotes.{f.name}" for f in dataclasses.fields(QuoteLimits)}
    # Counted over a run rather than asked of an order: it ends the run.
    assert keys - {check.key for check in CHECKS.values()} == {"limits.rejections_in_a_row_max"}


def page_rows() -> dict[str, list[str]]:
    """Return the cells of the page's tables by the check's name."""
    rows = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\| `(\w+)` \|", line):
            rows[found[1]] = [cell.strip() for cell in line.strip("|").split(" | ")]
    return rows


def test_the_page_shows_the_table() -> None:
    """Every check, with the words of the program: moments, meaning, key, proposal, advice."""
    rows = page_rows()
    assert list(rows) == list(CHECKS)
    for name, check in CHECKS.items():
        key = f"`{check.key}`" if "." in check.key else check.key or NONE
        expected = [
            f"`{name}`",
            ", ".join(check.moments),
            check.meaning,
            key,
            check.proposed or NONE,
            check.advice,
        ]
        assert rows[name] == expected


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        *((None, "", "unknown"), ("not halted", "", "not halted"), (D(5000), "USD", "5000 USD")),
        *((D("5000.5"), "USD", "5000.50 USD"), (D("0.125"), "", "0.125"), (D("100"), "", "100")),
        *((D(1) / 3, "", "0.333333"), (D("0.00000001"), "", "0.00000001"), (15.0, "s", "15 s")),
        *((D("Infinity"), "", "Infinity"), (D("NaN"), "shares", "NaN shares"), (3, "", "3")),
        *((D("1E+3"), "", "1000"), (0.25, "s", "0.25 s")),
    ],
)
def test_values_are_shown_as_people_write_them(value: object, unit: str, text: str) -> None:
    """Cents for money, up to six places for weights, no exponents, and nothing for nothing."""
    assert shown(value, unit) == text  # type: ignore[arg-type]


@pytest.mark.parametrize("found", [None, D("NaN"), D("sNaN"), D("Infinity"), D("-Infinity")])
def test_what_is_no_number_is_above_every_limit(found: Decimal | None) -> None:
    """A missing or nonsensical figure denies."""
    (refused,) = breaches([at_most("gross_weight_max", found, D(10**9))])
    assert refused.found is found


def test_a_check_of_an_older_ledger_is_shown_without_advice() -> None:
    """A name that this program does not know any more is no traceback."""
    old = Verdict("forgotten", D(2), D(1), passed=False)
    assert (old.code, old.advice, line_of("forgotten").unit) == ("forgotten", "", "")
    assert str(old).startswith("forgotten: 2, allowed 1")


def test_limits_in_force_are_plain_values() -> None:
    """What is stored with a run is the whole of both tables, what is off included."""
    config: Config = parse(BUILTIN_TOML, "x")
    stored = config.limits_in_force
    assert set(stored) == {"limits", "quotes"}
    limits = stored["limits"]
    assert isinstance(limits, dict)
    assert set(limits) == {f.name for f in dataclasses.fields(Limits)}
    assert limits["order_value_usd_max"] == "15000"
    assert limits["net_weight_max"] is None

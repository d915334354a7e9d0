"""How the checks of a run are shown: every one with what it found and what is allowed."""

from collections.abc import Iterable

from ibloop.adapters.ledger.risk import VerdictRow
from ibloop.cli.terminal import table
from ibloop.core.risk import Verdict, shown
from ibloop.core.risk.table import line_of

COLUMNS = ("ORDER", "WHEN", "CHECK", "FOUND", "LIMIT", "VERDICT")


def verdict_data(verdict: Verdict) -> dict[str, object]:
    """Return one verdict for ``--json``: ``advice`` says what to do if it refuses."""
    return {
        "check": verdict.check,
        "subject": verdict.subject,
        "found": verdict.found,
        "limit": verdict.limit,
        "passed": verdict.passed,
        "advice": verdict.advice,
    }


def row_data(row: VerdictRow) -> dict[str, object]:
    """Return all verdicts of one plan or order for ``--json``."""
    return {
        "moment": row.moment,
        "attempt": row.attempt,
        "client_order_id": row.client_order_id,
        "at": row.at,
        "passed": row.passed,
        "verdicts": [verdict_data(verdict) for verdict in row.verdicts],
    }


def verdict_table(rows: Iterable[VerdictRow], *, refused_only: bool) -> str:
    """Return the checks as a table, those that refused alone if wanted."""
    lines = [
        _line(row, verdict)
        for row in rows
        for verdict in row.verdicts
        if not (refused_only and verdict.passed)
    ]
    return table(COLUMNS, lines, "Checks")


def _line(row: VerdictRow, verdict: Verdict) -> tuple[object, ...]:
    unit = line_of(verdict.check).unit
    name = f"{verdict.check} ({verdict.subject})" if verdict.subject else verdict.check
    found, limit = shown(verdict.found, unit), shown(verdict.limit, unit)
    said = "ok" if verdict.passed else f"refused: {verdict.advice}"
    return row.client_order_id or "plan", row.moment, name, found, limit, said

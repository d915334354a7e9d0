"""Finding what a person named, and rows as plain data."""

import dataclasses
from typing import TYPE_CHECKING

from ibloop.adapters.ledger import runs
from ibloop.cli.common import is_text
from ibloop.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibloop.adapters.ledger.connection import Connection
    from ibloop.adapters.ledger.order_rows import OrderRow
    from ibloop.adapters.ledger.runs import Run
    from ibloop.core.gates import Gate


def run_named(db: "Connection", name: str) -> "Run":
    """Return the run with this key or id. Raises: BadInputError when there is none."""
    run = runs.find(db, name) if is_text(name) else None
    if run is None:
        raise BadInputError(f"there is no run {name!r}; `ibloop run list` shows them")
    return run


def gate_data(gates: "Iterable[Gate]") -> list[dict[str, object]]:
    """Return gates as plain data; a reason to block is only that of a gate that did not pass."""
    return [
        {
            "name": gate.name,
            "passed": gate.passed,
            "reason": None if gate.passed else gate.reason,
            "detail": gate.detail,
        }
        for gate in gates
    ]


def order_data(row: "OrderRow") -> dict[str, object]:
    """Return an order row as one flat object, named as the ledger's columns."""
    data = {f.name: getattr(row.order, f.name) for f in dataclasses.fields(row.order)}
    rest = {f.name: getattr(row, f.name) for f in dataclasses.fields(row) if f.name != "order"}
    return data | rest

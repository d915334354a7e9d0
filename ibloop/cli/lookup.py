"""Finding what a person named, and rows as plain data."""

import dataclasses
from typing import TYPE_CHECKING

from ibloop.adapters.ledger import runs
from ibloop.cli.common import is_text
from ibloop.errors import BadInputError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.connection import Connection
    from ibloop.adapters.ledger.order_rows import OrderRow
    from ibloop.adapters.ledger.runs import Run


def run_named(db: "Connection", name: str) -> "Run":
    """Return the run with this key or id. Raises: BadInputError when there is none."""
    run = runs.find(db, name) if is_text(name) else None
    if run is None:
        raise BadInputError(f"there is no run {name!r}; `ibloop run list` shows them")
    return run


def order_data(row: "OrderRow") -> dict[str, object]:
    """Return an order row as one flat object, named as the ledger's columns."""
    data = {f.name: getattr(row.order, f.name) for f in dataclasses.fields(row.order)}
    rest = {f.name: getattr(row, f.name) for f in dataclasses.fields(row) if f.name != "order"}
    return data | rest

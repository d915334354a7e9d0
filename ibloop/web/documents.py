"""The JSON documents of ``/api/v1``: the field names of the command line's ``--json``."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from ibloop.daemons.overview import Overview, PositionLine, QuoteLine, status_data
from ibloop.daemons.overview_ledger import RunDetails, order_data


def document(noun: str, data: object) -> bytes:
    """Return ``{"schema": "ibloop.NOUN.v1", "data": ...}`` as UTF-8."""
    whole = {"schema": f"ibloop.{noun}.v1", "data": data}
    return json.dumps(whole, default=_plain, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def overview(found: Overview) -> dict[str, object]:
    """Return the data of ``overview``: that of ``status``, and how the stream and the run are."""
    return {
        **status_data(found),
        "at": found.at.utc,
        "halts": found.halts,
        "market": found.market,
        "stream": {**_fields(found.stream), "subscribed": sorted(found.stream.subscribed)},
        "current_run": _progress(found),
    }


def _progress(found: Overview) -> dict[str, object] | None:
    line = found.ledger.current if found.ledger else None
    if line is None:
        return None
    return {
        "run_id": line.run.run_id,
        "run_key": line.run.run_key,
        "status": line.run.status,
        "orders": line.total,
        "orders_ended": line.ended,
        "orders_by_status": line.orders,
        "fills": line.fills,
    }


def quotes(found: Overview) -> dict[str, object]:
    """Return the data of ``quotes``: each as its file has it, with its age in seconds."""
    return {"quotes": [_quote(line) for line in found.quotes], "damaged": found.damaged_quotes}


def _quote(line: QuoteLine) -> dict[str, object]:
    fields = _fields(line.quote)
    received = fields.pop("received")
    stamps = {"received_at": getattr(received, "utc", None)}
    rest = {"age_s": line.age_s, "problem": line.problem, "subscribed": line.subscribed}
    return {**fields, **stamps, **rest}


def positions(found: Overview) -> dict[str, object]:
    """Return the data of ``positions``: the broker's, valued at present prices."""
    as_of = found.ledger.positions_as_of if found.ledger else None
    return {"as_of": as_of, "positions": [_position(line) for line in found.positions]}


def _position(line: PositionLine) -> dict[str, object]:
    valued = {name: value for name, value in _fields(line).items() if name != "position"}
    return {**_fields(line.position), **valued}


def run(found: RunDetails) -> dict[str, object]:
    """Return the data of ``run``: gates, target against actual, orders, fills."""
    plan = [
        {
            "symbol": planned.line.symbol,
            "weight": planned.line.weight,
            "baseline_quantity": planned.line.baseline_quantity,
            "target_quantity": planned.line.target_quantity,
            "planned_quantity": planned.line.planned_quantity,
            "actual_quantity": planned.actual_quantity,
            "price": planned.line.price,
            "note": planned.line.note,
        }
        for planned in found.plan
    ]
    orders = [order_data(row) for row in found.orders]
    return {
        "run": found.line.run,
        "pretrade": found.pretrade,
        "plan": plan,
        "orders": orders,
        "fills": found.fills,
    }


def _fields(value: object) -> dict[str, object]:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"expected a dataclass, was {type(value).__name__}")
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def _plain(value: object) -> object:
    """Return a value as JSON can hold it: decimals and times as text, dataclasses as objects."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | frozenset):
        return list(value)
    return _fields(value)

"""The frozen decision: which weights, out of which file, under which rules.

A run executes a snapshot and nothing else. The content hash names it: change one digit of one
weight or one limit and it is another decision.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import cast

from ibloop.core.invariant import invariant
from ibloop.core.model import Target

REF_PREFIX = "ibl:"
REF_LENGTH_MAX = 40
"""IB shows and keeps an orderRef of this length (DESIGN, contract of ``client_order_id``)."""
PLAIN_KEY = re.compile(r"[A-Za-z0-9._-]+")


class Omitted(StrEnum):
    """What to do with a holding that the targets do not name."""

    SELL = "sell"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class DecisionSnapshot:
    """What was decided: enough to say later why every share was traded.

    ``as_of`` is the moment the targets were made, ``source`` where they came from. The hashes
    name the configuration and the universe they were checked against.
    """

    account: str
    mode: str
    targets: tuple[Target, ...]
    as_of: datetime
    source: str
    omitted: Omitted
    config_hash: str
    universe_hash: str

    def content(self) -> dict[str, object]:
        """Return the snapshot as plain JSON values, targets sorted by symbol."""
        return {
            "account": self.account,
            "mode": self.mode,
            "targets": [
                {"symbol": t.symbol, "weight": decimal_text(t.weight)}
                for t in sorted(self.targets, key=lambda t: t.symbol)
            ],
            "as_of": self.as_of.astimezone(UTC).isoformat(),
            "source": self.source,
            "omitted": self.omitted.value,
            "config_hash": self.config_hash,
            "universe_hash": self.universe_hash,
        }

    @property
    def content_hash(self) -> str:
        """Return the SHA-256 of the canonical content, 64 hex digits."""
        return hash_of(self.content())

    @property
    def snapshot_id(self) -> str:
        """Return the name people see: the first twelve digits of the hash."""
        return f"snap-{self.content_hash[:12]}"


def decimal_text(value: Decimal) -> str:
    """Return the one spelling of a decimal: no exponent, no trailing zeros."""
    text = format(value, "f")  # not normalize(): that rounds to the context's 28 digits
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text


def canonical_json(content: object) -> str:
    """Return the one spelling of plain JSON values: sorted keys, no blanks, ASCII."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def hash_of(content: object) -> str:
    """Return the SHA-256 of the canonical JSON of ``content``."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def snapshot_targets(content: Mapping[str, object]) -> tuple[Target, ...]:
    """Return the targets of a stored snapshot's content."""
    rows = cast(list[dict[str, str]], content["targets"])
    return tuple(Target(row["symbol"], Decimal(row["weight"])) for row in rows)


def client_order_id(run_key: str, symbol: str, side: str, attempt: int) -> str:
    """Return the order's identity: deterministic, readable, at most 40 characters.

    The same run after a restored backup makes the same ids, so a duplicate is seen at the broker.
    A key too long for the limit, or with other characters than letters, digits and ``._-``, is
    replaced by ``~`` and ten digits of its hash. Raises: InvariantError when even that does not
    fit: symbols have at most twelve characters.
    """
    rest = f":{symbol}:{side[0]}:{attempt}"
    room = REF_LENGTH_MAX - len(REF_PREFIX) - len(rest)
    if len(run_key) > room or not PLAIN_KEY.fullmatch(run_key):
        run_key = "~" + hashlib.sha256(run_key.encode()).hexdigest()[:10]
    invariant(len(run_key) <= room, f"{symbol!r} and attempt {attempt} leave no room for a key")
    return f"{REF_PREFIX}{run_key}{rest}"


def is_ours(order_ref: str) -> bool:
    """Return whether an orderRef at the broker was made by ibloop."""
    return order_ref.startswith(REF_PREFIX)


def total_weight(targets: Iterable[Target]) -> Decimal:
    """Return the sum of the weights."""
    return sum((t.weight for t in targets), Decimal(0))


def gross_weight(targets: Iterable[Target]) -> Decimal:
    """Return the sum of the weights without their signs: longs plus shorts."""
    return sum((abs(t.weight) for t in targets), Decimal(0))

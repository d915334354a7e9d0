"""Stamps of fills: what came in after a baseline is told from what came with it by these alone.

They follow the ledger, not a clock: a clock may be set back, and a person's may be wrong.
"""

from datetime import datetime, timedelta

from ibloop.adapters.ledger import acceptances, fills, runs
from ibloop.adapters.ledger.connection import Connection


def next_stamp(db: Connection) -> datetime | None:
    """Return the first moment after every baseline and every fill, ``None`` before any of them."""
    basis, accepted = runs.newest_basis(db), acceptances.positions_baseline(db)
    stamps = (
        basis[2] if basis else None,
        accepted.at if accepted else None,
        fills.last_recorded_at(db),
    )
    known = [stamp for stamp in stamps if stamp is not None]
    return after(max(known)) if known else None


def after(stamp: datetime) -> datetime:
    """Return the first moment that the ledger, in milliseconds, tells from ``stamp``."""
    return stamp + timedelta(milliseconds=1)

"""The SQL of the ledger, as migrations: a published one never changes, a change is a new one.

The lists of states are written out there on purpose: a state added to the program must come with
a migration, and a test compares the two. ``docs/reference/ledger.md`` explains every column.
"""

from ibloop.adapters.ledger.schema import (
    m001_first,
    m002_resolution,
    m003_algo,
    m004_arming,
    m005_risk,
    m006_guard,
    m007_acknowledged,
    m008_armed_universe,
)

MIGRATION_SET = "ibloop"
MIGRATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("m001_first", m001_first.STATEMENTS),
    ("m002_resolution", m002_resolution.STATEMENTS),
    ("m003_algo", m003_algo.STATEMENTS),
    ("m004_arming", m004_arming.STATEMENTS),
    ("m005_risk", m005_risk.STATEMENTS),
    ("m006_guard", m006_guard.STATEMENTS),
    ("m007_acknowledged", m007_acknowledged.STATEMENTS),
    ("m008_armed_universe", m008_armed_universe.STATEMENTS),
)
"""Name and statements of each migration, in order; applied ones are known by name."""

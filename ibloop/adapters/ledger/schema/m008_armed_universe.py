"""The universe that a permission to trade live was given for: a file of its own may change, too.

A permission from before has none, and is void: nobody knows what it was given for.
"""

STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE arming ADD COLUMN universe_hash TEXT CHECK (universe_hash <> '')",
    (
        "CREATE TRIGGER arming_universe BEFORE UPDATE OF universe_hash ON arming"
        " BEGIN SELECT RAISE(ABORT, 'arming: a permission is ended, never rewritten'); END"
    ),
)

"""The guard's memory: its days, its books, which of its rows are kept, and frozen symbols."""

from ibloop.adapters.ledger.schema.ddl import (
    TIME_GLOB,
    choice_column,
    decimal_column,
    json_column,
    refusal,
    text_column,
    time_column,
)

STATEMENTS: tuple[str, ...] = (
    # 3 is kept for ever, 0 for a day: a row every two seconds would fill the disk in years.
    """ALTER TABLE trade_guard_state ADD COLUMN
  keep INTEGER NOT NULL DEFAULT 3 CHECK (keep BETWEEN 0 AND 3)""",
    """CREATE INDEX trade_guard_state_thinned ON trade_guard_state (keep, evaluated_at)
  WHERE keep < 3""",
    f"""CREATE TABLE guard_days (
  trade_date TEXT PRIMARY KEY
    CHECK (trade_date GLOB '{TIME_GLOB[: TIME_GLOB.index("T")]}'),
  {decimal_column("open_usd")},
  {decimal_column("high_usd")},
  {decimal_column("low_usd")},
  {decimal_column("close_usd")},
  {decimal_column("flow_usd")},
  {decimal_column("units", sign=">")},
  {time_column("updated_at")}
) STRICT""",
    f"""CREATE TABLE guard_memory (
  memory_id INTEGER PRIMARY KEY CHECK (memory_id = 1),
  {time_column("as_of")},
  {json_column("content")}
) STRICT""",
    f"""CREATE TABLE freezes (
  freeze_id INTEGER PRIMARY KEY,
  {text_column("symbol")},
  {
        choice_column(
            "kind",
            "unrecorded",
            "different",
            "unconfirmed",
            "position",
            "many",
        )
    },
  {text_column("subject")},
  {text_column("reason")},
  {time_column("created_at")},
  {time_column("cleared_at", "")},
  cleared_by TEXT,
  clear_reason TEXT,
  CHECK ((cleared_at IS NULL) = (cleared_by IS NULL)),
  CHECK ((cleared_at IS NULL) = (clear_reason IS NULL))
) STRICT""",
    """CREATE UNIQUE INDEX freezes_standing ON freezes (kind, subject)
  WHERE cleared_at IS NULL""",
    refusal("DELETE", "freezes", "rows are never deleted"),
    refusal(
        "UPDATE OF symbol, kind, subject, reason, created_at",
        "freezes",
        "a freeze is cleared, never rewritten",
    ),
)

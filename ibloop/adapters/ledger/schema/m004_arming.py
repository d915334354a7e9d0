"""Permissions to trade live that count what is used of them, and approvals of single runs."""

from ibloop.adapters.ledger.schema.ddl import (
    decimal_column,
    json_column,
    number_column,
    refusal,
    text_column,
    time_column,
)

_BOOT_ID = "boot_id TEXT NOT NULL CHECK (length(boot_id) = 32 AND boot_id NOT GLOB '*[^0-9a-f]*')"
_HASH = "CHECK (length(ticket_hash) = 64 AND ticket_hash NOT GLOB '*[^0-9a-f]*')"
_TERM = f"{time_column('expires_at')},\n  {number_column('expires_boottime_ns', 0)},\n  {_BOOT_ID}"

STATEMENTS: tuple[str, ...] = (
    # No version before this one could write a row into it.
    "DROP TABLE arming",
    f"""CREATE TABLE arming (
  arming_id INTEGER PRIMARY KEY,
  {text_column("account")},
  {text_column("armed_by")},
  {time_column("armed_at")},
  {_TERM},
  {text_column("config_hash")},
  {text_column("build")},
  {decimal_column("notional_usd_max", sign=">")},
  {number_column("runs_max", 1)},
  -- What was sent under it is told by number: a clock can be set back.
  {number_column("order_id_floor", 0)},
  {time_column("ended_at", "")},
  ended_by TEXT,
  end_reason TEXT,
  CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
  CHECK ((ended_at IS NULL) = (end_reason IS NULL))
) STRICT""",
    "CREATE UNIQUE INDEX arming_standing ON arming ((1)) WHERE ended_at IS NULL",
    f"""CREATE TABLE arming_runs (
  arming_id INTEGER NOT NULL REFERENCES arming (arming_id),
  run_id TEXT NOT NULL REFERENCES trade_runs (run_id),
  {time_column("used_at")},
  PRIMARY KEY (arming_id, run_id)
) STRICT, WITHOUT ROWID""",
    f"""CREATE TABLE approvals (
  run_id TEXT NOT NULL REFERENCES trade_runs (run_id),
  {number_column("attempt", 0)},
  ticket_hash TEXT NOT NULL {_HASH},
  {json_column("content")},
  {time_column("requested_at")},
  {_TERM},
  {time_column("approved_at", "")},
  approved_by TEXT,
  PRIMARY KEY (run_id, attempt),
  CHECK ((approved_at IS NULL) = (approved_by IS NULL))
) STRICT, WITHOUT ROWID""",
    *(
        refusal("DELETE", t, "rows are never deleted")
        for t in ("arming", "arming_runs", "approvals")
    ),
    refusal("UPDATE", "arming_runs", "rows are never changed"),
    (
        "CREATE TRIGGER arming_update BEFORE UPDATE ON arming WHEN OLD.ended_at IS NOT NULL"
        " OR (NEW.account, NEW.armed_by, NEW.armed_at, NEW.expires_at, NEW.expires_boottime_ns,"
        " NEW.boot_id, NEW.config_hash, NEW.build, NEW.notional_usd_max, NEW.runs_max,"
        " NEW.order_id_floor) IS NOT (OLD.account, OLD.armed_by, OLD.armed_at, OLD.expires_at,"
        " OLD.expires_boottime_ns, OLD.boot_id, OLD.config_hash, OLD.build, OLD.notional_usd_max,"
        " OLD.runs_max, OLD.order_id_floor)"
        " BEGIN SELECT RAISE(ABORT, 'arming: a permission is ended, never rewritten'); END"
    ),
    (
        "CREATE TRIGGER approvals_update BEFORE UPDATE ON approvals"
        " WHEN OLD.approved_at IS NOT NULL"
        " OR (NEW.run_id, NEW.attempt, NEW.ticket_hash, NEW.content, NEW.requested_at,"
        " NEW.expires_at, NEW.expires_boottime_ns, NEW.boot_id) IS NOT"
        " (OLD.run_id, OLD.attempt, OLD.ticket_hash, OLD.content, OLD.requested_at,"
        " OLD.expires_at, OLD.expires_boottime_ns, OLD.boot_id)"
        " BEGIN SELECT RAISE(ABORT, 'approvals: a ticket is approved once, never rewritten'); END"
    ),
    refusal(
        "INSERT",
        "arming",
        "of another account than the ledger''s",
        "NOT EXISTS (SELECT 1 FROM ledger_identity WHERE account = NEW.account)",
    ),
)

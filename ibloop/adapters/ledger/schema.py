"""The SQL of the ledger, as migrations: a published one never changes, a change is a new one.

The lists of states are written out here on purpose: a state added to the program must come with
a migration, and a test compares the two. ``docs/reference/ledger.md`` explains every column.
"""

MIGRATION_SET = "ibloop"

_TIME = (
    "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z"
)


def _time(name: str, null: str = "NOT NULL") -> str:
    """Return a column for ``values.time_text``."""
    return f"{name} TEXT {null} CHECK ({name} GLOB '{_TIME}')"


def _decimal(name: str, null: str = "NOT NULL", sign: str = "") -> str:
    """Return a column for ``values.decimal_text``.

    ``sign``: "" any, ">=" not negative, ">" above zero. Comparing decimals as text would be
    wrong, so that is all SQL may judge.
    """
    rules = [
        f"{name} NOT GLOB '*[^0-9.-]*'",
        f"{name} GLOB '*[0-9]'",
        f"{name} NOT GLOB '?*-*'",
        f"{name} NOT GLOB '*.*.*'",
        f"{name} NOT GLOB '*.*0'",
        f"ltrim({name}, '-') GLOB '[0-9]*'",
        f"ltrim({name}, '-') NOT GLOB '0[0-9]*'",
        f"{name} <> '-0'",
    ]
    if sign:
        rules.append(f"{name} NOT GLOB '-*'")
    if sign == ">":
        rules.append(f"{name} <> '0'")
    return f"{name} TEXT {null} CHECK ({' AND '.join(rules)})"


def _one_of(name: str, *values: str, null: str = "NOT NULL") -> str:
    """Return a column for one of ``values``."""
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{name} TEXT {null} CHECK ({name} IN ({listed}))"


def _json(name: str) -> str:
    """Return a column for ``values.json_text``."""
    return f"{name} TEXT NOT NULL CHECK (json_valid({name}))"


def _text(name: str) -> str:
    """Return a column for a text that says something."""
    return f"{name} TEXT NOT NULL CHECK ({name} <> '')"


def _number(name: str, least: int, null: str = "NOT NULL") -> str:
    """Return a column for an integer of at least ``least``."""
    return f"{name} INTEGER {null} CHECK ({name} >= {least})"


def _refuse(event: str, table: str, why: str, when: str = "") -> str:
    """Return a trigger that refuses ``event`` (DELETE, UPDATE, UPDATE OF ..., INSERT)."""
    name = f"{table}_{event.split(maxsplit=1)[0].lower()}"
    condition = f" WHEN {when}" if when else ""
    return (
        f"CREATE TRIGGER {name} BEFORE {event} ON {table}{condition} "
        f"BEGIN SELECT RAISE(ABORT, '{table}: {why}'); END"
    )


_ORIGIN = (
    f"""CREATE TABLE ledger_identity (
  identity_id INTEGER PRIMARY KEY CHECK (identity_id = 1),
  {_one_of("mode", "paper", "live")},
  {_text("account")},
  {_time("created_at")},
  {_number("executor_epoch", 0)}
) STRICT""",
    f"""CREATE TABLE audit_log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  {_time("at")},
  {_text("actor")},
  {_text("event")},
  subject TEXT NOT NULL,
  {_json("payload")},
  prev_hash TEXT NOT NULL CHECK (length(prev_hash) = 64 AND prev_hash NOT GLOB '*[^0-9a-f]*'),
  hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64 AND hash NOT GLOB '*[^0-9a-f]*')
) STRICT""",
)

_DECISIONS = (
    f"""CREATE TABLE decision_snapshots (
  snapshot_id TEXT PRIMARY KEY CHECK (snapshot_id <> ''),
  content_hash TEXT NOT NULL UNIQUE CHECK (content_hash <> ''),
  {_time("created_at")},
  {_time("targets_as_of")},
  source_path TEXT NOT NULL,
  {_json("content")}
) STRICT""",
    f"""CREATE TABLE trade_runs (
  run_id TEXT PRIMARY KEY CHECK (run_id <> ''),
  {_text("run_key")},
  {_one_of("mode", "paper", "live")},
  {_text("account")},
  {
        _one_of(
            "status",
            "queued",
            "preparing",
            "awaiting_approval",
            "executing",
            "reconciling",
            "done",
            "partial",
            "failed",
            "blocked",
            "canceled",
        )
    },
  reason TEXT CHECK (reason <> '' AND reason NOT GLOB '*[^a-z0-9_]*'),
  detail TEXT NOT NULL,
  snapshot_id TEXT REFERENCES decision_snapshots (snapshot_id),
  snapshot_hash TEXT,
  config_hash TEXT NOT NULL,
  build TEXT NOT NULL,
  {_number("attempt", 0)},
  {_time("created_at")},
  {_time("updated_at")},
  {_time("deadline_at", "")},
  {_decimal("equity_usd", "")},
  {_decimal("cash_usd", "")},
  {_time("baseline_at", "")},
  UNIQUE (account, mode, run_key),
  CHECK ((snapshot_id IS NULL) = (snapshot_hash IS NULL)),
  CHECK (status <> 'blocked' OR reason IS NOT NULL)
) STRICT""",
    "CREATE INDEX trade_runs_by_status ON trade_runs (status, created_at)",
    f"""CREATE TABLE pretrade_runs (
  pretrade_id TEXT PRIMARY KEY CHECK (pretrade_id <> ''),
  run_id TEXT NOT NULL REFERENCES trade_runs (run_id),
  {_number("attempt", 0)},
  {_time("created_at")},
  passed INTEGER NOT NULL CHECK (passed IN (0, 1)),
  {_json("gates")},
  targets_path TEXT NOT NULL,
  build TEXT NOT NULL
) STRICT""",
    "CREATE INDEX pretrade_runs_by_run ON pretrade_runs (run_id)",
    f"""CREATE TABLE plan_lines (
  run_id TEXT NOT NULL REFERENCES trade_runs (run_id),
  {_number("attempt", 0)},
  {_text("symbol")},
  {_number("con_id", 0)},
  {_decimal("weight", "")},
  {_decimal("baseline_quantity")},
  {_decimal("target_quantity", "")},
  {_decimal("planned_quantity")},
  {_decimal("price", "", ">")},
  quote_source TEXT,
  note TEXT NOT NULL,
  PRIMARY KEY (run_id, attempt, symbol)
) STRICT, WITHOUT ROWID""",
)

_ORDERS = (
    f"""CREATE TABLE trade_orders (
  client_order_id TEXT PRIMARY KEY CHECK (length(client_order_id) BETWEEN 1 AND 40),
  run_id TEXT NOT NULL REFERENCES trade_runs (run_id),
  {_number("attempt", 0)},
  {_number("sequence", 0)},
  {_text("symbol")},
  {_number("con_id", 0)},
  {_one_of("side", "BUY", "SELL")},
  {_decimal("quantity", sign=">=")},
  {_one_of("order_type", "MKT", "LMT")},
  {_decimal("limit_price", "", ">")},
  {_one_of("tif", "DAY", "GTD")},
  {_time("good_till")},
  {
        _one_of(
            "status",
            "planned",
            "sending",
            "new",
            "partially_filled",
            "pending_cancel",
            "filled",
            "canceled",
            "expired",
            "rejected",
            "not_sent",
            "unknown",
        )
    },
  {_decimal("filled_quantity", sign=">=")},
  {_decimal("avg_fill_price", "", ">=")},
  ib_order_id INTEGER UNIQUE CHECK (ib_order_id > 0),
  {_number("perm_id", 1, "")},
  {_one_of("reject_source", "ibloop", "broker", null="")},
  reject_code TEXT,
  reject_reason TEXT,
  {_decimal("arrival_price", "", ">")},
  quote_seq INTEGER,
  quote_source TEXT,
  {_time("quote_at", "")},
  {_time("created_at")},
  {_time("sent_at", "")},
  {_time("updated_at")},
  UNIQUE (run_id, attempt, sequence),
  CHECK (quantity <> '0' OR status = 'rejected'),
  CHECK (status <> 'sending' OR (ib_order_id IS NOT NULL AND sent_at IS NOT NULL)),
  CHECK ((ib_order_id IS NULL) = (sent_at IS NULL)),
  CHECK (order_type = 'LMT' OR limit_price IS NULL)
) STRICT""",
    "CREATE INDEX trade_orders_by_status ON trade_orders (status)",
    "CREATE INDEX trade_orders_by_perm_id ON trade_orders (perm_id)",
    "CREATE INDEX trade_orders_by_sent_at ON trade_orders (sent_at)",
    f"""CREATE TABLE trade_fills (
  exec_base TEXT PRIMARY KEY CHECK (exec_base <> ''),
  exec_id TEXT NOT NULL UNIQUE CHECK (exec_id <> ''),
  client_order_id TEXT REFERENCES trade_orders (client_order_id),
  order_ref TEXT NOT NULL,
  {_text("symbol")},
  {_number("con_id", 0)},
  {_one_of("side", "BUY", "SELL")},
  {_decimal("quantity", sign=">=")},
  {_decimal("price")},
  {_decimal("commission", "")},
  {_decimal("realized_pnl", "")},
  commission_exec_id TEXT,
  {_number("perm_id", 1, "")},
  {_text("account")},
  {_time("executed_at")},
  {_time("recorded_at")}
) STRICT""",
    "CREATE INDEX trade_fills_by_order ON trade_fills (client_order_id)",
    "CREATE INDEX trade_fills_by_time ON trade_fills (executed_at)",
)

_BROKER_TRUTH = (
    f"""CREATE TABLE positions (
  symbol TEXT PRIMARY KEY CHECK (symbol <> ''),
  {_number("con_id", 0)},
  {_decimal("quantity")},
  {_decimal("avg_cost")},
  {_time("as_of")}
) STRICT""",
    f"""CREATE TABLE positions_seen (
  seen_id INTEGER PRIMARY KEY CHECK (seen_id = 1),
  {_time("as_of")}
) STRICT""",
    f"""CREATE TABLE account_values (
  name TEXT PRIMARY KEY CHECK (name <> ''),
  {_decimal("value")},
  {_text("currency")},
  {_time("as_of")},
  {_time("recorded_at")}
) STRICT""",
    f"""CREATE TABLE contracts (
  symbol TEXT PRIMARY KEY CHECK (symbol <> ''),
  con_id INTEGER NOT NULL UNIQUE CHECK (con_id > 0),
  primary_exchange TEXT NOT NULL,
  {_text("currency")},
  {_decimal("min_tick", sign=">")},
  {_time("resolved_at")}
) STRICT""",
)

_CONTROL = (
    f"""CREATE TABLE halts (
  halt_id INTEGER PRIMARY KEY,
  {_one_of("level", "pause", "reduce-only", "kill")},
  {_text("reason")},
  {_one_of("source", "cli", "guard", "executor", "file", "web", "telegram")},
  {_text("requested_by")},
  {_time("created_at")},
  {_time("cleared_at", "")},
  cleared_by TEXT,
  clear_reason TEXT,
  CHECK ((cleared_at IS NULL) = (cleared_by IS NULL)),
  CHECK ((cleared_at IS NULL) = (clear_reason IS NULL))
) STRICT""",
    "CREATE INDEX halts_active ON halts (halt_id) WHERE cleared_at IS NULL",
    f"""CREATE TABLE commands (
  command_id INTEGER PRIMARY KEY,
  {_text("kind")},
  {_json("args")},
  {_text("requested_by")},
  {_time("created_at")},
  {_one_of("status", "queued", "done", "refused", "failed")},
  result TEXT,
  {_time("done_at", "")},
  CHECK ((status = 'queued') = (done_at IS NULL)),
  CHECK ((result IS NULL) = (done_at IS NULL))
) STRICT""",
    "CREATE INDEX commands_queued ON commands (command_id) WHERE status = 'queued'",
    f"""CREATE TABLE trade_guard_state (
  evaluation_id INTEGER PRIMARY KEY,
  trade_date TEXT NOT NULL CHECK (trade_date GLOB '{_TIME[: _TIME.index("T")]}'),
  {_time("evaluated_at")},
  {_one_of("status", "ok", "warn", "reduce_only", "kill", "degraded")},
  {_decimal("equity", "")},
  equity_source TEXT NOT NULL,
  {_decimal("baseline_equity", "")},
  {_time("baseline_at", "")},
  {_decimal("peak_equity", "")},
  {_decimal("day_loss", "")},
  {_decimal("drawdown", "")},
  {_json("detail")}
) STRICT""",
    f"""CREATE TABLE alerts (
  alert_id INTEGER PRIMARY KEY,
  {_time("created_at")},
  {_one_of("severity", "info", "warning", "critical")},
  {_text("event")},
  subject TEXT NOT NULL,
  {_text("text")},
  dedup_key TEXT UNIQUE CHECK (dedup_key <> ''),
  {_number("attempts", 0)},
  {_time("next_try_at", "")},
  {_time("delivered_at", "")},
  {_time("dead_at", "")},
  last_error TEXT,
  CHECK (delivered_at IS NULL OR dead_at IS NULL)
) STRICT""",
    "CREATE INDEX alerts_undelivered ON alerts (alert_id) WHERE delivered_at IS NULL",
    f"""CREATE TABLE arming (
  arming_id INTEGER PRIMARY KEY,
  {_text("account")},
  {_text("armed_by")},
  {_time("armed_at")},
  {_time("expires_at")},
  {_number("expires_boottime_ns", 0)},
  boot_id TEXT NOT NULL CHECK (length(boot_id) = 32 AND boot_id NOT GLOB '*[^0-9a-f]*'),
  {_text("config_hash")},
  {_text("build")},
  {_decimal("order_value_usd_max", sign=">")},
  {_number("runs_left", 0)},
  {_time("disarmed_at", "")}
) STRICT""",
)

_APPEND_ONLY = "rows are never changed"
_KEPT = "rows are never deleted"
_FOREIGN = "of another account than the ledger''s"

_TRIGGERS = (
    *(_refuse("UPDATE", table, _APPEND_ONLY) for table in ("decision_snapshots", "audit_log")),
    *(
        _refuse("DELETE", table, _KEPT)
        for table in (
            "audit_log",
            "decision_snapshots",
            "halts",
            "ledger_identity",
            "pretrade_runs",
            "trade_fills",
            "trade_orders",
            "trade_runs",
        )
    ),
    _refuse("UPDATE OF mode, account, created_at", "ledger_identity", "bound at creation"),
    _refuse(
        "UPDATE OF level, reason, source, requested_by, created_at",
        "halts",
        "a halt is cleared, never rewritten",
    ),
    _refuse(
        "INSERT",
        "trade_runs",
        _FOREIGN,
        "NOT EXISTS (SELECT 1 FROM ledger_identity"
        " WHERE account = NEW.account AND mode = NEW.mode)",
    ),
    *(
        _refuse(
            "INSERT",
            table,
            _FOREIGN,
            "NOT EXISTS (SELECT 1 FROM ledger_identity WHERE account = NEW.account)",
        )
        for table in ("trade_fills", "arming")
    ),
)

MIGRATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "m001_first",
        (*_ORIGIN, *_DECISIONS, *_ORDERS, *_BROKER_TRUTH, *_CONTROL, *_TRIGGERS),
    ),
)
"""Name and statements of each migration, in order; applied ones are known by name."""

"""The first tables: identity, audit, decisions, orders, fills, the broker's truth, control."""

from ibloop.adapters.ledger.schema.ddl import (
    TIME_GLOB,
    choice_column,
    decimal_column,
    json_column,
    number_column,
    refusal,
    text_column,
    time_column,
)

_ORIGIN = (
    f"""CREATE TABLE ledger_identity (
  identity_id INTEGER PRIMARY KEY CHECK (identity_id = 1),
  {choice_column("mode", "paper", "live")},
  {text_column("account")},
  {time_column("created_at")},
  {number_column("executor_epoch", 0)}
) STRICT""",
    f"""CREATE TABLE audit_log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  {time_column("at")},
  {text_column("actor")},
  {text_column("event")},
  subject TEXT NOT NULL,
  {json_column("payload")},
  prev_hash TEXT NOT NULL CHECK (length(prev_hash) = 64 AND prev_hash NOT GLOB '*[^0-9a-f]*'),
  hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64 AND hash NOT GLOB '*[^0-9a-f]*')
) STRICT""",
)

_DECISIONS = (
    f"""CREATE TABLE decision_snapshots (
  snapshot_id TEXT PRIMARY KEY CHECK (snapshot_id <> ''),
  content_hash TEXT NOT NULL UNIQUE CHECK (content_hash <> ''),
  {time_column("created_at")},
  {time_column("targets_as_of")},
  source_path TEXT NOT NULL,
  {json_column("content")}
) STRICT""",
    f"""CREATE TABLE trade_runs (
  run_id TEXT PRIMARY KEY CHECK (run_id <> ''),
  {text_column("run_key")},
  {choice_column("mode", "paper", "live")},
  {text_column("account")},
  {
        choice_column(
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
  {number_column("attempt", 0)},
  {time_column("created_at")},
  {time_column("updated_at")},
  {time_column("deadline_at", "")},
  {decimal_column("equity_usd", "")},
  {decimal_column("cash_usd", "")},
  {time_column("baseline_at", "")},
  UNIQUE (account, mode, run_key),
  CHECK ((snapshot_id IS NULL) = (snapshot_hash IS NULL)),
  CHECK (status <> 'blocked' OR reason IS NOT NULL)
) STRICT""",
    "CREATE INDEX trade_runs_by_status ON trade_runs (status, created_at)",
    f"""CREATE TABLE pretrade_runs (
  pretrade_id TEXT PRIMARY KEY CHECK (pretrade_id <> ''),
  run_id TEXT NOT NULL REFERENCES trade_runs (run_id),
  {number_column("attempt", 0)},
  {time_column("created_at")},
  passed INTEGER NOT NULL CHECK (passed IN (0, 1)),
  {json_column("gates")},
  targets_path TEXT NOT NULL,
  build TEXT NOT NULL
) STRICT""",
    "CREATE INDEX pretrade_runs_by_run ON pretrade_runs (run_id)",
    f"""CREATE TABLE plan_lines (
  run_id TEXT NOT NULL REFERENCES trade_runs (run_id),
  {number_column("attempt", 0)},
  {text_column("symbol")},
  {number_column("con_id", 0)},
  {decimal_column("weight", "")},
  {decimal_column("baseline_quantity")},
  {decimal_column("target_quantity", "")},
  {decimal_column("planned_quantity")},
  {decimal_column("price", "", ">")},
  quote_source TEXT,
  note TEXT NOT NULL,
  PRIMARY KEY (run_id, attempt, symbol)
) STRICT, WITHOUT ROWID""",
)

_ORDERS = (
    f"""CREATE TABLE trade_orders (
  client_order_id TEXT PRIMARY KEY CHECK (length(client_order_id) BETWEEN 1 AND 40),
  run_id TEXT NOT NULL REFERENCES trade_runs (run_id),
  {number_column("attempt", 0)},
  {number_column("sequence", 0)},
  {text_column("symbol")},
  {number_column("con_id", 0)},
  {choice_column("side", "BUY", "SELL")},
  {decimal_column("quantity", sign=">=")},
  {choice_column("order_type", "MKT", "LMT")},
  {decimal_column("limit_price", "", ">")},
  {choice_column("tif", "DAY", "GTD")},
  {time_column("good_till")},
  {
        choice_column(
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
  {decimal_column("filled_quantity", sign=">=")},
  {decimal_column("avg_fill_price", "", ">=")},
  ib_order_id INTEGER UNIQUE CHECK (ib_order_id > 0),
  {number_column("perm_id", 1, "")},
  {choice_column("reject_source", "ibloop", "broker", null="")},
  reject_code TEXT,
  reject_reason TEXT,
  {decimal_column("arrival_price", "", ">")},
  quote_seq INTEGER,
  quote_source TEXT,
  {time_column("quote_at", "")},
  {time_column("created_at")},
  {time_column("sent_at", "")},
  {time_column("updated_at")},
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
  {text_column("symbol")},
  {number_column("con_id", 0)},
  {choice_column("side", "BUY", "SELL")},
  {decimal_column("quantity", sign=">=")},
  {decimal_column("price")},
  {decimal_column("commission", "")},
  {decimal_column("realized_pnl", "")},
  commission_exec_id TEXT,
  {number_column("perm_id", 1, "")},
  {text_column("account")},
  {time_column("executed_at")},
  {time_column("recorded_at")}
) STRICT""",
    "CREATE INDEX trade_fills_by_order ON trade_fills (client_order_id)",
    "CREATE INDEX trade_fills_by_time ON trade_fills (executed_at)",
)

_BROKER_TRUTH = (
    f"""CREATE TABLE positions (
  symbol TEXT PRIMARY KEY CHECK (symbol <> ''),
  {number_column("con_id", 0)},
  {decimal_column("quantity")},
  {decimal_column("avg_cost")},
  {time_column("as_of")}
) STRICT""",
    f"""CREATE TABLE positions_seen (
  seen_id INTEGER PRIMARY KEY CHECK (seen_id = 1),
  {time_column("as_of")}
) STRICT""",
    f"""CREATE TABLE account_values (
  name TEXT PRIMARY KEY CHECK (name <> ''),
  {decimal_column("value")},
  {text_column("currency")},
  {time_column("as_of")},
  {time_column("recorded_at")}
) STRICT""",
    f"""CREATE TABLE contracts (
  symbol TEXT PRIMARY KEY CHECK (symbol <> ''),
  con_id INTEGER NOT NULL UNIQUE CHECK (con_id > 0),
  primary_exchange TEXT NOT NULL,
  {text_column("currency")},
  {decimal_column("min_tick", sign=">")},
  {time_column("resolved_at")}
) STRICT""",
)

_CONTROL = (
    f"""CREATE TABLE halts (
  halt_id INTEGER PRIMARY KEY,
  {choice_column("level", "pause", "reduce-only", "kill")},
  {text_column("reason")},
  {choice_column("source", "cli", "guard", "executor", "file", "web", "telegram")},
  {text_column("requested_by")},
  {time_column("created_at")},
  {time_column("cleared_at", "")},
  cleared_by TEXT,
  clear_reason TEXT,
  CHECK ((cleared_at IS NULL) = (cleared_by IS NULL)),
  CHECK ((cleared_at IS NULL) = (clear_reason IS NULL))
) STRICT""",
    "CREATE INDEX halts_active ON halts (halt_id) WHERE cleared_at IS NULL",
    f"""CREATE TABLE commands (
  command_id INTEGER PRIMARY KEY,
  {text_column("kind")},
  {json_column("args")},
  {text_column("requested_by")},
  {time_column("created_at")},
  {choice_column("status", "queued", "done", "refused", "failed")},
  result TEXT,
  {time_column("done_at", "")},
  CHECK ((status = 'queued') = (done_at IS NULL)),
  CHECK ((result IS NULL) = (done_at IS NULL))
) STRICT""",
    "CREATE INDEX commands_queued ON commands (command_id) WHERE status = 'queued'",
    f"""CREATE TABLE trade_guard_state (
  evaluation_id INTEGER PRIMARY KEY,
  trade_date TEXT NOT NULL CHECK (trade_date GLOB '{TIME_GLOB[: TIME_GLOB.index("T")]}'),
  {time_column("evaluated_at")},
  {choice_column("status", "ok", "warn", "reduce_only", "kill", "degraded")},
  {decimal_column("equity", "")},
  equity_source TEXT NOT NULL,
  {decimal_column("baseline_equity", "")},
  {time_column("baseline_at", "")},
  {decimal_column("peak_equity", "")},
  {decimal_column("day_loss", "")},
  {decimal_column("drawdown", "")},
  {json_column("detail")}
) STRICT""",
    f"""CREATE TABLE alerts (
  alert_id INTEGER PRIMARY KEY,
  {time_column("created_at")},
  {choice_column("severity", "info", "warning", "critical")},
  {text_column("event")},
  subject TEXT NOT NULL,
  {text_column("text")},
  dedup_key TEXT UNIQUE CHECK (dedup_key <> ''),
  {number_column("attempts", 0)},
  {time_column("next_try_at", "")},
  {time_column("delivered_at", "")},
  {time_column("dead_at", "")},
  last_error TEXT,
  CHECK (delivered_at IS NULL OR dead_at IS NULL)
) STRICT""",
    "CREATE INDEX alerts_undelivered ON alerts (alert_id) WHERE delivered_at IS NULL",
    f"""CREATE TABLE arming (
  arming_id INTEGER PRIMARY KEY,
  {text_column("account")},
  {text_column("armed_by")},
  {time_column("armed_at")},
  {time_column("expires_at")},
  {number_column("expires_boottime_ns", 0)},
  boot_id TEXT NOT NULL CHECK (length(boot_id) = 32 AND boot_id NOT GLOB '*[^0-9a-f]*'),
  {text_column("config_hash")},
  {text_column("build")},
  {decimal_column("order_value_usd_max", sign=">")},
  {number_column("runs_left", 0)},
  {time_column("disarmed_at", "")}
) STRICT""",
)

_APPEND_ONLY = "rows are never changed"
_KEPT = "rows are never deleted"
_FOREIGN = "of another account than the ledger''s"

_TRIGGERS = (
    *(refusal("UPDATE", table, _APPEND_ONLY) for table in ("decision_snapshots", "audit_log")),
    *(
        refusal("DELETE", table, _KEPT)
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
    refusal("UPDATE OF mode, account, created_at", "ledger_identity", "bound at creation"),
    refusal(
        "UPDATE OF level, reason, source, requested_by, created_at",
        "halts",
        "a halt is cleared, never rewritten",
    ),
    refusal(
        "INSERT",
        "trade_runs",
        _FOREIGN,
        "NOT EXISTS (SELECT 1 FROM ledger_identity"
        " WHERE account = NEW.account AND mode = NEW.mode)",
    ),
    *(
        refusal(
            "INSERT",
            table,
            _FOREIGN,
            "NOT EXISTS (SELECT 1 FROM ledger_identity WHERE account = NEW.account)",
        )
        for table in ("trade_fills", "arming")
    ),
)

STATEMENTS: tuple[str, ...] = (
    *_ORIGIN,
    *_DECISIONS,
    *_ORDERS,
    *_BROKER_TRUTH,
    *_CONTROL,
    *_TRIGGERS,
)

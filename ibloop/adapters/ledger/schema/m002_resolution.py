"""What the broker said of an order, what evidence last meant, and what a person has accepted."""

from ibloop.adapters.ledger.schema.ddl import (
    choice_column,
    json_column,
    number_column,
    refusal,
    text_column,
    time_column,
)

STATEMENTS: tuple[str, ...] = (
    # The last error callback that named the order: a hint, which must outlive a crash.
    "ALTER TABLE trade_orders ADD COLUMN refusal_code INTEGER",
    "ALTER TABLE trade_orders ADD COLUMN refusal_text TEXT",
    # What the last evidence meant, in a sentence for the person who has to decide.
    "ALTER TABLE trade_orders ADD COLUMN judgement TEXT",
    f"ALTER TABLE trade_orders ADD COLUMN {time_column('judged_at', '')}",
    f"""CREATE TABLE acceptances (
  acceptance_id INTEGER PRIMARY KEY,
  {choice_column("kind", "restore", "reference", "over_fill", "positions")},
  {text_column("subject")},
  {time_column("accepted_at")},
  {text_column("accepted_by")},
  {text_column("reason")},
  {json_column("content")}
) STRICT""",
    # A retried run forgets its baseline; what was held then still has to be explained.
    f"""CREATE TABLE baselines (
  run_id TEXT NOT NULL REFERENCES trade_runs (run_id),
  {number_column("attempt", 0)},
  {time_column("taken_at")},
  PRIMARY KEY (run_id, attempt)
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX baselines_by_time ON baselines (taken_at)",
    """INSERT INTO baselines (run_id, attempt, taken_at)
  SELECT run_id, attempt, baseline_at FROM trade_runs WHERE baseline_at IS NOT NULL""",
    "CREATE INDEX acceptances_by_kind ON acceptances (kind, subject)",
    "CREATE INDEX audit_log_by_subject ON audit_log (subject, seq)",
    # What is asked with every order must cost the same however much has gone before.
    "CREATE INDEX audit_log_corrections ON audit_log (at) WHERE event = 'fill.corrected'",
    "CREATE INDEX trade_runs_by_key ON trade_runs (run_key)",
    "CREATE INDEX trade_fills_by_recording ON trade_fills (recorded_at)",
    # As floating point for the index only: who asks compares the decimals.
    """CREATE INDEX trade_orders_over_filled ON trade_orders (sent_at, ib_order_id)
  WHERE CAST(filled_quantity AS REAL) > CAST(quantity AS REAL)""",
    """CREATE INDEX trade_orders_denied_filled ON trade_orders (client_order_id)
  WHERE reject_source = 'ibloop' AND filled_quantity <> '0'""",
    # 1 once its order was known as sent, which does not change back; 0 is looked up.
    """ALTER TABLE trade_fills ADD COLUMN
  order_was_sent INTEGER NOT NULL DEFAULT 0 CHECK (order_was_sent IN (0, 1))""",
    "CREATE INDEX trade_fills_unsent ON trade_fills (order_ref) WHERE order_was_sent = 0",
    refusal("UPDATE", "acceptances", "rows are never changed"),
    refusal("DELETE", "acceptances", "rows are never deleted"),
)

"""What every check said of every plan and order, and the figures and limits it was asked under."""

from ibloop.adapters.ledger.schema.ddl import (
    choice_column,
    decimal_column,
    json_column,
    number_column,
    refusal,
    time_column,
)

STATEMENTS: tuple[str, ...] = (
    # One row a run attempt: the limits in force and the broker's figures that no plan line holds.
    f"""CREATE TABLE run_risk (
  run_id TEXT NOT NULL REFERENCES trade_runs (run_id),
  {number_column("attempt", 0)},
  {time_column("at")},
  {json_column("limits")},
  {decimal_column("settled_cash_usd", "")},
  {number_column("day_trades_left", -1, "")},
  {decimal_column("unvalued_usd", sign=">=")},
  PRIMARY KEY (run_id, attempt)
) STRICT, WITHOUT ROWID""",
    # One row a plan and one a send, not one a check: a send pays for it.
    f"""CREATE TABLE risk_verdicts (
  verdict_id INTEGER PRIMARY KEY,
  run_id TEXT NOT NULL REFERENCES trade_runs (run_id),
  {number_column("attempt", 0)},
  {choice_column("moment", "order", "plan", "send")},
  client_order_id TEXT,
  {time_column("at")},
  passed INTEGER NOT NULL CHECK (passed IN (0, 1)),
  {json_column("verdicts")},
  CHECK ((client_order_id IS NULL) = (moment = 'plan'))
) STRICT""",
    "CREATE INDEX risk_verdicts_by_run ON risk_verdicts (run_id, attempt)",
    refusal("UPDATE", "risk_verdicts", "rows are never changed"),
    refusal("DELETE", "risk_verdicts", "rows are never deleted"),
)

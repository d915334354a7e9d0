"""Who has said that they have read an alert, and when: nobody has to be told of it any more."""

from ibloop.adapters.ledger.schema.ddl import refusal, time_column

STATEMENTS: tuple[str, ...] = (
    f"ALTER TABLE alerts ADD COLUMN {time_column('acknowledged_at', '')}",
    """ALTER TABLE alerts ADD COLUMN acknowledged_by TEXT CHECK (
  acknowledged_by <> '' AND (acknowledged_at IS NULL) = (acknowledged_by IS NULL))""",
    # Of those that a person has read nothing is asked any more, not by a run's gates either.
    "DROP INDEX alerts_undelivered",
    """CREATE INDEX alerts_undelivered ON alerts (alert_id)
  WHERE delivered_at IS NULL AND acknowledged_at IS NULL""",
    refusal(
        "UPDATE OF acknowledged_at, acknowledged_by",
        "alerts",
        "an acknowledgement is never changed",
        "OLD.acknowledged_at IS NOT NULL",
    ),
)

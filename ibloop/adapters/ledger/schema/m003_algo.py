"""How the broker works an order, and a way to find the orders that people have cancelled."""

from ibloop.adapters.ledger.schema.ddl import choice_column

_ALGO = choice_column("algo", "adaptive_urgent", "adaptive_normal", "adaptive_patient", null="")

STATEMENTS: tuple[str, ...] = (
    f"ALTER TABLE trade_orders ADD COLUMN {_ALGO}",
    "CREATE INDEX commands_by_kind ON commands (kind, command_id)",
)

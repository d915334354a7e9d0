"""The pieces that table definitions are made of: columns with their forms, and refusals."""

TIME_GLOB = (
    "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z"
)


def time_column(name: str, null: str = "NOT NULL") -> str:
    """Return a column for ``values.time_text``."""
    return f"{name} TEXT {null} CHECK ({name} GLOB '{TIME_GLOB}')"


def decimal_column(name: str, null: str = "NOT NULL", sign: str = "") -> str:
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


def choice_column(name: str, *values: str, null: str = "NOT NULL") -> str:
    """Return a column for one of ``values``."""
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{name} TEXT {null} CHECK ({name} IN ({listed}))"


def json_column(name: str) -> str:
    """Return a column for ``values.json_text``."""
    return f"{name} TEXT NOT NULL CHECK (json_valid({name}))"


def text_column(name: str) -> str:
    """Return a column for a text that says something."""
    return f"{name} TEXT NOT NULL CHECK ({name} <> '')"


def number_column(name: str, least: int, null: str = "NOT NULL") -> str:
    """Return a column for an integer of at least ``least``."""
    return f"{name} INTEGER {null} CHECK ({name} >= {least})"


def refusal(event: str, table: str, why: str, when: str = "") -> str:
    """Return a trigger that refuses ``event`` (DELETE, UPDATE, UPDATE OF ..., INSERT)."""
    name = f"{table}_{event.split(maxsplit=1)[0].lower()}"
    condition = f" WHEN {when}" if when else ""
    return (
        f"CREATE TRIGGER {name} BEFORE {event} ON {table}{condition} "
        f"BEGIN SELECT RAISE(ABORT, '{table}: {why}'); END"
    )

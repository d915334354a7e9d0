"""The guard's copy of executions: what was pushed and what an answer says are made one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ibloop.adapters.ib.executions import ExecutionCopy
from ibloop.core.dropcopy import Seen
from ibloop.core.model import Execution, Moment, Side

D = Decimal
NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
ASKED = Moment(NOW, 10**12, "a" * 32)


def seen(exec_id: str, minutes_ago: float = 5, **changes: object) -> Seen:
    """Return an execution."""
    at = NOW - timedelta(minutes=minutes_ago)
    made = Execution(exec_id, "DU1", "ref", 1, "AAA", 1, Side.BUY, D(10), D(50), at)
    return Seen(replace(made, **changes), 11, False)  # type: ignore[arg-type]


def bases(copy: ExecutionCopy) -> set[str]:
    """Return what the copy shows."""
    return set(copy.all())


def test_an_answer_replaces_what_was_known_but_for_the_youngest() -> None:
    """Yesterday's go; one that was pushed while the question was under way stays."""
    copy = ExecutionCopy("DU1")
    for one in (seen("old.1.01", 24 * 60), seen("today.1.01"), seen("new.1.01", 0.1)):
        assert copy.take(one)
    assert copy.complete_at is None
    copy.answered([seen("today.1.01"), seen("missed.1.01", 9)], ASKED)
    assert bases(copy) == {"today.1", "missed.1", "new.1"}
    assert copy.complete_at == ASKED


def test_the_highest_revision_counts_whatever_comes_first() -> None:
    """A bust that was told before the original, and an answer that shows both."""
    copy = ExecutionCopy("DU1")
    copy.take(seen("e.1.02", quantity=D(0)))
    copy.take(seen("e.1.01"))
    assert copy.all()["e.1"].execution.quantity == 0
    copy.answered([seen("e.1.02", quantity=D(0)), seen("e.1.01")], ASKED)
    assert copy.all()["e.1"].execution.exec_id == "e.1.02"


def test_another_account_s_executions_are_not_ours() -> None:
    """A login may see several."""
    copy = ExecutionCopy("DU1")
    assert not copy.take(seen("e.1.01", account="DU2"))
    copy.answered([seen("f.1.01", account="DU2")], ASKED)
    assert bases(copy) == set()

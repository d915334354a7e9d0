"""Faults of callbacks: the sequence a client sees; the truth is the same in all of them."""

import pytest

from tests.sim.stand import EXECUTIONS, FILLED, RESTING, Messages, Stand


def test_ack_dropped(stand: Stand) -> None:
    """Silence about a worked order, until a client asks; then callbacks flow again."""
    stand.fault("ack_dropped")
    assert stand.place(1, **RESTING) == []
    assert stand.place(2, **RESTING) == ["Submitted"]
    assert stand.ask(5, 1) == ["Submitted", "Submitted", "53"]
    assert stand.active() == []
    assert stand.ask(4, 1, 1, "") == ["Cancelled", "error 202"]


def test_ack_dropped_hides_fills_until_executions_are_asked(stand: Stand) -> None:
    """The fill happened all the same."""
    stand.fault("ack_dropped")
    assert stand.place(1) == []
    assert stand.ask(*EXECUTIONS) == ["exec", "commission", "55"]


def test_ack_late_keeps_the_sequence(stand: Stand) -> None:
    """Nothing before the delay, everything in order after it."""
    stand.fault("ack_late:delay_s=2")
    assert stand.place(1) == []
    assert stand.wait(1.9) == []
    assert stand.wait(0.2) == FILLED
    assert stand.place(2) == FILLED


def test_callbacks_duplicated(stand: Stand) -> None:
    """Each callback twice, with the same execution id: one fill in truth."""
    stand.fault("callbacks_duplicated")
    assert stand.place(1) == [word for word in FILLED for _ in range(2)]
    assert len(stand.truth("executions")) == 1


def test_callbacks_reordered(stand: Stand) -> None:
    """The same messages in another sequence, the same one for the same seed."""
    stand.fault("callbacks_reordered:spread_s=1,seed=3")
    stand.place(1)
    told = stand.wait(0)
    for _ in range(20):
        told += stand.wait(0.05)
    assert sorted(told) == sorted(FILLED)
    assert told != FILLED
    assert stand.order()["status"] == "Filled"


def test_callbacks_late(stand: Stand) -> None:
    """Only the kind that was named."""
    stand.fault("callbacks_late:kind=execDetails,delay_s=2")
    assert stand.place(1) == ["PreSubmitted", "Filled", "Filled", "commission"]
    assert stand.wait(2) == ["exec"]
    stand.gateway.clear_faults()
    stand.fault("callbacks_late:kind=all,delay_s=2")
    assert stand.place(2) == []
    assert stand.wait(2) == FILLED


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        ("openOrder", ["3", "11", "3", "3", "59"]),
        ("orderStatus", ["5", "11", "5", "5", "59"]),
        ("execDetails", ["5", "3", "5", "3", "5", "3", "59"]),
        ("commissionReport", ["5", "3", "11", "5", "3", "5", "3"]),
        ("all", []),
    ],
)
def test_callbacks_missing(stand: Stand, kind: str, ids: list[str]) -> None:
    """Only the kind that was named is missing, and an answer to a question is not."""
    stand.fault(f"callbacks_missing:kind={kind}")
    stand.client.send(*_placed(1))
    stand.client.line.take()
    messages = stand.client.send(*_placed(2))
    assert [fields[0] for fields in messages] == ids
    assert stand.ask(*EXECUTIONS) == ["exec", "commission"] * 2 + ["55"]


def _placed(order_id: int) -> tuple[object, ...]:
    from tests.sim.layouts import place_order  # noqa: PLC0415 - only here

    return place_order(order_id)


def test_execution_before_status(stand: Stand) -> None:
    """The execution comes before even the first status."""
    stand.fault("execution_before_status:delay_s=1")
    assert stand.place(1) == ["exec", "commission"]
    assert stand.wait(1) == ["PreSubmitted", "Filled", "Filled"]


def test_status_before_execution(stand: Stand) -> None:
    """Filled is said before any execution is known."""
    stand.fault("status_before_execution:delay_s=1")
    assert stand.place(1) == ["PreSubmitted", "Filled"]
    assert stand.wait(1) == ["exec", "Filled", "commission"]


def test_filled_without_status(stand: Stand) -> None:
    """Only the execution and its commission tell of the fill."""
    stand.fault("filled_without_status")
    assert stand.place(1) == ["PreSubmitted", "exec", "commission"]
    assert stand.order()["status"] == "Filled"


def test_commission_late(stand: Stand) -> None:
    """The report is late, the cash is charged at once."""
    stand.fault("commission_late:delay_s=3")
    assert stand.place(1) == ["PreSubmitted", "exec", "Filled"]
    (execution,) = stand.truth("executions")
    spent = 100_000 - stand.truth("accounts")["DU1234567"]["cash"]
    assert spent == pytest.approx(execution["price"] * 50 + 1.0)
    assert stand.wait(3) == ["Filled", "commission"]


@pytest.mark.parametrize(("asked_too", "told"), [("false", ["commission"]), ("true", [])])
def test_commission_never(stand: Stand, asked_too: str, told: list[str]) -> None:
    """Not by itself, and if wanted not in answers either."""
    stand.fault(f"commission_never:asked_too={asked_too}")
    assert stand.place(1) == ["PreSubmitted", "exec", "Filled"]
    assert stand.ask(*EXECUTIONS) == ["exec", *told, "55"]


def test_commission_first(stand: Stand) -> None:
    """The report comes before the execution it belongs to."""
    stand.fault("commission_first:delay_s=1")
    assert stand.place(1) == ["PreSubmitted", "Filled", "Filled", "commission"]
    assert stand.wait(1) == ["exec"]


def test_commission_pending(stand: Stand) -> None:
    """-1.0 first, with realized profit unset, then the true amount."""

    def amounts(messages: Messages) -> list[str]:
        return [fields[3] for fields in messages if fields[0] == "59"]

    stand.fault("commission_pending:delay_s=1")
    assert amounts(stand.client.send(*_placed(1))) == ["-1.0"]
    assert amounts(stand.heard(1)) == ["1.0"]


def test_unsolicited_completed(stand: Stand) -> None:
    """completedOrder once for each order that ends."""
    stand.fault("unsolicited_completed")
    assert stand.place(1) == [*FILLED, "101"]
    stand.place(2, **RESTING)
    assert stand.ask(4, 1, 2, "") == ["Cancelled", "error 202", "101"]

"""Faults of placing, changing and cancelling: what the client sees, and what is true."""

from collections.abc import Callable
from typing import Any

import pytest

from ibloop.sim.service.gateway import Gateway
from ibloop.sim.state import StateFile
from ibloop.sim.world import World
from tests.sim.stand import EXECUTIONS, FILLED, RESTING, Stand


def test_place_swallowed(stand: Stand) -> None:
    """The order does not exist, its frame was received, and the fault ends by itself."""
    stand.fault("place_swallowed:symbol=AAPL,times=1")
    assert stand.place(1, conId=8314) == FILLED
    assert stand.place(2) == []
    assert len(stand.truth("orders")) == 1
    assert [frame["orderId"] for frame in stand.truth("frames")] == [1, 2]
    assert stand.place(3) == FILLED
    assert stand.active() == []


def test_faults_strike_only_whom_they_name(stand: Stand) -> None:
    """By client, by symbol, every n-th time and no more than so often."""
    other = stand.connect(stand.gateway, 2)
    stand.fault("place_swallowed:client_id=2,every_n=2,times=2")
    assert [bool(stand.place(number, other)) for number in range(1, 7)] == [
        *(True, False, True, False),
        *(True, True),
    ]
    assert stand.place(1) == FILLED


def test_chance_is_seeded(stand: Stand) -> None:
    """The same seed strikes the same orders, another seed others."""

    def struck(seed: int, first: int) -> list[bool]:
        number = stand.fault(f"place_swallowed:times=0,probability=0.5,seed={seed}")
        found = [not stand.place(first + n, **RESTING, totalQuantity=1) for n in range(20)]
        stand.gateway.clear_fault(number)
        return found

    first = struck(1, 100)
    assert first == struck(1, 200)
    assert first != struck(2, 300)
    assert 0 < sum(first) < 20


def test_place_late(stand: Stand) -> None:
    """Nothing for a while, then the order goes live, however late."""
    stand.fault("place_late:delay_s=3")
    assert stand.place(1) == []
    assert stand.truth("orders") == []
    assert stand.wait(3) == FILLED


def test_order_rejected(stand: Stand) -> None:
    """The error comes first, then Inactive; twice, then no more."""
    stand.fault("order_rejected:times=2,code=203,text=no permission")
    assert stand.place(1) == ["error 203", "Inactive"]
    assert stand.place(2) == ["error 203", "Inactive"]
    assert stand.place(3) == FILLED
    assert stand.order(1)["status"] == "Inactive"


@pytest.mark.parametrize(
    ("status", "told"),
    [("before", ["Inactive", "error 201"]), ("never", ["error 201"])],
)
def test_order_rejected_in_another_sequence(stand: Stand, status: str, told: list[str]) -> None:
    """Status first, or no status at all as with 110."""
    stand.fault(f"order_rejected:status={status}")
    assert stand.place(1) == told
    assert stand.place(2) == FILLED


@pytest.mark.parametrize("code", [110, 201, 203, 321, 399, 404, 2109, 10311])
def test_error_on_order_that_lives(stand: Stand, code: int) -> None:
    """The error carries the order's id and IB's text; the order is as alive as ever."""
    stand.fault(f"error_on_order:code={code}")
    assert stand.place(1, **RESTING) == ["Submitted", f"error {code}"]
    assert stand.order()["status"] == "Submitted"
    assert stand.ask(5, 1) == ["Submitted", "53"]
    assert stand.ask(4, 1, 1, "") == ["Cancelled", "error 202"]


def test_error_on_order_before_its_status_or_later(stand: Stand) -> None:
    """Before the first status, or some seconds after it."""
    stand.fault("error_on_order:status=after,code=201")
    assert stand.place(1, **RESTING) == ["error 201", "Submitted"]
    stand.fault("error_on_order:delay_s=2,code=201")
    assert stand.place(2, **RESTING) == ["Submitted"]
    assert stand.wait(2) == ["error 201"]


def test_tif_preset(stand: Stand) -> None:
    """10349 on a live order, which is a DAY order from now on; DAY orders are left alone."""
    stand.fault("tif_preset")
    assert stand.place(1, **RESTING, tif="GTC") == ["error 10349", "Submitted"]
    assert stand.order()["tif"] == "DAY"
    assert stand.place(2, **RESTING) == ["Submitted"]


def test_cancel_swallowed(stand: Stand) -> None:
    """No answer, and the order lives; its frame was received."""
    stand.place(1, **RESTING)
    stand.fault("cancel_swallowed:symbol=AAPL")
    assert stand.ask(4, 1, 1, "") == []
    assert stand.order()["status"] == "Submitted"
    assert stand.truth("frames")[-1]["kind"] == "cancelOrder"
    assert stand.ask(4, 1, 1, "") == ["Cancelled", "error 202"]


def test_cancel_late(stand: Stand) -> None:
    """The order may fill before its cancel is processed: then that fails."""
    stand.place(1, **RESTING)
    stand.fault("cancel_late:delay_s=5")
    assert stand.ask(4, 1, 1, "") == []
    stand.price("89", "90")
    assert stand.order()["status"] == "Filled"
    assert stand.wait(5) == ["error 10148"]


def test_cancel_rejected(stand: Stand) -> None:
    """10147 or 10148 although the order lives."""
    stand.place(1, **RESTING)
    stand.fault("cancel_rejected:times=1")
    stand.fault("cancel_rejected:code=10148")
    assert stand.ask(4, 1, 1, "") == ["error 10147"]
    assert stand.ask(4, 1, 1, "") == ["error 10148"]
    assert stand.order()["status"] == "Submitted"
    assert stand.ask(4, 1, 1, "") == ["Cancelled", "error 202"]


def test_fill_after_cancel(stand: Stand) -> None:
    """Cancelled is confirmed, then execDetails arrives: the fill is what counts."""
    stand.place(1, **RESTING)
    stand.fault("fill_after_cancel:delay_s=1")
    assert stand.ask(4, 1, 1, "") == ["Cancelled", "error 202"]
    assert stand.truth("executions") == []
    assert stand.wait(1) == ["exec", "Filled", "Filled", "commission"]
    assert (stand.order()["filled"], stand.order()["status"]) == (50, "Filled")
    (position,) = stand.truth("positions")
    assert position["quantity"] == 50


def test_a_partial_fill_after_cancel(stand: Stand) -> None:
    """Some shares fill, the rest is cancelled after all."""
    stand.place(1, **RESTING)
    stand.fault("fill_after_cancel:delay_s=1,shares=20")
    stand.ask(4, 1, 1, "")
    assert stand.wait(1)[0] == "exec"
    assert (stand.order()["filled"], stand.order()["status"]) == (20, "Cancelled")


def test_inactive_revives(stand: Stand) -> None:
    """Inactive with 404 at first, no fill while it is held, then as any order."""
    stand.fault("inactive_revives:delay_s=2")
    assert stand.place(1) == ["error 404", "Inactive"]
    stand.tick()
    assert stand.truth("executions") == []
    assert stand.order()["status"] == "Inactive"
    assert stand.wait(2) == FILLED
    assert stand.active() == []


def test_an_inactive_order_can_be_cancelled(stand: Stand) -> None:
    """It lives; once cancelled it does not revive."""
    stand.fault("inactive_revives:delay_s=2,code=0")
    assert stand.place(1, **RESTING) == ["Inactive"]
    assert stand.ask(5, 1) == ["Inactive", "53"]
    assert stand.ask(4, 1, 1, "") == ["Cancelled", "error 202"]
    assert stand.wait(2) == []


def test_clearing_revives_at_once(stand: Stand) -> None:
    """A cleared fault holds nothing back."""
    stand.fault("inactive_revives:delay_s=60")
    stand.place(1)
    stand.gateway.clear_faults()
    assert stand.heard()[-1][0] == "59"
    assert stand.order()["status"] == "Filled"


def test_perm_id_changed_after_modify(stand: Stand) -> None:
    """The order shows up under another permId; the one it had has ended."""
    stand.place(1, **RESTING)
    former = stand.order()["permId"]
    stand.fault("perm_id_changed")
    assert stand.place(1, orderType="LMT", lmtPrice="91") == ["Submitted"] * 3
    latest = stand.order()
    assert latest["permId"] != former
    assert (latest["lmtPrice"], latest["status"]) == (91, "Submitted")
    assert stand.truth("orders")[0]["status"] == "Cancelled"
    assert stand.ask(5, 1) == ["Submitted", "53"]


def test_perm_id_duplicated_after_modify(stand: Stand) -> None:
    """Two live orders under one order id: both fill."""
    stand.place(1, **RESTING)
    stand.fault("perm_id_changed:former=lives")
    stand.place(1, orderType="LMT", lmtPrice="91")
    assert stand.ask(16, 1) == ["Submitted", "Submitted", "53"]
    assert len({row["permId"] for row in stand.truth("orders")}) == 2
    stand.price("89", "90")
    (position,) = stand.truth("positions")
    assert position["quantity"] == 100


def test_partial_fills(stand: Stand) -> None:
    """One slice, then the next when its time has come, until all 50 shares are there."""
    stand.fault("partial_fills:shares=20,interval_s=1")
    assert stand.place(1).count("exec") == 1
    assert stand.tick() == []
    fills = []
    for _ in range(8):
        fills += [
            fields[18:20] for fields in [*stand.heard(0.75), *stand.tick()] if fields[0] == "11"
        ]
    assert [shares for _, shares in fills] == ["20", "10"]
    assert (stand.order()["filled"], stand.order()["status"]) == (50, "Filled")


def test_read_only(stand: Stand) -> None:
    """321 with the order's id for orders, with -1 for questions; nothing is placed."""
    stand.fault("read_only")
    (error,) = stand.client.send(5, 1)
    assert error[2:4] == ("-1", "321")
    assert stand.place(7) == ["error 321"]
    assert "Read-Only" in error[4]
    assert stand.truth("orders") == []
    assert stand.ask(*EXECUTIONS) == ["55"]
    assert stand.ask(61, 1) == ["62"]


def test_a_swallowed_order_is_on_record_after_a_crash(
    make_world: Callable[..., World],
    clock: Any,
    connect: Callable[..., Any],
    state_file: Callable[[], StateFile],
) -> None:
    """It was received, whatever became of it."""
    journal = state_file()
    stand = Stand(Gateway(make_world(journal)), clock, connect)
    stand.fault("place_swallowed")
    stand.place(1)
    journal.close()
    assert [frame.order_id for frame in make_world(state_file()).frames] == [1]

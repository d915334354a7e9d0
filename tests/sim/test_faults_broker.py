"""What happens at the broker without the client: positions, corrections, symbols."""

from collections.abc import Callable
from typing import Any

import pytest

from ibloop.sim import faults
from ibloop.sim.model import SimError
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.state import StateFile
from ibloop.sim.world import World
from tests.sim.stand import EXECUTIONS, FILLED, RESTING, Stand, kinds


def held(stand: Stand) -> dict[str, float]:
    """Return positions by symbol."""
    return {row["symbol"]: row["quantity"] for row in stand.truth("positions")}


def test_external_order(stand: Stand) -> None:
    """Client 0 sees an order without id and reference; everybody sees the position."""
    zero = stand.connect(stand.gateway, 0)
    stand.ask(61, 1)
    stand.fault("external_order:symbol=AAPL,shares=7")
    messages = zero.line.take()
    assert kinds(messages) == FILLED
    opened = next(fields for fields in messages if fields[0] == "5")
    assert (opened[1], opened[23], opened[24]) == ("0", "", "0")
    assert kinds(stand.heard()) == ["61"]
    assert held(stand) == {"AAPL": 7}
    (order,) = stand.truth("orders")
    assert (order["orderId"], order["clientId"], order["orderRef"]) == (0, 0, "")


def test_external_orders_rest_and_repeat(stand: Stand) -> None:
    """A limit order waits for its price; another one comes later; ids may be negative."""
    stand.fault("external_order:price=90,times=2,every_s=5,bound=true")
    assert stand.ask(16, 1) == ["Submitted", "53"]
    stand.wait(5)
    messages = stand.client.send(16, 1)
    assert [fields[1] for fields in messages if fields[0] == "5"] == ["-1", "-2"]
    stand.price("89", "90")
    assert held(stand) == {"AAPL": 20}
    assert stand.active() == []


def test_external_fill(stand: Stand) -> None:
    """An execution and a position at the price that was told, and no order to see."""
    master = stand.connect(stand.gateway, 10)
    stand.fault("external_fill:shares=5,price=123.45")
    assert kinds(master.line.take()) == ["exec", "commission"]
    (execution,) = stand.truth("executions")
    assert (execution["price"], execution["clientId"]) == (123.45, 0)
    assert stand.ask(*EXECUTIONS) == ["55"]


def test_liquidation(stand: Stand) -> None:
    """The broker sells: client id 0, no orderRef, execDetails with liquidation 1."""
    master = stand.connect(stand.gateway, 10)
    stand.place(1)
    master.line.take()
    stand.fault("liquidation:fraction=0.4")
    (execution,) = [fields for fields in master.line.take() if fields[0] == "11"]
    assert execution[18:24] == ("SLD", "20", *execution[20:22], "0", "1")
    assert held(stand) == {"AAPL": 30}
    stand.fault("liquidation")
    assert held(stand) == {}


@pytest.mark.parametrize(
    "text",
    [
        "liquidation",
        "external_order:symbol=NOPE",
        "external_order:account=DU9",
        "symbol_change:to=IBM",
        "stock_split:ratio=0",
        "external_fill:symbol=FB",
    ],
)
def test_what_cannot_happen_is_refused(stand: Stand, text: str) -> None:
    """Nothing to sell, nobody of that name: a sentence, and no fault in force."""
    with pytest.raises(SimError):
        stand.fault(text)
    assert stand.active() == []
    assert stand.place(1) == FILLED


def test_execution_corrected_in_price(stand: Stand) -> None:
    """The same id ending .02, with another price; cash and average cost follow."""
    stand.fault("execution_corrected:price_by=-0.5,delay_s=1")
    stand.place(1)
    (before,) = stand.truth("executions")
    cash = stand.truth("accounts")["DU1234567"]["cash"]
    messages = stand.heard(1)
    assert kinds(messages) == ["exec", "Filled", "commission"]
    (after,) = [row for row in stand.truth("executions") if row["execId"].endswith(".02")]
    assert after["execId"][:-2] == before["execId"][:-2]
    assert after["price"] == pytest.approx(before["price"] - 0.5)
    assert stand.truth("accounts")["DU1234567"]["cash"] == pytest.approx(cash + 25)
    assert stand.ask(*EXECUTIONS) == ["exec", "commission", "55"]


@pytest.mark.parametrize(("terms", "left"), [("shares_by=-20", {"AAPL": 30}), ("bust=true", {})])
def test_execution_corrected_in_shares(stand: Stand, terms: str, left: dict[str, int]) -> None:
    """Fewer shares, or none: the position follows."""
    stand.fault(f"execution_corrected:{terms},delay_s=0.5")
    stand.place(1)
    assert held(stand) == {"AAPL": 50}
    filled = left.get("AAPL", 0)
    messages = stand.heard(0.5)
    assert held(stand) == left
    # A complete order that no longer is has been cancelled: nothing of it works.
    assert kinds(messages) == ["exec", "Cancelled", "commission"]
    status = next(fields for fields in messages if fields[0] == "3")
    assert status[2:5] == ("Cancelled", str(filled), str(50 - filled))
    row = stand.order(1)
    assert (row["status"], row["filled"], row["remaining"]) == ("Cancelled", filled, 50 - filled)
    assert (row["avgFillPrice"] > 0) is bool(left)
    assert row["completedStatus"] == "Cancelled by System:"


def test_a_working_order_fills_again_what_a_correction_took(stand: Stand) -> None:
    """It stays Submitted, and in the end it is complete."""
    stand.fault("partial_fills:shares=20,interval_s=10")
    stand.fault("execution_corrected:shares_by=-5,times=1,delay_s=1")
    stand.place(1)
    assert stand.order(1)["filled"] == 20
    assert kinds(stand.heard(1)) == ["exec", "PreSubmitted", "commission"]
    assert (stand.order(1)["filled"], stand.order(1)["remaining"]) == (15, 35)
    for _ in range(3):
        stand.clock.advance(10)
        stand.tick()
    assert (stand.order(1)["status"], stand.order(1)["filled"]) == ("Filled", 50)
    assert held(stand) == {"AAPL": 50}


def test_children_work_on_when_their_parent_is_corrected(stand: Stand) -> None:
    """They were freed by its fill; a correction does not put them back to waiting."""
    stand.place(1, transmit=0)
    stand.fault("execution_corrected:shares_by=-10,delay_s=1")
    child = {"action": "SELL", "parentId": 1, "totalQuantity": 40}
    stand.place(2, orderType="LMT", lmtPrice="110", auxPrice="", **child)
    stand.tick()
    assert stand.order(2)["status"] == "Submitted"
    stand.wait(1)
    assert stand.order(1)["status"] == "Cancelled"
    moved = stand.place(2, orderType="LMT", lmtPrice="109", auxPrice="", **child)
    assert moved == ["Submitted", "Submitted"]
    stand.price("110", "111")
    assert stand.order(2)["status"] == "Filled"
    assert held(stand) == {}


def test_a_correction_cannot_make_an_execution_grow(stand: Stand) -> None:
    """An order cannot have got more than it asked for: refused at once, with the range."""
    with pytest.raises(SimError, match="shares_by"):
        stand.fault("execution_corrected:shares_by=5")
    assert stand.active() == []


def test_symbol_change(stand: Stand) -> None:
    """Contract id, position and live orders go on under the new symbol."""
    stand.place(1)
    stand.place(2, **RESTING)
    stand.fault("symbol_change:symbol=AAPL,to=APLX")
    assert kinds(stand.client.line.take()) == ["Submitted"]
    assert held(stand) == {"APLX": 50}
    assert stand.place(3, symbol="APLX", conId=0) == FILLED
    assert stand.place(4, symbol="AAPL", conId=0) == ["error 200"]
    stand.fault("symbol_change:symbol=APLX,to=AAPL")


@pytest.mark.parametrize(("ratio", "shares", "price"), [("4", 200, 25), ("0.5", 25, 200)])
def test_stock_split(stand: Stand, ratio: str, shares: int, price: int) -> None:
    """More shares at a lower price, or the reverse: worth the same, and no execution."""
    stand.place(1)
    stand.place(2, **RESTING)
    before = stand.truth("accounts")["DU1234567"]["net_liquidation"]
    stand.fault(f"stock_split:symbol=AAPL,ratio={ratio}")
    assert kinds(stand.client.line.take()) == ["Cancelled", "error 202"]
    assert held(stand) == {"AAPL": shares}
    assert float(stand.gateway.world.price_of(265598)) == price
    after = stand.truth("accounts")["DU1234567"]["net_liquidation"]
    assert after == pytest.approx(before, abs=1)
    assert len(stand.truth("executions")) == 1
    master = stand.connect(stand.gateway, 10)
    assert kinds(master.send(*EXECUTIONS)) == ["exec", "commission", "55"]


def test_the_names_of_the_design_exist() -> None:
    """DESIGN promises them to users."""
    names = {item["name"] for item in faults.describe()}
    assert names >= {
        *("place_swallowed", "ack_dropped", "ack_late", "partial_fills", "callbacks_duplicated"),
        *("callbacks_reordered", "commission_late", "socket_reset", "freeze"),
    }


def test_interventions_survive_a_restart(
    make_world: Callable[..., World],
    clock: Any,
    connect: Callable[..., Any],
    state_file: Callable[[], StateFile],
) -> None:
    """Splits, corrections, liquidations and renumbered orders are remembered as they are."""
    journal = state_file()
    stand = Stand(Gateway(make_world(journal)), clock, connect)
    stand.fault("execution_corrected:shares_by=-10,delay_s=1")
    stand.place(1)
    stand.wait(1)
    stand.fault("stock_split:ratio=2")
    stand.fault("liquidation:fraction=0.25")
    stand.fault("external_order:price=20")
    stand.place(2, orderType="LMT", lmtPrice="30")
    stand.fault("perm_id_changed")
    stand.place(2, orderType="LMT", lmtPrice="31")
    stand.fault("symbol_change:to=APLX")
    before = {name: stand.truth(name) for name in ("accounts", "positions", "orders", "executions")}
    journal.close()
    again = Stand(Gateway(make_world(state_file())), clock, connect)
    assert {name: again.truth(name) for name in before} == before
    again.fault("symbol_change:symbol=APLX,to=AAPL")

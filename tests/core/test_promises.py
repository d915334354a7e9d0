"""Each broken promise is found in ledger and broker; a clean story breaks none."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ibloop.core.lifecycle import OrderState
from ibloop.core.model import BrokerOrder, Execution, Order, OrderType, Position, Side, Tif
from ibloop.core.promises import Broken, Fill, check, exec_base, position_breaks

D = Decimal
SENT = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
BUY, SELL = "ibl:2026W47:AAA:B:0", "ibl:2026W47:BBB:S:0"


def order(ref: str, quantity: int, filled: int, status: OrderState) -> Order:
    """Return an order of the ledger; symbol and side are read from its reference."""
    _, _, symbol, side, _ = ref.split(":")
    return Order(
        client_order_id=ref,
        run_id="r1",
        symbol=symbol,
        con_id=1,
        side=Side.BUY if side == "B" else Side.SELL,
        quantity=D(quantity),
        order_type=OrderType.LMT,
        limit_price=D(100),
        tif=Tif.GTD,
        good_till=SENT,
        status=status,
        filled_quantity=D(filled),
        ib_order_id=7,
        sent_at=SENT,
    )


def shown(ref: str, perm_id: int, account: str = "DU1") -> BrokerOrder:
    """Return an order as the broker shows it."""
    return BrokerOrder(ref, account, perm_id, 11, 7, "AAA", Side.BUY, D(10), "Filled", D(10))


def executed(
    exec_id: str, ref: str, quantity: int, side: Side = Side.BUY, perm_id: int = 501
) -> Execution:
    """Return an execution at the broker."""
    return Execution(exec_id, "DU1", ref, perm_id, "AAA", 1, side, D(quantity), D(100), SENT)


# The clean story: a buy filled in two parts, a sell canceled after a part, one foreign trade.
ORDERS = [order(BUY, 10, 10, OrderState.FILLED), order(SELL, 5, 2, OrderState.CANCELED)]
FILLS = [
    Fill("e1.01", BUY, "AAA", D(4)),
    Fill("e2.01", BUY, "AAA", D(6)),
    Fill("e3.01", SELL, "BBB", D(-2)),
    Fill("f1.01", None, "CCC", D(9)),
]
SHOWN = [shown(BUY, 501), shown(SELL, 502), shown("manual", 900), shown("", 901)]
EXECUTED = [
    executed("e1.01", BUY, 4),
    executed("e2.01", BUY, 6),
    executed("e3.01", SELL, 2, Side.SELL, 502),
    executed("f1.01", "manual", 9, perm_id=900),
]


def broken(
    orders: list[Order] = ORDERS,
    fills: list[Fill] = FILLS,
    at_broker: list[BrokerOrder] = SHOWN,
    executions: list[Execution] = EXECUTED,
) -> list[str]:
    """Return the ids of the broken promises."""
    return [b.promise for b in check(orders, fills, at_broker, executions, "DU1")]


def test_a_clean_story_breaks_nothing() -> None:
    """Fills in parts, a canceled rest and a manual trade are all in order."""
    assert broken() == []
    assert check([], [], [], [], "DU1") == ()


def test_the_broker_may_have_forgotten() -> None:
    """After midnight its queries are empty: what the ledger knows more is no fault."""
    assert broken(at_broker=[], executions=[]) == []


def test_two_orders_with_one_reference_break_p1() -> None:
    """Two permIds are two orders, whether a query of orders or of executions shows them."""
    found = check(ORDERS, FILLS, [*SHOWN, shown(BUY, 777)], EXECUTED, "DU1")
    assert found == (Broken("P1", f"{BUY} reached the broker as 2 orders: [501, 777]"),)
    second = [executed("e2.01", BUY, 6, perm_id=777)]
    assert broken(executions=second) == ["P1"]


def test_an_order_not_acknowledged_yet_is_the_same_order() -> None:
    """A permId of zero is no second order; foreign references may repeat."""
    assert broken(at_broker=[*SHOWN, shown(BUY, 0), shown("manual", 902)]) == []


def test_a_reference_the_ledger_lacks_breaks_p2() -> None:
    """An order or an execution of ours that was never written down."""
    assert broken(at_broker=[*SHOWN, shown("ibl:X:DDD:B:0", 600)]) == ["P2"]
    stray = executed("e9.01", "ibl:X:DDD:B:0", 1, perm_id=600)
    assert broken(
        executions=[*EXECUTED, stray], fills=[*FILLS, Fill("e9.01", None, "D", D(1))]
    ) == [*("P2", "P3")]


@pytest.mark.parametrize("status", [OrderState.PLANNED, OrderState.NOT_SENT])
def test_an_order_believed_unsent_at_the_broker_breaks_p2(status: OrderState) -> None:
    """What the ledger says never left must not be at the broker."""
    unsent = [order(BUY, 10, 0, status)]
    assert broken(unsent, [], [shown(BUY, 501)], []) == ["P2"]
    denied = [replace(order(BUY, 10, 0, OrderState.REJECTED), reject_source="ibloop")]
    assert broken(denied, [], [shown(BUY, 501)], []) == ["P2"]
    refused = [replace(order(BUY, 10, 0, OrderState.REJECTED), reject_source="broker")]
    assert broken(refused, [], [shown(BUY, 501)], []) == []


def test_fills_of_what_was_never_sent_break_p2_without_a_broker() -> None:
    """The ledger alone shows it: no journalled send, a refusal by us, or no such order."""
    whole = ORDERS[:1]
    for orders in ([replace(whole[0], sent_at=None)], [replace(whole[0], reject_source="ibloop")]):
        assert broken(orders, FILLS[:2], [], []) == ["P2"]
    assert broken(whole, FILLS[:3], [], []) == ["P2"]


@pytest.mark.parametrize(
    "fills",
    [
        [f for f in FILLS if f.exec_id != "f1.01"],
        [*FILLS, Fill("f1.02", None, "CCC", D(9))],
        [*FILLS[:3], Fill("f1.00", None, "CCC", D(9))],
        [*FILLS[:3], Fill("f1.01", None, "CCC", D(8))],
        [*FILLS[:3], Fill("f1.01", None, "CCC", D(-9))],
    ],
    ids=["missing", "twice", "older revision", "other quantity", "other side"],
)
def test_an_execution_not_recorded_exactly_once_breaks_p3(fills: list[Fill]) -> None:
    """Missing, doubled, outdated or different from what the broker executed."""
    assert broken(fills=fills) == ["P3"]


def test_a_newer_revision_in_the_ledger_is_no_fault() -> None:
    """A correction may have come after the broker was asked."""
    assert broken(fills=[*FILLS[:3], Fill("f1.02", None, "CCC", D(8))]) == []


def test_our_execution_recorded_for_nobody_breaks_p3() -> None:
    """A fill of ours must be found at its order."""
    part = [order(BUY, 10, 4, OrderState.PARTIALLY_FILLED)]
    fills = [Fill("e1.01", BUY, "AAA", D(4)), Fill("e2.01", None, "AAA", D(6))]
    found = check(part, fills, [], EXECUTED[:2], "DU1")
    assert found == (Broken("P3", f"execution e2.01: it is of {BUY}, recorded for None"),)


def test_an_order_that_disagrees_with_its_fills_breaks_p3() -> None:
    """The row's filled quantity is the sum of its fills, with their sign."""
    fewer = [order(BUY, 10, 9, OrderState.PARTIALLY_FILLED)]
    assert broken(fewer, [Fill("e1.01", BUY, "AAA", D(4))], [], []) == ["P3"]
    wrong_side = [Fill("e1.01", BUY, "AAA", D(-10))]
    assert broken(ORDERS[:1], wrong_side, [], []) == ["P3", "P5"]


@pytest.mark.parametrize(
    ("filled", "status", "found"),
    [
        (11, OrderState.FILLED, ["P5", "P5"]),
        (9, OrderState.FILLED, ["P5"]),
        (0, OrderState.FILLED, ["P5"]),
        (10, OrderState.NEW, ["P5"]),
        (10, OrderState.FILLED, []),
        (9, OrderState.CANCELED, []),
    ],
)
def test_over_fills_and_wrong_states_break_p5(
    filled: int, status: OrderState, found: list[str]
) -> None:
    """Never more than ordered; FILLED if and only if all of it was."""
    fills = [Fill("e1.01", BUY, "AAA", D(filled))] if filled else []
    assert broken([order(BUY, 10, filled, status)], fills, [], []) == found


def test_a_refused_order_of_no_size_breaks_nothing() -> None:
    """An order that could not be sized has quantity zero and was never sent."""
    unsized = replace(order(BUY, 0, 0, OrderState.REJECTED), sent_at=None, reject_source="ibloop")
    assert broken([unsized], [], [], []) == []


def test_another_account_breaks_p9() -> None:
    """Orders and executions of ours belong to the one account of this ledger."""
    assert broken(at_broker=[shown(BUY, 501, "DU2"), shown("manual", 5, "DU2")]) == ["P9"]
    strange = [replace(EXECUTED[0], account="DU2"), *EXECUTED[1:]]
    assert broken(executions=strange) == ["P9"]


def test_positions_follow_from_fills() -> None:
    """What was held plus what was filled is what is held: bought, sold, shorted, closed."""
    baseline = {"AAA": D(0), "BBB": D(5), "DDD": D(-3), "EEE": D(0)}
    fills = [*FILLS, Fill("g1.01", None, "DDD", D(3))]
    now = [
        Position("AAA", 1, D(10), D(1)),
        Position("BBB", 2, D(3), D(1)),
        Position("CCC", 3, D(9), D(1)),
    ]
    assert position_breaks(baseline, fills, now) == ()


@pytest.mark.parametrize(
    ("baseline", "now", "detail"),
    [
        ({"AAA": D(1)}, [], "AAA: 0 held, 11 expected"),
        ({}, [], "AAA: 0 held, 10 expected"),
        ({}, [("AAA", 9)], "AAA: 9 held, 10 expected"),
        ({}, [("AAA", -10)], "AAA: -10 held, 10 expected"),
        ({}, [("AAA", 10), ("ZZZ", 1)], "ZZZ: 1 held, 0 expected"),
    ],
)
def test_a_position_that_fills_do_not_explain_breaks_p4(
    baseline: dict[str, Decimal], now: list[tuple[str, int]], detail: str
) -> None:
    """Missing, different, short instead of long, or out of nowhere."""
    positions = [Position(symbol, 1, D(quantity), D(1)) for symbol, quantity in now]
    assert position_breaks(baseline, FILLS[:2], positions) == (Broken("P4", detail),)


def test_breaks_are_told_in_the_order_of_symbols() -> None:
    """The same state is always told in the same words."""
    symbols = ["EEE", "AAA", "DDD", "BBB", "CCC"]
    found = position_breaks(dict.fromkeys(symbols, D(1)), [], [])
    assert [b.detail[:3] for b in found] == sorted(symbols)
    refs = [f"ibl:K:{symbol}:B:0" for symbol in symbols]
    strays = check([], [], [shown(ref, 9, "DU2") for ref in refs], [], "DU1")
    assert [b.promise for b in strays] == ["P2"] * 5 + ["P9"] * 5
    assert list(strays[:5]) == sorted(strays[:5], key=lambda b: b.detail)
    assert list(strays[5:]) == sorted(strays[5:], key=lambda b: b.detail)


@pytest.mark.parametrize(
    ("exec_id", "base"),
    [("0000e0d5.64c1.01.01", "0000e0d5.64c1.01"), ("e1.02", "e1"), ("plain", "plain"), ("", "")],
)
def test_an_execution_is_the_same_under_all_its_corrections(exec_id: str, base: str) -> None:
    """The last dotted part counts corrections and is no identity."""
    assert exec_base(exec_id) == base

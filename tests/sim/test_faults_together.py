"""Faults as a whole: by name, by number, in combination, with documentation."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from ibloop.sim import faults
from ibloop.sim.control import Control
from ibloop.sim.model import SimError
from ibloop.sim.service.desk import GatewayOptions
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.world import World
from tests.sim.stand import EXECUTIONS, FILLED, MKT_DATA, RESTING, Stand, kinds

NAMES = sorted(item["name"] for item in faults.describe())

SEEDS = range(12)


def test_a_frozen_client_finds_no_heap_of_ticks(
    make_world: Callable[..., World], connect: Callable[..., Any], clock: Any
) -> None:
    """Market data is not queued for a client that reads nothing."""
    gateway = Gateway(make_world(speed=60.0), GatewayOptions(None))
    client = connect(gateway)
    client.send(1, 11, 7, 0, *MKT_DATA)
    gateway.add_fault(faults.parse("freeze:seconds=0"))
    for _ in range(20):
        clock.advance(1)
        gateway.tick()
    assert client.line.take() == []


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "freeze:depth=1",
        "freeze:seconds=soon",
        "freeze:seconds=-1",
        "freeze:seconds",
        "partial_fills:shares=1.5",
        "socket_reset:after_place=maybe",
        "freeze:seconds=nan",
        "clock_skew:seconds=inf",
        "clock_skew:seconds=-inf",
        "query_late:query=everything",
        "callbacks_missing:kind=",
    ],
)
def test_wrong_faults_are_refused(text: str) -> None:
    """A misspelt fault must not pass for a harmless one."""
    with pytest.raises(SimError):
        faults.parse(text)


def test_every_fault_documents_itself() -> None:
    """GET /faults and --list-faults are read from the classes."""
    for item in faults.describe():
        assert item["what"].endswith(".")
        assert all(value["what"] for value in item["parameters"].values())
        built = faults.build(item["name"], {})
        defaults = {key: value["default"] for key, value in item["parameters"].items()}
        assert faults.settings(built) == {"name": item["name"], **defaults}
        assert replace(built) == built


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("order_rejected:symbol=ZZZ", "fault order_rejected: .* universe, was 'ZZZ'"),
        ("tick_gap:symbol=aapl", "was 'aapl'; did you mean AAPL"),
        ("muted:messages=x", "fault muted: expected message ids .*, was 'x'"),
        ("muted:messages=55+560", "was '55\\+560'"),
        ("ack_dropped:probability=2", "expected probability as a number from 0 to 1, was 2.0"),
        ("place_swallowed:every_n=0", "expected every_n as a whole number from 1 to .*, was 0"),
        ("partial_fills:shares=0", "expected shares as a whole number from 1 to .*, was 0"),
        ("callbacks_duplicated:copies=1", "expected copies as a whole number from 2 to .*, was 1"),
        ("liquidation:fraction=7", "expected fraction as a number above 0 and up to 1, was 7.0"),
        ("stock_split:ratio=0", "expected ratio as a number above 0 and up to .*, was 0.0"),
        ("freeze:seconds=nan", "expected seconds as a number from 0 to 2,147,483,647, was nan"),
        ("freeze:client_id=x", "expected client_id as a whole number from 0 .*, or none, was 'x'"),
        ("socket_reset:after_place=3", "expected after_place as true or false, was '3'"),
    ],
)
def test_a_typo_is_refused(stand: Stand, text: str, reason: str) -> None:
    """A fault that could never strike would let a test pass for nothing."""
    with pytest.raises(SimError, match=reason):
        stand.fault(text)
    assert stand.active() == []


def test_a_fault_made_in_python_is_judged_as_well(stand: Stand) -> None:
    """Whoever embeds the simulator makes the same typos."""
    with pytest.raises(SimError, match="expected probability as a number from 0 to 1, was 2"):
        stand.gateway.add_fault(faults.callbacks.AckDropped(probability=2))
    with pytest.raises(SimError, match="a symbol of the universe, was 'ZZZ'"):
        stand.gateway.add_fault(faults.orders.PartialFills(symbol="ZZZ"))


def test_a_client_may_come_after_its_fault(stand: Stand) -> None:
    """A client id that nobody has yet is no typo."""
    stand.fault("place_swallowed:client_id=99")
    assert stand.active() == ["place_swallowed"]


def test_the_table_of_faults_is_markdown() -> None:
    """One row for each fault, three cells each, for the reference."""
    rows = faults.markdown_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == NAMES
    assert {row.count("|") for row in rows} == {4}


def test_every_fault_has_a_test() -> None:
    """Each name stands in a test of this directory."""
    from pathlib import Path  # noqa: PLC0415 - only here

    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_faults_*.py"))
    assert [name for name in NAMES if f'"{name}' not in text] == []


def test_faults_have_numbers(stand: Stand) -> None:
    """One is cleared by its number, the others stay; what they did is counted."""
    control = Control(stand.gateway)

    def post(**body: object) -> Any:
        import json  # noqa: PLC0415 - only here

        return control.answer("POST", "/fault", json.dumps(body).encode())

    status, first = post(name="place_swallowed", times=0)
    _, second = post(name="slow", delay_s=1)
    assert (int(status), first["id"], second["id"]) == (200, 1, 2)
    stand.place(1)
    _, answer = control.answer("GET", "/faults", b"")
    assert [(row["id"], row["name"], row["struck"]) for row in answer["active"]] == [
        *((1, "place_swallowed", 1), (2, "slow", 0))
    ]
    _, left = post(clear=1)
    assert [row["id"] for row in left["active"]] == [2]
    assert post(clear=1)[0] == 400
    assert post(clear="all")[0] == 400
    assert post(clear=2, name="slow")[0] == 400
    assert post(name="clear")[1] == {"active": []}
    assert stand.place(2) == FILLED


# ---------------------------------------------------------------------- combinations


def _live(stand: Stand, rng: Random) -> None:
    """Let clients do a bit of everything while time passes."""
    stand.client = stand.connect(stand.gateway, rng.randrange(1, 4))
    requests: list[tuple[object, ...]] = [
        (1, 11, rng.randrange(500, 600), 0, *MKT_DATA),
        *(EXECUTIONS, (5, 1), (16, 1), (99, 0), (61, 1), (49, 1), (6, 2, 1, ""), (8, 1, 1)),
    ]
    for _ in range(12):
        order_id = int(
            stand.gateway.world.broker.next_order_id(stand.client.session.client_id or 0)
        )
        match rng.randrange(5):
            case 0:
                stand.place(order_id, totalQuantity=rng.randrange(1, 9))
            case 1:
                stand.place(order_id, **RESTING, totalQuantity=rng.randrange(1, 9))
                stand.place(order_id, orderType="LMT", lmtPrice="89", totalQuantity=5)
            case 2:
                stand.ask(4, 1, order_id - 1, "")
            case _:
                stand.ask(*rng.choice(requests))
        stand.wait(rng.choice((0.0, 0.3, 2.0)))
        stand.tick()


def _consistent(stand: Stand) -> None:
    """Fills, positions and cash are one story, whatever was told of it."""
    for row in stand.truth("orders"):
        assert 0 <= row["filled"] <= row["totalQuantity"]
    broker = stand.gateway.world.broker
    for account in broker.accounts.values():
        mine = [item for item in broker.executions if item.account == account.account_id]
        cash = sum((item.cash_change for item in mine), account.opening_cash)
        assert account.cash == cash
        for con_id, position in account.positions.items():
            shares = (item.action.sign * item.shares for item in mine if item.con_id == con_id)
            assert position.quantity == sum(shares, Decimal(0))


@pytest.mark.parametrize("seed", SEEDS)
def test_any_two_faults_work_together(stand: Stand, connect: Callable[..., Any], seed: int) -> None:
    """No exception, a truth that holds together, and after clear a fresh client trades."""
    rng = Random(seed)
    for round_number in range(30):
        for name in rng.sample(NAMES, 2):
            try:
                stand.fault(name)
            except SimError:
                # Nothing to liquidate, or a symbol that was renamed before.
                continue
        _live(stand, rng)
        stand.gateway.clear_faults()
        stand.wait(60)
        _consistent(stand)
        fresh = connect(stand.gateway, 20 + round_number)
        order_id = stand.gateway.world.broker.next_order_id(20 + round_number)
        answer = kinds(fresh.send(*_ibm(order_id)))
        assert answer == FILLED, (seed, round_number)
        stand.gateway.disconnect(fresh.session)


def _ibm(order_id: int) -> tuple[object, ...]:
    from tests.sim.layouts import place_order  # noqa: PLC0415 - only here

    return place_order(order_id, conId=8314, symbol="IBM", totalQuantity=1)

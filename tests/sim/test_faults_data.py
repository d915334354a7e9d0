"""Faults of questions, market data and the clock."""

from collections.abc import Callable
from typing import Any

import pytest

from ibloop.sim import faults
from ibloop.sim.model import SimError
from ibloop.sim.service.desk import GatewayOptions
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.world import World
from tests.sim.stand import EXECUTIONS, MKT_DATA, RESTING, Messages, Stand, kinds

QUESTIONS = {
    "executions": EXECUTIONS,
    "open_orders": (5, 1),
    "completed_orders": (99, 0),
    "positions": (61, 1),
}
ENDS = {"executions": "55", "open_orders": "53", "completed_orders": "102", "positions": "62"}


@pytest.mark.parametrize("query", QUESTIONS)
def test_query_unanswered_late_or_empty(stand: Stand, query: str) -> None:
    """The same question, answered never, late, as empty, and truly."""
    stand.place(1)
    stand.place(2, **RESTING)
    ask, end = QUESTIONS[query], ENDS[query]
    stand.fault(f"query_unanswered:query={query},times=1")
    assert stand.ask(*ask) == []
    stand.fault(f"query_late:query={query},times=1,delay_s=3")
    assert stand.ask(*ask) == []
    assert stand.wait(2.9) == []
    late = stand.wait(0.2)
    assert late[-1] == end
    assert len(late) > 1
    stand.fault(f"query_empty:query={query},times=1")
    assert stand.ask(*ask) == [end]
    assert stand.ask(*ask) == late
    assert stand.active() == []


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("exec_end_missing", "executions"),
        ("open_orders_end_missing", "open_orders"),
        ("completed_end_missing", "completed_orders"),
        ("positions_end_missing", "positions"),
    ],
)
def test_end_missing(stand: Stand, name: str, query: str) -> None:
    """No end for an empty list; with only_empty a list with something in it has its end."""
    ask, end = QUESTIONS[query], ENDS[query]
    number = stand.fault(f"{name}:only_empty=true")
    assert stand.ask(*ask) == []
    stand.place(1)
    stand.place(2, **RESTING)
    answer = stand.ask(*ask)
    assert answer[-1] == end
    stand.gateway.clear_fault(number)
    stand.fault(name)
    assert stand.ask(*ask) == answer[:-1]


def test_duplicate_exec_on_query(stand: Stand) -> None:
    """Each execution twice under the same id, live callbacks once."""
    stand.fault("duplicate_exec_on_query")
    assert stand.place(1).count("exec") == 1
    messages = stand.client.send(*EXECUTIONS)
    assert kinds(messages) == ["exec", "exec", "commission", "55"]
    assert messages[0] == messages[1]


def test_historical_pacing(stand: Stand) -> None:
    """162 with the request's id."""
    stand.fault("historical_pacing:times=1")
    contract = (0, "AAPL", "STK", "", 0, "", "", "SMART", "", "USD", "", "")
    rest = (0, "", "1 day", "1 D", 1, "TRADES", 1, 0, "")
    (error,) = stand.client.send(20, 44, *contract, *rest)
    assert error[2:4] == ("44", "162")
    assert error[4].endswith("Historical data request pacing violation")


# ---------------------------------------------------------------------- market data


def prices(messages: Messages) -> dict[str, str]:
    """Return prices by tick type."""
    return {fields[3]: fields[4] for fields in messages if fields[0] == "1"}


def test_competing_session(stand: Stand) -> None:
    """10197 for each stream, in bursts; no ticks until it is over, then the latest ones."""
    stand.client.send(1, 11, 7, 0, *MKT_DATA)
    stand.fault("competing_session:seconds=5,repeat_s=3,burst=2")
    messages = stand.heard()
    assert kinds(messages) == ["error 10197"] * 2
    assert messages[0][2] == "7"
    assert stand.price("88", "89") == []
    assert stand.wait(3) == ["error 10197"] * 2
    assert prices(stand.heard(3))["1"] == "88.0"
    assert "1" in prices(stand.price("87", "88"))


def test_delayed_only(stand: Stand) -> None:
    """10167, type 3, and delayed ticks in place of live ones."""
    stand.client.send(59, 1, 3)
    stand.fault("delayed_only:symbol=AAPL")
    messages = stand.client.send(1, 11, 7, 0, *MKT_DATA)
    assert kinds(messages)[0] == "error 10167"
    assert ("58", "1", "7", "3") in messages
    assert {"66", "67", "68"} <= set(prices(messages))
    assert not {"1", "2", "4"} & set(prices(messages))
    assert prices(stand.price("88", "89"))["66"] == "88.0"


def test_delayed_only_for_who_asked_for_it(stand: Stand) -> None:
    """Who asked for live data is told 10089 and gets no tick; what was open goes on."""
    stand.client.send(1, 11, 6, 0, *MKT_DATA)
    stand.fault("delayed_only")
    assert stand.ask(1, 11, 7, 0, *MKT_DATA) == ["error 10089"]
    assert {fields[2] for fields in stand.price("88", "89")} == {"6"}


@pytest.mark.parametrize("code", [10168, 354, 10089, 10186])
def test_not_entitled(stand: Stand, code: int) -> None:
    """The error and no ticks."""
    stand.fault(f"delayed_only:code={code}")
    assert stand.ask(1, 11, 7, 0, *MKT_DATA) == [f"error {code}"]
    assert stand.price("88", "89") == []


def test_line_limit(stand: Stand) -> None:
    """101 unasked for streams above the limit, and for the next one."""
    for req_id in (7, 8, 9):
        stand.client.send(1, 11, req_id, 0, *MKT_DATA)
    stand.fault("line_limit:lines=2")
    (error,) = stand.heard()
    assert error[2:4] == ("9", "101")
    assert stand.ask(1, 11, 10, 0, *MKT_DATA) == ["error 101"]
    assert {fields[2] for fields in stand.price("88", "89")} == {"7", "8"}


def test_stale_quotes(stand: Stand) -> None:
    """Ticks of one symbol stop without a word, orders do not; at the end the latest flow."""
    stand.client.send(1, 11, 7, 0, *MKT_DATA)
    stand.client.send(1, 11, 8, 0, "IBM", *MKT_DATA[1:])
    stand.client.line.take()
    stand.fault("stale_quotes:symbol=AAPL,seconds=5")
    assert stand.price("88", "89") == []
    assert "1" in prices(stand.price("188", "189", "IBM"))
    assert stand.place(1)[-1] == "commission"
    assert prices(stand.heard(5))["2"] == "89.0"


def test_stale_quotes_of_ended_streams_stay_silent(stand: Stand) -> None:
    """What was cancelled meanwhile gets no ticks afterwards."""
    stand.client.send(1, 11, 7, 0, *MKT_DATA)
    stand.fault("stale_quotes:seconds=5")
    stand.price("88", "89")
    stand.client.send(2, 2, 7)
    assert stand.heard(5) == []


def test_tick_gap(stand: Stand) -> None:
    """Every second tick is lost."""
    whole = stand.client.send(1, 11, 7, 0, *MKT_DATA)
    stand.client.send(2, 2, 7)
    stand.fault("tick_gap:every_n=2")
    broken = stand.client.send(1, 11, 7, 0, *MKT_DATA)
    ticks = [fields for fields in whole if fields[0] in {"1", "2", "45", "46"}]
    left = [fields for fields in broken if fields[0] in {"1", "2", "45", "46"}]
    assert left == ticks[::2]


@pytest.mark.parametrize(
    ("kind", "bid", "ask"),
    [
        ("nan", "NaN", "NaN"),
        ("minus_one", "-1.0", "-1.0"),
        ("zero", "0.0", "0.0"),
        ("crossed", "94.5", "87.4"),
        ("spike", "900.0", "920.0"),
    ],
)
def test_bad_ticks(stand: Stand, kind: str, bid: str, ask: str) -> None:
    """The wire says nonsense, the market and the fills do not."""
    stand.price("90", "92")
    stand.fault(f"bad_ticks:kind={kind}")
    shown = prices(stand.client.send(1, 11, 7, 0, *MKT_DATA))
    assert (shown["1"], shown["2"]) == (bid, ask)
    stand.place(1)
    (execution,) = stand.truth("executions")
    assert execution["price"] == 92


# ---------------------------------------------------------------------- clock


def test_server_time_same_second(
    make_world: Callable[..., World], clock: Any, connect: Callable[..., Any]
) -> None:
    """The first question of a second is answered, no other one, by a build that would."""
    stand = Stand(Gateway(make_world(), GatewayOptions(repeats_time=True)), clock, connect)
    assert [stand.ask(49, 1) for _ in range(2)] == [["49"], ["49"]]
    stand.fault("server_time_same_second")
    assert [stand.ask(49, 1) for _ in range(3)] == [["49"], [], []]
    stand.wait(1)
    assert stand.ask(49, 1) == ["49"]


@pytest.mark.parametrize("seconds", [90, -90])
def test_clock_skew(stand: Stand, seconds: int) -> None:
    """The time that is told is wrong, the time of executions is not."""
    stand.fault(f"clock_skew:seconds={seconds}")
    ((_, _, told),) = stand.client.send(49, 1)
    assert int(told) == int(stand.clock.now.timestamp()) + seconds
    stand.place(1)
    (execution,) = stand.truth("executions")
    assert execution["time"] == stand.clock.now.isoformat()


def test_negative_numbers_only_where_they_mean_something() -> None:
    """A skew may be negative, a delay may not."""
    assert faults.settings(faults.build("clock_skew", {"seconds": -5}))["seconds"] == -5
    with pytest.raises(SimError, match="delay_s as a number from 0 to"):
        faults.build("slow", {"delay_s": -5})

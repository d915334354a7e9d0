"""Cash, positions and profit as a fold of executions: flips, settlement, corrections."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.sim.brokerage.account import Account, Position
from ibloop.sim.brokerage.corrections import effective
from ibloop.sim.brokerage.profit import account_profit, position_profit
from ibloop.sim.brokerage.settlement import settlement_day
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.model import Action, Execution, Quote

AAPL = 265598
NOON = datetime(2026, 11, 18, 17, 0, tzinfo=UTC)
TODAY = date(2026, 11, 18)
ONE = Decimal(1)
BLANK = Quote(AAPL, ONE, ONE, ONE, ONE, ONE, ONE, ONE, ONE, ONE, ONE, 0, False, 0)


def execution(side: str, shares: int, price: str, **values: Any) -> Execution:
    """Return a fill with a commission of one dollar."""
    defaults: dict[str, Any] = {
        "exec_id": "0000e0d5.00000001.01.01",
        "perm_id": 1,
        "client_id": 1,
        "order_id": 1,
        "order_ref": "",
        "account": "DU1",
        "con_id": AAPL,
        "symbol": "AAPL",
        "time": NOON,
        "commission": ONE,
        "realized_pnl": None,
        "cum_quantity": Decimal(shares),
        "avg_price": Decimal(price),
        "exchange": "NASDAQ",
    }
    action = Action.BUY if side == "BUY" else Action.SELL
    terms = {"action": action, "shares": Decimal(shares), "price": Decimal(price)}
    return Execution(**(defaults | terms | values))


def quote(last: str, close: str = "100") -> Quote:
    """Return a quote with a last price and the prior session's close."""
    return replace(BLANK, last=Decimal(last), close=Decimal(close))


def held(*executions: Execution) -> Position:
    """Return the position after these fills."""
    position = Position()
    for each in executions:
        position.book(each)
    return position


def test_a_short_position_costs_what_it_brought() -> None:
    """The average cost of a short share is its proceeds less commission; covering realizes."""
    short = held(execution("SELL", 10, "100"))
    assert (short.quantity, short.avg_cost) == (-10, Decimal("99.9"))
    covered = held(execution("SELL", 10, "100"), execution("BUY", 4, "90"))
    assert (covered.quantity, covered.avg_cost) == (-6, Decimal("99.9"))
    assert covered.realized == 4 * Decimal("9.9") - 1


def test_a_position_turns_through_zero() -> None:
    """What closes realizes with its part of the commission; what opens has a cost of its own."""
    long = execution("BUY", 10, "100")
    turned = held(long, execution("SELL", 30, "110", commission=Decimal(3)))
    assert turned.quantity == -20
    assert turned.realized == 10 * (110 - Decimal("100.1")) - 1
    assert turned.avg_cost == 110 - Decimal(2) / 20
    back = held(long, execution("SELL", 30, "110"), execution("BUY", 20, "100"))
    assert (back.quantity, back.avg_cost) == (0, 0)


def test_a_fill_says_what_it_realizes_only_when_it_closes() -> None:
    """realizedPNL of a commission report is unset for what only opens, long or short."""
    account = Account("DU1", Decimal(100_000))
    opening = account.take(execution("SELL", 10, "100"))
    closing = account.take(execution("BUY", 10, "95"))
    assert opening.realized_pnl is None
    assert closing.realized_pnl == Decimal("48.00")


@pytest.mark.parametrize(
    ("traded", "settles"),
    [
        ("2026-11-18", "2026-11-19"),
        ("2026-11-20", "2026-11-23"),
        ("2026-11-21", "2026-11-23"),
        ("2026-11-25", "2026-11-27"),
    ],
)
def test_trades_settle_on_the_next_business_day(traded: str, settles: str) -> None:
    """T+1, weekends and Thanksgiving skipped."""
    assert settlement_day(date.fromisoformat(traded)) == date.fromisoformat(settles)


def test_purchases_are_paid_at_once_and_sales_settle_a_day_later() -> None:
    """SettledCash: cash less the proceeds of sales that have not settled, commissions paid."""
    account = Account("DU1", Decimal(10_000), settled_only=True)
    account.book(execution("BUY", 50, "100"))
    assert account.settled_cash(TODAY) == account.cash == 4999
    account.book(execution("SELL", 20, "110"))
    assert account.cash == 7198
    assert account.settled_cash(TODAY) == account.spendable(TODAY) == 4998
    assert account.settled_cash(TODAY + timedelta(days=1)) == 7198


def test_a_trade_day_is_new_yorks() -> None:
    """Two in the morning UTC is still the evening before in New York."""
    assert new_york_date(datetime(2026, 11, 18, 2, 0, tzinfo=UTC)) == date(2026, 11, 17)


def test_the_profit_of_the_day_compares_with_the_prior_close() -> None:
    """Yesterday's shares against the close, today's against their price, commissions deducted."""
    yesterday = NOON - timedelta(days=1)
    position = held(
        execution("BUY", 10, "90", time=yesterday),
        execution("BUY", 5, "102"),
        execution("SELL", 10, "103"),
    )
    profit = position_profit(position, quote("104", close="100"), TODAY)
    assert profit.daily == 10 * 4 + 5 * 2 - 1 + 10 * (103 - 104) - 1
    assert profit.realized == position.realized
    tomorrow = position_profit(position, quote("104", close="104"), TODAY + timedelta(days=1))
    assert (tomorrow.daily, tomorrow.realized) == (0, 0)
    assert tomorrow.unrealized == profit.unrealized


@pytest.mark.parametrize(("side", "held_before"), [("BUY", 10), ("SELL", -10)])
def test_a_split_changes_shares_and_not_their_cost(side: str, held_before: int) -> None:
    """Two for one and one for two: no profit, no cash, no trade of the day."""
    position = held(execution(side, 10, "100"))
    cost, day = position.quantity * position.avg_cost, position.on(TODAY)
    cash = day.cash
    assert position.quantity == held_before
    back = "SELL" if side == "BUY" else "BUY"
    for action, shares, ratio in ((side, 10, "2"), (back, 15, "0.25")):
        split = {"corporate": True, "commission": Decimal(0), "ratio": Decimal(ratio)}
        position.book(execution(action, shares, "0", **split))
        assert position.quantity * position.avg_cost == cost
        assert day.shares == position.quantity
    assert abs(position.quantity) == 5
    assert (position.realized, day.cash, day.realized) == (0, cash, 0)


def test_a_correction_replaces_and_keeps_its_place() -> None:
    """The highest revision of an execution counts, whatever the order they were stored in."""
    first, second = (execution("BUY", 1, "100", exec_id=f"a.b.{n}.01") for n in ("01", "02"))
    fixed = replace(first, exec_id="a.b.01.02", price=Decimal(99))
    assert effective([first, second, fixed]) == [fixed, second]
    assert effective([fixed, second, first]) == [fixed, second]


FILLS = st.lists(
    st.tuples(
        st.sampled_from(["BUY", "SELL"]),
        st.integers(1, 300),
        st.integers(5_000, 20_000),
        st.integers(0, 300),
        st.integers(0, 3),
        st.sampled_from([AAPL, 8314]),
    ),
    min_size=1,
    max_size=30,
)


@given(FILLS, st.integers(5_000, 20_000))
@settings(max_examples=150, deadline=None)
def test_money_is_conserved(fills: list[tuple[str, int, int, int, int, int]], cents: int) -> None:
    """Cash is the sum of the fills, and all profit together is the change of equity.

    Through any number of flips; and folding anew gives the same account.
    """
    account, last = Account("DU1", Decimal(1_000_000)), Decimal(cents) / 100
    booked = []
    for number, (side, shares, price, fee, day, con_id) in enumerate(fills):
        fill = execution(
            side,
            shares,
            str(Decimal(price) / 100),
            exec_id=f"a.b.{number}.01",
            con_id=con_id,
            commission=Decimal(fee) / 100,
            time=NOON + timedelta(days=day),
        )
        booked.append(account.take(fill))
    assert account.cash == 1_000_000 + sum(fill.cash_change for fill in booked)
    for con_id, position in account.positions.items():
        own = [fill for fill in booked if fill.con_id == con_id]
        assert position.quantity == sum(fill.action.sign * fill.shares for fill in own)
    quoted = quote(str(last))
    profit = account_profit(account, lambda _con_id: quoted, TODAY)
    value = sum(position.quantity * last for position in account.positions.values())
    realized = sum(position.realized for position in account.positions.values())
    change = account.cash + value - 1_000_000
    assert abs(realized + profit.unrealized - change) < Decimal("1e-9")
    again = Account("DU1", Decimal(1_000_000))
    assert [again.take(fill) for fill in booked] == booked
    assert again == account


@given(FILLS, st.data())
@settings(max_examples=80, deadline=None)
def test_a_corrected_history_is_the_history_that_should_have_been(
    fills: list[tuple[str, int, int, int, int, int]], data: st.DataObject
) -> None:
    """Folding the executions in force equals never having had the wrong ones."""
    executions = [
        execution(side, shares, str(price), exec_id=f"a.b.{number}.01", con_id=con_id)
        for number, (side, shares, price, _, _, con_id) in enumerate(fills)
    ]
    at = data.draw(st.integers(0, len(executions) - 1))
    wrong = executions[at]
    right = replace(wrong, exec_id=f"a.b.{at}.02", shares=Decimal(data.draw(st.integers(0, 50))))
    story = [*executions, right]
    expected = [*executions[:at], right, *executions[at + 1 :]]
    one, other = Account("DU1", Decimal(0)), Account("DU1", Decimal(0))
    for account, history in ((one, effective(story)), (other, expected)):
        for fill in history:
            account.take(fill)
    assert one == other

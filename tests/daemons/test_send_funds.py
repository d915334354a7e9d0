"""Every send is held against the account as it is now, not only as it was when it was planned."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import account
from ibloop.core import events as ev
from ibloop.core.lifecycle import RunState
from ibloop.core.model import AccountValues, Side
from tests.daemons.test_send_rails import approve
from tests.fakes.house import House

D = Decimal
BUYS = ("CCC", "DDD", "EEE")
"""For 30,000 USD; the sells before them bring 15,000, and there are 80,000 in cash."""


def waiting_house(directory: Path, **limits: object) -> House:
    """Return a house with a run that waits for its approval."""
    made = House(directory, execution={"approval": "required"}, **limits)
    made.settle()
    made.queue()
    made.until(lambda: made.run().status is RunState.AWAITING_APPROVAL)
    return made


def codes(house: House) -> dict[str, str | None]:
    """Return why each buy of the run was refused."""
    return {symbol: house.orders()[symbol].reject_code for symbol in BUYS}


def tell(house: House, **changes: object) -> None:
    """Let the broker's figures be other ones from now on."""
    honest = house.broker.values

    def values() -> AccountValues:
        return replace(honest(), **changes)

    house.broker.values = values  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("gone", "refused"),
    [
        (170_000, BUYS),  # what an auditor did: the account is 90,000 in debt
        (70_000, ("EEE",)),  # less than the sells bring: seen before they muddle the figures
        (50_000, ()),
    ],
)
def test_cash_that_has_gone_while_a_run_waited_buys_nothing(
    tmp_path: Path, gone: int, refused: tuple[str, ...]
) -> None:
    """Planned with 80,000 USD in cash, approved an hour later: what is there then is spent (P8)."""
    house = waiting_house(tmp_path, position_weight_max=D(1), gross_weight_max=D(9))
    house.broker.cash -= gone
    house.play(50 * 60, tick_s=10)
    approve(house)
    house.until_ended()
    assert house.sent()[:2] == ["AAA", "BBB"]  # what only reduces asks for no cash
    assert tuple(s for s in BUYS if codes(house)[s] is not None) == refused
    if gone < 100_000:
        assert house.broker.cash > 0
        assert set(codes(house).values()) <= {None, "cash_weight_min"}


def test_cash_that_goes_while_orders_travel_buys_nothing(tmp_path: Path) -> None:
    """Between two sends of a run, with everything of it settled at the broker."""
    house = House(tmp_path, position_weight_max=D(1), gross_weight_max=D(9))
    house.settle()
    house.script("BBB", fills=())
    house.queue()
    house.play(60)
    assert house.sent() == ["AAA", "BBB"]
    house.broker.cash -= 70_000
    house.play(60)
    house.broker.fill(house.broker.find("ibl:K1:BBB:S:0"), D(500))
    house.play(1)
    assert codes(house)["CCC"] is None  # 15,000 USD are there, and 10,000 more from BBB
    house.until_ended()
    assert codes(house)["EEE"] == "cash_weight_min"
    assert house.broker.cash > 0


def test_a_figure_of_the_sells_own_seconds_hides_no_loss(tmp_path: Path) -> None:
    """Whether it has the sells in it nobody can tell: what went before them is known by then."""
    house = waiting_house(tmp_path, position_weight_max=D(1), gross_weight_max=D(9))
    house.script("BBB", fills=())
    house.broker.cash -= 70_000
    house.play(60, tick_s=10)
    approve(house)
    house.play(1)
    assert house.sent() == ["AAA", "BBB"]
    house.broker.fill(house.broker.find("ibl:K1:BBB:S:0"), D(500))
    house.broker.emit(ev.AccountReported(house.broker.values()))
    house.until_ended()
    assert codes(house)["EEE"] == "cash_weight_min"
    assert house.broker.cash > 0


def test_a_figure_that_trails_the_sells_keeps_no_buy_back(tmp_path: Path) -> None:
    """A real gateway's cash lags: what was sold seconds before is taken as not yet in it."""
    house = House(tmp_path)
    house.broker.cash = D(6_000)  # 22,750 with the sells; the buys take 11,180
    house.settle()
    house.script("BBB", fills=())
    house.queue(weights={"AAA": "0.125", "CCC": "0.145", "DDD": "0.145", "EEE": "0.14"})
    house.play(1)
    late = house.broker.values()
    house.broker.fill(house.broker.find("ibl:K1:BBB:S:0"), D(500))
    house.clock.advance(1)
    pushed = replace(late, total_cash=D(6_000), as_of=house.clock.now().utc)
    house.broker.emit(ev.AccountReported(pushed))
    assert house.until_ended().status is RunState.DONE
    assert house.orders()["EEE"].filled_quantity > 0


def test_weights_are_of_what_is_left(tmp_path: Path) -> None:
    """Half the account gone: a buy of nine per cent of the plan's is eighteen of what there is."""
    house = waiting_house(tmp_path, day_turnover_weight_max=D("0.5"))
    tell(house, net_liquidation=D(40_000))
    house.play(60, tick_s=10)
    approve(house)
    house.until_ended()
    assert codes(house) == dict.fromkeys(BUYS, "position_weight_max")
    # 15,000 USD are more than a third of it; a loss keeps nobody in.
    assert house.sent() == ["AAA", "BBB"]


def test_a_loss_keeps_nobody_in(tmp_path: Path) -> None:
    """The day's turnover is a larger fraction of less: what only reduces is held to the plan's."""
    house = waiting_house(tmp_path, day_turnover_weight_max=D("0.5"))
    tell(house, net_liquidation=D(10_000))
    house.play(60, tick_s=10)
    approve(house)
    house.until_ended()
    assert house.sent() == ["AAA", "BBB"]


@pytest.mark.parametrize("lost", ["1", "0.995"])
def test_the_market_of_some_minutes_keeps_no_buy_back(tmp_path: Path, lost: str) -> None:
    """Half a per cent less than planned: positions are valued at the plan's prices as well."""
    house = House(tmp_path, sector_weight_max=D("0.11"))
    house.settle()
    house.plan()
    less = replace(house.broker.values(), net_liquidation=D(100_000) * D(lost))
    house.broker.emit(ev.AccountReported(less))
    assert house.until_ended().status is RunState.DONE


def test_figures_that_stay_away_keep_what_adds_back(tmp_path: Path) -> None:
    """No evidence for a minute: sells go, buys wait and are asked again once there is some."""
    house = House(tmp_path)
    house.settle()
    house.broker.slots = 0
    house.queue()
    house.until(lambda: house.run().status is RunState.EXECUTING)
    house.broker.evidence_fails = True
    house.play(70)
    house.broker.slots = 45
    house.play(20)
    assert house.sent() == ["AAA", "BBB"]
    rows = [house.orders()[symbol] for symbol in BUYS]
    assert {row.status for row in rows} == {"planned"}
    assert house.run().status is RunState.EXECUTING
    house.broker.evidence_fails = False
    assert house.until_ended().status is RunState.DONE
    assert house.sent() == ["AAA", "BBB", *BUYS]


def test_buys_whose_figures_never_come_are_left(tmp_path: Path) -> None:
    """The deadline ends the waiting."""
    house = House(tmp_path)
    house.settle()
    house.plan()
    house.broker.evidence_fails = True
    house.clock.advance(61)
    house.play(60 * 35, tick_s=20)
    assert house.sent() == ["AAA", "BBB"]
    assert {house.orders()[symbol].status for symbol in BUYS} == {"not_sent"}


def test_without_any_figures_nothing_adds(tmp_path: Path) -> None:
    """Never told is no money; what only reduces leaves."""
    house = House(tmp_path)
    house.settle()
    house.plan()
    house.broker.evidence_fails = True
    with house.ledger.transaction() as tx:
        tx.execute("DELETE FROM account_values")
    house.play(20)
    assert house.sent() == ["AAA", "BBB"]
    assert account.values(house.ledger.db) is None


def test_settled_cash_that_the_broker_no_longer_tells_buys_nothing(tmp_path: Path) -> None:
    """In a cash account the figure for settled cash is as needed at the send as at the plan."""
    house = House(tmp_path, settled_cash_only=True)
    tell(house, settled_cash=D(60_000))
    house.settle()
    house.plan()
    tell(house, settled_cash=None)
    house.broker.emit(ev.AccountReported(house.broker.values()))
    house.play(20)
    assert house.sent() == ["AAA", "BBB"]
    tell(house, settled_cash=D(12_000))
    house.play(60)
    assert codes(house)["EEE"] == "cash_weight_min"
    bought = [o for o in house.orders().values() if o.side is Side.BUY and o.filled_quantity]
    assert len(bought) == 1

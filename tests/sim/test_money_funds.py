"""What an account can carry: cash, settled cash, margin, short sales, previews, liquidation."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.sim.brokerage.account import Account
from ibloop.sim.brokerage.broker import Broker
from ibloop.sim.brokerage.corrections import correct
from ibloop.sim.brokerage.events import (
    AccountChange,
    Commissioned,
    Event,
    Filled,
    OrderUpdate,
    Problem,
    WhatIf,
)
from ibloop.sim.brokerage.liquidation import Closing, closings, force
from ibloop.sim.brokerage.margin import Balances, balances
from ibloop.sim.market.history import Samples
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.model import (
    AccountKind,
    AccountSpec,
    Action,
    Execution,
    Order,
    OrderTicket,
    Quote,
    SimError,
    Status,
)
from tests.fakes.venue import FakeVenue

AAPL, IBM = 265598, 8314
MakeQuote = Callable[..., Quote]
MakeTicket = Callable[..., OrderTicket]
CENT = Decimal("0.01")


class Bank(FakeVenue):
    """A broker on a fake venue with deep quotes of one cent around a price."""

    def __init__(self, samples: Samples, make_quote: MakeQuote, spec: AccountSpec, **more: Any):
        """Open one account."""
        super().__init__()
        self.samples, self.make_quote = samples, make_quote
        accounts = {spec.account_id: spec}
        self.broker = Broker(samples.instruments, accounts, first_perm_id=500, **more)
        self.orders = 0
        self.price("100.00")

    def price(self, text: str) -> None:
        """Move the market, with new depth."""
        price, size = Decimal(text), Decimal(100_000)
        sizes = {"bid_size": size, "ask_size": size, "depth_id": self.number + 1}
        self.number += 1
        self.quote = self.make_quote(bid=price - CENT, ask=price + CENT, last=price, **sizes)

    def quote_of(self, con_id: int) -> Quote | None:
        """Return the same market for every instrument."""
        return replace(self.quote, con_id=con_id) if self.quote else None

    def place(self, ticket: OrderTicket, con_id: int = AAPL) -> list[Event]:
        """Place a new order without matching."""
        self.orders += 1
        instrument = self.samples.instruments[con_id]
        return self.broker.place(1, self.orders, instrument, ticket, venue=self)

    def trade(self, ticket: OrderTicket, con_id: int = AAPL) -> Order:
        """Place and match an order, and return it."""
        self.place(ticket, con_id)
        self.broker.match(self)
        order = self.broker.order_of(1, self.orders)
        assert order is not None
        return order

    @property
    def account(self) -> Account:
        """Return the only account."""
        (account,) = self.broker.accounts.values()
        return account

    def balances(self) -> Balances:
        """Return the account's balances now."""
        return balances(self.account, self.quote_of, new_york_date(self.now()))

    def closings(self) -> list[Closing]:
        """Return what the broker would close now."""
        return closings(self.account, self.quote_of, new_york_date(self.now()))


@pytest.fixture
def cash_bank(samples: Samples, make_quote: MakeQuote) -> Bank:
    """Return a bank with a cash account of 10,000 that spends settled cash only."""
    spec = AccountSpec("DU1", AccountKind.CASH, Decimal(10_000))
    return Bank(samples, make_quote, spec, settled_only=True)


@pytest.fixture
def margin_bank(samples: Samples, make_quote: MakeQuote) -> Bank:
    """Return a bank with a margin account of 10,000."""
    return Bank(samples, make_quote, AccountSpec("DU1", AccountKind.MARGIN, Decimal(10_000)))


def refusal(events: list[Event]) -> str:
    """Return the text of the rejection 201, '' when there is none."""
    return next((e.text for e in events if isinstance(e, Problem) and e.code == 201), "")


# ---------------------------------------------------------------------- cash accounts


def test_unsettled_proceeds_buy_nothing_until_the_next_day(
    cash_bank: Bank, make_ticket: MakeTicket
) -> None:
    """With settled cash only a sale pays for a purchase one business day later."""
    cash_bank.trade(make_ticket(quantity=Decimal(90)))
    cash_bank.trade(make_ticket(action="SELL", quantity=Decimal(90)))
    text = refusal(cash_bank.place(make_ticket(quantity=Decimal(50))))
    assert text.startswith("Order rejected - reason:Available settled cash converted to base: 99")
    assert "Cash needed for this order and other pending orders: 5001.50 USD" in text
    assert cash_bank.account.cash > 9000
    cash_bank.time += timedelta(days=1)
    assert cash_bank.trade(make_ticket(quantity=Decimal(50))).status is Status.FILLED


def test_proceeds_may_be_spent_at_once_by_default(
    samples: Samples, make_quote: MakeQuote, make_ticket: MakeTicket
) -> None:
    """A weekly run sells to fund what it buys."""
    bank = Bank(samples, make_quote, AccountSpec("DU1", cash_usd=Decimal(10_000)))
    bank.trade(make_ticket(quantity=Decimal(90)))
    bank.trade(make_ticket(action="SELL", quantity=Decimal(90)))
    assert bank.trade(make_ticket(quantity=Decimal(90))).status is Status.FILLED
    assert bank.balances().settled < 1000


def test_a_cash_account_sells_nothing_short(cash_bank: Bank, make_ticket: MakeTicket) -> None:
    """Neither without shares nor more than are left beside another sale."""
    assert "short" in refusal(cash_bank.place(make_ticket(action="SELL")))
    cash_bank.trade(make_ticket(quantity=Decimal(50)))
    resting = make_ticket(action="SELL", quantity=Decimal(30), limit_price=Decimal("200.00"))
    assert refusal(cash_bank.place(resting)) == ""
    assert "30 being sold" in refusal(
        cash_bank.place(make_ticket(action="SELL", quantity=Decimal(21)))
    )


# ---------------------------------------------------------------------- margin accounts


def test_a_margin_account_buys_for_twice_its_funds(
    margin_bank: Bank, make_ticket: MakeTicket
) -> None:
    """Initial margin is one half: buying power is what is accepted, not a share more."""
    assert margin_bank.balances().buying_power == 20_000
    too_many = make_ticket(quantity=Decimal(200), limit_price=Decimal("100.01"))
    assert refusal(margin_bank.place(too_many)) == (
        "Order rejected - reason:YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED "
        "POSITION YOUR EQUITY WITH LOAN VALUE [9999.00 USD] MUST EXCEED THE INITIAL MARGIN "
        "[10001.00 USD]"
    )
    order = margin_bank.trade(make_ticket(quantity=Decimal(199)))
    assert order.status is Status.FILLED
    held = margin_bank.balances()
    assert held.initial == Decimal("9950.00")
    assert held.maintenance == Decimal("4975.00")
    assert held.cash < 0 < held.available
    assert held.leverage > Decimal("1.9")


def test_a_short_sale_needs_half_its_value(margin_bank: Bank, make_ticket: MakeTicket) -> None:
    """Its proceeds are in the cash; initial margin 50 %, maintenance 30 % of what is owed."""
    order = margin_bank.trade(make_ticket(action="SELL", quantity=Decimal(100)))
    assert order.status is Status.FILLED
    held = margin_bank.balances()
    assert margin_bank.account.held(AAPL) == -100
    assert held.stocks == -10_000
    assert held.gross == 10_000
    assert (held.initial, held.maintenance) == (5000, 3000)
    assert held.equity == held.cash - 10_000 == 10_000 - 1 - 1
    assert refusal(margin_bank.place(make_ticket(action="SELL", quantity=Decimal(101)))) != ""


def test_working_orders_count_against_the_funds(margin_bank: Bank, make_ticket: MakeTicket) -> None:
    """Orders of all instruments together; of one instrument the worse side."""
    rest = {"quantity": Decimal(150), "limit_price": Decimal("90.00")}
    assert refusal(margin_bank.place(make_ticket(**rest), IBM)) == ""
    assert refusal(margin_bank.place(make_ticket(quantity=Decimal(70)))) != ""
    assert refusal(margin_bank.place(make_ticket(quantity=Decimal(60)))) == ""
    other_side = make_ticket(action="SELL", quantity=Decimal(60), limit_price=Decimal("110.00"))
    assert refusal(margin_bank.place(other_side)) != ""
    less = make_ticket(action="SELL", quantity=Decimal(20), limit_price=Decimal("110.00"))
    assert refusal(margin_bank.place(less)) == ""
    more = make_ticket(quantity=Decimal(6), limit_price=Decimal("90.00"))
    assert refusal(margin_bank.place(more, IBM)) != ""


def test_closing_is_allowed_without_funds(margin_bank: Bank, make_ticket: MakeTicket) -> None:
    """An account far under its margin may still sell what it holds, and turn it around."""
    margin_bank.trade(make_ticket(quantity=Decimal(199)))
    margin_bank.price("55.00")
    assert margin_bank.balances().available < 0
    assert refusal(margin_bank.place(make_ticket(quantity=Decimal(1)))) != ""
    order = margin_bank.trade(make_ticket(action="SELL", quantity=Decimal(199)))
    assert order.status is Status.FILLED


def test_a_market_order_without_a_market_is_refused(
    margin_bank: Bank, make_ticket: MakeTicket
) -> None:
    """There is nothing to measure it with."""
    margin_bank.quote = None
    assert "no market price" in refusal(margin_bank.place(make_ticket()))


def test_a_preview_tells_margins_before_and_after(
    margin_bank: Bank, make_ticket: MakeTicket
) -> None:
    """Equity changes by the commission only; a closing order frees margin."""
    margin_bank.trade(make_ticket(quantity=Decimal(100)))
    (event,) = margin_bank.place(make_ticket(action="SELL", quantity=Decimal(40), what_if=True))
    assert isinstance(event, WhatIf)
    before, after = event.preview.before, event.preview.after
    assert (before.initial, after.initial) == (5000, 3000)
    assert (before.maintenance, after.maintenance) == (2500, 1500)
    assert before.equity - after.equity == event.preview.commission == 1
    (event,) = margin_bank.place(make_ticket(action="SELL", quantity=Decimal(160), what_if=True))
    assert isinstance(event, WhatIf)
    assert event.preview.after.initial == 3000
    assert event.preview.after.maintenance == 1800


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["BUY", "SELL"]), st.integers(1, 250), st.integers(8_000, 12_000)
        ),
        max_size=20,
    )
)
@settings(max_examples=60, deadline=None)
def test_no_accepted_order_leaves_the_funds_short(
    samples: Samples, steps: list[tuple[str, int, int]]
) -> None:
    """After a fill that made a position larger, equity covers the initial margin.

    But for the spread, which the check cannot know: half a cent a share and side here.
    """

    def make_quote(**values: Any) -> Quote:
        price = values["last"]
        rest = {"open": price, "high": price, "low": price, "close": price, "volume": 1}
        return Quote(con_id=AAPL, last_size=Decimal(1), halted=False, **(rest | values))

    bank = Bank(samples, make_quote, AccountSpec("DU1", AccountKind.MARGIN, Decimal(10_000)))
    for side, shares, cents in steps:
        bank.price(str(Decimal(cents) / 100))
        before = abs(bank.account.held(AAPL))
        ticket = OrderTicket(side, Decimal(shares), "MKT", None, "DAY", "", "", "")
        order = bank.trade(ticket)
        grown = abs(bank.account.held(AAPL)) - before
        if order.status is Status.FILLED and grown > 0:
            assert bank.balances().available >= -order.quantity * 2 * CENT
    equity = bank.balances().equity
    bought = sum(e.cash_change for e in bank.broker.executions)
    assert bank.account.cash == 10_000 + bought
    assert equity == bank.account.cash + bank.balances().stocks


# ---------------------------------------------------------------------- liquidation


def test_the_broker_closes_just_enough(margin_bank: Bank, make_ticket: MakeTicket) -> None:
    """Below maintenance it sells until equity is above again, and nothing above it."""
    margin_bank.trade(make_ticket(quantity=Decimal(199)))
    assert margin_bank.closings() == []
    margin_bank.price("66.00")
    assert margin_bank.balances().excess < 0
    (closing,) = margin_bank.closings()
    assert (closing.con_id, closing.action) == (AAPL, Action.SELL)
    assert closing.quantity < 199
    margin_bank.trade(make_ticket(action="SELL", quantity=closing.quantity))
    assert margin_bank.balances().excess >= 0


def test_the_largest_position_goes_first(margin_bank: Bank, make_ticket: MakeTicket) -> None:
    """And no other one while it is enough."""
    margin_bank.trade(make_ticket(quantity=Decimal(90)))
    margin_bank.trade(make_ticket(quantity=Decimal(105)), IBM)
    margin_bank.price("64.00")
    (closing,) = margin_bank.closings()
    assert closing.con_id == IBM
    margin_bank.price("55.00")
    assert [each.con_id for each in margin_bank.closings()] == [IBM, AAPL]


def test_the_broker_liquidates_by_itself_once(margin_bank: Bank, make_ticket: MakeTicket) -> None:
    """By orders of its own, marked as such, and not again while they work."""
    margin_bank.trade(make_ticket(quantity=Decimal(199)))
    assert force(margin_bank.broker, margin_bank) == []
    margin_bank.price("66.00")
    (placed,) = force(margin_bank.broker, margin_bank)
    assert isinstance(placed, OrderUpdate)
    assert (placed.order.client_id, placed.order.order_id, placed.order.order_ref) == (0, 0, "")
    assert force(margin_bank.broker, margin_bank) == []
    margin_bank.broker.match(margin_bank)
    assert margin_bank.broker.executions[-1].liquidation
    assert margin_bank.balances().excess >= 0
    assert force(margin_bank.broker, margin_bank) == []


def test_a_short_position_is_covered(margin_bank: Bank, make_ticket: MakeTicket) -> None:
    """All of it when nothing less is enough."""
    margin_bank.trade(make_ticket(action="SELL", quantity=Decimal(190)))
    margin_bank.price("160.00")
    (closing,) = margin_bank.closings()
    assert (closing.action, closing.quantity) == (Action.BUY, 190)


# ---------------------------------------------------------------------- corrections


def test_a_correction_changes_order_cash_and_later_profit(
    margin_bank: Bank, make_ticket: MakeTicket
) -> None:
    """A purchase at another price: the sale after it realizes another profit."""
    margin_bank.trade(make_ticket(quantity=Decimal(100)))
    margin_bank.price("110.00")
    margin_bank.trade(make_ticket(action="SELL", quantity=Decimal(100)))
    bought, sold = margin_bank.broker.executions
    assert sold.realized_pnl == Decimal("996.00")
    events = correct(margin_bank.broker, bought.exec_id, price=Decimal("99.01"))
    kinds = [type(event) for event in events]
    assert kinds == [Filled, OrderUpdate, Commissioned, AccountChange]
    fixed, sold = margin_bank.broker.executions
    assert fixed.exec_id == f"{bought.exec_id[:-2]}02"
    assert sold.realized_pnl == Decimal("1096.00")
    assert margin_bank.account.cash == 10_000 + fixed.cash_change + sold.cash_change
    order = margin_bank.broker.orders[fixed.perm_id]
    assert order.avg_fill_price == order.last_fill_price == Decimal("99.01")


def test_a_bust_takes_the_shares_back(margin_bank: Bank, make_ticket: MakeTicket) -> None:
    """No shares, no commission, an average of 0; the complete order has become a cancelled one."""
    order = margin_bank.trade(make_ticket(quantity=Decimal(100)))
    (execution,) = margin_bank.broker.executions
    correct(margin_bank.broker, execution.exec_id, shares=Decimal(0))
    assert margin_bank.account.cash == 10_000
    assert margin_bank.account.held(AAPL) == 0
    busted = margin_bank.broker.orders[order.perm_id]
    assert (busted.status, busted.filled, busted.commission_usd) == (Status.CANCELLED, 0, 0)
    assert (busted.remaining, busted.avg_fill_price) == (100, 0)
    assert busted.completed_text == "Cancelled by System:"
    with pytest.raises(SimError, match="do not fit"):
        correct(margin_bank.broker, execution.exec_id, shares=Decimal(101))
    with pytest.raises(SimError, match="expected an execution id"):
        correct(margin_bank.broker, "no.such.execution.01")


def test_a_corrected_broker_is_restored_the_same(
    margin_bank: Bank, make_ticket: MakeTicket, samples: Samples
) -> None:
    """From the changes it handed out, corrections among them."""
    changes: list[Order | Execution] = []
    margin_bank.trade(make_ticket(quantity=Decimal(60)))
    margin_bank.trade(make_ticket(action="SELL", quantity=Decimal(90)))
    changes += margin_bank.broker.take_changes()
    correct(margin_bank.broker, margin_bank.broker.executions[0].exec_id, shares=Decimal(50))
    changes += margin_bank.broker.take_changes()
    margin_bank.trade(make_ticket(action="BUY", quantity=Decimal(10)))
    changes += margin_bank.broker.take_changes()
    accounts = {"DU1": AccountSpec("DU1", AccountKind.MARGIN, Decimal(10_000))}
    again = Broker(samples.instruments, accounts, first_perm_id=1)
    again.restore(changes)
    assert again.executions == margin_bank.broker.executions
    assert again.accounts == margin_bank.broker.accounts
    assert again.orders == margin_bank.broker.orders
    assert again.accounts["DU1"].held(AAPL) == -30

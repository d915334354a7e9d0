"""Requests for running profit and loss, of an account or of one position.

IB sends them about once a second, and only when they changed; realized profit of a position not
traded today is unset.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ibloop.sim.brokerage.account import Account, Position
from ibloop.sim.brokerage.margin import value_of
from ibloop.sim.brokerage.profit import account_profit, position_profit
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.protocol.replies import holdings
from ibloop.sim.protocol.requests.accounts import Pnl, PnlSingle
from ibloop.sim.protocol.requests.kinds import ById
from ibloop.sim.protocol.wire import Fields
from ibloop.sim.service.desk import Desk, Handlers
from ibloop.sim.service.handlers.accounts import find_account
from ibloop.sim.service.session import Session

INTERVAL_S = 1.0
ACCOUNT_PNL = "pnl"
POSITION_PNL = "pnl single"


class Content(Protocol):
    """What a profit message says now."""

    def message(self, desk: Desk, version: int) -> Fields:
        """Return the message."""
        ...


@dataclass(frozen=True, slots=True)
class AccountPnl:
    """The profit of an account."""

    req_id: int
    account: Account

    def message(self, desk: Desk, version: int) -> Fields:  # noqa: ARG002 - has no sizes
        """Return message 94."""
        today = new_york_date(desk.world.now())
        profit = account_profit(self.account, desk.world.account_quote_of, today)
        return holdings.pnl(self.req_id, profit.daily, profit.unrealized, profit.realized)


@dataclass(frozen=True, slots=True)
class PositionPnl:
    """The profit of one position; all zero for an instrument that is not held."""

    req_id: int
    account: Account
    con_id: int

    def message(self, desk: Desk, version: int) -> Fields:
        """Return message 95."""
        today = new_york_date(desk.world.now())
        held = self.account.positions.get(self.con_id, Position())
        quote = desk.world.account_quote_of(self.con_id) if held.days else None
        profit = position_profit(held, quote, today)
        return holdings.pnl_single(
            self.req_id,
            held.quantity,
            daily=profit.daily,
            unrealized=profit.unrealized,
            realized=profit.realized if today in held.days else None,
            value=value_of(held, quote),
            version=version,
        )


@dataclass(slots=True)
class PnlFeed:
    """A subscription to profit: what changed, at most once a second."""

    content: Content
    next_s: float = 0.0
    sent: Fields = ()

    def sample(self, desk: Desk, session: Session) -> Iterable[Fields]:
        """Return the message when it is due and new."""
        now_s = desk.world.monotonic_s()
        if now_s < self.next_s:
            return ()
        self.next_s = now_s + INTERVAL_S
        message = self.content.message(desk, session.version)
        if message == self.sent:
            return ()
        self.sent = message
        return (message,)


def pnl(desk: Desk, session: Session, request: Pnl) -> None:
    """Begin to report an account's profit."""
    account = find_account(desk, session, request.req_id, request.account)
    if account is not None:
        feed = PnlFeed(AccountPnl(request.req_id, account))
        session.subscriptions[ACCOUNT_PNL, request.req_id] = feed
        session.send(*feed.sample(desk, session))


def pnl_single(desk: Desk, session: Session, request: PnlSingle) -> None:
    """Begin to report a position's profit."""
    account = find_account(desk, session, request.req_id, request.account)
    if account is not None:
        feed = PnlFeed(PositionPnl(request.req_id, account, request.con_id))
        session.subscriptions[POSITION_PNL, request.req_id] = feed
        session.send(*feed.sample(desk, session))


def cancel_pnl(_desk: Desk, session: Session, request: ById) -> None:
    """End the reports of an account's profit."""
    session.subscriptions.pop((ACCOUNT_PNL, request.req_id), None)


def cancel_pnl_single(_desk: Desk, session: Session, request: ById) -> None:
    """End the reports of a position's profit."""
    session.subscriptions.pop((POSITION_PNL, request.req_id), None)


HANDLERS: Handlers = {
    Pnl: pnl,
    PnlSingle: pnl_single,
    "cancel_pnl": cancel_pnl,
    "cancel_pnl_single": cancel_pnl_single,
}

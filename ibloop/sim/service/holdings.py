"""Positions, account values and portfolio rows, sent to the clients that subscribed."""

from collections.abc import Iterable

from ibloop.sim.brokerage import statement
from ibloop.sim.brokerage.account import Position
from ibloop.sim.brokerage.events import AccountChange
from ibloop.sim.brokerage.margin import mark
from ibloop.sim.brokerage.profit import position_profit
from ibloop.sim.brokerage.statement import AccountValue
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.protocol.replies import holdings
from ibloop.sim.service.desk import Desk
from ibloop.sim.service.session import Session


def values_of(desk: Desk, account_id: str) -> tuple[AccountValue, ...]:
    """Return an account's values now."""
    world = desk.world
    account = world.broker.accounts[account_id]
    return statement.values(account, world.account_quote_of, new_york_date(world.now()))


def tell_account(desk: Desk, change: AccountChange) -> None:
    """Push a position, as an execution left it, to everybody who subscribed."""
    for session in desk.clients.values():
        if session.positions:
            send_position(desk, session, change.account, change.con_id, change.position)
        if session.account and session.account.account == change.account:
            send_portfolio(desk, session, change.account, change.con_id, change.position)
            session.send(holdings.account_time(desk.world.now()))


def refresh_accounts(desk: Desk) -> None:
    """Send what changed in every account to everybody who subscribed."""
    tell_values(desk, desk.world.broker.accounts)
    for session in desk.clients.values():
        if session.account:
            send_portfolios(desk, session, session.account.account)


def tell_values(desk: Desk, account_ids: Iterable[str]) -> None:
    """Send the values of some accounts that are new to the subscriptions of all clients."""
    feeds = [(session, feed) for session in desk.clients.values() for feed in session.feeds()]
    for account_id in account_ids:
        subscribed = [pair for pair in feeds if pair[1].account == account_id]
        if subscribed:
            values = values_of(desk, account_id)
            for session, feed in subscribed:
                session.send(*feed.changes(values))


def send_position(
    desk: Desk, session: Session, account_id: str, con_id: int, held: Position
) -> None:
    """Send one position."""
    instrument = desk.world.samples.instruments[con_id]
    session.send(
        holdings.position(account_id, instrument, held.quantity, held.avg_cost, session.version)
    )


def send_portfolios(desk: Desk, session: Session, account_id: str) -> None:
    """Send what is held or was traded today with its market value, and the time."""
    today = new_york_date(desk.world.now())
    for con_id, held in desk.world.broker.accounts[account_id].positions.items():
        if held.quantity or today in held.days:
            send_portfolio(desk, session, account_id, con_id, held)
    session.send(holdings.account_time(desk.world.now()))


def send_portfolio(
    desk: Desk, session: Session, account_id: str, con_id: int, held: Position
) -> None:
    """Send one position with its market value."""
    world = desk.world
    quote = world.quote_of(con_id)
    profit = position_profit(held, quote, new_york_date(world.now()))
    session.send(
        holdings.portfolio(
            account_id,
            world.samples.instruments[con_id],
            held.quantity,
            avg_cost=held.avg_cost,
            price=mark(quote),
            realized=profit.realized,
            version=session.version,
        )
    )

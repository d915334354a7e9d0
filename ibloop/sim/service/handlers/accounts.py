"""Requests for positions and account values."""

from ibloop.sim.brokerage.account import LEDGER_KEYS
from ibloop.sim.protocol.replies import holdings, system
from ibloop.sim.protocol.requests.accounts import (
    AccountSummary,
    AccountUpdates,
    AccountUpdatesMulti,
)
from ibloop.sim.protocol.requests.kinds import Bare, ById
from ibloop.sim.service.desk import Desk, Handlers
from ibloop.sim.service.session import Session, ValueFeed
from ibloop.sim.service.telling import send_portfolio, send_position

SUMMARIES_MAX = 2


def positions(desk: Desk, session: Session, _request: Bare) -> None:
    """Begin to report positions: those held now, then every change."""
    session.positions = True
    for account in desk.world.broker.accounts.values():
        for con_id, held in account.positions.items():
            if held.quantity:
                send_position(desk, session, account.account_id, con_id)
    session.send(system.end(62))


def cancel_positions(_desk: Desk, session: Session, _request: Bare) -> None:
    """End the reports of positions."""
    session.positions = False


def account_updates(desk: Desk, session: Session, request: AccountUpdates) -> None:
    """Begin or end the reports of one account's values and portfolio."""
    world = desk.world
    name = request.account or next(iter(world.broker.accounts))
    account = world.account(name)
    if not request.subscribe:
        session.account = None
    elif account is None:
        _refuse_account(desk, session, -1, name)
    else:
        session.account = ValueFeed(
            name, lambda key, value, currency: holdings.account_value(name, key, value, currency)
        )
        session.send(*session.account.changes(account.values(world.price_of)))
        for con_id in account.positions:
            send_portfolio(desk, session, name, con_id)
        session.send(holdings.account_time(world.now()), system.end(54, name))


def account_updates_multi(desk: Desk, session: Session, request: AccountUpdatesMulti) -> None:
    """Begin to report one account's values under a request id."""
    world = desk.world
    name = request.account or next(iter(world.broker.accounts))
    account = world.account(name)
    if account is None:
        _refuse_account(desk, session, request.req_id, name)
        return
    feed = ValueFeed(
        name,
        lambda key, value, currency: holdings.account_multi(
            request.req_id, name, key, value, currency, model=request.model_code
        ),
        lambda key, _currency: not request.ledger_only or key in LEDGER_KEYS,
    )
    session.multis[request.req_id] = feed
    session.send(*feed.changes(account.values(world.price_of)))
    session.send(system.end(74, request.req_id))


def cancel_account_updates_multi(_desk: Desk, session: Session, request: ById) -> None:
    """End the reports under a request id."""
    session.multis.pop(request.req_id, None)


def account_summary(desk: Desk, session: Session, request: AccountSummary) -> None:
    """Begin to report chosen values of all accounts; IB allows two such subscriptions."""
    world = desk.world
    taken = set(session.summaries) - {request.req_id}
    if len(taken) >= SUMMARIES_MAX:
        text = "Maximum number of account summary requests exceeded"
        session.error(request.req_id, 322, f"Error processing request.-{text}", world.now())
        return
    feeds = [_summary_feed(name, request) for name in world.broker.accounts]
    session.summaries[request.req_id] = feeds
    for feed in feeds:
        values = world.broker.accounts[feed.account].values(world.price_of)
        session.send(*feed.changes(values))
    session.send(system.end(64, request.req_id))


def _summary_feed(name: str, request: AccountSummary) -> ValueFeed:
    tags = frozenset(request.tags)
    ledgers = {"BASE" if tag == "$LEDGER" else tag.partition(":")[2] for tag in tags if "$" in tag}

    def wants(key: str, currency: str) -> bool:
        of_ledger = key in LEDGER_KEYS and (currency in ledgers or "ALL" in ledgers)
        return of_ledger or (key in tags and currency != "BASE") or "All" in tags

    return ValueFeed(
        name,
        lambda key, value, currency: holdings.account_summary(
            request.req_id, name, key, value, currency
        ),
        wants,
    )


def cancel_account_summary(_desk: Desk, session: Session, request: ById) -> None:
    """End a summary."""
    session.summaries.pop(request.req_id, None)


def _refuse_account(desk: Desk, session: Session, req_id: int, name: str) -> None:
    text = f"Error validating request.-'bW' : cause - Invalid account code '{name}'"
    session.error(req_id, 321, text, desk.world.now())


HANDLERS: Handlers = {
    AccountUpdates: account_updates,
    AccountUpdatesMulti: account_updates_multi,
    AccountSummary: account_summary,
    "positions": positions,
    "cancel_positions": cancel_positions,
    "cancel_account_updates_multi": cancel_account_updates_multi,
    "cancel_account_summary": cancel_account_summary,
}

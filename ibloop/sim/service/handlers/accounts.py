"""Requests for positions and account values."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from ibloop.sim.brokerage.account import Account
from ibloop.sim.brokerage.margin import open_positions
from ibloop.sim.brokerage.statement import LEDGER_KEYS
from ibloop.sim.protocol.replies import holdings, system
from ibloop.sim.protocol.requests.accounts import (
    AccountSummary,
    AccountUpdates,
    AccountUpdatesMulti,
    PositionsMulti,
)
from ibloop.sim.protocol.requests.kinds import Bare, ById
from ibloop.sim.protocol.wire import Fields
from ibloop.sim.service.desk import Desk, Handlers
from ibloop.sim.service.holdings import send_portfolios, send_position, values_of
from ibloop.sim.service.session import Session, ValueFeed

SUMMARIES_MAX = 2
POSITIONS = "positions"
UNSUBSCRIBED = "API client has been unsubscribed from account data."
TOO_MANY_SUMMARIES = (
    "Error processing request.-'Q' : cause - Maximum number of account summary requests "
    "exceeded; desubscribe to previous request first"
)

# ---------------------------------------------------------------------- positions


def positions(desk: Desk, session: Session, _request: Bare) -> None:
    """Begin to report positions: those held now, then every change."""
    session.positions = True
    for account in desk.world.broker.accounts.values():
        for con_id, held in open_positions(account):
            send_position(desk, session, account.account_id, con_id, held)
    session.send(system.end(62))


def cancel_positions(_desk: Desk, session: Session, _request: Bare) -> None:
    """End the reports of positions."""
    session.positions = False


@dataclass(slots=True)
class PositionsFeed:
    """A subscription to the positions of some accounts: those that changed since last told."""

    req_id: int
    accounts: list[Account]
    sent: dict[tuple[str, int], tuple[Decimal, Decimal]] = field(default_factory=dict)

    def sample(self, desk: Desk, session: Session) -> Iterable[Fields]:
        """Return the positions that changed; one that is gone is told once, with no shares."""
        for account in self.accounts:
            for con_id, held in account.positions.items():
                key, now = (account.account_id, con_id), (held.quantity, held.avg_cost)
                if self.sent.get(key, (0, 0)) != now:
                    self.sent[key] = now
                    instrument = desk.world.samples.instruments[con_id]
                    yield holdings.position_multi(
                        self.req_id, account.account_id, instrument, *now, session.version
                    )


def positions_multi(desk: Desk, session: Session, request: PositionsMulti) -> None:
    """Begin to report the positions of one account, or of all; models hold nothing here."""
    accounts = list(desk.world.broker.accounts.values())
    if request.account:
        found = find_account(desk, session, request.req_id, request.account)
        if found is None:
            return
        accounts = [found]
    feed = PositionsFeed(request.req_id, [] if request.model_code else accounts)
    session.subscriptions[POSITIONS, request.req_id] = feed
    session.send(*feed.sample(desk, session), system.end(72, request.req_id))


def cancel_positions_multi(_desk: Desk, session: Session, request: ById) -> None:
    """End the reports of positions under a request id."""
    session.subscriptions.pop((POSITIONS, request.req_id), None)


# ---------------------------------------------------------------------- account values


def account_updates(desk: Desk, session: Session, request: AccountUpdates) -> None:
    """Begin or end the reports of one account's values and portfolio.

    A client has one such subscription; 2100 says that it ended, also by one of another account.
    """
    if not request.subscribe:
        if session.account is not None:
            session.account = None
            session.error(-1, 2100, UNSUBSCRIBED, desk.world.now())
        return
    account = find_account(desk, session, -1, request.account)
    if account is None:
        return
    name = account.account_id
    if session.account is not None and session.account.account != name:
        session.error(-1, 2100, UNSUBSCRIBED, desk.world.now())
    session.account = ValueFeed(
        name, lambda key, value, currency: holdings.account_value(name, key, value, currency)
    )
    session.send(*session.account.changes(values_of(desk, name)))
    send_portfolios(desk, session, name)
    session.send(system.end(54, name))


def account_updates_multi(desk: Desk, session: Session, request: AccountUpdatesMulti) -> None:
    """Begin to report one account's values under a request id."""
    account = find_account(desk, session, request.req_id, request.account)
    if account is None:
        return
    name = account.account_id
    feed = ValueFeed(
        name,
        lambda key, value, currency: holdings.account_multi(
            request.req_id, name, key, value, currency, model=request.model_code
        ),
        lambda key, _: not request.ledger_only or key in LEDGER_KEYS | {"NetLiquidation"},
    )
    session.multis[request.req_id] = feed
    session.send(*feed.changes(values_of(desk, name)), system.end(74, request.req_id))


def cancel_account_updates_multi(_desk: Desk, session: Session, request: ById) -> None:
    """End the reports under a request id."""
    session.multis.pop(request.req_id, None)


def account_summary(desk: Desk, session: Session, request: AccountSummary) -> None:
    """Begin to report chosen values of all accounts; IB allows two such subscriptions."""
    accounts, now = desk.world.broker.accounts, desk.world.now()
    if len(set(session.summaries) | {request.req_id}) > SUMMARIES_MAX:
        session.error(request.req_id, 322, TOO_MANY_SUMMARIES, now)
        return
    if request.group not in {"", "All", *accounts}:
        text = f"Error validating request.-'bG' : cause - Invalid group '{request.group}'"
        session.error(request.req_id, 321, text, now)
        return
    names = [request.group] if request.group in accounts else list(accounts)
    feeds = [_summary_feed(name, request) for name in names]
    session.summaries[request.req_id] = feeds
    for feed in feeds:
        session.send(*feed.changes(values_of(desk, feed.account)))
    session.send(system.end(64, request.req_id))


def _summary_feed(name: str, request: AccountSummary) -> ValueFeed:
    """Return a feed of the tags asked for.

    $LEDGER is the ledger in the base currency, $LEDGER:USD in that one, $LEDGER:ALL in all.
    """
    tags = frozenset(request.tags)
    ledgers = {"BASE" if tag == "$LEDGER" else tag.partition(":")[2] for tag in tags if "$" in tag}

    def wants(key: str, currency: str) -> bool:
        if key in LEDGER_KEYS and (currency in ledgers or "ALL" in ledgers):
            return True
        return currency != "BASE" and (key in tags or "All" in tags)

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


def find_account(desk: Desk, session: Session, req_id: int, name: str) -> Account | None:
    """Return an account by its id, the first one for ''; answer 321 when there is none."""
    known = desk.world.broker.accounts
    account = known.get(name or next(iter(known)))
    if account is None:
        text = f"Error validating request.-'bW' : cause - Invalid account code '{name}'"
        session.error(req_id, 321, text, desk.world.now())
    return account


HANDLERS: Handlers = {
    AccountUpdates: account_updates,
    AccountUpdatesMulti: account_updates_multi,
    AccountSummary: account_summary,
    PositionsMulti: positions_multi,
    "positions": positions,
    "cancel_positions": cancel_positions,
    "cancel_positions_multi": cancel_positions_multi,
    "cancel_account_updates_multi": cancel_account_updates_multi,
    "cancel_account_summary": cancel_account_summary,
}

"""Requests that only read the world or change a subscription: one function per request."""

from datetime import UTC, datetime

from ibloop.sim.brokerage.account import LEDGER_KEYS
from ibloop.sim.brokerage.checks import parse_good_till
from ibloop.sim.model import Execution, Instrument, Order
from ibloop.sim.protocol import orderlayout
from ibloop.sim.protocol.replies import contracts, fills, holdings, system, ticks
from ibloop.sim.protocol.requests import (
    AccountSummary,
    AccountUpdates,
    AccountUpdatesMulti,
    Bare,
    ById,
    ContractDetails,
    Executions,
    MarketData,
    Unserved,
)
from ibloop.sim.protocol.wire import NEW_YORK, Fields
from ibloop.sim.service.session import MarketLine, Session, ValueFeed
from ibloop.sim.world import World

NOT_FOUND = "No security definition has been found for the request"
MARKET_LINES_MAX = 100
SUMMARIES_MAX = 2
LIVE_DATA = 1


def current_time(world: World, session: Session, _request: Bare) -> None:
    """Answer reqCurrentTime."""
    session.send(system.current_time(world.now()))


def current_time_millis(world: World, session: Session, _request: Bare) -> None:
    """Answer reqCurrentTimeInMillis."""
    session.send(system.current_time_millis(world.now()))


def ids(world: World, session: Session, _request: Bare) -> None:
    """Answer reqIds."""
    session.send(system.next_valid_id(world.broker.next_order_id(session.client_id or 0)))


def managed_accounts(world: World, session: Session, _request: Bare) -> None:
    """Answer reqManagedAccts."""
    session.send(system.managed_accounts(tuple(world.broker.accounts)))


def user_info(_world: World, session: Session, request: ById) -> None:
    """Answer reqUserInfo."""
    session.send(system.user_info(request.req_id))


def market_rule(_world: World, session: Session, request: ById) -> None:
    """Answer reqMarketRule."""
    session.send(contracts.market_rule(request.req_id))


def market_data_type(_world: World, _session: Session, _request: ById) -> None:
    """Accept reqMarketDataType in silence: the simulated subscription always has live data."""


def auto_open_orders(world: World, session: Session, _request: ById) -> None:
    """Refuse reqAutoOpenOrders to all but client 0; there are no manual orders to bind."""
    if session.client_id != 0:
        text = "Only API connections with clientId set to 0 can set the auto bind TWS orders"
        session.error(-1, 327, f"{text} property.", world.now())


def contract_details(world: World, session: Session, request: ContractDetails) -> None:
    """Answer reqContractDetails: the one instrument that fits, or error 200."""
    instrument = world.samples.find(request.contract)
    if instrument is None:
        session.error(request.req_id, 200, NOT_FOUND, world.now())
        return
    details = contracts.contract_details(request.req_id, instrument, session.version, world.now())
    session.send(details, system.end(52, request.req_id))


# ---------------------------------------------------------------------- market data


def market_data(world: World, session: Session, request: MarketData) -> None:
    """Begin a stream, or send one snapshot."""
    instrument = world.samples.find(request.contract)
    req_id = request.req_id
    if instrument is None:
        session.error(req_id, 200, NOT_FOUND, world.now())
    elif req_id in session.lines:
        session.error(req_id, 322, "Error processing request.-Duplicate ticker id", world.now())
    elif not request.snapshot and len(session.lines) >= MARKET_LINES_MAX:
        session.error(req_id, 101, "Max number of tickers has been reached.", world.now())
    else:
        line = MarketLine(req_id, instrument)
        session.send(ticks.tick_req_params(req_id, instrument))
        session.send(ticks.market_data_type(req_id, LIVE_DATA))
        send_ticks(world, session, line)
        if request.snapshot:
            session.send(system.end(57, req_id))
        else:
            session.lines[req_id] = line


def send_ticks(world: World, session: Session, line: MarketLine) -> None:
    """Send what changed on one market data line since the last sample."""
    quote = world.quote_of(line.instrument.con_id)
    if quote is not None:
        session.send(*line.changes(quote, world.now(), session.version))


def cancel_market_data(world: World, session: Session, request: ById) -> None:
    """End a stream."""
    if session.lines.pop(request.req_id, None) is None:
        text = f"Can't find EId with tickerId:{request.req_id}"
        session.error(request.req_id, 300, text, world.now())


# ---------------------------------------------------------------------- orders and executions


def order_messages(
    order: Order,
    instrument: Instrument,
    version: int,
    preview: orderlayout.Preview | None = None,
) -> tuple[Fields, ...]:
    """Return openOrder and, always right behind it, orderStatus; a preview has no status."""
    shown = orderlayout.open_order(order, instrument, version, preview)
    return (shown,) if preview else (shown, fills.order_status(order, version))


def open_orders(world: World, session: Session, request: Bare) -> set[int]:
    """Answer reqOpenOrders (own orders) and reqAllOpenOrders; return the permIds told."""
    orders = world.broker.live_orders()
    if request.name == "open_orders":
        orders = [order for order in orders if order.client_id == session.client_id]
    for order in orders:
        instrument = world.samples.instruments[order.con_id]
        session.send(*order_messages(order, instrument, session.version))
    session.send(system.end(53))
    return {order.perm_id for order in orders}


def completed_orders(world: World, session: Session, _request: Bare) -> set[int]:
    """Answer reqCompletedOrders: today's finished orders of every client."""
    today = world.now().astimezone(NEW_YORK).date()
    orders = [
        order
        for order in world.broker.orders.values()
        if order.completed_at and order.completed_at.astimezone(NEW_YORK).date() == today
    ]
    for order in orders:
        instrument = world.samples.instruments[order.con_id]
        session.send(orderlayout.completed_order(order, instrument, session.version))
    session.send(system.completed_orders_end())
    return {order.perm_id for order in orders}


def executions(world: World, session: Session, request: Executions, *, sees_all: bool) -> set[int]:
    """Answer reqExecutions: since midnight in New York, the client's own unless it sees all."""
    found = [
        execution
        for execution in world.broker.executions
        if (sees_all or execution.client_id == session.client_id)
        and _passes(request, execution, world.now())
    ]
    for execution in found:
        instrument = world.samples.instruments[execution.con_id]
        session.send(
            fills.exec_details(request.req_id, execution, instrument, session.version),
            fills.commission_report(execution),
        )
    session.send(system.end(55, request.req_id))
    return {execution.perm_id for execution in found}


def _passes(request: Executions, execution: Execution, now: datetime) -> bool:
    """Tell whether an execution is of the day and fits the filter's non-empty fields."""
    day = execution.time.astimezone(NEW_YORK).date()
    if request.dates:
        if day.strftime("%Y%m%d") not in request.dates:
            return False
    elif day != now.astimezone(NEW_YORK).date():
        return False
    since = parse_good_till(request.time.replace("  ", " ")) if request.time else None
    sides = {"", execution.action, execution.action.execution_side}
    return (
        request.client_id in {0, execution.client_id}
        and request.account in {"", execution.account}
        and request.symbol in {"", execution.symbol}
        and request.sec_type in {"", "STK"}
        and request.side.upper() in sides
        and (since is None or execution.time >= since.astimezone(UTC))
    )


# ---------------------------------------------------------------------- accounts


def positions(world: World, session: Session, _request: Bare) -> None:
    """Begin to report positions: those held now, then every change."""
    session.positions = True
    for account in world.broker.accounts.values():
        for con_id, held in account.positions.items():
            if held.quantity:
                send_position(world, session, account.account_id, con_id)
    session.send(system.end(62))


def send_position(world: World, session: Session, account_id: str, con_id: int) -> None:
    """Send one position as it is now."""
    held = world.broker.accounts[account_id].positions[con_id]
    instrument = world.samples.instruments[con_id]
    session.send(
        holdings.position(account_id, instrument, held.quantity, held.avg_cost, session.version)
    )


def cancel_positions(_world: World, session: Session, _request: Bare) -> None:
    """End the reports of positions."""
    session.positions = False


def account_updates(world: World, session: Session, request: AccountUpdates) -> None:
    """Begin or end the reports of one account's values and portfolio."""
    name = request.account or next(iter(world.broker.accounts))
    account = world.account(name)
    if not request.subscribe:
        session.account = None
    elif account is None:
        _refuse_account(world, session, -1, name)
    else:
        session.account = ValueFeed(
            name, lambda key, value, currency: holdings.account_value(name, key, value, currency)
        )
        session.send(*session.account.changes(account.values(world.price_of)))
        for con_id in account.positions:
            send_portfolio(world, session, name, con_id)
        session.send(holdings.account_time(world.now()), system.end(54, name))


def send_portfolio(world: World, session: Session, account_id: str, con_id: int) -> None:
    """Send one position with its market value."""
    held = world.broker.accounts[account_id].positions[con_id]
    session.send(
        holdings.portfolio(
            account_id,
            world.samples.instruments[con_id],
            held.quantity,
            avg_cost=held.avg_cost,
            price=world.price_of(con_id),
            realized=held.realized,
            version=session.version,
        )
    )


def account_updates_multi(world: World, session: Session, request: AccountUpdatesMulti) -> None:
    """Begin to report one account's values under a request id."""
    name = request.account or next(iter(world.broker.accounts))
    account = world.account(name)
    if account is None:
        _refuse_account(world, session, request.req_id, name)
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


def cancel_account_updates_multi(_world: World, session: Session, request: ById) -> None:
    """End the reports under a request id."""
    session.multis.pop(request.req_id, None)


def account_summary(world: World, session: Session, request: AccountSummary) -> None:
    """Begin to report chosen values of all accounts; IB allows two such subscriptions."""
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


def cancel_account_summary(_world: World, session: Session, request: ById) -> None:
    """End a summary."""
    session.summaries.pop(request.req_id, None)


def _refuse_account(world: World, session: Session, req_id: int, name: str) -> None:
    text = f"Error validating request.-'bW' : cause - Invalid account code '{name}'"
    session.error(req_id, 321, text, world.now())


def unserved(world: World, session: Session, request: Unserved) -> None:
    """Refuse a request the simulator knows of and does not serve."""
    text = f"Error validating request.-'bW' : cause - The simulator does not serve {request.name}"
    session.error(request.req_id, 321, text, world.now())

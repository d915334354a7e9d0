"""Requests about the connection, the clock and ids."""

import logging

from ibloop.sim.protocol.replies import system
from ibloop.sim.protocol.requests import Unserved
from ibloop.sim.protocol.requests.kinds import Bare, ById
from ibloop.sim.service.desk import Desk, Handlers
from ibloop.sim.service.session import Session

log = logging.getLogger(__name__)

# Requests that are refused in another way than "not served". IB's texts.
_FA = "Error validating request.-'bO' : cause - FA data operations ignored for non FA customers."
REFUSALS = {
    10: (
        10092,
        "Deep market data is not supported for this combination of security type/exchange",
    ),
    11: (310, "Can't find the subscribed market depth with tickerId:{req_id}"),
    18: (321, _FA),
    19: (321, _FA),
    # ib_async takes 321 for a warning and waits on for ever; these end its requests.
    22: (162, "Historical Market Data Service error message:Scanners are not simulated"),
    23: (365, "No scanner subscription found for ticker id:{req_id}"),
    52: (430, "The fundamentals data for the security specified is not available."),
    84: (10276, "News feed is not allowed."),
    86: (10276, "News feed is not allowed."),
    100: (10276, "News feed is not allowed."),
    102: (10276, "News feed is not allowed."),
}
# Ends of subscriptions that cannot exist need no answer.
SILENT = frozenset({53, 56, 57, 69, 70, 101, 103})


def current_time(desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqCurrentTime, but not twice within the same second (ib_insync issue 479)."""
    now = desk.world.now()
    second = int(now.timestamp())
    if second != session.time_told_s or desk.options.repeats_time:
        session.time_told_s = second
        session.send(system.current_time(now))


def current_time_millis(desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqCurrentTimeInMillis."""
    session.send(system.current_time_millis(desk.world.now()))


def ids(desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqIds."""
    session.send(system.next_valid_id(desk.world.broker.next_order_id(session.client_id or 0)))


def managed_accounts(desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqManagedAccts."""
    session.send(system.managed_accounts(tuple(desk.world.broker.accounts)))


def user_info(_desk: Desk, session: Session, request: ById) -> None:
    """Answer reqUserInfo."""
    session.send(system.user_info(request.req_id))


def server_log_level(_desk: Desk, _session: Session, _request: Bare) -> None:
    """Accept setServerLogLevel in silence: the simulator's own options set its log."""


def news_bulletins(_desk: Desk, _session: Session, _request: Bare) -> None:
    """Accept the beginning or end of news bulletins in silence: there are none."""


def soft_dollar_tiers(_desk: Desk, session: Session, request: ById) -> None:
    """Answer reqSoftDollarTiers: none."""
    session.send(system.soft_dollar_tiers(request.req_id))


def family_codes(desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqFamilyCodes: no account belongs to a family."""
    session.send(system.family_codes(tuple(desk.world.broker.accounts)))


def depth_exchanges(_desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqMktDepthExchanges: none."""
    session.send(system.depth_exchanges())


def scanner_parameters(_desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqScannerParameters: there is nothing to choose from."""
    session.send(system.scanner_parameters())


def smart_components(_desk: Desk, session: Session, request: ById) -> None:
    """Answer reqSmartComponents: no letters for exchanges."""
    session.send(system.smart_components(request.req_id))


def news_providers(_desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqNewsProviders: none."""
    session.send(system.news_providers())


def unserved(desk: Desk, session: Session, request: Unserved) -> None:
    """Refuse a request the simulator knows of and does not serve."""
    log.warning("client %s: %s is not served", session.client_id, request.name)
    if request.message_id in SILENT:
        return
    cause = f"The simulator does not serve {request.name}"
    other = (321, f"Error validating request.-'bW' : cause - {cause}")
    code, text = REFUSALS.get(request.message_id, other)
    text = text.replace("{req_id}", str(request.req_id))
    session.error(request.req_id, code, text, desk.world.now())


HANDLERS: Handlers = {
    "current_time": current_time,
    "current_time_millis": current_time_millis,
    "depth_exchanges": depth_exchanges,
    "family_codes": family_codes,
    "ids": ids,
    "managed_accounts": managed_accounts,
    "news_bulletins": news_bulletins,
    "cancel_news_bulletins": news_bulletins,
    "news_providers": news_providers,
    "scanner_parameters": scanner_parameters,
    "server_log_level": server_log_level,
    "smart_components": smart_components,
    "soft_dollar_tiers": soft_dollar_tiers,
    "user_info": user_info,
    Unserved: unserved,
}

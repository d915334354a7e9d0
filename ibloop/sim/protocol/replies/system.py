"""Replies about the connection, the clock and the end of lists."""

from collections.abc import Sequence
from datetime import datetime

from ibloop.sim.protocol.wire import (
    Fields,
    Since,
)


def error(req_id: int, code: int, text: str, version: int, now: datetime) -> Fields:
    """4: an error, warning or notice; `req_id` is -1 for the system's own."""
    fields = ["4"] + ([] if version >= Since.ERROR_TIME else ["2"])
    fields += [str(req_id), str(code), text]
    if version >= Since.ADVANCED_REJECT:
        fields.append("")
    if version >= Since.ERROR_TIME:
        fields.append(str(int(now.timestamp() * 1000)))
    return tuple(fields)


def managed_accounts(accounts: Sequence[str]) -> Fields:
    """15: the accounts of this login."""
    return ("15", "1", ",".join(accounts))


def next_valid_id(order_id: int) -> Fields:
    """9: the lowest order id this client may use."""
    return ("9", "1", str(order_id))


def current_time(now: datetime) -> Fields:
    """49: server time in whole seconds."""
    return ("49", "1", str(int(now.timestamp())))


def current_time_millis(now: datetime) -> Fields:
    """109: server time in milliseconds."""
    return ("109", str(int(now.timestamp() * 1000)))


def user_info(req_id: int) -> Fields:
    """107: no white branding."""
    return ("107", str(req_id), "")


def soft_dollar_tiers(req_id: int) -> Fields:
    """77: no soft dollar tiers."""
    return ("77", str(req_id), "0")


def family_codes(accounts: Sequence[str]) -> Fields:
    """78: the accounts, none of which belongs to a family."""
    codes = (text for account in accounts for text in (account, ""))
    return ("78", str(len(accounts)), *codes)


def depth_exchanges() -> Fields:
    """80: no exchange shows its depth."""
    return ("80", "0")


def news_providers() -> Fields:
    """85: no news provider is subscribed to."""
    return ("85", "0")


def scanner_parameters() -> Fields:
    """19: a document without a scanner."""
    return ("19", "1", '<?xml version="1.0" encoding="UTF-8"?><ScanParameterResponse/>')


def smart_components(req_id: int) -> Fields:
    """82: no letters for exchanges."""
    return ("82", str(req_id), "0")


def end(message_id: int, *values: object) -> Fields:
    """Mark the end of an answer (52-55, 57, 62, 64, 74), with its literal version 1."""
    return (str(message_id), "1", *map(str, values))


def completed_orders_end() -> Fields:
    """102: end of completed orders, the only end without a version field."""
    return ("102",)

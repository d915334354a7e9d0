"""Requests about the connection, the clock and ids."""

from dataclasses import dataclass

from ibloop.sim.protocol.requests.kinds import Parsers, bare, by_id
from ibloop.sim.protocol.wire import FieldReader


@dataclass(frozen=True, slots=True)
class StartApi:
    """71: the client names itself."""

    client_id: int


def _start_api(reader: FieldReader, _version: int) -> StartApi:
    reader.skip(1)
    client_id = reader.integer()
    reader.skip(1)
    return StartApi(client_id)


PARSERS: Parsers = {
    8: bare("ids", 2),
    12: bare("news_bulletins", 2),
    13: bare("cancel_news_bulletins", 1),
    14: bare("server_log_level", 2),
    17: bare("managed_accounts", 1),
    24: bare("scanner_parameters", 1),
    49: bare("current_time", 1),
    71: _start_api,
    79: by_id("soft_dollar_tiers", 0),
    80: bare("family_codes", 0),
    82: bare("depth_exchanges", 0),
    83: by_id("smart_components", 0, 1),
    85: bare("news_providers", 0),
    104: by_id("user_info", 0),
    105: bare("current_time_millis", 0),
}

"""Every request of IB's list, served or not: its name, where its id stands, since which version.

What the simulator serves is said by the tables of parsers; this one says what else a client may
send, so that a request which is not served gets its error under its own id.
"""

from dataclasses import dataclass

from ibloop.sim.protocol.wire import Since


@dataclass(frozen=True, slots=True)
class Known:
    """A request by IB's name; `id_at` is the position of its id, None when it carries none."""

    name: str
    id_at: int | None = None
    since: int = 0


KNOWN: dict[int, Known] = {
    1: Known("reqMktData", 2),
    2: Known("cancelMktData", 2),
    3: Known("placeOrder", 1),
    4: Known("cancelOrder", 2),
    5: Known("reqOpenOrders"),
    6: Known("reqAccountUpdates"),
    7: Known("reqExecutions", 2),
    8: Known("reqIds"),
    9: Known("reqContractDetails", 2),
    10: Known("reqMktDepth", 2),
    11: Known("cancelMktDepth", 2),
    12: Known("reqNewsBulletins"),
    13: Known("cancelNewsBulletins"),
    14: Known("setServerLogLevel"),
    15: Known("reqAutoOpenOrders"),
    16: Known("reqAllOpenOrders"),
    17: Known("reqManagedAccts"),
    18: Known("requestFA"),
    19: Known("replaceFA"),
    20: Known("reqHistoricalData", 1),
    21: Known("exerciseOptions", 2),
    22: Known("reqScannerSubscription", 1),
    23: Known("cancelScannerSubscription", 2),
    24: Known("reqScannerParameters"),
    25: Known("cancelHistoricalData", 2),
    49: Known("reqCurrentTime"),
    50: Known("reqRealTimeBars", 2),
    51: Known("cancelRealTimeBars", 2),
    52: Known("reqFundamentalData", 2),
    53: Known("cancelFundamentalData", 2),
    54: Known("calculateImpliedVolatility", 2),
    55: Known("calculateOptionPrice", 2),
    56: Known("cancelCalculateImpliedVolatility", 2),
    57: Known("cancelCalculateOptionPrice", 2),
    58: Known("reqGlobalCancel"),
    59: Known("reqMarketDataType"),
    61: Known("reqPositions"),
    62: Known("reqAccountSummary", 2),
    63: Known("cancelAccountSummary", 2),
    64: Known("cancelPositions"),
    65: Known("verifyRequest"),
    66: Known("verifyMessage"),
    67: Known("queryDisplayGroups", 2),
    68: Known("subscribeToGroupEvents", 2),
    69: Known("updateDisplayGroup", 2),
    70: Known("unsubscribeFromGroupEvents", 2),
    71: Known("startApi"),
    72: Known("verifyAndAuthRequest"),
    73: Known("verifyAndAuthMessage"),
    74: Known("reqPositionsMulti", 2),
    75: Known("cancelPositionsMulti", 2),
    76: Known("reqAccountUpdatesMulti", 2),
    77: Known("cancelAccountUpdatesMulti", 2),
    78: Known("reqSecDefOptParams", 1),
    79: Known("reqSoftDollarTiers", 1),
    80: Known("reqFamilyCodes"),
    81: Known("reqMatchingSymbols", 1),
    82: Known("reqMktDepthExchanges"),
    83: Known("reqSmartComponents", 1),
    84: Known("reqNewsArticle", 1),
    85: Known("reqNewsProviders"),
    86: Known("reqHistoricalNews", 1),
    87: Known("reqHeadTimeStamp", 1),
    88: Known("reqHistogramData", 1),
    89: Known("cancelHistogramData", 1),
    90: Known("cancelHeadTimeStamp", 1),
    91: Known("reqMarketRule"),
    92: Known("reqPnL", 1),
    93: Known("cancelPnL", 1),
    94: Known("reqPnLSingle", 1),
    95: Known("cancelPnLSingle", 1),
    96: Known("reqHistoricalTicks", 1),
    97: Known("reqTickByTickData", 1),
    98: Known("cancelTickByTickData", 1),
    99: Known("reqCompletedOrders"),
    100: Known("reqWshMetaData", 1, Since.WSH_EVENTS),
    101: Known("cancelWshMetaData", 1, Since.WSH_EVENTS),
    102: Known("reqWshEventData", 1, Since.WSH_EVENTS),
    103: Known("cancelWshEventData", 1, Since.WSH_EVENTS),
    104: Known("reqUserInfo", 1, Since.USER_INFO),
    105: Known("reqCurrentTimeInMillis", None, Since.CURRENT_TIME_MILLIS),
}


def id_position(message_id: int, version: int) -> int | None:
    """Return where a request carries its id; cancelOrder lost the field before it in 192."""
    if message_id == 4 and version >= Since.MANUAL_ORDER_INDICATOR:
        return 1
    known = KNOWN.get(message_id)
    return known.id_at if known else None

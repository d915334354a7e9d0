"""Every request of IB's list as a client writes it at a server version.

Written from IB's field orders, independently of the simulator's parsers: the tests and the fuzzer
use it to speak as a client, and to know how long a request is.
"""

from collections.abc import Sequence
from typing import Any

# The versions a gateway offers: never 158 nor 187 to 189.
VERSIONS = (157, *range(159, 187), *range(190, 201))
ACCOUNT = "DU1234567"

_UNTIL_HIDDEN = (
    "secIdType secId action totalQuantity orderType lmtPrice auxPrice tif ocaGroup account"
    " openClose origin orderRef transmit parentId blockOrder sweepToFill displaySize triggerMethod"
    " outsideRth hidden"
)
_UNTIL_FA = (
    "sharesAllocation discretionaryAmt goodAfterTime goodTillDate faGroup faMethod faPercentage"
)
_UNTIL_DELTA_NEUTRAL = (
    "modelCode shortSaleSlot designatedLocation exemptCode ocaType rule80A settlingFirm allOrNone"
    " minQty percentOffset eTradeOnly firmQuoteOnly nbboPriceCap auctionStrategy startingPrice"
    " stockRefPrice delta stockRangeLower stockRangeUpper overridePercentageConstraints volatility"
    " volatilityType deltaNeutralOrderType deltaNeutralAuxPrice"
)
_UNTIL_SCALE = (
    "continuousUpdate referencePriceType trailStopPrice trailingPercent scaleInitLevelSize"
    " scaleSubsLevelSize scalePriceIncrement"
)
_SCALE = (
    "scalePriceAdjustValue scalePriceAdjustInterval scaleProfitOffset scaleAutoReset"
    " scaleInitPosition scaleInitFillQty scaleRandomPercent"
)
_ADJUSTED = (
    "adjustedOrderType triggerPrice lmtPriceOffset adjustedStopPrice adjustedStopLimitPrice"
    " adjustedTrailingAmount adjustableTrailingUnit extOperator softDollarTierName"
    " softDollarTierVal cashQty mifid2DecisionMaker mifid2DecisionAlgo mifid2ExecutionTrader"
    " mifid2ExecutionAlgo dontUseAutoPriceForHedge isOmsContainer discretionaryUpToLimitPrice"
    " usePriceMgmtAlgo"
)
_NEWER = (
    (158, "duration"),
    (160, "postToAts"),
    (162, "autoCancelParent"),
    (166, "advancedErrorOverride"),
    (169, "manualOrderTime"),
)
_NEWEST = (
    (183, "customerAccount"),
    (184, "professionalCustomer"),
    (189, "includeOvernight"),
    (192, "manualOrderIndicator"),
    (199, "imbalanceOnly"),
)
_DEFAULTS: dict[str, object] = {
    "conId": 265598,
    "symbol": "AAPL",
    "secType": "STK",
    "strike": "0.0",
    "exchange": "SMART",
    "currency": "USD",
    "action": "BUY",
    "totalQuantity": 50,
    "orderType": "MKT",
    "tif": "DAY",
    "openClose": "O",
    "transmit": 1,
    "exemptCode": -1,
    "discretionaryAmt": "0.0",
}
_ZERO = (
    "origin parentId blockOrder sweepToFill displaySize triggerMethod outsideRth hidden"
    " shortSaleSlot ocaType allOrNone eTradeOnly firmQuoteOnly auctionStrategy"
    " overridePercentageConstraints continuousUpdate optOutSmartRouting notHeld deltaNeutral whatIf"
    " solicited randomizeSize randomizePrice adjustableTrailingUnit dontUseAutoPriceForHedge"
    " isOmsContainer discretionaryUpToLimitPrice usePriceMgmtAlgo autoCancelParent"
    " professionalCustomer includeOvernight imbalanceOnly"
)


def contract(**given: object) -> list[object]:
    """Return the twelve fields of a contract, AAPL unless told otherwise."""
    names = (
        "conId symbol secType lastTradeDateOrContractMonth strike right multiplier exchange"
        " primaryExchange currency localSymbol tradingClass"
    )
    return _take(given, names)


def place_order(order_id: int, version: int = 176, **given: Any) -> tuple[str, ...]:
    """Return placeOrder: a plain market order for 50 AAPL unless told otherwise by IB's names.

    Groups are given as sequences: `legs` and `orderLegs` of a BAG, `algoParams` of an
    `algoStrategy`, `conditions` as field sequences that begin with their type, and `pegged`, the
    fields only some order types have at 170 and above.
    """
    fields: list[object] = [3, order_id, *contract(**given), *_take(given, _UNTIL_HIDDEN)]
    if given.get("secType") == "BAG":
        fields += _group(given.get("legs", ())) + _group(given.get("orderLegs", ()))
        fields += _group(given.get("smartParams", ()))
    fields += _take(given, _UNTIL_FA) + ([""] if version < 177 else [])
    fields += _take(given, _UNTIL_DELTA_NEUTRAL)
    if given.get("deltaNeutralOrderType"):
        fields += [0, "", "", "", "", 0, 0, ""]
    fields += _take(given, _UNTIL_SCALE)
    if given.get("scalePriceIncrement"):
        fields += _take(given, _SCALE)
    fields += _take(given, "scaleTable activeStartTime activeStopTime hedgeType")
    if given.get("hedgeType"):
        fields += _take(given, "hedgeParam")
    fields += _take(given, "optOutSmartRouting clearingAccount clearingIntent notHeld deltaNeutral")
    if given.get("deltaNeutral"):
        fields += [8314, "0.5", "10.0"]
    fields += _take(given, "algoStrategy")
    if given.get("algoStrategy"):
        fields += _group(given.get("algoParams", ()))
    fields += _take(given, "algoId whatIf orderMiscOptions solicited randomizeSize randomizePrice")
    if given.get("orderType") == "PEG BENCH":
        fields += [8314, 0, "0.1", "0.1", "NYSE"]
    fields += _group(given.get("conditions", ()))
    if given.get("conditions"):
        fields += [0, 0]
    fields += _take(given, _ADJUSTED)
    fields += [given.get(name, _default(name)) for since, name in _NEWER if version >= since]
    fields += given.get("pegged", ()) if version >= 170 else ()
    fields += [given.get(name, _default(name)) for since, name in _NEWEST if version >= since]
    return tuple(map(str, fields))


def _default(name: str) -> object:
    return _DEFAULTS.get(name, 0 if name in _ZERO.split() else "")


def _take(given: dict[str, Any], names: str) -> list[object]:
    return [given.get(name, _default(name)) for name in names.split()]


def _group(items: Sequence[Sequence[object]]) -> list[object]:
    return [len(items), *(field for item in items for field in item)]


def requests(version: int, req_id: int = 5) -> dict[int, tuple[str, ...]]:
    """Return one whole request of every kind, by message id, as written at this version."""
    stock = contract()
    bars = (*stock, 0, "", "1 day", "1 M", 1, "TRADES", 1, 0, "")
    ticks = (*stock, "20121001-15:00:00", "", 10, "TRADES", 1, 0, "")
    scan = (-1, "STK", "STK.US", "TOP_PERC_GAIN", *[""] * 19)
    new_cancel, millis = version >= 192, version >= 197
    plain: dict[int, Sequence[object]] = {
        1: (11, req_id, *stock, 0, "233", 0, 0, ""),
        2: (2, req_id),
        4: (7, "", "", "") if new_cancel else (1, 7, *[""] * (version >= 169)),
        5: (1,),
        6: (2, 1, ACCOUNT),
        7: (3, req_id, 0, "", "", "", "", "", "", *([2147483647, 0] if version >= 200 else [])),
        8: (1, 1),
        9: (8, req_id, *stock, 0, "", "", *[""] * (version >= 176)),
        10: (5, req_id, *stock, 5, 0, ""),
        11: (1, req_id, 0),
        12: (1, 1),
        13: (1,),
        14: (1, 5),
        15: (1, 1),
        16: (1,),
        17: (1,),
        18: (1, 1),
        19: (1, 1, "", *[req_id] * (version >= 157)),
        20: (req_id, *bars),
        21: (2, req_id, *stock[:11], 1, 1, ACCOUNT, 0),
        22: (req_id, *scan),
        23: (1, req_id),
        24: (1,),
        25: (1, req_id),
        49: (1,),
        50: (3, req_id, *stock, 5, "TRADES", 0, ""),
        51: (1, req_id),
        52: (2, req_id, *stock[:9], "ReportSnapshot", ""),
        53: (1, req_id),
        54: (3, req_id, *stock, "1.0", "100.0", ""),
        55: (3, req_id, *stock, "0.5", "100.0", ""),
        56: (1, req_id),
        57: (1, req_id),
        58: ("", "") if new_cancel else (1,),
        59: (1, 1),
        61: (1,),
        62: (1, req_id, "All", "NetLiquidation,$LEDGER:ALL"),
        63: (1, req_id),
        64: (1,),
        65: (1, "name", "1"),
        66: (1, "data"),
        67: (1, req_id),
        68: (1, req_id, 1),
        69: (1, req_id, "265598@SMART"),
        70: (1, req_id),
        72: (1, "name", "1", "key"),
        73: (1, "data", "response"),
        74: (1, req_id, ACCOUNT, ""),
        75: (1, req_id),
        76: (1, req_id, ACCOUNT, "", 1),
        77: (1, req_id),
        78: (req_id, "AAPL", "", "STK", 265598),
        79: (req_id,),
        80: (),
        81: (req_id, "AA"),
        82: (),
        83: (req_id, "9c0001"),
        84: (req_id, "BRFG", "BRFG$1", ""),
        85: (),
        86: (req_id, 265598, "BRFG", "", "", 10, ""),
        87: (req_id, *stock, 0, 1, "TRADES", 1),
        88: (req_id, *stock, 0, 1, "3 days"),
        89: (req_id,),
        90: (req_id,),
        91: (26,),
        92: (req_id, ACCOUNT, ""),
        93: (req_id,),
        94: (req_id, ACCOUNT, "", 265598),
        95: (req_id,),
        96: (req_id, *stock, 0, *ticks[len(stock) :]),
        97: (req_id, *stock, "Last", 0, 0),
        98: (req_id,),
        99: (0,),
        **({100: (req_id,), 101: (req_id,), 103: (req_id,)} if version >= 161 else {}),
        **({102: (req_id, 265598, *[""] * 7)} if version >= 161 else {}),
        **({104: (req_id,)} if version >= 163 else {}),
        **({105: ()} if millis else {}),
    }
    written = {key: (str(key), *map(str, fields)) for key, fields in plain.items()}
    return written | {3: place_order(7, version)}

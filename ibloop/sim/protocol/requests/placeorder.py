"""Read placeOrder (message 3), the one request whose layout fills a page.

Groups follow section 4.1 of IB's field order: every field is consumed, so that what is left over
can be seen and logged; only what the broker simulates is kept.
"""

from decimal import Decimal

from ibloop.sim.model import ZERO, ContractKey, OrderTicket
from ibloop.sim.protocol.wire import FieldReader, Since, WireError, flag, integer, number

_CORE = (
    "secIdType secId action totalQuantity orderType lmtPrice auxPrice tif ocaGroup account"
    " openClose origin orderRef transmit parentId blockOrder sweepToFill displaySize triggerMethod"
    " outsideRth hidden"
)
_AFTER_FA = (
    "modelCode shortSaleSlot designatedLocation exemptCode ocaType rule80A settlingFirm allOrNone"
    " minQty percentOffset eTradeOnly firmQuoteOnly nbboPriceCap auctionStrategy startingPrice"
    " stockRefPrice delta stockRangeLower stockRangeUpper overridePercentageConstraints volatility"
    " volatilityType deltaNeutralOrderType deltaNeutralAuxPrice"
)
_TRAILING = (
    "continuousUpdate referencePriceType trailStopPrice trailingPercent scaleInitLevelSize"
    " scaleSubsLevelSize scalePriceIncrement"
)
_ADJUSTED = (
    "adjustedOrderType triggerPrice lmtPriceOffset adjustedStopPrice adjustedStopLimitPrice"
    " adjustedTrailingAmount adjustableTrailingUnit extOperator softDollarTierName"
    " softDollarTierVal cashQty mifid2DecisionMaker mifid2DecisionAlgo mifid2ExecutionTrader"
    " mifid2ExecutionAlgo dontUseAutoPriceForHedge isOmsContainer discretionaryUpToLimitPrice"
    " usePriceMgmtAlgo"
)
# Fields after the condition's type: 1 price, 3 time, 4 margin, 5 execution, 6 volume, 7 change.
_CONDITION_FIELDS = {1: 6, 3: 3, 4: 3, 5: 4, 6: 5, 7: 5}
# An attribute that changes how an order works must not be dropped in silence: the order is
# refused. Pairs of field name and what to call it.
_UNSERVED = (
    ("goodAfterTime", "good-after times"),
    ("deltaNeutralOrderType", "delta neutral orders"),
    ("hedgeType", "hedge orders"),
    ("adjustedOrderType", "adjusted orders"),
    ("minQty", "minimum quantities"),
    ("cashQty", "cash quantities"),
    ("faGroup", "advisor groups"),
    ("discretionaryAmt", "discretionary amounts"),
    ("displaySize", "display sizes"),
    ("allOrNone", "all-or-none orders"),
)


def read_contract(reader: FieldReader) -> ContractKey:
    """Read the twelve contract fields every request shares."""
    raw = reader.texts(
        "conId symbol secType lastTradeDate strike right multiplier exchange primaryExchange"
        " currency localSymbol tradingClass"
    )
    return ContractKey(
        con_id=integer(raw["conId"]),
        symbol=raw["symbol"],
        sec_type=raw["secType"],
        exchange=raw["exchange"],
        primary_exchange=raw["primaryExchange"],
        currency=raw["currency"],
        local_symbol=raw["localSymbol"],
        trading_class=raw["tradingClass"],
    )


def read_place_order(reader: FieldReader, version: int) -> tuple[int, ContractKey, OrderTicket]:
    """Read everything after the message id.

    Returns: order id, contract, ticket. Raises: WireError when the fields do not fit `version`.
    """
    order_id = reader.integer()
    contract = read_contract(reader)
    raw = reader.texts(_CORE)
    unserved = _read_legs(reader) if contract.sec_type == "BAG" else ""
    raw |= reader.texts("sharesAllocation discretionaryAmt goodAfterTime goodTillDate")
    raw |= reader.texts("faGroup faMethod faPercentage")
    if version < Since.NO_FA_PROFILE:
        reader.skip(1)
    raw |= reader.texts(_AFTER_FA)
    if raw["deltaNeutralOrderType"]:
        reader.skip(8)
    raw |= reader.texts(_TRAILING)
    increment = number(raw["scalePriceIncrement"])
    if increment is not None and increment > 0:
        unserved = "scale orders"
        reader.skip(7)
    raw |= reader.texts("scaleTable activeStartTime activeStopTime hedgeType")
    if raw["hedgeType"]:
        reader.skip(1)
    reader.skip(4)
    if reader.flag():
        reader.skip(3)
    raw |= reader.texts("algoStrategy")
    params = _read_algo_params(reader) if raw["algoStrategy"] else ()
    raw |= reader.texts("algoId whatIf orderMiscOptions solicited randomizeSize randomPrice")
    if raw["orderType"] in {"PEG BENCH", "PEGBENCH"}:
        reader.skip(5)
    unserved = _read_conditions(reader) or unserved
    raw |= reader.texts(_ADJUSTED)
    _skip_newer(reader, version, contract.exchange, raw["orderType"])
    return order_id, contract, _ticket(raw, params, unserved)


def _read_legs(reader: FieldReader) -> str:
    reader.skip(8 * _count(reader))
    reader.skip(_count(reader))
    reader.skip(2 * _count(reader))
    return "combination orders"


def _count(reader: FieldReader) -> int:
    count = reader.integer()
    if count < 0:
        raise WireError(f"expected a count, was {count}")
    return count


def _read_algo_params(reader: FieldReader) -> tuple[str, ...]:
    """Read an algo's parameters: tag, value, tag, value."""
    return tuple(reader.text() for _ in range(2 * reader.count()))


def _read_conditions(reader: FieldReader) -> str:
    count = _count(reader)
    for _ in range(count):
        kind = reader.integer()
        if kind not in _CONDITION_FIELDS:
            raise WireError(f"expected an order condition, was type {kind}")
        reader.skip(_CONDITION_FIELDS[kind])
    if count:
        reader.skip(2)
    return "order conditions" if count else ""


def _skip_newer(reader: FieldReader, version: int, exchange: str, order_type: str) -> None:
    """Pass over the fields that came with server versions 158 to 200."""
    for since in (
        Since.DURATION,
        Since.POST_TO_ATS,
        Since.AUTO_CANCEL_PARENT,
        Since.ADVANCED_REJECT,
        Since.MANUAL_ORDER_TIME,
    ):
        if version >= since:
            reader.skip(1)
    if version >= Since.PEG_FIELDS:
        _skip_peg(reader, exchange, order_type)
    for since in (
        Since.CUSTOMER_ACCOUNT,
        Since.PROFESSIONAL_CUSTOMER,
        Since.INCLUDE_OVERNIGHT,
        Since.MANUAL_ORDER_INDICATOR,
        Since.IMBALANCE_ONLY,
    ):
        if version >= since:
            reader.skip(1)


def _skip_peg(reader: FieldReader, exchange: str, order_type: str) -> None:
    if exchange == "IBKRATS":
        reader.skip(1)
    if order_type in {"PEG BEST", "PEGBEST"}:
        reader.skip(1)
        if reader.text() in {"Infinite", "Infinity"}:
            reader.skip(2)
    elif order_type in {"PEG MID", "PEGMID"}:
        reader.skip(2)


def _ticket(raw: dict[str, str], params: tuple[str, ...], unserved: str) -> OrderTicket:
    for name, called in _UNSERVED:
        if not unserved and _is_set(raw[name]):
            unserved = called
    return OrderTicket(
        action=raw["action"],
        quantity=number(raw["totalQuantity"]) or ZERO,
        order_type=raw["orderType"],
        limit_price=number(raw["lmtPrice"]),
        tif=raw["tif"],
        good_till=raw["goodTillDate"],
        order_ref=raw["orderRef"],
        account=raw["account"],
        transmit=flag(raw["transmit"]),
        outside_rth=flag(raw["outsideRth"]),
        hidden=flag(raw["hidden"]),
        what_if=flag(raw["whatIf"]),
        unserved=unserved,
        aux_price=number(raw["auxPrice"]),
        trail_stop=number(raw["trailStopPrice"]) or None,
        trailing_percent=number(raw["trailingPercent"]) or None,
        trigger_method=integer(raw["triggerMethod"]),
        oca_group=raw["ocaGroup"],
        oca_type=integer(raw["ocaType"]),
        parent_id=integer(raw["parentId"]),
        algo=raw["algoStrategy"],
        algo_params=params,
        override_percentage=flag(raw["overridePercentageConstraints"]),
    )


def _is_set(text: str) -> bool:
    """Tell whether an attribute was given: not empty, not zero, not an unset sentinel."""
    if text in {"", "0", "None", "false"}:
        return False
    try:
        value = number(text)
    except WireError:
        return True
    return value is not None and value != Decimal(0)

"""openOrder (5) and completedOrder (101) in full, group by group as IB documents them.

Positions in comments count from 0, the message id, in the layout below version 177.
"""

from ibloop.sim.model import ZERO, Instrument, Order, Preview, Status
from ibloop.sim.protocol.wire import (
    UNSET_DECIMAL,
    UNSET_DOUBLE,
    UNSET_INTEGER,
    UNSET_LONG,
    Fields,
    Since,
    double_text,
    size_text,
    time_text,
)


def open_order(
    order: Order, instrument: Instrument, version: int, preview: Preview | None = None
) -> Fields:
    """Encode openOrder: 136 fields at 176, 135 at 178, 141 at 193, 156 at 200."""
    return (
        *("5", str(order.order_id)),
        *_contract(order, instrument),
        *_terms(order, version),
        *(str(order.client_id), str(order.perm_id), _flag(order.outside_rth)),
        *(_flag(order.hidden), "0", ""),
        f"{order.perm_id}.0/{order.account}/{size_text(order.quantity, version)}",
        *_allocation_to_rule80a(order, version),
        # 38-49 percentOffset to displaySize
        *("", "", "0", "", "-1", "0", "", "", "", "", "", UNSET_INTEGER),
        # 50-61 blockOrder to volatilityType
        *("0", "0", "0", "", str(order.oca_type), "0", "0", ""),
        *(str(order.parent_id), str(order.trigger_method), "", "0"),
        # 62-71 delta neutral: "None", and so the eight fields after the price are always there
        *("None", "", "0", "", "", "", "?", "0", "0", ""),
        # 72-81 continuousUpdate to the three empty combination groups
        *("0", "0", *_trail(order), "", "", "", "0", "0", "0"),
        # 82-93 scale, hedge, clearing, algo, solicited
        *(UNSET_INTEGER, UNSET_INTEGER, "", "", "0", "", "IB", "0", "0", *_algo(order), "0"),
        _flag(preview is not None),
        *_state(order, version, preview),
        # 109-122 randomize, conditions, adjusted order, soft dollar tier
        *("0", "0", "0", "None", *[UNSET_DOUBLE] * 6, "0", "", "", ""),
        # 123-127 cashQty to usePriceMgmtAlgo
        *("0", "1", "0", "0", "0"),
        *_newer(version),
    )


def completed_order(order: Order, instrument: Instrument, version: int) -> Fields:
    """Encode completedOrder: 101 fields at 176. It carries neither order id nor client id."""
    quantity = ZERO if order.status is Status.FILLED else order.quantity
    completed_at = order.completed_at or order.accepted_at
    fields = [
        "101",
        *_contract(order, instrument),
        *(order.action, size_text(quantity, version)),
        *_terms(order, version)[2:],
        *(str(order.perm_id), _flag(order.outside_rth), _flag(order.hidden), "0", ""),
        *_allocation_to_rule80a(order, version),
        # percentOffset to stockRangeUpper
        *("", "", "0", "", "-1", "", "", "", "", ""),
        # displaySize to volatilityType
        *(UNSET_INTEGER, "0", "0", "", str(order.oca_type), str(order.trigger_method), "", "0"),
        # delta neutral
        *("None", "", "0", "0", "0", ""),
        # continuousUpdate to the three empty combination groups
        *("0", "0", *_trail(order), "", "0", "0", "0"),
        # scale, hedge, clearing, algo, solicited
        *(UNSET_INTEGER, UNSET_INTEGER, "", "", "", "IB", "0", "0", *_algo(order), "0"),
        *(order.status, "0", "0", "0", UNSET_DOUBLE, UNSET_DOUBLE, "0", "1", "0", ""),
        *(size_text(order.filled, version), UNSET_INTEGER, "0"),
        *("Not an insider or substantial shareholder", "0", "0"),
        str(order.parent_perm_id) if order.parent_perm_id else UNSET_LONG,
        *(time_text(completed_at, Since.ZONED_TIMES), order.completed_text),
    ]
    if version >= Since.PEG_FIELDS:
        fields += ["", "", "", "", ""]
    if version >= Since.CUSTOMER_ACCOUNT:
        fields.append("")
    if version >= Since.PROFESSIONAL_CUSTOMER:
        fields.append("0")
    if version >= Since.SUBMITTER:
        fields.append("")
    return tuple(fields)


def _contract(order: Order, instrument: Instrument) -> tuple[str, ...]:
    """Return conId to tradingClass as orders carry them: strike 0, right `?`, SMART."""
    return (
        *(str(order.con_id), instrument.symbol, "STK", "", "0", "?", "", "SMART"),
        *(instrument.currency, instrument.symbol, instrument.trading_class),
    )


def _terms(order: Order, version: int) -> tuple[str, ...]:
    """Return action to orderRef (13-23 of openOrder)."""
    limit, aux = (double_text(price or ZERO) for price in (order.limit_price, order.aux_price))
    return (
        *(order.action, size_text(order.quantity, version), order.order_type),
        *(limit, aux, order.tif, order.oca_group, order.account, "", "0", order.order_ref),
    )


def _trail(order: Order) -> tuple[str, str]:
    """Return trailStopPrice (of plain stops, as recorded, the stop price) and trailingPercent."""
    stop = order.aux_price if order.order_type in {"STP", "STP LMT"} else order.trail_stop
    percent = order.trailing_percent
    return (
        "" if stop is None else double_text(stop),
        "" if percent is None else double_text(percent),
    )


def _algo(order: Order) -> tuple[str, ...]:
    """Return algoStrategy, and only of an algo the count of its parameters, tags and values."""
    if not order.algo:
        return ("",)
    return (order.algo, str(len(order.algo_params) // 2), *order.algo_params)


def _allocation_to_rule80a(order: Order, version: int) -> tuple[str, ...]:
    """Return faGroup to rule80A (31-37 of openOrder); faProfile went away at 177."""
    profile = () if version >= Since.NO_FA_PROFILE else ("",)
    return ("", "", "", *profile, "", order.good_till_text, "")


def _state(order: Order, version: int, preview: Preview | None) -> tuple[str, ...]:
    """Return the order state (94-108): status, margins, commission, warning."""
    if preview is not None:
        margins = _preview_margins(preview)
        commission: tuple[str, ...] = (double_text(preview.commission), "", "", "USD")
    else:
        margins = (UNSET_DOUBLE,) * 9
        paid = order.commission_usd
        commission = (double_text(paid), "", "", "USD") if paid else ("", "", "", "")
    outside: tuple[str, ...] = ()
    if version >= Since.ORDER_PREVIEW:
        outside = ("", *[UNSET_DOUBLE] * 9, UNSET_DECIMAL, "", "0")
    return (order.status, *margins, *commission, *outside, "")


def _preview_margins(preview: Preview) -> tuple[str, ...]:
    """Return initial and maintenance margin and equity: before, change, after."""
    before, after = (
        (margins.initial, margins.maintenance, margins.equity)
        for margins in (preview.before, preview.after)
    )
    change = [new - old for old, new in zip(before, after, strict=True)]
    return tuple(double_text(value) for value in (*before, *change, *after))


def _newer(version: int) -> tuple[str, ...]:
    """Return the fields of openOrder that came with versions 158 to 200."""
    groups: tuple[tuple[int, tuple[str, ...]], ...] = (
        (Since.DURATION, ("",)),
        (Since.POST_TO_ATS, ("",)),
        (Since.AUTO_CANCEL_PARENT, ("0",)),
        (Since.PEG_FIELDS, ("", "100", "0.02", "", "")),
        (Since.CUSTOMER_ACCOUNT, ("",)),
        (Since.PROFESSIONAL_CUSTOMER, ("0",)),
        (Since.BOND_ACCRUED_INTEREST, ("",)),
        (Since.INCLUDE_OVERNIGHT, ("0",)),
        (Since.OPEN_ORDER_OPERATOR, ("", "")),
        (Since.SUBMITTER, ("",)),
        (Since.IMBALANCE_ONLY, ("0",)),
    )
    return tuple(field for since, fields in groups if version >= since for field in fields)


def _flag(value: object) -> str:
    return "1" if value else "0"

"""From our orders to the client library's, with nothing left to the gateway's presets."""

from ibloop.adapters.ib.convert import good_till_text
from ibloop.adapters.ib.lib import Contract, TagValue
from ibloop.adapters.ib.lib import Order as IbOrder
from ibloop.core.invariant import InvariantError, invariant
from ibloop.core.model import Algo, Instrument, Order, OrderType, Tif

ADAPTIVE_PRIORITY = {
    Algo.ADAPTIVE_URGENT: "Urgent",
    Algo.ADAPTIVE_NORMAL: "Normal",
    Algo.ADAPTIVE_PATIENT: "Patient",
}
"""IB's words for the one parameter of its Adaptive algo."""


def ib_order(order: Order, account: str, order_id_max: int) -> IbOrder:
    """Return the order as IB takes it: whole shares, explicit type, time in force and account.

    An algo goes with its base type and is told its priority.

    Raises: InvariantError for an order id outside 1..``order_id_max``, a quantity that is not a
    positive whole number, or a limit order without a limit.
    """
    made = IbOrder(
        orderId=order_id_of(order, order_id_max),
        action=order.side.value,
        totalQuantity=_whole_shares(order),
        orderType=order.order_type.value,
        tif=order.tif.value,
        account=account,
        orderRef=order.client_order_id,
        transmit=True,
        outsideRth=False,
    )
    if order.order_type is OrderType.LMT:
        if order.limit_price is None:
            raise InvariantError(f"{order.client_order_id} is a LMT order without a limit price")
        made.lmtPrice = float(order.limit_price)
    if order.algo is not None:
        made.algoStrategy = "Adaptive"
        made.algoParams = [TagValue("adaptivePriority", ADAPTIVE_PRIORITY[order.algo])]
    if order.tif is Tif.GTD:
        made.goodTillDate = good_till_text(order.good_till)
    return made


def order_id_of(order: Order, order_id_max: int) -> int:
    """Return the order's IB id; raise InvariantError unless it is from 1 to ``order_id_max``."""
    order_id = order.ib_order_id
    if order_id is None or not 0 < order_id <= order_id_max:
        raise InvariantError(f"expected an order id from 1 to {order_id_max}, was {order_id}")
    return order_id


def stock(instrument: Instrument) -> Contract:
    """Return the instrument as a SMART-routed stock, pinned by its contract id."""
    return Contract(
        conId=instrument.con_id,
        symbol=instrument.symbol,
        secType="STK",
        exchange="SMART",
        primaryExchange=instrument.primary_exchange,
        currency=instrument.currency,
    )


def _whole_shares(order: Order) -> int:
    shares = int(order.quantity)
    invariant(
        shares > 0 and shares == order.quantity, f"expected whole shares, was {order.quantity}"
    )
    return shares

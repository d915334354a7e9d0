"""What-if orders: the gateway says what an order would cost in margin, and does not work it.

An answer is an openOrder under the question's order id, marked as a what-if; a refusal is an error
under that id. A gateway may echo the order first, with no figures: that is no answer yet. Which
messages belong to a what-if is told by the id alone, so an id asked with is never used again.
"""

from decimal import Decimal, InvalidOperation
from typing import Any

from ibloop.adapters.ib.convert import UNSET_FROM, decimal_of
from ibloop.adapters.ib.lib import Order as IbOrder
from ibloop.adapters.ib.outgoing import ib_order
from ibloop.core.model import MarginImpact, Order

TIMEOUT_S = 15.0
"""For all what-ifs of one question together; a gateway answers one in some tenths of a second."""
AT_ONCE = 8
"""What-ifs under way at the same time, as many as orders: paced like them, cancels go before."""
ROOM_LOOK_S = 0.05
"""How soon a what-if is tried again that the gateway's message limit keeps back."""
NOTICES = frozenset({399, *range(2100, 2200)})
"""Codes that remark on an order or on the system and refuse nothing (tws-protocol, errors)."""
CURRENCIES = frozenset({"USD", ""})


def what_if_order(order: Order, account: str, order_id_max: int) -> IbOrder:
    """Return the order as a question: no orderRef, for it must never pass for the order itself.

    Raises: InvariantError like :func:`ib_order`.
    """
    made = ib_order(order, account, order_id_max)
    made.whatIf = True
    made.orderRef = ""
    return made


def is_answer(state: Any) -> bool:
    """Return whether an order state tells a margin, readable or not, rather than none yet."""
    try:
        return _amount(state.initMarginChange) is not None
    except ValueError:
        return True


def impact_of(order_id: int, state: Any) -> MarginImpact:
    """Return an answer as a value; what cannot be read becomes its ``problem``."""
    try:
        impact = MarginImpact(
            order_id,
            initial_change_usd=_amount(state.initMarginChange),
            initial_after_usd=_amount(state.initMarginAfter),
            equity_after_usd=_amount(state.equityWithLoanAfter),
            commission_usd=_commission(state),
        )
    except ValueError as error:
        return MarginImpact(order_id, problem=f"an answer that cannot be read: {error}")
    return impact


def _amount(text: str) -> Decimal | None:
    """Return a figure of the answer; ``None`` for IB's two ways of writing "not set"."""
    if not text:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"expected a number, was {text!r}") from None
    if not amount.is_finite():
        raise ValueError(f"expected a finite number, was {text!r}")
    return None if abs(amount) >= UNSET_FROM else amount


def _commission(state: Any) -> Decimal | None:
    """Return the commission, or the most that it may be; ``None`` when neither is told."""
    if state.commissionCurrency not in CURRENCIES:
        raise ValueError(f"expected a commission in USD, was {state.commissionCurrency}")
    exact = decimal_of(state.commission)
    return decimal_of(state.maxCommission) if exact is None else exact

"""The margin check: what the broker says that a plan's orders would cost, before one is written.

Only orders that open or enlarge a position are asked about. What others release is not counted,
nor is a requirement that an order lowers: it may not fill.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from ibloop.core.invariant import present
from ibloop.core.model import ZERO, MarginImpact, Order
from ibloop.core.orders import commission_bound_usd
from ibloop.core.risk.verdict import Verdict, at_most, breaches

SILENCE = "no answer"


def check_margin(
    orders: Sequence[Order],
    impacts: Sequence[MarginImpact],
    available_funds_usd: Decimal | None,
) -> tuple[Verdict, ...]:
    """Return what the broker's answers mean: a verdict an order, then one of all together.

    An order by itself must leave equity with loan value at or above the initial margin; all of
    them together must not cost more than the funds that are available. An order without a usable
    answer refuses the whole, and so do unknown funds.

    Args: the orders asked about, each with its ``ib_order_id``; the answers, in any sequence;
    the broker's available funds in USD, ``None`` when it did not tell.
    """
    told = {impact.ib_order_id: impact for impact in impacts}
    asked = [(order, told.get(present(order.ib_order_id, "order id"))) for order in orders]
    singly = tuple(_of_one(order, impact) for order, impact in asked)
    if breaches(singly):
        return singly
    total = sum(_costs(asked), ZERO)
    if available_funds_usd is None:
        return (*singly, Verdict("margin_check", total, None, passed=False))
    return (*singly, at_most("margin_check", total, available_funds_usd))


def _of_one(order: Order, impact: MarginImpact | None) -> Verdict:
    problem = SILENCE if impact is None else impact.problem or _unusable(impact)
    if impact is None or problem:
        return Verdict("margin_check", problem, "the broker's answer", False, order.symbol)
    equity = present(impact.equity_after_usd, "equity")
    return at_most("margin_check", impact.initial_after_usd, equity, order.symbol)


def _unusable(impact: MarginImpact) -> str:
    """Return why the figures cannot be judged; empty when they can."""
    figures = (impact.initial_change_usd, impact.initial_after_usd, impact.equity_after_usd)
    if any(figure is None for figure in figures):
        return "an answer without its margin"
    told = [*figures, impact.commission_usd]
    finite = all(figure is None or figure.is_finite() for figure in told)
    return "" if finite else "an answer that is no number"


def _costs(asked: Sequence[tuple[Order, MarginImpact | None]]) -> Iterator[Decimal]:
    """Yield what each order takes from the available funds: margin and commission, USD."""
    for order, impact in asked:
        known = present(impact, "answer")
        yield max(present(known.initial_change_usd, "margin"), ZERO)
        commission = known.commission_usd
        yield commission_bound_usd(order.quantity) if commission is None else max(commission, ZERO)

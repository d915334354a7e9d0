"""The limits that guard money, as the configuration's table ``[limits]`` holds them."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits that guard money: no number among them has a default in code.

    ``_usd`` is base currency, ``_weight`` a fraction of net liquidation, ``_fraction`` a fraction
    of 1. Source: SEC rule 15c3-5(c), FIA best practices; values in the shipped example.

    Where a number may be left out, leaving it out switches its check off, and the limits stored
    with each run say so. ``net_weight_max`` caps longs less shorts; ``submissions_per_symbol_max``
    how often one side of one symbol is sent in a day before a person has to look;
    ``duplicate_window_s`` within how many seconds the same order is taken for a repetition;
    ``day_trades_max`` how many day trades five business days may hold below 25,000 USD.

    ``settled_cash_only`` is for cash accounts: sales pay for purchases only once they have
    settled. ``margin_check`` is for margin accounts: the broker is asked what a plan would cost in
    margin before its orders are written. ``short_allowed`` needs a margin account.

    An empty ``symbols_allowed`` allows the whole universe. A symbol of ``symbols_denied`` is not
    traded at all; one that is not allowed may still be sold down.
    """

    order_value_usd_max: Decimal
    order_quantity_max: Decimal
    plan_turnover_weight_max: Decimal
    day_turnover_weight_max: Decimal
    position_weight_max: Decimal
    sector_weight_max: Decimal
    gross_weight_max: Decimal
    net_weight_max: Decimal | None = None
    cash_weight_min: Decimal
    adv_participation_max: Decimal
    price_collar_fraction: Decimal
    orders_per_run_max: int
    orders_per_day_max: int
    orders_per_second_max: int
    submissions_per_symbol_max: int | None = None
    duplicate_window_s: float | None = None
    rejections_in_a_row_max: int
    day_trades_max: int | None = None
    settled_cash_only: bool = False
    margin_check: bool = False
    short_allowed: bool
    symbols_allowed: tuple[str, ...] = ()
    symbols_denied: tuple[str, ...] = ()

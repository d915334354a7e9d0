"""The table of checks: what each one means, where it is asked, and what to do when it refuses.

``docs/reference/risk-checks.md`` shows it to people; a test keeps the two alike, and another
demands that every verdict of the program has its line here.
"""

from dataclasses import dataclass
from enum import StrEnum

MARKET_DATA_ERROR = "market_data_error"
GUARD_HALTED = "guard_halted"


class Moment(StrEnum):
    """When a check is asked: of one planned order, of the whole plan, of one send."""

    ORDER = "order"
    PLAN = "plan"
    SEND = "send"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table.

    ``key`` is what sets the limit in the configuration, empty for a rule without a number, and
    ``proposed`` what ``ibloop init`` proposes for it. ``code`` is the order's ``reject_code``
    where it differs from the name.
    """

    name: str
    moments: tuple[Moment, ...]
    meaning: str
    advice: str
    key: str = ""
    proposed: str = ""
    unit: str = ""
    code: str = ""


_O, _P, _S = Moment.ORDER, Moment.PLAN, Moment.SEND
_MEND = "mend the targets or the limits"
_LOWER = "lower the target or raise the limit"
_FLATTEN = "to get out of positions see docs/how-to/flatten-the-account.md"
_SIZE = f"{_LOWER}; {_FLATTEN}"
_NO_TRADE = "see `ibloop status`; nothing is priced from this quote"

_ALL = (
    Check("guard_halted", (_S,), "What the severest halt lets through", "see `ibloop status`"),
    Check(
        "not_approved",
        (_S,),
        "What leaves is what was approved: symbol, side, quantity, price",
        "the market has moved or the plan has changed: retry the run and approve it anew",
    ),
    Check(
        "armed_notional_usd_max",
        (_S,),
        "Value of one order against what is left of the armed amount",
        "arm a larger amount: `ibloop arm`",
        "`ibloop arm --notional`",
        unit="USD",
    ),
    Check(
        "symbol_frozen",
        (_S,),
        "The guard knows what is held of the symbol: ledger and broker agree",
        "see `ibloop guard status`; it clears once the difference is explained",
    ),
    Check(
        "orders_per_second_max",
        (_S,),
        "Orders of any second; one too many waits, it is not refused",
        "nothing: it leaves a moment later",
        "limits.orders_per_second_max",
        "5",
    ),
    Check(
        "universe",
        (_O, _P, _S),
        "The symbol is in the universe, as the contract that the order names",
        "mend the universe, then plan the run anew",
    ),
    Check(
        "number",
        (_O, _P, _S),
        "Price and quantity are positive, finite numbers; equity is finite",
        "a bug of whoever made the plan: report it",
    ),
    Check("lot", (_O, _S), "Whole lots of whole shares", "mend the universe", unit="shares"),
    Check(
        "min_tick",
        (_S,),
        "The limit price lies on the instrument's tick grid",
        "mend min_tick in the universe",
    ),
    Check(
        "one_order_per_symbol",
        (_P,),
        "A plan trades each symbol once",
        "a bug of whoever made the plan: report it",
    ),
    Check(
        "symbols_denied",
        (_O, _S),
        "The symbol is not on the deny-list; not even to sell it",
        "take it off limits.symbols_denied, or trade it by hand",
        "limits.symbols_denied",
        "[]",
    ),
    Check(
        "symbols_allowed",
        (_O, _S),
        "The symbol is on the allow-list, if there is one; selling down is free",
        "take it out of the targets, or add it to limits.symbols_allowed",
        "limits.symbols_allowed",
        "[], the whole universe",
    ),
    Check(
        "short_allowed",
        (_O, _S),
        "No short position is opened or enlarged",
        "sell no more than is held",
        "limits.short_allowed",
        "false",
    ),
    Check(
        "order_value_usd_max",
        (_O, _S),
        "Value of one order at its worst price",
        _SIZE,
        "limits.order_value_usd_max",
        "10 % of the account",
        "USD",
    ),
    Check(
        "order_quantity_max",
        (_O, _S),
        "Shares of one order",
        _SIZE,
        "limits.order_quantity_max",
        "10 % of the account in the cheapest share",
        "shares",
    ),
    Check(
        "position_weight_max",
        (_O, _S),
        "Weight of the resulting position, with all that still works filled",
        _LOWER,
        "limits.position_weight_max",
        "0.25",
    ),
    Check(
        "adv_participation_max",
        (_O, _S),
        "Shares of one order against the average daily volume",
        "lower the target, raise the limit, or fill in adv_shares in the universe",
        "limits.adv_participation_max",
        "0.05",
    ),
    Check(
        "orders_per_run_max",
        (_P, _S),
        "Orders of one run, all attempts",
        "nothing more of this run is sent: mend the targets or the limits",
        "limits.orders_per_run_max",
        "50",
    ),
    Check(
        "orders_per_day_max",
        (_P, _S),
        "Orders of one day, all runs",
        "nothing more is sent today",
        "limits.orders_per_day_max",
        "100",
    ),
    Check(
        "plan_turnover_weight_max",
        (_P,),
        "Value of all orders of a plan, buys and sells",
        f"{_MEND}; {_FLATTEN}",
        "limits.plan_turnover_weight_max",
        "0.6",
    ),
    Check(
        "day_turnover_weight_max",
        (_P, _S),
        "Value of all orders of a day, whatever became of them",
        f"nothing more is sent today; {_MEND}; {_FLATTEN}",
        "limits.day_turnover_weight_max",
        "1.0",
    ),
    Check(
        "gross_weight_max",
        (_P, _S),
        "Longs plus shorts, with all that still works filled",
        "mend the targets or the limits; a sell that should have made room may not have filled",
        "limits.gross_weight_max",
        "1.0",
    ),
    Check(
        "net_weight_max",
        (_P, _S),
        "Longs less shorts, either way, at the worst that still works",
        "mend the targets or the limits; a sell that should have made room may not have filled",
        "limits.net_weight_max",
        "1.0",
    ),
    Check(
        "sector_weight_max",
        (_P, _S),
        "Longs plus shorts of one sector of the universe",
        "mend the targets or the limits; a sell that should have made room may not have filled",
        "limits.sector_weight_max",
        "0.5",
    ),
    Check(
        "settled_cash_only",
        (_P,),
        "The broker says how much cash has settled, where only that may be spent",
        "see `ibloop status`; a margin account sets limits.settled_cash_only = false",
        "limits.settled_cash_only",
        "true for a cash account",
        "USD",
    ),
    Check(
        "margin_check",
        (_P,),
        "Initial margin that the opening orders need, by the broker, against its available funds",
        "lower the targets; without an answer see `ibloop status`, then `ibloop run retry`",
        "limits.margin_check",
        "true for a margin account",
        "USD",
    ),
    Check(
        "account_age_s_max",
        (_S,),
        "Seconds since the broker told cash and net liquidation; what only reduces does not ask",
        "wait: they come every 15 s; if they do not, see `ibloop status`",
        unit="s",
    ),
    Check(
        "cash_weight_min",
        (_S,),
        "What a buy can cost, against the cash that is there above the buffer",
        "the sells that should have paid for it did not fill, have not settled, or cash has left "
        "the account: plan the run anew",
        "limits.cash_weight_min",
        "0.02",
        "USD",
    ),
    Check(
        "market_data",
        (_S,),
        "There is a quote of this contract, live and from the market",
        _NO_TRADE,
        code=MARKET_DATA_ERROR,
    ),
    Check(
        "quote_age_s_max",
        (_S,),
        "Seconds since the quote was received",
        "see `ibloop stream status`: the stream is late or dead",
        "quotes.quote_age_s_max",
        "15",
        "s",
        MARKET_DATA_ERROR,
    ),
    Check(
        "halted_symbol",
        (_S,),
        "Trading in the symbol is not halted",
        "wait for the exchange, then `ibloop run retry`",
        code=MARKET_DATA_ERROR,
    ),
    Check(
        "two_sided",
        (_S,),
        "Bid and ask are there, positive and not crossed",
        _NO_TRADE,
        code=MARKET_DATA_ERROR,
    ),
    Check(
        "spread_fraction_max",
        (_S,),
        "Ask less bid, as a fraction of the mid",
        "wait for a tighter market",
        "quotes.spread_fraction_max",
        "0.01",
        code=MARKET_DATA_ERROR,
    ),
    Check(
        "jump_fraction_max",
        (_S,),
        "Distance of the mid from the prior close",
        "look whether the price is real: news, a split, a bad tick",
        "quotes.jump_fraction_max",
        "0.10",
        code=MARKET_DATA_ERROR,
    ),
    Check(
        "price_collar_fraction",
        (_O, _S),
        "Distance of the limit price from the fresh mid",
        "no tick of this instrument lies inside the collar",
        "limits.price_collar_fraction",
        "0.015",
    ),
    Check(
        "opposite_side",
        (_S,),
        "No order of ours on the other side of the symbol is at the broker",
        "wait for its end or cancel it: `ibloop orders list`",
        unit="shares",
    ),
    Check(
        "open_order",
        (_S,),
        "No order of ours on the same side of the symbol is at the broker",
        "wait for its end or cancel it: `ibloop orders list`",
        unit="shares",
    ),
    Check(
        "duplicate_window_s",
        (_S,),
        "Seconds since the same symbol, side and quantity was sent and may have been filled",
        "look whether the same was ordered twice: `ibloop orders list`, then `ibloop run retry`",
        "limits.duplicate_window_s",
        "60",
        "s",
    ),
    Check(
        "submissions_per_symbol_max",
        (_S,),
        "Orders of one side of one symbol in a day",
        "find out why it is sent again and again, then raise the limit for the day",
        "limits.submissions_per_symbol_max",
        "3",
    ),
    Check(
        "day_trades_max",
        (_S,),
        "Day trades in five business days, below 25,000 USD: ours, or the broker's count",
        "sell it tomorrow; if it must go today: `ibloop halt REASON --level reduce-only`",
        "limits.day_trades_max",
        "3 for a margin account",
    ),
)

CHECKS: dict[str, Check] = {check.name: check for check in _ALL}
"""Every check by its name, in the order in which people read about them."""


def line_of(name: str) -> Check:
    """Return the line of a check; an empty one for a name that only an older ledger knows."""
    return CHECKS.get(name) or Check(name, (), "", "")

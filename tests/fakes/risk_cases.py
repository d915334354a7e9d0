"""Limits that limit nothing, and a send to which nothing is amiss: tests tighten one at a time."""

from datetime import UTC, datetime
from decimal import Decimal

from ibloop.core.model import Instrument, MarketDataType, Moment, Quote, QuoteSource
from ibloop.core.quotes import QuoteLimits
from ibloop.core.risk import Exposure, Holding, Limits, SendContext, check_quote

D = Decimal
NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
WIDE = Limits(
    order_value_usd_max=D(10**9),
    order_quantity_max=D(10**9),
    plan_turnover_weight_max=D(10**9),
    day_turnover_weight_max=D(10**9),
    position_weight_max=D(10**9),
    sector_weight_max=D(10**9),
    gross_weight_max=D(10**9),
    net_weight_max=D(10**9),
    cash_weight_min=D(0),
    adv_participation_max=D(1),
    price_collar_fraction=D("0.05"),
    orders_per_run_max=10**9,
    orders_per_day_max=10**9,
    orders_per_second_max=10**9,
    submissions_per_symbol_max=10**9,
    duplicate_window_s=0.0,
    rejections_in_a_row_max=10**9,
    day_trades_max=10**9,
    short_allowed=False,
)
AAA = Instrument("AAA", 1, "A", "NYSE", "USD", D("0.01"), D(1), "Energy", D(10**9))
RECEIVED = Moment(NOW, 60 * 10**9, "a" * 32)
QUOTE = Quote(
    symbol="AAA",
    con_id=1,
    seq=1,
    received=RECEIVED,
    event_time=None,
    source=QuoteSource.STREAM,
    market_data_type=MarketDataType.LIVE,
    bid=D("99.99"),
    ask=D("100.01"),
    last=D(100),
    close=D(100),
)
QUOTE_LIMITS = QuoteLimits(
    quote_age_s_max=15.0, spread_fraction_max=D("0.01"), jump_fraction_max=D("0.1")
)
NO_EXPOSURE = Exposure(D(0), D(0), D(0), {})
CONTEXT = SendContext(
    now=NOW,
    halt=None,
    equity_usd=D(100_000),
    planned_equity_usd=D(100_000),
    account_age_s=0.0,
    holding=Holding("AAA", "Energy", D(0), D(100)),
    exposure=NO_EXPOSURE,
    baseline=NO_EXPOSURE,
    cash_usd=D(100_000),
    orders_today=0,
    orders_this_run=0,
    traded_today_usd=D(0),
    quote=QUOTE,
    quote_verdicts=check_quote(QUOTE, 1, RECEIVED, QUOTE_LIMITS),
)

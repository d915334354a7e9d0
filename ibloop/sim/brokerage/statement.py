"""Account values by their TWS names, as account updates and summaries carry them.

Names, number formats and which of them have a currency are those of published account downloads
of paper accounts; what stocks in US dollars never touch is always zero. The account is in USD: a
ledger row in BASE says the same as the one in USD.
"""

from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from operator import itemgetter

from ibloop.sim.brokerage.account import CENT, Account
from ibloop.sim.brokerage.margin import Balances, QuoteOf, balances
from ibloop.sim.brokerage.profit import Profit, account_profit
from ibloop.sim.model import ZERO, AccountKind

AccountValue = tuple[str, str, str]

DAY_TRADER_EQUITY_MIN_USD = 25_000
DAY_TRADES_OF_SMALL_ACCOUNT = 3
UNLIMITED = "-1"
NEVER_MONEY = (
    *("AccruedDividend", "Billable", "Guarantee", "IncentiveCoupons", "IndianStockHaircut"),
    *("NetLiquidationUncertainty", "PASharesValue", "PhysicalCertificateValue"),
    *("PostExpirationExcess", "PostExpirationMargin", "TotalDebitCardPendingCharges"),
)
NEVER_LEDGER = (
    *("CorporateBondValue", "Cryptocurrency", "FundValue", "FutureOptionValue", "FuturesPNL"),
    *("FxCashBalance", "IssuerOptionValue", "MoneyMarketFundValue", "MutualFundValue"),
    *("NetDividend", "OptionMarketValue", "TBillValue", "TBondValue", "WarrantValue"),
)
LEDGER_KEYS = frozenset(
    {
        *("AccountOrGroup", "AccruedCash", "CashBalance", "Currency", "ExchangeRate"),
        *("NetLiquidationByCurrency", "RealCurrency", "RealizedPnL", "StockMarketValue"),
        *("TotalCashBalance", "UnrealizedPnL", *NEVER_LEDGER),
    }
)


def values(account: Account, quote_of: QuoteOf, today: date) -> tuple[AccountValue, ...]:
    """Return (key, value, currency) in the order of a download: by key, then BASE before USD."""
    held = balances(account, quote_of, today)
    profit = account_profit(account, quote_of, today)
    rows = [
        *_facts(account, held),
        *((key, cents(value), "USD") for key, value in _money(held, profit).items()),
        *_ledger(account, held, profit),
    ]
    return tuple(sorted(rows, key=itemgetter(0, 2)))


def cents(value: Decimal) -> str:
    """Write an amount of money with two decimals."""
    return f"{value.quantize(CENT, ROUND_HALF_UP) + 0:f}"


def _facts(account: Account, held: Balances) -> list[AccountValue]:
    """Return what has no currency."""
    margin = account.kind is AccountKind.MARGIN
    small = margin and held.equity < DAY_TRADER_EQUITY_MIN_USD
    trades = str(DAY_TRADES_OF_SMALL_ACCOUNT) if small else UNLIMITED
    leverage = cents(held.leverage)
    facts = {
        "AccountCode": account.account_id,
        "AccountReady": "true",
        "AccountType": "INDIVIDUAL",
        "Cushion": f"{held.cushion:.6f}",
        "DayTradesRemaining": trades,
        **{f"DayTradesRemainingT+{days}": trades for days in range(1, 5)},
        "HighestSeverity": "0",
        "Leverage": leverage,
        "Leverage-S": leverage,
        "LookAheadNextChange": "0",
        "NLVAndMarginInReview": "false",
        "SegmentTitle-S": "US Securities",
        "TradingType-S": "STKMRGN" if margin else "STKCASH",
        "WhatIfPMEnabled": "true",
    }
    return [(key, value, "") for key, value in facts.items()]


def _money(held: Balances, profit: Profit) -> dict[str, Decimal]:
    """Return what is said once, in the account's currency.

    SMA and the RegT values are those of the moment: IB's SMA remembers earlier days as well.
    """
    reg_t_margin = held.initial
    money = {
        "AvailableFunds": held.available,
        "BuyingPower": held.buying_power,
        "EquityWithLoanValue": held.equity,
        "ExcessLiquidity": held.excess,
        "GrossPositionValue": held.gross,
        "InitMarginReq": held.initial,
        "MaintMarginReq": held.maintenance,
        "NetLiquidation": held.equity,
        "PreviousDayEquityWithLoanValue": held.equity - profit.daily,
        "RegTEquity": held.equity,
        "RegTMargin": reg_t_margin,
        "SMA": held.equity - reg_t_margin,
        "SettledCash": held.settled,
        "TotalCashValue": held.cash,
    }
    for prefix in ("Full", "LookAhead"):
        for key in ("AvailableFunds", "ExcessLiquidity", "InitMarginReq", "MaintMarginReq"):
            money[prefix + key] = money[key]
    return money | dict.fromkeys(NEVER_MONEY, ZERO)


def _ledger(account: Account, held: Balances, profit: Profit) -> list[AccountValue]:
    """Return what is said for each currency, and for the base currency under the name BASE."""
    money = {
        "AccruedCash": ZERO,
        "CashBalance": held.cash,
        "ExchangeRate": Decimal(1),
        "NetLiquidationByCurrency": held.equity,
        "RealizedPnL": profit.realized,
        "StockMarketValue": held.stocks,
        "TotalCashBalance": held.cash,
        "UnrealizedPnL": profit.unrealized,
        **dict.fromkeys(NEVER_LEDGER, ZERO),
    }
    return [
        row
        for currency in ("BASE", "USD")
        for row in (
            *((key, cents(value), currency) for key, value in money.items()),
            ("AccountOrGroup", account.account_id, currency),
            ("Currency", currency, currency),
            ("RealCurrency", "USD", currency),
        )
    ]

"""Drive ib_insync or ib_async, over JSON lines: verbs in, values and events out.

    python insync.py ib_insync     reads {"call": verb, "args": {...}} from stdin, writes
                                   {"reply": value} or {"failed": text} after each, and
                                   {"event": kind, "args": [values]} for orders and errors

The verbs are the methods of `tests.clients.client.Client`; each uses the library's public IB
object, as a program would. What is unset or NaN is null. It runs in the library's own environment.
"""

import asyncio
import importlib
import json
import logging
import math
import sys
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

library = importlib.import_module(sys.argv[1])
UNSET = (2**31 - 1, 2**63 - 1, 2**127 - 1, sys.float_info.max)
CONNECT_S = 3  # 326 is raised only when all of it has passed
VERB_S = 10  # ib_async waits for ever for what is answered by an error that it takes for a warning


def write(**line):
    """Write one line."""
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


def plain(value):
    """Return a value as JSON has it: objects by their attributes, times as epoch seconds."""
    if isinstance(value, bool | str | None):
        return value
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).timestamp()
    if isinstance(value, date):
        return value.strftime("%Y%m%d")
    if isinstance(value, int | float | Decimal):
        return None if value in UNSET or not math.isfinite(value) else float(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if not is_dataclass(value):
        return str(value)
    names = (field.name for field in fields(value))
    return {name: plain(getattr(value, name)) for name in names if name != "defaults"}


class Complaints(logging.Handler):
    """What the library's decoder could not read."""

    def emit(self, record):
        """Report it."""
        write(event="complaint", args=[record.getMessage()])


logging.getLogger(f"{sys.argv[1]}.Decoder").addHandler(Complaints(logging.ERROR))


def contract_of(values):
    """Return a contract."""
    return library.Contract(**values)


def shown(trade):
    """Return an order as the library holds it."""
    state = {"status": trade.orderStatus.status}
    return {
        "contract": plain(trade.contract),
        "order": plain(trade.order),
        "state": state,
        "status": plain(trade.orderStatus),
    }


def fill_of(fill):
    """Return an execution with its commission report, if it has one."""
    return {
        "contract": plain(fill.contract),
        "execution": plain(fill.execution),
        "commission": plain(fill.commissionReport) if fill.commissionReport.execId else None,
    }


def bar_of(bar):
    """Return a historical or real-time bar."""
    when = getattr(bar, "date", None) or bar.time
    values = {
        "time": plain(when),
        "open": plain(getattr(bar, "open_", None) or bar.open),
        "wap": plain(getattr(bar, "average", None) or getattr(bar, "wap", None)),
        "count": plain(bar.barCount if hasattr(bar, "barCount") else bar.count),
    }
    return values | {name: plain(getattr(bar, name)) for name in ("high", "low", "close", "volume")}


class Verbs:
    """One connection after the other, and what was subscribed to on it."""

    def __init__(self):
        """Start unconnected."""
        self.ib = None
        self.reads = {}
        self.ends = {}

    async def connect(self, host, port, client_id):
        """Connect and synchronise."""
        self.ib = ib = library.IB()
        ib.RaiseRequestErrors = True
        ib.openOrderEvent += lambda trade: write(event="open", args=[shown(trade)])
        ib.orderStatusEvent += lambda trade: write(event="status", args=[shown(trade)["status"]])
        ib.execDetailsEvent += lambda _trade, fill: write(event="fill", args=[fill_of(fill)])
        ib.commissionReportEvent += lambda _trade, _fill, report: write(
            event="commission", args=[plain(report)]
        )
        ib.errorEvent += lambda number, code, text, _contract: write(
            event="error", args=[{"id": number, "code": code, "text": text}]
        )
        await ib.connectAsync(host, port, client_id, timeout=CONNECT_S)
        return {"version": ib.client.serverVersion(), "accounts": ib.managedAccounts()}

    async def disconnect(self):
        """Disconnect."""
        self.ib.disconnect()
        await asyncio.sleep(0)

    async def synced(self):
        """Return what connecting alone brought: without another request."""
        return {
            "orders": [shown(trade) for trade in self.ib.trades()],
            "positions": plain(self.ib.positions()),
            "fills": [fill_of(fill) for fill in self.ib.fills()],
            "values": plain(self.ib.accountValues()),
            "portfolio": plain(self.ib.portfolio()),
        }

    async def current_time(self):
        """Ask for the time."""
        return plain(await self.ib.reqCurrentTimeAsync())

    async def account_values(self, account):
        """Return what an account's subscription brought."""
        await self.ib.reqAccountUpdatesAsync(account)
        return plain(self.ib.accountValues(account))

    async def account_summary(self):
        """Return all accounts' summary."""
        return plain(await self.ib.accountSummaryAsync())

    async def portfolio(self, account):
        """Return an account's portfolio."""
        await self.ib.reqAccountUpdatesAsync(account)
        return plain(self.ib.portfolio(account))

    async def positions(self):
        """Ask for positions."""
        return plain(await self.ib.reqPositionsAsync())

    async def pnl(self, key, account):
        """Subscribe to an account's profit and loss."""
        pnl = self.ib.reqPnL(account)
        self.reads[key] = lambda: plain(pnl)
        self.ends[key] = lambda: self.ib.cancelPnL(account)

    async def pnl_single(self, key, account, con_id):
        """Subscribe to a position's profit and loss."""
        pnl = self.ib.reqPnLSingle(account, "", con_id)
        self.reads[key] = lambda: plain(pnl)
        self.ends[key] = lambda: self.ib.cancelPnLSingle(account, "", con_id)

    async def contract_details(self, contract):
        """Ask for contract details."""
        return plain(await self.ib.reqContractDetailsAsync(contract_of(contract)))

    async def matching_symbols(self, pattern):
        """Ask for matching symbols."""
        return plain(await self.ib.reqMatchingSymbolsAsync(pattern))

    async def market_rule(self, number):
        """Ask for a market rule."""
        return plain(await self.ib.reqMarketRuleAsync(number))

    async def market_data_type(self, number):
        """Choose live, frozen, delayed or delayed frozen data."""
        self.ib.reqMarketDataType(number)

    async def snapshot(self, contract):
        """Ask for one snapshot."""
        return plain((await self.ib.reqTickersAsync(contract_of(contract)))[0])

    async def market_data(self, key, contract, generic):
        """Subscribe to market data."""
        contract = contract_of(contract)
        ticker = self.ib.reqMktData(contract, generic)
        types = set()
        ticker.updateEvent += lambda ticker: types.update(tick.tickType for tick in ticker.ticks)
        self.reads[key] = lambda: plain(ticker) | {"types": sorted(types)}
        self.ends[key] = lambda: self.ib.cancelMktData(contract)

    async def bars(self, contract, end, duration, size, what, rth):
        """Ask for historical bars."""
        bars = await self.ib.reqHistoricalDataAsync(
            contract_of(contract), end, duration, size, what, rth, formatDate=2
        )
        return [bar_of(bar) for bar in bars]

    async def bars_kept(self, key, contract, duration, size, what):
        """Ask for historical bars that are kept up to date."""
        bars = await self.ib.reqHistoricalDataAsync(
            contract_of(contract), "", duration, size, what, True, 2, keepUpToDate=True
        )
        self.reads[key] = lambda: [bar_of(bar) for bar in bars]
        self.ends[key] = lambda: self.ib.cancelHistoricalData(bars)

    async def head_timestamp(self, contract, what):
        """Ask for the first moment of history."""
        contract = contract_of(contract)
        return plain(await self.ib.reqHeadTimeStampAsync(contract, what, True, 2))

    async def realtime_bars(self, key, contract, what):
        """Subscribe to bars of five seconds."""
        bars = self.ib.reqRealTimeBars(contract_of(contract), 5, what, False)
        self.reads[key] = lambda: [bar_of(bar) for bar in bars]
        self.ends[key] = lambda: self.ib.cancelRealTimeBars(bars)

    async def tick_by_tick(self, key, contract, kind, back):
        """Subscribe to every tick; the library keeps them for one update only."""
        contract = contract_of(contract)
        ticker = self.ib.reqTickByTickData(contract, kind, back, False)
        ticks = []
        ticker.updateEvent += lambda ticker: ticks.extend(plain(ticker.tickByTicks))
        self.reads[key] = lambda: ticks
        self.ends[key] = lambda: self.ib.cancelTickByTickData(contract, kind)

    async def read(self, key):
        """Return what a subscription has brought."""
        return self.reads[key]()

    async def end(self, key):
        """End a subscription."""
        self.ends.pop(key)()

    async def place(self, contract, order):
        """Place an order; return its id."""
        number = self.ib.placeOrder(contract_of(contract), library.Order(**order)).order.orderId
        await asyncio.sleep(0)
        return number

    def trade(self, number):
        """Return the order of an id, as this client knows it, or None."""
        mine = (trade for trade in self.ib.trades() if trade.order.orderId == number)
        return next(mine, None)

    async def modify(self, order_id, changes):
        """Change an order and place it again."""
        trade = self.trade(order_id)
        for name, value in changes.items():
            setattr(trade.order, name, value)
        self.ib.placeOrder(trade.contract, trade.order)

    async def cancel(self, order_id):
        """Cancel an order, known or not."""
        trade = self.trade(order_id)
        self.ib.cancelOrder(trade.order if trade else library.Order(orderId=order_id))

    async def global_cancel(self):
        """Cancel everything."""
        self.ib.reqGlobalCancel()

    async def what_if(self, contract, order):
        """Ask what an order would do."""
        contract = contract_of(contract)
        return plain(await self.ib.whatIfOrderAsync(contract, library.Order(**order)))

    async def reserve_id(self):
        """Return the id that the next order will have."""
        return self.ib.client.getReqId()

    async def open_orders(self):
        """Ask for this client's open orders."""
        return [shown(trade) for trade in await self.ib.reqOpenOrdersAsync()]

    async def all_open_orders(self):
        """Ask for every client's open orders."""
        return [shown(trade) for trade in await self.ib.reqAllOpenOrdersAsync()]

    async def completed_orders(self):
        """Ask for completed orders."""
        return [shown(trade) for trade in await self.ib.reqCompletedOrdersAsync(False)]

    async def executions(self, chosen):
        """Ask for executions; commissions are kept apart from the answer."""
        found = await self.ib.reqExecutionsAsync(library.ExecutionFilter(**chosen))
        known = {fill.execution.execId: fill for fill in self.ib.fills()}
        return [fill_of(known.get(fill.execution.execId, fill)) for fill in found]


async def main():
    """Do one verb a line until the input ends."""
    verbs = Verbs()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        try:
            verb = getattr(verbs, request["call"])
            reply = await asyncio.wait_for(verb(**request["args"]), VERB_S)
        except Exception as error:  # noqa: BLE001 - the test decides what a failed verb means
            write(failed=repr(error), code=getattr(error, "code", None))
        else:
            write(reply=reply)


asyncio.run(main())

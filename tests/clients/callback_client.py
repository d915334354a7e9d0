"""The packages named ibapi and @stoqey/ib: requests with ids, answers as callbacks."""

from collections.abc import Callable
from typing import Any

from tests.clients.callbacks import Callbacks, Told
from tests.clients.client import Record, numbers
from tests.clients.process import RequestFailed

BAR = ("time", "open", "high", "low", "close", "volume")
PNL = ("dailyPnL", "unrealizedPnL", "realizedPnL")
PORTFOLIO = (
    *("contract", "position", "marketPrice", "marketValue", "averageCost"),
    *("unrealizedPNL", "realizedPNL", "account"),
)
SUMMARY_TAGS = "AccountType,NetLiquidation,TotalCashValue,SettledCash,BuyingPower,AvailableFunds"
TICKS = {
    tick: name
    for name, ticks in (
        *(("bid", (1, 66)), ("ask", (2, 67)), ("last", (4, 68))),
        *(("bidSize", (0, 69)), ("askSize", (3, 70)), ("lastSize", (5, 71))),
        *(("high", (6, 72)), ("low", (7, 73)), ("volume", (8, 74))),
        *(("close", (9, 75)), ("open", (14, 76)), ("halted", (49,)), ("markPrice", (37,))),
        *(("low13week", (15,)), ("high13week", (16,)), ("low26week", (17,)), ("high26week", (18,))),
        *(("low52week", (19,)), ("high52week", (20,)), ("avVolume", (21,))),
        *(("histVolatility", (23,)), ("impliedVolatility", (24,)), ("rtHistVolatility", (58,))),
        *(("tradeCount", (54,)), ("tradeRate", (55,)), ("volumeRate", (56,))),
        *(("shortableShares", (89,)), ("rtVolume", (48,)), ("rtTradeVolume", (77,))),
        *(("lastTimestamp", (45,)), ("bidExchange", (32,)), ("askExchange", (33,))),
        ("lastExchange", (84,)),
    )
    for tick in ticks
}
"""Tick types by the names that ib_insync's Ticker has for them, where it has one."""


class CallbackClient(Callbacks):
    """The verbs, each a request or two."""

    def current_time(self) -> float:
        """Ask for the time."""
        return float(self._ask("currentTime", "reqCurrentTime")[-1][1][0])

    def _account_updates(self, account: str) -> list[Told]:
        told = self._ask("accountDownloadEnd", "reqAccountUpdates", True, account)
        self._call("reqAccountUpdates", False, account)
        return told

    def account_values(self, account: str) -> dict[tuple[str, str], str]:
        """Ask for account updates."""
        told = self._account_updates(account)
        values = [values for name, values in told if name == "updateAccountValue"]
        return {(key, currency): value for key, value, currency, _account in values}

    def account_summary(self) -> dict[tuple[str, str], str]:
        """Ask for some tags."""
        asked = ("accountSummary", "accountSummaryEnd", "reqAccountSummary", "All", SUMMARY_TAGS)
        return {(account, tag): value for account, tag, value, _cur in self._request(*asked)}

    def portfolio(self, account: str) -> dict[str, Record]:
        """Ask for account updates."""
        told = self._account_updates(account)
        items = [values for name, values in told if name == "updatePortfolio"]
        records = [dict(zip(PORTFOLIO, values, strict=True)) for values in items]
        return {record["contract"]["symbol"]: record for record in records}

    def positions(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Ask for positions."""
        told = self._ask("positionEnd", "reqPositions")
        self._call("cancelPositions")
        items = [values for name, values in told if name == "position"]
        return {(item[0], item[1]["symbol"]): (item[2], item[3]) for item in items}

    def positions_multi(self, account: str) -> dict[tuple[str, str], tuple[float, float]]:
        """Ask for one account's positions; ib_insync has no such request."""
        asked = ("positionMulti", "positionMultiEnd", "reqPositionsMulti", account, "")
        items = self._request(*asked)
        return {(item[0], item[2]["symbol"]): (item[3], item[4]) for item in items}

    def contract_details(self, contract: Record) -> list[Record]:
        """Ask for details."""
        asked = ("contractDetails", "contractDetailsEnd", "reqContractDetails")
        return [values[0] for values in self._request(*asked, self._contract(contract))]

    def matching_symbols(self, pattern: str) -> list[Record]:
        """Ask for symbols."""
        samples = self._request("symbolSamples", "symbolSamples", "reqMatchingSymbols", pattern)
        return [item["contract"] for item in samples[0][0]]

    def market_rule(self, number: int) -> list[tuple[float, float]]:
        """Ask for a rule."""
        rule = self._ask("marketRule", "reqMarketRule", number, number=number)[-1][1][1]
        return [(step["lowEdge"], step["increment"]) for step in rule]

    def market_data_type(self, number: int) -> None:
        """Choose the type."""
        self._call("reqMarketDataType", number)

    def _market_data(self, number: int, contract: Record, generic: str, snapshot: bool) -> None:
        options = [] if self._is_stoqey else [[]]
        self._call(
            "reqMktData", number, self._contract(contract), generic, snapshot, False, *options
        )

    def snapshot(self, contract: Record) -> Record:
        """Ask for a snapshot and wait for its end."""
        number = next(self._requests)
        self._market_data(number, contract, "", snapshot=True)
        self.driver.wait(lambda: ("tickSnapshotEnd", [number]) in self._told or None, "snapshot")
        return self._ticks(number)

    def _ticks(self, number: int) -> Record:
        found: Record = {"types": []}
        for name, values in self._told:
            if values[:1] != [number]:
                continue
            if name in {"tickPrice", "tickSize", "tickGeneric", "tickString"}:
                tick, value = values[1], values[2]
                found[TICKS.get(tick, f"tick{tick}")] = value
                found["types"] = sorted({*found["types"], tick})
            elif name == "marketDataType":
                found["marketDataType"] = values[1]
            elif name == "tickReqParams":
                found["minTick"], found["bboExchange"] = values[1], values[2]
        return found

    def _bar(self, values: list[Any]) -> Record:
        if self._is_stoqey:
            bar = dict(zip((*BAR, "count", "wap"), values, strict=False))
        else:
            bar = values[0]
            bar = {name: bar[name] for name in BAR[1:]} | {
                "time": bar["date"],
                "wap": bar.get("wap", bar.get("average")),
                "count": bar["barCount"],
            }
        text = str(bar["time"])
        return bar | {"time": text if len(text) == 8 else int(text)}

    def _historical(
        self, contract: Record, duration: str, size: str, what: str, end: str
    ) -> list[Any]:
        return [self._contract(contract), end, duration, size, what, 1, 2]

    def bars(
        self, contract: Record, duration: str, size: str, what: str = "TRADES", end: str = ""
    ) -> list[Record]:
        """Ask for bars."""
        number = next(self._requests)
        options = [] if self._is_stoqey else [[]]
        asked = self._historical(contract, duration, size, what, end)
        self._call("reqHistoricalData", number, *asked, False, *options)
        self.driver.wait(lambda: self._has_history(number) or None, "historical data")
        return self._bars(number)

    def _has_history(self, number: int) -> bool:
        for name, values in self._told:
            error = self._error(name, values)
            if error is not None and error["id"] == number:
                raise RequestFailed(error["code"], error["text"])
            if values[:1] != [number]:
                continue
            finished = name == "historicalData" and str(values[1]).startswith("finished")
            if name == "historicalDataEnd" or finished:
                return True
        return False

    def _bars(self, number: int) -> list[Record]:
        """Return bars and their updates: an update is for the last bar or for a new one."""
        bars: dict[Any, Record] = {}
        for name, values in self._told:
            ours = name in {"historicalData", "historicalDataUpdate"} and values[0] == number
            if ours and not str(values[1]).startswith("finished"):
                bar = self._bar(values[1:])
                bars[bar["time"]] = bar
        return list(bars.values())

    def head_timestamp(self, contract: Record, what: str) -> float:
        """Ask for the first moment."""
        call = "reqHeadTimestamp" if self._is_stoqey else "reqHeadTimeStamp"
        asked = (self._contract(contract), what, True if self._is_stoqey else 1, 2)
        return float(self._request("headTimestamp", "headTimestamp", call, *asked)[0][0])

    def _start(
        self, key: str, read: Callable[[int], Any], end: tuple[str, ...], call: str, *args: Any
    ) -> None:
        number = next(self._requests)
        self._subscriptions[key] = (number, read, end)
        self._call(call, number, *args)

    def start_market_data(self, key: str, contract: Record, generic: str) -> None:
        """Begin ticks."""
        asked = (self._contract(contract), generic, False, False)
        options = [] if self._is_stoqey else [[]]
        self._start(key, self._ticks, ("cancelMktData",), "reqMktData", *asked, *options)

    def start_bars(self, key: str, contract: Record, duration: str, size: str) -> None:
        """Begin kept bars."""
        asked = self._historical(contract, duration, size, "TRADES", "")
        options = [] if self._is_stoqey else [[]]
        end = ("cancelHistoricalData",)
        self._start(key, self._bars, end, "reqHistoricalData", *asked, True, *options)

    def start_realtime_bars(self, key: str, contract: Record, what: str) -> None:
        """Begin real-time bars."""

        def read(number: int) -> list[Record]:
            names = (*BAR, "wap", "count")
            told = [values for name, values in self._told if name == "realtimeBar"]
            mine = [values[1:] for values in told if values[0] == number]
            return [dict(zip(names, values, strict=True)) for values in mine]

        asked = (self._contract(contract), 5, what, False, [])
        self._start(key, read, ("cancelRealTimeBars",), "reqRealTimeBars", *asked)

    def start_tick_by_tick(self, key: str, contract: Record, kind: str, back: int) -> None:
        """Begin ticks."""
        shapes = {
            "tickByTickAllLast": ("tickType", "time", "price", "size", "", "exchange", ""),
            "tickByTickBidAsk": ("time", "bidPrice", "askPrice", "bidSize", "askSize", ""),
            "tickByTickMidPoint": ("time", "midPoint"),
        }

        def read(number: int) -> list[Record]:
            told = [(name, v) for name, v in self._told if name in shapes and v[0] == number]
            ticks = [dict(zip(shapes[name], v[1:], strict=True)) for name, v in told]
            return [tick | {"time": int(tick["time"])} for tick in ticks]

        asked = (self._contract(contract), kind, back, False)
        self._start(key, read, ("cancelTickByTickData",), "reqTickByTickData", *asked)

    def _start_pnl(self, key: str, call: str, names: tuple[str, ...], *args: Any) -> None:
        def read(number: int) -> Record:
            event = call.removeprefix("req").replace("PnL", "pnl")
            told = [v[1:] for name, v in self._told if name == event and v[0] == number]
            return dict(zip(names, told[-1], strict=True)) if told else dict.fromkeys(names)

        self._start(key, read, (call.replace("req", "cancel"),), call, *args)

    def start_pnl(self, key: str, account: str) -> None:
        """Begin an account's profit and loss."""
        self._start_pnl(key, "reqPnL", PNL, account, "")

    def start_pnl_single(self, key: str, account: str, con_id: int) -> None:
        """Begin a position's profit and loss."""
        self._start_pnl(key, "reqPnLSingle", ("position", *PNL, "value"), account, "", con_id)

    def read(self, key: str) -> Any:
        """Return what was told."""
        number, read, _end = self._subscriptions[key]
        return read(number)

    def end(self, key: str) -> None:
        """Cancel it."""
        number, _read, end = self._subscriptions[key]
        self._call(end[0], number)

    def reserve_id(self) -> int:
        """Take an id of our counter."""
        return next(self._orders)

    def _send(self, order_id: int) -> None:
        contract, order = self.orders[order_id]
        sent = {name: value for name, value in order.items() if name != "orderId"}
        self._call("placeOrder", order_id, self._contract(contract), self._tagged("Order", sent))

    def place(self, contract: Record, order: Record) -> int:
        """Place it."""
        order_id = order.get("orderId") or next(self._orders)
        self.orders[order_id] = (contract, order)
        self._send(order_id)
        return int(order_id)

    def modify(self, order_id: int, **changes: Any) -> None:
        """Place it again."""
        contract, order = self.orders[order_id]
        self.orders[order_id] = (contract, order | changes)
        self._send(order_id)

    def _order_cancel(self) -> list[Record]:
        return [{"$": "OrderCancel"}] if self.kind.version >= 194 else []

    def cancel(self, order_id: int) -> None:
        """Cancel it."""
        self._call("cancelOrder", order_id, *self._order_cancel())

    def global_cancel(self) -> None:
        """Cancel all."""
        self._call("reqGlobalCancel", *self._order_cancel())

    def what_if(self, contract: Record, order: Record) -> Record:
        """Place it with whatIf and take the first answer, which is an order or an error."""
        order_id = next(self._orders)
        self.orders[order_id] = (contract, order | {"whatIf": True})
        begin = len(self.driver.events)
        self._send(order_id)

        def answer() -> Record | None:
            for event in (self._event(*told) for told in self.driver.events[begin:]):
                kind, record = event or ("", {})
                if kind == "open" and record["order"]["orderId"] == order_id:
                    return numbers(record["state"])
                if kind == "error" and record["id"] == order_id:
                    raise RequestFailed(record["code"], record["text"])
            return None

        return self.driver.wait(answer, "what-if answer")

    def _orders_of(self, end: str, call: str, *args: Any) -> list[Record]:
        told = self._ask(end, call, *args)
        events = (self._event(name, values) for name, values in told)
        found = [event[1] for event in events if event is not None and event[0] == "open"]
        # What happened to an order meanwhile is told in between: the last word on each counts.
        return list({(o["order"]["clientId"], o["order"]["orderId"]): o for o in found}.values())

    def open_orders(self) -> list[Record]:
        """Ask for them."""
        return self._orders_of("openOrderEnd", "reqOpenOrders")

    def all_open_orders(self) -> list[Record]:
        """Ask for them."""
        return self._orders_of("openOrderEnd", "reqAllOpenOrders")

    def completed_orders(self) -> list[Record]:
        """Ask for them."""
        told = self._ask("completedOrdersEnd", "reqCompletedOrders", False)
        names = ("contract", "order", "state")
        found = [v for name, v in told if name == "completedOrder"]
        return [dict(zip(names, values, strict=True)) for values in found]

    def executions(self, **chosen: Any) -> list[Record]:
        """Ask for them; their commission reports come with the answer."""
        asked = ("execDetails", "execDetailsEnd", "reqExecutions")
        found = self._request(*asked, self._tagged("ExecutionFilter", chosen))
        reports = {r["execId"]: r for kind, r in self.events if kind == "commission"}
        return [
            {"contract": c, "execution": e, "commission": reports.get(e["execId"])}
            for c, e in found
        ]

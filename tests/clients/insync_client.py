"""ib_insync and ib_async: the driver has the verbs already."""

from typing import Any

from tests.clients.client import Client, Record, numbers

QUICK = ("status", "open", "fill", "commission", "error")


class InsyncClient(Client):
    """A client whose library keeps orders, positions and tickers itself."""

    _since = 0

    def _verb(self, verb: str, **args: Any) -> Any:
        return self.driver.call(verb, args)

    @property
    def events(self) -> list[tuple[str, Record]]:
        """Return what the library's events told."""
        return [
            (kind, args[0]) for kind, args in self.driver.events[self._since :] if kind in QUICK
        ]

    def complaints(self) -> list[Any]:
        """Return what the decoder logged."""
        return [args for kind, args in self.driver.events[self._since :] if kind == "complaint"]

    def connect(self, port: int, client_id: int) -> None:
        """Connect and synchronise."""
        self.address = (port, client_id)
        self._since = len(self.driver.events)
        reply = self._verb("connect", host="127.0.0.1", port=port, client_id=client_id)
        assert reply["version"] == self.kind.version
        self.accounts = reply["accounts"]

    def synced(self) -> Record:
        """Return what connecting brought, without another request."""
        found: Record = self._verb("synced")
        return found

    def disconnect(self) -> None:
        """Disconnect."""
        self._verb("disconnect")

    def current_time(self) -> float:
        """Ask for the time."""
        return float(self._verb("current_time"))

    def account_values(self, account: str) -> dict[tuple[str, str], str]:
        """Ask for account updates."""
        values = self._verb("account_values", account=account)
        return {(value["tag"], value["currency"]): value["value"] for value in values}

    def account_summary(self) -> dict[tuple[str, str], str]:
        """Ask for the summary with the library's list of tags."""
        values = self._verb("account_summary")
        return {(value["account"], value["tag"]): value["value"] for value in values}

    def portfolio(self, account: str) -> dict[str, Record]:
        """Ask for account updates."""
        return {
            item["contract"]["symbol"]: item for item in self._verb("portfolio", account=account)
        }

    def positions(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Ask for positions."""
        return {
            (item["account"], item["contract"]["symbol"]): (item["position"], item["avgCost"])
            for item in self._verb("positions")
        }

    def contract_details(self, contract: Record) -> list[Record]:
        """Ask for details."""
        found: list[Record] = self._verb("contract_details", contract=contract)
        return found

    def matching_symbols(self, pattern: str) -> list[Record]:
        """Ask for symbols."""
        return [item["contract"] for item in self._verb("matching_symbols", pattern=pattern)]

    def market_rule(self, number: int) -> list[tuple[float, float]]:
        """Ask for a rule."""
        rule = self._verb("market_rule", number=number)
        return [(step["lowEdge"], step["increment"]) for step in rule]

    def market_data_type(self, number: int) -> None:
        """Choose the type."""
        self._verb("market_data_type", number=number)

    def snapshot(self, contract: Record) -> Record:
        """Ask for tickers."""
        ticks: Record = self._verb("snapshot", contract=contract)
        return ticks

    def bars(
        self, contract: Record, duration: str, size: str, what: str = "TRADES", end: str = ""
    ) -> list[Record]:
        """Ask for bars."""
        bars: list[Record] = self._verb(
            "bars", contract=contract, end=end, duration=duration, size=size, what=what, rth=True
        )
        return bars

    def head_timestamp(self, contract: Record, what: str) -> float:
        """Ask for the first moment."""
        return float(self._verb("head_timestamp", contract=contract, what=what))

    def start_market_data(self, key: str, contract: Record, generic: str) -> None:
        """Begin a ticker."""
        self._verb("market_data", key=key, contract=contract, generic=generic)

    def start_bars(self, key: str, contract: Record, duration: str, size: str) -> None:
        """Begin kept bars."""
        asked = {"contract": contract, "duration": duration, "size": size, "what": "TRADES"}
        self._verb("bars_kept", key=key, **asked)

    def start_realtime_bars(self, key: str, contract: Record, what: str) -> None:
        """Begin real-time bars."""
        self._verb("realtime_bars", key=key, contract=contract, what=what)

    def start_tick_by_tick(self, key: str, contract: Record, kind: str, back: int) -> None:
        """Begin ticks."""
        self._verb("tick_by_tick", key=key, contract=contract, kind=kind, back=back)

    def start_pnl(self, key: str, account: str) -> None:
        """Begin an account's profit and loss."""
        self._verb("pnl", key=key, account=account)

    def start_pnl_single(self, key: str, account: str, con_id: int) -> None:
        """Begin a position's profit and loss."""
        self._verb("pnl_single", key=key, account=account, con_id=con_id)

    def read(self, key: str) -> Any:
        """Return the library's object."""
        return self._verb("read", key=key)

    def end(self, key: str) -> None:
        """End it."""
        self._verb("end", key=key)

    def reserve_id(self) -> int:
        """Take an id of the library's counter."""
        return int(self._verb("reserve_id"))

    def place(self, contract: Record, order: Record) -> int:
        """Place it."""
        return int(self._verb("place", contract=contract, order=order))

    def modify(self, order_id: int, **changes: Any) -> None:
        """Change the library's order and place it again."""
        self._verb("modify", order_id=order_id, changes=changes)

    def cancel(self, order_id: int) -> None:
        """Cancel it."""
        self._verb("cancel", order_id=order_id)

    def global_cancel(self) -> None:
        """Cancel all."""
        self._verb("global_cancel")

    def what_if(self, contract: Record, order: Record) -> Record:
        """Ask with whatIfOrder."""
        return numbers(self._verb("what_if", contract=contract, order=order))

    def open_orders(self) -> list[Record]:
        """Ask for them."""
        found: list[Record] = self._verb("open_orders")
        return found

    def all_open_orders(self) -> list[Record]:
        """Ask for them."""
        found: list[Record] = self._verb("all_open_orders")
        return found

    def completed_orders(self) -> list[Record]:
        """Ask for them."""
        found: list[Record] = self._verb("completed_orders")
        return found

    def executions(self, **chosen: Any) -> list[Record]:
        """Ask for them."""
        found: list[Record] = self._verb("executions", chosen=chosen)
        return found

"""What the broker says the account holds and is worth; and a connection that only watches it."""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from ibloop.adapters.ib.convert import position_of
from ibloop.adapters.ib.session import IbSession
from ibloop.adapters.ports import Clock
from ibloop.core.model import AccountValues, Moment, Position

NET_LIQUIDATION = "NetLiquidation"
TOTAL_CASH = "TotalCashValue"
SUMMARY_TAGS = f"{NET_LIQUIDATION},{TOTAL_CASH}"

CURRENCIES = frozenset({"USD", "BASE", ""})
"""Limits and prices are in USD, so figures of an account kept in another currency are not used."""


class Figures:
    """Net liquidation and cash of one account, from the pieces IB sends them in."""

    def __init__(self, account: str) -> None:
        """Begin without figures."""
        self._account = account
        self._found: dict[str, Decimal] = {}
        self._received: Moment | None = None

    def take(self, account: str, tag: str, text: str, currency: str, now: Moment) -> bool:
        """Take one figure; return whether it was one of ours and is new or confirmed.

        Raises: ValueError when a figure of ours is not a number.
        """
        if account != self._account or currency not in CURRENCIES:
            return False
        if tag not in {NET_LIQUIDATION, TOTAL_CASH}:
            return False
        try:
            amount = Decimal(text)
        except InvalidOperation:
            raise ValueError(f"expected {tag} to be a number, was {text!r}") from None
        if not amount.is_finite():
            raise ValueError(f"expected {tag} to be finite, was {text!r}")
        self._found[tag] = amount
        self._received = now
        return True

    def values(self) -> AccountValues | None:
        """Return the figures in USD as of their last arrival, ``None`` until both have come."""
        if self._received is None or len(self._found) < 2:
            return None
        return AccountValues(
            account=self._account,
            net_liquidation=self._found[NET_LIQUIDATION],
            total_cash=self._found[TOTAL_CASH],
            as_of=self._received.utc,
        )


class Holdings:
    """The positions of one account: a first complete list, kept current by what is pushed."""

    def __init__(self, account: str) -> None:
        """Begin without a list."""
        self._account = account
        self._rows: dict[int, Position] = {}
        self._is_complete = False

    def begin(self) -> None:
        """Start over: a new list was asked for."""
        self._rows.clear()
        self._is_complete = False

    def take(self, account: str, contract: Any, quantity: float, avg_cost: float) -> bool:
        """Take one position message; return whether it concerns our account."""
        if account != self._account:
            return False
        position = position_of(contract, quantity, avg_cost)
        if position.quantity:
            self._rows[position.con_id] = position
        else:
            self._rows.pop(position.con_id, None)
        return True

    def complete(self) -> None:
        """Note that the list has been given in full."""
        self._is_complete = True

    def rows(self) -> tuple[Position, ...]:
        """Return what has come so far, by contract id."""
        return tuple(self._rows[con_id] for con_id in sorted(self._rows))

    def positions(self) -> tuple[Position, ...] | None:
        """Return what is held, by contract id; ``None`` until a list has come in full."""
        return self.rows() if self._is_complete else None


class IbAccountWatch(IbSession):
    """The guard's own connection: figures and positions pushed by the broker, and a kill switch.

    It places nothing and asks nothing else, so it goes on when the executor is gone. ``wake`` is
    set whenever something changed.
    """

    def __init__(self, host: str, port: int, client_id: int, account: str, clock: Clock) -> None:
        """Remember where to connect to; nothing is opened."""
        super().__init__(host, port, client_id, account, clock)
        self._figures = Figures(account)
        self._holdings = Holdings(account)

    def values(self) -> AccountValues | None:
        """Return the latest figures; ``None`` until received on the present connection."""
        return self._figures.values()

    def positions(self) -> tuple[Position, ...] | None:
        """Return the positions; ``None`` until received in full on the present connection."""
        return self._holdings.positions()

    def _callbacks(self) -> Mapping[str, Callable[..., object]]:
        return {
            "updateAccountValue": self._on_account_value,
            "position": self._on_position,
            "positionEnd": self._on_position_end,
        }

    def _opened(self) -> None:
        self._write(lambda client: client.reqAccountUpdates(True, self.account))
        self._write(lambda client: client.reqPositions())

    def _closed(self, _reason: str) -> None:
        # What an earlier connection said is no longer watched by anybody.
        self._figures = Figures(self.account)
        self._holdings = Holdings(self.account)

    def _on_account_value(self, tag: str, text: str, currency: str, account: str) -> None:
        if self._figures.take(account, tag, text, currency, self._clock.now()):
            self.wake.set()

    def _on_position(self, account: str, contract: Any, quantity: float, cost: float) -> None:
        if self._holdings.take(account, contract, quantity, cost):
            self.wake.set()

    def _on_position_end(self) -> None:
        self._holdings.complete()
        self.wake.set()

"""Requests for positions and account values."""

from dataclasses import dataclass

from ibloop.sim.protocol.requests.kinds import Parsers, bare, by_id
from ibloop.sim.protocol.wire import FieldReader


@dataclass(frozen=True, slots=True)
class AccountUpdates:
    """6: subscribe to one account's values and portfolio, or end that."""

    subscribe: bool
    account: str


@dataclass(frozen=True, slots=True)
class AccountUpdatesMulti:
    """76: subscribe to account values under a request id."""

    req_id: int
    account: str
    model_code: str
    ledger_only: bool


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """62: subscribe to chosen account values of all accounts."""

    req_id: int
    group: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PositionsMulti:
    """74: subscribe to the positions of one account or, with an empty one, of all."""

    req_id: int
    account: str
    model_code: str


@dataclass(frozen=True, slots=True)
class Pnl:
    """92: subscribe to the profit of an account."""

    req_id: int
    account: str
    model_code: str


@dataclass(frozen=True, slots=True)
class PnlSingle:
    """94: subscribe to the profit of one position."""

    req_id: int
    account: str
    model_code: str
    con_id: int


def _account_updates(reader: FieldReader, _version: int) -> AccountUpdates:
    reader.skip(1)
    return AccountUpdates(reader.flag(), reader.text())


def _account_updates_multi(reader: FieldReader, _version: int) -> AccountUpdatesMulti:
    reader.skip(1)
    return AccountUpdatesMulti(reader.integer(), reader.text(), reader.text(), reader.flag())


def _account_summary(reader: FieldReader, _version: int) -> AccountSummary:
    reader.skip(1)
    req_id, group, tags = reader.integer(), reader.text(), reader.text()
    return AccountSummary(req_id, group, tuple(tag for tag in tags.split(",") if tag))


def _positions_multi(reader: FieldReader, _version: int) -> PositionsMulti:
    reader.skip(1)
    return PositionsMulti(reader.integer(), reader.text(), reader.text())


def _pnl(reader: FieldReader, _version: int) -> Pnl:
    return Pnl(reader.integer(), reader.text(), reader.text())


def _pnl_single(reader: FieldReader, _version: int) -> PnlSingle:
    return PnlSingle(reader.integer(), reader.text(), reader.text(), reader.integer())


PARSERS: Parsers = {
    6: _account_updates,
    61: bare("positions", 1),
    62: _account_summary,
    63: by_id("cancel_account_summary", 1),
    64: bare("cancel_positions", 1),
    74: _positions_multi,
    75: by_id("cancel_positions_multi", 1),
    76: _account_updates_multi,
    77: by_id("cancel_account_updates_multi", 1),
    92: _pnl,
    93: by_id("cancel_pnl", 0),
    94: _pnl_single,
    95: by_id("cancel_pnl_single", 0),
}

"""The broker's truth as last seen."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ibloop.adapters.ledger import account, audit
from ibloop.adapters.ledger.connection import IntegrityError, Ledger
from ibloop.core.model import AccountValues, Position

AAA = Position("AAA", 1, Decimal(100), Decimal("9.87"))
BBB = Position("BBB", 2, Decimal(-3), Decimal("5.5"))


def store(ledger: Ledger, make: Any, seconds: int, *held: Position) -> bool:
    """Store what was held after some seconds."""
    with ledger.transaction() as tx:
        return account.store_positions(tx, held, make.at(seconds), make.at(seconds + 1), "executor")


def test_positions_are_replaced_as_a_whole(ledger: Ledger, make: Any) -> None:
    """What the broker does not name any more is not held any more."""
    assert account.positions_as_of(ledger.db) is None
    assert store(ledger, make, 1, BBB, AAA)
    assert account.positions(ledger.db) == (AAA, BBB)
    assert store(ledger, make, 2, AAA)
    assert account.positions(ledger.db) == (AAA,)
    assert account.positions_as_of(ledger.db) == make.at(2)


def test_an_empty_account_was_seen_too(ledger: Ledger, make: Any) -> None:
    """Holding nothing is an answer, with its time."""
    assert not store(ledger, make, 1, replace(AAA, quantity=Decimal(0)))
    assert account.positions(ledger.db) == ()
    assert account.positions_as_of(ledger.db) == make.at(1)


def test_only_a_change_of_positions_is_audited(ledger: Ledger, make: Any) -> None:
    """Seeing the same again moves the time and nothing else."""
    store(ledger, make, 1, AAA, BBB)
    rows = audit.rows(ledger.db, 99)
    assert rows[0].payload == {
        "AAA": {"quantity": "100", "avg_cost": "9.87"},
        "BBB": {"quantity": "-3", "avg_cost": "5.5"},
    }
    assert not store(ledger, make, 5, BBB, AAA)
    assert audit.rows(ledger.db, 99) == rows
    assert account.positions_as_of(ledger.db) == make.at(5)
    assert store(ledger, make, 6, AAA)
    assert audit.rows(ledger.db, 1)[0].payload == {"BBB": None}


def test_account_values_read_back(ledger: Ledger, make: Any) -> None:
    """The newest figures, in the account the ledger is bound to."""
    assert account.values(ledger.db) is None
    for net in ("100000.25", "99000"):
        values = AccountValues(make.account, Decimal(net), Decimal(-7), make.at(1))
        with ledger.transaction() as tx:
            account.store_values(tx, values, make.at(2))
        assert account.values(ledger.db) == values


def test_what_the_broker_no_longer_tells_is_not_kept(ledger: Ledger, make: Any) -> None:
    """Settled cash and day trades of last week would pass for those of today."""
    plain = AccountValues(make.account, Decimal(5), Decimal(4), make.at(1))
    told = replace(plain, settled_cash=Decimal("-3.5"), day_trades_left=-1)
    for values in (told, plain):
        with ledger.transaction() as tx:
            account.store_values(tx, values, make.at(2))
        assert account.values(ledger.db) == values


def test_a_symbol_means_one_contract(ledger: Ledger, make: Any) -> None:
    """A change of meaning is audited; two symbols never mean the same contract."""
    contract = account.Contract("AAA", 1, "NYSE", "USD", Decimal("0.01"), make.t0)
    moved = replace(contract, primary_exchange="ARCA", resolved_at=make.at(9))
    for version in (contract, replace(contract, resolved_at=make.at(5)), moved):
        with ledger.transaction() as tx:
            account.store_contract(tx, version, make.at(9), "executor")
        assert account.contracts(ledger.db) == (version,)
    events = [row.event for row in audit.rows(ledger.db, 99)]
    assert events.count("contract.resolved") == 2
    with pytest.raises(IntegrityError), ledger.transaction() as tx:
        account.store_contract(tx, replace(contract, symbol="BBB"), make.at(9), "executor")

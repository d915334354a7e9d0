"""A profile's data directory with daemons that seem to run, for tests of gates and of the guard."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from ibloop.adapters.ledger import account
from ibloop.adapters.ledger.connection import Ledger, open_ledger
from ibloop.adapters.streamfiles import heartbeat_document, status_path, write_status
from ibloop.adapters.universe import Universe, load_universe
from ibloop.config import BUILTIN_TOML, Profile, parse
from ibloop.core.model import AccountValues, Moment
from tests.fakes.clock import FakeClock

HEALTHY = {
    "gateway": "connected",
    "status": "connected",
    "executor": "ready",
    "guard": "watching",
}
"""Heartbeat files of a house in order: ``_status.json`` is the stream's."""


class Site:
    """A data directory, its ledger, a clock, and heartbeats written by hand."""

    def __init__(self, directory: Path, clock: FakeClock | None = None) -> None:
        """Make everything healthy and fresh."""
        self.clock = clock or FakeClock()
        self.profile = Profile(parse(BUILTIN_TOML, "test"), None, directory)
        self.profile.stream_dir.mkdir(parents=True, exist_ok=True)
        self.universe: Universe = load_universe(self.profile)
        self.ledger = self.open_ledger()
        self.refresh()

    def open_ledger(self) -> Ledger:
        """Open the ledger once more, as another process would."""
        config = self.profile.config
        return open_ledger(
            self.profile.ledger_path,
            mode=config.mode,
            account=config.account,
            now=self.clock.now().utc,
        )

    def refresh(self) -> None:
        """Let every daemon beat and the broker's figures arrive, now."""
        for name, status in HEALTHY.items():
            self.beat(name, status)
        self.store()

    def beat(self, name: str, status: str, stamp: Moment | None = None) -> None:
        """Write one heartbeat."""
        document = heartbeat_document(status, stamp or self.clock.now())
        write_status(status_path(self.profile.stream_dir, name), document)

    def store(self, net_liquidation: str = "100000", age_s: float = 0) -> None:
        """Store account values and positions as the executor does."""
        as_of = self.clock.now().utc - timedelta(seconds=age_s)
        figures = AccountValues(
            self.profile.config.account, Decimal(net_liquidation), Decimal(100_000), as_of
        )
        with self.ledger.transaction() as tx:
            account.store_values(tx, figures, as_of)
            account.store_positions(tx, (), as_of, as_of, "executor")

    def limits(self, **changes: object) -> None:
        """Change the guard's limits."""
        config = self.profile.config
        guard = replace(config.guard, **changes)
        self.profile = replace(self.profile, config=replace(config, guard=guard))

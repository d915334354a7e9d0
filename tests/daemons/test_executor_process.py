"""The executor's process: what it opens and when, what it says of itself, what it refuses."""

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ibloop.adapters.ledger import gate as gate_module
from ibloop.adapters.ledger import halts, identity, runs
from ibloop.adapters.ledger.connection import LedgerBusyError, OperationalError, open_readonly
from ibloop.adapters.locks import DaemonLock
from ibloop.adapters.streamfiles import read_heartbeat
from ibloop.config import Profile
from ibloop.core.binding import Endpoint
from ibloop.core.gates import Gate
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import HaltLevel
from ibloop.daemons import executor
from ibloop.daemons.executing.order_trouble import Trouble
from ibloop.daemons.executor import ExecutorProcess, run
from ibloop.daemons.loop import Report
from ibloop.daemons.pretrade import request_run
from ibloop.errors import LockHeldError
from tests.fakes.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a data directory whose daemons seem to run, with a queued run in its ledger."""
    made = Site(tmp_path / "data")
    path = made.profile.data_dir / "targets.csv"
    path.write_text(f"symbol,weight,as_of\nAAPL,0.10,{made.clock.now().utc.isoformat()}\n")
    asked = request_run(
        made.profile,
        made.ledger,
        made.universe,
        made.clock,
        key="K1",
        targets_path=path,
        requested_by="test",
    )
    assert asked.run.status is RunState.QUEUED
    return made


def stepped(profile: Profile) -> ExecutorProcess:
    """Return a process after its first step; there is no gateway to connect to."""
    process = ExecutorProcess(profile)
    process.step()
    return process


def test_the_rails_ask_about_the_connection_in_use(site: Site) -> None:
    """Each send: while nothing is connected, and when another account is behind the port (P9)."""
    process = stepped(site.profile)
    try:
        ask = process._rails._connection
        assert ask() == "the gateway is not connected"
        process.broker._is_open = True
        process.broker._endpoint = Endpoint("U7654321", 4002)
        assert ask() == "the gateway is logged in to U7654321, expected DU1234567"
        process.broker._endpoint = Endpoint("DU1234567", 4001)
        assert "does not go to the live port 4001" in str(ask())
        process.broker._endpoint = Endpoint("DU1234567", 5000)
        assert ask() is None
    finally:
        process.close()


def gate(process: ExecutorProcess, site: Site) -> Gate | None:
    """Ask the process's own gates about the queued run."""
    found = runs.find_key(site.ledger.db, "K1")
    assert found is not None
    return process._gate(found)


def test_nothing_is_touched_before_the_lock_is_held(tmp_path: Path) -> None:
    """Composing opens nothing: a second start must not take the epoch from the first."""
    profile = Site(tmp_path / "other").profile
    profile = replace(profile, data_dir=tmp_path / "fresh")
    process = ExecutorProcess(profile)
    assert not profile.ledger_path.exists()
    assert process.report().status == "starting"
    process.step()
    with open_readonly(profile.ledger_path) as db:
        assert identity.epoch(db) == 1
    db.close()
    assert process.report().status == "disconnected"
    process.close()


def test_a_second_executor_does_not_start(site: Site) -> None:
    """It names the holder, exits with 75, and the first keeps its epoch (P10)."""
    first = stepped(site.profile)
    before = identity.epoch(site.ledger.db)
    with DaemonLock(site.profile.data_dir, "executor"), pytest.raises(LockHeldError) as refused:
        asyncio.run(run(site.profile))
    assert refused.value.exit_code == 75
    assert identity.epoch(site.ledger.db) == before
    first.close()


def test_an_executor_that_was_overtaken_ends(site: Site) -> None:
    """Whatever let two of them live: the older one goes, and the ledger is the newer one's."""
    old = stepped(site.profile)
    new = stepped(site.profile)
    with pytest.raises(LockHeldError, match="another executor"):
        old.step()
    new.step()
    old.close()
    new.close()


def test_trouble_is_told(site: Site) -> None:
    """Whoever looks at the heartbeat reads why nothing is sent."""
    process = stepped(site.profile)
    assert process._desk is not None
    process._desk.trouble = Trouble(RunReason.LEDGER_BEHIND, "ibl:K:A:B:0", "never sent it")
    report = process.report()
    assert (report.status, report.detail) == ("blocked", "ledger_behind: never sent it")
    process.close()


def test_without_a_gateway_it_says_disconnected(site: Site) -> None:
    """And the run stays queued, because nobody can begin it."""
    process = stepped(site.profile)
    assert process.report().status == "disconnected"
    assert process.report().fields["epoch"] == 1
    found = runs.find_key(site.ledger.db, "K1")
    assert found is not None
    assert found.status is RunState.QUEUED
    process.close()


@pytest.mark.parametrize("changed", ["configuration", "universe"])
def test_a_run_decided_under_other_rules_is_not_executed(
    site: Site, tmp_path: Path, changed: str
) -> None:
    """The executor was not restarted since limits or universe changed: the run is blocked."""
    config = site.profile.config
    if changed == "configuration":
        config = replace(config, limits=replace(config.limits, orders_per_run_max=49))
    else:
        universe = tmp_path / "universe.csv"
        universe.write_text(
            "symbol,con_id,name,primary_exchange,currency,min_tick,lot,sector,adv_shares\n"
            "AAPL,265598,Apple Inc.,NASDAQ,USD,0.01,1,Technology,15034925\n"
        )
        config = replace(config, universe=replace(config.universe, file=str(universe)))
        with site.ledger.transaction() as tx:
            tx.execute("UPDATE trade_runs SET config_hash = ?", (config.config_hash,))
    process = stepped(replace(site.profile, config=config))
    failed = gate(process, site)
    assert failed is not None
    assert (failed.reason, changed in failed.detail) == (RunReason.CONFIG_CHANGED, True)
    process.close()


def test_the_gates_are_asked_with_its_own_pulse(site: Site) -> None:
    """An executor that is not synchronised blocks its run, whatever its file still says."""
    process = stepped(site.profile)
    process.clock = site.clock  # type: ignore[assignment]
    failed = gate(process, site)
    assert failed is not None
    assert failed.reason is RunReason.EXECUTOR_SILENT
    process.close()


@pytest.mark.parametrize(("file", "name"), [("gateway", "gateway"), ("status", "stream")])
def test_a_daemon_gone_since_the_request_blocks(site: Site, file: str, name: str) -> None:
    """The files are read anew when the run is taken."""
    process = stepped(site.profile)
    process.clock = site.clock  # type: ignore[assignment]
    (site.profile.stream_dir / f"_{file}.json").unlink()
    failed = gate(process, site)
    assert failed is not None
    assert failed.name == name
    process.close()


def test_the_guard_is_listened_for_while_a_run_goes_on(site: Site) -> None:
    """Its heartbeat is read anew for every order: silent and gone both count."""
    process = stepped(site.profile)
    process.clock = site.clock  # type: ignore[assignment]
    assert process._guard_silence() is None
    site.beat("guard", "degraded")
    assert process._guard_silence() is None  # it lives: each send lets out what reduces
    site.beat("guard", "starting")
    assert process._guard_silence() == "it says starting"
    (site.profile.stream_dir / "_guard.json").unlink()
    assert process._guard_silence() == "no heartbeat"
    process.close()


def test_the_lock_loser_leaves_the_heartbeat_alone(site: Site) -> None:
    """The file is the holder's: who does not get the lock writes nothing over it."""
    with DaemonLock(site.profile.data_dir, "executor"):
        before = read_heartbeat(site.profile.stream_dir, "executor")
        with pytest.raises(LockHeldError):
            asyncio.run(run(site.profile))
        assert read_heartbeat(site.profile.stream_dir, "executor") == before


def test_a_halt_file_is_latched_by_the_executor(site: Site) -> None:
    """Its step sees the file, without a run and without a gateway."""
    process = stepped(site.profile)
    (site.profile.data_dir / "HALT").write_text("kill")
    process.step()
    assert halts.level(site.ledger.db) is HaltLevel.KILL
    process.close()


def test_a_kill_in_the_file_does_not_wait_to_be_latched(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing it down needs the ledger, which may be locked; the orders' turn comes before."""
    process = stepped(site.profile)
    assert process._trader is not None
    monkeypatch.setattr(gate_module, "GATE_WAIT_S", 0.05)
    stepped_first: list[bool] = []
    whole = process._trader.step

    def step() -> bool:
        stepped_first.append(not halts.active(site.ledger.db))
        return False

    monkeypatch.setattr(process._trader, "step", step)
    (site.profile.data_dir / "HALT").write_text("kill")
    other = site.open_ledger()
    with closing(other), other.transaction():
        process.step()
        process.step()  # does not wait for the lock once more
    assert stepped_first == [True, True]
    monkeypatch.setattr(process._trader, "step", whole)
    monkeypatch.setattr(executor, "UNWRITABLE_PAUSE_S", 0.0)
    process.step()
    assert halts.level(site.ledger.db) is HaltLevel.KILL
    process.close()


def test_a_ledger_that_is_locked_at_the_start_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ending would use up the starts that systemd allows, and then nobody would start it again."""
    monkeypatch.setattr(gate_module, "GATE_WAIT_S", 0.05)
    process, other = ExecutorProcess(site.profile), site.open_ledger()
    with closing(other), other.transaction():
        assert not process.step()
        assert not process.step()
        assert process.report() == Report("starting", "the ledger cannot be written")
    monkeypatch.setattr(executor, "UNWRITABLE_PAUSE_S", 0.0)
    process.step()
    assert process.report().status == "disconnected"
    process.close()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("database or disk is full", LedgerBusyError),
        ("attempt to write a readonly database", LedgerBusyError),
        ("disk I/O error", OperationalError),
    ],
)
def test_a_ledger_that_cannot_be_written_ends_it_with_one_sentence(
    site: Site, monkeypatch: pytest.MonkeyPatch, text: str, error: type[Exception]
) -> None:
    """A full disk is no bug and needs no traceback; a failing disk is shown as it is (F17, F18)."""

    def fail(_: ExecutorProcess) -> bool:
        raise OperationalError(text)

    monkeypatch.setattr(ExecutorProcess, "step", fail)
    with pytest.raises(error, match=text):
        asyncio.run(run(site.profile))
    beat = read_heartbeat(site.profile.stream_dir, "executor")
    assert beat is not None
    assert (beat.status, text in beat.detail) == ("failed", True)

"""A request becomes one run, queued or blocked with the first gate's reason; asked again, the same.

The ledger, the heartbeat files and the universe are real; the daemons only seem to run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, freezes, halts, runs, snapshots
from ibloop.core.dropcopy import ACCOUNT, Break, BreakKind
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import HaltLevel
from ibloop.daemons.pretrade import Requested, request_run, retry_run
from ibloop.errors import BadInputError, RefusedError
from tests.fakes.house import House
from tests.fakes.site import HEALTHY, Site

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a data directory where every gate passes, with a targets file of this moment."""
    made = Site(tmp_path / "data")
    write_targets(made, made.clock.now().utc.isoformat())
    return made


def targets(site: Site) -> Path:
    """Return where the targets file is."""
    return site.profile.data_dir / "targets.csv"


def write_targets(site: Site, as_of: str) -> None:
    """Write two targets with an ``as_of``."""
    targets(site).write_text(f"symbol,weight,as_of\nAAPL,0.10,{as_of}\nIBM,0.10,{as_of}\n")


def ask(site: Site, key: str = "2026W47") -> Requested:
    """Request a run as ``ibloop rebalance`` does."""
    return request_run(
        site.profile,
        site.ledger,
        site.universe,
        site.clock,
        key=key,
        targets_path=targets(site),
        requested_by="test",
    )


def again(site: Site, asked: Requested) -> Requested:
    """Retry a run as ``ibloop run retry`` does."""
    return retry_run(
        site.profile,
        site.ledger,
        site.universe,
        site.clock,
        run=asked.run,
        targets_path=targets(site),
        requested_by="test",
    )


def test_all_gates_pass_and_the_run_is_queued(site: Site) -> None:
    """With its decision frozen, the gates' answers kept, and the executor woken."""
    asked = ask(site)
    assert (asked.run.status, asked.existed) == (RunState.QUEUED, False)
    assert all(gate.passed for gate in asked.gates)
    frozen = snapshots.find(site.ledger.db, str(asked.run.snapshot_id))
    assert frozen is not None
    assert frozen.content_hash == asked.run.snapshot_hash
    kept = snapshots.pretrade_of(site.ledger.db, asked.run.run_id)
    assert kept is not None
    assert kept.passed
    assert asked.run.config_hash == site.profile.config.config_hash
    assert (site.profile.stream_dir / "_wake").exists()


@pytest.mark.parametrize("breaks", ["queued", "blocked"])
def test_the_same_key_is_the_same_run(site: Site, breaks: str) -> None:
    """Asked again, nothing is written, whatever became of the run; another key is another run."""
    if breaks == "blocked":
        site.beat("gateway", "failed")
    first = ask(site)
    site.refresh()
    second = ask(site)
    assert (second.run, second.existed) == (first.run, True)
    assert len(runs.listing(site.ledger.db, 9)) == 1
    assert ask(site, "extra").run.run_id != first.run.run_id


_ASK = """
import json, sys
from pathlib import Path
from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.adapters.universe import load_universe
from ibloop.config import BUILTIN_TOML, Profile, parse
from ibloop.daemons.pretrade import request_run
profile = Profile(parse(BUILTIN_TOML, "test"), None, Path(sys.argv[1]))
config = profile.config
ledger = open_ledger(profile.ledger_path, mode=config.mode, account=config.account)
print("ready", flush=True)
sys.stdin.readline()
asked = request_run(profile, ledger, load_universe(profile), SystemClock(), key="same",
                    targets_path=Path(sys.argv[2]), requested_by="test")
print(json.dumps([asked.run.run_id, asked.existed]), flush=True)
"""


@pytest.mark.e2e
def test_two_processes_at_once_make_one_run(site: Site) -> None:
    """A timer and a person ask in the same moment: one run, and both are told of it."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _ASK, str(site.profile.data_dir), str(targets(site))],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = []
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        output, _ = process.communicate(timeout=60)
        answers.append(json.loads(output))
    assert len({run_id for run_id, _ in answers}) == 1
    assert sorted(existed for _, existed in answers) == [False, True, True]
    assert [run.run_key for run in runs.listing(site.ledger.db, 9)] == ["same"]


REASONS = {
    "gateway": RunReason.GATEWAY_UNAVAILABLE,
    "status": RunReason.STREAM_STALE,
    "executor": RunReason.EXECUTOR_SILENT,
    "guard": RunReason.GUARD_SILENT,
}


@pytest.mark.parametrize("name", REASONS)
@pytest.mark.parametrize("how", ["missing", "stale", "unwell", "damaged", "of the future"])
def test_a_daemon_that_cannot_be_relied_on_blocks(site: Site, name: str, how: str) -> None:
    """The run is written down as blocked with the reason, an alert is raised, nothing frozen."""
    path = site.profile.stream_dir / f"_{name}.json"
    if how == "missing":
        path.unlink()
    elif how == "damaged":
        path.write_text("{")
    elif how == "unwell":
        site.beat(name, "degraded")
    elif how == "of the future":
        stamp = site.clock.now()
        site.clock.advance(60)
        site.beat(name, HEALTHY[name])
        site.clock.moment = stamp
    else:
        site.clock.advance(11)
        for other in HEALTHY.keys() - {name}:
            site.beat(other, HEALTHY[other])
    asked = ask(site)
    assert (asked.run.status, asked.run.reason) == (RunState.BLOCKED, REASONS[name])
    assert asked.run.snapshot_id is None
    assert [alert.event for alert in alerts.listing(site.ledger.db, 9)] == ["run.blocked"]


def test_the_first_gate_to_mend_gives_the_reason(site: Site) -> None:
    """Of many faults the one a person has to mend first is named; all are kept."""
    for name in HEALTHY:
        (site.profile.stream_dir / f"_{name}.json").unlink()
    asked = ask(site)
    assert asked.run.reason is RunReason.GATEWAY_UNAVAILABLE
    assert [gate.name for gate in asked.gates if not gate.passed] == [
        "gateway",
        "stream",
        "executor",
        "guard",
    ]


def _halt(site: Site) -> None:
    with site.ledger.transaction() as tx:
        halts.halt(tx, HaltLevel.PAUSE, "a test", "cli", "test", site.clock.now().utc)


def _halt_file(site: Site) -> None:
    (site.profile.data_dir / "HALT").touch()


def _old_account(site: Site) -> None:
    site.store(age_s=61)


def _no_equity(site: Site) -> None:
    site.store("0")


def _another_run(site: Site) -> None:
    ask(site, "other")
    with site.ledger.transaction() as tx:
        runs.claim_next(tx, site.clock.now().utc, "executor")


def _old_targets(site: Site) -> None:
    write_targets(site, (site.clock.now().utc - timedelta(hours=169)).isoformat())


def _frozen_account(site: Site) -> None:
    found = Break(BreakKind.POSITION, ACCOUNT, ACCOUNT, "nobody knows of what")
    with site.ledger.transaction() as tx:
        freezes.freeze(tx, found, site.clock.now().utc, "guard")


def _targets_ahead(site: Site) -> None:
    write_targets(site, (site.clock.now().utc + timedelta(hours=2)).isoformat())


FAULTS: dict[RunReason, tuple[Callable[[Site], None], ...]] = {
    RunReason.GUARD_HALTED: (_halt, _halt_file),
    RunReason.ACCOUNT_STALE: (_old_account, _no_equity),
    RunReason.RUN_ACTIVE: (_another_run,),
    RunReason.POSITION_BREAK: (_frozen_account,),
    RunReason.TARGETS_STALE: (_old_targets, _targets_ahead),
}


@pytest.mark.parametrize(
    ("reason", "fault"), [(reason, fault) for reason, many in FAULTS.items() for fault in many]
)
def test_what_else_blocks(site: Site, reason: RunReason, fault: Callable[[Site], None]) -> None:
    """Each gate by itself, with its own reason."""
    fault(site)
    asked = ask(site)
    assert (asked.run.status, asked.run.reason) == (RunState.BLOCKED, reason)


def test_an_account_that_was_never_read_blocks(tmp_path: Path) -> None:
    """A missing answer is a no."""
    site = Site(tmp_path / "data")
    write_targets(site, site.clock.now().utc.isoformat())
    with site.ledger.transaction() as tx:
        tx.execute("DELETE FROM account_values")
    assert ask(site).run.reason is RunReason.ACCOUNT_STALE


def test_the_file_s_own_time_counts_without_an_as_of(site: Site) -> None:
    """A file of last week says so by its modification time."""
    targets(site).write_text("symbol,weight\nAAPL,0.1\n")
    now = site.clock.now().utc.timestamp()
    os.utime(targets(site), (now, now))
    assert ask(site, "fresh").run.status is RunState.QUEUED
    os.utime(targets(site), (now, now - 169 * 3600))
    assert ask(site, "old").run.reason is RunReason.TARGETS_STALE


@pytest.mark.parametrize("content", [None, b"", b"symbol,weight\nNOPE,0.1\n"])
def test_an_unusable_file_writes_nothing(site: Site, content: bytes | None) -> None:
    """Bad input is told at once; no run is made of it."""
    targets(site).unlink()
    if content is not None:
        targets(site).write_bytes(content)
    with pytest.raises(BadInputError):
        ask(site)
    assert runs.listing(site.ledger.db, 9) == ()


def test_the_time_is_taken_once_the_lock_is_held(site: Site) -> None:
    """Heartbeats are judged by the clock of the moment they are read in."""
    whole = site.ledger.transaction

    def slow() -> object:
        site.clock.advance(9)
        for name, status in HEALTHY.items():
            site.beat(name, status)
        return whole()

    site.ledger.transaction = slow  # type: ignore[method-assign, assignment]
    asked = ask(site)
    assert asked.run.status is RunState.QUEUED
    assert asked.run.created_at == site.clock.now().utc


def test_a_retry_queues_the_next_attempt(site: Site) -> None:
    """With the decision of the file as it is now; the same run, the same key."""
    site.beat("gateway", "failed")
    blocked = ask(site)
    site.refresh()
    asked = again(site, blocked)
    assert (asked.run.run_id, asked.run.status) == (blocked.run.run_id, RunState.QUEUED)
    assert (asked.run.attempt, asked.run.reason) == (1, None)
    assert asked.run.snapshot_id is not None


def test_a_retry_whose_gate_fails_restates_why(site: Site) -> None:
    """The newest reason counts; the attempt was none."""
    site.beat("gateway", "failed")
    blocked = ask(site)
    site.refresh()
    _halt(site)
    asked = again(site, blocked)
    assert (asked.run.status, asked.run.reason) == (RunState.BLOCKED, RunReason.GUARD_HALTED)
    assert asked.run.attempt == 0


def test_only_a_blocked_run_is_retried(site: Site) -> None:
    """Two retries at once: the second finds the run queued and changes nothing."""
    site.beat("gateway", "failed")
    blocked = ask(site)
    site.refresh()
    again(site, blocked)
    before = len(alerts.listing(site.ledger.db, 99))
    with pytest.raises(RefusedError, match="was queued"):
        again(site, blocked)
    assert runs.listing(site.ledger.db, 9)[0].attempt == 1
    assert len(alerts.listing(site.ledger.db, 99)) == before


def test_orders_of_an_earlier_run_keep_the_next_one_waiting(tmp_path: Path) -> None:
    """Unknown ones by their own reason, working ones as a run under way."""
    for script, reason in (
        ({"swallowed": True}, RunReason.UNKNOWN_ORDER),
        ({"fills": ()}, RunReason.RUN_ACTIVE),
    ):
        directory = tmp_path / reason
        house = House(_made(directory))
        house.script("AAA", **script)
        house.queue("K0")
        house.play(2)
        house.halt()
        house.until_ended("K0")
        house.play(12)
        with house.ledger.transaction() as tx:
            halts.resume(tx, "test", "go on", house.clock.now().utc)
        house.ledger.close()
        site = Site(directory, house.clock)
        write_targets(site, site.clock.now().utc.isoformat())
        assert ask(site).run.reason is reason


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory

"""`ibloop demo`: the whole loop, once; ledger and broker's truth compared in both directions."""

import json
import os
import pty
import signal
import socket
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.ledger import account, fills, orders, runs
from ibloop.adapters.ledger.connection import open_readonly
from ibloop.adapters.streamfiles import read_heartbeat
from ibloop.core.promises import exec_base

from .conftest import (
    COMMAND,
    DEADLINE_S,
    DOCUMENT,
    WELL,
    broken_promises,
    environment,
    is_alive,
    load_json,
    same,
    sent_twice,
    wait_for,
)

pytestmark = pytest.mark.e2e

DEMO_S_MAX = 110.0
HOSTILE_TOML = 'mode = "live"\naccount = "U7654321"\n[typo]\nx = 1\n'
SAID_BY_BROKER = {"filled": "Filled", "rejected": "Inactive", "canceled": "Cancelled"}


@dataclass(frozen=True, slots=True)
class Told:
    """One demo that has ended: its directory, what it said, the broker's truth."""

    directory: Path
    code: int
    out: str
    err: str
    truth: dict[str, Any]

    @property
    def ledger(self) -> Path:
        """Return where the demo's ledger is."""
        return self.directory / "ibloop.db"


def start(cwd: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a demo in a directory, with pipes for a terminal."""
    return subprocess.Popen(
        [*COMMAND, "demo", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(),
    )


def told(cwd: Path, demo: subprocess.Popen[str]) -> Told:
    """Wait for a demo's end."""
    try:
        out, err = demo.communicate(timeout=DEMO_S_MAX)
    finally:
        demo.kill()
        demo.wait()
    directory = cwd / "data" / "demo"
    return Told(directory, demo.returncode, out, err, load_json(directory / "truth.json"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Play the demo, once for all these tests."""
    cwd = tmp_path_factory.mktemp("demo")
    return told(cwd, start(cwd, "--once"))


@pytest.fixture
def db(demo: Told) -> Iterator[Any]:
    """Open the demo's ledger for reading."""
    with closing(open_readonly(demo.ledger)) as connection:
        yield connection


def assert_nothing_left(directory: Path) -> None:
    """Assert that no daemon of a demo lives and that its control port refuses."""
    beats = [read_heartbeat(directory / "ib" / "stream", DOCUMENT.get(n, n)) for n in WELL]
    alive = [beat.pid for beat in beats if beat is not None and beat.pid and is_alive(beat.pid)]
    assert alive == []
    gateway = beats[0]
    if gateway is not None and gateway.document.get("control_port"):
        for port in (gateway.document["control_port"], gateway.document["port"]):
            with socket.socket() as client:
                assert client.connect_ex(("127.0.0.1", int(str(port)))) != 0


def test_it_tells_the_story_and_ends_with_a_table(demo: Told) -> None:
    """Exit 0; the data on stdout are the two addresses, the summary, the money, the way on."""
    assert demo.code == 0, demo.err
    lines = demo.out.splitlines()
    assert ["http://127.0.0.1:" in line for line in lines[:3]] == [True, True, False]
    rows = [line.split("\t") for line in lines if line.count("\t") == 6]
    assert [row[0] for row in rows] == ["RUN", "initial", rows[2][0], "after-the-crash"]
    assert [row[1] for row in rows[1:]] == ["done", "partial", "blocked"]
    assert [row[2] for row in rows[2:]] == ["orders_rejected", "guard_halted"]
    assert f"ibloop run show {rows[2][0]} --data data/demo" in demo.out
    for chapter in ("1. The daemons", "2. The first", "3. The weekly", "4. Every", "5. A reb"):
        assert f"\n{chapter}" in demo.err
    assert "Traceback" not in demo.err + demo.out


def test_the_equity_told_is_the_guards_after_the_crash(demo: Told) -> None:
    """Not the broker's figure of before: a third of the book is gone."""
    (line,) = (line for line in demo.out.splitlines() if line.startswith("equity\t"))
    worth = float(line.split("\t")[1].partition(" ")[0].replace(",", ""))
    net = demo.truth["accounts"]["DU1234567"]["net_liquidation"]
    assert worth == pytest.approx(net, rel=0.02)
    assert worth < 80_000


def test_runs_end_done_partial_and_blocked_with_their_reasons(db: Any) -> None:
    """A rejection leaves the run partial and says why; the blocked one has sent nothing."""
    first, weekly, blocked = reversed(runs.listing(db, 10))
    assert [run.status for run in (first, weekly, blocked)] == ["done", "partial", "blocked"]
    assert "UNFU rejected (201: Order rejected" in weekly.detail
    assert (blocked.reason, orders.of_run(db, blocked.run_id)) == ("guard_halted", ())
    assert len(orders.of_run(db, weekly.run_id)) >= 10


def test_every_order_is_filled_by_its_fills(db: Any) -> None:
    """A filled order's quantity is the sum of its executions; the sliced one has several."""
    shares: defaultdict[str | None, Decimal] = defaultdict(Decimal)
    for fill in fills.everything(db):
        shares[fill.client_order_id] += fill.quantity
    rows = [row.order for row in orders.all_sent(db)]
    assert len(rows) >= 20
    for order in rows:
        expected = order.quantity if order.status == "filled" else 0
        assert (shares[order.client_order_id], order.filled_quantity) == (expected, expected)
    (sliced,) = (order for order in rows if order.symbol == "TANU")
    assert sliced.status == "filled"
    assert len(fills.of_order(db, sliced.client_order_id)) >= 2
    (refused,) = (order for order in rows if order.status != "filled")
    assert (refused.symbol, refused.status) == ("UNFU", "rejected")
    assert (refused.reject_source, refused.reject_code) == ("broker", "201")


def test_orders_are_the_brokers_orders(demo: Told, db: Any) -> None:
    """Both directions: each order of one side is on the other, with status, fills and permId."""
    mine = {row.order.client_order_id: row.order for row in orders.all_sent(db)}
    theirs = {row["orderRef"]: row for row in demo.truth["orders"]}
    assert set(mine) == set(theirs)
    for ref, order in mine.items():
        row = theirs[ref]
        assert SAID_BY_BROKER[order.status] == row["status"], ref
        assert order.perm_id == row["permId"], ref
        assert same(order.quantity, row["totalQuantity"]), ref
        assert same(order.filled_quantity, row["filled"]), ref
        assert same(order.limit_price, row["lmtPrice"]), ref
        assert (order.side.value, order.symbol) == (row["action"], row["symbol"]), ref


def test_fills_are_the_brokers_executions(demo: Told, db: Any) -> None:
    """Both directions: every execution once, with shares, price, side and commission."""
    mine = {exec_base(fill.exec_id): fill for fill in fills.everything(db)}
    theirs = {exec_base(row["execId"]): row for row in demo.truth["executions"]}
    assert len(mine) == len(fills.everything(db))
    assert set(mine) == set(theirs)
    for base, fill in mine.items():
        row = theirs[base]
        assert same(fill.quantity, row["shares"]), base
        assert same(fill.price, row["price"]), base
        assert same(fill.commission, row["commission"]), base
        assert (fill.side.value, fill.symbol) == (row["side"], row["symbol"]), base
        assert fill.client_order_id == row["orderRef"], base


def test_positions_are_the_brokers_positions(demo: Told, db: Any) -> None:
    """Both directions, to the share."""
    mine = {held.symbol: held.quantity for held in account.positions(db)}
    theirs = {row["symbol"]: Decimal(str(row["quantity"])) for row in demo.truth["positions"]}
    assert mine == theirs


def test_every_promise_holds(demo: Told) -> None:
    """Each order left once; ledger and broker agree about everything; the ledger is whole."""
    assert sent_twice(demo.truth) == []
    assert broken_promises(demo.ledger, demo.truth) == ()
    check = subprocess.run(
        [*COMMAND, "db", "check", "--data", str(demo.directory)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert (check.returncode, check.stdout) == (0, "ok\n")


def test_no_process_is_left(demo: Told) -> None:
    """Every daemon has gone, the simulator too."""
    assert_nothing_left(demo.directory)
    stopped = [
        read_heartbeat(demo.directory / "ib" / "stream", DOCUMENT.get(n, n)).status  # type: ignore[union-attr]
        for n in WELL
    ]
    assert stopped == ["stopped"] * 4


def test_a_second_demo_is_refused_at_once_and_a_later_one_starts_fresh(
    demo: Told, tmp_path: Path
) -> None:
    """Any hour, any directory: without a terminal it ends by itself, whatever lies about there.

    A hostile ./ibloop.toml is not read, a hostile ./json.py not imported; while it runs another
    one exits 75; what an earlier demo left is gone.
    """
    (tmp_path / "ibloop.toml").write_text(HOSTILE_TOML, encoding="utf-8")
    (tmp_path / "json.py").write_text("raise SystemExit('hostile')\n", encoding="utf-8")
    earlier = tmp_path / "data" / "demo"
    earlier.mkdir(parents=True)
    for name in ("ibloop.toml", "ibloop.db", "truth.json"):
        (earlier / name).write_bytes((demo.directory / name).read_bytes())
    first = subprocess.Popen(
        [COMMAND[0], "-P", *COMMAND[1:], "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(),
    )
    wait_for("a daemon", (earlier / "locks" / "gateway.lock").exists)
    second = subprocess.run(
        [COMMAND[0], "-P", *COMMAND[1:], "demo"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment(),
        timeout=DEADLINE_S,
    )
    assert (second.returncode, second.stdout) == (75, "")
    assert second.stderr.startswith(f"ibloop: demo is already running as pid {first.pid} ")
    fresh = told(tmp_path, first)
    assert fresh.code == 0, fresh.err
    with closing(open_readonly(fresh.ledger)) as db:
        assert len(runs.listing(db, 100)) == 3
        found = {(fill.exec_id, fill.executed_at) for fill in fills.everything(db)}
    with closing(open_readonly(demo.ledger)) as db:
        assert found.isdisjoint((fill.exec_id, fill.executed_at) for fill in fills.everything(db))
    assert broken_promises(fresh.ledger, fresh.truth) == ()
    assert_nothing_left(fresh.directory)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_demo_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    """In the middle of a run: the truth is written, every process has ended, the exit says 1."""
    running = start(tmp_path, "--once")
    directory = tmp_path / "data" / "demo"
    wait_for("a run", lambda: has_sent(directory / "ibloop.db"))
    running.send_signal(number)
    assert running.stderr is not None
    assert any(line == "stopping\n" for line in running.stderr)
    running.send_signal(number)  # the impatient press twice
    ended = told(tmp_path, running)
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert ended.truth["frames"]
    assert_nothing_left(directory)


def has_sent(ledger: Path) -> bool:
    """Return whether the ledger, if there is one, knows of an order that left."""
    done = subprocess.run(
        [*COMMAND, "orders", "list", "--json", "--data", str(ledger.parent)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    return done.returncode == 0 and any(o["sent_at"] for o in json.loads(done.stdout)["data"])


@contextmanager
def on_terminal(cwd: Path) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """Start a demo whose stdout is a terminal; give it and a reader of what it has drawn."""
    screen, tty = pty.openpty()
    os.set_blocking(screen, False)
    drawn = bytearray()

    def read() -> str:
        with suppress(BlockingIOError, OSError):  # nothing more just now; the demo has ended
            drawn.extend(os.read(screen, 65536))
        return drawn.decode("utf-8", "replace")

    with (cwd / "talk").open("w") as talk:
        demo = subprocess.Popen(
            [*COMMAND, "demo"], stdout=tty, stderr=talk, text=True, cwd=cwd, env=environment()
        )
    os.close(tty)
    try:
        yield demo, read
    finally:
        demo.kill()
        demo.wait()
        os.close(screen)


def test_on_a_terminal_it_runs_on_until_ctrl_c(tmp_path: Path) -> None:
    """The tutorial's next step works: resume, retry the blocked run, see it end. Exit 0."""
    directory = tmp_path / "data" / "demo"

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments, "--data", str(directory)],
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
        )

    with on_terminal(tmp_path) as (demo, read):
        wait_for("the end of the story", lambda: "Where to look next" in read(), DEMO_S_MAX)
        assert ask("resume", "the crash was staged").returncode == 0
        wait_for("the gates", lambda: ask("run", "retry", "after-the-crash").returncode == 0)
        wait_for("the run", lambda: "done" in ask("run", "show", "after-the-crash").stdout)
        assert "\x1b[31mblocked" in read()
        demo.send_signal(signal.SIGINT)
        assert demo.wait(DEADLINE_S) == 0
    truth = load_json(directory / "truth.json")
    assert broken_promises(directory / "ibloop.db", truth) == ()
    assert_nothing_left(directory)


@pytest.mark.parametrize("name", ["notes.txt", "ibloop.toml", "ibloop.db"])
def test_a_directory_that_no_demo_made_is_refused_and_untouched(name: str, tmp_path: Path) -> None:
    """78: somebody's ledger may be called data/demo as well."""
    directory = tmp_path / "data" / "demo"
    directory.mkdir(parents=True)
    (directory / name).write_text("mine", encoding="utf-8")
    before = directory.stat().st_mtime_ns
    refused = start(tmp_path, "--once")
    out, err = refused.communicate(timeout=DEADLINE_S)
    assert (refused.returncode, out) == (78, "")
    assert err == f"ibloop: {directory} holds something else than a demo; move it away\n"
    assert (directory / name).read_text(encoding="utf-8") == "mine"
    assert directory.stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["demo"]

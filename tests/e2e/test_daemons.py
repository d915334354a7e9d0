"""The daemons as real processes: killed, halted, silenced; and what is true afterwards."""

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from ibloop.adapters.universe import samples_dir

from .conftest import (
    COMMAND,
    DEADLINE_S,
    SLOW_TOML,
    WELL,
    Loop,
    broken_promises,
    children,
    environment,
    is_alive,
    sent_twice,
    wait_for,
)

pytestmark = pytest.mark.e2e

MakeLoop = Callable[..., Loop]
STOP_S_MAX = 15.0


def test_each_daemon_is_alone_speaks_json_and_ends_on_sigterm(make_loop: MakeLoop) -> None:
    """A second start exits 75 and names the holder; SIGTERM ends within seconds, exit 0."""
    loop = make_loop()
    pids = {name: process.pid for name, process in loop.running.items()}
    for name, pid in pids.items():
        second = loop.ask(name, "run")
        assert second.returncode == 75, second.stderr
        last = second.stderr.splitlines()[-1]
        assert last.startswith(f"ibloop: {name} is already running as pid {pid} ")
    loop.await_well(*WELL)  # the first ones have not noticed
    simulator = children(pids["gateway"])
    for name in reversed(WELL):
        process = loop.running.pop(name)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S_MAX) == 0
        assert loop.beat(name).status == "stopped"
        events = [json.loads(line) for line in loop.log(name).read_text().splitlines()]
        assert {event["daemon"] for event in events} == {name}
        assert events[0]["event"] == "daemon.started"
        assert events[-1]["event"] == "daemon.stopped"
    assert [pid for pid in simulator if is_alive(pid)] == []


def test_a_killed_gateway_daemon_takes_its_simulator_along(make_loop: MakeLoop) -> None:
    """Nothing is left behind that would hold the port; the next start carries on."""
    loop = make_loop("gateway")
    (simulator,) = children(loop.running["gateway"].pid)
    loop.kill("gateway")
    wait_for("the simulator's end", lambda: not is_alive(simulator))
    loop.start("gateway")
    loop.await_well("gateway")


def test_a_killed_simulator_comes_back_and_the_run_ends(make_loop: MakeLoop) -> None:
    """kill -9 of the gateway in the middle of a run: it recovers, and every promise holds.

    The person who waits for the run may leave: the run is the executor's.
    """
    loop = make_loop()
    (simulator,) = children(loop.running["gateway"].pid)
    before = loop.beat("gateway").document["session_id"]
    targets = samples_dir() / "targets-initial.csv"
    wait = ("rebalance", "--wait", "--key", "initial", "--targets", targets, *loop.options)
    command = [*COMMAND, *map(str, wait)]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert "initial queued" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        loop.await_sent("initial", 4)
        os.kill(simulator, signal.SIGKILL)
        assert waiting.wait(DEADLINE_S) != 0
    run = loop.await_end("initial")
    assert run.status in {"done", "partial", "blocked"}, run
    loop.await_well(*WELL)
    assert loop.beat("gateway").document["session_id"] != before
    assert_clean(loop, "initial")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_killed_executor_sends_nothing_twice(seed: int, make_loop: MakeLoop) -> None:
    """kill -9 at any moment of a run: the next executor goes on, each order leaves once."""
    loop = make_loop()
    chance = random.Random(seed)
    loop.rebalance("initial", "initial")
    loop.await_sent("initial", chance.randint(1, 9))
    wait_for_a_moment(loop, chance.randint(0, 5))
    loop.kill("executor")
    loop.start("executor")
    run = loop.await_end("initial")
    assert run.status in {"done", "partial", "blocked"}, (seed, run)
    loop.await_well("executor")
    assert_clean(loop, "initial")


def wait_for_a_moment(loop: Loop, frames: int) -> None:
    """Let so many more frames reach the broker, or the run come to its end."""
    until = len(loop.truth()["frames"]) + frames
    wait_for(
        f"{frames} frames",
        lambda: len(loop.truth()["frames"]) >= until or loop.run("initial").status != "executing",
    )


def assert_clean(loop: Loop, key: str) -> None:
    """Assert that ledger and broker agree once nothing works any more."""
    at_rest = {"filled", "canceled", "rejected", "not_sent", "expired", "unknown"}
    wait_for("orders at rest", lambda: all(o.status in at_rest for o in loop.orders(key)))
    # Positions are read on a round of their own, after the last fill.
    wait_for("clean promises", lambda: not broken_promises(loop.data / "ibloop.db", loop.truth()))
    assert sent_twice(loop.truth()) == []
    check = loop.ask("db", "check")
    assert (check.returncode, check.stdout) == (0, "ok\n")


def test_nothing_is_sent_after_a_halt_has_returned(make_loop: MakeLoop) -> None:
    """The run is blocked as halted; after resume a retry trades the remainder and no more."""
    loop = make_loop()
    loop.rebalance("initial", "initial")
    loop.await_sent("initial", 3)
    halted = loop.ask("halt", "the test says so")
    returned_at = datetime.now(UTC)
    assert halted.returncode == 0, halted.stderr
    run = loop.await_end("initial")
    assert (run.status, run.reason) == ("blocked", "guard_halted")
    placed = [f for f in loop.truth()["frames"] if f["kind"] == "placeOrder"]
    assert 3 <= len(placed) < 12
    late = [f for f in placed if datetime.fromisoformat(f["received_at"]) > returned_at]
    assert late == []
    assert loop.ask("rebalance", "--key", "another").returncode in {65, 77}
    assert loop.ask("run", "retry", "initial").returncode == 77

    wait_for("the first part at rest", lambda: not working(loop))
    assert loop.ask("resume", "checked").returncode == 0
    wait_for("the gates to pass", lambda: loop.ask("run", "retry", "initial").returncode == 0)
    run = loop.await_end("initial")
    assert (run.status, run.attempt) == ("done", 1)
    bought = [order.symbol for order in loop.orders("initial") if order.status == "filled"]
    assert len(bought) == len(set(bought)) == 12
    assert_clean(loop, "initial")


def working(loop: Loop) -> list[str]:
    """Return the orders that still work at the broker."""
    ended = {"Filled", "Cancelled", "Inactive"}
    return [o["orderRef"] for o in loop.truth()["orders"] if o["status"] not in ended]


def test_a_silent_stream_or_guard_blocks(make_loop: MakeLoop) -> None:
    """No price and no kill switch, no trade; each reason by its own name, nothing sent.

    A guard that falls silent blocks the run under way too: what has not left stays here.
    """
    loop = make_loop()
    loop.kill("stream")
    wait_for("the stream to be missed", lambda: is_missed(loop, "stream"))
    loop.rebalance("initial", "without-stream", code=77)
    assert (loop.run("without-stream").reason, loop.truth()["frames"]) == ("stream_stale", [])
    loop.start("stream")
    loop.await_well("stream")

    # Within the allowed silence the gates still pass; the sending goes on longer than that.
    loop.control().fault("ack_late", delay_s=8.0)
    loop.kill("guard")
    loop.rebalance("initial", "under-way")
    run = loop.await_end("under-way")
    assert (run.status, run.reason) == ("blocked", "guard_silent")
    assert any(order.status == "not_sent" for order in loop.orders("under-way"))
    frames = len(loop.truth()["frames"])
    loop.rebalance("initial", "without-guard", code=77)
    assert loop.run("without-guard").reason == "guard_silent"
    assert len(loop.truth()["frames"]) == frames


def is_missed(loop: Loop, name: str) -> bool:
    """Return whether `ibloop status` says that a daemon is not well."""
    daemons = json.loads(loop.ask("status", "--json").stdout)["data"]["daemons"]
    (line,) = (line for line in daemons if line["name"] == name)
    return line["problem"] is not None


def test_one_order_is_cancelled_among_others_that_an_algo_works(make_loop: MakeLoop) -> None:
    """Adaptive orders over a real socket; the cancelled one ends, the others fill."""
    adaptive = SLOW_TOML.replace("[execution]\n", '[execution]\nalgo = "adaptive"\n', 1)
    loop = make_loop(toml=adaptive)
    loop.rebalance("initial", "adaptive")
    loop.await_sent("adaptive", 1)
    last = max(loop.orders("adaptive"), key=lambda order: order.quantity * order.limit_price)
    done = loop.ask("orders", "cancel", last.client_order_id, "--reason", "a test")
    assert done.returncode == 0, done.stderr
    run = loop.await_end("adaptive")
    ended = {order.client_order_id: order for order in loop.orders("adaptive")}
    assert ended.pop(last.client_order_id).status in {"rejected", "canceled"}
    assert {str(order.status) for order in ended.values()} == {"filled"}
    assert {(order.algo, order.tif) for order in ended.values()} == {("adaptive_normal", "DAY")}
    assert run.status == "partial"
    placed = [f for f in loop.truth()["orders"] if f["orderRef"] in ended]
    assert {row["tif"] for row in placed} == {"DAY"}
    assert_clean(loop, "adaptive")

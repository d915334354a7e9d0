"""The rails with real processes: a kill without an executor, and live money's whole way."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import alerts, halts, runs
from ibloop.adapters.ledger.connection import open_ledger, open_readonly
from ibloop.adapters.simcontrol import SimControl
from ibloop.adapters.universe import samples_dir
from ibloop.config import BUILTIN_TOML
from ibloop.core.model import Mode
from tests.fakes.botapi import CHAT, TOKEN, BotApi, bot_api

from .conftest import COMMAND, WELL, Loop, environment, wait_for

pytestmark = pytest.mark.e2e

MakeLoop = Callable[..., Loop]
LIVE_ACCOUNT = "U1234567"
ENDED = {"Filled", "Cancelled", "Inactive"}


def working(truth: dict[str, Any]) -> list[str]:
    """Return the orders that still work at the broker."""
    return [o["orderRef"] for o in truth["orders"] if o["status"] not in ENDED]


def placed(truth: dict[str, Any]) -> list[str]:
    """Return the references of all orders that have reached the broker."""
    return [f["orderRef"] for f in truth["frames"] if f["kind"] == "placeOrder"]


# --- the kill switch ------------------------------------------------------------------------------


@pytest.fixture
def trading(make_loop: MakeLoop) -> Loop:
    """Return a loop in the middle of a run whose orders work and hardly fill."""
    loop = make_loop()
    loop.control().fault("partial_fills", shares=1, interval_s=600)
    loop.rebalance("initial", "K1")
    wait_for("orders that work", lambda: len(working(loop.truth())) >= 3)
    return loop


@pytest.mark.parametrize("way", ["command", "file"])
def test_a_kill_with_a_dead_executor_leaves_no_order_working(trading: Loop, way: str) -> None:
    """The guard cancels everything on a session of its own, and the halt is latched."""
    trading.kill("executor", signal.SIGKILL)
    if way == "command":
        said = trading.ask("halt", "the test says so", "--level", "kill")
        assert said.returncode == 0, said.stderr
    else:
        (trading.data / "HALT").write_text("kill\n", encoding="utf-8")
    wait_for("no order to work", lambda: not working(trading.truth()), 30)
    before = placed(trading.truth())
    trading.start("executor")
    trading.await_well("executor")
    run = trading.await_end("K1")
    assert (run.status, run.reason) == ("blocked", "guard_halted")
    assert placed(trading.truth()) == before
    with closing(open_readonly(trading.data / "ibloop.db")) as db:
        assert [halt.level for halt in halts.active(db)] == ["kill"]
        events = [alert.event for alert in alerts.listing(db, 50)]
    assert "halt.requested" in events
    assert "guard.global_cancel" in events


def test_a_kill_is_carried_out_when_the_gateway_comes_back(trading: Loop) -> None:
    """Killed while nobody could be reached: the guard tries again until nothing works."""
    trading.kill("executor", signal.SIGKILL)
    trading.kill("gateway", signal.SIGKILL)
    assert trading.ask("halt", "no gateway", "--level", "kill").returncode == 0
    wait_for("the guard to notice", lambda: trading.beat("guard").status == "degraded")
    trading.start("gateway")
    trading.await_well("gateway")
    wait_for("no order to work", lambda: not working(trading.truth()), 40)


# --- live -----------------------------------------------------------------------------------------


class Live:
    """A live profile against a simulated gateway of somebody else, with alerts to a fake bot."""

    def __init__(self, directory: Path, port: int, control: int, bot: BotApi) -> None:
        """Write configuration and token; nothing is started."""
        token = directory / "token"
        token.write_text(TOKEN, encoding="utf-8")
        token.chmod(0o600)
        config = directory / "live.toml"
        config.write_text(live_toml(port, bot, token), encoding="utf-8")
        self.loop = Loop(directory / "data", config)
        self.control = SimControl(control)
        self.bot = bot

    def run(self, key: str) -> runs.Run:
        """Return a run as the ledger has it."""
        return self.loop.run(key)


def live_toml(port: int, bot: BotApi, token: Path) -> str:
    """Return a live profile: an external gateway on a port that is neither paper's nor live's."""
    text = (
        BUILTIN_TOML.replace('mode = "paper"', 'mode = "live"')
        .replace("DU1234567", LIVE_ACCOUNT)
        .replace('launcher = "sim"\nport = 0', f'launcher = "external"\nport = {port}')
        .replace('calendar = "always"', 'calendar = "always"\nserver_reset = "none"')
    )
    assert f"port = {port}" in text
    return (
        text + f'\n[universe]\nfile = "{samples_dir() / "universe.csv"}"\n'
        f'\n[telegram]\napi_base = "{bot.base}"\nchat_id = "{CHAT}"\ntoken_file = "{token}"\n'
    )


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """Return a live profile with its five daemons running and well."""
    command = [*COMMAND, "sim", "--port", "0", "--account", LIVE_ACCOUNT, "--speed", "60"]
    with (
        bot_api() as bot,
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), cwd=tmp_path) as sim,
    ):
        assert sim.stdout is not None
        ready = json.loads(sim.stdout.readline())
        made = Live(tmp_path, ready["port"], ready["control_port"], bot)
        try:
            made.loop.start(*WELL, "alerts")
            made.loop.await_well(*WELL)
            wait_for("the alerts", lambda: (b := made.loop.beat("alerts")) and b.status == "ready")
            yield made
        finally:
            made.loop.end()
            sim.terminate()


def test_live_money_goes_its_whole_way(live: Live) -> None:
    """Unarmed it is blocked and told; armed it waits; approved by hash it sends just that, once."""
    loop = live.loop
    loop.rebalance("initial", "K1", code=77)
    assert (live.run("K1").status, live.run("K1").reason) == ("blocked", "unarmed")
    wait_for("the alert", lambda: any("unarmed" in text for text in live.bot.texts))

    words = ("--hours", 1, "--notional", 200_000)
    assert loop.ask("arm", "--account", "U7654321", *words).returncode == 77
    assert loop.ask("run", "retry", "K1").returncode == 77
    armed = loop.ask("arm", "--account", LIVE_ACCOUNT, *words)
    assert armed.returncode == 0, armed.stderr
    assert loop.ask("run", "retry", "K1").returncode == 0
    wait_for("the run to wait", lambda: live.run("K1").status == "awaiting_approval")
    assert placed(live.control.truth()) == []

    shown = json.loads(loop.ask("run", "approve", "K1", "--json").stdout)["data"]
    assert loop.ask("run", "approve", "K1", "--hash", "0" * 64).returncode == 77
    assert live.run("K1").status == "awaiting_approval"
    done = loop.ask("run", "approve", "K1", "--hash", shown["hash"])
    assert done.returncode == 0, done.stderr
    run = loop.await_end("K1")
    assert run.status == "done", run
    truth = live.control.truth()
    sent = {(o["symbol"], o["action"], o["totalQuantity"]) for o in truth["orders"]}
    ticket = shown["ticket"]["orders"]
    assert sent == {(t["symbol"], t["side"], float(t["quantity_max"])) for t in ticket}
    assert {o["account"] for o in truth["orders"]} == {LIVE_ACCOUNT}

    # The permission was for one run: the next is blocked, and the status says why.
    loop.rebalance("weekly", "K2", code=77)
    assert live.run("K2").reason == "unarmed"
    said = json.loads(loop.ask("status", "--json").stdout)["data"]["arming"]
    assert (said["armed"], said["problem"]) == (False, "the 1 armed runs are used up")
    assert len(placed(live.control.truth())) == len(ticket)


def test_live_money_waits_for_alerts_that_work(live: Live) -> None:
    """Nobody would be told: armed or not, no new run begins (L3)."""
    loop = live.loop
    words = ("--hours", 1, "--notional", 200_000)
    assert loop.ask("arm", "--account", LIVE_ACCOUNT, *words).returncode == 0
    loop.kill("alerts", signal.SIGKILL)
    last = loop.beat("alerts").stamp
    wait_for("the silence", lambda: SystemClock().now().age_s(last) > 11, 30)
    loop.rebalance("initial", "K1", code=77)
    assert live.run("K1").reason == "alerts_undelivered"
    assert placed(live.control.truth()) == []


def test_live_money_goes_on_once_somebody_has_read_what_did_not_arrive(live: Live) -> None:
    """A critical alert that Telegram refused for good blocks new runs until it is acknowledged."""
    loop, bot = live.loop, live.bot
    bot.poison = "nobody hears this"
    now = datetime.now(UTC)
    ledger = open_ledger(loop.data / "ibloop.db", mode=Mode.LIVE, account=LIVE_ACCOUNT)
    with closing(ledger), ledger.transaction() as tx:
        earlier = now - timedelta(minutes=20)
        number = alerts.raise_alert(tx, "critical", "a.b", "", bot.poison, None, earlier)
    wait_for("the refusal", lambda: f"ibloop alerts ack {number}" in loop.beat("alerts").detail)
    words = ("--hours", 1, "--notional", 200_000)
    assert loop.ask("arm", "--account", LIVE_ACCOUNT, *words).returncode == 0
    loop.rebalance("initial", "K1", code=77)
    assert live.run("K1").reason == "alerts_undelivered"
    assert "ibloop alerts ack ALERT" in loop.ask("run", "show", "K1").stdout

    done = loop.ask("alerts", "ack", number, "--reason", "the test has read it")
    assert done.returncode == 0, done.stderr
    wait_for("the alerts", lambda: loop.beat("alerts").status == "ready")
    again = loop.ask("run", "retry", "K1")
    assert again.returncode == 0, again.stderr
    wait_for("the run to wait", lambda: live.run("K1").status == "awaiting_approval")

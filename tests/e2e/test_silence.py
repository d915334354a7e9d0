"""Bad targets, accounts, prices and limits: the broker hears nothing, and the user why."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ibloop.adapters.universe import samples_dir

from .conftest import SLOW_TOML, WELL, Loop, wait_for
from .hostile_builder import HOSTILE

pytestmark = pytest.mark.e2e

BAD_TARGETS = {
    "empty": b"",
    "binary": b"\x00\x01\x02",
    "no header": b"AAPL,0.1\n",
    "nan": b"symbol,weight\nAAPL,NaN\n",
    "infinite": b"symbol,weight\nAAPL,Infinity\n",
    "negative": b"symbol,weight\nAAPL,-0.1\n",
    "per cent": b"symbol,weight\nAAPL,10%\n",
    "above one": b"symbol,weight\nAAPL,10\n",
    "sum above one": b"symbol,weight\nAAPL,0.6\nIBM,0.6\n",
    "twice": b"symbol,weight\nAAPL,0.1\nAAPL,0.1\n",
    "unknown": b"symbol,weight\nNOSUCH,0.1\n",
    "a path": b"symbol,weight\n../../etc/passwd,0.1\n",
    "stale": b"symbol,weight,as_of\nAAPL,0.1,2001-01-01T00:00:00Z\n",
    "of tomorrow": b"symbol,weight,as_of\nAAPL,0.1,2999-01-01T00:00:00Z\n",
    "no date": b"symbol,weight,as_of\nAAPL,0.1,soon\n",
}
INITIAL = samples_dir() / "targets-initial.csv"
UNIVERSE = samples_dir() / "universe.csv"
OTHER_IDS = "client_ids = { executor = 21, stream = 22, guard = 20, probe = 29 }\n"
REFUSAL = "expected a gateway logged in to DU9999999 alone"


def orders_at_broker(loop: Loop) -> int:
    """Return how many order messages of any kind the broker has received."""
    return len(loop.truth()["frames"])


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """Return four daemons that are well, for tests that send nothing."""
    directory = tmp_path_factory.mktemp("silence")
    config = directory / "slow.toml"
    config.write_text(SLOW_TOML, encoding="utf-8")
    loop = Loop(directory / "data", config)
    loop.start(*WELL)
    loop.await_well(*WELL)
    yield loop
    loop.end()


@pytest.mark.parametrize("kind", BAD_TARGETS)
def test_bad_targets_are_refused_with_their_reason(kind: str, calm: Loop, tmp_path: Path) -> None:
    """Exit 65 or 77, a sentence and no traceback; not one order reaches the broker."""
    path = tmp_path / "targets.csv"
    path.write_bytes(BAD_TARGETS[kind])
    done = calm.ask("rebalance", "--wait", "--key", kind.replace(" ", "-"), "--targets", path)
    assert done.returncode in {65, 77}, done.stdout + done.stderr
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
    assert orders_at_broker(calm) == 0


@pytest.mark.parametrize("arguments", [("--targets", "/nowhere.csv"), ("--mode", "live")])
def test_a_wrong_file_or_mode_is_refused(arguments: tuple[str, ...], calm: Loop) -> None:
    """Asking for live on a paper profile switches nothing."""
    done = calm.ask("rebalance", "--wait", "--key", "wrong", *arguments)
    assert done.returncode in {65, 77}, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert orders_at_broker(calm) == 0


def test_a_stopped_market_sends_nothing(calm: Loop) -> None:
    """The stream is stopped (SIGSTOP): its prices are of another time, and the run is blocked."""
    stream = calm.running["stream"]
    stream.send_signal(signal.SIGSTOP)
    try:
        wait_for("silence", lambda: calm.ask("status").returncode == 3)
        done = calm.ask("rebalance", "--wait", "--key", "stopped", "--targets", INITIAL)
    finally:
        stream.send_signal(signal.SIGCONT)
    assert done.returncode == 77, done.stdout + done.stderr
    assert calm.run("stopped").reason == "stream_stale"
    assert orders_at_broker(calm) == 0
    calm.await_well(*WELL)


COARSE = "coarse.csv"
"""A universe in which no price is near a tick."""
LIMITS = {
    "orders_per_run_max = 50": ("orders_per_run_max = 1", "limit_breached"),
    "orders_per_day_max = 200": ("orders_per_day_max = 1", "limit_breached"),
    "plan_turnover_weight_max = 1.2": ("plan_turnover_weight_max = 0.1", "limit_breached"),
    "day_turnover_weight_max = 50.0": ("day_turnover_weight_max = 0.1", "limit_breached"),
    "gross_weight_max = 1.0": ("gross_weight_max = 0.1", "limit_breached"),
    "sector_weight_max = 0.50": ("sector_weight_max = 0.01", "limit_breached"),
    "position_weight_max = 0.15": ("position_weight_max = 0.001", "position_weight_max"),
    "order_value_usd_max = 15_000": ("order_value_usd_max = 10", "order_value_usd_max"),
    "order_quantity_max = 2_000": ("order_quantity_max = 1", "order_quantity_max"),
    "adv_participation_max = 0.05": ("adv_participation_max = 0.00000001", "adv_participation_max"),
    "cash_weight_min = 0.02": ("cash_weight_min = 1", "by the cash budget"),
    "jump_fraction_max = 0.50": ("jump_fraction_max = 0.0000001", "market_data_error"),
    "spread_fraction_max = 0.01": ("spread_fraction_max = 0.0000001", "market_data_error"),
    "\n[session]": (f'\n[universe]\nfile = "{COARSE}"\n\n[session]', "price_collar_fraction"),
}
"""A line of the configuration, what stands for it, and the word that says why nothing is sent."""


def with_executor(calm: Loop, config: Path, *command: str) -> Loop:
    """Return the loop with another executor: the one place in which limits are asked."""
    calm.kill("executor", signal.SIGTERM)
    limited = Loop(calm.data, config, running=dict(calm.running))
    if command:
        limited.commands["executor"] = command
    limited.start("executor")
    return limited


@pytest.fixture
def make_limited(calm: Loop) -> Iterator[Callable[..., Loop]]:
    """Return a maker of loops with another executor; the one that was there comes back."""
    made: list[Loop] = []

    def make(config: Path, *command: str) -> Loop:
        made.append(with_executor(calm, config, *command))
        made[0].await_well("executor")
        return made[0]

    yield make
    for loop in made:
        loop.kill("executor", signal.SIGTERM)
        calm.start("executor")


def why_nothing_was_sent(loop: Loop, key: str) -> str:
    """Return all that a run and its orders say of their refusals."""
    run = loop.run(key)
    notes = [line["note"] for line in plan_lines(loop, key)]
    reasons = [f"{order.reject_code} {order.reject_reason}" for order in loop.orders(key)]
    return " ".join([str(run.reason), run.detail, *reasons, *notes])


def plan_lines(loop: Loop, key: str) -> list[dict[str, str]]:
    """Return the lines of a run's plan as the command shows them."""
    shown = json.loads(loop.ask("run", "show", key, "--json").stdout)
    lines: list[dict[str, str]] = shown["data"]["plan"]
    return lines


@pytest.mark.parametrize("old", LIMITS)
def test_each_limit_of_the_configuration_keeps_orders_back(
    old: str, calm: Loop, make_limited: Callable[..., Loop], tmp_path: Path
) -> None:
    """A plan beyond one limit ends without a single order, and says which limit."""
    assert SLOW_TOML.count(old) == 1, old
    new, word = LIMITS[old]
    config, key = tmp_path / "limited.toml", f"limited-{list(LIMITS).index(old)}"
    config.write_text(SLOW_TOML.replace(old, new), encoding="utf-8")
    coarse = UNIVERSE.read_text(encoding="utf-8").replace(",USD,0.01,", ",USD,100000,")
    (tmp_path / COARSE).write_text(coarse, encoding="utf-8")
    loop = make_limited(config)
    done = loop.ask("rebalance", "--wait", "--key", key, "--targets", INITIAL)
    run = loop.run(key)
    ended = {(1, "failed"), (77, "blocked")}
    assert (done.returncode, run.status) in ended | {(0, "done")}, done.stderr
    assert word in why_nothing_was_sent(loop, key), run
    assert "Traceback" not in done.stderr
    assert orders_at_broker(calm) == 0


@pytest.mark.parametrize("how", HOSTILE)
def test_a_builder_gone_wrong_sends_nothing(
    how: str, calm: Loop, make_limited: Callable[..., Loop]
) -> None:
    """Ten thousand orders, absurd sizes, no numbers: refused whole, and each by itself (F36)."""
    script = str(Path(__file__).with_name("hostile_builder.py"))
    loop = make_limited(calm.config, sys.executable, script, how)
    key = f"hostile-{list(HOSTILE).index(how)}"
    done = loop.ask("rebalance", "--wait", "--key", key, "--targets", INITIAL)
    run = loop.run(key)
    assert (done.returncode, run.status) in {(1, "failed"), (77, "blocked")}, done.stderr
    assert "Traceback" not in done.stderr
    assert run.reason == ("limit_breached" if run.status == "blocked" else "orders_rejected"), run
    assert orders_at_broker(calm) == 0


def test_delayed_prices_send_nothing(make_loop: Callable[..., Loop]) -> None:
    """The whole loop on a feed that is fifteen minutes late: no order is made of it."""
    old = '"--speed", "60"'
    assert SLOW_TOML.count(old) == 1
    toml = SLOW_TOML.replace(old, f'{old}, "--market-data", "delayed"')
    loop = make_loop("gateway", "executor", "guard", toml=toml)
    loop.start("stream")
    wait_for("the delay", lambda: (b := loop.beat("stream")) and "delayed" in str(b.detail))
    done = loop.ask("rebalance", "--wait", "--key", "K", "--targets", INITIAL)
    assert (done.returncode, loop.run("K").status) in {(1, "failed"), (77, "blocked")}, done.stderr
    assert "Traceback" not in done.stderr
    assert orders_at_broker(loop) == 0


def test_another_account_behind_the_port_is_refused(calm: Loop, tmp_path: Path) -> None:
    """The gateway is logged in to DU1234567: a profile of DU9999999 gets nowhere with it."""
    port = calm.beat("gateway").document["port"]
    told = f'launcher = "external"\nport = {port}\n{OTHER_IDS}[universe]\nfile = "{UNIVERSE}"\n'
    text = SLOW_TOML.replace("DU1234567", "DU9999999")
    before, _, after = text.partition('launcher = "sim"')
    config = tmp_path / "wrong.toml"
    config.write_text(before + told + after[after.index("\n[") :], encoding="utf-8")
    loop = Loop(tmp_path / "data", config)
    try:
        loop.start(*WELL)
        wait_for("the refusal", lambda: REFUSAL in loop.log("gateway").read_text())
        done = loop.ask("rebalance", "--wait", "--key", "K", "--targets", INITIAL)
    finally:
        loop.end()
    assert done.returncode == 77, done.stdout + done.stderr
    assert orders_at_broker(calm) == 0

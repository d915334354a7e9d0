"""Bad targets, accounts, prices and limits: the broker hears nothing, and the user why."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ibloop.adapters.universe import samples_dir

from .conftest import SLOW_TOML, WELL, Loop, wait_for

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


LIMITS = {
    "orders_per_run_max = 50": ("orders_per_run_max = 1", "blocked", "limit_breached"),
    "plan_turnover_weight_max = 1.2": ("plan_turnover_weight_max = 0.1", "blocked", None),
    "position_weight_max = 0.15": ("position_weight_max = 0.001", "failed", None),
    "order_value_usd_max = 15_000": ("order_value_usd_max = 10", "failed", None),
    "order_quantity_max = 2_000": ("order_quantity_max = 1", "failed", None),
    "jump_fraction_max = 0.50": ("jump_fraction_max = 0.0000001", "failed", None),
    '"--speed", "60"': ('"--speed", "60", "--market-data", "delayed"', None, None),
    "spread_fraction_max = 0.01": ("spread_fraction_max = 0.0000001", "failed", None),
}


@pytest.mark.parametrize("old", LIMITS)
def test_each_limit_of_the_configuration_keeps_orders_back(
    old: str, make_limited: Callable[[str, str], Loop]
) -> None:
    """A plan beyond one limit ends without a single order, and says which limit."""
    new, status, reason = LIMITS[old]
    loop = make_limited(old, new)
    done = loop.ask("rebalance", "--wait", "--key", "K", "--targets", INITIAL)
    run = loop.run("K")
    assert (done.returncode, run.status) in {(1, "failed"), (77, "blocked")}, done.stderr
    assert status in {None, run.status}, run
    assert reason in {None, run.reason}
    assert orders_at_broker(loop) == 0
    assert "Traceback" not in done.stderr


@pytest.fixture
def make_limited(tmp_path: Path) -> Iterator[Callable[[str, str], Loop]]:
    """Return a maker of loops with one line of the configuration changed."""
    made: list[Loop] = []

    def make(old: str, new: str) -> Loop:
        assert SLOW_TOML.count(old) == 1, old
        config = tmp_path / "limited.toml"
        config.write_text(SLOW_TOML.replace(old, new), encoding="utf-8")
        loop = Loop(tmp_path / "data", config)
        made.append(loop)
        loop.start(*WELL)
        loop.await_well(*WELL)
        return loop

    yield make
    for loop in made:
        loop.end()


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

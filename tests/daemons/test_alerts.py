"""Every alert reaches the chat in order and at least once, whatever Telegram and the network do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import alerts
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.adapters.streamfiles import (
    heartbeat_document,
    iso_utc,
    read_heartbeat,
    status_path,
    write_status,
)
from ibloop.config import BUILTIN_TOML, Profile, load_profile, parse
from ibloop.core.delivery import Outcome, Reply
from ibloop.core.model import Mode
from ibloop.daemons.alerts import AlertsProcess, bot_of, origin
from ibloop.errors import ConfigError
from tests.fakes.botapi import CHAT, TOKEN, BotApi, Reset, Slow, Status, TooMany, bot_api
from tests.fakes.clock import FakeClock
from tests.fakes.courier import FakeCourier

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
SECRET = TOKEN.partition(":")[2]


def profile(data_dir: Path, telegram: str = "") -> Profile:
    """Return the built-in profile with a section about Telegram."""
    return Profile(parse(f"{BUILTIN_TOML}\n{telegram}", "test"), None, data_dir)


def test_without_telegram_the_outbox_keeps_everything(tmp_path: Path) -> None:
    """The watch goes on; the status says what to configure."""
    clock = FakeClock()
    process = AlertsProcess(profile(tmp_path), None, clock, 7)
    assert process.report().status == "starting"
    process.step()
    report = process.report()
    assert report.status == "unconfigured"
    assert "telegram.chat_id" in report.detail
    assert report.fields == {"undelivered": 0, "oldest_age_s": None, "last_delivered_at": None}
    process.close()


def test_the_report_says_how_far_behind_delivery_is(tmp_path: Path) -> None:
    """Ready, degraded with the reason, degraded for a day after a death; and the figures."""
    clock, courier = FakeClock(), FakeCourier()
    process = AlertsProcess(profile(tmp_path), courier, clock, 7)
    ledger = open_ledger(tmp_path / "ibloop.db", mode=Mode.PAPER, account="DU1234567")

    def raise_one() -> None:
        with ledger.transaction() as tx:
            alerts.raise_alert(tx, "info", "a.b", "", "no prices", None, clock.now().utc)

    process.step()
    assert (process.report().status, process.report().detail) == ("ready", "nothing waits")
    courier.planned = [Reply(Outcome.UNREACHABLE, "no network")]
    raise_one()
    for _ in range(2):
        clock.advance(1)
        process.step()
    report = process.report()
    assert (report.status, report.detail) == ("degraded", "no network")
    assert (report.fields["undelivered"], report.fields["oldest_age_s"]) == (1, 2.0)
    courier.refused = "no prices"
    for _ in range(10):
        clock.advance(1)
        process.step()
    report = process.report()
    assert report.status == "degraded"
    assert report.detail.startswith("alert 1 was refused for good: Telegram answers 400: no")
    assert report.fields == {"undelivered": 0, "oldest_age_s": None, "last_delivered_at": None}
    courier.refused = None
    raise_one()
    for _ in range(3):
        clock.advance(1)
        process.step()
    delivered = iso_utc(clock.now().utc - timedelta(seconds=1))
    assert process.report().fields["last_delivered_at"] == delivered
    assert process.report().status == "degraded"
    assert "`ibloop alerts ack 1`" in process.report().detail
    with ledger.transaction() as tx:
        alerts.acknowledge(tx, [1], None, clock.now().utc, "ann")
    assert (process.report().status, process.report().detail) == ("ready", "nothing waits")
    courier.refused = "no prices"
    raise_one()
    for _ in range(3):
        clock.advance(1)
        process.step()
    assert process.report().status == "degraded"
    clock.advance(86_400)
    process.step()
    assert process.report().status == "ready"
    process.close()
    ledger.close()


def test_a_bot_needs_a_chat_and_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without the other is not configured; a bad token file is an error at the start."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    named = f'token_file = "{tmp_path / "token"}"'
    assert bot_of(profile(tmp_path)) is None
    assert bot_of(profile(tmp_path, f"[telegram]\n{named}")) is None
    assert bot_of(profile(tmp_path, '[telegram]\nchat_id = "1"')) is None
    both = profile(tmp_path, f'[telegram]\nchat_id = "1"\n{named}')
    bot = bot_of(both)
    assert bot is not None
    bot.close()
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(ConfigError, match="0600"):
        bot_of(both)


def test_a_token_file_is_relative_to_the_configuration(tmp_path: Path) -> None:
    """As every other path in it."""
    config = tmp_path / "paper.toml"
    config.write_text(f'{BUILTIN_TOML}\n[telegram]\nchat_id = "1"\ntoken_file = "secrets/token"\n')
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text(TOKEN)
    (tmp_path / "secrets" / "token").chmod(0o600)
    found = load_profile(config, None, tmp_path)
    bot = bot_of(found)
    assert bot is not None
    bot.close()
    assert origin(found) == "paper (paper ...567)"


# ---- the real process, against a Bot API on loopback


@pytest.fixture
def api() -> Iterator[BotApi]:
    """Return a Bot API that refuses two messages within 0.9 s."""
    with bot_api(interval_s=0.9) as served:
        yield served


class Daemon:
    """`ibloop alerts run` on a data directory of its own."""

    def __init__(self, directory: Path, api_base: str) -> None:
        """Write configuration and token; start nothing."""
        self.data = directory / "data"
        self.log = directory / "log"
        self.config = directory / "paper.toml"
        self.process: subprocess.Popen[bytes] | None = None
        (directory / "token").write_text(TOKEN)
        (directory / "token").chmod(0o600)
        self.config.write_text(
            f'{BUILTIN_TOML}\n[telegram]\napi_base = "{api_base}"\nchat_id = "{CHAT}"\n'
            'token_file = "token"\n'
        )

    def command(self, *words: str) -> list[str]:
        """Return a command line of ibloop on this directory."""
        named = ["--config", str(self.config), "--data", str(self.data)]
        return [sys.executable, "-m", "ibloop", *named, *words]

    def environment(self) -> dict[str, str]:
        """Return surroundings in which this checkout is found."""
        found = {k: v for k, v in os.environ.items() if k not in {"IBLOOP_CONFIG", "NO_COLOR"}}
        return {**found, "PYTHONPATH": str(ROOT)}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command("alerts", *words),
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )

    def start(self) -> None:
        """Start the daemon."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("alerts", "run"), env=self.environment(), stdout=log, stderr=log
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait until it is gone; return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def heartbeat(self) -> dict[str, Any]:
        """Return what it says of itself, empty before it does."""
        beat = read_heartbeat(self.data / "ib" / "stream", "alerts")
        return {} if beat is None else beat.document

    def until(self, wanted: Callable[[], bool], what: str) -> None:
        """Wait for a condition, at most a minute, while the daemon lives."""
        deadline = time.monotonic() + DEADLINE_S
        while not wanted():
            assert time.monotonic() < deadline, f"{what}: {self.heartbeat()} {self.log.read_text()}"
            assert self.process is None or self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)


@pytest.fixture
def daemon(tmp_path: Path, api: BotApi) -> Iterator[Daemon]:
    """Return a daemon that talks to that API; it is killed in the end."""
    made = Daemon(tmp_path, api.base)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def secret_is_nowhere(daemon: Daemon) -> bool:
    """Return whether no file below the data directory, and no log, holds the token."""
    paths = [p for p in daemon.data.rglob("*") if p.is_file() and p.parent.name != ".spare"]
    return all(SECRET.encode() not in path.read_bytes() for path in (*paths, daemon.log))


@pytest.mark.e2e
def test_alerts_raised_with_the_daemon_down_arrive_in_order(daemon: Daemon, api: BotApi) -> None:
    """Raised by the command, delivered by the daemon, one a second, through every trouble."""
    for number in range(4):
        done = daemon.run("raise", "--event", "unit.failed", f"text {number} <&>")
        assert done.returncode == 0, done.stderr
    api.plan(Status(500, html=True), TooMany(1), Reset())
    daemon.start()
    daemon.until(lambda: len(api.taken) == 4, "four messages")
    daemon.until(lambda: daemon.heartbeat().get("undelivered") == 0, "the last mark")
    assert [f"text {n} &lt;&amp;&gt;" in text for n, text in enumerate(api.texts)] == [True] * 4
    assert all(path == f"/bot{TOKEN}/sendMessage" for path in api.paths)
    assert [text for text in api.refusals if text == "Too Many Requests: retry after 1"] == [
        "Too Many Requests: retry after 1"
    ]  # only the planned one: we never came too early
    assert daemon.heartbeat()["status"] == "ready"
    assert daemon.heartbeat()["last_delivered_at"] is not None
    assert daemon.end() == 0
    assert daemon.heartbeat()["status"] == "stopped"
    assert api.repeated == []
    assert secret_is_nowhere(daemon)


@pytest.mark.e2e
def test_a_silent_server_stops_neither_the_heartbeat_nor_the_end(
    daemon: Daemon, api: BotApi
) -> None:
    """The answer takes a minute: the daemon beats on, takes new alerts, and ends when told."""
    daemon.run("raise", "--event", "a.b", "first")
    api.plan(Slow(60))
    daemon.start()
    daemon.until(lambda: daemon.heartbeat().get("undelivered") == 1, "the first alert")
    before = daemon.heartbeat()["last_heartbeat"]
    daemon.run("raise", "--event", "a.b", "second")
    daemon.until(lambda: daemon.heartbeat().get("undelivered") == 2, "the second alert")
    assert daemon.heartbeat()["last_heartbeat"] > before
    assert daemon.end() == 0
    assert daemon.heartbeat()["status"] == "stopped"


@pytest.mark.e2e
def test_killed_between_answer_and_mark_it_repeats_and_loses_nothing(
    daemon: Daemon, api: BotApi
) -> None:
    """The server took it, the connection broke, the daemon was killed: at least once."""
    daemon.run("raise", "--event", "a.b", "only")
    api.plan(Reset(after_taking=True))
    daemon.start()
    daemon.until(lambda: len(api.taken) == 1, "the first delivery")
    daemon.end(signal.SIGKILL)
    daemon.start()
    daemon.until(lambda: daemon.heartbeat().get("status") == "ready", "the second start")
    daemon.until(lambda: daemon.heartbeat().get("undelivered") == 0, "the mark")
    assert len(api.repeated) == 1
    assert len(api.taken) == 2


@pytest.mark.e2e
def test_a_wrong_token_waits_for_a_person_and_goes_on_by_itself(
    daemon: Daemon, api: BotApi
) -> None:
    """Degraded with advice, nothing dies; with the right token in the file all is delivered."""
    token = daemon.config.parent / "token"
    token.write_text("123456789:" + "x" * 35)
    daemon.run("raise", "--event", "a.b", "first")
    daemon.start()
    daemon.until(lambda: daemon.heartbeat().get("status") == "degraded", "the refusal")
    assert "401 Unauthorized" in daemon.heartbeat()["detail"].replace(":", "")
    assert "@BotFather" in daemon.heartbeat()["detail"]
    token.write_text(TOKEN)
    daemon.until(lambda: daemon.heartbeat().get("undelivered") == 0, "the delivery")
    assert len(api.taken) == 1
    assert secret_is_nowhere(daemon)


@pytest.mark.e2e
def test_a_daemon_that_died_is_told_by_this_one(daemon: Daemon, api: BotApi) -> None:
    """A guard that was alive and now is not becomes a message in the chat."""
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace("heartbeat_age_s_max = 10", "heartbeat_age_s_max = 1"))
    beat = heartbeat_document("watching", SystemClock().now(), "")
    write_status(status_path(daemon.data / "ib" / "stream", "guard"), beat)
    daemon.start()
    daemon.until(lambda: len(api.taken) == 1, "the alert")
    assert "guard.lost" in api.texts[0]
    assert "CRITICAL" in api.texts[0]


@pytest.mark.e2e
def test_a_second_one_is_refused_and_the_log_is_json(daemon: Daemon, api: BotApi) -> None:
    """One deliverer a profile: exit 75 names the holder."""
    daemon.start()
    daemon.until(lambda: daemon.heartbeat().get("status") == "ready", "the start")
    second = daemon.run("run")
    assert second.returncode == 75
    assert daemon.process is not None
    assert str(daemon.process.pid) in second.stderr
    assert daemon.end() == 0
    assert all(
        json.loads(line)["daemon"] == "alerts" for line in daemon.log.read_text().splitlines()
    )

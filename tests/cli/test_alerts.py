"""`ibloop alerts` as a person, and as systemd, uses it."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.ledger import alerts, audit
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.config import BUILTIN_TOML
from ibloop.core.model import Mode
from tests.fakes.botapi import CHAT, TOKEN, BotApi, Reset, Status, TooMany, bot_api
from tests.fakes.clock import START

SECRET = TOKEN.partition(":")[2]
Alerts = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return the data directory, which does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def api() -> Iterator[BotApi]:
    """Return a Bot API on loopback."""
    with bot_api() as served:
        yield served


@pytest.fixture
def config(tmp_path: Path, api: BotApi, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a configuration that sends there."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    path = tmp_path / "paper.toml"
    path.write_text(
        f'{BUILTIN_TOML}\n[telegram]\napi_base = "{api.base}"\nchat_id = "{CHAT}"\n'
        'token_file = "token"\n'
    )
    return path


@pytest.fixture
def outbox(data: Path) -> Path:
    """Return a data directory with a delivered, a dead and a waiting alert."""
    ledger = open_ledger(data / "ibloop.db", mode=Mode.PAPER, account="DU1234567", now=START.utc)
    with closing(ledger), ledger.transaction() as tx:
        for text in ("first", "second", "third"):
            alerts.raise_alert(tx, "warning", "run.blocked", "r1", text, None, START.utc)
        alerts.mark_delivered(tx, [1], START.utc, "alerts")
        alerts.mark_dead(tx, [2], "Telegram answers 400: no", START.utc, "alerts")
    return data


def rows(data: Path) -> tuple[alerts.Alert, ...]:
    """Return the outbox, newest first."""
    ledger = open_ledger(data / "ibloop.db", mode=Mode.PAPER, account="DU1234567")
    with closing(ledger):
        return alerts.listing(ledger.db, 99)


def test_the_list_tells_what_became_of_each(ibloop: Alerts, outbox: Path) -> None:
    """Newest first, tab-separated, with state and last error."""
    said = ibloop("alerts", "list", "--data", outbox)
    assert said.code == 0
    lines = [line.split("\t") for line in said.out.splitlines()]
    assert lines[0] == [
        *("ALERT", "CREATED (UTC)", "SEVERITY", "EVENT", "STATE", "TEXT", "LAST ERROR")
    ]
    assert [(line[0], line[4], line[5]) for line in lines[1:]] == [
        ("3", "waiting", "third"),
        ("2", "dead", "second"),
        ("1", "delivered", "first"),
    ]
    assert lines[2][6] == "Telegram answers 400: no"


def test_the_list_as_json_and_the_undelivered_only(ibloop: Alerts, outbox: Path) -> None:
    """One object; dead ones are undelivered too."""
    said = ibloop("alerts", "list", "--undelivered", "--json", "--data", outbox)
    assert json.loads(said.out)["schema"] == "ibloop.alerts.v1"
    assert [row["alert_id"] for row in said.data] == [3, 2]
    assert said.data[0]["delivered_at"] is None
    assert said.data[1]["dead_at"] == "2026-11-20T15:30:00.000Z"
    one = ibloop("alerts", "list", "--limit", 1, "--json", "--data", outbox)
    assert [row["alert_id"] for row in one.data] == [3]


def test_raise_works_with_everything_down(ibloop: Alerts, data: Path) -> None:
    """Not even a ledger is needed; who did it is in the audit log."""
    said = ibloop("alerts", "raise", "--event", "unit.failed", "it does not start", "--data", data)
    assert (said.code, said.out) == (0, "")
    assert "alert 1" in said.err
    (row,) = rows(data)
    assert (row.severity, row.event, row.text) == ("warning", "unit.failed", "it does not start")
    ledger = open_ledger(data / "ibloop.db", mode=Mode.PAPER, account="DU1234567")
    with closing(ledger):
        assert audit.rows(ledger.db, 1)[0].event == "alert.raised"


# --- ack


def audited(data: Path) -> audit.AuditRow:
    """Return the newest row of the audit log."""
    ledger = open_ledger(data / "ibloop.db", mode=Mode.PAPER, account="DU1234567")
    with closing(ledger):
        return audit.rows(ledger.db, 1)[0]


def test_ack_says_what_has_been_read(ibloop: Alerts, outbox: Path) -> None:
    """By number, whatever its state; who and why are in the audit log, every daemon down."""
    said = ibloop("alerts", "ack", 3, 1, 3, "--reason", "seen in the list", "--data", outbox)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "ALERT\tEVENT\tTEXT",
        "1\trun.blocked\tfirst",
        "3\trun.blocked\tthird",
    ]
    assert [row.state for row in rows(outbox)] == ["acknowledged", "dead", "acknowledged"]
    told = audited(outbox)
    assert (told.event, told.actor) == ("alert.acknowledged", rows(outbox)[0].acknowledged_by)
    assert told.payload == {"alert_ids": [1, 3], "reason": "seen in the list"}
    listed = ibloop("alerts", "list", "--json", "--data", outbox).data
    assert [row["state"] for row in listed] == ["acknowledged", "dead", "acknowledged"]
    undelivered = ibloop("alerts", "list", "--undelivered", "--json", "--data", outbox).data
    assert [row["alert_id"] for row in undelivered] == [2]


def test_ack_all_takes_what_nobody_was_told_of(ibloop: Alerts, outbox: Path) -> None:
    """Waiting and dead ones, each printed, oldest first; then there is nothing more."""
    said = ibloop("alerts", "ack", "--all", "--data", outbox)
    assert (said.code, said.err) == (0, "")
    assert [line.split("\t") for line in said.out.splitlines()[1:]] == [
        ["2", "run.blocked", "second"],
        ["3", "run.blocked", "third"],
    ]
    again = ibloop("alerts", "ack", "--all", "--data", outbox)
    assert (again.code, again.out) == (0, "")
    assert "nothing waits" in again.err
    assert [row.state for row in rows(outbox)] == ["acknowledged", "acknowledged", "delivered"]


def test_ack_twice_is_harmless(ibloop: Alerts, outbox: Path) -> None:
    """It says who was first and goes on with the rest."""
    ibloop("alerts", "ack", 2, "--data", outbox)
    before = rows(outbox)[1]
    said = ibloop("alerts", "ack", 2, "--data", outbox)
    assert (said.code, said.out) == (0, "")
    assert f"alert 2 has been acknowledged before: {before.acknowledged_by}, " in said.err
    more = ibloop("alerts", "ack", 2, 3, "--data", outbox)
    assert (more.code, more.out.splitlines()[1:]) == (0, ["3\trun.blocked\tthird"])
    assert rows(outbox)[1] == before


@pytest.mark.parametrize("number", ["4", str(2**63), "9" * 400])
def test_ack_of_an_unknown_number_changes_nothing(
    ibloop: Alerts, outbox: Path, number: str
) -> None:
    """Exit 65 with its name: all or nothing."""
    before = rows(outbox)
    said = ibloop("alerts", "ack", 3, number, "--data", outbox)
    assert (said.code, said.out) == (65, "")
    assert f"there is no alert {number}," in said.err
    assert "`ibloop alerts list" in said.err
    assert rows(outbox) == before


@pytest.mark.parametrize(
    "arguments", [(), ("--all", "3"), ("0",), ("third",), ("3", "--reason", " ")]
)
def test_ack_without_saying_which_is_a_mistake(
    ibloop: Alerts, outbox: Path, arguments: tuple[str, ...]
) -> None:
    """Exit 2, and nothing is written."""
    before = rows(outbox)
    assert ibloop("alerts", "ack", *arguments, "--data", outbox).code == 2
    assert rows(outbox) == before


def test_ack_without_a_ledger_says_so(ibloop: Alerts, data: Path) -> None:
    """Exit 78, and none is made."""
    assert ibloop("alerts", "ack", "--all", "--data", data).code == 78
    assert not data.exists()


def test_the_status_does_not_repeat_what_has_been_read(ibloop: Alerts, outbox: Path) -> None:
    """A critical alert stands there until somebody has acknowledged it."""
    ibloop("alerts", "raise", "--event", "a.b", "--severity", "critical", "act!", "--data", outbox)
    assert "act!" in ibloop("status", "--data", outbox).out
    ibloop("alerts", "ack", 4, "--data", outbox)
    said = ibloop("status", "--data", outbox)
    assert "act!" not in said.out
    assert "1 not delivered" in said.out


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("", "unit.failed"),
        (" \n", "unit.failed"),
        ("broken \udcff byte", "broken ? byte"),
        (f"GET /bot{TOKEN}/getMe", "GET /[hidden]/getMe"),
        ("x" * 20_000, "x" * 10_000),
    ],
)
def test_raise_takes_any_text(ibloop: Alerts, data: Path, text: str, stored: str) -> None:
    """An alert is never lost to its wording; a token in it is not kept."""
    said = ibloop(
        *("alerts", "raise", "--event", "unit.failed", "--severity", "critical"),
        *("--data", data, "--", text),
    )
    assert said.code == 0, said.err
    (row,) = rows(data)
    assert (row.severity, row.text) == ("critical", stored)


@pytest.mark.parametrize("arguments", [("text",), ("--event", "", "text"), ("--event", "a.b")])
def test_raise_without_event_or_text_is_a_mistake(
    ibloop: Alerts, data: Path, arguments: tuple[str, ...]
) -> None:
    """Exit 2, and nothing is stored."""
    assert ibloop("alerts", "raise", *arguments, "--data", data).code == 2
    assert not data.exists()


def test_test_sends_at_once_and_says_ok(ibloop: Alerts, config: Path, data: Path) -> None:
    """The text as given, whoever asks, past the outbox: no ledger is made."""
    said = ibloop("alerts", "test", "is 1 < 2?", "--config", config, "--data", data)
    assert (said.code, said.out) == (0, "ok\n")
    assert not (data / "ibloop.db").exists()


def test_test_shows_whose_message_it_is(
    ibloop: Alerts, config: Path, api: BotApi, data: Path
) -> None:
    """A text of its own where none is given; a long one is one message."""
    ibloop("alerts", "test", "--config", config)
    said = ibloop("alerts", "test", "&" * 5000, "--config", config)
    assert said.code == 0, said
    assert len(api.taken) == 2
    assert "paper (paper ...567)" in api.texts[0]


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (TooMany(5), "retry after 5"),
        (Status(403, "Forbidden: bot was blocked by the user"), "press Start"),
        (Status(500), "500"),
        (Reset(), "Error"),
    ],
)
def test_test_says_why_not(
    ibloop: Alerts, config: Path, api: BotApi, plan: Any, reason: str
) -> None:
    """Exit 1 with the reason, without the token."""
    api.plan(plan)
    said = ibloop("alerts", "test", "--config", config)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("ibloop: not delivered: ")
    assert reason in said.err
    assert SECRET not in said.err


def test_test_without_telegram_says_what_to_configure(ibloop: Alerts, data: Path) -> None:
    """Exit 78."""
    said = ibloop("alerts", "test", "--data", data)
    assert (said.code, said.out) == (78, "")
    assert "telegram.chat_id" in said.err


@pytest.mark.parametrize("command", ["test", "run"])
def test_a_token_open_to_others_is_refused(
    ibloop: Alerts, config: Path, data: Path, command: str
) -> None:
    """Exit 78 with what to do, and the token is not told."""
    (config.parent / "token").chmod(0o644)
    said = ibloop("alerts", command, "--config", config, "--data", data)
    assert said.code == 78
    assert "chmod 600" in said.err
    assert SECRET not in said.err


@pytest.mark.parametrize(
    "section",
    [
        f'token = "{TOKEN}"',
        f'api_base = "https://api.telegram.org/bot{TOKEN}"',
        'api_base = "http://api.telegram.org"',
        'chat_id = "somebody"',
        "chat_id = 12345",
        'user_ids = ["me"]',
    ],
)
def test_a_bad_section_is_refused_unseen(ibloop: Alerts, tmp_path: Path, section: str) -> None:
    """Exit 78 naming the key; a token that was put there is not repeated."""
    path = tmp_path / "paper.toml"
    path.write_text(f"{BUILTIN_TOML}\n[telegram]\n{section}\n")
    said = ibloop("alerts", "list", "--config", path)
    assert said.code == 78
    assert section.partition(" ")[0] in said.err
    assert SECRET not in said.err

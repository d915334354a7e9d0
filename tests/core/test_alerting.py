"""Alerts as text, their delivery as decisions, and silence as something to be told."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.core.alerting import (
    CUT_NOTE,
    HIDDEN,
    PARTS_MAX,
    TEXT_LENGTH_MAX,
    Alert,
    AlertState,
    Message,
    Severity,
    compose,
    digest,
    next_message,
    redact,
    split,
    units,
)
from ibloop.core.delivery import (
    BACKOFF_S_MAX,
    BACKOFF_S_MIN,
    Outcome,
    Telegram,
    advice,
    backoff_s,
    must_die,
    outcome_of,
)
from tests.fakes.botapi import TOKEN

T0 = datetime(2026, 11, 20, 15, 30, 5, tzinfo=UTC)
ORIGIN = "paper (paper ...567)"


def alert(
    alert_id: int = 1,
    text: str = "no prices",
    severity: Severity = Severity.WARNING,
    event: str = "run.blocked",
) -> Alert:
    """Return a waiting alert."""
    at = T0 + timedelta(seconds=alert_id)
    return Alert(alert_id, at, severity, event, "r1", text, None, 0, at, None, None)


def infos(count: int, start: int = 1) -> list[Alert]:
    """Return waiting infos, a second apart."""
    return [alert(start + n, f"run {start + n} done", Severity.INFO) for n in range(count)]


def shown(html: str) -> str:
    """Return what Telegram shows of an HTML text of ours."""
    return unescape(re.sub(r"</?(b|i)>", "", html))


def test_a_message_tells_severity_event_text_whose_and_when() -> None:
    """Nothing has to be looked up to know what an alert is about."""
    message = compose(alert(17, "AAA < BBB & co"), ORIGIN)
    (part,) = message.parts
    assert part.html == (
        "<b>WARNING</b> run.blocked\nAAA &lt; BBB &amp; co\n"
        "<i>paper (paper ...567), 2026-11-20 15:30:22 UTC, alert 17</i>"
    )
    assert part.plain == shown(part.html)
    assert (message.alert_ids, message.silent) == ((17,), False)


@pytest.mark.parametrize(
    ("severity", "silent"),
    [(Severity.INFO, True), (Severity.WARNING, False), (Severity.CRITICAL, False)],
)
def test_only_infos_are_silent(severity: Severity, silent: bool) -> None:
    """A telephone rings for what may need a person."""
    assert compose(alert(severity=severity), ORIGIN).silent is silent


@given(text=st.text(st.sampled_from("ab \n<&>\"'\u20ac\U0001f4a5"), max_size=9000))
def test_every_part_fits_and_nothing_is_lost(text: str) -> None:
    """Parts are cut after escaping, counted in UTF-16, never inside an escaped character."""
    message = compose(alert(text=f"[{text}]"), ORIGIN)
    for part in message.parts:
        assert 0 < len(part.html.encode("utf-16-le")) // 2 <= TEXT_LENGTH_MAX
        assert shown(part.html) == part.plain
    if not message.parts[-1].plain.count(CUT_NOTE):
        bodies = [p.plain.split("\n", 1)[1].rsplit("\n", 1)[0] for p in message.parts]
        assert "".join(bodies) == f"[{text}]"


def test_parts_are_numbered_and_a_flood_is_cut() -> None:
    """A reader sees that there is more; an endless text does not become endless messages."""
    two = compose(alert(text="x" * 5000), ORIGIN)
    assert [p.plain.splitlines()[0] for p in two.parts] == [
        "WARNING run.blocked (1/2)",
        "WARNING run.blocked (2/2)",
    ]
    wide = compose(alert(text="\U0001f4a5" * 3000), ORIGIN)
    assert [len(part.html.encode("utf-16-le")) <= 2 * TEXT_LENGTH_MAX for part in wide.parts] == [
        *(True, True)
    ]
    endless = compose(alert(text="& " * 50_000), ORIGIN)
    assert len(endless.parts) == PARTS_MAX
    assert CUT_NOTE in endless.parts[-1].plain
    assert all(units(part.html) <= TEXT_LENGTH_MAX for part in endless.parts)


@given(text=st.text(max_size=400), room=st.integers(10, 60))
def test_splitting_loses_nothing(text: str, room: int) -> None:
    """The pieces are the text, each short enough and none empty but that of an empty text."""
    pieces = split(text, room)
    assert "".join(pieces) == text
    assert all(pieces) or text == ""


def test_splitting_prefers_the_end_of_a_word() -> None:
    """A cut goes after a blank where one is near, else through the word."""
    assert split("one two three", 9) == ["one two ", "three"]
    assert split("a bcdefghij", 6) == ["a bcde", "fghij"]


def test_odd_characters_do_not_stop_an_alert() -> None:
    """Control characters and halves of pairs, which Telegram refuses, are replaced."""
    (part,) = compose(alert(text="a\x00b\x1b[31m\ud800c\td\ne"), ORIGIN).parts
    assert part.plain.splitlines()[1:3] == ["a b [31m?c d", "e"]


def test_a_burst_of_infos_goes_as_one_message() -> None:
    """More than ten waiting infos are one digest with a line each; ten are not."""
    assert next_message(infos(10), ORIGIN).alert_ids == (1,)
    message = next_message(infos(11), ORIGIN)
    assert message.alert_ids == tuple(range(1, 12))
    assert message.silent
    (part,) = message.parts
    lines = part.plain.splitlines()
    assert lines[0] == "11 ALERTS"
    assert lines[1] == "15:30:06 run.blocked: run 1 done"
    assert lines[-1] == (
        "paper (paper ...567), 2026-11-20 15:30:06 to 15:30:16 UTC, alerts 1 to 11"
    )


def test_a_digest_overtakes_nothing() -> None:
    """It ends before the first warning; a warning at the head goes alone."""
    mixed = [*infos(3), alert(4), *infos(20, start=5)]
    assert next_message(mixed, ORIGIN).alert_ids == (1, 2, 3)
    assert next_message(mixed[3:], ORIGIN).alert_ids == (4,)
    assert next_message(mixed[4:], ORIGIN).alert_ids == tuple(range(5, 25))


def test_a_great_burst_is_still_one_message() -> None:
    """What has no room is counted by kind."""
    many = [
        *(replace(a, text="<&>" * 300) for a in infos(500)),
        *(replace(a, event="order.filled") for a in infos(500, start=501)),
    ]
    message = digest(many, ORIGIN)
    (part,) = message.parts
    assert len(message.alert_ids) == 1000
    assert units(part.html) <= TEXT_LENGTH_MAX
    assert re.search(r"and \d+ more \(order.filled 500, run.blocked \d+\)", part.plain)
    told = sum(line.startswith("15:3") for line in part.plain.splitlines())
    assert f"and {1000 - told} more" in part.plain


@pytest.mark.parametrize(
    "text",
    [
        f"POST https://api.telegram.org/bot{TOKEN}/sendMessage failed",
        f"the token is {TOKEN}",
        f"url: /bot{TOKEN.replace(':', '%3A')}/sendMessage",
        f'{{"exception": "\'/bot{TOKEN}\'"}}',
    ],
)
def test_what_looks_like_a_token_is_hidden(text: str) -> None:
    """Also from who does not know the token; the rest of the text stays."""
    for token in ("", TOKEN):
        hidden = redact(text, token)
        assert TOKEN.partition(":")[2] not in hidden
        assert HIDDEN in hidden
    assert redact(text).replace(HIDDEN, "") != ""


def test_a_known_token_is_hidden_whatever_it_looks_like() -> None:
    """A short one too, and its secret half alone."""
    assert redact("see 12:abcdef, or abcdef", "12:abcdef") == f"see {HIDDEN}, or {HIDDEN}"
    assert redact("/bot12:abcdef/x") == f"/{HIDDEN}/x"


@pytest.mark.parametrize("text", ["15:30:05 run 2026W47 blocked", "ibl:2026W47:AAPL:B:0", ""])
def test_other_texts_stay_as_they_are(text: str) -> None:
    """Times and order references are no tokens."""
    assert redact(text) == text


@pytest.mark.parametrize(
    ("status", "description", "outcome"),
    [
        (429, "Too Many Requests: retry after 5", Outcome.SLOW_DOWN),
        (400, "Bad Request: can't parse entities: Unsupported start tag", Outcome.UNFORMATTED),
        (400, "Bad Request: message is too long", Outcome.BAD_MESSAGE),
        (400, "Bad Request: message text is empty", Outcome.BAD_MESSAGE),
        (413, "Request Entity Too Large", Outcome.BAD_MESSAGE),
        (400, "Bad Request: chat not found", Outcome.BAD_CHANNEL),
        (400, "Bad Request: group chat was upgraded to a supergroup chat", Outcome.BAD_CHANNEL),
        (400, "Bad Request: not enough rights to send text messages", Outcome.BAD_CHANNEL),
        (401, "Unauthorized", Outcome.BAD_CHANNEL),
        (403, "Forbidden: bot was blocked by the user", Outcome.BAD_CHANNEL),
        (404, "Not Found", Outcome.BAD_CHANNEL),
        (408, "Request Timeout", Outcome.UNREACHABLE),
        (500, "Internal Server Error", Outcome.UNREACHABLE),
        (502, "", Outcome.UNREACHABLE),
        (302, "", Outcome.UNREACHABLE),
        (200, "", Outcome.UNREACHABLE),
    ],
)
def test_what_an_answer_means(status: int, description: str, outcome: Outcome) -> None:
    """Only a fault of the message itself may cost a message; a bad channel costs none."""
    assert outcome_of(status, description) is outcome


def test_a_bad_channel_comes_with_advice() -> None:
    """Each says which key or file to mend."""
    assert "token file" in advice(401, "Unauthorized")
    assert "api_base" in advice(404, "Not Found")
    assert "Start" in advice(403, "Forbidden")
    assert "new number" in advice(400, "upgraded to a supergroup chat")
    assert "chat_id" in advice(400, "chat not found")
    assert advice(409, "Conflict") == ""


def test_the_back_off_grows_to_five_minutes_and_differs_by_seed() -> None:
    """Never under a second, never over five minutes, the same for the same seed."""
    waits = [backoff_s(n, seed=7) for n in range(1, 40)]
    assert all(BACKOFF_S_MIN <= wait <= BACKOFF_S_MAX for wait in waits)
    assert waits[0] <= 2
    assert min(waits[9:]) >= BACKOFF_S_MAX / 2
    assert waits == [backoff_s(n, seed=7) for n in range(1, 40)]
    assert len({backoff_s(5, seed) for seed in range(20)}) == 20


def test_refused_messages_die_until_that_looks_like_the_channel() -> None:
    """Three in a row die at once; from then on each gets five tries, but none for ever."""
    assert [must_die(1, dead) for dead in range(5)] == [True, True, True, False, False]
    assert [must_die(tries, 3) for tries in range(1, 7)] == [False] * 4 + [True] * 2


def test_where_an_alert_is_on_its_way() -> None:
    """Waiting, delivered or dead."""
    assert alert().state is AlertState.WAITING
    assert replace(alert(), delivered_at=T0).state is AlertState.DELIVERED
    assert replace(alert(), dead_at=T0).state is AlertState.DEAD


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("api_base", "http://api.telegram.org", "https"),
        ("api_base", "api.telegram.org", "address"),
        ("api_base", "https://user:pw@example.org", "token has its own file"),
        ("api_base", f"https://api.telegram.org/bot{TOKEN}", "token has its own file"),
        ("chat_id", "somebody", "chat_id"),
        ("chat_id", "@", "chat_id"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(key: str, value: str, complaint: str) -> None:
    """The token never travels in clear, and never stands in the configuration."""
    with pytest.raises(ValueError, match=complaint) as refusal:
        Telegram(**{key: value})  # type: ignore[arg-type]
    assert TOKEN not in str(refusal.value)


@pytest.mark.parametrize("chat_id", ["12345", "-1001234567890", "@my_channel", None])
def test_settings_that_can_be_meant(chat_id: str | None) -> None:
    """A person, a group, a channel; a Bot API server of one's own on this machine."""
    Telegram(chat_id=chat_id, api_base="http://127.0.0.1:8081")
    Telegram(chat_id=chat_id, api_base="https://bots.example.org/telegram")


def test_a_message_has_at_least_one_part() -> None:
    """Even an alert that says nothing but blanks is told by its event."""
    message: Message = compose(alert(text=" \n "), ORIGIN)
    assert len(message.parts) == 1
    assert "run.blocked" in message.parts[0].plain

"""The page tells the truth in words: what is there, what is missing, what to do."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ibloop.adapters.ledger import alerts, freezes, runs
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.adapters.streamfiles import heartbeat_document, status_path, write_status
from ibloop.core.dropcopy import Break, BreakKind
from ibloop.core.model import HaltLevel, MarketDataType, Mode
from ibloop.core.orders import PlanLine
from ibloop.daemons.overview_ledger import Limits, read_ledger
from ibloop.web.formats import MINUS, NOTHING
from ibloop.web.pages import HERE, PAGES

from .conftest import ACCOUNT, T0, Scene

Visit = Callable[[Scene], TestClient]


def text_of(answer: str) -> str:
    """Return what a person reads: no tags, single blanks."""
    body = re.sub(r"<head>.*?</head>", "", answer, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def row(answer: str, row_id: str) -> str:
    """Return the text of one table row."""
    found = re.search(rf'<tr id="{re.escape(row_id)}".*?</tr>', answer, flags=re.DOTALL)
    assert found is not None, f"expected a row {row_id}"
    return text_of(found[0])


def test_the_overview_shows_everything(scene: Scene, visit: Visit) -> None:
    """One page has daemons, stream, account, run, orders, fills, positions and quotes."""
    answer = visit(scene).get("/").text
    text = text_of(answer)
    assert "All is well." in text
    assert "PAPER no real money DU1234567" in text
    assert "15:30:00 UTC 10:30:00 EST market open" in text
    assert "1 subscribed, live data" in text
    assert "Equity 99,000.00 USD Day \N{MINUS SIGN}1.00 %" in text
    assert "Last run 2026W47 ▲ partial" in text
    assert "2 of 2 orders ended, 2 fills" in text
    expected = "BUY 100 10.10 ✓ filled 100 10.0543 15:30:00 10:30:00"
    assert row(answer, "order-ibl:2026W47:AAA:B:0") == f"AAA {expected}"
    assert "by the broker: 201 no locate" in row(answer, "why-ibl:2026W47:BBB:S:0")
    assert "AAA BUY 60 10.0543 603.26 1.00" in row(answer, "fill-0001")
    assert row(answer, "position-AAA").startswith("AAA 100 10.05 10.05 1,005.00 1.02 %")
    assert "10.04 10.06 10.05 +0.50 % 0.0 s stream, live yes" in row(answer, "quote-AAA")


@pytest.mark.parametrize("name", PAGES)
def test_every_page_of_the_navigation_works(scene: Scene, visit: Visit, name: str) -> None:
    """Each page is there, marks itself in the navigation and asks for itself again."""
    path = "/" if name == "overview" else f"/{name}"
    answer = visit(scene).get(path)
    assert answer.status_code == 200
    assert f'<a href="{path}" aria-current="page">' in answer.text
    assert f'hx-get="{path}"' in answer.text


@pytest.mark.parametrize("name", PAGES)
def test_before_anything_has_run_the_pages_say_what_to_do(
    bare: Scene, visit: Visit, name: str
) -> None:
    """No data directory at all: no page fails, the next step is named, nothing is claimed."""
    answer = visit(bare).get("/" if name == "overview" else f"/{name}")
    assert answer.status_code == 200
    text = text_of(answer.text)
    assert "No daemon is running." in text
    assert "nothing has run yet" in text
    assert "start the daemons" in text
    assert re.search(r"No (fill|order|run|alert)\b", text) is None
    assert not bare.profile.data_dir.exists()


def test_a_halt_is_told_in_words_with_the_command_that_ends_it(scene: Scene, visit: Visit) -> None:
    """Level, effect, reason, who, and what to type; the window's title says it too."""
    scene.halt(HaltLevel.REDUCE_ONLY, "day loss 3.10%")
    answer = visit(scene).get("/").text
    text = text_of(answer)
    assert "HALTED: reduce-only. Only orders that lower exposure are sent." in text
    assert "day loss 3.10% (guard, 15:30:00 UTC)" in text
    options = f"--data {scene.profile.data_dir}"
    assert f"ibloop resume &#34;why it is safe again&#34; {options}" in text
    assert "<title>HALTED ·" in answer


def test_a_halt_file_is_ended_by_removing_it(bare: Scene, visit: Visit) -> None:
    """Without a ledger the HALT file halts all the same, and no other command would end it."""
    bare.profile.data_dir.mkdir()
    halt_file = bare.profile.data_dir / "HALT"
    halt_file.write_text("kill")
    text = text_of(visit(bare).get("/").text)
    assert "HALTED: kill." in text
    assert f"To end it: rm {halt_file}" in text


def test_unknown_orders_are_loud(scene: Scene, visit: Visit) -> None:
    """A banner names each by its reference, and nothing is well."""
    scene.lose()
    answer = visit(scene).get("/").text
    assert "1 order of unknown fate." in text_of(answer)
    assert "<code>ibl:2026W47:CCC:B:0</code> BUY 100 CCC" in answer
    assert "<title>UNKNOWN ORDERS ·" in answer
    assert visit(scene).get("/api/v1/overview").json()["data"]["healthy"] is False


def test_a_frozen_symbol_is_loud(scene: Scene, visit: Visit) -> None:
    """It is named with its reason and with what ends it, and nothing is well."""
    found = Break(BreakKind.POSITION, "AAA", "AAA", "AAA: 7 held, 5 expected by the fills")
    with scene.writing() as tx:
        freezes.freeze(tx, found, T0, "guard")
    text = text_of(visit(scene).get("/").text)
    assert "AAA: 7 held, 5 expected by the fills" in text
    assert "ibloop guard release AAA" in text
    assert "Frozen: AAA." in text
    overview = visit(scene).get("/api/v1/overview").json()["data"]
    assert (overview["healthy"], overview["frozen"][0]["symbol"]) == (False, "AAA")


def test_a_silent_daemon_is_called_silent(scene: Scene, visit: Visit) -> None:
    """An old heartbeat that says `connected` is not believed."""
    scene.clock.advance(60)
    scene.beat("gateway", "connected")
    text = text_of(visit(scene).get("/").text)
    assert "The stream is silent. The executor is silent. The guard is silent." in text
    assert "last heartbeat 60.0 s ago, allowed 10 s" in text
    assert "Gateway" not in re.findall(r"(\w+) ▲ silent", text)


def test_the_page_does_not_count_itself(bare: Scene, visit: Visit) -> None:
    """Its own heartbeat is no sign that the loop runs."""
    document = heartbeat_document("serving", bare.clock.now())
    write_status(status_path(bare.profile.stream_dir, "web"), document)
    assert "No daemon is running." in text_of(visit(bare).get("/").text)


def test_an_unusable_quote_says_why(scene: Scene, visit: Visit) -> None:
    """Stale, delayed, unsubscribed and damaged prices are told apart."""
    scene.quote("OLD")
    scene.clock.advance(20)
    scene.all_well()
    scene.quote("AAA", market_data_type=MarketDataType.DELAYED)
    (scene.profile.stream_dir / "BAD.json").write_text("{")
    answer = visit(scene).get("/quotes").text
    assert "the market data is delayed, not live" in row(answer, "quote-AAA")
    assert "20 s stream, live not subscribed" in row(answer, "quote-OLD")
    assert "damaged" in row(answer, "quote-BAD")


def test_the_middle_of_a_wide_spread_is_no_value(scene: Scene, visit: Visit) -> None:
    """What the guard does not believe is not shown as worth; a last price inside counts."""
    wide = {"bid": Decimal(8), "ask": Decimal(12)}
    scene.quote("AAA", **wide, last=Decimal(13))
    shown = row(visit(scene).get("/positions").text, "position-AAA")
    assert shown == f"AAA 100 10.05{f' {NOTHING}' * 4}"
    scene.quote("AAA", **wide, last=Decimal("10.50"))
    assert " 10.50 1,050.00 " in row(visit(scene).get("/positions").text, "position-AAA")


def test_an_alert_shows_what_became_of_it(scene: Scene, visit: Visit) -> None:
    """Waiting, and acknowledged once somebody has read it."""
    scene.alert("read this")
    assert "waiting read this" in row(visit(scene).get("/alerts").text, "alert-1")
    with scene.writing() as tx:
        alerts.acknowledge(tx, [1], None, T0, "ann")
    assert "acknowledged read this" in row(visit(scene).get("/alerts").text, "alert-1")


def test_a_position_without_a_fresh_price_has_no_value(scene: Scene, visit: Visit) -> None:
    """A stale price values nothing: a dash, never a number."""
    scene.clock.advance(60)
    shown = row(visit(scene).get("/").text, "position-AAA")
    assert shown == f"AAA 100 10.05{f' {NOTHING}' * 4}"


def test_the_run_page_shows_target_against_actual(scene: Scene, visit: Visit) -> None:
    """By key or by id: orders with reasons, fills, and where nothing was recorded it says so."""
    client = visit(scene)
    for name in ("2026W47", "run-1"):
        text = text_of(client.get(f"/runs/{name}").text)
        assert "Run 2026W47 ▲ partial" in text
        assert "orders rejected" in text
        assert "No plan: the run has not got that far." in text
        assert "The gates were not asked." in text
        assert "ibl:2026W47:AAA:B:0" in text


def test_actual_counts_the_fills_of_the_last_attempt(scene: Scene, visit: Visit) -> None:
    """What an earlier attempt traded is in the baseline of the next, not counted twice."""
    line = PlanLine(
        symbol="AAA",
        con_id=1,
        weight=Decimal("0.01"),
        baseline_quantity=Decimal(5),
        target_quantity=Decimal(110),
        planned_quantity=Decimal(110),
        price=Decimal("10.05"),
        quote_source="ib_stream",
        note="buy",
    )
    with scene.writing() as tx:
        runs.set_plan_lines(tx, "run-1", 0, [line], T0, "test")
    shown = row(visit(scene).get("/runs/run-1").text, "plan-AAA")
    assert shown == f"AAA 1.00 % 5 110 110 105 ▲ {MINUS}5 10.05 buy"
    with scene.writing() as tx:
        again = replace(line, baseline_quantity=Decimal(105))
        runs.set_plan_lines(tx, "run-1", 1, [again], T0, "test")
        tx.execute("UPDATE trade_runs SET attempt = 1")
    shown = row(visit(scene).get("/runs/run-1").text, "plan-AAA")
    assert shown == f"AAA 1.00 % 105 110 110 105 ▲ {MINUS}5 10.05 buy"


@pytest.mark.parametrize("path", ["/none", "/runs/none", "/runs/%3Cscript%3E", "/runs/a%00b"])
def test_what_is_not_there_is_a_plain_404(scene: Scene, visit: Visit, path: str) -> None:
    """A page in words, nothing of the request unescaped."""
    answer = visit(scene).get(path)
    assert answer.status_code == 404
    assert "<h1>404</h1>" in answer.text
    assert "<script>" not in answer.text


def test_texts_from_outside_are_escaped(scene: Scene, visit: Visit) -> None:
    """A broker's or a person's text is text, wherever it is shown."""
    scene.alert("<script>alert(1)</script>")
    scene.halt(reason='"><img src=x onerror=alert(1)>')
    answer = visit(scene).get("/").text
    assert "<script>alert" not in answer
    assert "<img" not in answer
    assert "&lt;script&gt;alert(1)" in answer


def test_a_bug_shows_no_traceback(
    scene: Scene, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 is a sentence; page and API alike keep their own form."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("ibloop.web.source.read_overview", broken)
    client = visit(scene)
    page, api = client.get("/"), client.get("/api/v1/overview")
    assert (page.status_code, api.status_code) == (500, 500)
    assert api.json()["schema"] == "ibloop.error.v1"
    for answer in (page, api):
        assert "Traceback" not in answer.text
        assert "secret" not in answer.text


def test_a_file_that_is_no_ledger_is_told(bare: Scene, visit: Visit) -> None:
    """Rubbish where the ledger belongs is a sentence on the page, not a failure."""
    bare.profile.data_dir.mkdir()
    bare.profile.ledger_path.write_bytes(b"rubbish" * 1000)
    answer = visit(bare).get("/")
    assert answer.status_code == 200
    assert "No ledger. expected a ledger at" in text_of(answer.text)


def test_a_replaced_ledger_is_opened_anew(scene: Scene, visit: Visit, tmp_path: Path) -> None:
    """A restored backup or a new demo is seen without a restart of the page."""
    client = visit(scene)
    assert 'id="run-run-1"' in client.get("/").text
    other = tmp_path / "other.db"
    open_ledger(other, mode=Mode.PAPER, account=ACCOUNT, now=T0).close()
    for suffix in ("-wal", "-shm"):
        scene.profile.ledger_path.with_name(f"ibloop.db{suffix}").unlink(missing_ok=True)
    other.replace(scene.profile.ledger_path)
    scene.clock.advance(1)
    assert "No run yet." in text_of(client.get("/").text)


def test_a_ledger_that_appears_later_is_found(bare: Scene, visit: Visit) -> None:
    """The page may be the first thing to be started."""
    client = visit(bare)
    assert "nothing has run yet" in client.get("/").text
    bare.alert("hello")
    bare.clock.advance(1)
    assert "hello" in client.get("/").text


def test_a_refresh_is_one_transaction_for_all_who_ask(
    scene: Scene, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within half a second ten tabs cost one reading; after it everything is read again."""
    readings: list[int] = []

    def counted(*arguments: object) -> object:
        readings.append(1)
        return read_ledger(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("ibloop.web.source.read_ledger", counted)
    client = visit(scene)
    for path in ("/", "/quotes", "/api/v1/overview", "/metrics", "/"):
        client.get(path)
    assert len(readings) == 1
    scene.clock.advance(0.6)
    client.get("/")
    assert len(readings) == 2


def test_the_number_of_queries_does_not_grow_with_the_rows(scene: Scene) -> None:
    """No query per run, order or fill: the statements of a refresh stay the same."""

    def statements() -> int:
        ledger = open_ledger(scene.profile.ledger_path, mode=Mode.PAPER, account=ACCOUNT)
        seen: list[str] = []
        ledger.db.set_trace_callback(seen.append)
        read_ledger(ledger.db, Limits())
        ledger.db.set_trace_callback(None)
        ledger.close()
        return len(seen)

    before = statements()
    scene.lose()
    scene.alert("one more")
    with scene.writing() as tx:
        tx.execute(
            "INSERT INTO trade_runs SELECT 'run-2', 'EXTRA', mode, account, status, reason, detail,"
            " snapshot_id, snapshot_hash, config_hash, build, attempt, created_at, updated_at,"
            " deadline_at, equity_usd, cash_usd, baseline_at FROM trade_runs"
        )
    assert statements() == before


def test_paper_and_live_differ_in_words_and_shape(scene: Scene, visit: Visit) -> None:
    """Never by colour alone: the word, what it means, and a border that only live has."""
    answer = visit(scene).get("/").text
    assert '<header id="head" class="paper">' in answer
    style = (HERE / "static" / "app.css").read_text(encoding="utf-8")
    assert "#head.live::before" in style
    assert ".mode.live { border: 2px solid" in style


def test_every_status_word_carries_a_sign(scene: Scene, visit: Visit) -> None:
    """A badge without its sign would be told by colour alone."""
    scene.lose()
    answer = visit(scene).get("/").text
    badges = re.findall(r'<span class="badge \w+">(.{0,60})', answer)
    assert len(badges) > 8
    assert all(badge.startswith('<span class="sign" aria-hidden="true">') for badge in badges)


def test_the_frame_is_accessible(scene: Scene, visit: Visit) -> None:
    """Landmarks, one live region, scopes on headers, nothing inline, ids only once."""
    answer = visit(scene).get("/").text
    for landmark in ("<header id=", "<nav aria-label=", "<main id=", "<footer>"):
        assert answer.count(landmark) == 1
    assert answer.count("aria-live") == 1
    assert re.findall(r"<th(?![ef\w])(?![^>]*scope=)", answer) == []
    assert re.findall(r"\sstyle=|<style|\son\w+=|javascript:", answer) == []
    ids = re.findall(r'\sid="([^"]+)"', answer)
    assert len(ids) == len(set(ids))
    assert '<html lang="en">' in answer


def contrast(first: str, second: str) -> float:
    """Return the WCAG contrast of two colours like ``#1d5fbf``."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (
            p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_is_readable_in_both_schemes() -> None:
    """Every colour of text has a contrast of 4.5 to every ground it can stand on (WCAG AA)."""
    style = (HERE / "static" / "app.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", style.split("@media")[0]))
    dark = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", style.split("@media")[1]))
    assert light.keys() == dark.keys()
    for scheme in (light, dark):
        for ink in ("ink", "muted", "accent", "good", "warn", "bad", "busy"):
            for ground in ("page", "panel"):
                assert contrast(scheme[ink], scheme[ground]) >= 4.5, (ink, ground)
        assert contrast(scheme["ink"], scheme["bad-back"]) >= 4.5
        assert contrast(scheme["ink"], scheme["warn-back"]) >= 4.5


def test_market_hours_are_told(scene: Scene, visit: Visit) -> None:
    """With the exchange's calendar the head says when it closes, and that it is closed."""
    config = scene.profile.config
    nyse = replace(config, session=replace(config.session, calendar="nyse"))
    on_nyse = Scene(replace(scene.profile, config=nyse), scene.clock)
    assert "market open until 16:00:00" in text_of(visit(on_nyse).get("/").text)
    scene.clock.advance(timedelta(days=1).total_seconds())
    assert "market closed" in text_of(visit(on_nyse).get("/").text)


def test_fractions_of_cents_do_not_survive_to_people(scene: Scene, visit: Visit) -> None:
    """Amounts are to the cent on the page and exact in the API."""
    scene.value("98999.98765")
    scene.clock.advance(1)
    client = visit(scene)
    assert "98,999.99" in client.get("/").text
    equity = client.get("/api/v1/overview").json()["data"]["equity"]
    assert Decimal(equity) == Decimal("98999.98765")

"""``/metrics`` is what a Prometheus can read, and says nothing that is not known."""

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from ibloop.core.model import HaltLevel

from .conftest import Scene

Visit = Callable[[Scene], TestClient]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(scene: Scene, visit: Visit) -> Samples:
    """Return the samples by name and labels, as a scraper parses them."""
    answer = visit(scene).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_a_scrape_has_the_loop_in_it(scene: Scene, visit: Visit) -> None:
    """Daemons, account, halts, runs, orders, fills and quotes."""
    scene.halt(HaltLevel.KILL)
    scene.clock.advance(3)
    scene.beat("gateway", "degraded")
    found = scraped(scene, visit)
    expected = {
        ("ibloop_up", (("daemon", "gateway"),)): 0,
        ("ibloop_up", (("daemon", "guard"),)): 1,
        ("ibloop_heartbeat_age_seconds", (("daemon", "guard"),)): 3,
        ("ibloop_halt", (("level", "kill"),)): 1,
        ("ibloop_halt", (("level", "pause"),)): 0,
        ("ibloop_equity_usd", ()): 99_000,
        ("ibloop_cash_usd", ()): 98_500,
        ("ibloop_day_loss_ratio", ()): 0.01,
        ("ibloop_runs", (("status", "partial"),)): 1,
        ("ibloop_runs", (("status", "failed"),)): 0,
        ("ibloop_orders", (("status", "filled"),)): 1,
        ("ibloop_fills_total", ()): 2,
        ("ibloop_quote_age_max_seconds", ()): 3,
        ("ibloop_alerts_undelivered", ()): 0,
        ("ibloop_frozen", ()): 0,
        ("ibloop_quotes_subscribed", ()): 1,
        ("ibloop_ledger_readable", ()): 1,
        ("ibloop_healthy", ()): 0,
    }
    assert {key: found.get(key) for key in expected} == expected
    (info,) = (labels for name, labels in found if name == "ibloop_build_info")
    assert [name for name, _ in info] == ["build", "version"]


def test_what_is_not_known_has_no_sample(bare: Scene, visit: Visit) -> None:
    """Without a ledger there is no equity of zero; every daemon is down."""
    found = scraped(bare, visit)
    names = {name for name, _ in found}
    assert "ibloop_equity_usd" not in names
    assert "ibloop_fills_total" not in names
    assert "ibloop_quote_age_max_seconds" not in names
    assert found["ibloop_ledger_readable", ()] == 0
    assert [v for (name, _), v in found.items() if name == "ibloop_up"] == [0, 0, 0, 0]


def test_a_new_ledger_has_counts_and_no_amounts(bare: Scene, visit: Visit) -> None:
    """Nothing has been valued yet: no fills is known to be 0, equity and cash are not."""
    bare.alert("the ledger is made by this")
    found = scraped(bare, visit)
    assert found["ibloop_fills_total", ()] == 0
    assert {name for name, _ in found if name.endswith(("_usd", "_ratio"))} == set()


def test_two_scrapes_do_not_share_state(scene: Scene, visit: Visit) -> None:
    """Each scrape has a registry of its own: nothing adds up."""
    client = visit(scene)
    assert client.get("/metrics").text == client.get("/metrics").text

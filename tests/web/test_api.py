"""``/api/v1`` says what the command line's ``--json`` says, in the same words."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from ibloop.cli.root import ibloop

from .conftest import Scene

Visit = Callable[[Scene], TestClient]


def said(scene: Scene, *arguments: str) -> Any:
    """Return what a command prints with --json."""
    options = ["--json", "--data", str(scene.profile.data_dir)]
    done = CliRunner().invoke(ibloop, [*arguments, *options])
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("runs", ["run", "list"]),
        ("orders", ["orders", "list"]),
        ("orders?run=2026W47&limit=1", ["orders", "list", "--run", "2026W47", "--limit", "1"]),
        ("fills", ["fills", "list"]),
        ("fills?run=2026W47&limit=1", ["fills", "list", "--run", "2026W47", "--limit", "1"]),
    ],
)
def test_lists_are_those_of_the_command_line(
    scene: Scene, visit: Visit, path: str, command: list[str]
) -> None:
    """Schema, fields, order and every digit are equal."""
    assert visit(scene).get(f"/api/v1/{path}").json() == said(scene, *command)


@pytest.mark.parametrize("name", ["2026W47", "run-1"])
def test_a_run_is_that_of_the_command_line(scene: Scene, visit: Visit, name: str) -> None:
    """The API has every field of `run show`, and the fills beside."""
    answer = visit(scene).get(f"/api/v1/runs/{name}").json()
    expected = said(scene, "run", "show", name)
    assert answer["schema"] == expected["schema"] == "ibloop.run.v1"
    for field in ("run", "pretrade", "orders"):
        assert answer["data"][field] == expected["data"][field]
    assert [fill["exec_base"] for fill in answer["data"]["fills"]] == ["0002", "0001"]


def test_positions_are_those_of_the_command_line_with_a_value(scene: Scene, visit: Visit) -> None:
    """What the broker said is equal; price, value, weight and gain are added."""
    answer = visit(scene).get("/api/v1/positions").json()
    expected = said(scene, "positions", "list")
    assert answer["schema"] == expected["schema"]
    assert answer["data"]["as_of"] == expected["data"]["as_of"]
    (mine,), (theirs,) = answer["data"]["positions"], expected["data"]["positions"]
    assert {name: mine[name] for name in theirs} == theirs
    assert mine["value_usd"] == "1005.00"


def test_the_overview_has_every_field_of_status(scene: Scene, visit: Visit) -> None:
    """Whoever reads `status --json` reads the overview with the same names."""
    scene.halt()
    answer = visit(scene).get("/api/v1/overview").json()
    assert answer["schema"] == "ibloop.overview.v1"
    data, expected = answer["data"], said(scene, "status")["data"]
    assert expected.keys() <= data.keys()
    clocked = {"daemons", "healthy", "next"}  # the command looks at the real clock
    for name in expected.keys() - clocked:
        assert data[name] == expected[name], name
    assert data["current_run"]["orders_by_status"] == {"filled": 1, "rejected": 1}
    assert data["stream"]["subscribed"] == ["AAA"]


def test_quotes_have_their_files_fields_and_an_age(scene: Scene, visit: Visit) -> None:
    """Every field of the quote file but the clock's own, and why it may not be used."""
    scene.clock.advance(20)
    (quote,) = visit(scene).get("/api/v1/quotes").json()["data"]["quotes"]
    document = json.loads((scene.profile.stream_dir / "AAA.json").read_text())
    assert document.keys() - {"boottime_ns", "boot_id"} <= quote.keys()
    assert (quote["bid"], quote["age_s"]) == ("10.04", 20.0)
    assert quote["problem"] == "the quote is 20.0 s old, more than 15 s"


def test_without_a_ledger_lists_fail_instead_of_being_empty(bare: Scene, visit: Visit) -> None:
    """503 and a sentence: an empty list would claim that nothing ever happened."""
    client = visit(bare)
    for noun in ("runs", "orders", "fills", "alerts", "positions", "runs/2026W47"):
        answer = client.get(f"/api/v1/{noun}")
        assert answer.status_code == 503
        assert answer.json()["schema"] == "ibloop.error.v1"
        assert "nothing has run yet" in answer.json()["data"]["message"]
    for noun in ("overview", "quotes"):
        assert client.get(f"/api/v1/{noun}").status_code == 200


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "1.5", "²", "9" * 5000])
def test_a_bad_limit_is_400(scene: Scene, visit: Visit, limit: str) -> None:
    """A limit is a whole number from 1 to 1000; the answer says so."""
    answer = visit(scene).get("/api/v1/runs", params={"limit": limit})
    assert answer.status_code == 400
    assert "1 to 1000" in answer.json()["data"]["message"]


@pytest.mark.parametrize("path", ["none", "runs/none", "orders?run=none", "fills?run=none"])
def test_what_is_not_there_is_404_in_json(scene: Scene, visit: Visit, path: str) -> None:
    """A program gets JSON for its mistakes, too."""
    answer = visit(scene).get(f"/api/v1/{path}")
    assert answer.status_code == 404
    assert answer.json()["data"]["status"] == 404
    assert answer.headers["content-type"] == "application/json"


def test_alerts_are_listed(scene: Scene, visit: Visit) -> None:
    """Newest first, as the ledger has them."""
    scene.alert("first")
    scene.alert("second", "critical")
    data = visit(scene).get("/api/v1/alerts").json()["data"]
    assert [(row["text"], row["severity"]) for row in data] == [
        ("second", "critical"),
        ("first", "warning"),
    ]
    assert data[0]["state"] == "waiting"
    assert data == said(scene, "alerts", "list")["data"]

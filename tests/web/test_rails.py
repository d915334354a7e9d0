"""The page believes only its own host, only shows, and says so in every answer's headers."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from ibloop.web.rails import HEADERS

from .conftest import Scene

Visit = Callable[[Scene], TestClient]
PATHS = ["/", "/runs", "/runs/2026W47", "/runs/none", "/api/v1/overview", "/api/v1/none"]
PATHS += ["/metrics", "/healthz", "/static/app.css", "/static/none", "/none"]


@pytest.mark.parametrize("host", ["127.0.0.1:8791", "localhost:9000", "[::1]:8791", "LOCALHOST"])
def test_own_hosts_are_believed(scene: Scene, visit: Visit, host: str) -> None:
    """The machine's own names are fine, at any port: a tunnel has another."""
    assert visit(scene).get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8791",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8791",
        "10.0.0.1:8791",
        "",
        "127.0.0.1:8791@evil.example",
        "[::1]evil",
        "127.0.0.1:",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/v1/overview", "/static/app.css"])
def test_foreign_hosts_get_400(scene: Scene, visit: Visit, host: str, path: str) -> None:
    """A name that a web site pointed at 127.0.0.1 reads nothing (DNS rebinding)."""
    answer = visit(scene).get(path, headers={"host": host})
    assert answer.status_code == 400
    assert "DU1234567" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
@pytest.mark.parametrize("path", ["/", "/api/v1/runs", "/static/app.css", "/none"])
def test_only_reading_is_allowed(scene: Scene, visit: Visit, method: str, path: str) -> None:
    """Every other method is 405, whatever the path."""
    answer = visit(scene).request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_carries_the_headers_and_no_cookie(
    scene: Scene, visit: Visit, path: str
) -> None:
    """Good and bad answers alike forbid frames, foreign sources and inline code."""
    answer = visit(scene).get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "set-cookie" not in answer.headers
    assert "cache-control" in answer.headers
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/api/v1/runs", "/metrics", "/healthz", "/static/app.css"])
def test_head_is_get_without_a_body(scene: Scene, visit: Visit, path: str) -> None:
    """HEAD answers as GET does, with nothing in it."""
    answer = visit(scene).head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_no_path_leaves_the_static_directory(scene: Scene, visit: Visit) -> None:
    """Whatever is tried, no other file of the machine is served."""
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/"):
        assert visit(scene).get(path).status_code == 404

"""The web process: alone, announced, beating, and gone when it is told to go."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from ibloop.adapters.streamfiles import read_heartbeat
from ibloop.config import BUILTIN_TOML, Web, parse
from ibloop.errors import ConfigError
from ibloop.web.server import listen

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_WEB = BUILTIN_TOML.partition("[web]")[0]
DEADLINE_S = 30.0
END_S_MAX = 10.0


@dataclass
class Site:
    """A data directory and the web processes started on it."""

    data: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, port: int = 0, data: Path | None = None) -> subprocess.Popen[str]:
        """Start `ibloop web run`."""
        config = self.data.parent / f"web-{port}.toml"
        config.write_text(f"{WITHOUT_WEB}\n[web]\nport = {port}\n", encoding="utf-8")
        options = ["--config", str(config), "--data", str(data or self.data)]
        process = subprocess.Popen(
            [sys.executable, "-m", "ibloop", "web", "run", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.data.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.started.append(process)
        return process

    def begin(self) -> tuple[subprocess.Popen[str], str]:
        """Start it and return the URL it prints."""
        process = self.start()
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, process.communicate(timeout=DEADLINE_S)[1]
        return process, url

    def beat(self) -> Any:
        """Return its last heartbeat."""
        return read_heartbeat(self.data / "ib" / "stream", "web")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a site; what still runs at the end is killed."""
    made = Site(tmp_path / "data")
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], Any]) -> Any:
    """Poll until the condition gives something."""
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


@pytest.mark.e2e
def test_it_announces_serves_beats_and_ends(site: Site) -> None:
    """One line with a URL that works at once; `_web.json` says it too; SIGTERM ends it with 0."""
    process, url = site.begin()
    with urlopen(f"{url}healthz") as answer:  # noqa: S310  (its own URL)
        assert answer.read() == b"ok\n"
        assert "server" not in answer.headers
    beat = wait_for(lambda: (found := site.beat()) and found.status == "serving" and found)
    assert (beat.pid, beat.document["url"]) == (process.pid, url)
    assert url == f"http://127.0.0.1:{beat.document['port']}/"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=END_S_MAX)
    assert (process.returncode, out) == (0, "")
    assert site.beat().status == "stopped"
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert events == ["daemon.started", "daemon.stopped"]  # no line per request


@pytest.mark.e2e
def test_open_connections_do_not_hold_it(site: Site) -> None:
    """SIGTERM ends it while one client is silent and another sends half a request."""
    process, url = site.begin()
    port = int(url.rsplit(":", 1)[1].strip("/"))
    with (
        socket.create_connection(("127.0.0.1", port)),
        socket.create_connection(("127.0.0.1", port)) as half,
    ):
        half.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        with urlopen(f"{url}healthz") as answer:  # noqa: S310  (its own URL)
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_S_MAX) == 0


@pytest.mark.e2e
def test_a_second_one_is_refused(site: Site, tmp_path: Path) -> None:
    """The lock is held: 75 with the holder's pid. The port is taken: 78 and what to do."""
    process, url = site.begin()
    second = site.start()
    _, err = second.communicate(timeout=DEADLINE_S)
    assert second.returncode == 75
    assert f"web is already running as pid {process.pid}" in err
    port = int(url.rsplit(":", 1)[1].strip("/"))
    elsewhere = site.start(port, tmp_path / "other")
    _, err = elsewhere.communicate(timeout=DEADLINE_S)
    assert elsewhere.returncode == 78
    last = err.splitlines()[-1]
    assert last == (
        f"ibloop: cannot listen at 127.0.0.1 port {port}: something else listens there; "
        "set web.port (0 picks a free one)"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_listens_on_loopback_only(host: str) -> None:
    """The socket is bound to the machine itself."""
    with listen(Web(host=host, port=0)) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])  # noqa: S104
def test_another_address_is_bad_configuration(host: str) -> None:
    """There is no login, so nobody else's machine may ask."""
    with pytest.raises(ConfigError, match=r"web\.host must be one of 127\.0\.0\.1"):
        parse(f'{WITHOUT_WEB}\n[web]\nhost = "{host}"\n', "test")


@pytest.mark.parametrize("port", ["-1", "65536", '"8791"'])
def test_an_impossible_port_is_bad_configuration(port: str) -> None:
    """A port is a number from 0 to 65535."""
    with pytest.raises(ConfigError, match=r"web\.port|\$\.web\.port"):
        parse(f"{WITHOUT_WEB}\n[web]\nport = {port}\n", "test")

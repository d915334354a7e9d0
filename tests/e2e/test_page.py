"""The page in a real browser on real daemons: what happens is seen, and silence is told."""

import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ibloop.adapters.universe import samples_dir

from .conftest import COMMAND, DEADLINE_S, SLOW_TOML, Loop, environment

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_MS = DEADLINE_S * 1000
MakeLoop = Callable[..., Loop]


class Site:
    """`ibloop web run` at one port, to be stopped and started again."""

    def __init__(self, loop: Loop) -> None:
        """Start it on the data directory of a loop."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._config = loop.data.parent / "web.toml"
        without = SLOW_TOML.partition("[web]")[0]
        self._config.write_text(f"{without}\n[web]\nport = {port}\n", encoding="utf-8")
        self._loop = loop
        self.process = self.start()
        self.url = f"http://127.0.0.1:{port}/"

    def start(self) -> "subprocess.Popen[str]":
        """Start it and wait for the line that says where it is."""
        options = ["--config", str(self._config), "--data", str(self._loop.data)]
        with self._loop.log("web").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "web", "run", *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self._loop.data.parent,
                env=environment(),
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("http://127.0.0.1:")
        return self.process

    def stop(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.communicate(timeout=DEADLINE_S)


@pytest.fixture
def chromium() -> Iterator[Any]:
    """Return Debian's Chromium, or skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def loop_and_site(make_loop: MakeLoop) -> Iterator[tuple[Loop, Site]]:
    """Return four daemons that are well, and the page on them."""
    loop = make_loop()
    site = Site(loop)
    yield loop, site
    site.stop()


def listened(page: "Page") -> list[str]:
    """Return the list into which everything the browser complains of will go."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def fits_every_screen(page: "Page") -> None:
    """Nothing pushes the page wider than a telephone, and each scheme has its own ground."""
    for scheme, ground in (("dark", "rgb(14, 17, 22)"), ("light", "rgb(244, 245, 247)")):
        page.emulate_media(color_scheme=scheme)
        for width in (360, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            inside = "document.documentElement.clientWidth"
            assert page.evaluate(f"document.documentElement.scrollWidth > {inside}") is False
        style = "getComputedStyle(document.documentElement).backgroundColor"
        assert page.evaluate(style) == ground


def test_a_rebalance_appears_on_the_page(loop_and_site: tuple[Loop, Site], chromium: Any) -> None:
    """Without a reload: orders, fills, positions and the run's end come as they happen.

    The same document all the time, so a mark set on it is still there at the end; and the browser
    has nothing to complain of, the Content-Security-Policy least of all.
    """
    from playwright.sync_api import expect  # noqa: PLC0415

    loop, site = loop_and_site
    page = chromium.new_page()
    complaints = listened(page)
    page.goto(site.url)
    expect(page.locator("#summary")).to_contain_text("All is well.")
    expect(page.locator("#daemon-stream")).to_contain_text("25 subscribed, live data")
    expect(page.locator("#fills")).to_contain_text("No fill yet.")
    page.evaluate("document.getElementById('fills').marked = document.marked = 'same'")

    targets = samples_dir() / "targets-initial.csv"
    asked = loop.ask("rebalance", "--targets", targets, "--key", "first")
    assert asked.returncode == 0, asked.stderr
    current = page.locator("#current")
    expect(current).to_contain_text("first", timeout=PATIENCE_MS)
    expect(current.locator("[aria-current=step]")).to_have_text("executing", timeout=PATIENCE_MS)
    expect(current).to_contain_text("done", timeout=PATIENCE_MS)
    expect(current).to_contain_text("12 of 12 orders ended")
    expect(page.locator("#fills tbody tr")).to_have_count(12)
    expect(page.locator("#orders tbody tr").first).to_contain_text("filled")
    expect(page.locator("#positions tbody tr")).to_have_count(12, timeout=PATIENCE_MS)
    expect(page.locator("#chart .line")).to_have_attribute("d", re.compile("^M"))
    assert page.evaluate("[document.marked, document.getElementById('fills').marked]") == (
        ["same", "same"]
    )

    fits_every_screen(page)
    page.goto(f"{site.url}runs/first")
    fits_every_screen(page)
    expect(page.locator("#plan tbody tr")).to_have_count(12)
    expect(page.locator("#gates")).to_contain_text("passed")

    assert loop.ask("halt", "the test says so").returncode == 0
    expect(page.locator("#halt-1")).to_contain_text("HALTED: pause. Nothing is sent.")
    assert page.title().startswith("HALTED")
    assert complaints == []


def test_the_page_tells_its_own_silence_and_comes_back(
    loop_and_site: tuple[Loop, Site], chromium: Any
) -> None:
    """A dead server greys the page and says for how long; a new one is found without a reload.

    A dead daemon is told as well, while the page itself lives on.
    """
    from playwright.sync_api import expect  # noqa: PLC0415

    loop, site = loop_and_site
    page = chromium.new_page()
    page.goto(site.url)
    stale = page.locator("#stale")
    expect(stale).to_be_hidden()
    page.evaluate("document.marked = 'same'")
    site.stop()
    expect(stale).to_contain_text("Not updated for", timeout=PATIENCE_MS)
    site.start()
    expect(stale).to_be_hidden(timeout=PATIENCE_MS)
    assert page.evaluate("document.marked") == "same"

    loop.kill("guard")
    summary = page.locator("#summary")
    expect(summary).to_contain_text("The guard is silent.", timeout=PATIENCE_MS)
    loop.start("guard")
    expect(summary).to_contain_text("All is well.", timeout=PATIENCE_MS)

"""The documentation tells the truth: generated pages are fresh, links lead somewhere."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from ibloop.cli.root import ibloop

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
CODE_BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
PLACE = re.compile(r"`((?:ibloop|tests|docs|bin|systemd)/[A-Za-z0-9_./-]*)`")
LAYERS = "core|signals|adapters|sim|daemons|web|cli|config|errors|log"
MODULE = re.compile(rf"`(ibloop\.(?:{LAYERS})(?:\.[a-z_]+)*)`")
NOT_IN_A_CHECKOUT = re.compile(r"NNNN|ibloop/_samples")
"""A pattern for names to come; where an installed package keeps the samples."""


def name_of(page: Path) -> str:
    """Return a page's path below the repository, as the id of its test."""
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """Return docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["cli.md", "config.md", "simulator.md"])
def test_generated_pages_are_fresh(page: str, generate: ModuleType) -> None:
    """What is checked in is what the code says now: `make docs` writes it anew."""
    assert generate.pages()[page] == (DOCS / "reference" / page).read_text(encoding="utf-8")


def command_paths(command: click.Command, path: str) -> Iterator[str]:
    """Yield the full name of a command and of every command below it."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from command_paths(child, f"{path} {name}")


def test_every_command_is_in_the_reference() -> None:
    """Each once, in the order of the help page."""
    text = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    assert re.findall(r"^## `(.+)`$", text, re.MULTILINE) == list(command_paths(ibloop, "ibloop"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in kept}


def dead_links(page: Path) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    dead = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        is_dead = not target.exists() or not target.is_relative_to(ROOT)
        if is_dead or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file, and every anchor a heading, of this repository."""
    assert dead_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_named_in_backticks_exist(page: Path) -> None:
    """A reader who is sent to `ibloop/...` finds it; modules by their dotted name too."""
    places = PLACE.findall(prose(page))
    places += [found.replace(".", "/") for found in MODULE.findall(prose(page))]
    missing = [
        place
        for place in places
        if not (ROOT / place).exists()
        and not (ROOT / f"{place}.py").exists()
        and not NOT_IN_A_CHECKOUT.search(place)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_backticks_exist(page: Path) -> None:
    """A reader who types what a page says in `ibloop ...` is understood."""
    known = set(command_paths(ibloop, "ibloop"))
    groups = {path.rpartition(" ")[0] for path in known}
    unknown = []
    for text in re.findall(r"`(ibloop(?: [a-z-]+)+)", prose(page)):
        words = [word for word in text.split() if not word.startswith("-")]
        path = words[0]
        for word in words[1:]:
            if path not in groups:
                break  # what follows are arguments
            path = f"{path} {word}"
        if path not in known:
            unknown.append(text)
    assert unknown == []


def test_the_link_check_sees_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with dead links fails; code blocks and the web are left alone."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# A title: here\n[a](gone.md) [b](page.md#a-title-here) [c](page.md#gone) [d](../x)\n"
        "[e](https://example.com) [f](#a-title-here)\n```\n[g](gone.md)\n```\n",
        encoding="utf-8",
    )
    assert dead_links(page) == ["gone.md", "page.md#gone", "../x"]

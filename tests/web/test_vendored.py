"""What is not ours is named, licensed and unchanged."""

import hashlib
import tomllib
from pathlib import Path

import pytest

from ibloop.web.pages import HERE

STATIC = HERE / "static"
VENDORED = sorted((STATIC / "vendor").glob("*"))


@pytest.mark.parametrize("directory", VENDORED, ids=lambda path: path.name)
def test_vendored_files_are_what_they_say(directory: Path) -> None:
    """Each directory names version, licence, source and the hash of every file in it."""
    told = tomllib.loads((directory / "VENDORED.toml").read_text(encoding="utf-8"))
    assert told.keys() >= {"name", "version", "licence", "source", "sha256"}
    files = {path.name for path in directory.iterdir()} - {"VENDORED.toml"}
    assert files == told["sha256"].keys()
    assert "LICENSE" in files
    for name, expected in told["sha256"].items():
        assert hashlib.sha256((directory / name).read_bytes()).hexdigest() == expected, name


def test_something_is_vendored() -> None:
    """The test above looks at the right place."""
    assert [path.name for path in VENDORED] == ["htmx"]


def test_nothing_is_fetched_from_elsewhere() -> None:
    """Templates, styles and our script name no other host."""
    ours = [*HERE.glob("templates/*"), *STATIC.glob("*.css"), *STATIC.glob("*.js")]
    for path in ours:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
        assert "@import" not in text, path

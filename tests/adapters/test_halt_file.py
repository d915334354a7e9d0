"""The HALT file halts by being there, whatever it says or is."""

from pathlib import Path

import pytest

from ibloop.adapters.halt_file import REASON, read_halt_file, write_halt_file
from ibloop.core.model import HALT_ORDER, HaltLevel


def level_of(data_dir: Path) -> HaltLevel | None:
    """Return the level alone."""
    found = read_halt_file(data_dir)
    return found.level if found else None


def test_no_file_is_no_halt(tmp_path: Path) -> None:
    """Only its absence lets trading go on; other files do not matter."""
    (tmp_path / "halt").write_text("kill")
    (tmp_path / "HALT.bak").write_text("kill")
    assert read_halt_file(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("", HaltLevel.PAUSE),
        ("pause", HaltLevel.PAUSE),
        ("kill", HaltLevel.KILL),
        ("reduce-only", HaltLevel.REDUCE_ONLY),
        (" KILL \r\n", HaltLevel.KILL),
        ("\n\n", HaltLevel.PAUSE),
        ("none", HaltLevel.PAUSE),
        ("resume", HaltLevel.PAUSE),
        ("reduce_only", HaltLevel.PAUSE),
        ("kill everything", HaltLevel.PAUSE),
        ("x" * 10_000, HaltLevel.PAUSE),
    ],
)
def test_the_text_is_the_level(tmp_path: Path, text: str, level: HaltLevel) -> None:
    """One of three words, in any case; everything else stops all sending."""
    (tmp_path / "HALT").write_text(text)
    assert level_of(tmp_path) is level


def test_a_binary_file_halts(tmp_path: Path) -> None:
    """What cannot be read as text is still there."""
    (tmp_path / "HALT").write_bytes(b"\xff\xfe\x00kill")
    assert level_of(tmp_path) is HaltLevel.PAUSE


def test_a_directory_halts(tmp_path: Path) -> None:
    """A name nobody can open is a halt."""
    (tmp_path / "HALT").mkdir()
    assert level_of(tmp_path) is HaltLevel.PAUSE


def test_a_link_to_nowhere_halts(tmp_path: Path) -> None:
    """Whoever made the link meant to halt; that its target is gone changes nothing."""
    (tmp_path / "HALT").symlink_to(tmp_path / "gone")
    assert level_of(tmp_path) is HaltLevel.PAUSE


def test_a_data_directory_that_is_none_halts(tmp_path: Path) -> None:
    """If the place of the file cannot even be looked at, nothing is sent."""
    file = tmp_path / "file"
    file.write_text("")
    assert level_of(file) is HaltLevel.PAUSE


@pytest.mark.parametrize("text", ["kil", "nonsense", "reduce_only", "kill everything"])
def test_a_text_that_is_no_level_is_told(tmp_path: Path, text: str) -> None:
    """Who misspells kill gets a pause, and has to be told that nothing is cancelled."""
    (tmp_path / "HALT").write_text(text)
    found = read_halt_file(tmp_path)
    assert found is not None
    assert f"{text!r} is no level (pause, reduce-only, kill)" in found.reason


@pytest.mark.parametrize("text", ["", "\n", "pause", " KILL \r\n"])
def test_a_text_that_is_understood_is_no_trouble(tmp_path: Path, text: str) -> None:
    """The reason is that the file exists, and no more."""
    (tmp_path / "HALT").write_text(text)
    found = read_halt_file(tmp_path)
    assert found is not None
    assert found.reason == REASON


@pytest.mark.parametrize("standing", [None, *HaltLevel])
@pytest.mark.parametrize("wanted", list(HaltLevel))
def test_writing_never_makes_a_halt_milder(
    tmp_path: Path, standing: HaltLevel | None, wanted: HaltLevel
) -> None:
    """The severer of what stands and what is wanted is in force, and is what is returned."""
    if standing is not None:
        (tmp_path / "HALT").write_text(standing)
    expected = max((level for level in (standing, wanted) if level), key=HALT_ORDER.index)
    assert write_halt_file(tmp_path, wanted) is expected
    assert level_of(tmp_path) is expected
    assert (tmp_path / "HALT").stat().st_mode & 0o777 == 0o660 or standing is not None

"""The HALT file halts by being there, whatever it says or is."""

from pathlib import Path

import pytest

from ibloop.adapters.halt_file import read_halt_file
from ibloop.core.model import HaltLevel


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
    assert read_halt_file(tmp_path) is level


def test_a_binary_file_halts(tmp_path: Path) -> None:
    """What cannot be read as text is still there."""
    (tmp_path / "HALT").write_bytes(b"\xff\xfe\x00kill")
    assert read_halt_file(tmp_path) is HaltLevel.PAUSE


def test_a_directory_halts(tmp_path: Path) -> None:
    """A name nobody can open is a halt."""
    (tmp_path / "HALT").mkdir()
    assert read_halt_file(tmp_path) is HaltLevel.PAUSE


def test_a_link_to_nowhere_halts(tmp_path: Path) -> None:
    """Whoever made the link meant to halt; that its target is gone changes nothing."""
    (tmp_path / "HALT").symlink_to(tmp_path / "gone")
    assert read_halt_file(tmp_path) is HaltLevel.PAUSE


def test_a_data_directory_that_is_none_halts(tmp_path: Path) -> None:
    """If the place of the file cannot even be looked at, nothing is sent."""
    file = tmp_path / "file"
    file.write_text("")
    assert read_halt_file(file) is HaltLevel.PAUSE

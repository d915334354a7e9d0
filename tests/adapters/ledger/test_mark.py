"""The mark beside a ledger: two places written in turn, and what of them may be believed."""

from pathlib import Path

import pytest

from ibloop.adapters.ledger.mark import PLACE_BYTES, Mark, Stamp

STAMPS = [Stamp(number, f"{number:064x}", 100 + number) for number in range(1, 6)]


@pytest.fixture
def mark(tmp_path: Path) -> Mark:
    """Return a mark that has moved twice."""
    made = Mark(tmp_path / "ibloop.db")
    for stamp in STAMPS[:2]:
        made.write(stamp)
    return made


def test_the_last_stamp_written_is_read(mark: Mark) -> None:
    """Also when it is lower than the one before: a restored ledger was accepted."""
    for stamp in (*STAMPS[2:], STAMPS[0]):
        mark.write(stamp)
        assert mark.read() == stamp
        assert Mark(mark.path.with_name("ibloop.db")).read() == stamp
    assert mark.path.stat().st_size == 2 * PLACE_BYTES


def test_a_write_that_a_power_cut_broke_off_leaves_the_stamp_before(mark: Mark) -> None:
    """At every byte: of what the broken place was to say nothing has left."""
    before = mark.path.read_bytes()
    mark.write(STAMPS[2])
    after = mark.path.read_bytes()
    for cut in range(len(after)):
        mark.path.write_bytes(after[:cut] + before[cut:])
        assert mark.read() in {STAMPS[1], STAMPS[2]}, cut
    mark.path.write_bytes(after)
    assert mark.read() == STAMPS[2]


def test_the_place_of_the_newest_stamp_is_never_written(mark: Mark) -> None:
    """The other one is overwritten, whoever wrote last."""
    for stamp in STAMPS[2:]:
        before = mark.path.read_bytes()
        Mark(mark.path.with_name("ibloop.db")).write(stamp)
        after = mark.path.read_bytes()
        changed = {at // PLACE_BYTES for at in range(len(after)) if after[at] != before[at]}
        assert len(changed) == 1


@pytest.mark.parametrize(
    ("at", "left"), [(0, STAMPS[0]), (20, STAMPS[0]), (PLACE_BYTES + 20, STAMPS[1])]
)
def test_one_damaged_place_does_not_speak(mark: Mark, at: int, left: Stamp) -> None:
    """A flipped bit fails its checksum; the other place, the older one or not, still counts."""
    content = bytearray(mark.path.read_bytes())
    content[at] ^= 1
    mark.path.write_bytes(bytes(content))
    assert mark.read() == left


def test_two_damaged_places_are_no_mark(mark: Mark) -> None:
    """Nothing is guessed from what is left of them."""
    mark.path.write_bytes(b"\0" * 2 * PLACE_BYTES)
    assert "neither of its two places is whole" in str(mark.read())


def test_a_directory_in_its_place_cannot_be_read_or_written(tmp_path: Path) -> None:
    """An OSError for the writer, a reason for the reader; never an empty answer."""
    made = Mark(tmp_path / "ibloop.db")
    made.path.mkdir()
    assert "cannot be read" in str(made.read())
    with pytest.raises(OSError, match="directory"):
        made.write(STAMPS[0])

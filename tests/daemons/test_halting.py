"""A HALT file is written into the ledger by whoever sees it, and taking it away ends nothing."""

from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, halts
from ibloop.core.model import HaltLevel
from ibloop.daemons.halting import latch_halt_file, severest_halt
from tests.fakes.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a data directory in order."""
    return Site(tmp_path / "data")


def latch(site: Site) -> bool:
    """Look for the file as a daemon does with each step."""
    return latch_halt_file(site.ledger, site.profile.data_dir, site.clock, "executor")


def put(site: Site, text: str = "") -> Path:
    """Make the file and return it."""
    file = site.profile.data_dir / "HALT"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_file_is_latched_and_told_once(site: Site) -> None:
    """One row, one critical alert, however often it is looked at."""
    assert not latch(site)
    put(site, "kill")
    assert latch(site)
    assert not latch(site)
    (row,) = halts.active(site.ledger.db)
    assert (row.level, row.source, row.requested_by) == ("kill", "file", "executor")
    (told,) = alerts.listing(site.ledger.db, 9)
    assert (told.severity, told.event) == ("critical", "halt.requested")
    assert str(site.profile.data_dir / "HALT") in told.text


def test_taking_the_file_away_does_not_resume(site: Site) -> None:
    """A person has to resume, with a reason that is kept."""
    file = put(site)
    latch(site)
    file.unlink()
    assert severest_halt(site.ledger.db, site.profile.data_dir)[0] is HaltLevel.PAUSE


def test_a_severer_file_is_another_halt(site: Site) -> None:
    """From pause to kill is news; from kill to pause is not."""
    put(site, "reduce-only")
    latch(site)
    put(site, "kill")
    assert latch(site)
    put(site, "pause")
    assert not latch(site)
    assert [row.level for row in halts.active(site.ledger.db)] == ["reduce-only", "kill"]


def test_a_file_that_stays_halts_again_after_a_resume(site: Site) -> None:
    """Whoever resumes past it (with a tool of their own) is halted again at once."""
    put(site)
    latch(site)
    with site.ledger.transaction() as tx:
        halts.resume(tx, "ann", "checked", site.clock.now().utc)
    assert latch(site)
    assert len(halts.active(site.ledger.db)) == 1


def test_a_text_that_is_no_level_is_in_the_alert(site: Site) -> None:
    """Somebody wanted a kill and got a pause: the row, the alert and every refusal say so."""
    put(site, "kil")
    assert latch(site)
    (row,) = halts.active(site.ledger.db)
    assert row.level == "pause"
    (told,) = alerts.listing(site.ledger.db, 9)
    for text in (row.reason, told.text, severest_halt(site.ledger.db, site.profile.data_dir)[1]):
        assert "'kil' is no level" in text

"""The universe file says what may be traded; a doubtful line refuses the whole file."""

import hashlib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.universe import Universe, load_universe, samples_dir
from ibloop.config import BUILTIN_TOML, Profile, parse
from ibloop.core.model import SYMBOL, Instrument
from ibloop.errors import ConfigError

D = Decimal
HEADER = "symbol,con_id,name,primary_exchange,currency,min_tick,lot,sector,adv_shares\n"
ROW = "AAA,101,Triple A,NYSE,USD,0.01,1,Energy,5000\n"


def load(tmp_path: Path, content: str | bytes) -> Universe:
    """Return the universe of a profile whose file has this content."""
    path = tmp_path / "universe.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    config = parse(f'{BUILTIN_TOML}\n[universe]\nfile = "universe.csv"\n', "x")
    return load_universe(Profile(config, tmp_path / "ibloop.toml", tmp_path / "data"))


def test_a_line_becomes_an_instrument(tmp_path: Path) -> None:
    """Every column counts, numbers are exact, further columns are ignored."""
    content = HEADER.replace("\n", ",color\n") + ROW.replace("\n", ",red\n")
    universe = load(tmp_path, content)
    triple_a = Instrument("AAA", 101, "Triple A", "NYSE", "USD", D("0.01"), D(1), "Energy", D(5000))
    assert universe.instruments == {"AAA": triple_a}
    assert universe.content_hash == hashlib.sha256(content.encode()).hexdigest()


def test_an_unknown_volume_is_none(tmp_path: Path) -> None:
    """An empty cell, or no such column, means unknown, which denies; it is not zero."""
    empty = load(tmp_path, HEADER + ROW.replace("5000", ""))
    assert empty.instruments["AAA"].adv_shares is None
    missing = load(tmp_path, HEADER.replace(",adv_shares", "") + ROW.replace(",5000", ""))
    assert missing.instruments["AAA"].adv_shares is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "expected a header line with the columns symbol,con_id"),
        (HEADER, "expected a header line"),
        ("symbol,con_id\nAAA,1\n", "expected a header line"),
        (b"\xff\xfe\x00", "cannot read the universe"),
        (HEADER + ROW + ROW, "line 3: AAA appears twice"),
        (HEADER + ROW + ROW.replace("AAA", "BBB"), "line 3: con_id 101 appears twice"),
        (HEADER + ROW.replace("AAA", "aaa"), "line 2: 'aaa' is not a symbol"),
        (HEADER + ROW.replace("AAA", ""), "line 2: '' is not a symbol"),
        (HEADER + ROW.replace("AAA", "A:B"), "line 2: 'A:B' is not a symbol"),
        (HEADER + ROW.replace("AAA", "../../AAA"), "line 2: '../../AAA' is not a symbol"),
        (HEADER + ROW.replace("AAA", "A" * 13), "is not a symbol"),
        (HEADER + ROW.replace("101", "ten"), "line 2"),
        (HEADER + ROW.replace("101", "0"), "con_id, min_tick, lot and adv_shares must be"),
        (HEADER + ROW.replace("101", "-1"), "must be positive"),
        (HEADER + ROW.replace("0.01", "0"), "must be positive"),
        (HEADER + ROW.replace("0.01", "nan"), "must be positive, finite"),
        (HEADER + ROW.replace("0.01", "inf"), "must be positive, finite"),
        (HEADER + ROW.replace("0.01", "a cent"), "line 2"),
        (HEADER + ROW.replace(",1,", ",0,"), "must be positive"),
        (HEADER + ROW.replace(",1,", ",-1,"), "must be positive"),
        (HEADER + ROW.replace("5000", "nan"), "must be positive, finite"),
        (HEADER + ROW.replace("5000", "inf"), "must be positive, finite"),
        (HEADER + ROW.replace("5000", "0"), "must be positive, finite"),
        (HEADER + ROW.replace("5000", "-5"), "must be positive, finite"),
        (HEADER + "AAA,101,Triple A\n", "line 2: fewer fields than the header names"),
        (
            HEADER + ROW + ROW.replace("AAA", "BBB").replace("101", "102").replace("USD", "EUR"),
            "expected one currency, that of the account; was EUR, USD",
        ),
    ],
)
def test_a_doubtful_file_is_refused(tmp_path: Path, content: str | bytes, words: str) -> None:
    """No instrument is left out silently: a wrong line is told with its number."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content)
    assert words in str(caught.value)
    assert "universe.csv" in str(caught.value)


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    """Who names a universe does not get the samples instead."""
    config = parse(f'{BUILTIN_TOML}\n[universe]\nfile = "gone.csv"\n', "x")
    with pytest.raises(ConfigError, match=r"cannot read the universe .*gone\.csv"):
        load_universe(Profile(config, tmp_path / "ibloop.toml", tmp_path))


def test_the_builtin_profile_trades_the_samples(tmp_path: Path) -> None:
    """Without a file of its own, the simulator's universe: 25 names in US dollars."""
    profile = Profile(parse(BUILTIN_TOML, "x"), None, tmp_path)
    universe = load_universe(profile)
    assert len(universe.instruments) == 25
    assert all(SYMBOL.fullmatch(symbol) for symbol in universe.instruments)
    assert {i.currency for i in universe.instruments.values()} == {"USD"}
    assert all(i.adv_shares for i in universe.instruments.values())
    assert (samples_dir() / "universe.csv").is_file()
    assert replace(universe) == load_universe(profile)

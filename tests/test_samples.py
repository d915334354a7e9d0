"""The sample data is what its provenance says, and good enough to trade in a demo."""

import csv
import hashlib
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
PRICES = SAMPLES / "prices"
PROVENANCE = tomllib.loads((SAMPLES / "PROVENANCE.toml").read_text(encoding="utf-8"))
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
TARGETS = ("targets-initial.csv", "targets-weekly.csv")
UNIVERSE_HEADER = (
    "symbol,con_id,name,primary_exchange,currency,min_tick,lot,sector,adv_shares,prices,"
    "start_price,volatility"
)
DEMO_DATE = "2012-10-01"  # the day the simulator starts on
ACCOUNT_USD = Decimal(100_000)


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file of the samples, every value a string."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def universe() -> dict[str, dict[str, str]]:
    """Return the universe's rows by symbol."""
    return {row["symbol"]: row for row in rows(SAMPLES / "universe.csv")}


def weights(name: str) -> dict[str, Decimal]:
    """Return the weights of a targets file by symbol."""
    return {row["symbol"]: Decimal(row["weight"]) for row in rows(SAMPLES / name)}


def demo_price(instrument: dict[str, str]) -> Decimal:
    """Return what a share costs when the demo starts, USD."""
    if instrument["prices"] == "synthetic":
        return Decimal(instrument["start_price"])
    bars = rows(PRICES / f"{instrument['symbol']}.csv")
    return next(Decimal(bar["close"]) for bar in bars if bar["date"] == DEMO_DATE)


def is_ohlc_consistent(bar: dict[str, str]) -> bool:
    """Return whether low and high of a bar enclose a positive open and close."""
    low, high = Decimal(bar["low"]), Decimal(bar["high"])
    return all(0 < low <= Decimal(bar[name]) <= high for name in ("open", "close"))


def test_every_vendored_file_has_its_recorded_hash() -> None:
    """A vendored file is never edited: its bytes are those recorded in PROVENANCE.toml."""
    actual = {
        f"prices/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in PRICES.iterdir()
    }
    assert actual == PROVENANCE["files"], "run data/samples/rebuild.py"


def test_provenance_accounts_for_every_file() -> None:
    """No data file lies in the samples whose origin and licence are not stated."""
    present = {
        path.relative_to(SAMPLES).as_posix()
        for path in SAMPLES.rglob("*")
        if path.suffix in {".csv", ".json", ".gz", ".txt"}
    }
    assert present == PROVENANCE["files"].keys() | set(PROVENANCE["own"]["files"])


def test_provenance_names_source_and_licence_and_no_host() -> None:
    """The provenance names package, version, hash and licence, and no machine to fetch from."""
    source = PROVENANCE["source"]
    assert (source["package"], source["version"]) == ("bokeh-sampledata", "2026.1")
    assert re.fullmatch(r"[0-9a-f]{64}", source["sha256"])
    assert PROVENANCE["licence"]["data"] == "Public domain"
    for name in ("PROVENANCE.toml", "rebuild.py"):
        assert "://" not in (SAMPLES / name).read_text(encoding="utf-8")


def test_samples_stay_small() -> None:
    """The samples travel in the wheel, so all of them stay under 1 MB."""
    total_bytes = sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file())
    assert total_bytes < 1_000_000


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_bars_are_sorted_weekdays_without_repetition(symbol: str) -> None:
    """Each session has one bar, sessions ascend, and none is on a weekend."""
    days = [row["date"] for row in rows(PRICES / f"{symbol}.csv")]
    assert days == sorted(set(days))
    assert [day for day in days if date.fromisoformat(day).weekday() >= 5] == []


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_bars_are_consistent(symbol: str) -> None:
    """Low and high enclose open and close, prices are positive, volume is a positive integer."""
    bars = rows(PRICES / f"{symbol}.csv")
    assert list(bars[0]) == ["date", "open", "high", "low", "close", "volume"]
    assert [bar for bar in bars if not is_ohlc_consistent(bar)] == []
    assert [bar for bar in bars if not (bar["volume"].isdecimal() and int(bar["volume"]) > 0)] == []


def test_the_consistency_check_sees_a_wrong_bar() -> None:
    """A bar whose close is above its high, or whose low is no price, is not consistent."""
    bar = {"open": "2.00", "high": "3.00", "low": "1.00", "close": "3.01"}
    assert not is_ohlc_consistent(bar)
    assert is_ohlc_consistent(bar | {"close": "3.00"})
    assert not is_ohlc_consistent(bar | {"close": "3.00", "low": "0.00"})


def test_the_whole_history_is_kept() -> None:
    """The five histories end together on 2013-03-01; three start on 2000-03-01."""
    spans = {}
    for symbol in SYMBOLS:
        bars = rows(PRICES / f"{symbol}.csv")
        spans[symbol] = (len(bars), bars[0]["date"], bars[-1]["date"])
    assert spans == {
        "AAPL": (3270, "2000-03-01", "2013-03-01"),
        "FB": (196, "2012-05-18", "2013-03-01"),
        "GOOG": (2148, "2004-08-19", "2013-03-01"),
        "IBM": (3270, "2000-03-01", "2013-03-01"),
        "MSFT": (3270, "2000-03-01", "2013-03-01"),
    }


def test_prices_are_unadjusted_and_extreme_days_are_kept() -> None:
    """Real splits and Apple's fall of 52 % on 2000-09-29 stay in: detectors must face them."""
    close = {row["date"]: Decimal(row["close"]) for row in rows(PRICES / "AAPL.csv")}
    assert close["2000-09-29"] / close["2000-09-28"] < Decimal("0.49")
    assert close["2005-02-28"] / close["2005-02-25"] < Decimal("0.51")  # 2:1 split


def test_universe_parses_with_unique_symbols_and_contract_ids() -> None:
    """Symbols and contract ids are unique, and every field of a row has its type."""
    instruments = rows(SAMPLES / "universe.csv")
    assert ",".join(instruments[0]) == UNIVERSE_HEADER
    assert len(instruments) == 25
    for field in ("symbol", "con_id", "name"):
        assert len({row[field] for row in instruments}) == len(instruments), field
    for row in instruments:
        assert re.fullmatch(r"[A-Z]{1,4}", row["symbol"])
        assert row["primary_exchange"] in {"NASDAQ", "NYSE"}
        assert (row["currency"], row["min_tick"], row["lot"]) == ("USD", "0.01", "1")
        assert row["prices"] in {"history", "synthetic"}
        assert row["sector"].strip()
        assert int(row["con_id"]) > 0
        assert int(row["adv_shares"]) > 0


def test_every_history_has_a_row_and_every_row_its_history() -> None:
    """``prices = history`` and a price file are the same statement."""
    said = {row["symbol"] for row in universe().values() if row["prices"] == "history"}
    assert said == {path.stem for path in PRICES.iterdir()} == set(SYMBOLS)


def test_synthetic_instruments_say_so() -> None:
    """An invented instrument is marked in its name and contract id and brings its own process."""
    for row in universe().values():
        synthetic = row["prices"] == "synthetic"
        assert row["name"].endswith("(synthetic)") is synthetic
        assert (900_000_001 <= int(row["con_id"]) <= 900_000_020) is synthetic
        if synthetic:
            assert Decimal(15) <= Decimal(row["start_price"]) <= Decimal(180)
            assert Decimal("0.12") <= Decimal(row["volatility"]) <= Decimal("0.45")
        else:
            assert (row["start_price"], row["volatility"]) == ("", "")


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_average_volume_comes_from_the_history(symbol: str) -> None:
    """``adv_shares`` of a real name is the mean volume of its 60 sessions before the demo."""
    bars = [row for row in rows(PRICES / f"{symbol}.csv") if row["date"] < DEMO_DATE][-60:]
    assert len(bars) == 60
    assert int(universe()[symbol]["adv_shares"]) == round(sum(int(b["volume"]) for b in bars) / 60)


@pytest.mark.parametrize("name", TARGETS)
def test_targets_fit_usual_limits(name: str) -> None:
    """Targets name known symbols once and stay within gross, position and sector limits."""
    targets = weights(name)
    assert len(targets) == len(rows(SAMPLES / name))
    assert targets.keys() <= universe().keys()
    assert Decimal("0.90") <= sum(targets.values()) <= Decimal("0.95")
    assert min(targets.values()) > 0
    assert max(targets.values()) <= Decimal("0.12")
    sectors: dict[str, Decimal] = defaultdict(Decimal)
    for symbol, weight in targets.items():
        sectors[universe()[symbol]["sector"]] += weight
    assert max(sectors.values()) <= Decimal("0.45")


def test_the_initial_book_holds_every_real_name() -> None:
    """The first rebalance trades all five names with a real history."""
    assert set(SYMBOLS) <= weights("targets-initial.csv").keys()


def test_the_weekly_rebalance_has_every_kind_of_order() -> None:
    """From one book to the other some names leave, some are new, some shrink, some grow."""
    before, after = (weights(name) for name in TARGETS)
    both = before.keys() & after.keys()
    assert len(before.keys() - after.keys()) >= 2
    assert len(after.keys() - before.keys()) >= 2
    assert len([symbol for symbol in both if after[symbol] < before[symbol]]) >= 2
    assert len([symbol for symbol in both if after[symbol] > before[symbol]]) >= 2


def test_the_weekly_rebalance_is_worth_its_orders() -> None:
    """A 100,000 USD account needs 14 orders or more, each of a share and 300 USD or more."""
    before, after = (weights(name) for name in TARGETS)
    instruments = universe()
    orders = 0
    for symbol in sorted(before.keys() | after.keys()):
        price = demo_price(instruments[symbol])
        held, wanted = (
            ACCOUNT_USD * book.get(symbol, Decimal(0)) // price for book in (before, after)
        )
        if before.get(symbol) == after.get(symbol):
            continue
        orders += 1
        assert abs(wanted - held) >= 1, symbol
        assert abs(wanted - held) * price >= 300, symbol
    assert orders >= 14


def run_rebuild(*arguments: str, isolated: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the rebuild script in a process of its own; ``isolated`` hides installed packages."""
    flags = ["-B", "-I", "-S"] if isolated else ["-B"]
    return subprocess.run(
        [sys.executable, *flags, str(SAMPLES / "rebuild.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_rebuild_agrees_with_the_vendored_files(tmp_path: Path) -> None:
    """Anybody with the source package gets the same bytes."""
    pytest.importorskip("bokeh_sampledata")
    done = run_rebuild("--into", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    for symbol in SYMBOLS:
        assert (tmp_path / f"{symbol}.csv").read_bytes() == (PRICES / f"{symbol}.csv").read_bytes()


def test_rebuild_refuses_without_its_package(tmp_path: Path) -> None:
    """Without the package the script says what to install and writes nothing."""
    done = run_rebuild("--into", str(tmp_path), isolated=True)
    assert done.returncode == 1
    assert "expected bokeh-sampledata==2026.1 to be installed" in done.stderr
    assert list(tmp_path.iterdir()) == []

"""Level 1 market data, by every client."""

import pytest

from ibloop.sim import GatewayOptions, MarketDataAccess
from ibloop.sim.testing import Simulator
from tests.clients.bench import AAPL, IBM, set_quote, stock
from tests.clients.client import Client, Record, eventually

pytestmark = [pytest.mark.clients, pytest.mark.e2e]

GENERIC = "100,101,104,106,165,221,225,233,236,258,293,294,295,318,375,411"
QUOTE = ("bid", "ask", "last", "bidSize", "askSize", "lastSize")
DAY = ("open", "high", "low", "close", "volume")


def complete(*names: str, **wanted: object) -> object:
    """Return a test of ticks: all these have come, and these have these values."""

    def test(ticks: Record) -> bool:
        equal = all(ticks.get(name) == value for name, value in wanted.items())
        return equal and all(ticks.get(name) is not None for name in names)

    return test


def test_a_stream_begins_with_everything(client: Client) -> None:
    """Bid, ask and last as fixed, with sizes; the day and the close before; halted 0."""
    with client.subscribed("market_data", AAPL, "") as read:
        ticks = eventually(read, complete(*QUOTE, *DAY, "halted", "minTick"))
    assert (ticks["bid"], ticks["ask"], ticks["last"]) == (660.00, 660.10, 660.05)
    assert min(ticks[name] for name in ("bidSize", "askSize", "lastSize")) > 0
    assert ticks["close"] == pytest.approx(667.10, abs=0.011)
    assert ticks["low"] <= ticks["last"] <= ticks["high"]
    assert ticks["low"] <= ticks["open"] <= ticks["high"]
    assert ticks["volume"] >= 0
    assert (ticks["halted"], ticks["marketDataType"]) == (0, 1)
    if client.kind.name != "stoqey":  # it reads the increment as a whole number
        assert ticks["minTick"] == 0.01
    assert {1, 2, 4, 9} <= set(ticks["types"])


def test_a_stream_follows_the_market(client: Client, sim: Simulator) -> None:
    """Changed prices come by themselves, a halt too; after the end nothing comes."""
    with client.subscribed("market_data", AAPL, "") as read:
        eventually(read, complete(bid=660.00, ask=660.10, last=660.05))
        set_quote(sim, "AAPL", 661.00, 661.10, 661.05)
        eventually(read, complete(bid=661.00, ask=661.10, last=661.05))
        sim.halt("AAPL")
        eventually(read, lambda ticks: ticks["halted"] > 0)
        sim.resume("AAPL")
        eventually(read, complete(halted=0))


def test_two_streams_keep_apart(client: Client, sim: Simulator) -> None:
    """Each subscription has its own contract."""
    with (
        client.subscribed("market_data", AAPL, "") as apple,
        client.subscribed("market_data", IBM, "") as ibm,
    ):
        eventually(apple, complete(bid=660.00, ask=660.10))
        eventually(ibm, complete(bid=210.00, ask=210.04))
        set_quote(sim, "IBM", 211.00, 211.04, 211.02)
        eventually(ibm, complete(bid=211.00))
        assert apple()["bid"] == 660.00


def test_generic_ticks_are_served(client: Client) -> None:
    """What ib_insync's documentation asks for: 52 weeks, average volume, shortable, RT volume."""
    names = ("low52week", "high52week", "avVolume", "shortableShares", "rtVolume")
    with client.subscribed("market_data", AAPL, GENERIC) as read:
        ticks = eventually(read, complete("bid", "ask", "last", *names))
    assert 0 < ticks["low52week"] < ticks["high52week"]
    assert ticks["low52week"] <= 660.05 <= ticks["high52week"]
    assert ticks["avVolume"] > 1000
    assert ticks["shortableShares"] > 0
    if not client.kind.is_insync:  # price;size;time;volume;vwap;single
        price, size, moment, volume, vwap, single = ticks["rtVolume"].split(";")
        assert float(price or 660.05) == pytest.approx(660.05)
        assert (float(size or 0) >= 0, int(moment) > 0, float(volume) >= 0) == (True,) * 3
        assert float(vwap) == pytest.approx(660, abs=60)
        assert single in {"true", "false"}


def test_a_snapshot_ends_by_itself(client: Client) -> None:
    """The quote once, then tickSnapshotEnd."""
    ticks = client.snapshot(AAPL)
    assert (ticks["bid"], ticks["ask"], ticks["last"]) == (660.00, 660.10, 660.05)
    assert ticks["close"] == pytest.approx(667.10, abs=0.011)


DELAYED = GatewayOptions(market_data=MarketDataAccess.DELAYED)


@pytest.mark.parametrize("gateway", [DELAYED], ids=["delayed login"])
@pytest.mark.parametrize("kind_of_data", [3, 4], ids=["delayed", "delayed frozen"])
def test_delayed_data_has_ticks_of_its_own(client: Client, kind_of_data: int) -> None:
    """Who asks for delayed data gets marketDataType 3 and the tick ids from 66 on."""
    client.market_data_type(kind_of_data)
    with client.subscribed("market_data", AAPL, "") as read:
        ticks = eventually(read, complete("bid", "ask", "last", "close", "volume"))
    assert (ticks["bid"], ticks["ask"], ticks["last"]) == (660.00, 660.10, 660.05)
    assert ticks["marketDataType"] in {3, 4}
    assert {66, 67, 68} <= set(ticks["types"])
    assert not {1, 2, 4} & set(ticks["types"])


@pytest.mark.parametrize("kind_of_data", [3, 4], ids=["delayed", "delayed frozen"])
def test_live_data_wins_over_delayed(client: Client, kind_of_data: int) -> None:
    """A login with live data gets it, also when it asks for delayed data."""
    client.market_data_type(kind_of_data)
    with client.subscribed("market_data", AAPL, "") as read:
        ticks = eventually(read, complete("bid", "ask", "last"))
    assert ticks["marketDataType"] == 1
    assert not {66, 67, 68} & set(ticks["types"])


@pytest.mark.parametrize("gateway", [DELAYED], ids=["delayed login"])
def test_live_data_needs_a_subscription(client: Client) -> None:
    """Without one, and without asking for delayed data, an error comes instead of ticks."""
    with client.subscribed("market_data", AAPL, "") as read:
        refused = {354, 10089, 10167, 10168}
        codes = eventually(lambda: all_errors(client), lambda codes: refused & set(codes))
        assert not set(codes) & {200, 321}
        assert read().get("bid") is None


def all_errors(client: Client) -> list[int]:
    """Return the codes of all errors, for requests too."""
    return [record["code"] for kind, record in client.events if kind == "error"]


def test_an_unknown_contract_has_no_data(client: Client) -> None:
    """Error 200 for the request."""
    with client.subscribed("market_data", stock("NOSUCH", 999_999_999), ""):
        eventually(lambda: all_errors(client), lambda codes: 200 in codes)

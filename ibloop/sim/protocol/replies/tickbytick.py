"""Replies of single ticks: lists of past ones (96 to 98), and each one as it comes (99)."""

from collections.abc import Iterable, Sequence

from ibloop.sim.market.ticks import Tick, TickKind
from ibloop.sim.protocol.wire import Fields, double_text, size_text

HISTORICAL_ID = {TickKind.MIDPOINT: "96", TickKind.BID_ASK: "97", TickKind.TRADES: "98"}
# Nothing special about a tick: neither past a limit nor unreported.
NO_MASK = "0"


def historical_ticks(
    req_id: int, kind: TickKind, ticks: Sequence[Tick], exchange: str, version: int
) -> Fields:
    """96, 97 or 98: past ticks, all that there will be."""
    texts: list[str] = []
    for tick in ticks:
        texts += _historical(kind, tick, exchange, version)
    return (HISTORICAL_ID[kind], str(req_id), str(len(ticks)), *texts, "1")


def _historical(kind: TickKind, tick: Tick, exchange: str, version: int) -> Iterable[str]:
    prices = [double_text(price) for price in tick.prices]
    sizes = [size_text(size, version) for size in tick.sizes]
    if kind is TickKind.MIDPOINT:
        # The field in the mask's place says nothing, and there is no size.
        return (str(int(tick.at_s)), NO_MASK, *prices, "0")
    ends = (exchange, "") if kind is TickKind.TRADES else ()
    return (str(int(tick.at_s)), NO_MASK, *prices, *sizes, *ends)


def tick_by_tick(req_id: int, number: int, tick: Tick, exchange: str, version: int) -> Fields:
    """99: a tick of type 1 Last, 2 AllLast, 3 BidAsk or 4 MidPoint."""
    prices = [double_text(price) for price in tick.prices]
    sizes = [size_text(size, version) for size in tick.sizes]
    rest: tuple[str, ...] = ()
    if number in {1, 2}:
        rest = (NO_MASK, exchange, "")
    elif number == 3:
        rest = (NO_MASK,)
    return ("99", str(req_id), str(number), str(int(tick.at_s)), *prices, *sizes, *rest)

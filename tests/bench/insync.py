"""Stock ib_insync as the client under measurement; prints its numbers as JSON.

python insync.py feed PORT SECONDS SYMBOL...      messages a second it decodes while flooded
python insync.py orders PORT COUNT SYMBOL         placeOrder -> Filled, one after the other
"""

import asyncio
import json
import logging
import sys
import time

import ib_insync
from measures import percentiles

WAIT_S = 60


async def connected(port: int) -> ib_insync.IB:
    """Return a connection that does not slow itself down."""
    ib = ib_insync.IB()
    ib.client.MaxRequests = 0
    await ib.connectAsync("127.0.0.1", port, clientId=1, timeout=WAIT_S)
    return ib


async def feed(ib: ib_insync.IB, seconds: float, symbols: list[str]) -> dict[str, float]:
    """Return the rate at which messages were decoded."""
    tickers = [ib.reqMktData(ib_insync.Stock(name, "SMART", "USD")) for name in symbols]
    while not all(ticker.hasBidAsk() for ticker in tickers):
        await ib.pendingTickersEvent
    first, began = ib.client.connectionStats().numMsgRecv, time.perf_counter()
    await asyncio.sleep(seconds)
    # The loop may have been busy for longer than it was asked to sleep.
    took = time.perf_counter() - began
    last = ib.client.connectionStats().numMsgRecv
    return {"ib_insync_ticks_per_s": (last - first) / took}


async def orders(ib: ib_insync.IB, count: int, symbol: str) -> dict[str, float]:
    """Return rate and latency of round trips."""
    stock = ib_insync.Stock(symbol, "SMART", "USD")
    await ib.qualifyContractsAsync(stock)
    waits_ms = []
    for number in range(count):
        filled = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        action = "SELL" if number % 2 else "BUY"
        trade = ib.placeOrder(stock, ib_insync.MarketOrder(action, 1, tif="DAY"))
        trade.filledEvent += filled.set_result
        await asyncio.wait_for(filled, WAIT_S)
        waits_ms.append(1000 * (time.perf_counter() - began))
    return {"orders_per_s": 1000 * count / sum(waits_ms)} | percentiles("orders", waits_ms)


async def main() -> None:
    """Measure what the arguments say."""
    # What ib_insync logs goes nowhere: writing it would be measured too.
    logging.disable()
    what, port, amount, *symbols = sys.argv[1:]
    ib = await connected(int(port))
    if what == "feed":
        numbers = await feed(ib, float(amount), symbols)
    else:
        numbers = await orders(ib, int(amount), symbols[0])
    print(json.dumps(numbers))  # noqa: T201 - its result
    ib.disconnect()


if __name__ == "__main__":
    asyncio.run(main())

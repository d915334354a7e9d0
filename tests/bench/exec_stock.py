"""A stock client that places orders, as many as it is told, in one go; prints moments as JSON.

python exec_stock.py LIBRARY PORT COUNT [kill]     LIBRARY: ib_insync or ib_async

With `kill` it asks for a global cancel a tenth of a second after the orders. Moments are ns of the
monotonic clock. Nothing is written down before it is sent.
"""

import asyncio
import importlib
import json
import logging
import sys
import time

SETTLE_S = 1.2
KILL_AFTER_S = 0.1
WAIT_S = 60


async def main() -> None:
    """Do what the arguments say."""
    logging.disable()
    library, port, count, *rest = sys.argv[1:]
    lib = importlib.import_module(library)
    ib = lib.IB()
    await ib.connectAsync("127.0.0.1", int(port), clientId=1, timeout=WAIT_S)
    # Its messages of the connection count for its own limit: let them be forgotten.
    await asyncio.sleep(SETTLE_S)
    moments = {"began_ns": time.monotonic_ns()}
    for number in range(1, int(count) + 1):
        stock = lib.Stock(f"SYN{number:03d}", "SMART", "USD")
        ib.placeOrder(stock, lib.LimitOrder("BUY", 10, 4.0, tif="DAY"))
    if rest:
        await asyncio.sleep(KILL_AFTER_S)
        moments["killed_ns"] = time.monotonic_ns()
        ib.reqGlobalCancel()
    print(json.dumps(moments), flush=True)  # noqa: T201 - its result
    end = time.monotonic() + WAIT_S
    while ib.client._msgQ and time.monotonic() < end:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.05)
    await asyncio.sleep(KILL_AFTER_S)
    ib.disconnect()


if __name__ == "__main__":
    asyncio.run(main())

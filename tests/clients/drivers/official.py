"""Drive one of the packages named `ibapi`, over JSON lines: requests in, callbacks out.

    python official.py     reads {"call": name, "args": [...]} from stdin, writes
                           {"event": callback, "args": [...]} to stdout as callbacks come,
                           and {"reply": value} or {"failed": text} after each call

Calls are methods of EClient with their own arguments; objects are written as
{"$": class name, attribute: value, ...}. `connect(host, port, clientId)` replies with the server
version. What a client left unset is null. It runs in the client's own environment.
"""

import json
import math
import sys
import threading
from decimal import Decimal
from enum import Enum

from ibapi.client import EClient
from ibapi.contract import Contract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.wrapper import EWrapper

UNSET = (2**31 - 1, 2**63 - 1, 2**127 - 1, sys.float_info.max)
CLASSES = {"Contract": Contract, "ExecutionFilter": ExecutionFilter, "Order": Order}
try:
    from ibapi.order_cancel import OrderCancel
except ImportError:  # 9.81 cancels by id alone
    pass
else:
    CLASSES["OrderCancel"] = OrderCancel

output = threading.Lock()


def write(**line):
    """Write one line; callbacks come from a thread of their own."""
    with output:
        sys.stdout.write(f"{json.dumps(line)}\n")
        sys.stdout.flush()


def plain(value):
    """Return a value as JSON has it: objects by their attributes, unset and NaN as null."""
    if isinstance(value, bool | str | None):
        return value
    if isinstance(value, Decimal):
        value = float(value) if value.is_finite() else math.nan
    if isinstance(value, int | float):
        return None if value in UNSET or not math.isfinite(value) or value > 1e37 else value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return plain(value.value)
    return {name: plain(item) for name, item in vars(value).items()}


def built(value):
    """Return an argument with its objects built; an attribute that a class lacks is an error."""
    if isinstance(value, list):
        return [built(item) for item in value]
    if not isinstance(value, dict):
        return value
    result = CLASSES[value["$"]]()
    for name, item in value.items():
        if name == "$":
            continue
        if not hasattr(result, name):
            raise AttributeError(f"{value['$']} has no {name}")
        number = isinstance(getattr(result, name), Decimal) and item is not None
        setattr(result, name, Decimal(str(item)) if number else item)
    return result


def reporter(name):
    """Return a callback that reports its arguments."""

    def report(self, *args, **kwargs):
        write(event=name, args=[plain(item) for item in (*args, *kwargs.values())])

    return report


CALLBACKS = [
    name
    for name, item in vars(EWrapper).items()
    if callable(item) and not name.startswith("_") and name != "logAnswer"
]
Wrapper = type("Wrapper", (EWrapper,), {name: reporter(name) for name in CALLBACKS})


def served(client):
    """Run the client's message loop, and say so if it dies."""
    try:
        client.run()
    except Exception as error:  # noqa: BLE001 - whatever kills the loop is what we are here to see
        write(event="died", args=[repr(error)])


def connected(host, port, client_id):
    """Return a new connection."""
    client = EClient(Wrapper())
    client.connect(host, port, client_id)
    threading.Thread(target=served, args=(client,), daemon=True).start()
    return client


def main():
    """Do one call a line until the input ends."""
    client = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            args = [built(item) for item in request["args"]]
            if request["call"] == "connect":
                client = connected(*args)
                reply = client.serverVersion()
            else:
                reply = getattr(client, request["call"])(*args)
        except Exception as error:  # noqa: BLE001 - the test decides what a failed call means
            write(failed=repr(error))
        else:
            write(reply=plain(reply))


main()

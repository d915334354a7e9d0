"""Turn target weights into audited fills at Interactive Brokers.

The way of the data, and so the reading order:

    targets file -> rebalance (gates, snapshot, queued run) -> executor (build, check,
    journal, send, record) -> reconciliation -> guard

``core`` decides, ``adapters`` touch the world, ``daemons`` are thin loops over both,
``cli`` talks to people, ``sim`` is an IB Gateway of its own.
"""

__version__ = "0.1.0"

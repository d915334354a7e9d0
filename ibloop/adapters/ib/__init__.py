"""Interactive Brokers through the TWS API: the only package that knows ib_insync.

    lib        what is used of ib_insync, and its one import
    errors     why not
    handshake  let in, refused or unreachable
    session    one proven connection                 (IbSession)
    queries    questions under way
    convert    IB's values to ours      outgoing  our orders to IB's
    evidence   one pass over everything the broker knows
    broker     the connection that sends orders      (IbBroker)
    account    figures and positions, and the guard's connection (IbAccountWatch)
    ticks      one line of market data  fast    ticks past the library's decoder
    fallback   single prices: snapshots, history
    market     the stream's connection               (IbMarketData)

``docs/explanation/ib-adapter.md`` tells why it is shaped like this.
"""

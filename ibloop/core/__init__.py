"""Every decision ibloop makes, as plain functions over frozen values.

Standard library only; no clock, no I/O, no logging, no randomness: ``now`` is an argument.
Read it in the order of the data:

    model      the nouns
    sessions   when the market is open, which period a moment belongs to, when a run must end
    quotes     is this price usable
    snapshot   the frozen decision: targets and their hash
    gates      may a run start at all
    orders     targets minus positions gives intents
    risk       limits on intents, on the plan and on each send
    lifecycle  how orders and runs move
    recovery   what happened to an order, by the broker's evidence
    guard      may the account go on
    promises   what must be true of ledger and broker at the end
"""

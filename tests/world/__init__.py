"""The simulated world: the production core, ledger and daemons against a broker that misbehaves.

No asyncio, no sockets, a virtual clock, and one seed that decides everything: which faults there
are, how bad each is, when the executor is killed, what people do. Chaos first, then everything
heals, and what was promised must be so. A failing seed is replayed by
``python -m tests.world SEED``.
"""

"""The simulated world: the production core, ledger and daemons against a broker that misbehaves.

No asyncio, no sockets, a virtual clock, and one seed that decides everything: which faults there
are, how bad each is, when the executor is killed, what people do. Chaos first, then everything
heals, and what was promised must be so. A failing seed is replayed by
``make world SEEDS=1 FIRST=SEED``.

Of the faults of the reference's list two have no place here: Telegram (F26) and everything else
about delivery, for the executor only writes alert rows and nothing of it waits for them; and what
is of files and processes (F2, F3, F8 by SIGSTOP, F20 to F24), which tests of their own are for.
"""

"""The ledger: one SQLite file per account, and the only memory of what was decided and sent.

``connection`` opens it and gives transactions; every other module is one noun with plain
functions. Writers take a ``Tx`` first, which only ``Ledger.transaction()`` can give, and append
their row to ``audit_log`` in the same transaction; readers take a ``Connection``.

    values       times, decimals and JSON as text, and back
    gate         the queue of writers
    schema       the SQL, in migrations
    migrations   applies them
    connection   opening, pragmas, transactions
    identity     whose ledger it is, and the executor's epoch
    audit        the hash chain
    snapshots    frozen decisions and the gates they passed
    runs         trade runs
    plan         what each run wanted, symbol by symbol (found in runs, too)
    orders       the life of each order; order_rows answers questions about them
    fills        executions, each exactly once
    account      the broker's positions, values and contracts
    arming approvals  permissions to trade live, and tickets of single runs
    halts commands guard_state alerts
    check        what must be true of the whole
"""

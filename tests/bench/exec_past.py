"""A ledger with a long past: runs of a hundred filled orders each."""

# ruff: noqa: S608 - statements of constants

from pathlib import Path

from exec_house import ACCOUNT

from ibloop.adapters.ledger.connection import open_ledger
from ibloop.core.model import Mode

RUN = 100
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)"
_AT = "strftime('%Y-%m-%dT%H:%M:%fZ', '2020-01-01', '+' || {} || ' seconds')"
_RUN, _LATER = _AT.format("(i / 100 * 100)"), _AT.format("(i / 100 * 100 + 99)")
_HASH = "lower(hex(randomblob(32)))"
_REF = "'ibl:P' || (i / 100) || ':' || printf('SYN%03d', i % 100 + 1) || ':B:0'"
_NAME = "'past-' || (i / 100)"

_STATEMENTS = (
    f"""{_NUMBERS} INSERT INTO trade_runs (run_id, run_key, mode, account, status, detail,
        config_hash, build, attempt, created_at, updated_at, deadline_at, equity_usd, cash_usd,
        baseline_at)
    SELECT {_NAME}, 'P' || (i / 100), 'paper', '{ACCOUNT}', 'done', '', 'bench', 'bench', 0,
        {_RUN}, {_LATER}, {_LATER}, '100000', '100000', {_LATER} FROM n WHERE i % 100 = 0""",
    f"""{_NUMBERS} INSERT INTO baselines (run_id, attempt, taken_at)
    SELECT {_NAME}, 0, {_LATER} FROM n WHERE i % 100 = 0""",
    f"""{_NUMBERS} INSERT INTO plan_lines (run_id, attempt, symbol, con_id, baseline_quantity,
        planned_quantity, note)
    SELECT {_NAME}, 0, printf('SYN%03d', i % 100 + 1), i % 100 + 1, '0', '10', '' FROM n""",
    f"""{_NUMBERS} INSERT INTO trade_orders (client_order_id, run_id, attempt, sequence, symbol,
        con_id, side, quantity, order_type, limit_price, tif, good_till, status, filled_quantity,
        avg_fill_price, ib_order_id, perm_id, arrival_price, created_at, sent_at, updated_at)
    SELECT {_REF}, {_NAME}, 0, i % 100, printf('SYN%03d', i % 100 + 1), i % 100 + 1, 'BUY', '10',
        'LMT', '20', 'GTD', {_LATER}, 'filled', '10', '20', i + 1, i + 1, '20', {_RUN}, {_RUN},
        {_RUN} FROM n""",
    f"""{_NUMBERS} INSERT INTO trade_fills (exec_base, exec_id, client_order_id, order_ref,
        symbol, con_id, side, quantity, price, commission, account, executed_at, recorded_at,
        order_was_sent)
    SELECT 'past.' || i, 'past.' || i || '.01', {_REF}, {_REF}, printf('SYN%03d', i % 100 + 1),
        i % 100 + 1, 'BUY', '10', '20', '1', '{ACCOUNT}', {_RUN}, {_RUN}, 1 FROM n""",
    *(
        f"""{_NUMBERS} INSERT INTO audit_log (at, actor, event, subject, payload, prev_hash, hash)
    SELECT {_RUN}, 'bench', '{event}', {_REF}, '{{"from":"planned","to":"sending"}}', {_HASH},
        {_HASH} FROM n"""
        for event in ("order.created", "order.journalled", "order.moved", "order.filled")
    ),
    f"""{_NUMBERS} INSERT INTO audit_log (at, actor, event, subject, payload, prev_hash, hash)
    SELECT {_LATER}, 'bench', 'run.basis_set', {_NAME}, '{{}}', {_HASH}, {_HASH}
        FROM n WHERE i % 100 = 0""",
)


def write_past(path: Path, count: int) -> None:
    """Make a ledger that has sent ``count`` orders in earlier years, all of them filled.

    The rows are those of real runs in number and size; the hashes of its audit log are not.
    """
    ledger = open_ledger(path, mode=Mode.PAPER, account=ACCOUNT)
    ledger.db.execute("PRAGMA synchronous = OFF")
    ledger.db.execute("PRAGMA cache_size = -500000")
    with ledger.transaction() as tx:
        for statement in _STATEMENTS if count else ():
            tx.execute(statement, {"count": count})
    ledger.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()

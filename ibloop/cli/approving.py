"""``ibloop run approve``: look at what a run may send, then name it by its hash."""

from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import Context, emit, json_option, operator, pass_context
from ibloop.cli.terminal import facts, table, usd
from ibloop.core.approval import HASH_DIGITS_MIN
from ibloop.errors import RefusedError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.approvals import Approval
    from ibloop.adapters.ledger.connection import Connection, Tx
    from ibloop.adapters.ledger.runs import Run

COLUMNS = ("SYMBOL", "SIDE", "AT MOST", "PRICE", "NOT OUTSIDE", "VALUE USD")


class TicketHash(click.ParamType[str]):
    """The hash of a ticket, or enough of its first digits."""

    name = "hash"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the digits in lower case, or fail as click does."""
        digits = value.strip().lower()
        is_hex = all(digit in "0123456789abcdef" for digit in digits)
        if not is_hex or not HASH_DIGITS_MIN <= len(digits) <= 64:
            self.fail(f"expected {HASH_DIGITS_MIN} to 64 hex digits, was {value!r}", param, ctx)
        return digits


@click.command()
@click.argument("name", metavar="RUN")
@click.option("--hash", "digits", type=TicketHash(), help="Approve the ticket with this hash.")
@json_option
@pass_context
def approve(context: Context, name: str, digits: str | None, as_json: bool) -> None:
    """Show what a waiting run may send; with its hash, let it send that.

    The hash fixes symbol, side, largest quantity and the range of the price. The limit price is
    set from a fresh quote when the order leaves, inside that range.

    \b
    Example:
      ibloop run approve 2026W47
      ibloop run approve 2026W47 --hash 3f9a1c0b7d24
    """
    from ibloop.adapters.streamfiles import wake
    from ibloop.cli.lookup import run_named

    if digits is None:
        with closing(context.open_readonly()) as db:
            found = run_named(db, name)
            approval = _waiting(db, found)
        _show(context, found, approval, as_json)
        return
    by = operator()
    with closing(context.open_ledger()) as ledger, ledger.transaction() as tx:
        found = run_named(tx.db, name)
        approval = _waiting(tx.db, found)
        was = approval.approved_by
        if not approval.ticket_hash.startswith(digits):
            raise RefusedError(
                f"what run {found.run_key} may send has another hash: look at it anew with "
                f"`ibloop run approve {found.run_key}`; nothing is approved"
            )
        if was is None:
            _approve(tx, found, approval, by)
    wake(context.profile.stream_dir)
    said = f"approved by {by}" if was is None else f"was approved by {was} already"
    context.tell(f"run {found.run_key} {said}; `ibloop run show {found.run_key}`")


def _approve(tx: "Tx", found: "Run", approval: "Approval", by: str) -> None:
    from ibloop.adapters.host import SystemClock
    from ibloop.adapters.ledger import approvals
    from ibloop.core.invariant import invariant

    if approval.term.is_over(SystemClock().now()):
        raise RefusedError(
            f"the time to approve run {found.run_key} has run out: "
            f"`ibloop run retry {found.run_key}` plans it anew"
        )
    now = datetime.now(UTC)
    done = approvals.approve(tx, found.run_id, found.attempt, approval.ticket_hash, by, now)
    invariant(done, f"the ticket of {found.run_id} was there in this transaction")


def _waiting(db: "Connection", found: "Run") -> "Approval":
    """Return the ticket of a run that waits. Raises: RefusedError when it does not."""
    from ibloop.adapters.ledger import approvals
    from ibloop.core.lifecycle import RunState

    approval = approvals.find(db, found.run_id, found.attempt)
    if approval is None or found.status is not RunState.AWAITING_APPROVAL:
        raise RefusedError(f"run {found.run_key} is {found.status}: it waits for no approval")
    return approval


def _show(context: Context, found: "Run", approval: "Approval", as_json: bool) -> None:
    data = approval_data(approval)
    emit("approval", data, as_json, lambda: approval_page(approval))
    command = f"`ibloop run approve {found.run_key} --hash {approval.ticket_hash[:16]}`"
    told = context.complete(command).strip("`")
    click.echo(f"nothing is approved yet; to approve exactly this:\n  {told}", err=True)


def approval_data(approval: "Approval") -> dict[str, object]:
    """Return a ticket and its fate as plain data."""
    return {
        "ticket": approval.ticket.content(),
        "hash": approval.ticket_hash,
        "notional_usd_max": approval.ticket.notional_usd_max,
        "requested_at": approval.requested_at,
        "expires_at": approval.term.expires.utc,
        "approved_at": approval.approved_at,
        "approved_by": approval.approved_by,
    }


def _range(price: Decimal, collar: Decimal) -> str:
    return f"{price * (1 - collar):.2f} to {price * (1 + collar):.2f}"


def approval_page(approval: "Approval") -> str:
    """Return a ticket as people read it."""
    ticket, collar = approval.ticket, approval.ticket.collar_fraction
    rows = [
        (
            line.symbol,
            line.side,
            line.quantity_max,
            line.reference_price,
            _range(line.reference_price, collar),
            f"{line.quantity_max * line.reference_price:.2f}",
        )
        for line in ticket.lines
    ]
    fate = f"approved by {approval.approved_by}" if approval.approved_by else "waits for approval"
    head = [
        ("run", f"{ticket.run_key}, attempt {ticket.attempt}, {ticket.mode} {ticket.account}"),
        ("ticket", f"{fate}; runs out {approval.term.expires.utc:%F %T} UTC"),
        ("hash", approval.ticket_hash),
        ("at most", usd(ticket.notional_usd_max)),
    ]
    return f"{facts(head)}\n\n{table(COLUMNS, rows, 'May send')}"

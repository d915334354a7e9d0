"""The rails around every send: whose account, whose permission, who watches, and when.

Asked inside the transaction that journals the send, so that nothing can come between an answer
and the bytes it lets leave. What is read here is the ledger, the guard's heartbeat and the clock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from ibloop.adapters.ledger import approvals, arming, identity
from ibloop.adapters.ledger.connection import Connection, Tx
from ibloop.adapters.ledger.runs import Run
from ibloop.config import Config
from ibloop.core.approval import ARMED_NOTIONAL, Ticket, check_ticket
from ibloop.core.arming import Arming, why_unarmed
from ibloop.core.gates import DEGRADED, Pulse, guard_silence, other_build
from ibloop.core.model import Mode, Moment, Order
from ibloop.core.risk import Verdict, reduces
from ibloop.core.windows import quiet_at

GUARD_DEGRADED = "the guard is degraded: see `ibloop guard status`"
SKEW_S_MAX = 2.0
"""A clock that is further from IB's cannot say when an order has to die (F16)."""


@dataclass(slots=True, kw_only=True)
class Permit:
    """What the rails allow inside one transaction.

    ``hindrance`` keeps everything back, ``only_reducing`` what would raise exposure; both are
    reasons to wait. ``ticket`` and ``arming`` bound each order, where there are any.
    """

    hindrance: str | None = None
    only_reducing: str | None = None
    ticket: Ticket | None = None
    arming: Arming | None = None
    left_usd: Decimal | None = None

    def hinders(self, order: Order, held: Decimal) -> str | None:
        """Return why this order has to wait, with so many shares of its symbol held."""
        return None if reduces(order.side, order.quantity, held) else self.only_reducing

    def refuses(self, order: Order, limit_price: Decimal) -> Verdict | None:
        """Return why this order must not leave at this price, whatever else would let it."""
        value = order.quantity * limit_price
        if self.left_usd is not None and value > self.left_usd:
            return Verdict(ARMED_NOTIONAL, value, self.left_usd, passed=False)
        return None if self.ticket is None else check_ticket(self.ticket, order, limit_price)

    def sent(self, tx: Tx, order: Order, middle: Decimal, now: Moment, actor: str) -> None:
        """Count an order that this transaction has journalled at this middle of the quote."""
        if self.arming is None or self.left_usd is None:
            return
        if order.run_id not in self.arming.runs:
            arming.use(tx, self.arming, order.run_id, now.utc, actor)
            self.arming = arming.current(tx.db)
        self.left_usd -= order.quantity * (order.limit_price or middle)


class SendRails:
    """Gives the permit of one sending transaction.

    ``guard`` reads the guard's heartbeat, ``clock_skew_s`` tells how far our clock is from the
    broker's (``None``: not known), ``connection`` why the one in use does not belong to this mode
    and account (``None``: it does). ``universe_hash`` is of the universe that orders are made of,
    ``build`` is the code that this process runs.
    """

    def __init__(
        self,
        config: Config,
        *,
        guard: Callable[[], Pulse | None],
        clock_skew_s: Callable[[], float | None],
        connection: Callable[[], str | None],
        universe_hash: str,
        build: str,
    ) -> None:
        """Keep the ports."""
        self._config = config
        self._quiet = config.quiet
        self._guard = guard
        self._clock_skew_s = clock_skew_s
        self._connection = connection
        self._universe_hash = universe_hash
        self._build = build

    def why_unarmed(self, db: Connection, run: Run, now: Moment) -> str | None:
        """Return why nothing of a run may be sent live; ``None`` in paper, or when it may."""
        if self._config.mode is Mode.PAPER:
            return None
        return self._why_unarmed(arming.current(db), run, now)

    def permit(self, db: Connection, run: Run, now: Moment) -> Permit:
        """Return what may leave of this run at this moment."""
        config = self._config
        guard = self._guard()
        hindrance = (
            self._foreign(db, run)
            or self._connection()
            or self._unguarded(guard, now)
            or self._skewed()
            or self._quiet_now(now)
        )
        given = arming.current(db) if config.mode is Mode.LIVE else None
        if hindrance is None and config.mode is Mode.LIVE:
            hindrance = self._why_unarmed(given, run, now)
        approval = approvals.find(db, run.run_id, run.attempt)
        approved = approval is not None and approval.approved_at is not None
        if hindrance is None and not approved and (config.needs_approval or approval is not None):
            hindrance = "nobody has approved it"
        is_degraded = guard is not None and guard.status == DEGRADED
        return Permit(
            hindrance=hindrance,
            only_reducing="the guard is degraded: see `ibloop guard status`"
            if is_degraded
            else None,
            ticket=approval.ticket if approval else None,
            arming=given,
            left_usd=given.left_usd if given else None,
        )

    def _why_unarmed(self, given: Arming | None, run: Run, now: Moment) -> str | None:
        config = self._config
        return why_unarmed(
            given,
            now,
            account=config.account,
            config_hash=config.config_hash,
            universe_hash=self._universe_hash,
            build=self._build,
            run_id=run.run_id,
        )

    def _foreign(self, db: Connection, run: Run) -> str | None:
        """Return whose run or ledger this is, if it is not this profile's (promise P9)."""
        ours = (self._config.mode, self._config.account)
        owner = identity.owner(db)
        if owner != ours:
            return f"the ledger belongs to {owner[1]} ({owner[0]})"
        if (run.mode, run.account) != ours:
            return f"the run belongs to {run.account} ({run.mode})"
        return None

    def _unguarded(self, guard: Pulse | None, now: Moment) -> str | None:
        problem = guard_silence(guard, now, self._config.guard.heartbeat_age_s_max)
        if problem is not None:
            return f"guard: {problem}"
        return other_build({"guard": guard}, self._build)

    def _skewed(self) -> str | None:
        skew_s = self._clock_skew_s()
        if skew_s is None:
            return "the broker's clock is not known"
        if abs(skew_s) <= SKEW_S_MAX:
            return None
        side = "ahead of" if skew_s > 0 else "behind"
        return f"our clock is {abs(skew_s):.0f} s {side} the broker's: set the clock (NTP)"

    def _quiet_now(self, now: Moment) -> str | None:
        quiet = quiet_at(self._quiet, now.utc)
        return f"{quiet.name} until {quiet.closes:%H:%M} UTC" if quiet else None

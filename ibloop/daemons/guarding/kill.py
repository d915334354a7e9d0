"""Under a kill the guard cancels at the broker what the executor has not cancelled in time."""

from ibloop import log
from ibloop.adapters.ledger import alerts, orders
from ibloop.adapters.ledger.connection import Ledger
from ibloop.adapters.ports import Clock, NotSentError
from ibloop.config import Profile
from ibloop.core.guard import kill_must_escalate
from ibloop.core.lifecycle import ORDER_AT_BROKER
from ibloop.core.model import HaltLevel, Moment
from ibloop.daemons.guarding.look import Watch
from ibloop.daemons.halting import latch_halt_file, severest_halt
from ibloop.daemons.unwritable import unwritable

ACTOR = "guard"
LOOK_S = 1.0
AGAIN_DOUBLINGS_MAX = 6
"""A global cancel is repeated after 10, 20, 40 s and so on, at last every 640 s; after 10 s where
an order works that did not when it was sent."""

_log = log.get(__name__)


class KillSwitch:
    """Looks at the halts each second, whatever else the guard is doing."""

    def __init__(self, profile: Profile, ledger: Ledger, watch: Watch, clock: Clock) -> None:
        """Take the ports."""
        self._profile = profile
        self._ledger = ledger
        self._watch = watch
        self._clock = clock
        self._looked: Moment | None = None
        self._kill_seen: Moment | None = None
        self._canceled: Moment | None = None
        self._cancels = 0
        self._known = frozenset[str | int]()
        self._count = 0
        self._connected = False

    def step(self) -> None:
        """Latch a HALT file, and cancel everything when a kill has not been carried out."""
        now = self._clock.now()
        if self._looked is not None and now.age_s(self._looked) < LOOK_S:
            return
        self._looked = now
        self._carry_out(now)
        # Afterwards: writing may wait for the ledger, and the file counts without being written.
        self._latch()

    def _carry_out(self, now: Moment) -> None:
        level, _ = severest_halt(self._ledger.db, self._profile.data_dir)
        if level is not HaltLevel.KILL:
            self._kill_seen = None
            self._start_over()
            return
        self._kill_seen = self._kill_seen or now
        self._note_connection()
        working, names = self._working()
        last_s = None if self._canceled is None else now.age_s(self._canceled)
        if last_s is not None:
            # Each time twice as long: an order nobody can account for must not cancel what a
            # person does by hand every ten seconds, for as long as the kill stands.
            # Another order is another matter: it has not been cancelled even once.
            if names - self._known or working > self._count:
                self._cancels = 1
            last_s /= 2 ** min(self._cancels - 1, AGAIN_DOUBLINGS_MAX)
        due = kill_must_escalate(now.age_s(self._kill_seen), working, last_s)
        if due and self._profile.config.guard.global_cancel:
            self._cancel(working, now)
            self._known |= names
            self._count = working

    def _note_connection(self) -> None:
        """A cancel written to a gateway that is gone proves nothing: the next one is told anew."""
        was_connected, self._connected = self._connected, self._watch.is_connected()
        if self._connected and not was_connected:
            self._start_over()

    def _start_over(self) -> None:
        self._canceled = None
        self._cancels = 0
        self._known, self._count = frozenset(), 0

    def _working(self) -> tuple[int, frozenset[str | int]]:
        """Return how many orders may work, and which: by the ledger's names and the broker's.

        Of the two numbers the larger: the ledger may be a restored one, and the broker may not
        have answered.
        """
        self._watch.ask_open_orders()
        rows = orders.in_states(self._ledger.db, ORDER_AT_BROKER)
        names = frozenset[str | int](row.order.client_order_id for row in rows)
        count = max(len(rows), self._watch.open_orders() or 0)
        return count, names | self._watch.open_perm_ids()

    def _latch(self) -> None:
        with unwritable("guard.latch"):
            latch_halt_file(self._ledger, self._profile.data_dir, self._clock, ACTOR)

    def _cancel(self, working: int, now: Moment) -> None:
        """Cancel first and write afterwards: a ledger that is locked must not keep orders alive."""
        try:
            self._watch.global_cancel()
        except NotSentError as error:
            _log.error("guard.cancel_failed", error=str(error))
            return
        self._canceled = now
        self._cancels += 1
        text = f"global cancel: {working} orders still worked under a kill (manual orders went too)"
        with unwritable("guard.global_cancel"), self._ledger.transaction() as tx:
            alerts.raise_alert(
                tx, "critical", "guard.global_cancel", "", text, None, now.utc, ACTOR
            )

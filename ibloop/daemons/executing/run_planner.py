"""Planning a claimed run: the broker's truth and fresh quotes in, written orders out."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from ibloop.adapters.ledger import acceptances, fills, orders, risk, runs, snapshots
from ibloop.adapters.ledger.connection import Connection, Tx
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ports import Quotes
from ibloop.config import Config
from ibloop.core.invariant import present
from ibloop.core.model import ZERO, Evidence, Instrument, Moment, Order, Quote, Side
from ibloop.core.orders import Plan, PlanRules, Price, build_plan, wave
from ibloop.core.planning import Bar, OrderTerms, Planned, planned_orders
from ibloop.core.quote_wait import is_hopeless, may_come
from ibloop.core.quotes import mid
from ibloop.core.risk import Moment as RiskMoment
from ibloop.core.risk import Verdict, breaches, check_plan
from ibloop.core.sessions import day_start
from ibloop.core.snapshot import Omitted, client_order_id, snapshot_targets
from ibloop.daemons.executing.margin_desk import Draft
from ibloop.daemons.pricing import quote_problem


class RunPlanner:
    """Makes plans for runs: reads the snapshot, the evidence and the quotes, writes the rows."""

    def __init__(
        self, config: Config, db: Connection, quotes: Quotes, instruments: Mapping[str, Instrument]
    ) -> None:
        """Keep the ports."""
        self._config = config
        self._db = db
        self._quotes = quotes
        self._instruments = instruments
        self._held: tuple[tuple[str, int], dict[str, Decimal]] | None = None

    def plan(self, snapshot: Mapping[str, object], evidence: Evidence, now: Moment) -> Plan:
        """Return the plan for a snapshot's content against the broker's positions and cash."""
        weights = {t.symbol: t.weight for t in snapshot_targets(snapshot)}
        positions = {p.symbol: p.quantity for p in evidence.positions}
        symbols = sorted({*weights, *positions})
        quotes = self._quotes.read(symbols)
        held_as = {p.symbol: p.con_id for p in evidence.positions}
        limits = self._config.limits
        return build_plan(
            weights,
            positions,
            self._instruments,
            {
                symbol: self._price(symbol, held_as.get(symbol), quotes.get(symbol), now)
                for symbol in symbols
            },
            equity_usd=evidence.account_values.net_liquidation,
            cash_usd=evidence.account_values.total_cash,
            settled_cash_usd=self._settled_cash_usd(evidence),
            rules=PlanRules(
                omitted=Omitted(str(snapshot["omitted"])),
                order_value_usd_min=self._config.execution.order_value_usd_min,
                cash_weight_min=limits.cash_weight_min,
                price_collar_fraction=limits.price_collar_fraction,
            ),
        )

    def awaited(
        self,
        snapshot: Mapping[str, object],
        evidence: Evidence,
        now: Moment,
        untraded: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Return the symbols without a usable price that time may still bring one, sorted.

        Of what is wanted or held and may be traded, but for ``untraded``.
        """
        wanted = {t.symbol for t in snapshot_targets(snapshot) if t.weight}
        held_as = {p.symbol: p.con_id for p in evidence.positions if p.quantity}
        con_ids = {
            symbol: self._instruments[symbol].con_id
            for symbol in (wanted | held_as.keys()) - set(untraded)
            if symbol in self._instruments
        }
        symbols = sorted(s for s, con_id in con_ids.items() if held_as.get(s, con_id) == con_id)
        quotes, limits = self._quotes.read(symbols), self._config.quotes
        missing = (s for s in symbols if may_come(quotes.get(s), con_ids[s], now, limits))
        return tuple(s for s in missing if not is_hopeless(self._quotes.explain(s)))

    def _price(self, symbol: str, held_as: int | None, quote: Quote | None, now: Moment) -> Price:
        """Return the price, or why the symbol cannot be traded: three sources must mean it."""
        instrument = self._instruments.get(symbol)
        if instrument is not None and held_as not in {None, instrument.con_id}:
            return Price(None, f"held as contract {held_as}, the universe has {instrument.con_id}")
        if quote is not None and instrument is not None and quote.con_id != instrument.con_id:
            found = f"the quote is of contract {quote.con_id}, not {instrument.con_id}"
            return Price(None, found, quote.source.value)
        return Price(
            mid(quote) if quote else None,
            quote_problem(self._quotes, symbol, quote, now, self._config.quotes),
            quote.source.value if quote else None,
        )

    def _settled_cash_usd(self, evidence: Evidence) -> Decimal | None:
        """Return what buys must be paid from where only settled cash may; no cash if unknown."""
        if not self._config.limits.settled_cash_only:
            return None
        settled = evidence.account_values.settled_cash
        return ZERO if settled is None else settled

    def verdicts(self, plan: Plan, evidence: Evidence, now: Moment) -> tuple[Verdict, ...]:
        """Return what every check says of the plan as a whole; a breach keeps it from starting."""
        since = day_start(now.utc, self._config.session.timezone)
        today = orders.sent_today(self._db, since)
        return check_plan(
            plan,
            self._instruments,
            self._config.limits,
            traded_today_usd=today.notional,
            orders_today=today.count,
            settled_cash_usd=evidence.account_values.settled_cash,
        )

    def record(
        self,
        tx: Tx,
        run: Run,
        evidence: Evidence,
        plan: Plan,
        verdicts: Sequence[Verdict],
        now: datetime,
    ) -> None:
        """Write down what the checks of a plan said, under which limits and figures."""
        values = evidence.account_values
        risk.store_basis(
            tx,
            risk.RiskBasis(
                run_id=run.run_id,
                attempt=run.attempt,
                at=now,
                limits=self._config.limits_in_force,
                settled_cash_usd=values.settled_cash,
                day_trades_left=values.day_trades_left,
                unvalued_usd=plan.unvalued_usd,
            ),
        )
        self._record(tx, run, RiskMoment.PLAN, None, verdicts, now)

    def _record(
        self,
        tx: Tx,
        run: Run,
        moment: RiskMoment,
        ref: str | None,
        verdicts: Sequence[Verdict],
        now: datetime,
    ) -> None:
        row = risk.VerdictRow(
            run_id=run.run_id,
            attempt=run.attempt,
            moment=moment,
            client_order_id=ref,
            at=now,
            passed=not breaches(verdicts),
            verdicts=tuple(verdicts),
        )
        risk.store_verdicts(tx, row)

    def spent_references(self, run: Run, plan: Plan) -> tuple[str, ...]:
        """Return references of this attempt that orders unknown to the ledger carry already."""
        known = acceptances.references(self._db) | set(fills.unsent_refs(self._db))
        refs = (
            client_order_id(run.run_key, line.symbol, side, run.attempt)
            for line in plan.lines
            for side in Side
        )
        return tuple(sorted(known.intersection(refs)))

    def orders(
        self, run: Run, plan: Plan, orders_end: datetime, barred: Mapping[str, Bar]
    ) -> tuple[Planned, ...]:
        """Return the orders of a plan, those refused already last; nothing is written.

        Args: when the orders die; symbols that are not to be traded, and why.
        """
        terms = OrderTerms(
            run_id=run.run_id,
            run_key=run.run_key,
            attempt=run.attempt,
            order_type=self._config.execution.order_type,
            tif=self._config.execution.tif,
            good_till=orders_end,
            algo=self._config.order_algo,
        )
        return planned_orders(plan, self._instruments, self._config.limits, terms, barred)

    def write(self, tx: Tx, run: Run, draft: Draft, now: datetime, actor: str) -> int:
        """Write basis, lines and orders of the run's attempt; return how many may be sent."""
        values, planned = draft.sync.evidence.account_values, draft.planned
        runs.set_basis(
            tx,
            run.run_id,
            baseline_at=draft.sync.stored_at,
            deadline_at=draft.deadline,
            equity_usd=values.net_liquidation,
            cash_usd=values.total_cash,
            now=now,
            actor=actor,
        )
        runs.set_plan_lines(tx, run.run_id, run.attempt, draft.plan.lines, now, actor)
        rows = [
            OrderRow(
                order=order,
                attempt=run.attempt,
                sequence=sequence,
                arrival_price=None,
                quote_seq=None,
                quote_source=None,
                quote_at=None,
                created_at=now,
                updated_at=now,
            )
            for sequence, order in enumerate(one.order for one in planned)
        ]
        orders.insert(tx, rows, actor)
        for one in planned:
            self._record_order(tx, run, one, now)
        return sum(1 for one in planned if one.order.reject_source is None)

    def _record_order(self, tx: Tx, run: Run, one: Planned, now: datetime) -> None:
        if one.verdicts:
            ref = one.order.client_order_id
            self._record(tx, run, RiskMoment.ORDER, ref, one.verdicts, now)

    def wave(self, run: Run, order: Order) -> int:
        """Return when an order of the run's written plan leaves, by what was held before it."""
        key = (run.run_id, run.attempt)
        if self._held is None or self._held[0] != key:
            lines = runs.plan_lines(self._db, *key)
            self._held = key, {line.symbol: line.baseline_quantity for line in lines}
        return wave(order.side, self._held[1].get(order.symbol, ZERO))

    def snapshot_of(self, run: Run) -> Mapping[str, object]:
        """Return the content of the snapshot a queued run carries."""
        stored = snapshots.find(self._db, present(run.snapshot_id, "snapshot"))
        return snapshots.content_of(present(stored, f"snapshot {run.snapshot_id}"))

"""``/metrics``: the loop in Prometheus' text format, read at the moment of the scrape.

What is not known has no sample: an alert on absence is honest, a zero is not.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ibloop import __version__
from ibloop.adapters.host import build_id
from ibloop.core.lifecycle import OrderState, RunState
from ibloop.core.model import HaltLevel
from ibloop.daemons.overview import Overview
from ibloop.daemons.overview_ledger import LedgerView


def render(found: Overview) -> bytes:
    """Return the text for one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Samples(found))
    return generate_latest(registry)


class _Samples(Collector):
    """All samples of one overview."""

    def __init__(self, found: Overview) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        found = self._found
        build = {(__version__, build_id()): 1}
        yield _labelled(
            "ibloop_build_info", "The code that answers.", build.items(), ("version", "build")
        )
        profile = {(found.profile, found.mode, found.account): 1}
        labels = ("profile", "mode", "account")
        yield _labelled("ibloop_profile_info", "Whose loop this is.", profile.items(), labels)
        yield from _daemons(found)
        yield _gauge("ibloop_healthy", "1 when nothing needs a person.", found.healthy)
        standing = {halt.level for halt in found.halts}
        levels = {(level.value,): level in standing for level in HaltLevel}
        yield _labelled("ibloop_halt", "1 for each level that stands.", levels.items(), ("level",))
        yield _gauge("ibloop_market_open", "1 while orders can be filled.", found.market.is_open)
        yield from _quotes(found)
        yield _gauge("ibloop_ledger_readable", "1 when the ledger can be read.", bool(found.ledger))
        if found.ledger is not None:
            yield from _ledger(found.ledger)


def _daemons(found: Overview) -> Iterator[Metric]:
    up = {(line.name,): line.problem is None for line in found.daemons}
    ages = {(line.name,): line.age_s for line in found.daemons if line.age_s is not None}
    yield _labelled("ibloop_up", "1 when a daemon is well.", up.items(), ("daemon",))
    yield _labelled(
        "ibloop_heartbeat_age_seconds", "Age of the heartbeat.", ages.items(), ("daemon",)
    )


def _quotes(found: Overview) -> Iterator[Metric]:
    subscribed = [line for line in found.quotes if line.subscribed]
    unusable = sum(1 for line in subscribed if line.problem)
    count = len(found.stream.subscribed)
    yield _gauge("ibloop_quotes_subscribed", "Symbols the stream is subscribed to.", count)
    yield _gauge("ibloop_quotes_unusable", "Of those, quotes that may price no order.", unusable)
    if subscribed:
        oldest = max(line.age_s for line in subscribed)
        yield _gauge("ibloop_quote_age_max_seconds", "Age of the oldest subscribed quote.", oldest)


def _ledger(ledger: LedgerView) -> Iterator[Metric]:
    if ledger.equity is not None:
        yield _gauge("ibloop_equity_usd", "What the account is worth.", ledger.equity.equity)
    if ledger.cash is not None:
        yield _gauge("ibloop_cash_usd", "The broker's figure for cash.", ledger.cash)
    guard = ledger.guard
    if guard is not None and guard.day_loss is not None:
        text = "Loss since the day's start as a fraction of 1; a gain is negative."
        yield _gauge("ibloop_day_loss_ratio", text, guard.day_loss)
    if guard is not None and guard.drawdown is not None:
        text = "Loss from the highest point as a fraction of 1."
        yield _gauge("ibloop_drawdown_ratio", text, guard.drawdown)
    tally = ledger.tally
    runs = {(state.value,): tally.runs.get(state, 0) for state in RunState}
    yield _labelled("ibloop_runs", "Runs by their present status.", runs.items(), ("status",))
    orders = {(state.value,): tally.orders.get(state, 0) for state in OrderState}
    yield _labelled("ibloop_orders", "Orders by their present status.", orders.items(), ("status",))
    yield CounterMetricFamily("ibloop_fills", "Executions in the ledger.", value=tally.fills)
    yield _gauge("ibloop_alerts_undelivered", "Alerts that wait for delivery.", ledger.undelivered)
    frozen = {row.symbol for row in ledger.frozen}
    yield _gauge("ibloop_frozen", "Symbols that are frozen; * is the account.", len(frozen))
    held = sum(1 for position in ledger.positions if position.quantity)
    yield _gauge("ibloop_positions", "Symbols held, by the broker.", held)


def _gauge(name: str, text: str, value: float | Decimal) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _labelled(
    name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]], labels: tuple[str, ...]
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values:
        family.add_metric(key, float(value))
    return family

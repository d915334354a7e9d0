"""What the risk checks cost for a plan of 500 orders: `python tests/bench/risk.py [--json]`.

``plan`` is the check of the whole plan, ``orders`` that of every order by itself, ``sends`` every
check of every send: the quote, the order, the book with all that was sent before it. ``full`` is
all three, which is what a run pays. Milliseconds of this thread's own time: the checks wait for
nothing, so what else the machine does is left out. Nothing is asserted.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fakes")]

from risk_cases import AAA, NOW, QUOTE, QUOTE_LIMITS, RECEIVED, WIDE  # noqa: E402

from ibloop.core.model import Side  # noqa: E402
from ibloop.core.orders import Intent, Plan, PlanLine  # noqa: E402
from ibloop.core.risk import (  # noqa: E402
    SendContext,
    Verdict,
    breaches,
    check_order,
    check_plan,
    check_quote,
    check_send,
    exposure_of,
    holdings_of,
)

COUNT, SECTORS = 500, 11
EQUITY, HELD, BOUGHT = Decimal(10_000_000), Decimal(50), Decimal(150)
INSTRUMENTS = {
    f"S{n:03}": replace(AAA, symbol=f"S{n:03}", con_id=n, sector=f"sector {n % SECTORS}")
    for n in range(1, COUNT + 1)
}
QUOTES = {s: replace(QUOTE, symbol=s, con_id=i.con_id) for s, i in INSTRUMENTS.items()}
INTENTS = tuple(
    Intent(s, i.con_id, Side.BUY, BOUGHT, Decimal("100.01")) for s, i in INSTRUMENTS.items()
)
LINES = tuple(
    PlanLine(s, i.con_id, None, HELD, None, HELD + BOUGHT, Decimal(100), None, "")
    for s, i in INSTRUMENTS.items()
)
PLAN = Plan(EQUITY, LINES, INTENTS, ())
LIMITS = replace(WIDE, duplicate_window_s=60.0)
Verdicts: TypeAlias = tuple[Verdict, ...]


def plan() -> Iterator[Verdicts]:
    """Yield what is said of the plan."""
    yield check_plan(
        PLAN,
        INSTRUMENTS,
        LIMITS,
        traded_today_usd=Decimal(0),
        orders_today=0,
        settled_cash_usd=None,
    )


def orders() -> Iterator[Verdicts]:
    """Yield what is said of every order by itself."""
    for intent in INTENTS:
        instrument = INSTRUMENTS[intent.symbol]
        yield check_order(intent, instrument, equity_usd=EQUITY, held=HELD, limits=LIMITS)


def sends() -> Iterator[Verdicts]:
    """Yield what is said of every send, each with those before it at work."""
    holdings = holdings_of(LINES, INSTRUMENTS)
    baseline = exposure = exposure_of(holdings.values(), Decimal(0))
    for count, intent in enumerate(INTENTS):
        quote, held = QUOTES[intent.symbol], holdings[intent.symbol]
        context = SendContext(
            now=NOW,
            halt=None,
            equity_usd=EQUITY,
            planned_equity_usd=EQUITY,
            account_age_s=0.0,
            holding=held,
            exposure=exposure,
            baseline=baseline,
            cash_usd=EQUITY,
            orders_today=count,
            orders_this_run=count,
            traded_today_usd=Decimal(0),
            quote=quote,
            quote_verdicts=check_quote(quote, intent.con_id, RECEIVED, QUOTE_LIMITS),
        )
        yield check_send(intent, INSTRUMENTS[intent.symbol], intent.price, context, LIMITS)
        exposure = exposure.moved(held, held.with_order(intent.side, intent.quantity))


PARTS: dict[str, Callable[[], Iterator[Verdicts]]] = {
    "plan": plan,
    "orders": orders,
    "sends": sends,
}


def measured(rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each part, one a round; nothing may be refused."""
    found: dict[str, list[float]] = {f"{name}_ms": [] for name in (*PARTS, "full")}
    for _ in range(rounds):
        total = 0.0
        for name, part in PARTS.items():
            began = time.thread_time()
            for said in part():
                if refused := breaches(said):
                    raise SystemExit(f"refused: {refused[0]}")
            took = 1000 * (time.thread_time() - began)
            found[f"{name}_ms"].append(took)
            total += took
        found["full_ms"].append(total)
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=f"Measure the risk checks of {COUNT} orders.")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    rounds = measured(given.rounds)
    if given.json:
        print(json.dumps({"orders": COUNT, "rounds": rounds}))  # noqa: T201
        return 0
    for name, values in rounds.items():
        middle = statistics.median(values)
        print(f"{name:10} {middle:6.1f}  ({min(values):.1f} to {max(values):.1f})")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())

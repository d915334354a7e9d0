"""An executor whose builder has gone wrong: ``python hostile_builder.py HOW executor run``.

A bug is a patch of the production code, never a flag in it.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from ibloop.cli import main
from ibloop.core.orders import Plan
from ibloop.daemons.executing import run_planner

MANY = 10_000


def _many(plan: Plan) -> Plan:
    """Ask for ten thousand orders in as many symbols, each of them with a line."""
    one, line = plan.intents[0], plan.lines[0]
    names = [f"X{number}" for number in range(MANY)]
    return replace(
        plan,
        intents=tuple(replace(one, symbol=name) for name in names),
        lines=tuple(replace(line, symbol=name) for name in names),
    )


def _again(plan: Plan) -> Plan:
    """Ask for the same few orders until there are ten thousand."""
    times = -(-MANY // len(plan.intents))
    return replace(plan, intents=(plan.intents * times)[:MANY])


def _scaled(factor: str) -> Callable[[Plan], Plan]:
    def scale(plan: Plan) -> Plan:
        by = Decimal(factor)
        return replace(
            plan, intents=tuple(replace(i, quantity=i.quantity * by) for i in plan.intents)
        )

    return scale


def _priced(price: str) -> Callable[[Plan], Plan]:
    def put(plan: Plan) -> Plan:
        return replace(plan, intents=tuple(replace(i, price=Decimal(price)) for i in plan.intents))

    return put


HOSTILE: dict[str, Callable[[Plan], Plan]] = {
    "ten thousand symbols": _many,
    "ten thousand times": _again,
    "a million times as much": _scaled("1000000"),
    "a million times as much, unchecked": _scaled("1000000"),
    "no number": _scaled("NaN"),
    "without end": _scaled("Infinity"),
    "less than nothing": _scaled("-1"),
    "for nothing": _priced("0"),
    "at no price": _priced("NaN"),
    "penniless": lambda plan: replace(plan, equity_usd=Decimal(-1)),
}


def be_hostile(how: str) -> None:
    """Let the builder ask for something else; ``unchecked``: and the whole-plan check be gone."""
    build, change = run_planner.build_plan, HOSTILE[how]
    run_planner.build_plan = lambda *a, **k: change(build(*a, **k))
    if how.endswith("unchecked"):
        run_planner.check_plan = lambda *_a, **_k: ()


if __name__ == "__main__":
    be_hostile(sys.argv.pop(1))
    main()

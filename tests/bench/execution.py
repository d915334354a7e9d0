"""Measure the execution of orders: `make bench`, or `python tests/bench/execution.py [--quick]`.

The rounds are interleaved, and whatever is compared is measured in the same round: a busy moment
of the machine hits every number alike. What is printed is the median, and in brackets the lowest
and highest round. Nothing is asserted.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from exec_house import PACE
from exec_ledger import BATCHES, Pasts, crowd, crowd_floor, fill_commits, intents
from exec_power import power_cuts
from exec_site import site
from exec_wire import CLIENTS, ideal, kill, kill_stock, ours, restarts, stock
from sim import machine, show_progress, shown

from ibloop import log

PLAYS = 6
"""Runs on each ledger in a round."""

Numbers = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    repeats: int
    counts: tuple[int, ...]
    ages: tuple[int, ...]
    open_orders: tuple[int, ...]
    runs: int
    kills: int
    crowd_s: float
    commits: int


FULL = Plan(
    rounds=5,
    repeats=90,
    counts=(10, 100, 500),
    ages=(0, 10_000, 1_000_000),
    open_orders=(10, 100, 1_000),
    runs=4,
    kills=8,
    crowd_s=3.0,
    commits=60,
)
QUICK = Plan(
    rounds=2,
    repeats=30,
    counts=(10, 100),
    ages=(0, 10_000),
    open_orders=(10, 100),
    runs=1,
    kills=3,
    crowd_s=1.0,
    commits=20,
)


def measured(plan: Plan, scratch: Path) -> Numbers:
    """Return every number's values, one a round."""
    numbers: Numbers = {}
    show_progress(f"writing ledgers with up to {max(plan.ages):,} orders")
    pasts = Pasts(scratch / "past", plan.ages)
    for number in range(plan.rounds):
        show_progress(f"round {number + 1} of {plan.rounds}: ledger")
        place = scratch / f"round{number}"
        found = _ledger(plan, place, pasts)
        show_progress(f"round {number + 1} of {plan.rounds}: wire")
        found |= _wire(plan, place)
        for name, value in (found | _ratios(plan, found)).items():
            numbers.setdefault(name, []).append(value)
    pasts.close()
    show_progress("restarts, power cuts")
    numbers |= _restarts(plan, scratch / "restart")
    for synchronous in ("FULL", "NORMAL"):
        cuts = power_cuts(scratch / synchronous, plan.commits, synchronous)
        numbers |= {f"{name}_{synchronous}": [value] for name, value in cuts.items()}
    return numbers


def _ledger(plan: Plan, place: Path, pasts: Pasts) -> dict[str, float]:
    """Measure what needs no socket, once."""
    for name in ("intents", "fills"):
        (place / name).mkdir(parents=True)
    found = _medians(intents(place / "intents", plan.repeats))
    stored = _medians(fill_commits(place / "fills", plan.repeats))
    stored["append_beside_fill_us"] = stored.pop("append_us")
    played: Numbers = {}
    for _ in range(PLAYS):
        for name, value in pasts.play().items():
            played.setdefault(name, []).append(value)
    found |= stored | _medians(played)
    for gate in (True, False):
        for paced in (True, False):
            found |= crowd(place / "crowd", plan.crowd_s, gate=gate, paced=paced)
    return found | crowd_floor(place / "crowd", plan.crowd_s)


def _wire(plan: Plan, place: Path) -> dict[str, float]:
    """Measure what goes over a socket, once; 100 orders several times for the most in a second."""
    found: dict[str, float] = {}
    for count in plan.counts:
        found |= ideal(count)
        for library in CLIENTS:
            found |= stock(library, count)
    with site(place / "site", max(plan.counts)) as made:
        made.start()
        for count in plan.counts:
            every = [ours(made, count) for _ in range(plan.runs if count == 100 else 1)]
            found |= {name: statistics.median(x[name] for x in every) for name in every[0]}
            name = f"ibloop_{count}_in_a_second"
            found[name] = max(x[name] for x in every)
        waits = sorted(kill(made, 100) for _ in range(plan.kills))
    found |= {"kill_ms_p50": statistics.median(waits), "kill_ms_worst": waits[-1]}
    for library in CLIENTS:
        if (waited := kill_stock(library, 100)) is not None:
            found[f"kill_{library}_ms"] = waited
    return found


def _restarts(plan: Plan, place: Path) -> Numbers:
    found: Numbers = {}
    for count in plan.open_orders:
        with site(place / str(count), count) as made:
            made.start()
            found[f"restart_{count}_s"] = restarts(made, count, plan.rounds)
    return found


def _ratios(plan: Plan, found: Mapping[str, float]) -> dict[str, float]:
    ratios = {
        f"intent_{name}_ratio": found[f"intent_{name}_us"] / found["append_us"] for name in BATCHES
    }
    ratios["fill_ratio"] = found["fill_us"] / found["append_beside_fill_us"]
    ratios["crowd_ratio"] = found["crowd_gate_paced_p99_ms"] / found["crowd_plain_paced_p99_ms"]
    for age in plan.ages[1:]:
        ratios[f"past_{age}_ratio"] = found[f"past_{age}_us"] / found["past_0_us"]
    for count in plan.counts:
        last = found[f"ideal_{count}_last_ms"]
        ratios[f"last_{count}_ratio"] = found[f"ibloop_{count}_last_ms"] / last
    return ratios


def _medians(numbers: Numbers) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in numbers.items()}


def _titles(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield names and what they say, in the order of the table; a line without a name is a head."""
    yield "", "intents: an order from planned to bytes, every check, durable"
    yield "append_us", "append 4120 bytes + fdatasync, µs"
    for name, size in BATCHES.items():
        yield f"intent_{name}_us", f"an order, {size} in a transaction, µs"
        yield f"intent_{name}_cpu_us", "  processor time of it, µs"
        yield f"intent_{name}_ratio", "  against the append"
    yield "", f"wire: at most {PACE} orders in 1.05 s"
    for count in plan.counts:
        for name in ("ideal", "ibloop", *CLIENTS):
            yield f"{name}_{count}_last_ms", f"{count} orders, {name}: the last arrives after, ms"
            yield f"{name}_{count}_in_a_second", "  most messages in any second"
        yield f"ibloop_{count}_first_ms", "  ibloop: the first arrives after, ms"
        yield f"last_{count}_ratio", "  ibloop against ideal"
    yield "kill_ms_p50", "kill with 100 orders queued, to the first cancel, ms"
    yield "kill_ms_worst", "  worst of a round, ms"
    for name in CLIENTS:
        yield f"kill_{name}_ms", f"  {name}, global cancel, ms"
    yield "", "restart: from the start of a process to reconciled"
    for count in plan.open_orders:
        yield f"restart_{count}_s", f"{count} open orders, s"
    yield "", "past: a whole run, from queued to done"
    for age in plan.ages:
        yield f"past_{age}_us", f"{age:,} older orders, µs an order"
    for age in plan.ages[1:]:
        yield f"past_{age}_ratio", f"  {age:,} against none"
    yield "", "fills: an execution stored durably with order and audit"
    yield "append_beside_fill_us", "append 4120 bytes + fdatasync, µs"
    yield "fill_us", "a fill, µs"
    yield "fill_cpu_us", "  processor time of it, µs"
    yield "fill_ratio", "  against the append"
    for pace, words in (("paced", "22 fills a second each"), ("full", "as fast as they can")):
        for kind, way in (("gate", "ours"), ("plain", "busy_timeout")):
            name = f"crowd_{kind}_{pace}"
            yield f"{name}_p50_ms", f"four writers, {words}, {way}: p50, ms"
            yield f"{name}_p99_ms", "  p99, ms"
            yield f"{name}_max_ms", "  longest wait, ms"
            yield f"{name}_fairness", "  fewest of a process over most"
            yield f"{name}_lost", "  lost"
    yield "crowd_floor_paced_p50_ms", "four that only append to a file each, at that pace: p50, ms"
    yield "crowd_floor_paced_p99_ms", "  p99, ms"
    yield "crowd_ratio", "p99 of the paced four, ours against busy_timeout"
    yield "", "power cuts, simulated after and between commits"
    for synchronous, words in (("FULL", "as it is"), ("NORMAL", "to compare: synchronous=NORMAL")):
        yield f"cuts_{synchronous}", f"cuts, {words}"
        yield f"cuts_lost_{synchronous}", "  that lost a commit"
        yield f"cuts_damaged_{synchronous}", "  that left damage"


def table(plan: Plan, numbers: Numbers) -> str:
    """Return the numbers for people."""
    rows = [machine()]
    for name, title in _titles(plan):
        if not name:
            rows += ["", title]
        elif values := numbers.get(name):
            spread = f"[{shown(min(values))} .. {shown(max(values))}]" if len(values) > 1 else ""
            rows.append(f"{title:<62}{shown(statistics.median(values)):>10}  {spread}")
    return "\n".join(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the execution of orders.")
    parser.add_argument("--json", action="store_true", help="print JSON: machine and every round")
    parser.add_argument("--quick", action="store_true", help="two minutes instead of half an hour")
    parser.add_argument("--directory", help="where to write (default: TMPDIR)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 5; quick: 2)")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    plan = replace(plan, rounds=given.rounds or plan.rounds)
    with ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="ibloop-bench-", dir=given.directory)
        scratch = Path(stack.enter_context(made))
        # The executor's log lines are part of its cost; where they go to is a file, as in service.
        log.configure("executor", stream=stack.enter_context((scratch / "log").open("w")))
        numbers = measured(plan, scratch)
    if given.json:
        print(json.dumps({"machine": machine(), "rounds": numbers}, indent=1))  # noqa: T201
    else:
        print(table(plan, numbers))  # noqa: T201


if __name__ == "__main__":
    main()

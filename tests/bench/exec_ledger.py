"""What the ledger costs: intents and fills against an append to a file, with a past and a crowd."""

import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from unittest import mock

from exec_house import ACCOUNT, PACE, House
from exec_past import write_past

from ibloop.adapters.ledger import fills, runs
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.adapters.ledger.gate import Gate
from ibloop.core.lifecycle import RunState
from ibloop.core.model import Execution, Mode, Side

APPEND_BYTES = 4120
"""A page and its header: what SQLite's write-ahead log appends for the smallest commit."""
WINDOW = 8
"""Unacknowledged orders allowed at once by default in paper mode."""
BATCHES = {"alone": 1, "window": WINDOW, "pace": PACE}
WRITERS = 4
PACED_PER_S = 22
ORDERS_A_RUN = 40
DAY_S = 24 * 3600
WEIGHT = "0.0001"


class Floor:
    """The least a durable write can cost on this file system: append and fdatasync."""

    def __init__(self, directory: Path) -> None:
        """Open the file."""
        self._file = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def us(self) -> float:
        """Append once and return the µs it took."""
        began = time.perf_counter()
        os.write(self._file, b"x" * APPEND_BYTES)
        os.fdatasync(self._file)
        return (time.perf_counter() - began) * 1e6

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def intents(directory: Path, repeats: int) -> dict[str, list[float]]:
    """Return µs an order from a planned row to bytes handed over: all checks, one commit a batch.

    Alone, in a window and in all that the pace lets through at once; and of the floor beside each.
    """
    repeats_of = {name: max(2, repeats // size) for name, size in BATCHES.items()}
    total = sum(BATCHES[name] * times for name, times in repeats_of.items())
    house = House(directory, total, WINDOW)
    house.broker.fills = False
    run_id = house.queue("K1", list(house.instruments), WEIGHT)
    house.step_until(RunState.EXECUTING, run_id)
    run, rows = runs.find(house.ledger.db, run_id), house.planned(run_id)
    assert run is not None
    floor, found = Floor(directory), {f"intent_{name}_us": list[float]() for name in BATCHES}
    found |= {f"intent_{name}_cpu_us": [] for name in BATCHES} | {"append_us": []}
    turns = [name for name, times in repeats_of.items() for _ in range(times)]
    random.Random(1).shuffle(turns)
    for name in turns:
        size = BATCHES[name]
        batch, rows = rows[:size], rows[size:]
        found["append_us"].append(floor.us())
        cpu, began = time.process_time(), time.perf_counter()
        waiting = house.desk.send(run, batch)
        found[f"intent_{name}_us"].append((time.perf_counter() - began) * 1e6 / size)
        found[f"intent_{name}_cpu_us"].append((time.process_time() - cpu) * 1e6 / size)
        assert waiting is None, waiting
        house.desk.poll()
    floor.close()
    house.close()
    return found


class Pasts:
    """Ledgers of different age, on which the same run is played in turn."""

    def __init__(self, directory: Path, ages: Sequence[int]) -> None:
        """Write them; this takes minutes for a million orders."""
        self._houses: dict[int, House] = {}
        self._runs = 0
        for age in ages:
            place = directory / str(age)
            place.mkdir(parents=True)
            write_past(place / "ibloop.db", age)
            self._houses[age] = House(place, ORDERS_A_RUN, WINDOW)

    def play(self) -> dict[str, float]:
        """Return µs an order of a whole run, from queued to done with every promise asked."""
        self._runs += 1
        found: dict[str, float] = {}
        order = list(self._houses)
        random.shuffle(order)
        for age in order:
            house = self._houses[age]
            house.broker.next_day()
            house.clock.skip(DAY_S)
            weight = str(Decimal(WEIGHT) * self._runs)
            symbols = list(house.instruments)
            cpu, began = time.process_time(), time.perf_counter()
            run_id = house.queue(f"N{self._runs}", symbols, weight)
            house.step_until(RunState.DONE, run_id)
            found[f"past_{age}_us"] = (time.perf_counter() - began) * 1e6 / ORDERS_A_RUN
            found[f"past_{age}_cpu_us"] = (time.process_time() - cpu) * 1e6 / ORDERS_A_RUN
        return found

    def close(self) -> None:
        """Close the ledgers."""
        for house in self._houses.values():
            house.close()


def fill_commits(directory: Path, repeats: int) -> dict[str, list[float]]:
    """Return the µs to store an execution durably with its order and audit, and the floor's."""
    house = House(directory, repeats, WINDOW)
    house.broker.fills = False
    run_id = house.queue("K1", list(house.instruments), WEIGHT)
    house.step_until(RunState.EXECUTING, run_id)
    floor = Floor(directory)
    found: dict[str, list[float]] = {"fill_us": [], "fill_cpu_us": [], "append_us": []}
    while len(found["fill_us"]) < repeats:
        house.trader.step()
        house.desk.poll()
        for ref, perm_id in runs_new(house, run_id, len(found["fill_us"])):
            told = _execution(house, ref, perm_id)
            found["append_us"].append(floor.us())
            cpu, began = time.process_time(), time.perf_counter()
            with house.ledger.transaction() as tx:
                fills.record(tx, told, told.executed_at, "bench")
            found["fill_us"].append((time.perf_counter() - began) * 1e6)
            found["fill_cpu_us"].append((time.process_time() - cpu) * 1e6)
    floor.close()
    house.close()
    return found


def runs_new(house: House, run_id: str, known: int) -> list[tuple[str, int]]:
    """Return reference and permId of a run's orders that were sent since ``known`` of them were."""
    found = house.ledger.db.execute(
        "SELECT client_order_id, perm_id FROM trade_orders WHERE run_id = ? AND sent_at IS NOT NULL"
        " ORDER BY sequence LIMIT -1 OFFSET ?",
        (run_id, known),
    )
    return [(str(row[0]), int(row[1])) for row in found]


def _execution(house: House, ref: str, perm_id: int) -> Execution:
    symbol = ref.split(":")[2]
    return Execution(
        exec_id=f"{ref}.1.01",
        account=ACCOUNT,
        client_order_id=ref,
        perm_id=perm_id,
        symbol=symbol,
        con_id=house.instruments[symbol].con_id,
        side=Side.BUY,
        quantity=Decimal(1),
        price=Decimal(20),
        executed_at=house.clock.now().utc,
        commission=Decimal(1),
    )


# --- a crowd --------------------------------------------------------------------------------------


def crowd(directory: Path, seconds: float, *, gate: bool, paced: bool) -> dict[str, float]:
    """Return waits and shares of four processes that store fills at once, and what was lost.

    Without the gate SQLite's own waiting (busy_timeout) keeps them apart.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{'gate' if gate else 'plain'}_{'paced' if paced else 'full'}.db"
    open_ledger(path, mode=Mode.PAPER, account=ACCOUNT).close()
    spawn = multiprocessing.get_context("spawn")
    answers: Queue[list[float]] = spawn.Queue()
    start = spawn.Barrier(WRITERS)
    writers = [
        spawn.Process(target=_write, args=(path, number, start, seconds, gate, paced, answers))
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    waits = [answers.get() for _ in writers]
    for writer in writers:
        writer.join()
    ledger = open_ledger(path, mode=Mode.PAPER, account=ACCOUNT)
    stored = int(ledger.db.execute("SELECT count(*) FROM trade_fills").fetchone()[0])
    ledger.close()
    every = sorted(wait for own in waits for wait in own)
    name = f"crowd_{'gate' if gate else 'plain'}_{'paced' if paced else 'full'}"
    counts = [len(own) for own in waits]
    return {
        f"{name}_p50_ms": statistics.median(every),
        f"{name}_p99_ms": every[round(0.99 * (len(every) - 1))],
        f"{name}_max_ms": every[-1],
        f"{name}_fairness": min(counts) / max(counts),
        f"{name}_lost": len(every) - stored,
    }


def _write(
    path: Path,
    number: int,
    start: Barrier,
    seconds: float,
    gate: bool,
    paced: bool,
    answers: "Queue[list[float]]",
) -> None:
    ledger = open_ledger(path, mode=Mode.PAPER, account=ACCOUNT)
    chance, waits, count = random.Random(number), list[float](), 0
    told = foreign_execution()
    ungated = mock.patch.object(Gate, "held", return_value=nullcontext())
    passes = nullcontext() if gate else ungated
    start.wait()
    end = time.monotonic() + seconds
    with passes:
        while time.monotonic() < end:
            if paced:
                time.sleep(chance.expovariate(PACED_PER_S))
            count += 1
            one = replace(told, exec_id=f"{number}.{count}.01")
            began = time.perf_counter()
            with ledger.transaction() as tx:
                fills.record(tx, one, one.executed_at, "bench")
            waits.append((time.perf_counter() - began) * 1e3)
    ledger.close()
    answers.put(waits)


def crowd_floor(directory: Path, seconds: float) -> dict[str, float]:
    """Return the waits of four processes that append to a file each at the pace of the crowd."""
    spawn = multiprocessing.get_context("spawn")
    answers: Queue[list[float]] = spawn.Queue()
    start = spawn.Barrier(WRITERS)
    places = [directory / f"floor{number}" for number in range(WRITERS)]
    writers = [
        spawn.Process(target=_append, args=(place, number, start, seconds, answers))
        for number, place in enumerate(places)
    ]
    for place, writer in zip(places, writers, strict=True):
        place.mkdir()
        writer.start()
    every = sorted(wait for own in [answers.get() for _ in writers] for wait in own)
    for writer in writers:
        writer.join()
    return {
        "crowd_floor_paced_p50_ms": statistics.median(every),
        "crowd_floor_paced_p99_ms": every[round(0.99 * (len(every) - 1))],
    }


def _append(
    place: Path, number: int, start: Barrier, seconds: float, answers: "Queue[list[float]]"
) -> None:
    floor, chance, waits = Floor(place), random.Random(number), list[float]()
    start.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.expovariate(PACED_PER_S))
        waits.append(floor.us() / 1e3)
    floor.close()
    answers.put(waits)


def foreign_execution() -> Execution:
    """Return an execution of nobody's order, which any process can store."""
    return Execution(
        exec_id="",
        account=ACCOUNT,
        client_order_id="",
        perm_id=1,
        symbol="SYN001",
        con_id=1,
        side=Side.BUY,
        quantity=Decimal(1),
        price=Decimal(20),
        executed_at=datetime.now(UTC),
    )

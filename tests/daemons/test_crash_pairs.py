"""Crash at a boundary while something else goes wrong: pairs, sampled by seed over all of both.

``make crash SEEDS=n FIRST=m`` plays other seeds. A failure names the command that replays it.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from ibloop.adapters.ledger import halts
from ibloop.core import events as ev
from ibloop.core.model import HaltLevel, Side
from tests.daemons.crash_stories import STORIES, Fault, crash, drawn
from tests.fakes.house import House
from tests.fakes.shown import report_of

D = Decimal
SEEDS = int(os.environ.get("CRASH_SEEDS", "100"))
FIRST = int(os.environ.get("CRASH_FIRST", "0"))
CHUNK = 10
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE")
LASTS_S = 130.0
"""How long the longest story lasts, apart from its night."""
RECOVERIES = 0.3
"""Of the pairs: those in which the recovery dies as well."""


def scripted(**fields: object) -> Callable[[Random], Fault]:
    """Return how the orders of one symbol may fare."""

    def draw(chance: Random) -> Fault:
        symbol = chance.choice(SYMBOLS)
        return Fault(lambda house: house.script(symbol, **fields))

    return draw


def lasting(
    begin: Callable[[House], object], end: Callable[[House], object]
) -> Callable[[Random], Fault]:
    """Return what lasts for a while, from any moment on."""

    def draw(chance: Random) -> Fault:
        from_s = chance.choice((0.0, chance.uniform(0, 8), chance.uniform(0, LASTS_S)))
        to_s = from_s + chance.choice((chance.uniform(1, 10), chance.uniform(10, 100)))
        return Fault(lambda house: _of(begin(house)), lambda house: _of(end(house)), from_s, to_s)

    return draw


def once(begin: Callable[[House, Random], None]) -> Callable[[Random], Fault]:
    """Return what happens in one moment."""

    def draw(chance: Random) -> Fault:
        from_s = chance.choice((chance.uniform(0, 8), chance.uniform(0, LASTS_S)))
        seed = chance.random()
        return Fault(lambda house: begin(house, Random(seed)), from_s=from_s)

    return draw


def _of(_: object) -> None:
    """Let a short function be anything."""


def connect(house: House) -> None:
    """Let the client in again, unless a new process is in already."""
    if not house.broker.connected:
        house.broker.connect()


def disconnect(house: House) -> None:
    """Close the socket."""
    if house.broker.connected:
        house.broker.disconnect()


def restored_by(code: int) -> Callable[[House], None]:
    """Return how the gateway says that it is linked to the broker again."""
    return lambda house: house.broker.emit(ev.ErrorReported(None, code, "restored"))


def resume(house: House) -> None:
    """End the halt."""
    with house.ledger.transaction() as tx:
        halts.resume(tx, "test", "over", house.clock.now().utc)


def forget(house: House, *, forgotten: bool) -> None:
    """Let no evidence show any order that there is, or show them again."""
    for live in house.broker.live:
        live.forgotten = forgotten


def trade_by_hand(house: House, chance: Random) -> None:
    """Let a person trade in TWS."""
    if house.broker.live:
        side = chance.choice(list(Side))
        house.broker.trade_by_hand(chance.choice(SYMBOLS), side, chance.randrange(1, 9))


def tell_again(house: House, chance: Random) -> None:
    """Let everything be told once more, in any order."""
    told: list[ev.BrokerEvent] = [ev.Executed(e) for e in house.broker.executions]
    told += [report_of(live) for live in house.broker.live if not live.forgotten]
    chance.shuffle(told)
    house.broker.emit(*told)


def correct(house: House, chance: Random) -> None:
    """Let an execution turn out to have been at another price."""
    if house.broker.executions:
        place = chance.randrange(len(house.broker.executions))
        first = house.broker.executions[place]
        told = replace(first, exec_id=f"{first.exec_id[:-2]}02", price=first.price + D("0.01"))
        house.broker.executions[place] = told
        if chance.random() < 0.5:
            house.broker.emit(ev.Executed(told))


def complain(house: House, chance: Random) -> None:
    """Let an error name an order, whatever becomes of it."""
    if house.broker.live:
        order = chance.choice(house.broker.live).order
        code = chance.choice((399, 2109, 10148, 161, 202))
        house.broker.emit(ev.ErrorReported(order.ib_order_id, code, "an error"))


FAULTS: dict[str, Callable[[Random], Fault]] = {
    "none": lambda _: Fault(),
    "swallowed": scripted(swallowed=True),
    "silent": scripted(silent=True),
    "late": scripted(ack_after_s=20.0),
    "in parts": scripted(fills=(D("0.3"), D("0.3"))),
    "unfilled": scripted(fills=()),
    "refused": scripted(refused=(201, "no")),
    "refused in silence": scripted(refused=(203, "no"), refused_silently=True),
    "not cancelled": scripted(fills=(), sticky="Submitted"),
    "cancel pending": scripted(fills=(), sticky="PendingCancel"),
    "cut off": lasting(disconnect, connect),
    "link lost, 1102": lasting(
        lambda house: house.broker.emit(ev.ErrorReported(None, 1100, "lost")), restored_by(1102)
    ),
    "link lost, 1101": lasting(
        lambda house: house.broker.emit(ev.ErrorReported(None, 1100, "lost")), restored_by(1101)
    ),
    "frozen": lasting(
        lambda house: setattr(house.broker, "frozen", True), lambda house: house.broker.thaw()
    ),
    "evidence fails": lasting(
        lambda house: setattr(house.broker, "evidence_fails", True),
        lambda house: setattr(house.broker, "evidence_fails", False),
    ),
    "evidence trails": lasting(
        lambda house: forget(house, forgotten=True), lambda house: forget(house, forgotten=False)
    ),
    "no room": lasting(
        lambda house: setattr(house.broker, "slots", 0),
        lambda house: setattr(house.broker, "slots", 45),
    ),
    "no bytes": lasting(
        lambda house: setattr(house.broker, "refuse_bytes", True),
        lambda house: setattr(house.broker, "refuse_bytes", False),
    ),
    "no proof": lasting(
        lambda house: setattr(house.broker, "proof_s", 60.0),
        lambda house: setattr(house.broker, "proof_s", 0.5),
    ),
    "frozen quotes": lasting(
        lambda house: [house.quotes.freeze(symbol) for symbol in SYMBOLS],
        lambda house: house.quotes.frozen.clear(),
    ),
    "no guard": lasting(
        lambda house: setattr(house, "guard_silence", "no heartbeat"),
        lambda house: setattr(house, "guard_silence", None),
    ),
    "halted": lasting(lambda house: house.halt(HaltLevel.PAUSE), resume),
    "killed": lasting(lambda house: house.halt(HaltLevel.KILL), resume),
    "clock set": once(lambda house, chance: house.clock.step_wall(chance.uniform(-90, 90))),
    "foreign trade": once(trade_by_hand),
    "told again": once(tell_again),
    "corrected": once(correct),
    "an error": once(complain),
}


def play(directory: Path, seed: int) -> None:
    """Play the pair of a seed: a story, a fault in it, and a crash at one of its boundaries."""
    chance = drawn(seed)
    name, fault = chance.choice(list(STORIES)), chance.choice(list(FAULTS))
    details = chance.random()
    calm = crash(directory / "calm", STORIES[name](), -1, fault=FAULTS[fault](Random(details)))
    number = chance.randrange(len(calm))
    again = [chance.randrange(20)] if chance.random() < RECOVERIES else []
    try:
        crash(
            directory / "crash",
            STORIES[name](),
            number,
            *again,
            fault=FAULTS[fault](Random(details)),
        )
    except AssertionError as error:
        error.add_note(f"{name}, {fault}, {calm[number]} at {number}, then {again}")
        raise


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_a_crash_beside_a_fault_breaks_no_promise(tmp_path: Path, first: int) -> None:
    """One send a reference, no lost fill, an audit that holds, and an end (P1 to P5, L1)."""
    for seed in range(first, min(first + CHUNK, FIRST + SEEDS)):
        directory = tmp_path / str(seed)
        directory.mkdir()
        try:
            play(directory, seed)
        except AssertionError as error:
            error.add_note(f"replay: make crash SEEDS=1 FIRST={seed}")
            raise

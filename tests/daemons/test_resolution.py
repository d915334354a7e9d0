"""What stops the account until a person has decided, and how it goes on afterwards."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import arming, commands, fills, orders
from ibloop.adapters.ledger.check import check
from ibloop.adapters.ledger.resolution import Decision, Fate, resolve
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import Order, Side
from ibloop.daemons.executing.comparing import (
    accept_positions,
    explained_positions,
    standing_breaks,
)
from ibloop.daemons.executing.run_commands import ACCEPT_LEDGER
from ibloop.errors import RefusedError
from tests.daemons.test_send_rails import arm
from tests.fakes.house import House

D = Decimal
DAY_S = 24 * 3600


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Return a house whose first order (AAA) is swallowed, and unknown by the next day."""
    made = House(tmp_path)
    yield made
    made.ledger.close()


def order(house: House, symbol: str) -> Order:
    """Return an order of the first attempt of K1."""
    return house.orders(attempt=0)[symbol]


def lose(house: House) -> Order:
    """Let AAA be swallowed and the night pass, over which the broker forgets."""
    house.script("AAA", swallowed=True)
    house.queue()
    house.until_ended()
    house.clock.advance(DAY_S)
    house.restart()
    house.play(60)
    assert house.states()["AAA"] == "unknown"
    house.broker.scripts.clear()
    return order(house, "AAA")


def decide(house: House, ref: str, fate: Fate, **more: object) -> str:
    """Decide as ``ibloop orders resolve`` does."""
    row = orders.find(house.ledger.db, ref)
    assert row is not None
    decision = replace(Decision(fate, "a test"), **more)
    with house.ledger.transaction() as tx:
        return str(resolve(tx, row, decision, house.clock.now().utc, "ann"))


def ask(house: House, reason: str = "checked") -> commands.Command:
    """Ask the executor to accept the ledger, and return its answer."""
    with house.ledger.transaction() as tx:
        now = house.clock.now().utc
        number = commands.request(tx, ACCEPT_LEDGER, {"reason": reason}, "ann", now)
    house.settle()
    answer = commands.find(house.ledger.db, number)
    assert answer is not None
    return answer


# --- unknown orders -------------------------------------------------------------------------------


def test_an_order_resolved_as_not_sent_lets_the_run_go_on(house: House) -> None:
    """Midnight took the evidence: a person decides, and the retry trades the remainder once."""
    lost = lose(house)
    assert decide(house, lost.client_order_id, Fate.NOT_SENT) == "not_sent"
    house.retry()
    run = house.until_ended()
    assert run.status is RunState.DONE
    assert house.broker.placed.count(lost.client_order_id) == 1
    assert not house.broken()
    assert not check(house.ledger.db)


def test_a_wrong_decision_is_found_by_the_positions(house: House) -> None:
    """It was filled, a person says it was not sent: the next run is blocked before any order."""
    lost = lose(house)
    house.broker.positions["AAA"] -= lost.quantity
    decide(house, lost.client_order_id, Fate.NOT_SENT)
    sent = len(house.broker.placed)
    house.retry()
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.POSITION_BREAK)
    assert "AAA: 500 held, 1000 expected" in run.detail
    assert len(house.broker.placed) == sent


def test_fills_the_broker_has_forgotten_are_entered_by_hand(house: House) -> None:
    """Filled needs the missing shares and their price; then positions agree again."""
    lost = lose(house)
    house.broker.positions["AAA"] -= lost.quantity
    ref = lost.client_order_id
    with pytest.raises(RefusedError, match=r"0 of 500 shares are filled"):
        decide(house, ref, Fate.FILLED)
    assert decide(house, ref, Fate.FILLED, quantity=D(500), price=D("9.98")) == "filled"
    (fill,) = fills.of_order(house.ledger.db, ref)
    assert (fill.signed_quantity, fill.price, fill.account) == (D(-500), D("9.98"), "DU1234567")
    house.play(20)
    assert not standing_breaks(house.ledger.db)
    house.retry()
    assert house.until_ended().status is RunState.DONE
    assert not check(house.ledger.db)


def test_a_canceled_order_may_have_filled_in_part(house: House) -> None:
    """Canceled with executed shares keeps both; more than the whole is refused."""
    lost = lose(house)
    ref = lost.client_order_id
    with pytest.raises(RefusedError, match="that is filled"):
        decide(house, ref, Fate.CANCELED, quantity=D(500), price=D(10))
    with pytest.raises(RefusedError, match="both --quantity and --price"):
        decide(house, ref, Fate.CANCELED, quantity=D(5))
    assert decide(house, ref, Fate.CANCELED, quantity=D(200), price=D(10)) == "canceled"
    assert order(house, "AAA").filled_quantity == 200


@pytest.mark.parametrize("wrong_s", [-7 * DAY_S, 7 * DAY_S])
def test_fills_entered_with_a_wrong_clock_count_for_the_run_they_belong_to(
    house: House, wrong_s: int
) -> None:
    """They come after every stamp of the ledger and before the next baseline, whatever the time."""
    lost = lose(house)
    house.broker.positions["AAA"] -= lost.quantity
    row = orders.find(house.ledger.db, lost.client_order_id)
    assert row is not None
    decision = Decision(Fate.FILLED, "a test", quantity=D(500), price=D("9.98"))
    with house.ledger.transaction() as tx:
        now = house.clock.now().utc + timedelta(seconds=wrong_s)
        resolve(tx, row, decision, now, "ann")
    house.play(20)
    assert not standing_breaks(house.ledger.db)
    house.retry()
    assert house.until_ended().status is RunState.DONE
    house.play(40)
    assert not standing_breaks(house.ledger.db)
    assert not check(house.ledger.db)


def test_a_working_order_is_followed_again_by_its_perm_id(house: House) -> None:
    """Working needs a permId; if the broker does not show it, it is unknown again."""
    lost = lose(house)
    ref = lost.client_order_id
    with pytest.raises(RefusedError, match="--perm-id"):
        decide(house, ref, Fate.WORKING)
    assert decide(house, ref, Fate.WORKING, perm_id=4711) == "new"
    house.play(60)
    assert order(house, "AAA").status == "unknown"
    assert order(house, "AAA").perm_id is None  # a person's word is no acknowledgement
    assert decide(house, ref, Fate.WORKING, perm_id=4712) == "new"


def test_what_may_still_come_alive_cannot_be_called_not_sent(house: House) -> None:
    """A hung gateway may hold it until it expires: a person must wait as long."""
    house.script("AAA", swallowed=True)
    house.queue()
    house.until_ended()
    ref = order(house, "AAA").client_order_id
    with pytest.raises(RefusedError, match="may still come alive until"):
        decide(house, ref, Fate.NOT_SENT)


def test_only_an_unknown_order_is_for_a_person_to_decide(house: House) -> None:
    """What evidence has proven is not overruled."""
    house.queue()
    house.until_ended()
    ref = order(house, "AAA").client_order_id
    with pytest.raises(RefusedError, match="is filled: only an unknown order"):
        decide(house, ref, Fate.CANCELED)
    with pytest.raises(RefusedError, match="not filled beyond"):
        decide(house, ref, Fate.OVER_FILLED)


def test_an_over_filled_order_stops_until_it_is_accepted_and_no_further(house: House) -> None:
    """P5: more shares than ordered are the broker's error; one more of them stops again."""
    house.queue()
    house.until_ended()
    live = house.broker.find(order(house, "AAA").client_order_id)
    house.broker.fill(live, D(10))
    house.play(20)
    ref = live.order.client_order_id
    assert house.desk.trouble is not None
    decide(house, ref, Fate.OVER_FILLED)
    house.play(20)
    assert house.desk.trouble is None
    assert not check(house.ledger.db)
    house.broker.fill(live, D(1))
    house.play(20)
    assert house.desk.trouble is not None
    assert [p.check for p in check(house.ledger.db)] == ["promises", "promises"]


def test_a_refusal_outlives_the_process_that_heard_it(house: House) -> None:
    """The error came, the executor died: the next one still knows why the order is gone."""
    house.script("AAA", refused=(203, "not allowed"))
    house.queue()
    house.until(lambda: bool(house.broker.placed))
    house.settle()
    row = orders.find(house.ledger.db, order(house, "AAA").client_order_id)
    assert row is not None
    assert row.refusal is not None
    assert (row.refusal.code, row.refusal.text) == (203, "not allowed")
    house.restart()
    house.play(30)
    refused = order(house, "AAA")
    assert (refused.status, refused.reject_code) == ("rejected", "203")


def test_an_order_that_ended_and_works_is_cancelled(house: House) -> None:
    """The ledger has seen its end: whatever works on is asked to stop, and nothing is sent."""
    house.script("AAA", fills=(), sticky="Cancelled")
    house.queue()
    house.play(2)
    live = house.broker.find(order(house, "AAA").client_order_id)
    live.status = "Cancelled"
    house.play(20)
    assert order(house, "AAA").status == "canceled"
    live.status = "Submitted"
    house.broker.scripts.clear()
    house.play(40)
    assert live.order.client_order_id in house.broker.canceled
    assert live.status == "Cancelled"
    house.play(20)
    assert house.desk.trouble is None


def test_a_cancel_that_cannot_leave_is_asked_for_again(house: House) -> None:
    """The socket is closed and nobody has noticed: the executor goes on, the order is tried on."""
    house.script("AAA", fills=(), sticky="Cancelled")
    house.queue()
    house.play(2)
    live = house.broker.find(order(house, "AAA").client_order_id)
    live.status = "Cancelled"
    house.play(20)
    live.status = "Submitted"
    house.broker.scripts.clear()
    house.broker.refuse_bytes = True
    house.play(40)
    assert live.status == "Submitted"
    house.broker.refuse_bytes = False
    house.play(40)
    assert live.status == "Cancelled"


# --- positions ------------------------------------------------------------------------------------


def test_what_no_fill_explains_blocks_the_next_run_until_accepted(house: House) -> None:
    """A split over night: P4 blocks, a person accepts, and the next run measures from there."""
    house.queue()
    assert house.until_ended().status is RunState.DONE
    house.broker.positions["CCC"] *= 2
    house.clock.advance(DAY_S)
    house.play(20)
    house.queue("K2")
    run = house.until_ended("K2")
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.POSITION_BREAK)
    since, lines = explained_positions(house.ledger.db)
    assert since is not None
    assert [line.symbol for line in lines if line.difference] == ["CCC"]
    for symbols in ((), ("AAA",), ("AAA", "CCC")):
        with pytest.raises(RefusedError, match="CCC 300 expected, 600 held"):
            accept(house, symbols)
    accept(house, ("CCC",))
    assert not standing_breaks(house.ledger.db)
    house.retry("K2")
    assert house.until_ended("K2").status in {RunState.DONE, RunState.PARTIAL}


def accept(house: House, symbols: tuple[str, ...]) -> None:
    """Accept positions as ``ibloop positions accept`` does."""
    with house.ledger.transaction() as tx:
        now = house.clock.now().utc
        accept_positions(tx, symbols, reason="split", now=now, actor="ann")


@pytest.mark.parametrize("wrong_s", [-50, 50])
def test_a_wrong_clock_of_the_operator_changes_nothing(house: House, wrong_s: int) -> None:
    """Fills count from the ledger's own newest stamp on, not from a person's clock."""
    house.queue()
    house.until_ended()
    house.broker.positions["CCC"] *= 2
    house.play(40)
    with house.ledger.transaction() as tx:
        now = house.clock.now().utc + timedelta(seconds=wrong_s)
        accept_positions(tx, ("CCC",), reason="split", now=now, actor="ann")
    assert not standing_breaks(house.ledger.db)
    house.broker.trade_by_hand("CCC", Side.BUY, 5)
    house.play(40)
    assert not standing_breaks(house.ledger.db)
    house.queue("K2")
    assert house.until_ended("K2").status in {RunState.DONE, RunState.PARTIAL}


def test_a_trade_by_hand_is_explained_by_its_execution(house: House) -> None:
    """Foreign fills count: somebody's own trade does not block the next run."""
    house.queue()
    house.until_ended()
    house.broker.trade_by_hand("CCC", Side.BUY, 5)
    house.play(40)
    assert not standing_breaks(house.ledger.db)
    house.queue("K2")
    assert house.until_ended("K2").status is RunState.DONE


# --- restored ledgers -----------------------------------------------------------------------------


def restore(house: House, directory: Path) -> None:
    """Put a backup in the place of the ledger and start an executor on it."""
    house.ledger.close()
    house.broker.lose_client()
    for path in house.directory.glob("ibloop.db*"):
        if not path.name.endswith(".mark"):
            path.unlink()
    shutil.copy(directory / "ibloop.db", house.directory / "ibloop.db")
    house.ledger = house.open_ledger()
    house.start()
    house.play(20)


def back_up(house: House, directory: Path) -> None:
    """Copy the ledger as it is."""
    house.ledger.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    directory.mkdir()
    shutil.copy(house.directory / "ibloop.db", directory / "ibloop.db")


def test_a_restored_ledger_sends_nothing_until_it_is_accepted(house: House, tmp_path: Path) -> None:
    """The backup is of before the run: a day later only the mark knows, and that is enough."""
    back_up(house, tmp_path / "backup")
    house.queue()
    house.until_ended()
    sent = list(house.broker.placed)
    house.broker.executions.clear()
    for live in house.broker.live:
        live.forgotten = True
    house.clock.advance(DAY_S)
    restore(house, tmp_path / "backup")
    assert house.desk.trouble is not None
    assert house.desk.trouble.reason is RunReason.LEDGER_BEHIND
    assert "its mark says that there were" in house.desk.trouble.detail
    house.queue()
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.LEDGER_BEHIND)
    assert house.broker.placed == sent
    house.restart()
    house.play(20)
    assert house.desk.trouble is not None
    assert ask(house).status is commands.CommandStatus.DONE
    assert house.desk.trouble is None
    house.restart()
    house.play(20)
    assert house.desk.trouble is None


def test_a_restored_ledger_must_be_armed_anew(house: House, tmp_path: Path) -> None:
    """What was sent under the permission since the backup is forgotten: it would be given twice."""
    arm(house)
    back_up(house, tmp_path / "backup")
    house.queue()
    house.until_ended()
    restore(house, tmp_path / "backup")
    assert arming.current(house.ledger.db) is not None
    assert ask(house).status is commands.CommandStatus.DONE
    assert arming.current(house.ledger.db) is None


def test_references_the_broker_still_shows_become_known_unless_they_work(
    house: House, tmp_path: Path
) -> None:
    """The same day: the executions are foreign now, the run's orders are never sent again."""
    back_up(house, tmp_path / "backup")
    house.script("EEE", fills=())
    house.queue()
    house.until(lambda: "EEE" in house.sent())
    sent = list(house.broker.placed)
    restore(house, tmp_path / "backup")
    answer = ask(house)
    assert answer.status is commands.CommandStatus.REFUSED
    assert "cancel at the broker first: ibl:K1:EEE:B:0" in str(answer.result)
    house.broker.find("ibl:K1:EEE:B:0").status = "Cancelled"
    house.play(20)
    assert ask(house).status is commands.CommandStatus.DONE
    assert house.desk.trouble is None
    house.clock.advance(DAY_S)
    house.broker.executions.clear()
    house.restart()
    house.play(20)
    assert house.desk.trouble is None
    assert house.broker.placed == sent


def test_a_run_of_a_restored_ledger_sends_nothing_after_the_acceptance(
    house: House, tmp_path: Path
) -> None:
    """Restored in mid-run with EEE still planned: it was sent, and must not be sent again (P1)."""
    house.script("EEE", fills=())
    house.plan()
    back_up(house, tmp_path / "backup")
    house.until(lambda: "EEE" in house.sent())
    house.broker.find("ibl:K1:EEE:B:0").status = "Cancelled"
    house.ledger.close()
    house.broker.lose_client()
    for path in house.directory.glob("ibloop.db*"):
        if not path.name.endswith(".mark"):
            path.unlink()
    shutil.copy(tmp_path / "backup" / "ibloop.db", house.directory / "ibloop.db")
    house.ledger = house.open_ledger()
    with house.ledger.transaction() as tx:
        now = house.clock.now().utc
        commands.request(tx, ACCEPT_LEDGER, {"reason": "restored"}, "ann", now)
    house.start()
    house.play(60)
    assert house.broker.placed.count("ibl:K1:EEE:B:0") == 1
    assert house.run().status is RunState.BLOCKED
    assert house.desk.trouble is None


def test_a_partial_fill_of_an_order_a_restored_ledger_never_sent_ends_with_the_acceptance(
    house: House, tmp_path: Path
) -> None:
    """Half filled, the rest cancelled, by a ledger that is gone: nothing of it stays open."""
    house.script("CCC", fills=(D("0.5"),))
    house.plan()
    back_up(house, tmp_path / "backup")
    house.until(lambda: "CCC" in house.sent())
    house.play(2)
    house.broker.find("ibl:K1:CCC:B:0").status = "Cancelled"
    restore(house, tmp_path / "backup")
    house.play(60)
    ask(house)
    house.play(20)
    assert house.desk.trouble is None
    assert order(house, "CCC").status == "canceled"
    assert not check(house.ledger.db)


def test_what_was_called_not_sent_and_fills_stops_the_next_order(house: House) -> None:
    """A wrong decision: the late fill is trouble before anything is sent, and acceptable."""
    lost = lose(house)
    ref = lost.client_order_id
    decide(house, ref, Fate.NOT_SENT)
    house.broker.next_order_id += 1
    live = house.broker.alive(replace(lost, status="sending"))
    house.broker.fill(live, lost.quantity)
    house.play(20)
    assert order(house, "AAA").status == "filled"
    assert house.desk.trouble is not None
    assert house.desk.trouble.reason is RunReason.LEDGER_BEHIND
    assert house.desk.trouble.detail == f"the broker knows {ref}, this ledger has it as not sent"
    sent = list(house.broker.placed)
    house.retry()
    assert house.until_ended().reason is RunReason.LEDGER_BEHIND
    assert house.broker.placed == sent
    assert ask(house).status is commands.CommandStatus.DONE
    house.retry()
    assert house.until_ended().status is RunState.DONE
    assert not check(house.ledger.db)


def test_what_was_called_not_sent_and_works_is_cancelled(house: House) -> None:
    """It comes alive after all: cancelled at once, and nothing is sent meanwhile."""
    lost = lose(house)
    decide(house, lost.client_order_id, Fate.NOT_SENT)
    until = house.clock.now().utc + timedelta(hours=1)
    live = house.broker.alive(replace(lost, good_till=until))
    house.play(40)
    assert live.status == "Cancelled"
    assert lost.client_order_id in house.broker.canceled
    assert house.desk.trouble is not None
    assert ask(house).status is commands.CommandStatus.DONE


def test_what_was_accepted_and_works_again_stops_everything(house: House, tmp_path: Path) -> None:
    """A reference is accepted as one that has ended: an order that revives is news."""
    back_up(house, tmp_path / "backup")
    house.script("EEE", fills=())
    house.queue()
    house.until(lambda: "EEE" in house.sent())
    live = house.broker.find("ibl:K1:EEE:B:0")
    live.status = "Cancelled"
    restore(house, tmp_path / "backup")
    assert ask(house).status is commands.CommandStatus.DONE
    assert house.desk.trouble is None
    live.status = "Submitted"
    house.play(20)
    assert house.desk.trouble is not None
    assert "ibl:K1:EEE:B:0" in house.desk.trouble.detail
    live.status = "Cancelled"
    house.play(20)
    assert house.desk.trouble is None


def test_a_ledger_that_was_used_and_has_no_mark_must_be_accepted(house: House) -> None:
    """Copied to a new machine: nobody knows whether it is the newest."""
    house.desk.note_progress()
    (house.directory / "ibloop.db.mark").unlink()
    house.restart()
    house.play(20)
    assert house.desk.trouble is not None
    assert "its mark ibloop.db.mark is not there" in house.desk.trouble.detail
    assert ask(house).status is commands.CommandStatus.DONE
    assert ask(house).result == "nothing speaks against this ledger"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"seq": "x", "hash": ""}'])
def test_a_damaged_mark_is_no_mark(house: House, content: bytes) -> None:
    """What cannot be read proves nothing: fail closed."""
    (house.directory / "ibloop.db.mark").write_bytes(content)
    house.restart()
    house.play(20)
    assert house.desk.trouble is not None
    assert "cannot be read" in house.desk.trouble.detail


def test_another_history_of_the_same_length_is_found(house: House, tmp_path: Path) -> None:
    """A restored ledger that has gone on since is not the one the mark knows: hashes differ."""
    back_up(house, tmp_path / "backup")
    house.queue()
    house.until_ended()
    mark = (house.directory / "ibloop.db.mark").read_bytes()
    restore(house, tmp_path / "backup")
    house.ledger.close()
    restore_path = house.directory / "ibloop.db.mark"
    assert restore_path.read_bytes() == mark
    house.ledger = house.open_ledger()
    for number in range(400):
        with house.ledger.transaction() as tx:
            now = house.clock.now().utc
            commands.request(tx, "nothing", {"n": number}, "ann", now)
    house.restart()
    house.play(20)
    assert house.desk.trouble is not None
    assert "is not the one that its mark knows" in house.desk.trouble.detail

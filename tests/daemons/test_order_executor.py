"""Every order is sent at most once and its truth found, whatever dies, repeats, lags or lies.

The broker is a fake that holds the truth; the ledger and the core are real. Time moves by hand.
"""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, audit, fills, identity, orders
from ibloop.core import events as ev
from ibloop.core.lifecycle import OrderState, RunReason, RunState
from ibloop.core.model import ZERO, HaltLevel, MarketDataType, Order, Side
from ibloop.daemons.executing.order_trouble import Trouble
from ibloop.errors import LockHeldError
from tests.fakes.house import House

D = Decimal
END = {"AAA": D(500), "BBB": ZERO, "CCC": D(300), "DDD": D(250), "EEE": D(220)}
"""What is held when every order of the run has filled."""
NO_FILL: tuple[Decimal, ...] = ()


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house at rest, synchronised with the broker."""
    made = House(tmp_path)
    made.settle()
    return made


def order(house: House, symbol: str) -> Order:
    """Return the order of a symbol in the run's present attempt."""
    return house.orders()[symbol]


def held(house: House) -> dict[str, Decimal]:
    """Return what the broker says is held."""
    return dict(house.broker.positions)


# --- the way it goes when nothing happens ---------------------------------------------------------


def test_a_run_sells_first_and_ends_done(house: House) -> None:
    """Sells, then buys, smallest first; every execution once; the audit chain whole."""
    house.queue()
    run = house.until_ended()
    assert (run.status, run.detail) == (RunState.DONE, "5 of 5 orders filled")
    assert house.sent() == ["AAA", "BBB", "CCC", "DDD", "EEE"]
    assert held(house) == END
    assert house.broken() == ()
    assert audit.verify(house.ledger.db).is_whole


def test_order_ids_stay_above_what_the_broker_takes_next(house: House) -> None:
    """An id that jumps while connected is told by the next evidence: no order is refused for it."""
    house.broker.next_order_id = 1000
    house.desk.want_evidence()
    house.settle()
    house.queue()
    house.until_ended()
    assert min(o.ib_order_id or 0 for o in house.orders().values()) >= 1000


def test_the_first_order_travels_alone(house: House) -> None:
    """Until the canary is acknowledged, nothing else leaves."""
    house.script("AAA", ack_after_s=3)
    house.queue()
    house.play(2)
    assert house.sent() == ["AAA"]
    assert house.until_ended().status is RunState.DONE


def test_a_fill_proves_the_canary(house: House) -> None:
    """An execution can overtake the acknowledgement, which then may never come."""
    house.script("CCC", silent=True)
    for symbol in ("DDD", "EEE"):
        house.script(symbol, ack_after_s=9)
    house.queue(weights={"AAA": "0.1", "BBB": "0.1", "CCC": "0.1", "DDD": "0.11", "EEE": "0.12"})
    house.until(lambda: bool(house.broker.executions))
    assert house.sent() == ["CCC"]
    house.broker.emit(ev.Executed(house.broker.executions[0]))
    house.settle()
    assert house.sent() == ["CCC", "DDD", "EEE"]


def test_buys_wait_for_the_sells(house: House) -> None:
    """A buy is paid by cash that is there, not by a sell that may not fill."""
    house.script("BBB", fills=(D("0.5"),))
    house.queue()
    house.play(5)
    assert house.sent() == ["AAA", "BBB"]
    house.broker.fill(house.broker.find("ibl:K1:BBB:S:0"), D(250))
    assert house.until_ended().status is RunState.DONE


def test_the_window_bounds_what_is_unacknowledged(tmp_path: Path) -> None:
    """After the canary at most ``window`` orders are on their way at once."""
    house = House(tmp_path)
    house.config = replace(house.config, execution=replace(house.config.execution, window=2))
    house.restart()
    for symbol in ("CCC", "DDD", "EEE"):
        house.script(symbol, ack_after_s=3)
    house.queue()
    house.play(2)
    assert house.sent() == ["AAA", "BBB", "CCC", "DDD"]
    assert house.until_ended().status is RunState.DONE


# --- before the bytes leave -----------------------------------------------------------------------


def test_nothing_unrecorded_is_sent(house: House) -> None:
    """When the first byte leaves, the committed row says SENDING with all it is sent with (P2)."""
    seen: list[Order] = []

    def look(name: str) -> None:
        if name == "before place":
            db = house.ledger.db
            assert not db.in_transaction
            rows = [row.order for row in orders.in_states(db, {OrderState.SENDING})]
            seen.append(next(o for o in rows if o.client_order_id not in house.broker.placed))

    house.broker.boundary = look
    house.queue()
    house.until_ended()
    assert [o.client_order_id for o in seen] == house.broker.placed
    assert len(seen) == 5
    assert all(o.ib_order_id and o.limit_price and o.sent_at for o in seen)
    assert [o.good_till for o in seen] == [house.run().deadline_at] * 5


@pytest.mark.parametrize("level", [HaltLevel.PAUSE, HaltLevel.KILL])
def test_a_halt_between_the_check_and_the_send_is_obeyed(house: House, level: HaltLevel) -> None:
    """The halt is read in the transaction that journals, not only before it (P7)."""
    house.script("AAA", ack_after_s=2)
    house.queue()
    house.play(1)
    read = house.quotes.read

    def halt_now(symbols: list[str]) -> object:
        # The quote is read after the run's own look at the halts and before the transaction.
        house.quotes.read = read  # type: ignore[method-assign]
        house.halt(level)
        return read(symbols)

    house.quotes.read = halt_now  # type: ignore[method-assign, assignment]
    house.play(5)
    assert house.sent() == ["AAA"]
    assert house.run().reason is RunReason.GUARD_HALTED
    assert house.states()["BBB"] == "not_sent"


def test_the_halt_file_is_read_with_every_send(house: House) -> None:
    """A file named HALT stops the very next order, with no program running but the executor."""
    house.broker.boundary = lambda name: (
        (house.directory / "HALT").touch() if name == "after place" else None
    )
    house.queue()
    run = house.until_ended()
    assert house.sent() == ["AAA"]
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.GUARD_HALTED)


def test_reduce_only_lets_sells_through(house: House) -> None:
    """What lowers exposure goes on; each buy is refused, with the check's name."""
    house.halt(HaltLevel.REDUCE_ONLY)
    house.queue()
    assert house.until_ended().status is RunState.PARTIAL
    assert house.sent() == ["AAA", "BBB"]
    assert order(house, "CCC").reject_code == "guard_halted"


def test_an_older_executor_can_send_nothing(house: House) -> None:
    """Its epoch is gone: it ends with 75, and the send itself refuses too (P10)."""
    house.script("AAA", ack_after_s=3)
    house.queue()
    house.play(1)
    old, old_desk = house.trader, house.desk
    run, row = house.run(), orders.of_run(house.ledger.db, "run-K1")[1]
    with house.ledger.transaction() as tx:
        identity.take_epoch(tx, "another", house.clock.now().utc)
    assert "another executor" in str(old_desk.send(run, [row]))
    with pytest.raises(LockHeldError, match="another executor"):
        old.step()
    assert house.sent() == ["AAA"]


def test_an_order_is_journalled_once(house: House) -> None:
    """A stale row in a caller's hand does not send an order a second time (P1)."""
    house.plan()
    run, row = house.run(), orders.of_run(house.ledger.db, "run-K1")[0]
    house.until_ended()
    with house.ledger.transaction() as tx:
        tx.execute("UPDATE trade_runs SET status = 'executing' WHERE run_id = 'run-K1'")
    assert row.order.status == OrderState.PLANNED
    assert "not planned" in str(house.desk.send(run, [row]))
    assert house.sent().count("AAA") == 1


@pytest.mark.parametrize("status", [RunState.BLOCKED, RunState.CANCELED, RunState.RECONCILING])
def test_a_run_that_is_not_executing_sends_nothing(house: House, status: RunState) -> None:
    """The run's state is read in the sending transaction too (P6)."""
    house.script("AAA", ack_after_s=9)
    house.queue()
    house.play(1)
    run, row = house.run(), orders.of_run(house.ledger.db, "run-K1")[1]
    with house.ledger.transaction() as tx:
        tx.execute("UPDATE trade_runs SET status = ?, reason = 'unarmed'", (status,))
    assert "not executing" in str(house.desk.send(run, [row]))
    assert house.sent() == ["AAA"]


HINDRANCES = {
    "deadline": "UPDATE trade_runs SET deadline_at = created_at",
    "unknown": "UPDATE trade_orders SET status = 'unknown' WHERE symbol = 'EEE'",
    "another attempt": "UPDATE trade_runs SET attempt = 1",
}


@pytest.mark.parametrize("hindrance", HINDRANCES)
def test_the_send_itself_looks_again(house: House, hindrance: str) -> None:
    """What the run has looked at before may have changed by the time the lock is held."""
    house.plan()
    run, row = house.run(), orders.of_run(house.ledger.db, "run-K1")[0]
    with house.ledger.transaction() as tx:
        tx.execute(HINDRANCES[hindrance])
    assert hindrance in str(house.desk.send(run, [row]))
    assert house.sent() == []


def test_the_send_itself_looks_for_trouble(house: House) -> None:
    """Also when the run has not stopped for it yet."""
    house.plan()
    run, row = house.run(), orders.of_run(house.ledger.db, "run-K1")[0]
    house.desk.trouble = Trouble(RunReason.LEDGER_BEHIND, "ibl:K9:A:B:0", "never sent it")
    assert house.desk.send(run, [row]) == "never sent it"


def test_a_quote_ages_while_the_write_lock_is_waited_for(house: House) -> None:
    """The age of a quote is taken inside the transaction: the wait for it counts (P11)."""
    house.plan()
    run, row = house.run(), orders.of_run(house.ledger.db, "run-K1")[0]
    whole = house.ledger.transaction

    def slow() -> object:
        house.clock.advance(20)
        return whole()

    house.ledger.transaction = slow  # type: ignore[method-assign, assignment]
    assert house.desk.send(run, [row]) is None
    assert house.sent() == []
    refused = order(house, "AAA")
    assert (refused.status, refused.reject_code) == (OrderState.REJECTED, "market_data_error")


QUOTE_FAULTS: dict[str, dict[str, object]] = {
    "delayed": {"market_data_type": MarketDataType.DELAYED},
    "one-sided": {"bid": None},
    "crossed": {"bid": D(31), "ask": D(30)},
    "wide": {"bid": D(29), "ask": D(31)},
    "far from the close": {"close": D(10)},
    "halted": {"halted": True},
    "of another contract": {"con_id": 99},
}


PRICES_OF_AAA = {"far from the close": {"close": D(4)}}


@pytest.mark.parametrize("fault", QUOTE_FAULTS)
def test_a_price_that_cannot_be_used_sends_nothing(house: House, fault: str) -> None:
    """The order is refused with market_data_error, the others go on (P11)."""
    house.quotes.freeze("CCC", **QUOTE_FAULTS[fault])
    house.queue()
    assert house.until_ended().status is RunState.PARTIAL
    assert house.sent() == ["AAA", "BBB", "DDD", "EEE"]
    refused = order(house, "CCC")
    assert (refused.reject_source, refused.reject_code) == ("ibloop", "market_data_error")


@pytest.mark.parametrize("fault", QUOTE_FAULTS)
def test_a_price_that_went_bad_after_the_plan_sends_nothing(house: House, fault: str) -> None:
    """The send judges the quote of its own moment, by the same rules."""
    house.plan()
    house.quotes.freeze("AAA", **(QUOTE_FAULTS[fault] | PRICES_OF_AAA.get(fault, {})))
    assert house.until_ended().status is RunState.PARTIAL
    assert "AAA" not in house.sent()
    assert order(house, "AAA").reject_code == "market_data_error"


def test_a_stale_quote_at_sending_is_refused(house: House) -> None:
    """Fresh when planned is not enough: it is judged again at the send."""
    house.script("BBB", fills=NO_FILL)
    house.queue()
    house.play(2)
    house.quotes.freeze("CCC")
    house.play(20)
    house.broker.fill(house.broker.find("ibl:K1:BBB:S:0"), D(500))
    house.until_ended()
    assert order(house, "CCC").reject_code == "market_data_error"
    assert "CCC" not in house.sent()


def test_the_limit_price_is_set_when_it_leaves(house: House) -> None:
    """The price of the plan may be minutes old; the collar is laid around the present one."""
    house.script("BBB", fills=NO_FILL)
    house.queue()
    house.play(2)
    house.quotes.prices["CCC"] = D(31)
    house.broker.fill(house.broker.find("ibl:K1:BBB:S:0"), D(500))
    house.until_ended()
    assert order(house, "CCC").limit_price == D("31.46")


@pytest.mark.parametrize("filled", [True, False])
def test_buys_are_held_to_the_cash_there_is(house: House, filled: bool) -> None:
    """What the sells did not bring is not spent, nor what an order on its way may still cost."""
    for symbol in ("AAA", "BBB"):
        house.script(symbol, refused=(201, "no"))
    for symbol in () if filled else ("CCC", "DDD"):
        house.script(symbol, fills=NO_FILL)
    house.broker.cash = D(10_000)
    house.play(20)
    house.queue(weights={"CCC": "0.12", "DDD": "0.13", "EEE": "0.14", "AAA": "0.01"})
    house.play(5)
    codes = {symbol: o.reject_code for symbol, o in house.orders().items()}
    assert codes == {"AAA": "201", "BBB": "201", "CCC": None, "DDD": None, "EEE": "cash_weight_min"}


def test_a_trade_by_hand_is_not_sold_again(house: House) -> None:
    """What somebody sold meanwhile is no longer there to be sold: no short position."""
    house.queue()
    house.until_ended()
    house.broker.slots = 0
    house.queue("K2", {"AAA": "0.05"})
    house.play(2)
    house.broker.trade_by_hand("CCC", Side.SELL, 100)
    house.play(16)
    house.broker.slots = 45
    house.until_ended("K2")
    assert house.orders("K2")["CCC"].reject_code == "foreign_trade"
    assert held(house)["CCC"] == 200


def test_a_gateway_that_does_not_answer_gets_no_order(house: House) -> None:
    """An order leaves only after a round trip a moment ago; the run waits."""
    house.broker.proof_s = 3.5
    house.queue()
    house.play(10)
    assert house.sent() == []
    house.broker.proof_s = 0.5
    assert house.until_ended().status is RunState.DONE


def test_no_order_waits_in_a_queue(house: House) -> None:
    """Without room on the wire nothing is journalled."""
    house.broker.slots = 0
    house.queue()
    house.play(5)
    assert house.states()["AAA"] == "planned"
    house.broker.slots = 45
    assert house.until_ended().status is RunState.DONE


def test_orders_are_paced(tmp_path: Path) -> None:
    """No more than ``orders_per_second_max`` in any second."""
    house = House(tmp_path, orders_per_second_max=2)
    house.queue()
    house.until(lambda: bool(house.sent()), tick_s=0.1)
    house.settle()
    assert len(house.sent()) == 2
    assert house.until_ended().status is RunState.DONE


def test_an_instrument_that_left_the_universe_is_refused(house: House) -> None:
    """An executor that restarts with another universe refuses the order and goes on."""
    house.plan()
    house.instruments = dict(house.instruments)
    house.instruments["CCC"] = replace(house.instruments["CCC"], con_id=99)
    del house.instruments["BBB"]
    house.restart()
    house.until_ended()
    codes = {symbol: o.reject_code for symbol, o in house.orders().items()}
    assert codes == {"AAA": None, "BBB": "universe", "CCC": "universe", "DDD": None, "EEE": None}


def test_a_closed_socket_is_the_one_certain_not_sent(house: House) -> None:
    """Nothing was written, so it is proven at once; it is not sent again by itself."""
    house.broker.refuse_bytes = True
    house.queue()
    run = house.until_ended()
    assert run.status is RunState.FAILED
    assert set(house.states().values()) == {"not_sent"}
    assert house.sent() == []
    assert house.broken() == ()


# --- acknowledgements -----------------------------------------------------------------------------


def test_a_dropped_acknowledgement_is_found(house: House) -> None:
    """The gateway says nothing; evidence after the timeout shows the order, and its fill."""
    house.script("AAA", silent=True)
    house.queue()
    run = house.until_ended()
    assert (run.status, house.sent().count("AAA")) == (RunState.DONE, 1)
    assert house.broken() == ()


def test_a_swallowed_order_is_unknown_and_never_sent_again(house: House) -> None:
    """No answer and no evidence: the account stops; a timeout is no licence to resend (P16)."""
    house.script("AAA", swallowed=True)
    house.queue()
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.UNKNOWN_ORDER)
    assert house.states()["AAA"] == "unknown"
    house.play(120, tick_s=5)
    assert house.broker.placed == ["ibl:K1:AAA:S:0"]
    assert "order.unknown" in [alert.event for alert in alerts.listing(house.ledger.db, 9)]


def test_evidence_in_the_patience_of_an_order_does_not_lose_it(house: House) -> None:
    """A broker has ``ack_timeout_s`` to show an order; a look before that proves nothing."""
    house.script("AAA", ack_after_s=8)
    house.queue()
    house.until(lambda: bool(house.sent()), tick_s=0.1)
    for _ in range(7):
        house.desk.want_evidence()
        house.play(1)
    assert house.states()["AAA"] == "sending"
    assert house.until_ended().status is RunState.DONE


def test_evidence_begun_before_the_send_says_nothing(house: House) -> None:
    """Also within one millisecond, which is all the ledger keeps of a time."""
    house.plan()
    house.broker.evidence_held = True
    house.desk.want_evidence()
    house.clock.advance(1)
    house.desk.poll()
    empty = house.broker.evidence()
    house.script("AAA", refused=(110, "price"))
    house.settle()
    assert (house.sent(), house.states()["AAA"]) == (["AAA"], "sending")
    house.broker.finish_evidence(empty)
    house.settle()
    assert house.states()["AAA"] == "sending"
    house.broker.evidence_held = False
    house.play(1)
    assert house.states()["AAA"] == "rejected"


def test_an_order_the_gateway_wakes_up_with_is_ours_again(house: House) -> None:
    """A frozen gateway sends late: unknown becomes what the evidence then shows."""
    house.script("AAA", ack_after_s=40)
    house.queue()
    assert house.until_ended().reason is RunReason.UNKNOWN_ORDER
    house.until(lambda: house.states()["AAA"] == "filled", 120)
    assert house.broken() == ()
    house.retry()
    assert house.until_ended().status is RunState.DONE
    assert held(house) == END


def test_an_order_that_never_left_is_proven_in_the_end(house: House) -> None:
    """Never shown, expired, positions explained, the same day: only all of it proves NOT_SENT."""
    house.script("AAA", swallowed=True)
    house.queue()
    house.until_ended()
    house.play(29 * 60, tick_s=15)
    assert house.states()["AAA"] == "unknown"
    house.until(lambda: house.states()["AAA"] == "not_sent", 4 * 60, tick_s=5)
    good_till = order(house, "AAA").good_till
    after_s = house.config.execution.absence_after_expiry_s
    assert (house.clock.now().utc - good_till).total_seconds() >= after_s
    house.broker.scripts.clear()
    house.retry()
    assert house.until_ended().status is RunState.DONE
    assert held(house) == END
    assert house.broker.placed.count("ibl:K1:AAA:S:0") == 1


@pytest.mark.parametrize("doubt", ["another day", "a position unexplained", "not expiring"])
def test_what_is_not_proven_stays_unknown(house: House, doubt: str) -> None:
    """One condition missing is enough: a person has to decide."""
    house.script("AAA", swallowed=True)
    house.queue()
    house.until_ended()
    if doubt == "another day":
        house.clock.advance(24 * 3600)
    elif doubt == "a position unexplained":
        house.broker.positions["AAA"] -= 500
    else:
        with house.ledger.transaction() as tx:
            tx.execute("UPDATE trade_orders SET tif = 'DAY'")
    house.play(45 * 60, tick_s=20)
    assert house.states()["AAA"] == "unknown"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_set_forward_lets_no_order_expire(house: House, restarted: bool) -> None:
    """It has to have lived its life by boot time as well: it may be parked in the gateway."""
    house.script("AAA", swallowed=True)
    house.queue()
    house.until_ended()
    house.clock.step_wall(40 * 60)
    if restarted:
        house.restart()
    house.play(25 * 60, tick_s=20)
    assert house.states()["AAA"] == "unknown"
    house.until(lambda: house.states()["AAA"] == "not_sent", 10 * 60, tick_s=5)


def test_a_known_order_that_vanishes_is_lost_only_by_patience(house: House) -> None:
    """IB's answers lag: nothing is sent meanwhile, but one look without it is no loss."""
    house.script("AAA", fills=NO_FILL)
    house.queue()
    house.play(2)
    house.broker.find("ibl:K1:AAA:S:0").forgotten = True
    sent = house.sent()
    house.desk.want_evidence()
    house.play(3)
    assert house.states()["AAA"] == "new"
    assert "cannot be found" in str(house.desk._not_now())
    house.broker.find("ibl:K1:AAA:S:0").forgotten = False
    house.play(3)
    assert house.desk._not_now() is None
    house.broker.find("ibl:K1:AAA:S:0").forgotten = True
    assert house.until_ended().reason is RunReason.UNKNOWN_ORDER
    assert house.sent() == sent


# --- rejections -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [201, 110])
def test_a_rejection_is_confirmed_and_told(house: House, code: int) -> None:
    """The broker's words end up with the order; the rest of the run goes on."""
    house.script("CCC", refused=(code, "not like this"))
    house.queue()
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.PARTIAL, RunReason.ORDERS_REJECTED)
    found = order(house, "CCC")
    assert (found.reject_source, found.reject_code) == ("broker", str(code))
    assert found.reject_reason == "not like this"
    assert house.broken() == ()


def test_rejections_in_a_row_stop_the_run(house: House) -> None:
    """Three in a row are a fault of ours, not of the market."""
    for symbol in ("AAA", "BBB", "CCC", "DDD", "EEE"):
        house.script(symbol, refused=(201, "no"))
    house.config = replace(house.config, execution=replace(house.config.execution, window=1))
    house.restart()
    house.queue()
    run = house.until_ended()
    assert run.reason is RunReason.REJECTIONS_IN_A_ROW
    assert len(house.sent()) == 3
    assert set(house.states().values()) == {"rejected", "not_sent"}


def test_an_error_about_a_foreign_order_is_a_notice(house: House) -> None:
    """Ids that are nobody's, or unknown, change nothing."""
    house.queue()
    house.until_ended()
    house.broker.emit(ev.ErrorReported(None, 201, "of another client"))
    house.broker.emit(ev.ErrorReported(4711, 201, "who is that"))
    house.settle()
    assert set(house.states().values()) == {"filled"}


# --- fills ----------------------------------------------------------------------------------------


def test_partial_repeated_and_late_fills_count_once(house: House) -> None:
    """Every execution once, whatever repeats or comes late (P3)."""
    house.script("EEE", fills=(D("0.25"), D("0.25")))
    house.queue()
    house.play(3)
    execution = house.broker.executions[-1]
    house.broker.emit(ev.Executed(execution), ev.Executed(execution))
    house.play(20)
    assert order(house, "EEE").filled_quantity == 110
    house.broker.fill(house.broker.find("ibl:K1:EEE:B:0"), D(110), told=False)
    assert house.until_ended().status is RunState.DONE
    assert house.broken() == ()
    assert len(fills.everything(house.ledger.db)) == 7


def test_a_correction_replaces_its_execution(house: House) -> None:
    """Keyed by the base of the id: the corrected shares count, not the sum (P3)."""
    house.script("EEE", fills=(D("0.5"),))
    house.queue()
    house.play(3)
    broker = house.broker
    first = broker.executions[-1]
    corrected = replace(first, exec_id=first.exec_id[:-2] + "02", quantity=D(100))
    broker.executions[-1] = corrected
    broker.positions["EEE"] -= 10
    broker.find("ibl:K1:EEE:B:0").filled = D(100)
    broker.emit(ev.Executed(corrected))
    house.play(2)
    assert order(house, "EEE").filled_quantity == 100
    broker.fill(broker.find("ibl:K1:EEE:B:0"), D(120))
    assert house.until_ended().status is RunState.DONE
    assert house.broken() == ()


def test_a_fill_after_the_cancel_wins(house: House) -> None:
    """What was executed was executed, also when the cancel was confirmed before."""
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(3)
    house.cancel_run()
    house.until_ended()
    house.broker.fill(house.broker.find("ibl:K1:EEE:B:0"), D(220), told=True)
    house.settle()
    assert house.states()["EEE"] == "filled"


def test_a_commission_before_its_execution_is_not_lost(house: House) -> None:
    """The next evidence brings it again with the execution."""
    house.queue()
    house.until_ended()
    house.broker.emit(ev.CommissionReported("0000e0d5.9999.01", D(1), None))
    house.settle()
    assert all(fill.commission == 0 for fill in fills.everything(house.ledger.db))


def test_more_fills_than_shares_stop_the_account(house: House) -> None:
    """An over-fill is kept, told, and nothing more is sent; no exception loses it (P5)."""
    house.script("AAA", fills=(D("0.5"),))
    house.queue()
    house.play(2)
    live = house.broker.find("ibl:K1:AAA:S:0")
    house.broker.fill(live, D(400))
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.PROMISE_BROKEN)
    assert "P5" in run.detail
    assert order(house, "AAA").filled_quantity == 650
    house.restart()
    house.play(20)
    assert house.desk.trouble is not None


# --- what cannot be explained ---------------------------------------------------------------------


def test_an_order_of_ours_that_the_ledger_never_sent_stops_everything(house: House) -> None:
    """A restored backup would send it again: LEDGER_BEHIND, also after the broker forgot (P15)."""
    house.queue()
    house.until_ended()
    strange = house.broker.trade_by_hand("CCC", Side.BUY, 5, ref="ibl:K2:CCC:B:0")
    house.queue("K2")
    run = house.until_ended("K2")
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.LEDGER_BEHIND)
    strange.forgotten = True
    house.broker.executions.pop()
    house.clock.advance(24 * 3600)
    house.restart()
    house.play(20)
    assert house.desk.trouble is not None
    assert "ibl:K2" not in "".join(house.broker.placed)


def test_a_report_about_a_planned_order_holds_every_send(house: House) -> None:
    """The broker knows an order that is only planned: no send until evidence has spoken."""
    house.script("AAA", fills=NO_FILL)
    house.queue()
    house.play(2)
    assert house.states()["CCC"] == "planned"
    house.broker.evidence_held = True
    house.broker.emit(ev.OrderReported("ibl:K1:CCC:B:0", 99, 9999, "Submitted"))
    house.settle()
    assert "never sent" in str(house.desk._not_now())
    house.play(1)
    house.broker.emit(ev.OrderReported("ibl:K1:DDD:B:0", 98, 9998, "Submitted"))
    house.settle()
    house.broker.finish_evidence()
    house.settle()
    assert "ibl:K1:DDD:B:0" in str(house.desk._not_now())
    house.play(1)
    house.broker.evidence_held = False
    house.broker.finish_evidence()
    house.settle()
    assert house.desk._not_now() is None
    assert house.sent() == ["AAA", "BBB"]


def test_a_fill_of_a_planned_order_stops_the_run(house: House) -> None:
    """Somebody else sent it with our reference: the fill is kept, the account stops (P2)."""
    house.script("AAA", fills=NO_FILL)
    house.queue()
    house.play(2)
    planned = order(house, "CCC")
    execution = house.broker.execution(planned, 9999, D(10))
    house.broker.executions.append(execution)
    house.broker.positions["CCC"] += 10
    house.broker.emit(ev.Executed(execution))
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.LEDGER_BEHIND)
    house.halt(HaltLevel.KILL)
    house.play(30)
    assert order(house, "CCC").filled_quantity == 10


def test_another_perm_id_for_the_same_reference_is_unknown(house: House) -> None:
    """Two orders with one reference: nothing is sent, nothing is cancelled, nothing crashes."""
    house.script("AAA", fills=NO_FILL)
    house.queue()
    house.play(2)
    first = house.broker.find("ibl:K1:AAA:S:0")
    house.broker.live.append(replace(first, perm_id=9999))
    house.broker.emit(ev.OrderReported("ibl:K1:AAA:S:0", 1, 9999, "Submitted"))
    sent = house.sent()
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.UNKNOWN_ORDER)
    house.play(60, tick_s=5)
    assert house.states()["AAA"] == "unknown"
    assert house.sent() == sent
    assert [b.promise for b in house.broken()] == ["P1"]


def test_an_ended_order_that_works_again_stops_the_account(house: House) -> None:
    """The ledger says rejected, the broker shows it working: told, and nothing more is sent."""
    house.script("CCC", refused=(110, "price"))
    house.queue()
    house.until_ended()
    rejected = order(house, "CCC")
    live = replace(house.broker.live[0], order=rejected, perm_id=8888, status="Submitted")
    house.broker.live.append(replace(live, filled=ZERO))
    house.play(20)
    assert house.desk.trouble is not None
    assert house.desk.trouble.reason is RunReason.UNKNOWN_ORDER


def test_foreign_orders_are_left_alone_and_cost_no_evidence(house: House) -> None:
    """A manual order that works is repeated in every answer: that must not ask the next one."""
    house.queue()
    house.until_ended()
    manual = house.broker.trade_by_hand("CCC", Side.BUY, 5, ref="by hand")
    manual.status = "Submitted"
    house.play(2)
    asked = house.broker.evidence_asked
    house.play(60)
    assert house.broker.evidence_asked - asked <= 5
    assert house.desk.trouble is None


def test_executions_of_another_account_are_not_ours(house: House) -> None:
    """They are dropped: the ledger is bound to one account (P9)."""
    house.queue()
    house.until_ended()
    other = replace(house.broker.executions[0], exec_id="x.01", account="DU7654321")
    house.broker.emit(ev.Executed(other))
    house.settle()
    assert len(fills.everything(house.ledger.db)) == 5


# --- the connection -------------------------------------------------------------------------------


def test_nothing_is_sent_before_the_truth_is_known_again(house: House) -> None:
    """After a reconnect a complete collection comes first; the run then goes on by itself."""
    house.script("AAA", ack_after_s=4)
    house.queue()
    house.play(1)
    house.broker.disconnect()
    house.play(5)
    house.broker.connect()
    house.broker.evidence_held = True
    house.play(5)
    assert house.sent() == ["AAA"]
    house.broker.evidence_held = False
    house.broker.finish_evidence()
    assert house.until_ended().status is RunState.DONE
    assert house.broken() == ()


@pytest.mark.parametrize("news", ["reconnect", "1102", "1101"])
def test_evidence_collected_across_an_outage_counts_for_nothing(house: House, news: str) -> None:
    """A pass that began before the outage ended is not the evidence asked for after it."""
    house.broker.evidence_held = True
    house.desk.want_evidence()
    house.play(1)
    stale = house.broker.evidence()
    if news == "reconnect":
        house.broker.emit(ev.Disconnected("gone"), ev.Connected(1))
    else:
        house.broker.emit(ev.ErrorReported(None, 1100, "lost"))
        house.settle()
        house.broker.emit(ev.ErrorReported(None, int(news), "restored"))
    house.settle()
    assert not house.desk.ready()
    house.broker.finish_evidence(stale)
    house.settle()
    assert not house.desk.ready()
    house.play(1)
    house.broker.finish_evidence()
    house.settle()
    assert house.desk.ready()


def test_a_lost_link_sends_nothing(house: House) -> None:
    """1100: the socket is open and the broker is not there; fills are still taken in."""
    house.script("AAA", fills=NO_FILL)
    house.queue()
    house.play(2)
    house.broker.emit(ev.ErrorReported(None, 1100, "lost"))
    house.broker.fill(house.broker.find("ibl:K1:AAA:S:0"), D(500))
    sent = house.sent()
    house.play(30)
    assert (house.sent(), house.states()["AAA"]) == (sent, "filled")
    house.broker.emit(ev.ErrorReported(None, 1102, "restored"))
    assert house.until_ended().status is RunState.DONE


def test_a_failed_collection_is_no_evidence(house: House) -> None:
    """Failed is not empty: it is asked again, a second later, and judged by nobody."""
    house.script("AAA", fills=NO_FILL)
    house.queue()
    house.play(2)
    house.broker.evidence_fails = True
    asked = house.broker.evidence_asked
    house.play(30)
    assert 1 <= house.broker.evidence_asked - asked <= 31
    assert house.states()["AAA"] == "new"


def test_a_stepped_wall_clock_loses_no_order(house: House) -> None:
    """Patience is boot time: a clock set forward an hour is no timeout, set back no blindness."""
    house.script("AAA", ack_after_s=3)
    house.queue()
    house.play(1)
    house.clock.step_wall(-3600)
    house.broker.boundary = lambda _: None
    house.script("AAA", swallowed=True)
    house.play(20)
    assert house.states()["AAA"] == "unknown"


# --- cancels --------------------------------------------------------------------------------------


def test_a_kill_cancels_what_works(house: House) -> None:
    """At once, each order once, and the fills that came first are kept."""
    for symbol in ("CCC", "DDD", "EEE"):
        house.script(symbol, fills=(D("0.5"),))
    house.queue()
    house.play(3)
    house.halt(HaltLevel.KILL)
    run = house.until_ended()
    assert run.status is RunState.PARTIAL
    assert sorted(house.broker.canceled) == [f"ibl:K1:{s}:B:0" for s in ("CCC", "DDD", "EEE")]
    assert set(house.states().values()) == {"filled", "canceled"}
    assert house.broken() == ()


def test_a_cancel_that_is_not_obeyed_is_asked_again_and_not_endlessly(house: House) -> None:
    """Shown as working after the timeout: asked again; the gateway is not flooded with it."""
    house.script("EEE", fills=NO_FILL, sticky="Submitted")
    house.queue()
    house.play(3)
    house.halt(HaltLevel.KILL)
    house.play(60)
    assert 2 <= len(house.broker.canceled) <= 6
    house.broker.scripts.clear()
    assert house.until_ended().status is RunState.PARTIAL


def test_a_cancel_pending_for_ever_ends_the_run_all_the_same(house: House) -> None:
    """Five minutes after the deadline the run is blocked by name, and evidence is not hammered."""
    house.script("EEE", fills=NO_FILL, sticky="PendingCancel")
    house.queue()
    house.play(3)
    asked = house.broker.evidence_asked
    run = house.until_ended(seconds=40 * 60, tick_s=10)
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.DEADLINE_REACHED)
    assert "ibl:K1:EEE:B:0" in run.detail
    assert house.broker.evidence_asked - asked <= 40 * 60 / 5


def test_a_cancel_on_a_closed_socket_waits(house: House) -> None:
    """There is nobody to ask: it is asked once the connection is back."""
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(3)
    house.broker.disconnect()
    house.halt(HaltLevel.KILL)
    house.play(5)
    assert house.states()["EEE"] == "new"
    house.broker.connect()
    house.until_ended()
    assert house.broker.canceled == ["ibl:K1:EEE:B:0"]

"""The pace at which messages leave, as a function of times: every rule over random histories."""

from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.adapters.ib.pace import SEND_WINDOW_S, SENDS_MAX, SENDS_URGENT, Lane, Pace

ORDINARY = SENDS_MAX - SENDS_URGENT
ROUNDING_S = 1e-9
Message = tuple[Lane, int]
BURST = st.tuples(
    st.sampled_from([0.0, 0.0, 0.001, 0.1, 0.4, 1.0, SEND_WINDOW_S, 2.0]),
    st.sampled_from(Lane),
    st.integers(1, 60),
)
BURSTS = st.lists(BURST, max_size=12)
LATE_S = st.sampled_from([0.0, 0.002, 0.3])


class Line:
    """A pace with the timer that a socket's owner sets, which may be late."""

    def __init__(self, late_s: float = 0.0) -> None:
        """Begin at noon of the clock."""
        self.pace = Pace[Message]()
        self.now = 1000.0
        self.left: list[tuple[float, Message]] = []
        self.given: list[Message] = []
        self.refused: list[Message] = []
        self._late_s = late_s

    def give(self, lane: Lane) -> None:
        """Give the next message of a lane."""
        message = (lane, len(self.given) + len(self.refused))
        could = self.pace.room(self.now)
        leaving = self.pace.give(lane, message, self.now)
        if leaving is None:
            assert lane is Lane.ORDER
            assert could == 0
            self.refused.append(message)
            return
        self.given.append(message)
        if lane is Lane.ORDER:
            assert leaving[-1] == message
        self._note(leaving)

    def go_on(self, until: float | None) -> None:
        """Let time pass; without an end, until nothing waits."""
        while (at := self.pace.next_at(self.now)) is not None:
            at = max(self.now, at) + self._late_s
            if until is not None and at > until:
                break
            self.now = at
            due = self.pace.due(at)
            assert due, "woken for nothing"
            self._note(due)
        self.now = self.now if until is None else max(self.now, until)

    def _note(self, leaving: list[Message]) -> None:
        for message in leaving:
            assert message[0] is Lane.URGENT or not self._waiting(Lane.URGENT)
            self.left.append((self.now, message))
        assert not self._waiting(Lane.ORDER)

    def _waiting(self, lane: Lane) -> list[Message]:
        return [message for message in self.pace.waiting() if message[0] is lane]


def played(bursts: list[tuple[float, Lane, int]], late_s: float) -> Line:
    """Return what came of bursts: seconds after the one before, lane and count."""
    line = Line(late_s)
    for wait_s, lane, count in bursts:
        line.go_on(line.now + wait_s)
        for _ in range(count):
            line.give(lane)
    return line


@settings(deadline=None)
@given(BURSTS, LATE_S)
def test_no_window_holds_more_than_the_limit(bursts: list[tuple[float, Lane, int]], late_s: float):
    """Never more than 50 messages in any 1.05 s."""
    line = played(bursts, late_s)
    line.go_on(None)
    times = [at for at, _ in line.left]
    for first, fiftyfirst in zip(times, times[SENDS_MAX:], strict=False):
        assert fiftyfirst - first >= SEND_WINDOW_S - ROUNDING_S


@settings(deadline=None)
@given(BURSTS, LATE_S)
def test_slots_stay_free_beside_what_is_not_urgent(
    bursts: list[tuple[float, Lane, int]], late_s: float
):
    """Where an order or a question has left, the window holds 45 at most, cancels counted in."""
    line = played(bursts, late_s)
    line.go_on(None)
    for number, (at, (lane, _)) in enumerate(line.left):
        earlier = [t for t, _ in line.left[:number] if t > at - SEND_WINDOW_S + ROUNDING_S]
        assert lane is Lane.URGENT or len(earlier) < ORDINARY


@settings(deadline=None)
@given(BURSTS, LATE_S)
def test_nothing_is_lost_and_each_lane_keeps_its_order(
    bursts: list[tuple[float, Lane, int]], late_s: float
):
    """All that was taken leaves, once; in a lane what came first leaves first."""
    line = played(bursts, late_s)
    line.go_on(None)
    for lane in Lane:
        left = [message for _, message in line.left if message[0] is lane]
        assert left == [message for message in line.given if message[0] is lane]
    assert not {message for _, message in line.left} & set(line.refused)


@settings(deadline=None)
@given(BURSTS, LATE_S, st.sampled_from([0.0, 0.01, 1.05]))
def test_room_is_true(bursts: list[tuple[float, Lane, int]], late_s: float, wait_s: float):
    """As many orders as there is room for leave at once, one after the other; the next does not."""
    line = played(bursts, late_s)
    now = line.now + wait_s  # a timer may be late: what waits has not moved up yet
    pace = deepcopy(line.pace)
    for _ in range(pace.room(now)):
        leaving = pace.give(Lane.ORDER, (Lane.ORDER, -1), now)
        assert leaving is not None
        assert leaving[-1] == (Lane.ORDER, -1)
    assert pace.give(Lane.ORDER, (Lane.ORDER, -1), now) is None


def test_cancels_take_whole_windows_before_anything_else():
    """A kill of 100 orders: 50 cancels at once, 50 a window later, then the question."""
    line = Line()
    line.give(Lane.URGENT)
    line.give(Lane.QUESTION)
    for _ in range(ORDINARY - 1):
        line.give(Lane.QUESTION)
    for _ in range(99):
        line.give(Lane.URGENT)
    assert line.pace.room(line.now) == 0
    line.go_on(None)
    lanes = [lane for _, (lane, _) in line.left]
    began = line.left[0][0]
    assert lanes.count(Lane.URGENT) == 100
    assert lanes[1:ORDINARY] == [Lane.QUESTION] * (ORDINARY - 1)
    assert lanes[ORDINARY:-1] == [Lane.URGENT] * 99
    assert [at - began < SEND_WINDOW_S for at, _ in line.left[:SENDS_MAX]] == [True] * SENDS_MAX


def test_an_order_does_not_take_waiting_questions_with_it():
    """The room beside it is promised to the orders that follow."""
    line = Line()
    for _ in range(ORDINARY + 10):
        line.give(Lane.QUESTION)
    line.now += SEND_WINDOW_S
    for _ in range(line.pace.room(line.now)):
        line.give(Lane.ORDER)
    assert not line.refused
    assert [lane for _, (lane, _) in line.left[ORDINARY:]] == [Lane.ORDER] * ORDINARY

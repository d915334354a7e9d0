"""Faults of market data."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from ibloop.sim.faults.base import (
    AT_LEAST_ONE,
    STREAMED,
    TICKS,
    Arrival,
    Asks,
    Fault,
    Outgoing,
    Reaction,
    Says,
    Stage,
    parameter,
)
from ibloop.sim.faults.outages import repeatedly
from ibloop.sim.faults.registry import register
from ibloop.sim.faults.striking import Dam, Striking

COMPETING = "No market data during competing live session"
TOO_MANY = "Max number of tickers has been reached."
# What a login without a subscription is told: code, text; with 10167 delayed ticks follow, for who
# asked for data of type 3 or 4. Everybody else is told 10089 then.
DELAYED_SHOWN, DELAYED_THERE = 10167, 10089
DELAYED = 3
NOT_ENTITLED = {
    10167: "Requested market data is not subscribed. Displaying delayed market data.",
    10168: "Requested market data is not subscribed. Delayed market data is not enabled.",
    354: "Requested market data is not subscribed. Delayed market data is available.",
    10089: "Requested market data requires additional subscription for API. See link in 'Market "
    "Data Connections' dialog for more details. Delayed market data is available.",
    10186: "Requested market data is not subscribed. Delayed market data is not enabled.",
}
LIVE_TO_DELAYED = dict(
    zip(
        ("1", "2", "4", "0", "3", "5", "6", "7", "8", "9", "14", "45"),
        ("66", "67", "68", "69", "70", "71", "72", "73", "74", "75", "76", "88"),
        strict=True,
    )
)
BIDS, ASKS = frozenset({"1", "66"}), frozenset({"2", "67"})


@register
@dataclass(kw_only=True, slots=True)
class CompetingSession(Dam):
    """Another session of the same user takes the data: 10197 for every stream, in bursts.

    Ticks stop until the other session has gone.
    """

    client_id: int | None = parameter(None, "only this client")
    seconds: float = parameter(10.0, "how long, 0 until cleared")
    repeat_s: float = parameter(3.0, "seconds between two bursts, 0 for one only")
    burst: int = parameter(2, "errors for each stream in a burst", within=AT_LEAST_ONE)

    def begin(self, stage: Stage) -> None:
        """Begin the bursts, and end after the given time."""
        repeatedly(stage, self, self.repeat_s, lambda: self._complain(stage))
        if self.seconds:
            stage.later(self.seconds, lambda: stage.end(self))

    def _complain(self, stage: Stage) -> None:
        for client_id, req_id in stage.data_requests(self.client_id):
            for _ in range(self.burst):
                stage.error(client_id, req_id, 10197, COMPETING)

    def finish(self, stage: Stage) -> None:
        """Let the data flow again."""
        self.over = True
        self.release(stage)

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Take new streams, with the error."""
        mine = self.client_id in {None, arrival.client_id}
        if not mine or arrival.message_id != Asks.MARKET_DATA:
            return None
        return Reaction(errors=((arrival.req_id, 10197, COMPETING),))

    def sends(self, outgoing: Outgoing) -> Iterable[Outgoing] | None:
        """Let no data through."""
        mine = self.client_id in {None, outgoing.client_id}
        return self.hold(outgoing) if mine and outgoing.message_id in STREAMED else None


@register
@dataclass(kw_only=True, slots=True)
class DelayedOnly(Striking):
    """The login has no live data: 10167 and delayed ticks, or another code and none.

    Delayed ticks go to who asked for type 3 or 4, with the ids of delayed data and the values of
    the live ones; everybody else is told 10089. Streams of type 1 that are open already go on.
    """

    symbol: str | None = parameter(None, "only this symbol")
    code: int = parameter(
        DELAYED_SHOWN, "10167 with delayed ticks; 10168, 354, 10089, 10186 without"
    )
    stage: Stage | None = field(default=None, init=False, repr=False, compare=False)

    def begin(self, stage: Stage) -> None:
        """Keep what knows the type of data that a client asked for."""
        self.stage = stage

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Say so for every new stream, and open none unless delayed ticks follow."""
        if arrival.message_id != Asks.MARKET_DATA or self.symbol not in {None, arrival.symbol}:
            return None
        if not self.strikes(arrival.client_id):
            return None
        code = self.code
        if code == DELAYED_SHOWN and arrival.stage.data_type(arrival.client_id) < DELAYED:
            code = DELAYED_THERE
        text = NOT_ENTITLED.get(code, "Requested market data is not subscribed.")
        return Reaction(swallow=code != DELAYED_SHOWN, errors=((arrival.req_id, code, text),))

    def sends(self, outgoing: Outgoing) -> Iterable[Outgoing] | None:
        """Turn live ticks into delayed ones; what has no delayed form is left out."""
        if self.code != DELAYED_SHOWN or self.client_id not in {None, outgoing.client_id}:
            return None
        client_id = outgoing.client_id
        if self.stage is None or client_id is None or self.stage.data_type(client_id) < DELAYED:
            return None
        kind, fields = outgoing.message_id, outgoing.fields
        if kind == Says.MARKET_DATA_TYPE:
            return (replace(outgoing, fields=(*fields[:3], str(DELAYED))),)
        if kind not in TICKS or self.symbol not in {None, outgoing.symbol}:
            return None
        tick = LIVE_TO_DELAYED.get(fields[3])
        if tick is None:
            return None if fields[3] in LIVE_TO_DELAYED.values() else ()
        return (replace(outgoing, fields=(*fields[:3], tick, *fields[4:])),)


@register
@dataclass(kw_only=True, slots=True)
class LineLimit(Fault):
    """Fewer data streams are allowed: 101 for a new one, and unasked for those above the limit."""

    client_id: int | None = parameter(None, "only this client")
    lines: int = parameter(10, "streams a client may have")

    def begin(self, stage: Stage) -> None:
        """End the youngest streams above the limit."""
        count: dict[int, int] = {}
        for client_id, req_id in stage.data_requests(self.client_id):
            count[client_id] = count.get(client_id, 0) + 1
            if count[client_id] > self.lines:
                stage.end_data(client_id, req_id)
                stage.error(client_id, req_id, 101, TOO_MANY)
                self.struck += 1

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Refuse a stream above the limit."""
        mine = self.client_id in {None, arrival.client_id}
        if not mine or arrival.message_id not in {Asks.MARKET_DATA, Asks.REAL_TIME_BARS}:
            return None
        if len(arrival.stage.data_requests(arrival.client_id)) < self.lines:
            return None
        self.struck += 1
        return Reaction(swallow=True, errors=((arrival.req_id, 101, TOO_MANY),))


@register
@dataclass(kw_only=True, slots=True)
class StaleQuotes(Dam):
    """Ticks stop without a word; everything else goes on. At the end the latest ones flow."""

    client_id: int | None = parameter(None, "only this client")
    symbol: str | None = parameter(None, "only this symbol")
    seconds: float = parameter(0.0, "how long, 0 until cleared")

    def begin(self, stage: Stage) -> None:
        """End after the given time."""
        if self.seconds:
            stage.later(self.seconds, lambda: stage.end(self))

    def finish(self, stage: Stage) -> None:
        """Let the data flow again."""
        self.over = True
        self.release(stage)

    def sends(self, outgoing: Outgoing) -> Iterable[Outgoing] | None:
        """Hold ticks back."""
        mine = self.client_id in {None, outgoing.client_id}
        if outgoing.message_id not in STREAMED or not mine:
            return None
        return self.hold(outgoing) if self.symbol in {None, outgoing.symbol} else None


@register
@dataclass(kw_only=True, slots=True)
class TickGap(Striking):
    """Single ticks are lost; the client keeps the value before."""

    symbol: str | None = parameter(None, "only this symbol")
    every_n: int = parameter(2, "loses every n-th tick only", within=AT_LEAST_ONE)

    def sends(self, outgoing: Outgoing) -> Iterable[Outgoing] | None:
        """Lose a tick."""
        if outgoing.message_id not in STREAMED or self.symbol not in {None, outgoing.symbol}:
            return None
        return () if self.strikes(outgoing.client_id) else None


@register
@dataclass(kw_only=True, slots=True)
class BadTicks(Striking):
    """Prices on the wire are nonsense; the market itself, and what fills, is as ever."""

    symbol: str | None = parameter(None, "only this symbol")
    kind: str = parameter(
        "spike",
        "NaN, -1 or 0 instead of the price, bid above ask, or ten times the price",
        choices=("nan", "minus_one", "zero", "crossed", "spike"),
    )

    def sends(self, outgoing: Outgoing) -> Iterable[Outgoing] | None:
        """Spoil a price."""
        if outgoing.message_id != Says.TICK_PRICE or self.symbol not in {None, outgoing.symbol}:
            return None
        tick, price = outgoing.fields[3:5]
        if self.kind == "crossed" and tick not in BIDS | ASKS:
            return None
        if not self.strikes(outgoing.client_id):
            return None
        bad = spoilt(self.kind, tick, price)
        return (replace(outgoing, fields=(*outgoing.fields[:4], bad, *outgoing.fields[5:])),)


def spoilt(kind: str, tick: str, price: str) -> str:
    """Return a bad price in place of a good one; crossed moves bid up and ask down by 5 %."""
    fixed = {"nan": "NaN", "minus_one": "-1.0", "zero": "0.0"}
    if kind in fixed:
        return fixed[kind]
    factor = Decimal(10) if kind == "spike" else Decimal("1.05" if tick in BIDS else "0.95")
    return str(float(Decimal(price) * factor))

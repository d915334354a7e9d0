"""Faults between the gateway and IB, and of the gateway as a whole."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ibloop.sim.faults.base import (
    AT_LEAST_ONE,
    STREAMED,
    Arrival,
    Asks,
    Delivery,
    Door,
    Fault,
    Outgoing,
    Reaction,
    Stage,
    Step,
    parameter,
)
from ibloop.sim.faults.registry import register
from ibloop.sim.faults.striking import Dam

LOST = "Connectivity between IB and Trader Workstation has been lost."
RESTORED = "Connectivity between IB and Trader Workstation has been restored"
FARMS = "All data farms are connected: usfarm; ushmds; secdefil."
# What a gateway answers by itself, without IB's servers.
LOCAL = frozenset(
    {Asks.IDS, Asks.SERVER_LOG_LEVEL, Asks.MANAGED_ACCOUNTS, Asks.CURRENT_TIME}
    | {Asks.CURRENT_TIME_MILLIS, Asks.CANCEL_MARKET_DATA}
)


def repeatedly(stage: Stage, fault: Fault, every_s: float, action: Callable[[], None]) -> None:
    """Do something now and again every so many seconds while a fault lasts; 0 is once."""

    def again() -> None:
        if not fault.over:
            action()
            if every_s > 0:
                stage.later(every_s, again)

    again()


@register
@dataclass(kw_only=True, slots=True)
class ConnectivityLost(Dam):
    """The gateway loses IB: 1100 again and again, silence, then 1101 or 1102.

    Orders at the exchange go on. Requests wait for the connection, except for time, ids and
    accounts. 1101 means that subscriptions to data are gone, 1102 that they flow again.
    """

    seconds: float = parameter(10.0, "how long, 0 until cleared")
    repeat_s: float = parameter(5.0, "seconds between two 1100, 0 for one only")
    data: str = parameter("maintained", "1102 or 1101 at the end", choices=("maintained", "lost"))
    callbacks: str = parameter(
        "lost", "what becomes of order callbacks meanwhile", choices=("lost", "late")
    )
    requests: str = parameter(
        "held", "what becomes of requests meanwhile", choices=("held", "lost")
    )
    waiting: list[Callable[[], None] | Delivery] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def begin(self, stage: Stage) -> None:
        """Tell everybody, repeatedly, and end after the given time."""
        repeatedly(stage, self, self.repeat_s, lambda: stage.error(None, -1, 1100, LOST))
        if self.seconds:
            stage.later(self.seconds, lambda: stage.end(self))

    def finish(self, stage: Stage) -> None:
        """Restore: the notice first, then what waited."""
        self.over = True
        if self.data == "lost":
            for client_id, req_id in stage.data_requests(None):
                stage.end_data(client_id, req_id)
            stage.error(None, -1, 1101, f"{RESTORED} - data lost.")
        else:
            stage.error(None, -1, 1102, f"{RESTORED} - data maintained. {FARMS}")
        waiting, self.waiting = self.waiting, []
        for item in waiting:
            if isinstance(item, Delivery):
                stage.post(item)
            else:
                item()
        self.release(stage)

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Keep a request until the end, or lose it."""
        if arrival.message_id in LOCAL:
            return None
        self.struck += 1
        if self.requests == "held":
            self.waiting.append(arrival.handle)
        return Reaction(swallow=True)

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Keep a callback until the end, or lose it."""
        self.struck += 1
        if self.callbacks == "late":
            self.waiting.append(delivery)
        return ()

    def sends(self, outgoing: Outgoing) -> tuple[Outgoing, ...] | None:
        """Let no data through."""
        return self.hold(outgoing) if outgoing.message_id in STREAMED else None


@dataclass(frozen=True, slots=True)
class Farm:
    """What a gateway says of one kind of data farm, by code; {} is the farm's name."""

    name: str
    broken: tuple[int, str]
    healthy: tuple[int, str]
    dormant: tuple[int, str]
    needed_for: frozenset[int]


FARM_KINDS = {
    "market": Farm(
        "usfarm",
        (2103, "Market data farm connection is broken:{}"),
        (2104, "Market data farm connection is OK:{}"),
        (2108, "Market data farm connection is inactive but should be available upon demand.{}"),
        frozenset(),
    ),
    "history": Farm(
        "ushmds",
        (2105, "HMDS data farm connection is broken:{}"),
        (2106, "HMDS data farm connection is OK:{}"),
        (2107, "HMDS data farm connection is inactive but should be available upon demand.{}"),
        frozenset({Asks.HISTORICAL_DATA, Asks.HEAD_TIMESTAMP, Asks.HISTORICAL_TICKS}),
    ),
    "contracts": Farm(
        "secdefil",
        (2157, "Sec-def data farm connection is broken:{}"),
        (2158, "Sec-def data farm connection is OK:{}"),
        (2158, "Sec-def data farm connection is OK:{}"),
        frozenset({Asks.CONTRACT_DETAILS, Asks.MATCHING_SYMBOLS}),
    ),
}
CONNECTING = "Market data farm is connecting:{}"


@register
@dataclass(kw_only=True, slots=True)
class FarmFlap(Dam):
    """A data farm breaks and comes back, several times: 2103/2104, 2105/2106 or 2157/2158.

    Meanwhile ticks stop (market), or requests for history or contracts wait.
    """

    kind: str = parameter("market", "which farm", choices=tuple(FARM_KINDS))
    farm: str = parameter("", "name of the farm, none for the usual one")
    seconds: float = parameter(2.0, "how long it is broken")
    pause_s: float = parameter(2.0, "how long it is well before it breaks again")
    times: int = parameter(1, "how often it breaks, 0 until cleared")
    dormant: bool = parameter(False, "it comes back dormant: 2108 or 2107")
    broken: bool = field(default=False, init=False, repr=False, compare=False)
    waiting: list[Callable[[], None]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def begin(self, stage: Stage) -> None:
        """Break."""
        self._break(stage)

    def finish(self, stage: Stage) -> None:
        """Come back if broken."""
        self.over = True
        self._mend(stage)

    def _break(self, stage: Stage) -> None:
        if self.over:
            return
        self.broken = True
        self.struck += 1
        self._say(stage, FARM_KINDS[self.kind].broken)
        stage.later(max(self.seconds, 0.001), lambda: self._come_back(stage))

    def _come_back(self, stage: Stage) -> None:
        if self.over:
            return
        self._mend(stage)
        if self.times and self.struck >= self.times:
            stage.end(self)
        else:
            stage.later(max(self.pause_s, 0.001), lambda: self._break(stage))

    def _mend(self, stage: Stage) -> None:
        if not self.broken:
            return
        self.broken = False
        kind = FARM_KINDS[self.kind]
        if self.kind == "market":
            self._say(stage, (2119, CONNECTING))
        self._say(stage, kind.dormant if self.dormant else kind.healthy)
        waiting, self.waiting = self.waiting, []
        for handle in waiting:
            handle()
        self.release(stage)

    def _say(self, stage: Stage, notice: tuple[int, str]) -> None:
        code, text = notice
        stage.error(None, -1, code, text.format(self.farm or FARM_KINDS[self.kind].name))

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Keep what needs the farm until it is back."""
        if not self.broken or arrival.message_id not in FARM_KINDS[self.kind].needed_for:
            return None
        self.waiting.append(arrival.handle)
        return Reaction(swallow=True)

    def sends(self, outgoing: Outgoing) -> tuple[Outgoing, ...] | None:
        """Let no ticks through while the market data farm is broken."""
        dry = self.broken and self.kind == "market"
        if dry and outgoing.message_id in STREAMED:
            struck = self.struck
            held = self.hold(outgoing)
            self.struck = struck
            return held
        return None


@register
@dataclass(kw_only=True, slots=True)
class NightlyRestart(Fault):
    """The gateway restarts: 1300 if wanted, all connections reset, nobody let in, then as before.

    Orders at the exchange go on meanwhile, and executions are kept. Orders of the last `dying_s`
    seconds are lost on the way, and their ids are offered anew.
    """

    down_s: float = parameter(5.0, "how long it is down, 0 until cleared")
    door: str = parameter(
        "refuse", "what new connections meet meanwhile", choices=("refuse", "close")
    )
    dying_s: float = parameter(0.0, "seconds before the reset in which new orders vanish")
    notice: bool = parameter(False, "send 1300 before the reset")
    down: bool = field(default=False, init=False, repr=False, compare=False)

    def begin(self, stage: Stage) -> None:
        """Die now, or go on dying for a while."""
        if self.dying_s:
            stage.later(self.dying_s, lambda: self._go_down(stage))
        else:
            self._go_down(stage)

    def _go_down(self, stage: Stage) -> None:
        if self.over:
            return
        self.down = True
        if self.notice:
            text = "TWS socket port has been reset and this connection is being dropped."
            stage.error(None, -1, 1300, f"{text} Please reconnect on the new port.")
        # Whoever connects again at once must find the port closed already.
        stage.follow_port()
        self.struck += stage.reset(None)
        if self.down_s:
            stage.later(self.down_s, lambda: stage.end(self))

    def finish(self, stage: Stage) -> None:
        """Be up again."""
        del stage
        self.over, self.down = True, False

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Lose new orders while dying."""
        return Reaction(swallow=True) if arrival.fresh and not self.down else None

    def admits(self, step: Step, client_id: int | None) -> Door | None:
        """Let nobody in."""
        del step, client_id
        return Door() if self.down else None

    def listens(self) -> bool | None:
        """Close the port while down."""
        return False if self.down and self.door == "refuse" else None


@register
@dataclass(kw_only=True, slots=True)
class OrderIdRollback(Fault):
    """The next orders of a client vanish, its connection is reset, their ids are offered anew.

    As after an automatic restart: what was written to the dying socket never existed, and
    nextValidId rolls back to where it was.
    """

    client_id: int | None = parameter(None, "only this client; none: the first to place an order")
    orders: int = parameter(1, "how many orders vanish before the reset", within=AT_LEAST_ONE)

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Lose an order, and after the last one the connection."""
        if self.over or not arrival.fresh or self.client_id not in {None, arrival.client_id}:
            return None
        self.client_id = arrival.client_id
        self.struck += 1
        self.over = self.struck >= self.orders
        return Reaction(swallow=True, reset=self.over)

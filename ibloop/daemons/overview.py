"""The whole loop at one moment: daemons, market, quotes, halts, ledger, and what to do now.

What ``ibloop status`` says on one screen, LiveTrade on its page and the JSON API to programs, read
once. Nothing here writes, and nothing that is missing is an error: it is told in words.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from ibloop.adapters.halt_file import read_halt_file
from ibloop.adapters.host import build_id
from ibloop.adapters.streamfiles import QuoteReader, read_heartbeat, read_status, status_path
from ibloop.adapters.universe import universe_hash
from ibloop.config import Config, Profile
from ibloop.config.rules import doubts
from ibloop.core.arming import why_unarmed
from ibloop.core.dropcopy import ACCOUNT, CASH
from ibloop.core.gates import Pulse, silence
from ibloop.core.lifecycle import REASON_ADVICE, RunReason, RunState
from ibloop.core.model import HALT_ORDER, HaltLevel, Mode, Moment, Position, Quote
from ibloop.core.valuing import quoted_price
from ibloop.daemons.hints import command_options, complete
from ibloop.daemons.overview_ledger import LedgerView, alert_data
from ibloop.daemons.pricing import quote_problem

DAEMONS = (
    ("gateway", "gateway", "connected"),
    ("stream", "status", "connected"),
    ("executor", "executor", "ready"),
    ("guard", "guard", "watching"),
)
"""Daemon, its heartbeat file, the word by which it says that all is well."""

EXTRAS = (("alerts", "alerts", "ready"), ("web", "web", "serving"))
"""Daemons that trading does not need: shown once they have been started."""

QUIET_WORDS = frozenset({"stopped", "unconfigured"})
"""Words of an extra daemon that are no problem: somebody wanted it so."""


@dataclass(frozen=True, slots=True)
class DaemonLine:
    """One daemon as its heartbeat shows it; ``problem`` is ``None`` when it is well."""

    name: str
    status: str
    age_s: float | None
    pid: int | None
    detail: str
    problem: str | None
    build: str | None = None

    @property
    def word(self) -> str:
        """Return its own word; ``silent`` when that is good, but too old to be believed."""
        well = {name: word for name, _, word in (*DAEMONS, *EXTRAS)}
        return "silent" if self.problem and self.status == well[self.name] else self.status


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What the stream says beside its status; see ``docs/reference/files.md``."""

    subscribed: frozenset[str]
    market_data_type: str | None
    ib_error_count: int
    last_error: str | None
    degraded_reason: str | None


@dataclass(frozen=True, slots=True)
class QuoteLine:
    """A quote with its age in seconds; ``problem`` is why it must not price an order."""

    quote: Quote
    age_s: float
    problem: str | None
    subscribed: bool


@dataclass(frozen=True, slots=True)
class HaltLine:
    """A halt that stands; ``created_at`` is ``None`` for the HALT file."""

    level: HaltLevel
    reason: str
    source: str
    requested_by: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class Market:
    """Whether orders can be filled now; ``closes`` is ``None`` while it is closed, or never."""

    is_open: bool
    closes: datetime | None
    timezone: str


@dataclass(frozen=True, slots=True)
class PositionLine:
    """A position at its present price, USD; ``None`` where there is none the guard would believe.

    ``weight`` is a fraction of the equity.
    """

    position: Position
    price: Decimal | None
    value_usd: Decimal | None
    weight: Decimal | None
    unrealized_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything; ``ledger`` is ``None`` when it cannot be read, which ``note`` explains.

    ``halts`` stand now, the severest first; ``next`` are the things a person should do.
    ``unarmed`` is why a new run may not send live; ``None`` when it may, and in paper. ``doubts``
    are values of the configuration that are allowed and probably not meant.
    """

    at: Moment
    profile: str
    mode: str
    account: str
    data_dir: str
    healthy: bool
    daemons: tuple[DaemonLine, ...]
    stream: StreamFacts
    market: Market
    quotes: tuple[QuoteLine, ...]
    damaged_quotes: dict[str, str]
    halts: tuple[HaltLine, ...]
    positions: tuple[PositionLine, ...]
    ledger: LedgerView | None
    note: str | None
    next: tuple[str, ...]
    unarmed: str | None = None
    doubts: tuple[str, ...] = ()


def read_overview(
    profile: Profile,
    now: Moment,
    ledger: LedgerView | None,
    note: str | None,
    options: str | None = None,
) -> Overview:
    """Return the overview: what the files say now, with the ledger's view of the same moment.

    ``options`` name the profile in the commands of ``next``; without them as a shell anywhere on
    this host needs it.
    """
    config = profile.config
    named = command_options(profile) if options is None else options
    daemons = daemon_lines(profile.stream_dir, now, config.guard.heartbeat_age_s_max)
    stream = _stream_facts(profile.stream_dir)
    reader = QuoteReader(profile.stream_dir)
    quotes = reader.read(reader.symbols())
    halts = standing_halts(profile.data_dir, ledger)
    stops = (halts, ledger.unknown, ledger.frozen) if ledger else (halts,)
    return Overview(
        at=now,
        profile=profile.name,
        mode=config.mode,
        account=config.account,
        data_dir=str(profile.data_dir),
        healthy=not (any(stops) or any(line.problem for line in daemons)),
        daemons=daemons,
        stream=stream,
        market=_market(config, now.utc),
        quotes=tuple(_quote_line(reader, quote, now, config, stream) for quote in quotes.values()),
        damaged_quotes={symbol: str(found) for symbol, found in reader.problems.items()},
        halts=halts,
        positions=tuple(_position_lines(ledger, quotes, now, config)),
        ledger=ledger,
        note=note,
        next=tuple(complete(text, named) for text in advice(profile, daemons, halts, ledger)),
        unarmed=_why_unarmed(profile, ledger, now),
        doubts=tuple(doubts(config)),
    )


def _why_unarmed(profile: Profile, ledger: LedgerView | None, now: Moment) -> str | None:
    config = profile.config
    if config.mode is Mode.PAPER:
        return None
    return why_unarmed(
        ledger.arming if ledger else None,
        now,
        account=config.account,
        config_hash=config.config_hash,
        universe_hash=universe_hash(profile),
        build=build_id(),
        run_id=None,
    )


def status_data(found: Overview) -> dict[str, object]:
    """Return what ``status`` says as flat data, so that a script finds ``.data.equity``."""
    ledger = found.ledger
    equity = ledger.equity if ledger else None
    halt = found.halts[0] if found.halts else None
    return {
        "profile": found.profile,
        "mode": found.mode,
        "account": found.account,
        "data_dir": found.data_dir,
        "healthy": found.healthy,
        "daemons": found.daemons,
        "halt": {"level": halt.level.value, "reason": halt.reason} if halt else None,
        "equity": equity.equity if equity else None,
        "equity_source": equity.source if equity else None,
        "equity_as_of": equity.as_of if equity else None,
        "cash": ledger.cash if ledger else None,
        "guard": ledger.guard if ledger else None,
        "arming": _arming_data(found),
        "last_run": ledger.runs[0].run if ledger and ledger.runs else None,
        "unknown_orders": len(ledger.unknown) if ledger else None,
        "frozen": ledger.frozen if ledger else None,
        "undelivered_alerts": ledger.undelivered if ledger else None,
        "alerts": [alert_data(alert) for alert in ledger.alerts] if ledger else [],
        "doubts": found.doubts,
        "note": found.note,
        "next": found.next,
    }


def _arming_data(found: Overview) -> dict[str, object] | None:
    """Return what live trading may send now; ``None`` in paper, which needs no arming."""
    if found.mode == Mode.PAPER:
        return None
    given = found.ledger.arming if found.ledger else None
    return {
        "armed": found.unarmed is None,
        "problem": found.unarmed,
        "expires_at": given.term.expires.utc if given else None,
        "notional_usd_left": given.left_usd if given else None,
        "runs_left": given.runs_left if given else None,
    }


def daemon_lines(stream_dir: Path, now: Moment, age_s_max: float) -> tuple[DaemonLine, ...]:
    """Return each daemon as its heartbeat shows it at ``now``; extras only once started."""
    lines = []
    for name, file, healthy in (*DAEMONS, *EXTRAS):
        beat = read_heartbeat(stream_dir, file)
        is_extra = (name, file, healthy) in EXTRAS
        if beat is None:
            if not is_extra:
                lines.append(DaemonLine(name, "not running", None, None, "", "no heartbeat"))
            continue
        trouble = silence(Pulse(beat.status, beat.stamp), now, age_s_max, healthy)
        if is_extra and beat.status in QUIET_WORDS:
            trouble = None
        age_s = round(now.age_s(beat.stamp), 1) + 0.0  # never -0.0
        detail, build = beat.detail, beat.build
        lines.append(DaemonLine(name, beat.status, age_s, beat.pid, detail, trouble, build))
    return tuple(lines)


def standing_halts(data_dir: Path, ledger: LedgerView | None) -> tuple[HaltLine, ...]:
    """Return the halts of ledger and HALT file, the severest first, then the oldest."""
    lines = [
        HaltLine(halt.level, halt.reason, halt.source, halt.requested_by, halt.created_at)
        for halt in (ledger.halts if ledger else ())
    ]
    in_file = read_halt_file(data_dir)
    if in_file is not None:
        lines.append(HaltLine(in_file.level, in_file.reason, "file", "", None))
    return tuple(sorted(lines, key=lambda line: -HALT_ORDER.index(line.level)))


def _is_file(halt: HaltLine) -> bool:
    """Return whether this is the file itself, not the row that a daemon has written for it."""
    return halt.source == "file" and halt.created_at is None


def resume_command(profile: Profile, halt: HaltLine) -> str:
    """Return the command that ends this halt, complete, for a shell anywhere on this host."""
    if _is_file(halt):
        return f"rm {profile.data_dir / 'HALT'}"
    return f'ibloop resume "why it is safe again" {command_options(profile)}'


def advice(
    profile: Profile,
    daemons: tuple[DaemonLine, ...],
    halts: tuple[HaltLine, ...],
    ledger: LedgerView | None,
) -> Iterator[str]:
    """Yield what to do now, the most urgent first; nothing when all is well."""
    if any(_is_file(halt) for halt in halts):
        file = profile.data_dir / "HALT"
        yield f"remove {file} once trading may go on, then `ibloop resume REASON`"
    elif halts:
        yield "find out why trading is halted, then `ibloop resume REASON`"
    ill = [line for line in daemons if line.problem is not None]
    if all(line in ill for line in daemons[: len(DAEMONS)]):
        yield "start the daemons: `ibloop gateway run`, then stream, executor and guard"
    else:
        for line in ill:
            told = line.problem if line.word == "silent" else line.detail
            yield f"look after the {line.name}: {told or line.word}"
    builds = {line.build for line in daemons if line.build and line.problem is None}
    if len(builds) > 1:
        yield f"restart the daemons: they run different builds ({', '.join(sorted(builds))})"
    if ledger is None:
        return
    if ledger.unknown:
        yield "look for the unknown orders at the broker: `ibloop orders list`"
    for symbol in sorted({row.symbol for row in ledger.frozen}):
        whole = symbol in {ACCOUNT, CASH}
        look = "`ibloop fills list`" if whole else "`ibloop positions explain`"
        yield (
            f"find out what moved {frozen_name(symbol)} ({look}), then "
            f"`ibloop guard release {shlex.quote(symbol)} REASON`"
        )
    waiting = ledger.current.run if ledger.current else None
    if waiting is not None and waiting.status is RunState.AWAITING_APPROVAL:
        yield f"look at what {waiting.run_key} may send: `ibloop run approve {waiting.run_key}`"
    run = ledger.runs[0].run if ledger.runs else None
    if run and run.status is RunState.BLOCKED and run.reason:
        # With a halt standing its advice is above already.
        if run.reason in REASON_ADVICE and not (halts and run.reason is RunReason.GUARD_HALTED):
            told = complete(REASON_ADVICE[run.reason], "", run.run_key)
            yield f"{run.run_key} is blocked: {told}"
        yield f"ask for {run.run_key} again: `ibloop run retry {run.run_key}`"


def frozen_name(symbol: str) -> str:
    """Return what a freeze is about, in words."""
    return {ACCOUNT: "the account", CASH: "the account's cash"}.get(symbol, symbol)


def _stream_facts(stream_dir: Path) -> StreamFacts:
    document = read_status(status_path(stream_dir, "status")) or {}
    symbols = document.get("subscribed_symbols")
    count = document.get("ib_error_count")

    def text(name: str) -> str | None:
        value = document.get(name)
        return value if isinstance(value, str) else None

    return StreamFacts(
        subscribed=frozenset(map(str, symbols if isinstance(symbols, list) else ())),
        market_data_type=text("market_data_type"),
        ib_error_count=count if isinstance(count, int) else 0,
        last_error=text("last_error"),
        degraded_reason=text("degraded_reason"),
    )


def _market(config: Config, now: datetime) -> Market:
    if config.session.calendar == "always":
        return Market(True, None, config.session.timezone)
    # Here, not above: the holidays cost 10 MiB, which a simulation does without.
    from ibloop.adapters.calendar import session_at  # noqa: PLC0415

    session = session_at(config.session.calendar, now)
    return Market(session is not None, session.closes if session else None, config.session.timezone)


def _quote_line(
    reader: QuoteReader, quote: Quote, now: Moment, config: Config, stream: StreamFacts
) -> QuoteLine:
    return QuoteLine(
        quote=quote,
        age_s=round(now.age_s(quote.received), 1) + 0.0,
        problem=quote_problem(reader, quote.symbol, quote, now, config.quotes),
        subscribed=quote.symbol in stream.subscribed,
    )


def _position_lines(
    ledger: LedgerView | None, quotes: dict[str, Quote], now: Moment, config: Config
) -> Iterator[PositionLine]:
    if ledger is None:
        return
    equity = ledger.equity.equity if ledger.equity else None
    for held in ledger.positions:
        price = quoted_price(held, quotes.get(held.symbol), now, config.quotes)
        if price is None:
            yield PositionLine(held, None, None, None, None)
            continue
        value = held.quantity * price
        weight = value / equity if equity else None
        gain = (price - held.avg_cost) * held.quantity
        yield PositionLine(held, price, value, weight, gain)

"""What ``ibloop stream status`` and ``tail`` show, read from the files alone."""

import json
import signal
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import click

from ibloop.adapters.host import SystemClock
from ibloop.adapters.streamfiles import (
    Heartbeat,
    QuoteReader,
    encode_quote,
    read_heartbeat,
    symbol_of,
)
from ibloop.adapters.wake import FileWatch
from ibloop.cli.terminal import coloured, facts, table
from ibloop.config import Profile
from ibloop.core.gates import Pulse, silence
from ibloop.core.model import Moment, Quote
from ibloop.core.unusable import Unusable
from ibloop.daemons.pricing import quote_problem

POLL_S = 1.0  # how often all files are looked at, in case inotify does not work here
REDRAW_S = 0.5
OLDEST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Age:
    """How old the file of a subscribed symbol is, seconds; ``None`` and why when it has none."""

    symbol: str
    age_s: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class StreamSeen:
    """The stream as its files show it; ``problem`` is ``None`` when it is well.

    ``ages`` are those of the subscribed symbols, the oldest first, those without a price before
    all. Lists that the stream does not write are empty.
    """

    status: str
    problem: str | None
    age_s: float | None
    pid: int | None
    build: str | None
    detail: str
    degraded_since: str | None
    market_data_type: str | None
    gateway: str | None
    client_id: int | None
    lines: int
    left_out: dict[str, str]
    left_out_count: int
    refused: dict[str, str]
    degraded: dict[str, str]
    ages: tuple[Age, ...]
    errors: int
    last_error: str | None
    ticks: int
    publishes: int


def read_stream(profile: Profile, now: Moment) -> StreamSeen:
    """Return how the stream is; nothing that is missing is an error."""
    beat = read_heartbeat(profile.stream_dir, "status")
    pulse = Pulse(beat.status, beat.stamp) if beat else None
    problem = silence(pulse, now, profile.config.guard.heartbeat_age_s_max, "connected")
    said = _Said(beat)
    host, port = said.text("host"), said.number("port")
    left_out = said.reasons("left_out")
    return StreamSeen(
        status=beat.status if beat else "not running",
        problem=problem,
        age_s=round(now.age_s(beat.stamp), 1) if beat else None,
        pid=beat.pid if beat else None,
        build=beat.build if beat else None,
        detail=beat.detail if beat else "",
        degraded_since=said.text("degraded_since"),
        market_data_type=said.text("market_data_type"),
        gateway=f"{host}:{port}" if host and port else None,
        client_id=said.number("client_id"),
        lines=len(said.symbols()),
        left_out=left_out,
        left_out_count=said.number("left_out_count") or len(left_out),
        refused=said.reasons("refused_symbols"),
        degraded=said.reasons("degraded_symbols"),
        ages=tuple(_ages(profile, said.symbols(), now)),
        errors=said.number("ib_error_count") or 0,
        last_error=said.text("last_error"),
        ticks=said.number("ticks_total") or 0,
        publishes=said.number("publishes_total") or 0,
    )


class _Said:
    """The fields of ``_status.json``, each of its type or not there: any process may write it."""

    def __init__(self, beat: Heartbeat | None) -> None:
        self._document = beat.document if beat else {}

    def text(self, name: str) -> str | None:
        value = self._document.get(name)
        return value if isinstance(value, str) and value else None

    def number(self, name: str) -> int | None:
        value = self._document.get(name)
        return value if isinstance(value, int) else None

    def reasons(self, name: str) -> dict[str, str]:
        value = self._document.get(name)
        return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}

    def symbols(self) -> list[str]:
        value = self._document.get("subscribed_symbols")
        return [str(symbol) for symbol in value] if isinstance(value, list) else []


def _ages(profile: Profile, symbols: Sequence[str], now: Moment) -> Iterator[Age]:
    reader = QuoteReader(profile.stream_dir)
    quotes = reader.read(symbols)
    for symbol in symbols:
        if symbol not in quotes:
            yield Age(symbol, None, str(reader.problems[symbol]))
    oldest = sorted(quotes.values(), key=lambda quote: -now.age_s(quote.received))
    for quote in oldest:
        problem = quote_problem(reader, quote.symbol, quote, now, profile.config.quotes)
        yield Age(quote.symbol, round(now.age_s(quote.received), 1), problem)


def status_page(seen: StreamSeen) -> str:
    """Return the status for people."""
    since = f" since {seen.degraded_since}" if seen.degraded_since else ""
    told = "" if seen.problem in {None, f"it says {seen.status}"} else f": {seen.problem}"
    left_out = ", ".join(seen.left_out)
    pairs = [
        ("stream", f"{coloured(seen.status)}{since}{told}"),
        ("detail", seen.detail),
        ("gateway", f"{seen.gateway}, client id {seen.client_id}" if seen.gateway else ""),
        ("process", f"{seen.pid}, build {seen.build}" if seen.pid else ""),
        ("lines", f"{seen.lines}, {seen.market_data_type or 'no'} data" if seen.lines else "0"),
        ("left out", f"{seen.left_out_count}: {left_out}" if left_out else ""),
        *(("refused", f"{symbol}: {why}") for symbol, why in seen.refused.items()),
        *(("degraded", f"{symbol}: {why}") for symbol, why in seen.degraded.items()),
        ("errors", f"{seen.errors}, last: {seen.last_error}" if seen.errors else ""),
        ("written", f"{seen.publishes} versions for {seen.ticks} ticks" if seen.ticks else ""),
    ]
    if seen.age_s is None:
        pairs.append(("next", "start it: `ibloop stream run`, or `systemctl start` its unit"))
    oldest = [(a.symbol, a.age_s, a.problem) for a in seen.ages[:OLDEST_SHOWN]]
    ages = table(("OLDEST", "AGE S", "PROBLEM"), oldest) if oldest else ""
    return "\n\n".join(filter(None, (facts(pairs), ages)))


# --- tail ---------------------------------------------------------------------------------------


def follow_lines(profile: Profile, symbols: Sequence[str]) -> None:
    """Print a line of JSON for every new version of a quote file, until SIGINT."""
    _hear_interrupts()
    clock, reader = SystemClock(), QuoteReader(profile.stream_dir)
    age_s_max = profile.config.quotes.quote_age_s_max
    printed: dict[str, int | Unusable] = {}
    names: set[str] | None = None
    looked_s = time.monotonic()
    with FileWatch(profile.stream_dir) as watch:
        try:
            while True:
                if time.monotonic() - looked_s >= POLL_S:
                    names = None  # others may tick without end while one grows old
                if names is None:
                    looked_s = time.monotonic()
                wanted = _wanted(profile, reader, symbols, names, followed=printed)
                quotes = reader.read(wanted)
                for symbol in wanted:
                    quote = quotes.get(symbol)
                    is_young = quote is not None and clock.now().age_s(quote.received) <= age_s_max
                    why = None if is_young else reader.explain(symbol)
                    line = _news(symbol, quote, why, printed)
                    if line is not None:
                        click.echo(line)
                sys.stdout.flush()
                names = watch.changed(POLL_S)
        except KeyboardInterrupt:
            return


def _wanted(
    profile: Profile,
    reader: QuoteReader,
    symbols: Sequence[str],
    names: set[str] | None,
    *,
    followed: Collection[str] = (),
) -> list[str]:
    """Return whom to look at: the files of these names, all for ``None``; only wanted symbols.

    Without wanted ones all that are subscribed, and those ``followed`` before.
    """
    if names is None:
        subscribed = _subscribed(profile) or reader.symbols()
        return list(symbols) or [*subscribed, *(s for s in followed if s not in subscribed)]
    changed = (symbol for name in names if (symbol := symbol_of(name)) is not None)
    return sorted(symbol for symbol in changed if not symbols or symbol in symbols)


def _subscribed(profile: Profile) -> list[str]:
    return _Said(read_heartbeat(profile.stream_dir, "status")).symbols()


def _news(
    symbol: str, quote: Quote | None, why: Unusable | None, printed: dict[str, int | Unusable]
) -> str | None:
    """Return a line if something else is known of a symbol than was printed last.

    ``why``: what the files and the stream know against a quote that is missing or old.
    """
    known: int | Unusable | None = why if why is not None or quote is None else quote.seq
    if known is None or printed.get(symbol) == known:
        return None
    printed[symbol] = known
    if why is not None:
        return json.dumps({"symbol": symbol, "unusable": why.fault, "detail": why.text})
    return None if quote is None else encode_quote(quote).decode().rstrip("\n")


def follow_table(profile: Profile, symbols: Sequence[str]) -> None:
    """Draw a table of prices on the terminal again and again, until SIGINT."""
    from rich.live import Live
    from rich.text import Text

    _hear_interrupts()
    clock, reader = SystemClock(), QuoteReader(profile.stream_dir)
    with Live(auto_refresh=False) as live:
        try:
            while True:
                wanted = _wanted(profile, reader, symbols, None)
                drawn = _drawn(profile, reader, wanted, clock.now())
                live.update(Text.from_ansi(drawn), refresh=True)
                time.sleep(REDRAW_S)
        except KeyboardInterrupt:
            return


def _drawn(profile: Profile, reader: QuoteReader, symbols: Sequence[str], now: Moment) -> str:
    if not symbols:
        return "no price yet: no symbol is subscribed; see `ibloop stream status`"
    quotes = reader.read(symbols)
    columns = ("SYMBOL", "BID", "ASK", "LAST", "VOLUME", "AGE S", "SOURCE", "PROBLEM")
    rows = []
    for symbol in symbols:
        quote = quotes.get(symbol)
        why = quote_problem(reader, symbol, quote, now, profile.config.quotes)
        rows.append((symbol, *_cells(quote, now), why or "-"))
    return table(columns, rows)


def _cells(quote: Quote | None, now: Moment) -> tuple[object, ...]:
    if quote is None:
        return (None,) * 6
    age_s = round(now.age_s(quote.received), 1)
    return (quote.bid, quote.ask, quote.last, quote.volume, age_s, quote.source.value)


def _hear_interrupts() -> None:
    """Let Ctrl-C and SIGINT end it, also where a shell started it in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)

"""From the overview to HTML: one template a page, all around one frame.

A page asks for itself again every second and the browser puts only what differs in place
(htmx's ``innerMorph``), so nothing flashes and a selection stays. Without scripts it reloads.
"""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ibloop.adapters.host import build_id
from ibloop.core.lifecycle import REASON_ADVICE, RunState
from ibloop.daemons.hints import command_options
from ibloop.daemons.overview import (
    DAEMONS,
    DaemonLine,
    HaltLine,
    Overview,
    frozen_name,
    resume_command,
)
from ibloop.daemons.overview_ledger import Limits, RunDetails
from ibloop.web import formats
from ibloop.web.source import Source

LISTED = 200
PAGES: dict[str, Limits] = {
    "overview": Limits(),
    "positions": Limits(),
    "quotes": Limits(),
    "runs": Limits(runs=LISTED),
    "orders": Limits(orders=LISTED),
    "fills": Limits(fills=LISTED),
    "alerts": Limits(alerts=LISTED),
}
"""Each page of the navigation and how many rows it lists; the overview is at ``/``."""
STEPS = (RunState.QUEUED, RunState.PREPARING, RunState.EXECUTING, RunState.RECONCILING)
HERE = Path(__file__).parent


class Pages:
    """Renders pages on the reading thread."""

    def __init__(self, source: Source) -> None:
        """Load the templates."""
        self._source = source
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,  # code and templates change together, at a restart
            trim_blocks=True,
            lstrip_blocks=True,
        )
        filters = ("age", "number", "percent", "price", "signed_percent", "signed_usd", "tone")
        for name in (*filters, "usd", "words"):
            self._templates.filters[name] = getattr(formats, name)
        self._templates.globals.update(
            SIGNS=formats.SIGNS,
            NOTHING=formats.NOTHING,
            STEPS=STEPS,
            ADVICE=REASON_ADVICE,
            PAGES=tuple(PAGES),
            LISTED=LISTED,
            clock=formats.clock,
            halt_effect=halt_effect,
            zone_name=formats.zone_name,
        )

    def page(self, name: str) -> str:
        """Return one page of :data:`PAGES`."""
        found = self._source.overview(PAGES[name])
        path = "/" if name == "overview" else f"/{name}"
        return self._render(f"{name}.html", found, path, name)

    def run(self, details: RunDetails) -> str:
        """Return the page of one run."""
        found = self._source.overview()
        key = details.line.run.run_key
        return self._render("run.html", found, f"/runs/{key}", f"run {key}", details=details)

    def error(self, status: int, sentence: str) -> str:
        """Return a page that says what went wrong, and nothing of how."""
        template = self._templates.get_template("error.html")
        return template.render(status=status, sentence=sentence)

    def _render(self, template: str, found: Overview, path: str, name: str, **more: object) -> str:
        profile = self._source.profile
        sentence = summary(found)
        return self._templates.get_template(template).render(
            o=found,
            ledger=found.ledger,
            now=found.at.utc,
            zone=found.market.timezone,
            page=name,
            section="runs" if template == "run.html" else name,
            path=path,
            title=f"{state(found)} · {name} · ibloop {found.mode} {found.account}",
            summary=sentence,
            # The first advice on a halt is what the banner says in full.
            todo=found.next[1:] if found.halts else found.next,
            options=command_options(profile),
            resume=lambda halt: resume_command(profile, halt),
            drawing=self._source.trail.drawing(),
            build=build_id(),
            **more,
        )


def state(found: Overview) -> str:
    """Return the one word that the window's title begins with."""
    if found.halts:
        return "HALTED"
    if found.ledger and found.ledger.unknown:
        return "UNKNOWN ORDERS"
    return "OK" if found.healthy else "TROUBLE"


def summary(found: Overview) -> str:
    """Return one sentence on how things are; it changes only when they do (it is read aloud)."""
    parts = []
    if found.halts:
        parts.append(f"Trading is halted at level {found.halts[0].level}.")
    unknown = len(found.ledger.unknown) if found.ledger else 0
    if unknown:
        parts.append(f"{_count(unknown, 'order')} of unknown fate.")
    frozen = sorted({row.symbol for row in found.ledger.frozen}) if found.ledger else []
    if frozen:
        parts.append(f"Frozen: {', '.join(map(frozen_name, frozen))}.")
    ill = [line for line in found.daemons if line.problem]
    if all(line in ill for line in found.daemons[: len(DAEMONS)]):
        parts.append("No daemon is running." if _all_down(ill) else "No daemon is well.")
    elif ill:
        parts.append(" ".join(f"The {line.name} is {line.word}." for line in ill))
    if found.ledger is None and not parts:
        parts.append("The ledger cannot be read.")
    return " ".join(parts) or "All is well."


def _all_down(lines: list[DaemonLine]) -> bool:
    return all(line.word in {"not running", "stopped", "silent"} for line in lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def halt_effect(halt: HaltLine) -> str:
    """Return what a halt means, in words."""
    return {
        "pause": "Nothing is sent.",
        "reduce-only": "Only orders that lower exposure are sent.",
        "kill": "Nothing is sent, and what works at the broker is cancelled.",
    }[halt.level.value]

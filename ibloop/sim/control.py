"""The control port: HTTP on loopback for tests, drills and demonstrations.

`Control` turns a request into an answer and must run on the gateway's loop; `ControlServer` is
the HTTP server, whose threads hand their work to that loop.
"""

import asyncio
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from ibloop.sim import faults
from ibloop.sim.market.market import Shock
from ibloop.sim.model import Instrument, Quote, SimError
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.truth import TruthText, plain, truth

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
BODY_BYTES_MAX = 65_536
ANSWER_S_MAX = 30.0
PRICES = ("bid", "ask", "last")
# A shock of 9 makes everything ten times as dear.
SHOCK_MAX = 9
# All shocks together, as a factor: prices stay such as can be written and traded.
SHOCKS_MAX = 10_000
EXAMPLE = "2026-11-27T12:00:00-05:00"

Answer = tuple[HTTPStatus, Any]
Text = tuple[HTTPStatus, str]


class Control:
    """The routes of the control port over one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        """Serve this gateway."""
        self._gateway = gateway
        self._truth = TruthText(gateway.world)
        self._routes: dict[tuple[str, str], Callable[[Mapping[str, Any]], Any]] = {
            ("GET", "/truth"): lambda _body: truth(gateway.world),
            ("GET", "/faults"): lambda _body: self._faults(),
            ("POST", "/fault"): self._fault,
            ("POST", "/quote"): self._quote,
            ("POST", "/clock"): self._clock,
        }

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Return status and JSON value: 404 for an unknown route, 400 for what makes no sense."""
        route = self._routes.get((method, path.partition("?")[0]))
        if route is None:
            known = ", ".join(f"{verb} {name}" for verb, name in self._routes)
            return HTTPStatus.NOT_FOUND, {"error": f"no {method} {path}; there are {known}"}
        try:
            return HTTPStatus.OK, route(_parsed(body) if method == "POST" else {})
        except SimError as error:
            return HTTPStatus.BAD_REQUEST, {"error": str(error)}

    def text(self, method: str, path: str, body: bytes) -> Text:
        """Return status and JSON text; the truth, which may be long, from what is written."""
        if (method, path) == ("GET", "/truth"):
            return HTTPStatus.OK, self._truth.text()
        status, value = self.answer(method, path, body)
        return status, json.dumps(value, allow_nan=False)

    def _faults(self) -> dict[str, Any]:
        return {"faults": faults.describe(), "active": self._active()}

    def _active(self) -> list[dict[str, Any]]:
        return [
            {"id": number, **faults.settings(fault), "struck": fault.struck}
            for number, fault in self._gateway.faults.numbered().items()
        ]

    def _fault(self, body: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(body)
        if "clear" in body:
            _alone(body, "clear")
            self._gateway.clear_fault(body["clear"])
            return {"active": self._active()}
        name = values.pop("name", None)
        if not isinstance(name, str):
            raise SimError("expected a fault's name, or clear")
        if name == "clear":
            _alone(body, "name", "clear")
            self._gateway.clear_faults()
            return {"active": self._active()}
        number = self._gateway.add_fault(faults.build(name, values))
        return {"id": number, "active": self._active()}

    def _quote(self, body: Mapping[str, Any]) -> dict[str, Any]:
        world = self._gateway.world
        if "shock" in body:
            _alone(body, "shock")
            world.shock(_shock(body["shock"], world.market.shocks))
            return {"shock": body["shock"]}
        _only(body, {"symbol", "halted", *PRICES})
        instrument = world.samples.by_symbol(str(body.get("symbol")))
        if instrument is None:
            raise SimError(f"expected a symbol of the universe, was {body.get('symbol')!r}")
        values: dict[str, Decimal | bool | None] = {
            name: _price(body[name], name, instrument) for name in PRICES if name in body
        }
        if "halted" in body:
            values["halted"] = _halted(body["halted"])
        if not values:
            raise SimError("expected bid, ask, last or halted")
        quote = world.pin(instrument, values)
        return {"symbol": instrument.symbol, **(_shown(quote) if quote else {})}

    def _clock(self, body: Mapping[str, Any]) -> dict[str, Any]:
        _only(body, {"offset_s", "to"})
        if len(body) != 1:
            raise SimError("expected offset_s or to")
        world = self._gateway.world
        if "to" in body:
            world.set_time(_time(body["to"]))
        else:
            world.set_clock(_number(body["offset_s"], "offset_s"))
        return {"offset_s": world.offset_s, "server_time": world.now().isoformat()}


def _shown(quote: Quote) -> dict[str, Any]:
    values = asdict(quote)
    return {key: plain(item) if isinstance(item, Decimal) else item for key, item in values.items()}


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body or b"null")
    except (ValueError, RecursionError) as error:
        raise SimError(f"expected a JSON object as body: {error}") from error
    if not isinstance(value, dict):
        raise SimError("expected a JSON object as body")
    return value


def _only(body: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        raise SimError(f"unknown: {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _alone(body: Mapping[str, Any], key: str, called: str = "") -> None:
    """Refuse whatever else a body says beside the one key that stands alone."""
    others = sorted(set(body) - {key})
    if others:
        raise SimError(f"expected {called or key} alone, with it came {', '.join(others)}")


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SimError(f"expected {name} as a number, was {value!r}")
    return float(value)


def _time(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment
    except (TypeError, ValueError):
        pass
    raise SimError(f"expected to as an ISO-8601 time with its zone, as {EXAMPLE}, was {value!r}")


def _price(value: Any, name: str, instrument: Instrument) -> Decimal | None:
    """Return a price an exchange could show, or None for None."""
    if value is None:
        return None
    # What sums like 660.1 - 0.05 have too much is noise of the float, not a price between steps.
    number = round(_number(value, name), 6)
    if not 0 < number < 1e9:
        raise SimError(f"expected {name} above 0 and below 1e9, was {value!r}")
    price = Decimal(repr(number))
    step = instrument.tick_at(price)
    if price % step:
        raise SimError(f"expected {name} in steps of {step}, was {value!r}")
    return price


def _shock(value: Any, before: Iterable[Shock]) -> float:
    """Return a shock within bounds, by itself and together with the ones before."""
    fraction = _number(value, "shock")
    if fraction > SHOCK_MAX:
        raise SimError(f"expected a shock above -1 and up to {SHOCK_MAX}, was {value!r}")
    together = math.prod((1 + fraction, *(shock.factor for shock in before)))
    if fraction > -1 and not 1 / SHOCKS_MAX <= together <= SHOCKS_MAX:
        expected = f"expected shocks that make prices at most {SHOCKS_MAX:,} times as high or low"
        raise SimError(f"{expected} together, was {together:.3g} with {value!r}")
    return fraction


def _halted(value: Any) -> bool:
    if value not in (0, 1, None):
        raise SimError(f"expected halted as 0 or 1, was {value!r}")
    return bool(value)


class ControlServer:
    """The HTTP server of the control port, always on loopback."""

    def __init__(self, control: Control, port: int, loop: asyncio.AbstractEventLoop) -> None:
        """Listen on the port (0 picks one). Raises: OSError when it is in use."""

        async def on_loop(method: str, path: str, body: bytes) -> Text:
            return control.text(method, path, body)

        def ask(method: str, path: str, body: bytes) -> Text:
            future = asyncio.run_coroutine_threadsafe(on_loop(method, path, body), loop)
            return future.result(ANSWER_S_MAX)

        self._server = _Server(
            (LOOPBACK, port), type("Handler", (_Handler,), {"ask": staticmethod(ask)})
        )
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop listening and wait for the thread."""
        await asyncio.to_thread(self._server.shutdown)
        await asyncio.to_thread(self._thread.join)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log instead of printing: a caller that went away is not our failure."""
        log.info("control connection failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """Read one request and answer it; `ask` runs it on the gateway's loop."""

    timeout = 10
    ask: Callable[[str, str, bytes], Text]

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer(b"")

    def do_POST(self) -> None:
        """Answer a POST."""
        text = self.headers.get("Content-Length", "0")
        length = int(text) if text.isdigit() else BODY_BYTES_MAX + 1
        if length > BODY_BYTES_MAX:
            error = f"expected a body of at most {BODY_BYTES_MAX} bytes"
            self._send(HTTPStatus.BAD_REQUEST, json.dumps({"error": error}))
            return
        self._answer(self.rfile.read(length))

    def _answer(self, body: bytes) -> None:
        self._send(*self.ask(self.command, self.path, body))

    def _send(self, status: HTTPStatus, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base names it
        """Log requests where the rest of the simulator logs."""
        log.debug(format, *args)

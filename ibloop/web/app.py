"""The routes: pages for people, ``/api/v1`` for programs, ``/metrics`` for Prometheus."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ibloop.adapters.host import build_id
from ibloop.adapters.ledger import alerts, fills, orders, runs
from ibloop.adapters.ledger.connection import Connection
from ibloop.daemons.overview_ledger import RunDetails, alert_data, order_data, read_run
from ibloop.errors import LedgerError
from ibloop.web import documents, metrics
from ibloop.web.pages import HERE, PAGES, Pages
from ibloop.web.rails import Rails
from ibloop.web.source import Source

LIMIT, LIMIT_MAX = 100, 1000
METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"
SENTENCES = {
    400: "That was no request this page understands.",
    404: "There is nothing here.",
    500: "Something went wrong here; the log of `ibloop web run` tells more.",
    503: "The ledger cannot be read now.",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(source: Source) -> ASGIApp:
    """Return the whole application around one source."""
    site = Site(source)
    names = [name for name in PAGES if name != "overview"]
    nouns = ("overview", "quotes", "positions", "runs", "orders", "fills", "alerts")
    routes = [
        Route("/", site.page("overview")),
        *(Route(f"/{name}", site.page(name)) for name in names),
        Route("/runs/{name}", site.run_page),
        *(Route(f"/api/v1/{noun}", site.api(noun)) for noun in nouns),
        Route("/api/v1/runs/{name}", site.api("run")),
        Route("/metrics", site.metrics),
        Route("/healthz", site.healthz),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    handlers = {HTTPException: site.refused, LedgerError: site.unreadable, Exception: site.broken}
    return Rails(Starlette(routes=routes, exception_handlers=handlers))  # type: ignore[arg-type]


class Site:
    """The endpoints. Whatever reads or renders runs on the source's thread."""

    def __init__(self, source: Source) -> None:
        """Load the pages' templates."""
        self._source = source
        self._pages = Pages(source)

    def page(self, name: str) -> Endpoint:
        """Return the endpoint of one page."""

        async def endpoint(_request: Request) -> Response:
            return self._html(await self._source.on_thread(lambda: self._pages.page(name)))

        return endpoint

    async def run_page(self, request: Request) -> Response:
        """Answer with the page of one run."""
        name = request.path_params["name"]

        def work() -> str:
            return self._pages.run(self._details(name))

        return self._html(await self._source.on_thread(work))

    def api(self, noun: str) -> Endpoint:
        """Return the endpoint of one noun's JSON document."""

        async def endpoint(request: Request) -> Response:
            data = await self._source.on_thread(lambda: documents.document(noun, answer(request)))
            return Response(data, media_type="application/json")

        answer = getattr(self, f"_{noun}")
        return endpoint

    async def metrics(self, _request: Request) -> Response:
        """Answer a scrape."""
        text = await self._source.on_thread(lambda: metrics.render(self._source.overview()))
        return Response(text, media_type=METRICS_TYPE)

    async def healthz(self, _request: Request) -> Response:
        """Say that this process answers and its reading thread is free; nothing of the loop."""
        await self._source.on_thread(lambda: None)
        return PlainTextResponse("ok\n")

    # --- the data of /api/v1 ------------------------------------------------------------------

    def _overview(self, _request: Request) -> object:
        return documents.overview(self._source.overview())

    def _quotes(self, _request: Request) -> object:
        return documents.quotes(self._source.overview())

    def _positions(self, _request: Request) -> object:
        found = self._source.overview()
        if found.ledger is None:
            raise LedgerError(found.note or "")
        return documents.positions(found)

    def _runs(self, request: Request) -> object:
        limit = _limit(request)
        return self._source.read(lambda db: runs.listing(db, limit))

    def _run(self, request: Request) -> object:
        return documents.run(self._details(request.path_params["name"]))

    def _orders(self, request: Request) -> object:
        limit, name = _limit(request), request.query_params.get("run")

        def question(db: Connection) -> Sequence[object]:
            run_id = _run_named(db, name).run_id if name else None
            return [order_data(row) for row in orders.listing(db, run_id, limit)]

        return self._source.read(question)

    def _fills(self, request: Request) -> object:
        limit, name = _limit(request), request.query_params.get("run")

        def question(db: Connection) -> Sequence[object]:
            if name:
                return fills.of_run(db, _run_named(db, name).run_id)[::-1][:limit]
            return fills.listing(db, limit)

        return self._source.read(question)

    def _alerts(self, request: Request) -> object:
        limit = _limit(request)
        return self._source.read(lambda db: [alert_data(a) for a in alerts.listing(db, limit)])

    def _details(self, name: str) -> RunDetails:
        found = self._source.read(lambda db: read_run(db, name))
        if found is None:
            raise HTTPException(404, f"There is no run {name!r}.")
        return found

    # --- what is not 200 ----------------------------------------------------------------------

    async def refused(self, request: Request, error: HTTPException) -> Response:
        """Answer a request that makes no sense; the detail is ours and harmless."""
        ours = error.detail != HTTPStatus(error.status_code).phrase
        return self._failed(request, error.status_code, error.detail if ours else "")

    async def unreadable(self, request: Request, error: LedgerError) -> Response:
        """Answer that the ledger cannot be read: an empty list would say that nothing is in it."""
        return self._failed(request, 503, str(error))

    async def broken(self, request: Request, _error: Exception) -> Response:
        """Answer after a bug; the log has the traceback."""
        return self._failed(request, 500, "")

    def _failed(self, request: Request, status: int, sentence: str) -> Response:
        told = sentence or SENTENCES.get(status, SENTENCES[500])
        if request.url.path.startswith("/api/"):
            data = documents.document("error", {"status": status, "message": told})
            return Response(data, status, media_type="application/json")
        return self._html(self._pages.error(status, told), status)

    def _html(self, text: str, status: int = 200) -> Response:
        return HTMLResponse(text, status, {"Ibloop-Build": build_id()})


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(LIMIT))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= LIMIT_MAX):
        raise HTTPException(400, f"Expected a limit from 1 to {LIMIT_MAX}, was {text[:20]!r}.")
    return int(text)


def _run_named(db: Connection, name: str) -> runs.Run:
    found = runs.find(db, name)
    if found is None:
        raise HTTPException(404, f"There is no run {name!r}.")
    return found

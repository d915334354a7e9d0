"""What stands before every request and on every answer, whatever the route does.

The page has no login: it listens on loopback and believes only a Host that is this machine's own
name for itself. Without that check a web site could point its name at 127.0.0.1 and read the
account through the visitor's browser (DNS rebinding). Any port is believed: a tunnel has another.
"""

import re

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "HEAD")
OWN_HOST = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every answer. No inline script or style, nothing from elsewhere, in no frame."""


class Rails:
    """Refuses foreign hosts (400) and everything but reading (405); sets :data:`HEADERS`."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or answer it."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        app = _refusal(scope) or self._app
        await app(scope, receive, send_with_headers)


def _refusal(scope: Scope) -> PlainTextResponse | None:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or not OWN_HOST.fullmatch(hosts[0]):
        text = (
            "expected a Host like 127.0.0.1, localhost or [::1]: this page is for its own machine\n"
        )
        return PlainTextResponse(text, 400)
    if scope["method"] not in METHODS:
        text = "expected GET or HEAD: this page only shows, the command line acts\n"
        return PlainTextResponse(text, 405, {"Allow": ", ".join(METHODS)})
    return None

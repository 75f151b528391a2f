"""What browsers are told about every page: nothing from elsewhere, no scripts in the page, in nobody's frame, uncached.

For whatever is HTML, whoever made it: a page cannot be forgotten. What a page needs beyond this it does not get.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP = (  # W3C Content Security Policy Level 3
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
    "referrer-policy": "same-origin",  # no other site learns which page somebody came from
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",  # it is one person's; the next one at this computer finds nothing by going back
}
HSTS = "max-age=31536000"  # RFC 6797: a year. Neighbouring names are not the hub's to decide about


class PageHeaders:
    """ASGI middleware. `https` says that a proxy ends TLS in front."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app, self._https = app, https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.update(HEADERS)
                if self._https or scope["scheme"] == "https":
                    headers["strict-transport-security"] = HSTS
            await send(message)

        await self._app(scope, receive, with_headers)

"""Call an ASGI application as a client would: in the same thread without a socket, or served by uvicorn as shipped."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.types import ASGIApp


class InProcess(httpx.BaseTransport):
    """Runs each request to its end in an event loop of its own, which httpx's ASGI transport leaves to the caller."""

    def __init__(self, app: ASGIApp) -> None:
        self._inner = httpx.ASGITransport(app=app, raise_app_exceptions=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        return asyncio.run(
            self._answer(httpx.Request(request.method, request.url, headers=request.headers, content=content))
        )

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


def client_of(app: ASGIApp, *, base_url: str = "https://hub.example") -> httpx.Client:
    """Return a client whose requests go to `app`."""
    return httpx.Client(transport=InProcess(app), base_url=base_url)


@contextmanager
def served(app: ASGIApp, listening: socket.socket) -> Iterator[str]:
    """Serve `app` on `listening`, a loopback socket, until the block ends. Gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()

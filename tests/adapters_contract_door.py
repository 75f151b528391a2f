"""A door between adapters and a real hub: it passes everything on, and breaks what a test tells it to break.

It can answer for a hub that is down, kill the process that called, before or after the hub has heard of the call, and
put a delivery of a kind that nobody knows into a page.
"""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from anyio import to_thread
from fastapi import FastAPI, Request, Response

from tests.doors import served

PUBLISHES, PULLS, ACKNOWLEDGES = "POST /v1/events", "GET /v1/deliveries", "POST /v1/deliveries/acknowledgements"
UNKNOWN = {"id": "f" * 32, "number": 1_000_000, "kind": "recall", "type": "hub.recall", "data": {"n": 1}}
_PASSED_ON = ("authorization", "content-type", "accept")


@dataclass
class Door:
    """Where adapters call. `url` is its address; the rest is set by tests."""

    hub: httpx.Client
    url: str = ""
    down_after: int | None = None  # answers 503 once it has let so many calls of `PUBLISHES` or `ACKNOWLEDGES` through
    kill_at: tuple[str, int, bool] | None = None  # which call, the how manieth, and whether the hub hears of it
    victim: int = 0
    slips_in_unknown: bool = False
    let_through: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        call, body = f"{request.method} {request.url.path}", await request.body()
        counted = call in (PUBLISHES, ACKNOWLEDGES)
        if counted and self.down_after is not None and len(self.let_through) >= self.down_after:
            return Response("{}", 503)
        if counted:
            self.let_through.append(call)
        kill = self.kill_at and self.kill_at[0] == call and self.kill_at[1] == self.let_through.count(call)
        if kill and not self.kill_at[2]:  # type: ignore[index]  # `kill` says that it is set
            self._kill()
            return Response("{}", 503)
        answer = await to_thread.run_sync(self._pass_on, request, body)
        if kill:
            self._kill()
        content = answer.content
        if call == ACKNOWLEDGES and answer.is_success:
            self.acknowledged += [one["id"] for one in json.loads(body)["acknowledgements"]]
        if call == PULLS and answer.is_success and self.slips_in_unknown:
            page = answer.json()
            content = json.dumps({**page, "deliveries": [UNKNOWN, *page["deliveries"]]}).encode()
        return Response(content, answer.status_code, media_type=answer.headers.get("content-type"))

    def _pass_on(self, request: Request, body: bytes) -> httpx.Response:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        params = dict(request.query_params)
        return self.hub.request(request.method, request.url.path, params=params, content=body, headers=headers)

    def _kill(self) -> None:
        self.kill_at = None
        os.kill(self.victim, signal.SIGKILL)

    def reset(self) -> None:
        """Be a door that breaks nothing."""
        self.down_after, self.kill_at, self.slips_in_unknown = None, None, False
        self.let_through, self.acknowledged = [], []


@contextmanager
def door_to(hub: str) -> Iterator[Door]:
    """Open a door to the hub at this address until the block ends."""
    with (
        httpx.Client(base_url=hub, trust_env=False, timeout=60) as inside,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        door, app = Door(inside), FastAPI()
        app.add_api_route("/{path:path}", door.answer, methods=["GET", "POST"])
        with served(app, listening) as door.url:
            yield door

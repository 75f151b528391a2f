"""Receivers of webhooks in a process of their own: `python -m hub.bench.receivers COUNT HANGING`.

Each listens on a port of its own and answers at once; those from number COUNT - HANGING on repeat the hub's challenge
and never answer anything else. It prints its ports as one line of JSON. A line on standard input is answered with what
arrived since the one before: per receiver how many, when the first and the last, and how long after its event.
"""

import asyncio
import json
import sys
import time
from datetime import datetime
from typing import Any

import orjson
import uvloop

from hub.clock import system_clock

US = 1_000_000
TAKEN = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
LENGTH = b"content-length: "
MISSING = -1


class Receiver:
    """One endpoint: what arrived since it was last asked."""

    def __init__(self, hangs: bool) -> None:
        self.hangs = hangs
        self.arrived: list[tuple[float, float]] = []  # monotonic moment, seconds from the event's

    def take(self, body: bytes) -> bytes:
        document = orjson.loads(body)
        if document["type"] == "hub.webhook.verification":
            said = orjson.dumps({"challenge": document["data"]["challenge"]})
            return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(said), said)
        if self.hangs:
            return b""
        moment_us = datetime.fromisoformat(document["time"]).timestamp() * US
        self.arrived.append((time.monotonic(), (system_clock() - moment_us) / US))
        return TAKEN

    def told(self) -> dict[str, Any]:
        arrived, self.arrived = self.arrived, []
        moments = [moment for moment, _ in arrived]
        return {
            "done": len(arrived),
            "first": moments[0] if moments else None,
            "last": moments[-1] if moments else None,
            "latencies_s": [latency for _, latency in arrived],
        }


class Line(asyncio.Protocol):
    """One connection: as little work per message as it takes."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver, self._given = receiver, b""
        self._transport: Any = None  # uvloop's own class, which is none of asyncio's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._given += data
        while (head := self._given.find(b"\r\n\r\n")) != MISSING:
            at = self._given.index(LENGTH) + len(LENGTH)
            end = head + 4 + int(self._given[at : self._given.index(b"\r\n", at)])
            if len(self._given) < end:
                return
            body, self._given = self._given[head + 4 : end], self._given[end:]
            answer = self._receiver.take(body)
            if answer:
                self._transport.write(answer)


async def run(count: int, hanging: int) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    receivers = [Receiver(at >= count - hanging) for at in range(count)]
    servers = [await loop.create_server(lambda one=one: Line(one), "127.0.0.1", 0) for one in receivers]  # type: ignore[misc]  # bound one by one
    _tell([server.sockets[0].getsockname()[1] for server in servers])
    while await loop.run_in_executor(None, sys.stdin.readline):
        _tell([receiver.told() for receiver in receivers])


def _tell(document: Any) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2])))

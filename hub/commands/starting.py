"""Put a hub together; where an engine that it needs for that is away, serve 503 with the reason and try again.

A hub asks its store who it is - its secrets, its catalogue, its policy - so without it there is nothing to serve. Kafka
and OPA may come later: it starts without them and says so.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from threading import Event, Thread
from typing import TYPE_CHECKING

import uvicorn

from hub.commands.serve import GRACE_S, Doors, Server, address_of, open_doors
from hub.core.errors import HubError, Kind
from hub.web.starting import starting_app

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.logs import Log
    from hub.settings import Settings

AGAIN_S = 1.0  # between two tries
# of a database that others set right while this waits: `hub migrate`, the newer hub's way back
ITS_SCHEMA = frozenset(["store-unusable", "store-newer"])

Build = Callable[[], "Hub"]


def put_together(settings: "Settings", build: Build, log: "Log") -> "tuple[Hub, Doors] | None":
    """Build the hub, however long that takes, and open its doors.

    None where a signal came before that. Raises HubError(STARTUP) for what no waiting mends.
    """
    try:
        hub = build()
    except HubError as error:
        if not waits(error, settings):
            raise
        return _Waiting(settings, build, log, error).served()
    try:
        return hub, open_doors(settings)  # after the store's lock is this process's: a second hub takes no socket away
    except BaseException:
        hub.close()
        raise


def waits(error: HubError, settings: "Settings") -> bool:
    """Say whether it is worth trying again: an engine is away, or others have to do something to its database."""
    return error.kind is Kind.UNAVAILABLE or (settings.on_postgres and error.code in ITS_SCHEMA)


class _Waiting:
    """One start that takes longer. A thread builds, so that the doors answer meanwhile."""

    def __init__(self, settings: "Settings", build: Build, log: "Log", error: HubError) -> None:
        self._settings, self._build, self._log, self._why = settings, build, log, error
        self._stop, self._signalled = Event(), False
        self._ended: list[Hub | BaseException] = []

    def served(self) -> "tuple[Hub, Doors] | None":
        """Answer at all doors until the thread has ended. Raises what it ended with."""
        gc.enable()  # this may take hours; `serve` has switched it off for a start that takes a moment
        doors = open_doors(self._settings)
        self._log.warning("hub.waits", code=self._why.code)
        where = f"{address_of(doors.listening)} " if doors.listening is not None else ""
        print(f"Hub: {where}is not ready: {self._why.what}. {self._why.remedy}", flush=True)
        asyncio.run(self._serve([one for one in doors if one is not None]))
        ended = None if self._signalled else self._ended[0]
        if ended is not None and not isinstance(ended, BaseException):
            return ended, doors
        for one in doors:
            if one is not None:
                one.close()
        self._settings.admin_path.unlink(missing_ok=True)
        if ended is None:
            return None
        raise ended

    async def _serve(self, sockets: list[socket.socket]) -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def told_to_stop() -> None:
            self._signalled = True
            over.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told_to_stop)
        app = starting_app(lambda: self._why)
        servers = [
            Server(
                uvicorn.Config(
                    app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
                    server_header=False, timeout_graceful_shutdown=GRACE_S,
                )
            )
            for _ in sockets
        ]  # fmt: skip
        serving = [  # over copies: these close what they were given, and who comes meanwhile waits at the original
            asyncio.create_task(one.serve(sockets=[at.dup()])) for one, at in zip(servers, sockets, strict=True)
        ]

        def try_again() -> None:
            self._try_until_built()
            if not self._stop.is_set():
                loop.call_soon_threadsafe(over.set)

        Thread(target=try_again, name="starting", daemon=True).start()  # who stops the hub does not wait for it
        await over.wait()
        self._stop.set()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)

    def _try_until_built(self) -> None:
        while not self._stop.wait(AGAIN_S):
            try:
                self._ended.append(self._build())
            except HubError as error:
                if waits(error, self._settings):
                    if error.what != self._why.what:
                        self._log.warning("hub.waits", code=error.code)
                    self._why = error
                    continue
                self._ended.append(error)
            except BaseException as error:  # noqa: BLE001 - raised where this thread is waited for
                self._ended.append(error)
            return

"""`hub serve`: the hub in one process, on its TCP address and on the operator's socket, until SIGTERM or SIGINT."""

import asyncio
import fcntl
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
import uvicorn

from hub.core.errors import HubError, Kind
from hub.parts import ALL, SERVE, shown

if TYPE_CHECKING:
    from hub.app import Hub
    from hub.settings import Settings

BACKLOG = 2_048  # connections waiting to be taken: a crowd at the same second
GRACE_S = 10  # for requests that are under way when the hub stops; long polls end at once
STARTED_S = 0.005
LOCK = "process.lock"  # in the data directory, where the store is not a file in it


class Doors(NamedTuple):
    """The sockets that a hub listens on."""

    listening: socket.socket | None  # where a part with a door of its own runs
    admin: socket.socket
    watched: socket.socket | None


class Server(uvicorn.Server):
    """One of several servers in one loop; signals are for all, so none takes them for itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `run`."""
        yield


def serve(
    mode: Annotated[str, typer.Option(help="production | development | demo; else HUB_MODE.")] = "",
    port: Annotated[int, typer.Option(help="TCP port, 0 for a free one; else HUB_PORT.")] = -1,
    data_dir: Annotated[Path | None, typer.Option(help="Holds store and keys; else HUB_DATA_DIR.")] = None,
    only: Annotated[str, typer.Option(help="Parts to run, as in web,gate; else HUB_ONLY, or all.")] = "",
) -> None:
    """Run the hub. Every setting is explained in deploy/README.md."""
    gc.disable()  # nothing of what is loaded now is garbage: a tenth of the start would go into finding that out
    from hub.app import build  # after the command line was understood: it loads the whole hub
    from hub.clock import system_clock
    from hub.commands.starting import put_together
    from hub.interpreter import settle_in
    from hub.logs import open_log, take_over
    from hub.settings import checked, load

    given: dict[str, Any] = {"mode": mode} if mode else {}
    given |= {"port": port} if port >= 0 else {}
    given |= {"data_dir": data_dir} if data_dir else {}
    given |= {"only": only} if only else {}
    settings = checked(load(**given))
    alone = own_directory(settings)
    log = open_log(clock=system_clock, level=settings.log_level, form=settings.log_format)
    take_over(log)
    started = put_together(settings, lambda: build(settings, log=log), log)
    if started is None:  # told to stop while it waited for its store
        log.info("hub.stopped")
        return
    hub, (listening, admin, watched) = started
    settle_in()
    try:
        with beside(settings):
            run(hub, listening, admin, watched, started=lambda: _tell(listening, watched, settings))
    finally:
        settings.admin_path.unlink(missing_ok=True)
        hub.close()
        hub.log.info("hub.stopped")
        if alone is not None:
            alone.close()


@contextmanager
def beside(settings: "Settings") -> Iterator[None]:
    """Serve a provider of invented people beside the hub, where the settings ask for one; production refuses that."""
    if settings.dev_provider_port is None:
        yield
        return
    from hub.clock import system_clock
    from hub.demo.provider_people import dev_provider  # it loads the demo's world and another HTTP server

    with dev_provider(settings, system_clock):
        yield


def own_directory(settings: "Settings") -> IO[bytes] | None:
    """Keep the data directory for this process as long as the file is open, where no store's lock does.

    Raises HubError(STARTUP) where another process has it: each would take the other's socket away.
    """
    if not settings.on_postgres:
        return None
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (settings.data_dir / LOCK).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as cause:
        lock.close()
        raise HubError(
            Kind.STARTUP,
            "another process of the hub runs in this data directory",
            where="data_dir",
            remedy="Give each process a HUB_DATA_DIR of its own; what they share lies in the store and HUB_SHARED_DIR.",
            code="data-dir-taken",
        ) from cause
    return lock


def open_doors(settings: "Settings") -> Doors:
    """Open all addresses that the settings name. Raises HubError(STARTUP) when one cannot be had."""
    return Doors(
        listen(settings.host, settings.port) if settings.parts & SERVE else None,
        listen_admin(settings.admin_path),
        None if settings.operations_port is None else listen(settings.host, settings.operations_port),
    )


def listen(host: str, port: int) -> socket.socket:
    """Open the TCP address. Raises HubError(STARTUP) when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as cause:
        raise HubError(
            Kind.STARTUP,
            f"the address {host}:{port} cannot be listened on ({cause.strerror})",
            where="port",
            remedy="Stop what uses it, or set HUB_PORT (0 takes a free one).",
            code="address-unusable",
        ) from cause


def listen_admin(path: Path) -> socket.socket:
    """Open the operator's socket, mode 0600. What a killed hub left is replaced: this one holds the store's lock."""
    admin = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        admin.bind(str(path))
        admin.listen(16)
    except OSError as cause:
        raise HubError(
            Kind.STARTUP,
            f"the operator's socket cannot be made ({cause.strerror or 'its path is too long'})",
            where=path.name,
            remedy="Set HUB_ADMIN_SOCKET to a short path (at most 107 bytes) in a folder that the hub may write to.",
            code="socket-unusable",
        ) from cause
    finally:
        os.umask(before)
    return admin


def run(
    hub: "Hub",
    listening: socket.socket | None,
    admin: socket.socket,
    watched: socket.socket | None = None,
    *,
    started: Callable[[], None],
) -> None:
    """Serve all applications until a signal comes; `started` is called when each takes requests.

    What serves nobody has no public address.
    """
    import uvloop

    from hub.web.apps import admin_app, operations_app, public_app

    proxied = hub.settings.behind_tls_proxy
    doors = [(admin_app(hub), admin)]
    if listening is not None:
        doors.insert(0, (public_app(hub), listening))
    if watched is not None:
        doors.append((operations_app(hub), watched))
    servers = [
        Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=proxied,
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        for app, _ in doors
    ]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(hub, servers, [each for _, each in doors], started))


async def _serve(hub: "Hub", servers: list[Server], sockets: list[socket.socket], started: Callable[[], None]) -> None:
    def stop(number: int) -> None:
        hub.log.info("hub.stopping", signal=signal.Signals(number).name)
        hub.stopping = True
        hub.bell.ring_all()
        for server in servers:
            server.force_exit = server.should_exit and number == signal.SIGINT  # a second Ctrl-C does not wait
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    hub.start()
    serving = [asyncio.create_task(server.serve(sockets=[each])) for server, each in zip(servers, sockets, strict=True)]
    while not all(s.started for s in servers) and not any(t.done() for t in serving):  # noqa: ASYNC110 - uvicorn has no event
        await asyncio.sleep(STARTED_S)
    public = sockets[0].getsockname()
    port = public[1] if isinstance(public, tuple) else 0  # a Unix socket's name is a text
    hub.log.info("hub.started", mode=hub.settings.mode, port=port, pid=os.getpid())
    started()
    await asyncio.gather(*serving)


def address_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _tell(listening: socket.socket | None, watched: socket.socket | None, settings: "Settings") -> None:
    if listening is not None:
        print(f"Hub: {address_of(listening)} (agencies name {settings.issuer} in their assertions)", flush=True)
    if settings.parts != ALL:
        print(f"Runs: {shown(settings.parts)}", flush=True)
    print(f"Operator: {settings.admin_path} (hub status, hub catalogue apply, ...)", flush=True)
    if watched is not None:
        print(f"Health, readiness and metrics: port {watched.getsockname()[1]}", flush=True)
    if settings.mode == "production" and settings.metrics_token_file is None:
        print("Metrics: at the operator's socket only; HUB_METRICS_TOKEN_FILE opens them on the port.", flush=True)

"""A hub as shipped: `hub serve` in a process of its own over the synthetic world, and clients in others that call it.

The world is written into a data directory first, through the store and with the hub's own key file; what is served
then is found there as any hub finds it: an approved catalogue, registered agency keys, linked people, their consents.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson
from joserfc.jwk import OKPKey

from agency_adapters.channel import Channel, Settings, open_http
from agency_adapters.keys import new_key, public_jwk
from hub.bench.line import Line
from hub.bench.measure import Sizes
from hub.bench.synthetic import (
    PUBLISHER,
    QUIET_PUBLISHER,
    QUIET_RECIPIENT,
    RECIPIENTS,
    Synthetic,
    recipient,
)
from hub.bench.whole import filled, fresh
from hub.identity.keys import keyring, make_key_file, read_key_file
from hub.settings import PREFIX
from hub.store.agency_keys import FOR_EVER_US, KeyRow, put_key
from hub.store.engine import Tx

if TYPE_CHECKING:
    from hub.bench.engines import Engines, Room

UNLIMITED = "1000000000"  # a quota that nobody reaches: it is counted all the same
SERVED_WITH = MappingProxyType(
    {
        "HUB_MODE": "development",
        "HUB_PORT": "0",
        "HUB_SYNCHRONOUS": "FULL",
        "HUB_QUOTA_REQUESTS_PER_S": UNLIMITED,
        "HUB_QUOTA_REQUESTS_BURST": UNLIMITED,
        "HUB_QUOTA_EVENTS_PER_S": UNLIMITED,
        "HUB_QUOTA_EVENTS_BURST": UNLIMITED,
        "HUB_LOG_LEVEL": "warning",
    }
)
STARTED_WITHIN_S, STOPPED_WITHIN_S, LOOK_S = 30.0, 20.0, 0.05
GRACE_S = 60.0  # what a client may take beyond its own limit: making ready, and the answer it waits for
PR_SET_PDEATHSIG = 1  # prctl(2), Linux
Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Served:
    """A running hub: where it answers, its process, and the keys that its agencies sign in with."""

    address: str
    pid: int
    keys: Mapping[str, OKPKey] = field(repr=False)
    key_file: Path
    room: "Room | None" = None  # where it stands on real engines

    def token(self, agency: str) -> str:
        """Sign in as an agency does. Good for five minutes."""
        settings = Settings(hub=self.address, agency=agency)
        with open_http(settings) as http:
            return Channel(settings, self.keys[agency], http).access_token()

    def cpu_s(self) -> float:
        """Return the CPU seconds that the hub's process has taken, user and system (proc(5), fields 14 and 15)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        line = Line(self.address, {})
        text = line.ask("GET", "/metrics").body.decode()
        line.close()
        rows = (row.rpartition(" ") for row in text.splitlines() if not row.startswith("#"))
        return sum(float(value) for named, _, value in rows if named.partition("{")[0] == name)

    def decided(self) -> float:
        """Count what all gates have decided: the hub's own says it, beside others the database does."""
        if self.room is None:
            return self.metric("hub_gate_events_total")
        with self.room.decided() as decided:
            return decided.records()

    def settle(self, *, within_s: float = 120.0) -> None:
        """Wait until the gate has decided all that was published."""
        until_s = time.monotonic() + within_s
        while self.metric("hub_intake_backlog_events") and time.monotonic() < until_s:
            time.sleep(LOOK_S)


@contextmanager
def served(
    directory: Path,
    sizes: Sizes,
    *,
    prepare: Callable[[Synthetic], None] | None = None,
    settings: Mapping[str, str] = SERVED_WITH,
    engines: "Engines | None" = None,
) -> Iterator[Served]:
    """Make the world, let `prepare` add to it in this process, then serve it with `settings` until the block ends.

    Over real engines it has a room of its own there.
    """
    data = directory / "hub"
    directory.mkdir(parents=True, exist_ok=True)
    key_file = directory / "hub.key"
    make_key_file(key_file)
    publishers_and_others = (PUBLISHER, QUIET_PUBLISHER, QUIET_RECIPIENT, *map(recipient, range(RECIPIENTS)))
    agency_keys = {code: new_key() for code in publishers_and_others}
    keys = keyring(read_key_file(key_file))
    with ExitStack() as stack:
        room = None if engines is None else stack.enter_context(engines.room())
        with fresh(data, sizes, keys=keys) if room is None else filled(room, sizes, keys=keys) as made:
            made.world.store.write(lambda tx: _register(tx, agency_keys))
            if prepare is not None:
                prepare(made)
        data.mkdir(exist_ok=True)
        told = settings if room is None else {**settings, **room.settings()}
        address, pid = stack.enter_context(_process(data, key_file, told))
        yield Served(address, pid, agency_keys, key_file, room)


def _register(tx: Tx, agency_keys: Mapping[str, OKPKey]) -> None:
    for agency, key in agency_keys.items():
        jwk = public_jwk(key)
        put_key(tx, KeyRow(agency, jwk["kid"], orjson.dumps(jwk).decode(), 0, FOR_EVER_US), most=1)


@contextmanager
def _process(data: Path, key_file: Path, settings: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Run `hub serve`; yields where it answers and its process id. Raises RuntimeError when it does not start."""
    named = {"HUB_DATA_DIR": str(data), "HUB_KEY_FILE": str(key_file)}
    log = data / "serve.log"
    with log.open("wb") as errors, child("hub", "serve", env={**settings, **named}, errors=errors) as process:
        assert process.stdout is not None
        with _ended_after(STARTED_WITHIN_S, [process]):
            first = process.stdout.readline().split()  # "Hub: ADDRESS (...)", printed when it takes requests
        if len(first) < 2:
            raise RuntimeError(f"the hub did not start: {log.read_text()[-1_000:]}")
        yield first[1].decode(), process.pid


def together(tasks: Sequence[Mapping[str, Any]]) -> list[Found]:
    """Run a client per task at the same time, each in a process of its own, and return what they found.

    All make ready first and then start at one word. Raises RuntimeError when one fails or does not end in time.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(child("hub.bench.client", env={})) for _ in tasks]
        stack.enter_context(_ended_after(max(task["seconds"] for task in tasks) + GRACE_S, clients))
        for client, task in zip(clients, tasks, strict=True):
            tell(client, json.dumps(dict(task)))
        for client in clients:
            hear(client)
        for client in clients:
            tell(client, "go")
        return [json.loads(hear(client)) for client in clients]


def tell(client: "subprocess.Popen[bytes]", text: str) -> None:
    assert client.stdin is not None
    client.stdin.write(text.encode() + b"\n")
    client.stdin.flush()


def hear(client: "subprocess.Popen[bytes]") -> bytes:
    assert client.stdout is not None
    line = client.stdout.readline()
    if not line:
        raise RuntimeError("a measuring client failed, or did not end in time; what it said stands above")
    return line


@contextmanager
def child(
    module: str, *arguments: str, env: Mapping[str, str], errors: Any = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a module of this hub in a process that does not outlive this one."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    process = subprocess.Popen(  # noqa: S603 - this interpreter, and modules named in this file
        [sys.executable, "-m", module, *arguments],
        env=clean | dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - calls one C function only
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextmanager
def _ended_after(seconds: float, processes: "Sequence[subprocess.Popen[bytes]]") -> Iterator[None]:
    """Kill what has not answered by then, so that nobody waits for it for ever."""

    def end() -> None:
        for process in processes:
            process.kill()

    timer = Timer(seconds, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

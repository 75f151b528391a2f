"""A hub of several real processes: `hub serve --only` over PostgreSQL, Kafka and OPA, and agencies' clients in front.

What a proxy does in production the clients' transport does: `/v1/deliveries` goes to a hand-out, all else to a web.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

from agency_adapters.channel import Settings as Line
from agency_adapters.client import HubClient
from agency_adapters.keys import new_key, public_jwk
from agency_adapters.results import Delivery
from agency_adapters.retry import Backoff
from hub.app import build
from hub.bus.kafka_access import access_of
from hub.bus.kafka_plan import wanted_of
from hub.bus.kafka_topics import carry_out, plan_now
from hub.settings import Settings
from tests import stores
from tests.engines import needs_kafka, topic_prefix
from tests.opa_world import bundle_of, opa
from tests.test_serve import HUB, START_S, environment
from tests.world import birth, link, until

ISSUER = "http://127.0.0.1:9"  # nothing listens there: each client knows the way
PATIENT = Backoff(attempts=400, first_s=0.2, cap_s=0.5)  # a process that was killed is back within seconds, or minutes
AGENCIES = ("civil-registry", "population-register", "family-benefits", "health-insurance")
LEASE_S, REDELIVER_S = 3, 3


@dataclass
class Running:
    """One process of the hub."""

    parts: str
    process: "subprocess.Popen[str]"
    environment: dict[str, str]
    log: Path
    door: str = ""
    operations: str = ""

    def started(self) -> "Running":
        """Wait until it says where it listens."""
        assert self.process.stdout is not None
        while not self.operations:
            line = self.process.stdout.readline()
            assert line, self.log.read_text()[-3_000:]
            if found := re.search(r"Hub: (http://\S+)", line):
                self.door = found[1]
            if found := re.search(r"metrics: port (\d+)", line):
                self.operations = f"http://127.0.0.1:{found[1]}"
        return self

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def troubles(self) -> list[str]:
        answer = httpx.get(self.operations + "/readyz", timeout=10)
        return [item["detail"] for item in answer.json().get("items", ())]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run one of the hub's commands as in this process's container."""
        return subprocess.run(
            [*HUB, *words], env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )


@dataclass
class Front(httpx.BaseTransport):
    """Sends each request to a living process of the part that serves it, in turns."""

    house: "House"
    inner: httpx.HTTPTransport = field(default_factory=httpx.HTTPTransport)
    turn: Iterator[int] = field(default_factory=count)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        part = "handout" if request.url.path.startswith("/v1/deliveries") else "web"
        doors = [one.door for one in self.house.of(part)]
        if not doors:
            raise httpx.ConnectError("nobody serves this now")
        to = httpx.URL(doors[next(self.turn) % len(doors)])
        request.url = request.url.copy_with(scheme=to.scheme, host=to.host, port=to.port)
        return self.inner.handle_request(request)

    def close(self) -> None:
        self.inner.close()


@dataclass
class House:
    """All processes of one hub, and its agencies' clients."""

    directory: Path
    variables: dict[str, str]
    keys: dict[str, Any]
    processes: list[Running] = field(default_factory=list)
    clients: dict[str, HubClient] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)

    def run(self, *parts: str) -> list[Running]:
        """Start a process for each of these, and wait until all take requests."""
        return [one.started() for one in [self._begin(each) for each in parts]]

    def dying(self, parts: str, failpoints: str, *, within_s: float = 40.0) -> int:
        """Start a process that kills itself at a failpoint, and wait for that; returns how it ended."""
        return self._begin(parts, HUB_FAILPOINTS=failpoints).process.wait(within_s)

    def of(self, part: str) -> list[Running]:
        return [one for one in self.processes if part in one.parts.split(",") and one.alive and one.door]

    def agency(self, code: str) -> HubClient:
        if code not in self.clients:
            client = HubClient(Line(ISSUER, code, issuer=ISSUER, backoff=PATIENT), self.keys[code])
            client.channel.http = httpx.Client(base_url=ISSUER, transport=Front(self), timeout=40)
            self.clients[code] = client
        return self.clients[code]

    def families(self, number: int) -> None:
        """Link so many children and a parent, at whoever publishes and at family benefits."""
        links = [link("civil-registry", "P-1", "R-P-1", born="1990-05-01")]
        for at in range(number):
            links.append(link("civil-registry", f"C-{at}", f"R-C-{at}", born="2026-01-31"))
            links.append(link("family-benefits", f"FB-C-{at}", f"R-C-{at}"))
        answers = self.agency("population-register").link(links)
        assert {answer["status"] for answer in answers} <= {"linked", "known"}

    def born(self, *numbers: str, child: int = 0) -> list[str]:
        """Publish births of one child; returns their status tokens. Everybody who is entitled hears of each once."""
        done = self.agency("civil-registry").publish([birth(each, child=f"C-{child}") for each in numbers])
        assert done.refused == ()
        return [one.token for one in done.accepted]

    def decided(self, tokens: list[str], within_s: float = 40.0) -> None:
        """Wait until the gate has seen all of these."""
        client = self.agency("civil-registry")
        left = longer(
            lambda: [one for one in tokens if client.status(one) == "accepted"], lambda some: not some, within_s
        )
        assert left == []

    def pulled(self, code: str, number: int, *, within_s: float = 40.0) -> list[Delivery]:
        """Pull and acknowledge until there were so many different ones."""
        found: dict[str, Delivery] = {}

        def more() -> int:
            page = self.agency(code).pull(wait_s=1).deliveries
            found.update({one.id: one for one in page})
            if page:
                self.agency(code).acknowledge(page)
            return len(found)

        longer(more, lambda got: got >= number, within_s)
        return list(found.values())

    def _begin(self, parts: str, **more: str) -> Running:
        place = self.directory / f"{parts.replace(',', '-')}-{next(self.numbers)}"
        place.mkdir()
        environ = environment(place, HUB_ONLY=parts, HUB_OPERATIONS_PORT="0", **self.variables, **more)
        if not set(parts.split(",")) & {"web", "gate", "files"}:
            environ = {name: value for name, value in environ.items() if "KAFKA" not in name and name != "HUB_BUS"}
        log = place / "log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [*HUB, "serve"], env=environ, cwd=place, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.processes.append(Running(parts, process, environ, log))
        return self.processes[-1]

    def end(self) -> None:
        for client in self.clients.values():
            client.close()
        for one in self.processes:
            if one.alive:
                one.resume()
                one.process.terminate()
        for one in self.processes:
            one.process.communicate(timeout=START_S)


def longer(ask: Any, enough: Any, within_s: float = 40.0) -> Any:
    """Ask as `until` does, for as long as a machine that does ten other things may take."""
    end_s = monotonic() + within_s
    while not enough(answer := until(ask, enough)) and monotonic() < end_s:
        pass
    return answer


@contextmanager
def house(directory: Path, *, policy: str = "embedded", **more: str) -> Iterator[House]:
    """Set up engines, catalogue, topics, keys; then the test says what runs. All is ended afterwards."""
    stores.server()
    (directory / "shared").mkdir()
    given: dict[str, Any] = {
        "mode": "demo", "issuer": ISSUER, "key_file": directory / "root.key", "shared_dir": directory / "shared",
        "store_dsn": stores.dsn_of(directory / "hub.sqlite"), "store_connections_max": 6, "bus": "kafka",
        "kafka_bootstrap": (needs_kafka().address,), "kafka_security": "PLAINTEXT",
        "kafka_topic_prefix": topic_prefix(), "kafka_partitions": 4, "kafka_replication": 1, "kafka_min_insync": 1,
        "lease_s": LEASE_S, "handout_redeliver_s": REDELIVER_S,
    }  # fmt: skip
    settings = Settings(data_dir=directory / "first", **given)
    hub = build(settings)
    try:
        wanted = wanted_of(settings, hub.approved())
        carry_out(access_of(settings), wanted, plan_now(access_of(settings), wanted).document()["digest"])
        keys = {code: new_key() for code in AGENCIES}
        for code, key in keys.items():
            hub.add_agency_key(code, public_jwk(key))
        catalogue = hub.approved()
    finally:
        hub.close()
    variables = {f"HUB_{name.upper()}": _said(value) for name, value in given.items()} | more
    with ExitStack() as around:
        if policy == "server":
            started = around.enter_context(opa(bundle_of(catalogue)))
            variables |= {"HUB_POLICY": "server", "HUB_OPA_URL": started.url}
        made = House(directory, variables, keys)
        try:
            yield made
        finally:
            made.end()
            stores.drop_all()


def status_of(one: Running) -> dict[str, Any]:
    """Run `hub status --json` where this process runs."""
    said: dict[str, Any] = json.loads(one.command("status", "--json").stdout)
    return said


def _said(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


assert os.name == "posix"  # SIGSTOP and SIGCONT

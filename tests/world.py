"""A whole hub for tests: real store, policy, catalogue, workers and uvicorn on loopback, and agencies' real clients."""

import io
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

from agency_adapters.channel import Settings as Line
from agency_adapters.client import HubClient
from agency_adapters.keys import new_key, public_jwk
from agency_adapters.results import Delivery
from agency_adapters.retry import Backoff
from hub.app import Hub, build
from hub.clock import system_clock
from hub.core.agreement import Catalogue
from hub.exchange.officers import appoint, invented_keys
from hub.logs import open_log
from hub.ports import Clock
from hub.settings import Settings
from hub.web.apps import public_app
from tests.doors import served
from tests.stores import settings_of

T = TypeVar("T")
ONCE = Backoff(attempts=1, first_s=0.0, cap_s=0.0)
PATIENCE_S = 5.0  # for what happens within milliseconds on a machine that does nothing else


@dataclass
class Town:
    """A running hub and the agencies that talk to it. `said` is its log."""

    hub: Hub
    url: str
    said: io.StringIO
    clients: dict[str, HubClient] = field(default_factory=dict)

    def agency(self, code: str) -> HubClient:
        """Return the agency's client, its key registered at first use."""
        if code not in self.clients:
            key = new_key()
            self.hub.add_agency_key(code, public_jwk(key))
            self.clients[code] = HubClient(Line(self.url, code, batch_events=500, backoff=ONCE), key)
        return self.clients[code]

    def pull(self, code: str, *, wait_s: int = 0) -> tuple[Delivery, ...]:
        return self.agency(code).pull(wait_s=wait_s).deliveries

    def decided(self, token: str) -> str:
        """Wait until the gate has seen an event; return its state."""
        return until(lambda: self.agency("civil-registry").status(token), lambda state: state != "accepted")


@contextmanager
def town(directory: Path, *, clock: Clock = system_clock, **settings: Any) -> Iterator[Town]:
    """Run a hub over `directory` until the block ends; the same directory again is a restart."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        given: dict[str, Any] = {"mode": "demo", "data_dir": directory, "issuer": url, "synchronous": "NORMAL"}
        given |= {**settings_of(directory), **settings}
        said = io.StringIO()
        hub = build(Settings(**given), clock=clock, log=open_log(clock=clock, level="debug", stream=said))
        hub.start()
        try:
            with served(public_app(hub), listening):
                place = Town(hub, url, said)
                try:
                    yield place
                finally:
                    hub.stopping = True
                    hub.bell.ring_all()
                    for client in place.clients.values():
                        client.close()
        finally:
            hub.close()


def agree(hub: Hub, proposed: Catalogue) -> None:
    """Have the officers of both sides sign what is not signed yet, and put the catalogue in force."""
    appoint(hub.agreements, proposed, keys=invented_keys(hub.settings.data_dir))
    hub.approve(proposed)


def until(ask: Callable[[], T], enough: Callable[[T], bool]) -> T:
    """Ask again until the answer will do; after `PATIENCE_S` return the last one as it is."""
    end_s = monotonic() + PATIENCE_S
    while not enough(answer := ask()) and monotonic() < end_s:
        sleep(0.01)
    return answer


def link(agency: str, local_id: str, mine: str, *, level: int = 3, born: str = "") -> dict[str, Any]:
    """Say that `local_id` at `agency` is whom the population register calls `mine`."""
    return {"agency": agency, "local_id": local_id, "mine": mine, "level": level} | ({"born": born} if born else {})


def birth(number: str = "1", *, child: str = "C-1", parents: tuple[str, ...] = ("P-1",), **data: Any) -> dict[str, Any]:
    """Make a birth as the civil registry publishes it. All of it is invented."""
    return {
        "specversion": "1.0",
        "id": f"birth-{number}",
        "source": "urn:agency:civil-registry",
        "type": "civil.birth.registered",
        "subject": child,
        "time": datetime.fromtimestamp(system_clock() / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "data": {
            "child_id": child,
            "dob": "2026-01-31",
            "parent_ids": list(parents),
            "hospital": "St Example",
            "birth_weight": 3400,
            **data,
        },
    }


def link_family(place: Town, *, child: str = "C-1", parent: str = "P-1") -> None:
    """Link a child and a parent at the civil registry; the child also at family benefits, as FB-<child>."""
    answers = place.agency("population-register").link(
        [
            link("civil-registry", child, f"R-{child}", born="2026-01-31"),
            link("civil-registry", parent, f"R-{parent}", born="1990-05-01"),
            link("family-benefits", f"FB-{child}", f"R-{child}"),
        ]
    )
    assert {answer["status"] for answer in answers} <= {"linked", "known"}

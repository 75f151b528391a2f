"""The invented country at work: agencies with keys of their own, their clients, and the people at their sign-in.

Everything goes over HTTP, as it would for anybody: `agency_adapters` for agencies, the citizens' JSON API for people.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from agency_adapters.channel import TIMEOUT_S, Settings
from agency_adapters.client import HubClient
from agency_adapters.keys import new_key, public_jwk
from agency_adapters.profile import new_profile, profile_exists, read_profile, write_profile
from agency_adapters.results import CloudEvent, Delivery, Refused
from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Kind
from hub.demo.cast import REGISTER, Cast, Happening
from hub.demo.citizen import Citizen
from hub.demo.tally import Tally
from hub.exchange.feed import rfc3339
from hub.ports import Clock

KEYS = "demo-agencies"  # in the data directory: the keys that the demo made for its agencies, for their owner only
HANDLED_WITHIN_S = 20.0
LOOK_S = 0.01
UNSETTLED = "accepted"  # the gate has not seen it yet


class Published(NamedTuple):
    """An event as it was published, with what the publisher holds of it."""

    case: str
    dataset: str
    about: str  # handle of the event's subject
    subject: str  # the publisher's own id of them
    data: Mapping[str, Any]
    publisher: str
    state: str  # handled | waiting


class Country:
    """Use as a context manager. One client per agency, made and registered when it is first needed."""

    def __init__(self, address: str, data_dir: Path, *, catalogue: Catalogue, cast: Cast, clock: Clock) -> None:
        """`data_dir` is the demo's own; the agencies' keys are kept there."""
        self.address, self.data_dir, self.catalogue, self.cast = address, data_dir, catalogue, cast
        self.tally = Tally()
        self._directory, self._clock = data_dir / KEYS, clock
        self._clients: dict[str, HubClient] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for client in self._clients.values():
            client.close()

    def agency(self, code: str) -> HubClient:
        """Return an agency's client. Its key is the one of an earlier run here, else made now and registered."""
        if code not in self._clients:
            self._clients[code] = HubClient(Settings(self.address, code), self._key(code))
        return self._clients[code]

    def citizen(self, who: str, *, on: str = "") -> Citizen:
        """Sign somebody in, on behalf of `on` where that is somebody else."""
        person, other = (f"{REGISTER}:{self.cast.people[handle].ids[REGISTER]}" for handle in (who, on or who))
        return Citizen(self.address, person=person, on=other if other != person else "")

    def link_everybody(self) -> int:
        """Let the population register say whom each id belongs to. Returns how many ids it linked."""
        links = self.cast.links()
        answers = self.agency(REGISTER).link(links)
        refused = [one for one in answers if "problem" in one]
        if refused:
            raise HubError(
                Kind.CONFLICT, f"the hub refused {len(refused)} links of the demo's people", code="demo-links"
            )
        return len(links)

    def publish(self, happening: Happening, *, child: str = "", answers: str = "") -> Published:
        """Publish one event, the answer to an ask where one is named, and wait until the gate is done with it."""
        dataset = self.catalogue.datasets[happening.dataset]
        publisher = dataset.provider
        about = child if happening.about == "child" else happening.about
        data = self.cast.data_of(happening, publisher, child=child)
        subject = self.cast.people[about].ids[publisher]
        event = self.event(happening.dataset, publisher=publisher, subject=subject, data=data)
        (token,) = self.hand_in(publisher, [event | ({"answers": answers} if answers else {})])
        state = _settled(self.agency(publisher), token)
        return Published(event["case"], happening.dataset, about, subject, data, publisher, state)

    def event(self, dataset: str, *, publisher: str, subject: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Dress data as a CloudEvent of now. Its `case` is a tag that the person's history repeats."""
        case = secrets.token_hex(8)
        return {
            "specversion": "1.0",
            "id": f"demo-{case}",
            "source": f"urn:agency:{publisher}",
            "type": dataset,
            "subject": subject,
            "time": rfc3339(self._clock()),
            "datacontenttype": "application/json",
            "case": case,
            "data": data,
        }

    def hand_in(self, publisher: str, events: Sequence[CloudEvent]) -> list[str]:
        """Publish, without waiting for the gate. Each event has a `case`. Returns the status tokens."""
        result = self.agency(publisher).publish(events)
        if result.refused:
            raise _refused(result.refused[0])
        self.tally.published.update({one["case"]: tuple(one["data"]) for one in events})
        return [one.token for one in result.accepted]

    def poison(self, who: str) -> None:
        """Have the demo's hub damage what it holds of a test person, as a failing disk would."""
        person = f"{REGISTER}:{self.cast.people[who].ids[REGISTER]}"
        with httpx.Client(base_url=self.address, trust_env=False, timeout=TIMEOUT_S) as http:
            http.post("/demo/poison", json={"person": person}).raise_for_status()

    def collect(self, agency: str) -> list[Delivery]:
        """Take everything there is for an agency, and acknowledge it."""
        client = self.agency(agency)
        found: list[Delivery] = []
        while True:
            page = client.pull()
            found += page.deliveries
            if page.deliveries:
                self.tally.acknowledged += client.acknowledge(page.deliveries).acknowledged
            if not page.more:
                self.tally.received(found)
                return found

    def recipients(self, dataset: str) -> list[str]:
        """Name who subscribes to a dataset, in the catalogue's order."""
        return list(dict.fromkeys(line.recipient for line in self.catalogue.by_dataset.get(dataset, ())))

    def own_fields(self) -> dict[str, frozenset[str]]:
        """Name per dataset what its publisher writes, without what is derived from it."""
        return {name: frozenset(dataset.fields) for name, dataset in self.catalogue.datasets.items()}

    def _key(self, code: str) -> Any:
        if profile_exists(self._directory, code):
            return read_profile(self._directory, code)[1]
        key = new_key()
        register_key(self.address, code, public_jwk(key))
        write_profile(self._directory, new_profile(code, hub=self.address, issuer="", ca_file=None), key)
        return key


def register_key(address: str, code: str, jwk: Mapping[str, Any]) -> None:
    """Register a public key at a demo hub, as `hub-agency init --demo` does."""
    with httpx.Client(base_url=address, trust_env=False, timeout=TIMEOUT_S) as http:
        response = http.post("/demo/agency-keys", json={"agency": code, "jwk": jwk})
    if not response.is_success:
        raise HubError(
            Kind.NOT_FOUND,
            "the hub at this address is no demo",
            where=address,
            remedy="Start one with `make demo`; another hub's address is told by HUB_ISSUER.",
            code="demo-absent",
        )


def _settled(client: HubClient, token: str) -> str:
    """Ask until the gate is done. Nothing is doubled by asking, and a demo's gate is idle."""
    until_s = time.monotonic() + HANDLED_WITHIN_S
    while (state := client.status(token)) == UNSETTLED:
        if time.monotonic() > until_s:
            raise HubError(
                Kind.UNAVAILABLE,
                f"the gate did not handle an event within {HANDLED_WITHIN_S:.0f} s",
                remedy="See what /readyz says.",
                code="demo-unhandled",
            )
        time.sleep(LOOK_S)
    return state


def _refused(one: Refused) -> HubError:
    where = ", ".join(str(item.get("where", "")) for item in one.problem.items)
    return HubError(
        Kind.INVALID,
        f"the hub refused an event of the demo: {one.problem.what}",
        where=where or one.problem.where,
        remedy=one.problem.remedy,
        code="demo-event",
    )

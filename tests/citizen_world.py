"""A whole exchange on one store for the tests of the citizens' door: shipped catalogue and policy, real gate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from anyio import CapacityLimiter
from fastapi import FastAPI

from consent.notice import Notice
from hub.bus.embedded import EmbeddedBus
from hub.catalogue_files import load
from hub.citizens.choices import Done, grant
from hub.citizens.desk import CitizenDesk
from hub.citizens.notices import notice_of_request
from hub.citizens.requests import ask
from hub.core.agreement import Catalogue
from hub.exchange.acknowledge import Acknowledgement, acknowledge
from hub.exchange.feed import cloud_event
from hub.exchange.gate import Gate
from hub.exchange.handout import hand_out
from hub.exchange.publish import Accepted, PublishDesk, publish, validators_of
from hub.exchange.verdicts import Verdicts
from hub.exchange.world import FieldSets, Limits, World
from hub.identity.day_keys import DayKeys
from hub.identity.keys import OpenKeys, keyring
from hub.identity.people import NewLink, Register, link, person_of
from hub.identity.principal import Principal
from hub.logs import open_log
from hub.metrics import open_metrics
from hub.policy.embedded import EmbeddedPolicy
from hub.settings import Settings
from hub.store.engine import Tx, marks
from hub.web.citizen import citizen_routes
from hub.web.consent_requests import consent_request_routes
from hub.web.problems import install
from tests.doors import client_of
from tests.stores import open_store

ROOT = Path(__file__).resolve().parents[1]
NOW_US = int(datetime(2026, 11, 2, 9, tzinfo=UTC).timestamp()) * 1_000_000
S = 1_000_000
DAY_US = 86_400 * S
REGISTER = "population-register"
CHILD_BORN = date(2026, 10, 20)
BIRTH = {
    "dob": "2026-10-20", "names": "Test Child", "sex": "female", "place": "Lindum", "hospital": "St Test",
    "birth_weight": 3400, "multiple_birth": False,
}  # fmt: skip


@lru_cache(maxsize=1)
def shipped() -> tuple[Catalogue, EmbeddedPolicy]:
    """Load catalogue and policy once: neither changes."""
    catalogue = load(ROOT / "policies" / "catalogue")
    return catalogue, EmbeddedPolicy(catalogue, ROOT / "policies" / "compiled")


@dataclass
class Town:
    """One exchange over one store, with a clock that the test moves. Each person is called by a short name."""

    directory: Path
    now_us: int = NOW_US
    limits: Limits = field(default_factory=Limits)
    rung: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        path = self.directory / "hub.sqlite"
        self.store = open_store(path, synchronous="OFF")
        self.catalogue, policy = shipped()
        self.keys = keyring(b"r" * 32)
        self.store.write(lambda tx: self._sign(tx, policy.revision()))
        verdicts = Verdicts(policy)
        verdicts.revision()
        open_keys = OpenKeys(self.keys.wrapping, self._wrapped)
        day_keys, bus = DayKeys(self.store, self.keys), EmbeddedBus(self.store)
        datasets = {(one.name, one.version): one for one in self.catalogue.datasets.values()}
        self.world = World(
            self.store, bus, verdicts, self.keys, open_keys, self.catalogue, datasets, self.clock, ZoneInfo("UTC"),
            FieldSets(self.store), lambda agency, day: day_keys.of(self.catalogue.agencies[agency].number, day),
            limits=self.limits,
        )  # fmt: skip
        self.gate = Gate(self.world)
        self.publishing = PublishDesk(
            bus, self.keys, self.catalogue, datasets, validators_of(datasets), day_keys.for_publish, self.clock
        )
        self.desk = CitizenDesk(self.store, self.keys, open_keys, self.catalogue, self.clock, self.rung.append)
        self.register = Register(self.store, self.keys, open_keys, self.catalogue, self.clock)
        self.events = 0

    def clock(self) -> int:
        return self.now_us

    def _sign(self, tx: Tx, revision: str) -> None:
        in_force = [(one.number, "in_force", 0, 1) for one in self.catalogue.agreements.values()]
        tx.insert("agreement_state(number, phase, since_us, signed)", in_force)
        tx.insert("fact(name, value)", [("policy_revision", revision)])

    def _wrapped(self, persons: list[int]) -> dict[int, bytes | None]:
        with self.store.read() as tx:
            return dict(tx.rows(f"SELECT id, key FROM person WHERE id IN ({marks(len(persons))})", persons))

    # People and agencies.
    def person(self, name: str, *agencies: str, level: int = 3, born: date = CHILD_BORN) -> int:
        """Link `name` at these agencies, under an id of its own at each; returns the person."""
        for agency in agencies:
            (said,) = link(self.register, REGISTER, [NewLink(agency, f"{agency}/{name}", f"R-{name}", level, born)])
            assert said in ("linked", "known"), said
        with self.store.read() as tx:
            found = person_of(tx, self.keys, REGISTER, f"R-{name}")
        assert found is not None
        return found

    def publish(self, agency: str, dataset: str, name: str, data: Mapping[str, Any], **tags: str) -> None:
        """Publish one event about a person, and let the gate decide it."""
        self.publish_only(agency, dataset, name, data, **tags)
        self.decide()

    def publish_only(self, agency: str, dataset: str, name: str, data: Mapping[str, Any], **tags: str) -> None:
        self.events += 1
        local_id = f"R-{name}" if agency == REGISTER else f"{agency}/{name}"
        schema = self.catalogue.datasets[dataset]
        subject = next(
            one for one in schema.fields.values() if one.names == "person_ref" and one.role == schema.subject_role
        )
        envelope = {
            "specversion": "1.0", "id": f"e-{self.events}", "source": f"urn:agency:{agency}", "type": dataset,
            "subject": local_id, "time": datetime.fromtimestamp(self.now_us / S, tz=UTC).isoformat(),
            "data": {subject.name: local_id, **data}, **tags,
        }  # fmt: skip
        (outcome,) = publish(self.publishing, agency, [envelope])
        assert isinstance(outcome, Accepted), outcome

    def decide(self) -> None:
        quiet = 0
        while quiet < 2:  # a batch is reported by the step after its own
            quiet = quiet + 1 if self.gate.step(0.0) is None and self.gate.idle() else 0

    def birth(self, name: str = "child") -> None:
        self.publish("civil-registry", "civil.birth.registered", name, BIRTH)

    def pull(self, agency: str) -> list[dict[str, Any]]:
        """Open a page as the agency reads it."""
        page = hand_out(self.world, agency, 500)
        keys = self.world.open_keys.of([part.person for one in page.opened for part in one.parts])
        return [cloud_event(one, keys, self.keys.wrapping) for one in page.opened]

    def acknowledge(self, agency: str, deliveries: list[dict[str, Any]]) -> int:
        given = [Acknowledgement(one["number"], one["id"]) for one in deliveries]
        return acknowledge(self.world, agency, given).acknowledged

    def ask(self, agency: str, name: str, purpose: str, **more: Any) -> str:
        """Ask a person who is linked at the agency; returns the request's id."""
        return ask(self.desk, agency, subject=f"{agency}/{name}", purpose=purpose, **more)

    def granted(self, person: int, consent: str, items: Any = None, **more: Any) -> Done:
        """Say yes, as the person, at P3."""
        who = self.principal(person)
        return grant(self.desk, who, consent, items=items, until_us=None, notice=self.notice(who, consent), **more)

    def notice(self, principal: Principal, consent: str) -> Notice:
        return notice_of_request(self.desk, principal, consent, "en")

    def principal(self, person: int, *, acr: int = 3) -> Principal:
        return Principal(person, person, "self", acr, "test-session")

    def queued(self, agency: str) -> list[int]:
        """Return the queue states of what waits for an agency: 1 ready, 2 held, 3 opened."""
        number = self.catalogue.agencies[agency].number
        return [row[0] for row in self.rows("SELECT state FROM queue WHERE recipient = ? ORDER BY state", (number,))]

    def rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self.store.read() as tx:
            return tx.rows(sql, parameters)

    # The door over HTTP.
    def app(self, *, dev_sign_in: bool = True, **services: Any) -> FastAPI:
        """Build the citizens' door over this town; `services` add to what requests find of the hub."""
        app = FastAPI(openapi_url=None)
        settings = Settings(mode="development", dev_sign_in=dev_sign_in, data_dir=self.directory)
        mine = {"citizens": self.desk, "settings": settings, "clock": self.clock, "agency_threads": CapacityLimiter(2)}
        mine |= {"metrics": open_metrics(frozenset), "way": self.world.way, "sign_in": None}
        app.state.hub = SimpleNamespace(**(mine | services))
        app.include_router(citizen_routes(dev_sign_in=dev_sign_in))
        app.include_router(consent_request_routes())
        install(app, open_log(clock=self.clock, stream=None))
        return app


class Browser:
    """A person's browser: keeps the cookie, sends the token."""

    def __init__(self, app: FastAPI, *, base_url: str = "https://hub.example") -> None:
        self.http = client_of(app, base_url=base_url)
        self.csrf = ""

    def sign_in(self, name: str, **more: Any) -> httpx.Response:
        answered = self.http.post("/dev/sign-in", json={"person": f"{REGISTER}:R-{name}", **more})
        self.csrf = answered.json().get("csrf", "")
        return answered

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers=headers)

    def post(self, path: str, body: Any = None) -> httpx.Response:
        return self.http.post(path, json=body, headers={"x-csrf-token": self.csrf})

    def delete(self, path: str) -> httpx.Response:
        return self.http.delete(path, headers={"x-csrf-token": self.csrf})


def code_of(answered: httpx.Response) -> str:
    """Return the last part of a problem's type."""
    assert answered.headers["content-type"] == "application/problem+json", answered.text
    return str(answered.json()["type"]).rsplit("/", 1)[1]

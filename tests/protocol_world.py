"""A whole exchange on one store, for the tests of the release protocol: shipped catalogue and policy, its own clock.

Three matters of the shipped catalogue stand for the three kinds of consent that the protocol tells apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent.notice import Notice
from hub.catalogue_files import load
from hub.citizens.choices import Done, grant_unasked, pause_it, resume_it
from hub.citizens.desk import CitizenDesk
from hub.citizens.objections import object_to
from hub.citizens.withdraw import withdraw_it
from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Kind
from hub.exchange.acknowledge import Acknowledged, Acknowledgement, acknowledge
from hub.exchange.erase import Erased, Eraser, erase_person
from hub.exchange.feed import cloud_event
from hub.exchange.gate import Counts, Gate
from hub.exchange.handout import Page, hand_out
from hub.exchange.publish import Accepted, PublishDesk, publish, validators_of
from hub.exchange.verdicts import Verdicts
from hub.exchange.world import FieldSets, Limits, World
from hub.identity.day_keys import DayKeys
from hub.identity.keys import Keyring, OpenKeys
from hub.identity.ledger import Ledger
from hub.identity.people import NewLink, Register, link, person_of
from hub.identity.principal import Principal
from hub.identity.ring import open_ring
from hub.policy.embedded import EmbeddedPolicy
from hub.ports import Clock, Policy
from hub.store.agreements import suspend
from hub.store.engine import Lane, Store, Tx, marks
from hub.store.facts import POLICY_FENCE, raise_fence
from tests.exchange_engines import ends_of, open_bus, open_policy
from tests.stores import open_store

ROOT = Path(__file__).resolve().parents[1]
COMPILED = ROOT / "policies" / "compiled"
NOW_US = int(datetime(2026, 11, 2, 9, tzinfo=UTC).timestamp()) * 1_000_000
S = 1_000_000
WAIT_S, PATIENCE_S = 0.05, 30.0  # for what lies on Kafka: in one poll, and until it is decided
LINKER = "population-register"
NOTICE = Notice(1, "en", sha256(b"as shown").digest())


class Matter(NamedTuple):
    """One line of the shipped catalogue: who publishes what to whom, for which purpose."""

    publisher: str
    dataset: str
    recipient: str
    purpose: str
    subject_field: str
    data: Mapping[str, Any]  # without the subject's own field


CONSENT = Matter(  # by consent, nothing is kept for a later one
    "population-register", "pop.residence", "lindum", "KINDER-PLACE", "resident", {"municipality_code": "M-7"}
)
LOOK_BACK = Matter("utilities", "util.account", "social-fund", "EARLY-HELP", "customer_id", {"at_risk": True})
OBJECTION = Matter(  # by law, until the person objects: at first no row says anything about them
    "payments", "pay.account", "family-benefits", "FAM-ALLOW", "holder_id", {"iban": "XX00TEST0001"}
)


@lru_cache(maxsize=1)
def shipped() -> tuple[Catalogue, EmbeddedPolicy]:
    """Load catalogue and policy once: neither changes, and the policy's module takes a moment."""
    catalogue = load(ROOT / "policies" / "catalogue")
    return catalogue, EmbeddedPolicy(catalogue, COMPILED)


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, now_us: int = NOW_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def pass_by(self, seconds: float) -> None:
        self.now_us += int(seconds * S)


class Moody:
    """The real policy engine behind a switch: it can be down, and it can be replaced by one that forbids everything."""

    def __init__(self, policy: Policy) -> None:
        self._policy, self.down, self.forbids = policy, False, False

    def revision(self) -> str:
        return "forbids" if self.forbids else self._policy.revision()

    def ask(self, questions: Sequence[Any]) -> list[Any]:
        if self.down:
            raise HubError(Kind.UNAVAILABLE, "the engine is down", code="policy-unavailable")
        verdicts = self._policy.ask(questions)
        if not self.forbids:
            return verdicts
        return [one._replace(revision="forbids", reasons=frozenset({"policy.forbidden"})) for one in verdicts]


@dataclass
class Hub:
    """One exchange over one store. `start` may be called again on the same directory, as after a restart."""

    directory: Path
    clock: Clock = field(default_factory=ManualClock)
    limits: Limits = field(default_factory=Limits)
    root: bytes = b"r" * 32
    catalogue: Catalogue = field(default_factory=lambda: shipped()[0])
    synchronous: str = "OFF"  # nothing here outlives a power cut; the kill tests take what is shipped
    given: Store | None = None  # where the test opens it

    def __post_init__(self) -> None:
        path = self.directory / "hub.sqlite"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.store = self.given or open_store(path, synchronous=self.synchronous)
        self.keys: Keyring = open_ring(self.store, self.root, self.clock)
        catalogue, policy = shipped()
        known = catalogue is self.catalogue
        self.policy = Moody(open_policy(catalogue, policy) if known else EmbeddedPolicy(self.catalogue, COMPILED))
        self.store.write(self._first)
        self.verdicts = Verdicts(self.policy)
        self.verdicts.revision()
        self.open_keys = OpenKeys(self.keys.wrapping, self._wrapped)
        self.day_keys = DayKeys(self.store, self.keys)
        self.bus = open_bus(self.store, self.directory)
        datasets = {(one.name, one.version): one for one in self.catalogue.datasets.values()}
        self.world = World(
            self.store, self.bus, self.verdicts, self.keys, self.open_keys, self.catalogue, datasets, self.clock,
            ZoneInfo("UTC"), FieldSets(self.store), self._day_key, limits=self.limits,
        )  # fmt: skip
        self.gate = Gate(self.world)
        self.publishing = PublishDesk(
            self.bus,
            self.keys,
            self.catalogue,
            datasets,
            validators_of(datasets),
            self.day_keys.for_publish,
            self.clock,
        )
        self.desk = CitizenDesk(self.store, self.keys, self.open_keys, self.catalogue, self.clock)
        self.register = Register(self.store, self.keys, self.open_keys, self.catalogue, self.clock)
        self.ledger = Ledger(self.directory / "hub.key.erasures", self.keys.erasure)
        self.eraser = Eraser(self.world, self.ledger, keep_days=7, due_days=30)

    def close(self) -> None:
        self.bus.close()
        self.store.close()

    def pass_by(self, seconds: float) -> None:
        assert isinstance(self.clock, ManualClock)
        self.clock.pass_by(seconds)

    def _first(self, tx: Tx) -> None:
        """What the operator's commands do: every agreement is signed, and the policy's revision is the hub's."""
        in_force = [(one.number, "in_force", 0, 1) for one in self.catalogue.agreements.values()]
        tx.insert("agreement_state(number, phase, since_us, signed)", in_force, or_ignore=True)
        tx.insert("fact(name, value)", [("policy_revision", self.policy.revision())], or_ignore=True)

    def _wrapped(self, persons: list[int]) -> dict[int, bytes | None]:
        with self.store.read() as tx:
            return dict(tx.rows(f"SELECT id, key FROM person WHERE id IN ({marks(len(persons))})", persons))

    def _day_key(self, publisher: str, day: int) -> AESGCM | None:
        return self.day_keys.of(self.catalogue.agencies[publisher].number, day)

    # People.
    def link(self, local_id: str, matter: Matter = CONSENT) -> int:
        """Link a publisher's id to a person of the register, under four years old; returns the person."""
        born = date(2023, 5, 1)
        (said,) = link(self.register, LINKER, [NewLink(matter.publisher, local_id, f"R-{local_id}", 3, born)])
        assert said in ("linked", "known"), said
        return self.person(local_id, matter)

    def person(self, local_id: str, matter: Matter = CONSENT) -> int:
        with self.store.read() as tx:
            found = person_of(tx, self.keys, matter.publisher, local_id)
        assert found is not None
        return found

    def grant(self, person: int, matter: Matter = CONSENT) -> str:
        """Say yes to everything asked; returns the consent's public id."""
        return self.granted(person, matter).consent

    def granted(self, person: int, matter: Matter = CONSENT) -> Done:
        return grant_unasked(
            self.desk, principal(person), recipient=matter.recipient, purpose=matter.purpose, items=None, notice=NOTICE
        )

    def withdraw(self, person: int, consent: str) -> Done:
        return withdraw_it(self.desk, principal(person), consent)

    def pause(self, person: int, consent: str) -> Done:
        return pause_it(self.desk, principal(person), consent)

    def resume(self, person: int, consent: str) -> Done:
        return resume_it(self.desk, principal(person), consent)

    def object(self, person: int, matter: Matter = OBJECTION) -> None:
        """Record an objection: the first that the store knows of this person and purpose."""
        object_to(self.desk, principal(person), recipient=matter.recipient, purpose=matter.purpose)

    def erase(self, person: int) -> Erased:
        """Erase a person, to the end."""
        return erase_person(self.eraser, person, reason="request")

    # The operator.
    def suspend(self, matter: Matter = CONSENT) -> None:
        """Suspend a matter's agreement, under its fence."""
        number = next(
            one.agreement.number
            for one in self.catalogue.by_dataset[matter.dataset]
            if (one.recipient, one.purpose.code) == (matter.recipient, matter.purpose)
        )
        suspend(self.store, number, clock=self.clock, salt=lambda nonce: nonce[:16])

    def forbid(self) -> None:
        """Put a policy in force that forbids everything, under the policy's fence. Workers have not asked it yet."""

        def transaction(tx: Tx) -> None:
            raise_fence(tx, POLICY_FENCE, 0)
            tx.run("UPDATE fact SET value = 'forbids' WHERE name = 'policy_revision'")

        self.store.write(transaction, lane=Lane.URGENT)
        self.policy.forbids = True

    # Agencies.
    def publish(
        self,
        event_id: str,
        local_id: str = "A",
        matter: Matter = CONSENT,
        *,
        aim: Mapping[str, Any] = MappingProxyType({}),
        **changed: Any,
    ) -> str:
        """Publish one event, with what it is for where it is no news; returns its token once it is durable."""
        envelope = {
            "specversion": "1.0", "id": event_id, "source": f"urn:agency:{matter.publisher}", "type": matter.dataset,
            "subject": local_id, "time": datetime.fromtimestamp(self.clock() / S, tz=UTC).isoformat(),
            "data": {matter.subject_field: local_id, **matter.data, **changed}, **aim,
        }  # fmt: skip
        (outcome,) = publish(self.publishing, matter.publisher, [envelope])
        assert isinstance(outcome, Accepted), outcome
        return outcome.token

    def decide(self, gate: Gate | None = None) -> Counts:
        """Let a gate take everything there is, and see it through. Returns what it did in all."""
        gate = gate or self.gate
        done = Counts(*(0,) * len(Counts._fields))
        quiet, ends, until_s = 0, ends_of(self.bus), monotonic() + PATIENCE_S
        while quiet < 2:  # a batch is reported by the step after its own
            behind = bool(ends) and not self._reached(ends)
            assert not behind or monotonic() < until_s, "the gate does not come to the end of the bus"
            step = gate.step(WAIT_S if behind else 0.0)
            quiet = quiet + 1 if step is None and gate.idle() and not behind else 0
            if step is not None:
                done = Counts(*[a + b for a, b in zip(done, step, strict=True)])
        return done

    def _reached(self, ends: Mapping[str, int]) -> bool:
        positions = dict(self.rows("SELECT partition, next FROM position"))
        return all(positions.get(partition, 0) >= end for partition, end in ends.items())

    def pull(self, matter: Matter = CONSENT, limit: int = 500) -> Page:
        return hand_out(self.world, matter.recipient, limit)

    def drain(self, matter: Matter = CONSENT) -> tuple[list[dict[str, Any]], int]:
        """Pull until nothing comes any more; returns what the recipient read, and how many were cancelled."""
        events: list[dict[str, Any]] = []
        cancelled = 0
        while True:
            page = self.pull(matter)
            if not (page.opened or page.cancelled or page.held):
                return events, cancelled
            events += self.read(page)
            cancelled += page.cancelled

    def read(self, page: Page) -> list[dict[str, Any]]:
        """Open a committed page into what the recipient gets."""
        keys = self.open_keys.of([part.person for one in page.opened for part in one.parts])
        return [cloud_event(one, keys, self.keys.wrapping) for one in page.opened]

    def acknowledge(self, page: Page, matter: Matter = CONSENT) -> Acknowledged:
        given = [Acknowledgement(one.number, one.public.hex()) for one in page.opened]
        return acknowledge(self.world, matter.recipient, given)

    # Looking in.
    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.store.read() as tx:
            return tx.rows(sql, parameters)

    def states(self, matter: Matter = CONSENT) -> list[tuple[int, int]]:
        """Return (delivery, queue state) of a recipient, in the events' order."""
        number = self.catalogue.agencies[matter.recipient].number
        return [
            (delivery, state)
            for delivery, state in self.rows(
                "SELECT delivery, state FROM queue WHERE recipient = ? ORDER BY delivery", (number,)
            )
        ]


def principal(person: int) -> Principal:
    """The person, signed in for themselves, with the highest assurance."""
    return Principal(person, person, "self", 3, "session")


def later_agreement(catalogue: Catalogue, matter: Matter, version: int) -> Catalogue:
    """Return the catalogue with a newer version of a matter's agreement; its subscriptions keep their numbers."""
    subscriptions = {
        number: replace(one, agreement=replace(one.agreement, version=version))
        if (one.recipient, one.purpose.code, one.dataset.name) == (matter.recipient, matter.purpose, matter.dataset)
        else one
        for number, one in catalogue.subscriptions.items()
    }
    by_dataset = {
        name: tuple(subscriptions[one.number] for one in lines) for name, lines in catalogue.by_dataset.items()
    }
    agreements = {one.agreement.code: one.agreement for one in subscriptions.values()}
    return replace(
        catalogue, subscriptions=subscriptions, by_dataset=by_dataset, agreements={**catalogue.agreements, **agreements}
    )


@contextmanager
def opened(directory: Path, **settings: Any) -> Iterator[Hub]:
    """Open an exchange until the block ends."""
    hub = Hub(directory, **settings)
    try:
        yield hub
    finally:
        hub.close()

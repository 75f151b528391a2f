"""A synthetic world to measure in: one dataset, five recipients who need consent, people who gave three of five.

Everything a decision really costs is there: sealed keys, links, choices with their scopes, fences that were raised once
per consent. Nothing in it is about anybody; it follows from a seed alone, except for keys, which are random.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from hub.clock import system_clock
from hub.core.agreement import Agency, Agreement, Basis, Catalogue, Dataset, Field, Purpose, Subscription, Wanted
from hub.core.catalogue import from_document, to_document
from hub.core.event import DerivedField, Event
from hub.core.leaf import canonical
from hub.exchange.agreements import AgreementDesk
from hub.exchange.intake import NO_TAGS, seal_event
from hub.exchange.officers import EMPTY, appoint
from hub.exchange.verdicts import Verdicts
from hub.exchange.world import FieldSets, Limits, World
from hub.identity.day_keys import DayKeys
from hub.identity.keys import CACHED_KEYS, Keyring, OpenKeys, keyed, keyring, new_key, open_key, seal_with, wrap_person
from hub.identity.people import link_place, local_of
from hub.ports import Bus, Policy, Record
from hub.store.catalogue import apply
from hub.store.engine import Store, Tx, marks
from hub.store.facts import CHOICE_STATES, NEVER_US, PERSON_FENCE
from hub.store.interned import intern_id

PUBLISHER, DATASET = "bench-publisher", "bench.event"
QUIET_PUBLISHER, QUIET_DATASET, QUIET_RECIPIENT = (
    "bench-quiet",
    "bench.quiet",
    "bench-quiet-recipient",
)  # beside a flood
QUIET_PEOPLE = 1_000  # whom the quiet publisher knows as well
RECIPIENTS = 5
CONSENTS = 3  # of five, per person: 60 % released
TEXT = "a line of plain text that somebody wrote about a case, "
EVENT_BYTES = 1_000
NEEDED = (  # per recipient: (required, optional). Different sets, as different duties need
    ({"birth_month"}, {"person_id", "status"}),
    ({"status"}, {"person_id", "municipality", "since"}),
    ({"municipality"}, {"status", "kind", "since", "amount"}),
    ({"person_id", "birth_month"}, {"kind"}),
    ({"amount", "since"}, {"birth_month", "municipality", "status"}),
)
AGREED_UNTIL_US = 4_102_444_800_000_000  # the year 2100; a document's whole numbers end at 2^53
PEOPLE_AT_ONCE = 20_000  # rows of people per transaction while the world is made


def catalogue() -> Catalogue:
    """Build the approved papers as values: what the YAML loader would give for them."""
    names = ("person_id", "dob", "status", "municipality", "since", "kind", "amount", "note", "address")
    fields = {
        name: Field(name, {"en": name}, "person", names="person_ref" if name == "person_id" else "") for name in names
    }
    derived = {"birth_month": DerivedField("birth_month", "dob", "month")}
    dataset = Dataset(DATASET, 1, 1, PUBLISHER, {"en": DATASET}, "person", fields, derived, schema(names))
    agencies = {PUBLISHER: Agency(PUBLISHER, 1, {"en": PUBLISHER}, frozenset({"publish", "link"}))}
    purposes, agreements, subscriptions = {}, {}, {}
    for at, (required, optional) in enumerate(NEEDED):
        code = recipient(at)
        agencies[code] = Agency(code, 10 + at, {"en": code}, frozenset({"subscribe"}))
        wanted = Wanted(DATASET, frozenset(required), frozenset(optional))
        purpose = Purpose(
            f"BENCH-{at}", 1, 20 + at, Basis.CONSENT, {"en": "bench"}, {"en": "a figure"}, {"en": ("all else",)},
            {DATASET: wanted}, 30, 1,
        )  # fmt: skip
        agreement = Agreement(
            f"AGR-B{at}",
            1,
            30 + at,
            PUBLISHER,
            code,
            (purpose.code,),
            {DATASET: wanted.fields},
            0,
            AGREED_UNTIL_US,
            0,
            "",
            "2099-01-01",
        )
        purposes[purpose.code], agreements[agreement.code] = purpose, agreement
        subscriptions[100 + at] = Subscription(100 + at, agreement, purpose, dataset, wanted.fields, wanted.required)
    quiet = _quiet(dataset)
    agencies |= {
        QUIET_PUBLISHER: Agency(QUIET_PUBLISHER, 2, {"en": QUIET_PUBLISHER}, frozenset({"publish"})),
        QUIET_RECIPIENT: Agency(QUIET_RECIPIENT, 19, {"en": QUIET_RECIPIENT}, frozenset({"subscribe"})),
    }
    by_dataset = {DATASET: tuple(subscriptions.values()), QUIET_DATASET: (quiet,)}
    subscriptions[quiet.number] = quiet
    purposes[quiet.purpose.code], agreements[quiet.agreement.code] = quiet.purpose, quiet.agreement
    datasets = {DATASET: dataset, QUIET_DATASET: quiet.dataset}
    papers = Catalogue("", agencies, datasets, purposes, agreements, subscriptions, by_dataset)
    return from_document(to_document(papers))  # with its digest, and exactly as a hub reads it from its store


def _quiet(like: Dataset) -> Subscription:
    """Build the one subscription, by law, to what the quiet publisher says now and then."""
    dataset = replace(like, name=QUIET_DATASET, number=2, provider=QUIET_PUBLISHER, titles={"en": QUIET_DATASET})
    wanted = Wanted(QUIET_DATASET, frozenset({"status"}), frozenset({"person_id"}))
    purpose = Purpose(
        "BENCH-Q", 1, 29, Basis.LAW, {"en": "bench"}, {"en": "a figure"}, {"en": ("all else",)},
        {QUIET_DATASET: wanted}, 30, 1, law="an invented act",
    )  # fmt: skip
    agreement = Agreement(
        "AGR-BQ", 1, 39, QUIET_PUBLISHER, QUIET_RECIPIENT, (purpose.code,), {QUIET_DATASET: wanted.fields}, 0,
        AGREED_UNTIL_US, 0, "", "2099-01-01",
    )  # fmt: skip
    return Subscription(199, agreement, purpose, dataset, wanted.fields, wanted.required)


def schema(names: Sequence[str]) -> dict[str, object]:
    properties: dict[str, object] = {name: {"type": "string", "maxLength": 1_000} for name in names}
    properties["dob"] = properties["since"] = {"type": "string", "format": "date"}
    return {"type": "object", "properties": properties, "required": ["person_id", "dob"], "additionalProperties": False}


def recipient(at: int) -> str:
    return f"bench-recipient-{at}"


@dataclass(frozen=True, slots=True)
class Synthetic:
    """The world, and what is needed to make events for it."""

    world: World
    policy: Policy
    day_keys: DayKeys
    people: int
    seed: int

    def numbers(self) -> list[int]:
        return person_numbers(self.people, self.seed)

    def warm(self) -> None:
        """Open every person's key once, as a hub that has run for a while has: as many as it keeps opened."""
        numbers = self.numbers()[:CACHED_KEYS]
        for at in range(0, len(numbers), 1_000):
            self.world.open_keys.of(numbers[at : at + 1_000])

    def records(self, count: int, *, seed: int) -> Iterator[Record]:
        """Make sealed intake records of new events about persons drawn uniformly."""
        now_us = self.world.clock()
        number = self.world.catalogue.agencies[PUBLISHER].number
        day, key = self.day_keys.for_publish(number, now_us)
        for at, (name, data) in enumerate(contents(count, self.people, seed=seed)):
            event = Event(PUBLISHER, f"urn:agency:{PUBLISHER}", f"{seed}-{at}", DATASET, 1, name, now_us, data)
            yield seal_event(self.world.keys, event, NO_TAGS, day=day, day_key=key)

    def publish(self, count: int, *, seed: int, at_once: int = 500) -> None:
        """Put new events on the bus, as the door does after its checks."""
        records = self.records(count, seed=seed)
        while some := list(islice(records, at_once)):
            self.world.bus.publish(some)


def contents(count: int, people: int, *, seed: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Make (local id, data) of `count` events of about 1 kB as JSON."""
    draw = random.Random(seed)  # noqa: S311 - who is drawn is no secret; the same seed gives the same events
    for _ in range(count):
        name = local_id(draw.randrange(people))
        data = {
            "person_id": name,
            "dob": f"{draw.randrange(1940, 2020)}-{draw.randrange(1, 13):02d}-{draw.randrange(1, 28):02d}",
            "status": draw.choice(("new", "changed", "ended")),
            "municipality": f"M{draw.randrange(2_000):04d}",
            "since": f"2026-{draw.randrange(1, 13):02d}-01",
            "kind": draw.choice(("ordinary", "partial")),
            "amount": str(draw.randrange(100_000)),
            "address": f"{draw.randrange(999)} Example Road",
        }
        data["note"] = (TEXT * 20)[: EVENT_BYTES - 300 - len(json.dumps(data))]  # 300: the envelope's own bytes
        yield name, data


def local_id(at: int) -> str:
    return f"L{at:07d}"


def person_numbers(people: int, seed: int) -> list[int]:
    draw = random.Random(seed)  # noqa: S311 - synthetic, and the same each time
    return [draw.getrandbits(62) + 1 for _ in range(people)]


def build(
    store: Store,
    *,
    people: int,
    seed: int,
    policy: Callable[[Catalogue], Policy],
    bus: Callable[[Store], Bus],
    limits: Limits | None = None,
    keys: Keyring | None = None,
) -> Synthetic:
    """Fill a store (with its schema in place) with the world, and put the exchange's parts together over it.

    `keys` are those of the hub that will be started on the store, where one will.
    """
    papers, keys = catalogue(), keys or keyring(new_key())
    engine = policy(papers)
    leaf_key = keys.leaf

    def salt(nonce: bytes) -> bytes:
        return keyed(leaf_key, nonce.hex())

    appoint(AgreementDesk(store, lambda: EMPTY, system_clock, salt, lambda: None), papers)
    apply(store, system_clock, papers, revision=engine.revision(), salt=salt)
    store.write(lambda tx: _fill_scopes(tx, papers))
    numbers = person_numbers(people, seed)
    for first in range(0, people, PEOPLE_AT_ONCE):
        rows = _rows_of_people(papers, keys, numbers, first, seed)
        store.write(lambda tx, rows=rows: _fill(tx, rows), patient=True)  # type: ignore[misc]  # one transaction per piece
    return assemble(store, papers, engine, bus(store), keys, people=people, seed=seed, limits=limits)


def assemble(
    store: Store, papers: Catalogue, engine: Policy, bus: Bus, keys: Keyring, *, people: int, seed: int,
    limits: Limits | None = None,
) -> Synthetic:  # fmt: skip
    """Put the exchange's parts together over a store that has the world already."""
    day_keys = DayKeys(store, keys)
    numbers = {code: agency.number for code, agency in papers.agencies.items()}
    open_keys = OpenKeys(keys.wrapping, lambda persons: wrapped_keys(store, persons))
    world = World(
        store, bus, Verdicts(engine), keys, open_keys, papers,
        {(one.name, one.version): one for one in papers.datasets.values()}, system_clock, ZoneInfo("UTC"),
        FieldSets(store), lambda publisher, day: day_keys.of(numbers[publisher], day), limits=limits or Limits(),
    )  # fmt: skip
    return Synthetic(world, engine, day_keys, people, seed)


def wrapped_keys(store: Store, persons: list[int]) -> dict[int, bytes | None]:
    with store.read() as tx:
        return dict(tx.rows(f"SELECT id, key FROM person WHERE id IN ({marks(len(persons))})", persons))  # noqa: S608 - marks only


def _fill_scopes(tx: Tx, papers: Catalogue) -> None:
    tx.insert(
        "interned(id, body)",
        [(intern_id(body), body.decode()) for body in [scope_body(one.purpose) for one in papers.by_dataset[DATASET]]],
    )


def scope_body(purpose: Purpose) -> bytes:
    """Write what a consent for this purpose covers, as the store interns it."""
    return canonical(sorted([DATASET, name] for name in purpose.wanted[DATASET].fields))


Rows = Mapping[str, list[tuple[Any, ...]]]
"""Rows by `table(column, ...)`."""


def _fill(tx: Tx, rows: Rows) -> None:
    for into, of in rows.items():
        tx.insert(into, of)


def _rows_of_people(papers: Catalogue, keys: Keyring, numbers: Sequence[int], first: int, seed: int) -> Rows:
    """Make the rows of some people: before the transaction that writes them, for this takes a while."""
    draw = random.Random(f"{seed}/{first}")  # noqa: S311 - synthetic, and the same each time
    given = CHOICE_STATES.index("given")
    lines = [(papers.agencies[one.recipient].number, one.purpose.number, intern_id(scope_body(one.purpose)))
             for one in papers.by_dataset[DATASET]]  # fmt: skip
    number, quiet = papers.agencies[PUBLISHER].number, papers.agencies[QUIET_PUBLISHER].number
    persons, links, choices, fences = [], [], [], []
    for at, person in enumerate(numbers[first : first + PEOPLE_AT_ONCE], first):
        key = new_key()
        opened = open_key(key)
        persons.append((person, 0, None, wrap_person(keys.wrapping, person, key), None))
        named_by = [(PUBLISHER, number)] + ([(QUIET_PUBLISHER, quiet)] if at < QUIET_PEOPLE else [])
        for code, agency in named_by:
            sealed = seal_with(opened, local_id(at).encode(), link_place(agency, person))
            links.append((local_of(keys, code, local_id(at)), agency, 0, None, person, 2, 0, sealed))
        fences.append((PERSON_FENCE, person, 1 + CONSENTS))  # raised once by the link, once by each grant
        for agency, purpose, scope in draw.sample(lines, CONSENTS):
            choices.append((person, agency, purpose, given, 1, scope, NEVER_US, 2, at))
    return {
        "person(id, created_us, erased_us, key, born)": sorted(persons),
        "link(local, agency, from_us, until_us, person, level, disputed, sealed)": sorted(links),
        "choice(person, recipient, purpose, state, stretch, scope, until_us, assurance, consent)": sorted(choices),
        "fence(kind, subject, epoch)": sorted(fences),
    }

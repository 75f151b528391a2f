"""Publish: check an agency's events against the catalogue, seal them, put them on the bus. It knows nothing of people.

Whoever is published about, and whether they are known or consent, makes no difference here: a well-formed event of
one's own dataset is always accepted, so nobody can use this door to find anything out. An event's life, part one of
three; the gate is the second.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import jsonschema_rs
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.core.agreement import Catalogue, Dataset
from hub.core.errors import HubError, Item, Kind
from hub.core.event import Aim, Event
from hub.core.minimise import mentions, misnamed
from hub.exchange.intake import Tags, event_hash, seal_event
from hub.exchange.schema_words import ITEMS, schema_items
from hub.exchange.status import status_token
from hub.identity.keys import Keyring
from hub.ports import Bus, Clock, Record
from hub.way import Way

US = 1_000_000
TEXT_MAX = 256  # characters of id, subject, and the opaque tags: enough for any URN
PERSONS_MOST = 64  # of one event: each is looked up, sealed for and committed to, and a batch goes in few statements
EXPLAINED_MOST = 2  # events of a request with more than `ITEMS` errors: to list those of one takes half a second
SOURCE = "urn:agency:"
AIMS = ("corrects", "answers", "backfill")  # extension attributes: an event has one of them at most
BACKFILL_BACKLOG = 500  # events that a gate decides in some 0.1 s: no live event waits longer behind what is backfilled
LAST = "backfilllast"  # CloudEvents 1.0 section 3.1: names of attributes are lower-case letters and digits
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RFC_3339 = re.compile(  # ISO 8601 has more forms, which other clients of these events would not read
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class PublishDesk:
    """What publishing needs: no person, no consent, no decision."""

    bus: Bus
    keys: Keyring
    catalogue: Catalogue
    datasets: Mapping[tuple[str, int], Dataset]
    validators: Mapping[tuple[str, int], jsonschema_rs.Validator]
    day_key: Callable[[int, int], tuple[int, AESGCM]]  # (agency, now) -> (day, key)
    clock: Clock
    event_bytes: int = 65_536
    oldest_us: int = 366 * 86_400 * US
    newest_us: int = 300 * US
    way: Way = field(default_factory=Way)  # who stops a release goes before this
    intake: Way = field(default_factory=Way)  # and this before the gate
    backlog: Callable[[], int] = lambda: 0  # events that are published and not decided yet


class Accepted(NamedTuple):
    id: str
    token: str  # asks for this event's state later


Outcome = Accepted | HubError
"""Of one event: accepted, or why not. The others of its batch are not touched by it."""


def validators_of(datasets: Mapping[tuple[str, int], Dataset]) -> dict[tuple[str, int], jsonschema_rs.Validator]:
    """Compile every schema once. Formats are asserted (JSON Schema 2020-12, section 7.2.2). Raises HubError."""
    return {name: _validator_of(dataset) for name, dataset in datasets.items()}


def _validator_of(dataset: Dataset) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.Draft202012Validator(dict(dataset.schema), validate_formats=True)
    except (jsonschema_rs.ValidationError, ValueError) as cause:
        raise HubError(
            Kind.INVALID,
            f"the schema of {dataset.name} v{dataset.version} cannot be compiled",
            where=dataset.name,
            remedy="`hub catalogue check` points at what is wrong in it.",
            code="catalogue-invalid",
        ) from cause


def publish(
    desk: PublishDesk, agency: str, envelopes: Sequence[Any], *, sizes: Sequence[int] = (), dry_run: bool = False
) -> list[Outcome]:
    """Check each CloudEvent (as parsed JSON), and make those accepted durable together before returning.

    `sizes` are the events' bytes where known. A dry run says the same and stores nothing.
    Raises HubError(UNAVAILABLE) when the bus is down: then none of them is promised anything.
    """
    now_us = desk.clock()
    number = desk.catalogue.agencies[agency].number
    day, key = desk.day_key(number, now_us)
    outcomes: list[Outcome] = []
    records: list[Record] = []
    hopeless = 0
    busy = desk.backlog() > BACKFILL_BACKLOG  # once: of a person's backfill in one request all goes, or none
    for at, envelope in enumerate(envelopes):
        desk.way.give()
        try:
            if sizes and sizes[at] > desk.event_bytes:
                raise too_large(sizes[at], desk.event_bytes)
            event, tags = read_event(desk, agency, envelope, now_us, explain=hopeless < EXPLAINED_MOST)
        except HubError as refused:
            hopeless += len(refused.items) > ITEMS
            outcomes.append(refused)
            continue
        if busy and event.aim is not None and event.aim.kind == "backfill":
            outcomes.append(backfill_waits())
            continue
        records.append(seal_event(desk.keys, event, tags, day=day, day_key=key))
        token = status_token(desk.keys, event_hash(desk.keys, agency, event.source, event.id), number)
        outcomes.append(Accepted(event.id, token))
    if records and not dry_run:
        with desk.intake.first():
            desk.bus.publish(records)
    return outcomes


def read_event(
    desk: PublishDesk, agency: str, envelope: Any, now_us: int, *, explain: bool = True
) -> tuple[Event, Tags]:
    """Read one CloudEvent 1.0 and check it against its dataset. Raises HubError with every error of it at once.

    Without `explain` what is wrong with its data is not listed.
    """
    if not isinstance(envelope, dict):
        raise _malformed([Item("an event is a JSON object", "", "Send a CloudEvents 1.0 object.")])
    found = _attributes(envelope, agency)
    if found:
        raise _malformed(found)
    dataset = _own_dataset(desk, agency, envelope)
    time_us = _instant(envelope["time"])
    if time_us is None:
        raise _malformed([Item("time must be RFC 3339 with an offset, as in 2026-01-31T09:30:00Z", "/time")])
    if not now_us - desk.oldest_us <= time_us <= now_us + desk.newest_us:
        raise HubError(
            Kind.INVALID,
            f"time is over {desk.oldest_us // (86_400 * US)} days back, or over {desk.newest_us // US} s ahead",
            where="/time",
            remedy="Send when it happened; check the clock of the sending machine.",
            code="event-time",
        )
    data = envelope["data"]
    if items := _misfits(
        desk.validators[dataset.name, dataset.version], dataset, envelope["subject"], data, explain=explain
    ):
        raise HubError(
            Kind.INVALID,
            f"data does not fit {dataset.name} v{dataset.version}; errors: {len(items)}",
            where="/data",
            remedy="Mend the fields listed and send the event again under the same id.",
            code="event-schema",
            items=items,
        )
    tags = Tags(envelope.get("case", ""), envelope.get("actor", ""))
    event = Event(
        agency, envelope["source"], envelope["id"], dataset.name, dataset.version, envelope["subject"], time_us, data,
        _aim(envelope),
    )  # fmt: skip
    return event, tags


def _misfits(
    validator: jsonschema_rs.Validator, dataset: Dataset, subject: str, data: Mapping[str, Any], *, explain: bool
) -> tuple[Item, ...]:
    """Say everything in which `data` does not fit its dataset; nothing where it does."""
    try:
        if not validator.is_valid(data):
            if not explain:
                return (Item("does not fit its schema; others of this request had too many errors to list", "/data"),)
            return schema_items(validator.iter_errors(data), "/data", schema=f"{dataset.name} v{dataset.version}")
    except ValueError:  # it goes deeper than the validator does; no dataset goes as deep
        return (Item("is nested more deeply than any dataset", "/data"),)
    if len(mentions(dataset, subject, data)) > PERSONS_MOST:
        return (Item(f"names more than {PERSONS_MOST} persons", "/data", "Send one event for each."),)
    wrong = misnamed(dataset, subject, data)
    return tuple(Item("must be the same person as `subject`", f"/data/{name}") for name in wrong)


def too_large(size: int, most: int) -> HubError:
    return HubError(
        Kind.TOO_LARGE,
        f"the event has {size} bytes; {most} are allowed",
        remedy="Send references instead of documents; a dataset describes what happened, not its files.",
        code="event-too-large",
    )


def backfill_waits() -> HubError:
    return HubError(
        Kind.TOO_MANY,
        "what is backfilled waits: the hub has news to decide",
        remedy="Send this and what follows it again in a moment, in the same order and under the same ids.",
        code="backfill-waits",
        retry_after_s=1,
    )


def _attributes(envelope: Mapping[str, Any], agency: str) -> list[Item]:
    """Check the CloudEvents attributes (spec 1.0.2, section 3.1); values are not repeated."""
    items = [
        Item(f"{name} must be text of 1 to {TEXT_MAX} characters", f"/{name}", f"Set {name}.")
        for name in ("id", "source", "type", "subject", "time")
        if not isinstance(envelope.get(name), str) or not 0 < len(envelope[name]) <= TEXT_MAX
    ]
    items += [
        Item(f"{name} must be text of at most {TEXT_MAX} characters", f"/{name}")
        for name in ("case", "actor")
        if name in envelope and (not isinstance(envelope[name], str) or len(envelope[name]) > TEXT_MAX)
    ]
    items += _misaimed(envelope)
    if envelope.get("specversion") != "1.0":
        items.append(Item('specversion must be "1.0"', "/specversion"))
    if not isinstance(envelope.get("data"), dict):
        items.append(Item("data must be a JSON object", "/data"))
    content_type = envelope.get("datacontenttype", "application/json")
    if not isinstance(content_type, str) or content_type.partition(";")[0].strip() != "application/json":
        items.append(Item("datacontenttype must be application/json", "/datacontenttype"))
    if isinstance(envelope.get("source"), str) and envelope["source"] != SOURCE + agency:
        items.append(Item("source must be the publishing agency itself", "/source", f"Send {SOURCE}{agency}."))
    return items


def _misaimed(envelope: Mapping[str, Any]) -> list[Item]:
    """Check what an event says it is for (`Aim`)."""
    named = [name for name in AIMS if name in envelope]
    items = [
        Item(f"{name} must be text of 1 to {TEXT_MAX} characters", f"/{name}")
        for name in named
        if not isinstance(envelope[name], str) or not 0 < len(envelope[name]) <= TEXT_MAX
    ]
    if len(named) > 1:
        items.append(Item("an event corrects, answers or backfills: one of these", f"/{named[1]}", "Send two events."))
    if envelope.get("corrects", 0) == envelope.get("id"):
        items.append(Item("an event cannot correct itself", "/corrects", "Name the id of the earlier event."))
    if LAST in envelope and (not isinstance(envelope[LAST], bool) or "backfill" not in envelope):
        items.append(Item(f"{LAST} is true or false, beside backfill", f"/{LAST}"))
    return items


def _aim(envelope: Mapping[str, Any]) -> Aim | None:
    for name in AIMS:
        if name in envelope:
            return Aim(name, envelope[name], envelope.get(LAST, False))
    return None


def _own_dataset(desk: PublishDesk, agency: str, envelope: Mapping[str, Any]) -> Dataset:
    """Find the dataset by `type` and `dataschema`. Another agency's answers as if it did not exist."""
    newest = desk.catalogue.datasets.get(envelope["type"])
    if newest is None or newest.provider != agency:
        raise HubError(
            Kind.NOT_FOUND,
            "no dataset of this name is yours to publish",
            where="/type",
            remedy="See the datasets you publish in GET /v1/agency.",
            code="dataset-unknown",
        )
    schema = envelope.get("dataschema")
    if schema is None:
        return newest
    match = re.fullmatch(re.escape(newest.name) + r"/([1-9]\d{0,5})", schema) if isinstance(schema, str) else None
    dataset = desk.datasets.get((newest.name, int(match[1]))) if match else None
    if dataset is None:
        raise HubError(
            Kind.INVALID,
            "dataschema names no approved version of this dataset",
            where="/dataschema",
            remedy=f"Leave it out for the newest, or send {newest.name}/{newest.version}.",
            code="dataset-version",
        )
    return dataset


def _malformed(items: Sequence[Item]) -> HubError:
    return HubError(
        Kind.MALFORMED,
        "this is not a CloudEvent of yours",
        remedy="Mend the attributes listed (CloudEvents 1.0).",
        code="event-malformed",
        items=tuple(items),
    )


def _instant(text: str) -> int | None:
    """Read RFC 3339 (section 5.6); None where it is something else, or says no offset."""
    if not RFC_3339.fullmatch(text):
        return None
    try:
        return (datetime.fromisoformat(text.upper()) - EPOCH) // timedelta(microseconds=1)
    except ValueError:  # a day that is not in the calendar, an hour that is not in a day
        return None

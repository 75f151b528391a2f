"""What lies on the bus: an event sealed under its publisher's key of the day, and how the gate opens it again.

The bytes are day (4) | nonce (12) | ciphertext; bound to topic and key, so that nothing can be moved to another place.
"""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.core.agreement import Catalogue, Dataset, Subscription
from hub.core.event import Aim, Event, Mention
from hub.core.minimise import Fields, fields_by_person, mentions
from hub.identity.keys import NONCE_BYTES, Keyring, keyed
from hub.identity.people import local_of
from hub.ports import Record
from hub.store.dead_letters import STOPPED

US_PER_DAY = 86_400_000_000
DAY_BYTES = 4


class Tags(NamedTuple):
    """Opaque tags a publisher may send along: its case and its acting officer. Never interpreted."""

    case: str = ""
    actor: str = ""


NO_TAGS = Tags()


POISON = STOPPED  # stands for an id that nobody can ever link: what waits for it stops its own chain until it expires


class Taken(NamedTuple):
    """One event off the bus, opened, with everything the gate looks up about it. Hashes are 16 bytes."""

    publisher: int
    dataset: Dataset
    event: bytes  # keyed hash of (publisher, source, id): what makes a repeat a repeat
    content: bytes  # keyed hash of the content: what makes it the same
    subject: bytes  # keyed hash of (publisher, subject): its chain
    time_us: int
    persons: tuple[Mention, ...]
    locals: tuple[bytes, ...]  # keyed hash of (publisher, local id), one per person
    parts: tuple[Fields, ...]
    tags: Tags
    plain: bytes
    waiting: int = 0  # its row, where it comes from the waiting list
    aim: Aim | None = None
    corrected: bytes = b""  # keyed hash of the event that this one corrects


def topic(publisher: str, dataset: str) -> str:
    return f"in.{publisher}.{dataset}"


def event_hash(keys: Keyring, publisher: str, source: str, event_id: str) -> bytes:
    return keyed(keys.event, publisher, source, event_id)


def seal_event(keys: Keyring, event: Event, tags: Tags, *, day: int, day_key: AESGCM) -> Record:
    """Make the record of an event: sealed, under a key that only tells which records are about the same person."""
    to, key = topic(event.publisher, event.type), local_of(keys, event.publisher, event.subject)
    said = [event.source, event.id, event.version, event.subject, event.time_us, event.data, tags.case, tags.actor]
    plain = orjson.dumps(said if event.aim is None else [*said, [*event.aim]])
    nonce = os.urandom(NONCE_BYTES)
    return Record(to, key, day.to_bytes(DAY_BYTES) + nonce + day_key.encrypt(nonce, plain, to.encode() + key))


def open_record(record: Record, day_key: Callable[[str, int], AESGCM | None]) -> bytes | None:
    """Return the plain bytes; None where the key is gone or the bytes are not what was sealed."""
    _, publisher, _ = record.topic.split(".", 2)
    value = record.value
    key = day_key(publisher, int.from_bytes(value[:DAY_BYTES]))
    if key is None:
        return None
    nonce = value[DAY_BYTES : DAY_BYTES + NONCE_BYTES]
    try:
        return key.decrypt(nonce, value[DAY_BYTES + NONCE_BYTES :], record.topic.encode() + record.key)
    except InvalidTag:
        return None


def take(
    keys: Keyring,
    catalogue: Catalogue,
    datasets: Mapping[tuple[str, int], Dataset],
    to: str,
    plain: bytes,
    waiting: int = 0,
) -> Taken | None:
    """Read an opened record: who it is about, and which part is whose. None where its dataset is no longer known."""
    _, publisher, name = to.split(".", 2)
    source, event_id, version, subject, time_us, data, case, actor, *aimed = orjson.loads(plain)
    dataset = datasets.get((name, version))
    agency = catalogue.agencies.get(publisher)
    if dataset is None or agency is None:
        return None
    own = local_of(keys, publisher, subject)
    aim = Aim(*aimed[0]) if aimed else None
    try:
        heard = roles_heard(dataset, catalogue.by_dataset.get(name, ()))
        persons = tuple([one for one in mentions(dataset, subject, data) if one.role in heard])
        locals_ = tuple(
            [own if one.local_id == subject else local_of(keys, publisher, one.local_id) for one in persons]
        )
        parts = fields_by_person(dataset, data, persons)
    except Exception:  # noqa: BLE001 - a defect met by one event must not hold up every other person's
        persons, locals_, parts = (), (POISON,), ()
    return Taken(
        agency.number,
        dataset,
        event_hash(keys, publisher, source, event_id),
        sha256(keys.content + plain).digest()[:16],
        own,
        time_us,
        persons,
        locals_,
        parts,
        Tags(case, actor) if case or actor else NO_TAGS,
        plain,
        waiting,
        aim,
        event_hash(keys, publisher, source, aim.of) if aim is not None and aim.kind == "corrects" else b"",
    )


@lru_cache(maxsize=4096)  # keyed by the dataset's and the subscriptions' identity: one entry per approved version
def roles_heard(dataset: Dataset, subscriptions: tuple[Subscription, ...]) -> frozenset[str]:
    """Name the roles whose fields anybody may hear of. Whoever else an event names is nobody's business here: their
    fields go nowhere, and their missing link holds nothing up."""
    allowed: frozenset[str] = frozenset().union(*[one.allowed for one in subscriptions])
    roles = {field.role for field in dataset.fields.values() if field.name in allowed}
    bases = {dataset.fields[one.base].role for one in dataset.derived.values() if one.name in allowed}
    return frozenset(roles | bases | {dataset.subject_role})

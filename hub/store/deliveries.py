"""Deliveries and their queue: what is to be handed out to whom, in order, and in which state."""

import struct
from collections.abc import Sequence
from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple

from hub.store.engine import Tx

PART = struct.Struct("<qqiBi")  # person, shape, stretch, assurance, sealed bytes
PUBLIC_BYTES = 16  # of a delivery's id


class QueueState(IntEnum):
    READY = 1
    HELD = 2
    OPENED = 3
    BEHIND = 4  # of a person whose backfill has not left yet: goes after it
    LATER = 5  # backfilled: goes where nothing that is ready is in the way


class DeliveryKind(IntEnum):
    """Kinds of the feed. A client must not acknowledge one it does not know, except a notice.

    Answers and backfilled data are `data` to whoever reads them; their envelopes say of which ask or backfill they are.
    """

    DATA = 1
    CORRECTION = 2
    STOP = 3
    DELETE = 4
    TEST = 5
    NOTICE = 6
    QUESTION = 7
    ANSWER = 8
    BACKFILLED = 9


FEED_KINDS = {one: one.name.lower() for one in DeliveryKind} | {
    DeliveryKind.QUESTION: "ask",
    DeliveryKind.ANSWER: "data",
    DeliveryKind.BACKFILLED: "data",
}
DECIDED = frozenset(  # what is decided again before it leaves; the others hold nothing that anybody could withhold
    [DeliveryKind.DATA, DeliveryKind.CORRECTION, DeliveryKind.QUESTION, DeliveryKind.ANSWER, DeliveryKind.BACKFILLED]
)
AIMED = frozenset([DeliveryKind.CORRECTION, DeliveryKind.DELETE, DeliveryKind.QUESTION, DeliveryKind.ANSWER])


class Part(NamedTuple):
    """One person's share of a delivery. `shape` names (role, fields); it was promised under `stretch` of consent."""

    person: int
    shape: int
    stretch: int
    assurance: int
    sealed_bytes: int  # below 0: so many under a key of the part's own, because it was held at first (store/held.py)


def pack_parts(parts: Sequence[Part]) -> bytes:
    return b"".join([PART.pack(*part) for part in parts])


def unpack_parts(packed: bytes) -> list[Part]:
    return [Part._make(fields) for fields in PART.iter_unpack(packed)]


def public_id(key: bytes, event: bytes, subscription: int) -> bytes:
    """Name a delivery: the same for every repeat of the event, and unlike any other recipient's."""
    return sha256(key + event + subscription.to_bytes(4)).digest()[:PUBLIC_BYTES]  # fixed lengths: a prefix is safe


def next_delivery(tx: Tx, count: int = 1) -> int:
    """Draw the next `count` ids of deliveries, for who writes them in this transaction; returns the first."""
    return tx.draw("delivery", count)


DELIVERY = "delivery(id, public, kind, recipient, subscription, version, audit, time_us, parts, payload)"
QUEUE = "queue(recipient, state, delivery, subscription, person, number, due_us)"


class NewDelivery(NamedTuple):
    """A delivery to be written, and its place in the queue. `person`: whose chain it stands in; 0: nobody's.

    `number`: the recipient's running number that it takes over; 0: it gets one of its own when it is opened.
    """

    public: bytes
    kind: DeliveryKind
    recipient: int
    audit: int
    time_us: int
    payload: bytes
    subscription: int = 0
    version: int = 0  # of the agreement
    parts: bytes = b""
    person: int = 0
    number: int = 0


def put_ready(tx: Tx, new: NewDelivery) -> int:
    """Write one delivery and lay it into its recipient's queue, ready. Returns its id, the next that is free."""
    at, line = next_delivery(tx), new.subscription
    head = (at, new.public, new.kind.value, new.recipient, line, new.version, new.audit, new.time_us)
    tx.insert(DELIVERY, [(*head, new.parts, new.payload)])
    tx.insert(QUEUE, [(new.recipient, QueueState.READY.value, at, line, new.person, new.number, 0)])
    return at

"""Messages about an agency's own events, in its own feed: acknowledged unread, never about a person."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hub.core.leaf import NONCE_BYTES, LeafKind, canonical, commitment, leaf
from hub.exchange.intake import Taken
from hub.exchange.status import status_token
from hub.exchange.world import World, dumps
from hub.identity.keys import keyed
from hub.store.deliveries import DeliveryKind, DeliveryRow, QueueState, public_id


class NoticeRows(NamedTuple):
    audit: tuple[Any, ...]
    delivery: DeliveryRow
    queue: tuple[Any, ...]


def conflict_notice(world: World, event: Taken, *, audit: int, delivery: int) -> NoticeRows:
    """Say that an event id came again with other content; the first one counts, this one was dropped."""
    return _about_event(world, event, {"type": "event.conflict"}, audit=audit, delivery=delivery)


def refused_notice(world: World, event: Taken, reason: str, *, audit: int, delivery: int) -> NoticeRows:
    """Say that an event was for nobody: the ask or backfill that it names takes none, or not this one."""
    return _about_event(world, event, {"type": "event.refused", "reason": reason}, audit=audit, delivery=delivery)


def _about_event(world: World, event: Taken, said: dict[str, str], *, audit: int, delivery: int) -> NoticeRows:
    now_us, nonce = world.clock(), os.urandom(NONCE_BYTES)
    public = public_id(world.keys.delivery, event.event + event.content, 0)
    token = status_token(world.keys, event.event, event.publisher)
    text = {**said, "dataset": event.dataset.name, "event": token}
    body = canonical({"dataset": event.dataset.name, "kind": said["type"]})
    commit = commitment(keyed(world.keys.leaf, nonce.hex()), public, body)
    row_leaf = leaf(LeafKind.CONFLICT, at_us=now_us, nonce=nonce, commitments=[commit])
    return NoticeRows(
        (audit, LeafKind.CONFLICT.value, now_us, row_leaf, b"", body),
        *_rows(world, text, public, event.publisher, audit=audit, delivery=delivery, now_us=now_us),
    )


class Unheard(NamedTuple):
    """Events of one publisher and dataset that ended undecided together. `failed`: each met a defect of the hub's.

    `reason`: why an operator discarded it; sent again it needs another id, for this one was seen.
    """

    publisher: int
    dataset: str
    failed: bool
    events: Sequence[bytes]
    reason: str = ""


def unheard_notice(
    world: World, of: Unheard, *, audit: int, delivery: int, now_us: int
) -> tuple[DeliveryRow, tuple[Any, ...]]:
    """Say that nobody will hear of these events: one notice for all, for a publisher may have sent very many."""
    public = keyed(world.keys.delivery, "unheard", of.events[0].hex())  # an event ends once, so no other has this name
    text: dict[str, Any] = {
        "type": "event.failed" if of.failed else "event.expired",
        "dataset": of.dataset,
        "events": [status_token(world.keys, event, of.publisher) for event in of.events],
    }
    if of.reason:
        text |= {"type": "event.discarded", "reason": of.reason}
    return _rows(world, text, public, of.publisher, audit=audit, delivery=delivery, now_us=now_us)


def backfill_notice(
    world: World, said: Mapping[str, str], to: int, *, audit: int, delivery: int, now_us: int
) -> tuple[DeliveryRow, tuple[Any, ...]]:
    """Tell a party that a backfill was opened or is closed. Each is told once of each."""
    public = keyed(world.keys.delivery, "backfill", said["type"], said["backfill"], str(to))
    return _rows(world, dict(said), public, to, audit=audit, delivery=delivery, now_us=now_us)


def ask_notice(
    world: World, ask: bytes, asker: int, state: str, *, audit: int, delivery: int, now_us: int
) -> tuple[DeliveryRow, tuple[Any, ...]]:
    """Say that an ask ended without an answer: no_answer, expired, or refused after it was put."""
    public = keyed(world.keys.delivery, "ask ended", ask.hex())  # it ends once, so no other notice has this name
    text = {"type": "ask.closed", "ask": ask.hex(), "state": state}
    return _rows(world, text, public, asker, audit=audit, delivery=delivery, now_us=now_us)


def _rows(
    world: World, text: object, public: bytes, publisher: int, *, audit: int, delivery: int, now_us: int
) -> tuple[DeliveryRow, tuple[Any, ...]]:
    sealed = world.keys.wrapping.seal(dumps(text), public)
    return (
        DeliveryRow(delivery, public, DeliveryKind.NOTICE, publisher, 0, 0, audit, now_us, b"", sealed),
        (publisher, QueueState.READY, delivery, 0, 0, 0, 0),
    )

"""Messages about an agency's own events, in its own feed: acknowledged unread, never about a person."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hub.core.leaf import NONCE_BYTES, LeafKind, canonical, commitment, leaf
from hub.exchange.intake import Taken
from hub.exchange.status import status_token
from hub.exchange.world import World
from hub.identity.keys import keyed
from hub.store.audit import add_audit
from hub.store.deliveries import DeliveryKind, NewDelivery, public_id, put_ready
from hub.store.engine import Tx


def tell_conflict(world: World, tx: Tx, event: Taken) -> None:
    """Say that an event id came again with other content; the first one counts, this one was dropped."""
    _about_event(world, tx, event, {"type": "event.conflict"})


def tell_refused(world: World, tx: Tx, event: Taken, reason: str) -> None:
    """Say that an event was for nobody: the ask or backfill that it names takes none, or not this one."""
    _about_event(world, tx, event, {"type": "event.refused", "reason": reason})


def _about_event(world: World, tx: Tx, event: Taken, said: dict[str, str]) -> None:
    """Put it on record, and into its publisher's feed."""
    now_us, nonce = world.clock(), os.urandom(NONCE_BYTES)
    public = public_id(world.keys.delivery, event.event + event.content, 0)
    token = status_token(world.keys, event.event, event.publisher)
    body = canonical({"dataset": event.dataset.name, "kind": said["type"]})
    commit = commitment(keyed(world.keys.leaf, nonce.hex()), public, body)
    row_leaf = leaf(LeafKind.CONFLICT, at_us=now_us, nonce=nonce, commitments=[commit])
    audit = add_audit(tx, LeafKind.CONFLICT, at_us=now_us, leaf=row_leaf, detail=body)
    text = {**said, "dataset": event.dataset.name, "event": token}
    put_notice(world, tx, text, public, event.publisher, audit=audit, now_us=now_us)


class Unheard(NamedTuple):
    """Events of one publisher and dataset that ended undecided together. `failed`: each met a defect of the hub's.

    `reason`: why an operator discarded it; sent again it needs another id, for this one was seen.
    """

    publisher: int
    dataset: str
    failed: bool
    events: Sequence[bytes]
    reason: str = ""


def tell_unheard(world: World, tx: Tx, of: Unheard, *, audit: int, now_us: int) -> None:
    """Say that nobody will hear of these events: one notice for all, for a publisher may have sent very many."""
    public = keyed(world.keys.delivery, "unheard", of.events[0].hex())  # an event ends once, so no other has this name
    text: dict[str, Any] = {
        "type": "event.failed" if of.failed else "event.expired",
        "dataset": of.dataset,
        "events": [status_token(world.keys, event, of.publisher) for event in of.events],
    }
    if of.reason:
        text |= {"type": "event.discarded", "reason": of.reason}
    put_notice(world, tx, text, public, of.publisher, audit=audit, now_us=now_us)


def tell_backfill(world: World, tx: Tx, said: Mapping[str, str], to: int, *, audit: int) -> None:
    """Tell a party that a backfill was opened or is closed. Each is told once of each."""
    public = keyed(world.keys.delivery, "backfill", said["type"], said["backfill"], str(to))
    put_notice(world, tx, said, public, to, audit=audit, now_us=world.clock())


def tell_ask_closed(world: World, tx: Tx, ask: bytes, asker: int, state: str, *, audit: int, now_us: int) -> None:
    """Say that an ask ended without an answer: no_answer, expired, or refused after it was put."""
    public = keyed(world.keys.delivery, "ask ended", ask.hex())  # it ends once, so no other notice has this name
    text = {"type": "ask.closed", "ask": ask.hex(), "state": state}
    put_notice(world, tx, text, public, asker, audit=audit, now_us=now_us)


def put_notice(
    world: World, tx: Tx, text: Mapping[str, object], public: bytes, recipient: int, *, audit: int, now_us: int
) -> None:
    """Lay a notice into an agency's feed, sealed by the hub itself."""
    sealed = world.keys.wrapping.seal(canonical(dict(text)), public)
    put_ready(tx, NewDelivery(public, DeliveryKind.NOTICE, recipient, audit, now_us, sealed))

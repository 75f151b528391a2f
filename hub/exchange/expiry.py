"""What time alone ends: events that nobody was linked to in time, and held deliveries whose look-back is over.

Each is taken off its list in one transaction with its audit row (a root over what it ended), a few hundred at a time.
"""

import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from hub.core.leaf import NONCE_BYTES, LeafKind, leaf, merkle_root
from hub.exchange.intake import POISON
from hub.exchange.notices import Unheard, tell_unheard
from hub.exchange.world import World
from hub.identity.stops import delete_originals, stop_opened
from hub.store.audit import add_audit
from hub.store.deliveries import DeliveryKind, QueueState, unpack_parts
from hub.store.engine import Tx, marks
from hub.store.held import destroy_hold_keys
from hub.store.waiting import settle

PIECE = 200  # rows of one transaction: a withdrawal waits for a few milliseconds at most
_WAITED = struct.Struct("<ii")  # publisher, dataset
_HELD = struct.Struct("<iq")  # recipient, delivery


def expire_waiting(world: World) -> int:
    """End up to `PIECE` events whose time to be linked is over, and tell their publishers; returns how many."""
    now_us = world.clock()
    with world.store.read() as tx:
        if tx.one("SELECT 1 FROM waiting WHERE until_us <= ? LIMIT 1", (now_us,)) is None:
            return 0
    return world.store.write(lambda tx: _expire_waiting(world, tx, now_us))


def expire_held(world: World) -> int:
    """Cancel up to `PIECE` held deliveries that no grant came for in time, and destroy their keys; returns how many.

    One that was opened before it was held leaves a `stop` under its number, as any opened one that is cancelled; where
    it was a correction, who got the original is to delete that.
    """
    now_us = world.clock()
    with world.store.read() as tx:
        if not _held_too_long(tx, now_us, 1):
            return 0
    return world.store.write(lambda tx: _expire_held(world, tx, now_us))


def _expire_waiting(world: World, tx: Tx, now_us: int) -> int:
    rows = tx.rows(
        "SELECT id, event, publisher, dataset, local = ? FROM waiting WHERE until_us <= ? ORDER BY id LIMIT ?",
        (POISON, now_us, PIECE),
    )
    settle(tx, [row[0] for row in rows])
    audit = _audit(tx, [event + _WAITED.pack(publisher, dataset) for _, event, publisher, dataset, _ in rows], now_us)
    tx.insert("event_unheard(event, failed, at_us)", sorted((row[1], row[4], now_us) for row in rows))
    _tell(world, tx, [row[1:] for row in rows], audit, now_us)
    return len(rows)


def _tell(world: World, tx: Tx, rows: Sequence[tuple[bytes, int, int, int]], audit: int, now_us: int) -> None:
    """Queue a notice for each publisher and dataset. Whom an event was about, and which id was not linked, it says not.

    `rows` are (event, publisher, dataset, failed).
    """
    names = {dataset.number: dataset.name for dataset in world.datasets.values()}  # also those that have left
    together: dict[tuple[int, int, int], list[bytes]] = {}
    for event, *of in rows:
        together.setdefault((of[0], of[1], of[2]), []).append(event)
    for (publisher, dataset, failed), events in together.items():
        unheard = Unheard(publisher, names.get(dataset, ""), bool(failed), events)
        tell_unheard(world, tx, unheard, audit=audit, now_us=now_us)


class Overdue(NamedTuple):
    """A held delivery whose look-back is over. `number` is 0 unless it was opened before it was held."""

    recipient: int
    delivery: int
    public: bytes
    parts: bytes
    subscription: int
    version: int
    person: int
    number: int
    kind: int


def _held_too_long(tx: Tx, now_us: int, limit: int) -> list[Overdue]:
    rows = tx.rows(
        "SELECT q.recipient, q.delivery, d.public, d.parts, q.subscription, d.version, q.person, q.number, d.kind"
        " FROM queue q INDEXED BY queue_held JOIN delivery d ON d.id = q.delivery"
        " WHERE q.state = 2 AND q.due_us <= ? LIMIT ?",
        (now_us, limit),
    )
    return [Overdue._make(row) for row in rows]


def _expire_held(world: World, tx: Tx, now_us: int) -> int:
    rows = _held_too_long(tx, now_us, PIECE)
    audit = _audit(tx, [one.public + _HELD.pack(one.recipient, one.delivery) for one in rows], now_us)
    for recipient in sorted({one.recipient for one in rows}):
        theirs = [one for one in rows if one.recipient == recipient]
        tx.run(
            f"DELETE FROM queue WHERE recipient = ? AND state = ? AND delivery IN ({marks(len(theirs))})",
            (recipient, QueueState.HELD.value, *[one.delivery for one in theirs]),
        )
        opened = [one for one in theirs if one.number]
        stop_opened(world.keys, tx, recipient, opened, audit=audit, now_us=now_us)
        corrections = [one for one in theirs if one.kind == DeliveryKind.CORRECTION]
        delete_originals(world.keys, tx, recipient, corrections, audit=audit, now_us=now_us)
    destroy_hold_keys(tx, [one.delivery for one in rows])
    persons = sorted({part.person for one in rows for part in unpack_parts(one.parts)})
    tx.insert("history(person, audit)", [(person, audit) for person in persons])
    return len(rows)


def _audit(tx: Tx, entries: Sequence[bytes], now_us: int) -> int:
    """Write one row over all: each entry begins with a keyed name of 16 bytes that the row's nonce salts."""
    nonce = os.urandom(NONCE_BYTES)
    root = merkle_root([nonce + entry for entry in entries])
    row_leaf = leaf(LeafKind.EXPIRY, at_us=now_us, nonce=nonce, commitments=[root])
    return add_audit(tx, LeafKind.EXPIRY, at_us=now_us, leaf=row_leaf, detail=b"".join(entries))

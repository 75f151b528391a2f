"""Acknowledge: a recipient says what it has. Only then a delivery leaves the queue; until then it comes again."""

from collections.abc import Sequence
from hmac import compare_digest
from typing import NamedTuple

from hub.core.errors import HubError, Item, Kind
from hub.core.leaf import canonical
from hub.exchange.world import World
from hub.store.deliveries import DeliveryKind, QueueState, public_id, unpack_parts
from hub.store.engine import Fences, Tx, marks
from hub.store.facts import RECIPIENT_LOCK
from hub.store.interned import intern_id, remember
from hub.store.overdue import confirmed

_CONFIRMED = (DeliveryKind.STOP.value, DeliveryKind.DELETE.value)  # what is to be acknowledged by a due date


class Acknowledgement(NamedTuple):
    """One delivery as the recipient got it: its number, and the id that proves it was this one (32 hex characters).

    `fields_used`: what the recipient says it needed of it; empty: it does not say.
    """

    number: int
    id: str
    fields_used: tuple[str, ...] = ()


class Acknowledged(NamedTuple):
    acknowledged: int
    already: int


def acknowledge(world: World, agency: str, given: Sequence[Acknowledgement]) -> Acknowledged:
    """Settle what the recipient has. All or nothing.

    Raises HubError(NOT_FOUND), with an item for each, when any was never handed out to this agency under that id.
    """
    recipient = world.catalogue.agencies[agency].number
    fences = Fences(changes=[(RECIPIENT_LOCK, recipient)])  # an act that moves a row of theirs meets the row itself
    return world.store.write(
        lambda tx: _settle(world, tx, recipient, given), group=True, rows=len(given), fences=fences
    )


def _settle(world: World, tx: Tx, recipient: int, given: Sequence[Acknowledgement]) -> Acknowledged:
    numbers = sorted({one.number for one in given})
    rows = tx.rows(
        "SELECT h.number, d.public, h.delivery, h.acked_us IS NULL, h.ended, d.subscription, d.kind FROM handout h"
        f" JOIN delivery d ON d.id = h.delivery WHERE h.recipient = ? AND h.number IN ({marks(len(numbers))})",
        (recipient, *numbers),
    )
    known = {row[0]: row[1:6] for row in rows}
    kinds = {row[0]: row[6] for row in rows}
    unknown = [
        Item(
            "was never handed out to you under this number and id",
            f"/acknowledgements/{at}",
            "Acknowledge what a pull gave you.",
        )
        for at, one in enumerate(given)
        if one.number not in known
        or not (_is(one.id, known[one.number][0]) or _was_stopped(world, one.id, *known[one.number]))
    ]
    if unknown:
        raise HubError(
            Kind.NOT_FOUND,
            f"{len(unknown)} of {len(given)} were never handed out to you; nothing was acknowledged",
            where="/acknowledgements",
            remedy="Send number and id of each delivery exactly as pulled.",
            code="delivery-unknown",
            items=tuple(unknown),
        )
    # After a stop took the number over, the stopped delivery's own id settles nothing: the stop is still to be read.
    fresh = {one.number for one in given if known[one.number][2] and _is(one.id, known[one.number][0])}
    if fresh:
        deliveries = [known[number][1] for number in fresh]
        tx.run(
            f"DELETE FROM queue WHERE recipient = ? AND state IN ({marks(len(QueueState))})"
            f" AND delivery IN ({marks(len(fresh))})",
            (recipient, *QueueState, *deliveries),  # an opened one may have been held or readied again meanwhile
        )
        tx.run(
            f"UPDATE handout SET acked_us = ? WHERE recipient = ? AND number IN ({marks(len(fresh))})",
            (world.clock(), recipient, *sorted(fresh)),
        )
        if asked := [known[number][1] for number in fresh if kinds[number] in _CONFIRMED]:
            confirmed(tx, asked)
        if naming := [one for one in given if one.fields_used and one.number in fresh]:
            _note_used(world, tx, recipient, naming)
    return Acknowledged(len(fresh), len({one.number for one in given}) - len(fresh))


def _note_used(world: World, tx: Tx, recipient: int, given: Sequence[Acknowledgement]) -> None:
    """Keep which fields were used, for the persons to read: only names of what was in the delivery.

    A name is kept for ever and is in no way sealed, so nothing else that somebody writes there may be.
    """
    numbers = sorted({one.number for one in given})
    rows = tx.rows(
        "SELECT h.number, d.parts FROM handout h JOIN delivery d ON d.id = h.delivery"
        f" WHERE h.recipient = ? AND h.number IN ({marks(len(numbers))})",
        (recipient, *numbers),
    )
    parts = {number: unpack_parts(packed) for number, packed in rows}
    shapes = world.shapes.of(tx, {part.shape for those in parts.values() for part in those})
    bodies: dict[int, bytes] = {}
    same: dict[int, list[int]] = {}  # deliveries of which the same was used: one statement for all of them
    for one in given:
        there = frozenset().union(*(shapes[part.shape][1] for part in parts[one.number]))
        if used := there.intersection(one.fields_used):
            body = canonical(sorted(used))
            bodies[intern_id(body)] = body
            same.setdefault(intern_id(body), []).append(one.number)
    remember(tx, bodies, set())
    for name, of in same.items():
        tx.run(
            f"UPDATE handout SET used = ? WHERE recipient = ? AND number IN ({marks(len(of))})", (name, recipient, *of)
        )


def _was_stopped(world: World, text: str, public: bytes, _delivery: int, _open: int, ended: int, line: int) -> bool:
    """Is it the delivery that a stop took the number over from? The stop's name follows from the delivery's."""
    try:
        original = bytes.fromhex(text)
    except ValueError:
        return False
    return bool(ended) and compare_digest(public_id(world.keys.delivery, original, line), public)


def _is(text: str, public: bytes) -> bool:
    return compare_digest(text.encode(), public.hex().encode())

"""What the log holds about one person, read through their own index: the audit rows, and what was opened of them.

The packed forms below are those that the gate and the hand-out write.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hub.store.engine import Tx, marks

OUTCOME = struct.Struct("<iqi")  # of a decision: subscription, interned outcome, stretch; one per recipient
PERSON = struct.Struct("<qH")  # person, bytes of sealed detail that follow
HANDED = struct.Struct("<qqqi")  # of a page of hand-outs: delivery, number, interned outcome, stretch
HANDED_NUMBER_AT = 8  # bytes into it


class AuditRow(NamedTuple):
    """One audit row about a person. `leaf` is final; `detail` is sealed as its kind has it."""

    id: int
    kind: int
    at_us: int
    leaf: bytes
    detail: bytes


class HandedRow(NamedTuple):
    """One delivery that was opened with a part of the person in it; `page` is the audit row of the page it went with.

    `ended`: it was stopped under its number afterwards, so what the number names now is the stop.
    """

    recipient: int
    number: int
    stretch: int
    page: int
    opened_us: int
    acked_us: int | None
    ended: bool
    delivery: int
    used: int | None  # interned


class DeliveryHead(NamedTuple):
    """What names a delivery and its parts, without its payload. `audit` is the decision that made it."""

    id: int
    public: bytes
    subscription: int
    audit: int
    parts: bytes


def audits_of(tx: Tx, person: int, *, before: int, limit: int) -> list[AuditRow]:
    """Return a person's audit rows with an id below `before`, newest first."""
    rows = tx.rows(
        "SELECT a.id, a.kind, a.at_us, a.leaf, a.detail FROM history h JOIN audit a ON a.id = h.audit"
        " WHERE h.person = ? AND h.audit < ? ORDER BY h.audit DESC LIMIT ?",
        (person, before, limit),
    )
    return [AuditRow._make(row) for row in rows]


def audits_at(tx: Tx, ids: Sequence[int]) -> list[AuditRow]:
    rows = tx.rows(f"SELECT id, kind, at_us, leaf, detail FROM audit WHERE id IN ({marks(len(ids))}) ORDER BY id", ids)
    return [AuditRow._make(row) for row in rows]


def handed_of(tx: Tx, person: int, *, first: int, last: int) -> list[HandedRow]:
    """Return what was opened of a person's decisions `first` to `last`, and of any later ones what was stopped since.

    A hand-out's id is above that of its decision, so nothing older is looked at.
    """
    rows = tx.rows(
        "SELECT p.recipient, p.number, p.stretch, p.audit, h.opened_us, h.acked_us, h.ended, h.delivery, h.used"
        " FROM handout_person p JOIN handout h ON h.recipient = p.recipient AND h.number = p.number"
        " JOIN delivery d ON d.id = h.delivery WHERE p.person = ? AND p.audit > ?"
        " AND (h.ended = 1 OR d.audit BETWEEN ? AND ?) ORDER BY p.audit",
        (person, first, first, last),
    )
    return [HandedRow._make((*row[:6], bool(row[6]), *row[7:])) for row in rows]


def handed_under(tx: Tx, *, person: int, recipient: int, stretch: int) -> list[HandedRow]:
    """Return what was opened for a recipient under one stretch, by number. Read it under the person's fence."""
    rows = tx.rows(
        "SELECT p.recipient, p.number, p.stretch, p.audit, h.opened_us, h.acked_us, h.ended, h.delivery, h.used"
        " FROM handout_person p JOIN handout h ON h.recipient = p.recipient AND h.number = p.number"
        " WHERE p.person = ? AND p.recipient = ? AND p.stretch = ? ORDER BY p.number",
        (person, recipient, stretch),
    )
    return [HandedRow._make((*row[:6], bool(row[6]), *row[7:])) for row in rows]


def deliveries_at(tx: Tx, ids: Sequence[int]) -> dict[int, DeliveryHead]:
    rows = tx.rows(f"SELECT id, public, subscription, audit, parts FROM delivery WHERE id IN ({marks(len(ids))})", ids)
    return {row[0]: DeliveryHead._make(row) for row in rows}


def details_at(tx: Tx, audits: Sequence[int]) -> dict[int, bytes]:
    return dict(tx.rows(f"SELECT id, detail FROM audit WHERE id IN ({marks(len(audits))})", audits))


def handed_as(detail: bytes, number: int) -> tuple[int, int]:
    """Find in a page's detail what a number was first given to: (delivery, interned outcome)."""
    wanted, at = number.to_bytes(8, "little"), -1
    while (at := detail.find(wanted, at + 1)) >= 0:
        if at % HANDED.size == HANDED_NUMBER_AT:
            delivery, _, outcome, _ = HANDED.unpack_from(detail, at - HANDED_NUMBER_AT)
            return delivery, outcome
    raise AssertionError("a hand-out's page names every number it gave")


def details_of_person(detail: bytes, person: int) -> Iterator[bytes]:
    """Yield a person's own sealed details out of a decision's, one per role they have in the event."""
    at = 0
    while at < len(detail):
        whose, length = PERSON.unpack_from(detail, at)
        at += PERSON.size
        if whose == person and length:
            yield detail[at : at + length]
        at += length

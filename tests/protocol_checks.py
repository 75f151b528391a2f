"""What must be true of a store whatever happened to it: after any interleaving, any crash, any restart.

Each check returns the faults it found, in words; none is what every test wants to see.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from hub.citizens.desk import record_of
from hub.core.leaf import LeafKind
from hub.identity.keys import Keyring, open_key, unwrap_person
from hub.store.consents import consents_of
from hub.store.deliveries import DeliveryKind, unpack_parts
from hub.store.engine import Store, Tx
from hub.store.facts import CHOICE_STATES
from tests.stores import on_postgres

_ENTRY = struct.Struct("<qqqi")  # delivery, number, interned outcome, stretch: as the hand-out's audit row has them


class Hub(Protocol):
    """What is looked at of a hub, whichever way it was put together."""

    @property
    def store(self) -> Store: ...
    @property
    def keys(self) -> Keyring: ...


def faults(hub: Hub) -> list[str]:
    """Look at the whole store in one snapshot."""
    with hub.store.read() as tx:
        handed = _handed(tx)
        return [
            *_file(tx),
            *_decided_once(tx),
            *_audited(tx, handed),
            *_numbered(tx),
            *_queued(tx, handed),
            *_positions(tx),
            *_chains(hub, tx),
        ]


def _handed(tx: Tx) -> dict[int, list[tuple[int, int]]]:
    """Return what the hand-outs' audit rows say they did: delivery -> (audit row, number; 0 where not opened)."""
    found: dict[int, list[tuple[int, int]]] = {}
    for audit, detail in tx.rows("SELECT id, detail FROM audit WHERE kind = ?", (LeafKind.HANDOUT.value,)):
        for delivery, number, _, _ in _ENTRY.iter_unpack(detail):
            found.setdefault(delivery, []).append((audit, number))
    return found


def _file(tx: Tx) -> Iterator[str]:
    said = [("ok",)] if on_postgres() else tx.rows("PRAGMA integrity_check")
    if said != [("ok",)]:
        yield f"the file is damaged: {said[:3]}"


def _decided_once(tx: Tx) -> Iterator[str]:
    """Every event taken is decided or waiting, once (I2, I3)."""
    seen = _count(tx, "SELECT count(*) FROM event_seen")
    decisions = _count(tx, f"SELECT count(*) FROM audit WHERE kind = {LeafKind.DECISION.value}")
    waiting = _count(tx, "SELECT count(*) FROM waiting")
    ended = _count(tx, "SELECT count(*) FROM event_unheard")
    if seen != decisions + waiting + ended:
        yield f"{seen} events were taken, {decisions} are decided, {waiting} wait and {ended} ended undecided"
    doubled = _count(tx, "SELECT count(*) - count(DISTINCT event) FROM waiting")
    if doubled:
        yield f"{doubled} events wait twice"
    for (public,) in tx.rows("SELECT hex(public) FROM delivery GROUP BY public HAVING count(*) > 1"):
        yield f"two deliveries have the id {public}"
    unknown = _count(tx, "SELECT count(*) FROM delivery d LEFT JOIN audit a ON a.id = d.audit WHERE a.id IS NULL")
    if unknown:
        yield f"{unknown} deliveries have no audit row of their decision"
    unread = _count(tx, "SELECT count(*) FROM history h LEFT JOIN audit a ON a.id = h.audit WHERE a.id IS NULL")
    if unread:
        yield f"{unread} history rows point at no audit row"


def _audited(tx: Tx, handed: dict[int, list[tuple[int, int]]]) -> Iterator[str]:
    """Everything opened has its audit row (I2)."""
    for number, delivery, ended in tx.rows("SELECT number, delivery, ended FROM handout"):
        known = {said for _, said in handed.get(delivery, [])}
        if number not in known and not ended:  # an ended one is the stop's now; the first one's row is checked below
            yield f"delivery {delivery} was opened under number {number}, and no audit row says so"
    numbers = {(number) for entries in handed.values() for _, number in entries}
    for (number,) in tx.rows("SELECT DISTINCT number FROM handout"):
        if number not in numbers:
            yield f"number {number} was given, and no audit row knows it"
    for (missing,) in tx.rows(
        "SELECT count(*) FROM handout_person p LEFT JOIN audit a ON a.id = p.audit AND a.kind = ? WHERE a.id IS NULL",
        (LeafKind.HANDOUT.value,),
    ):
        if missing:
            yield f"{missing} persons were handed out without an audit row"


def _numbered(tx: Tx) -> Iterator[str]:
    """A recipient's numbers run from 1 without a gap, and each delivery has one (I4)."""
    for recipient, last, count, top in tx.rows(
        "SELECT c.recipient, c.number, count(h.number), max(h.number) FROM recipient_counter c"
        " LEFT JOIN handout h ON h.recipient = c.recipient GROUP BY c.recipient"
    ):
        if not last == count == top:
            yield f"recipient {recipient} was given {count} numbers up to {top}; the counter stands at {last}"
    for (delivery,) in tx.rows("SELECT delivery FROM handout GROUP BY delivery HAVING count(*) > 1"):
        yield f"delivery {delivery} has two numbers"


def _queued(tx: Tx, handed: dict[int, list[tuple[int, int]]]) -> Iterator[str]:
    """Every delivery is queued once, or was settled and an audit row or an acknowledgement says so (I3)."""
    queued = Counter(delivery for (delivery,) in tx.rows("SELECT delivery FROM queue"))
    yield from (f"delivery {one} stands in {times} queues" for one, times in queued.items() if times > 1)
    persons = {person for (person,) in tx.rows("SELECT id FROM person WHERE erased_us IS NOT NULL")}
    parts = tx.rows("SELECT id, parts FROM delivery") if persons else []
    erased = {delivery for delivery, packed in parts if any(one.person in persons for one in unpack_parts(packed))}
    open_ = tx.rows("SELECT delivery, acked_us IS NOT NULL FROM handout")
    for delivery, acked in open_:
        if acked and delivery in queued:
            yield f"delivery {delivery} was acknowledged and still stands in a queue"
        if not acked and delivery not in queued and delivery not in erased:
            yield f"delivery {delivery} was opened, not acknowledged, and nobody will send it again"
    settled = {delivery for delivery, _ in open_}
    over = b"".join(
        detail for (detail,) in tx.rows("SELECT detail FROM audit WHERE kind = ?", (LeafKind.EXPIRY.value,))
    )
    for delivery, public in tx.rows("SELECT id, public FROM delivery WHERE kind = ?", (DeliveryKind.DATA.value,)):
        known = delivery in queued or delivery in settled or delivery in handed or delivery in erased
        if not known and public not in over:
            yield f"delivery {delivery} vanished"


def _positions(tx: Tx) -> Iterator[str]:
    """No position stands beyond what was published (I3)."""
    for partition, position in tx.rows("SELECT partition, next FROM position"):
        row = tx.one("SELECT number FROM bus_topic WHERE name = ?", (partition,))
        if row is None:
            yield f"position {partition} belongs to no topic"
            continue
        base = row[0] << 40
        last = tx.one("SELECT max(id) FROM bus_record WHERE id >= ? AND id < ?", (base, base + (1 << 40)))
        if last and last[0] is not None and position > last[0] - base + 1:
            yield f"the position of {partition} is {position}, beyond its last record"


def _chains(hub: Hub, tx: Tx) -> Iterator[str]:
    """Every consent's chain holds, and what decisions read of it is what it says."""
    for person, wrapped in tx.rows("SELECT id, key FROM person WHERE key IS NOT NULL"):
        key = open_key(unwrap_person(hub.keys.wrapping, person, wrapped))
        latest = {}
        for row in consents_of(tx, person):
            record = record_of(tx, key, row)
            if record.state.value != row.state or record.head != row.head:
                yield f"consent {row.number} says {row.state}, its chain {record.state.value}"
            latest[row.number] = record
        for state, stretch, consent in tx.rows(
            "SELECT state, stretch, consent FROM choice WHERE person = ?", (person,)
        ):
            told = latest.get(consent)
            if told is not None and (told.state.value, told.stretch) != (CHOICE_STATES[state], stretch):
                yield f"decisions read {CHOICE_STATES[state]} of consent {consent}; its chain says {told.state.value}"


def _count(tx: Tx, sql: str, parameters: tuple[int, ...] = ()) -> int:
    row = tx.one(sql, parameters)
    assert row is not None
    return int(row[0])

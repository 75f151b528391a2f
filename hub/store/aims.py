"""What aimed events rely on: asks, the deliveries of an event that is corrected, and open backfills."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from hub.store.deliveries import QueueState, unpack_parts
from hub.store.engine import Query, Tx, loads, marks, padded

DELIVERY_AIM = "delivery_aim(delivery, of, original, fields, asks, until_us)"
WITH_CASE, WITHOUT_CASE, FOR_PERSON = 1, 2, 3  # `asks`: 0 is no ask


class AskState(IntEnum):
    """States of an ask. Numbers are final; the words are these in lower case."""

    ASKED = 1
    ANSWERED = 2
    REFUSED = 3
    NO_ANSWER = 4
    EXPIRED = 5
    FORGOTTEN = 6  # what is left of it is its id (`hub/store/asks_over.py`); nobody is told of this state


class AskFact(NamedTuple):
    id: int
    asker: int  # 0: the person
    provider: int
    dataset: int
    subscription: int
    person: int
    fields: tuple[int, tuple[str, ...]]  # interned, and as they are
    asks: int
    state: int
    deadline_us: int
    stretch: int  # of the consent it was asked under


class Original(NamedTuple):
    """One delivery of an event that is corrected."""

    delivery: int
    public: bytes
    kind: int
    subscription: int
    person: int  # whom the event was about: the first that its decision names (`hub/store/history.py`)
    stands: bool  # it is backfilled, or behind backfill, and has not left
    fields: int  # of an answer, or a correction of one: what was asked for, interned and as it is
    names: tuple[str, ...]
    asks: int


class AimKeys(NamedTuple):
    """What the aimed events of a batch name."""

    asks: Sequence[bytes]  # public ids
    corrected: Sequence[bytes]  # keyed hashes of events


class AimTexts(NamedTuple):
    """Raw answers, which compare as text."""

    asks: str
    originals: str
    backfills: str
    cleared: str


class AimFacts(NamedTuple):
    """The same, parsed. `asks` may be changed by who reads it: an ask that is answered is closed to the next event."""

    asks: dict[bytes, AskFact]
    originals: dict[bytes, tuple[Original, ...]]  # by the keyed hash of the event
    backfills: dict[int, tuple[int, bytes]]  # open ones: subscription -> (number, public)
    cleared: frozenset[tuple[int, int]]  # (subscription, person)


class AimRow(NamedTuple):
    """What a delivery is about, as stored; `original` counts within a batch where `here` says so."""

    of: bytes
    original: int
    fields: int
    asks: int
    until_us: int
    here: bool = False
    stands: bool = False  # the original is backfilled, or behind backfill, and has not left
    names: tuple[str, ...] = ()  # what `fields` interns, where it is known


def read_aims(tx: Tx, keys: AimKeys, persons: Sequence[int]) -> AimTexts:
    """Read what is known of these asks, of these events' deliveries, and which backfills are open."""
    return read_aims_beside(tx, keys, persons, tx.text(*BACKFILLS))


BACKFILLS: Query = (
    (
        "SELECT json_group_array(json_array(subscription, id, hex(public))) FROM backfill INDEXED BY backfill_open"
        " WHERE closed_us IS NULL"
    ),
    (),
)


def read_aims_beside(tx: Tx, keys: AimKeys, persons: Sequence[int], backfills: str) -> AimTexts:
    """Read the rest, where `BACKFILLS` has been answered."""
    return AimTexts(
        _listed(tx, _ASKS, keys.asks),
        _listed(tx, _ORIGINALS, keys.corrected),
        backfills,
        _listed(tx, _CLEARED, persons) if backfills != "[]" else "[]",
    )


def _listed(tx: Tx, rows: str, among: Sequence[bytes] | Sequence[int]) -> str:
    """Read rows as one JSON text; `rows` ends with the column whose value is to be `among` those given."""
    if not among:
        return "[]"
    values = padded(among)
    return tx.text(f"SELECT json_group_array(json_array{rows} IN ({marks(len(values))})", values)


_ASKS = (
    "(hex(a.public), a.id, a.asker, a.provider, a.dataset, a.subscription, a.person, a.fields, json(i.body), a.asks,"
    " a.state, a.deadline_us, a.stretch)) FROM ask a JOIN interned i ON i.id = a.fields"
    f" WHERE a.state <> {AskState.FORGOTTEN.value} AND a.public"
)
_ORIGINALS = (
    "(hex(e.event), d.id, hex(d.public), d.kind, d.subscription, hex(substr(t.detail, 1, 8)),"
    " EXISTS (SELECT 1 FROM queue q WHERE q.recipient = d.recipient"
    f" AND q.state IN ({QueueState.BEHIND.value}, {QueueState.LATER.value}) AND q.delivery = d.id),"
    " coalesce(a.fields, 0), json(coalesce(i.body, '[]')), coalesce(a.asks, 0)))"
    " FROM event_seen e JOIN delivery d ON d.id >= e.delivery AND d.id < e.delivery + e.deliveries"
    " JOIN audit t ON t.id = d.audit"
    " LEFT JOIN delivery_aim a ON a.delivery = d.id AND a.asks > 0 LEFT JOIN interned i ON i.id = a.fields"
    " WHERE e.event"
)
_CLEARED = (
    "(b.subscription, p.person)) FROM backfill b INDEXED BY backfill_open"
    " JOIN backfill_person p ON p.backfill = b.id WHERE b.closed_us IS NULL AND p.cleared > 0 AND p.person"
)


def aims_of(texts: AimTexts) -> AimFacts:
    originals: dict[bytes, tuple[Original, ...]] = {}
    for event, delivery, public, kind, subscription, person, stands, fields, names, asks in loads(texts.originals):
        subject = int.from_bytes(bytes.fromhex(person), "little")
        one = Original(
            delivery, bytes.fromhex(public), kind, subscription, subject, bool(stands), fields, tuple(names), asks
        )
        originals[bytes.fromhex(event)] = (*originals.get(bytes.fromhex(event), ()), one)
    return AimFacts(
        {
            bytes.fromhex(public): AskFact._make((*row[:6], (row[6], tuple(row[7])), *row[8:]))
            for public, *row in loads(texts.asks)
        },
        originals,
        {subscription: (number, bytes.fromhex(public)) for subscription, number, public in loads(texts.backfills)},
        frozenset((subscription, person) for subscription, person in loads(texts.cleared)),
    )


def aims_at(tx: Tx, deliveries: Sequence[int]) -> dict[int, AimRow]:
    """Return what deliveries are about, by delivery; others have no row."""
    if not deliveries:
        return {}
    rows = tx.rows(
        "SELECT delivery, of, original, fields, asks, until_us FROM delivery_aim"
        f" WHERE delivery IN ({marks(len(deliveries))})",
        deliveries,
    )
    return {row[0]: AimRow(*row[1:]) for row in rows}


def was_opened(tx: Tx, *, recipient: int, delivery: int, stop: bytes) -> bool:
    """Say whether a delivery was ever opened for this recipient, whoever's parts of it were left then.

    `stop` is the id of the stop that would have taken its number over since.
    """
    row = tx.one("SELECT parts FROM delivery WHERE id = ?", (delivery,))
    persons = sorted({part.person for part in unpack_parts(row[0])}) if row is not None else []
    return (
        tx.one(
            "SELECT 1 FROM handout_person p JOIN handout h ON h.recipient = p.recipient AND h.number = p.number"
            f" JOIN delivery d ON d.id = h.delivery WHERE p.person IN ({marks(len(persons))}) AND p.recipient = ?"
            " AND (h.delivery = ? OR d.public = ?) LIMIT 1",
            (*persons, recipient, delivery, stop),
        )
        is not None
    )


def close_ask(tx: Tx, ask: int, state: AskState, *, now_us: int, reasons: int | None, answer: bytes | None) -> bool:
    """Close an open ask; a question that was not opened yet leaves its queue. Returns whether it was open.

    One that was opened comes until it is acknowledged, like anything that was.
    """
    closed = tx.run(
        "UPDATE ask SET state = ?, closed_us = ?, reasons = ?, answer = ? WHERE id = ? AND state = ?",
        (state.value, now_us, reasons, answer, ask, AskState.ASKED.value),
    )
    if closed:
        tx.run(
            "DELETE FROM queue WHERE recipient = (SELECT provider FROM ask WHERE id = ?) AND state = ?"
            " AND delivery = (SELECT question FROM ask WHERE id = ?)",
            (ask, QueueState.READY.value, ask),
        )
    return closed > 0


def refuse_question(tx: Tx, public: bytes, state: AskState, *, now_us: int, reasons: int) -> None:
    """Close an open ask whose question did not reach its provider."""
    tx.run(
        "UPDATE ask SET state = ?, closed_us = ?, reasons = ? WHERE public = ? AND state = ?",
        (state.value, now_us, reasons, public, AskState.ASKED.value),
    )


def note_backfilled(tx: Tx, marked: Sequence[tuple[int, int]]) -> None:
    """Note persons (backfill, person) whose backfilled events are all decided."""
    together: dict[int, set[int]] = {}
    for backfill, person in marked:
        together.setdefault(backfill, set()).add(person)
    for backfill, persons in together.items():
        rows = [(backfill, person, 0) for person in sorted(persons)]
        done = tx.insert("backfill_person(backfill, person, cleared)", rows, or_ignore=True)
        tx.run("UPDATE backfill SET done = done + ? WHERE id = ?", (done, backfill))


def clear_backfilled(tx: Tx, chains: Sequence[tuple[int, int]]) -> int:
    """Let go what stood behind a person's backfill, per (subscription, person) that is noted and has nothing left.

    Returns how many chains were cleared. Called wherever the last of a chain can have left.
    """
    cleared = 0
    for subscription, person in sorted(chains):
        noted = tx.one(
            "SELECT p.backfill FROM backfill b INDEXED BY backfill_open JOIN backfill_person p ON p.backfill = b.id"
            " WHERE b.closed_us IS NULL AND b.subscription = ? AND p.person = ? AND p.cleared = 0",
            (subscription, person),
        )
        if noted is None or _stands(tx, subscription, person, QueueState.LATER):
            continue
        ready_behind(tx, subscription, person)
        tx.run("UPDATE backfill_person SET cleared = 1 WHERE backfill = ? AND person = ?", (noted[0], person))
        cleared += 1
    return cleared


def ready_behind(tx: Tx, subscription: int, person: int) -> None:
    """Let go what stands behind backfill in one chain."""
    tx.run(
        "UPDATE queue INDEXED BY queue_backfill SET state = ?"
        " WHERE subscription = ? AND person = ? AND state = ? AND state > 3",
        (QueueState.READY.value, subscription, person, QueueState.BEHIND.value),
    )


def _stands(tx: Tx, subscription: int, person: int, state: QueueState) -> bool:
    return (
        tx.one(
            "SELECT 1 FROM queue INDEXED BY queue_backfill WHERE subscription = ? AND person = ? AND state = ?"
            " AND state > 3 LIMIT 1",
            (subscription, person, state.value),
        )
        is not None
    )

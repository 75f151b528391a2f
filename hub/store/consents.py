"""Consent records in the store: their events, sealed and chained, and the one short row that decisions read."""

from collections.abc import Sequence
from typing import NamedTuple

from hub.store.engine import Tx
from hub.store.facts import CHOICE_STATES


class ConsentRow(NamedTuple):
    number: int
    public: str
    person: int
    recipient: int
    purpose: int
    stretch: int
    state: str
    requested_us: int
    events: int
    head: bytes
    due_us: int | None  # when time ends what it is in now


_COLUMNS = "number, public, person, recipient, purpose, stretch, state, requested_us, events, head, due_us"


def consent_by_public(tx: Tx, public: str) -> ConsentRow | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM consent WHERE public = ?", (public,))
    return None if row is None else ConsentRow._make(row)


def consents_of(tx: Tx, person: int) -> list[ConsentRow]:
    """Return every record of a person, oldest first."""
    return [
        ConsentRow._make(row)
        for row in tx.rows(f"SELECT {_COLUMNS} FROM consent WHERE person = ? ORDER BY number", (person,))
    ]


def consents_due(tx: Tx, now_us: int, limit: int) -> list[tuple[ConsentRow, bool]]:
    """Return the records whose time is over, longest over first, each with whether its person was erased."""
    columns = ", ".join(f"c.{name}" for name in ConsentRow._fields)
    rows = tx.rows(
        f"SELECT {columns}, p.key IS NULL FROM consent c INDEXED BY consent_due LEFT JOIN person p ON p.id = c.person"
        " WHERE c.due_us IS NOT NULL AND c.due_us <= ? ORDER BY c.due_us LIMIT ?",
        (now_us, limit),
    )
    return [(ConsentRow._make(row[:-1]), bool(row[-1])) for row in rows]


def latest_stretch(tx: Tx, person: int, recipient: int, purpose: int) -> int:
    """Return the latest stretch of consent of this person, recipient and purpose; 0 where there was none."""
    row = tx.one(
        "SELECT coalesce(max(stretch), 0) FROM consent WHERE person = ? AND recipient = ? AND purpose = ?",
        (person, recipient, purpose),
    )
    assert row is not None
    return int(row[0])


def next_number(tx: Tx) -> int:
    return tx.draw("consent")


def save_consent(tx: Tx, row: ConsentRow) -> None:
    """Insert or update the head of a record. Its events are inserted apart, and never change."""
    tx.run(
        f"INSERT INTO consent({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT(number) DO UPDATE SET stretch = excluded.stretch, state = excluded.state,"
        " events = excluded.events, head = excluded.head, due_us = excluded.due_us",
        row,
    )


def sealed_events(tx: Tx, consent: int) -> list[tuple[bytes, bytes]]:
    """Return (sealed canonical bytes, hash) of every event, oldest first."""
    return [
        (sealed, hash_)
        for sealed, hash_ in tx.rows(
            "SELECT sealed, hash FROM consent_event WHERE consent = ? ORDER BY seq", (consent,)
        )
    ]


def add_events(tx: Tx, consent: int, first: int, events: Sequence[tuple[int, bytes, bytes]]) -> None:
    """Append (moment, sealed bytes, hash)."""
    tx.insert(
        "consent_event(consent, seq, at_us, sealed, hash)",
        [(consent, first + at, at_us, sealed, hash_) for at, (at_us, sealed, hash_) in enumerate(events)],
    )


def save_choice(
    tx: Tx,
    *,
    person: int,
    recipient: int,
    purpose: int,
    state: str,
    stretch: int,
    scope: int,
    until_us: int,
    assurance: int,
    consent: int,
) -> None:
    """Set the one row that decisions read of a person's choice. Belongs into the transaction of what changed it."""
    tx.run(
        "INSERT INTO choice(person, recipient, purpose, state, stretch, scope, until_us, assurance, consent)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(person, recipient, purpose) DO UPDATE SET"
        " state = excluded.state, stretch = excluded.stretch, scope = excluded.scope, until_us = excluded.until_us,"
        " assurance = excluded.assurance, consent = excluded.consent",
        (person, recipient, purpose, CHOICE_STATES.index(state), stretch, scope, until_us, assurance, consent),
    )


def add_receipt(tx: Tx, *, receipt: str, consent: int, kind: str, at_us: int, person: int, sealed: bytes) -> None:
    tx.insert("receipt(id, consent, kind, at_us, person, sealed)", [(receipt, consent, kind, at_us, person, sealed)])


def receipt_of(tx: Tx, consent: int, kind: str) -> tuple[str, bytes] | None:
    """Return (id, sealed) of a record's first receipt of a kind. An objection's record is minus its audit row's id."""
    row = tx.one(
        "SELECT id, sealed FROM receipt WHERE consent = ? AND kind = ? ORDER BY at_us, id LIMIT 1", (consent, kind)
    )
    return None if row is None else (row[0], row[1])


def receipt_by_id(tx: Tx, receipt: str) -> tuple[int, bytes] | None:
    """Return (person, sealed)."""
    row = tx.one("SELECT person, sealed FROM receipt WHERE id = ?", (receipt,))
    return None if row is None else (row[0], row[1])


class ReceiptHead(NamedTuple):
    """What a receipt's row says in the clear. `consent` is the record's number; below 0 an objection's audit row."""

    receipt: str
    consent: int
    kind: str
    at_us: int
    person: int


_HEAD = "r.id, r.consent, r.kind, r.at_us, r.person"


def receipt_head(tx: Tx, receipt: str) -> ReceiptHead | None:
    """Return a receipt's head; None where there is none, or its person was erased."""
    row = tx.one(
        f"SELECT {_HEAD} FROM receipt r JOIN person p ON p.id = r.person WHERE r.id = ? AND p.key IS NOT NULL",
        (receipt,),
    )
    return None if row is None else ReceiptHead._make(row)


def receipt_heads(tx: Tx, consent: int) -> list[ReceiptHead]:
    """Return the heads of a record's receipts, oldest first."""
    rows = tx.rows(f"SELECT {_HEAD} FROM receipt r WHERE r.consent = ? ORDER BY r.at_us, r.id", (consent,))
    return [ReceiptHead._make(row) for row in rows]


def consent_by_number(tx: Tx, number: int) -> ConsentRow | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM consent WHERE number = ?", (number,))
    return None if row is None else ConsentRow._make(row)


def choice_after(tx: Tx, person: int, consent: int) -> str | None:
    """Return the state of a person's choice that an act left, while no later act has changed it; else None."""
    row = tx.one("SELECT state FROM choice WHERE person = ? AND consent = ?", (person, consent))
    return None if row is None else CHOICE_STATES[row[0]]


def receipts_of(tx: Tx, consent: int) -> list[str]:
    """Return the ids of a record's receipts, oldest first."""
    return [row[0] for row in tx.rows("SELECT id FROM receipt WHERE consent = ? ORDER BY at_us, id", (consent,))]


def receipts_kept(tx: Tx, consent: int) -> list[tuple[str, str, int]]:
    """Return (id, kind, moment) of a record's receipts, oldest first."""
    rows = tx.rows("SELECT id, kind, at_us FROM receipt WHERE consent = ? ORDER BY at_us, id", (consent,))
    return [(row[0], row[1], row[2]) for row in rows]


class ChoiceRow(NamedTuple):
    """What a person's choice means now. `consent` is the record's number; below 0 an objection's audit row."""

    state: str
    stretch: int
    consent: int


def choice_of(tx: Tx, *, person: int, recipient: int, purpose: int) -> ChoiceRow | None:
    row = tx.one(
        "SELECT state, stretch, consent FROM choice WHERE person = ? AND recipient = ? AND purpose = ?",
        (person, recipient, purpose),
    )
    return None if row is None else ChoiceRow(CHOICE_STATES[row[0]], row[1], row[2])

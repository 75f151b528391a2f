"""Backfills as rows: opened by a recipient, filled by a provider, open until nothing of them stands in the queue."""

from collections.abc import Sequence
from typing import NamedTuple

from hub.store.aims import ready_behind
from hub.store.deliveries import QueueState
from hub.store.engine import Tx, loads, marks

ENDS_ANYWAY = 2  # `backfill_person.cleared`: let go because the backfill ends, whether all is here or not
_COLUMNS = "id, public, subscription, provider, opened_us, until_us, ending, closed_us, persons, done, cursor, ends"


class BackfillRow(NamedTuple):
    id: int
    public: bytes
    subscription: int
    provider: int
    opened_us: int
    until_us: int
    ending: int
    closed_us: int | None
    persons: int
    done: int
    cursor: bytes
    ends: str


class Chain(NamedTuple):
    """What stands of one person in a backfill's way, or behind it."""

    person: int
    later: bool  # something that is backfilled has not left
    behind: bool  # something that happened since has not left
    noted: bool  # all that is backfilled of this person is here


def add_backfill(
    tx: Tx, *, public: bytes, subscription: int, provider: int, opened_us: int, until_us: int
) -> BackfillRow:
    at = tx.draw("backfill")
    added = BackfillRow(at, public, subscription, provider, opened_us, until_us, 0, None, 0, 0, b"", "")
    tx.insert(f"backfill({_COLUMNS})", [added])
    return added


def backfill_by(tx: Tx, public: bytes) -> BackfillRow | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM backfill WHERE public = ?", (public,))
    return None if row is None else BackfillRow._make(row)


def backfills_of(tx: Tx, subscription: int) -> list[BackfillRow]:
    rows = tx.rows(f"SELECT {_COLUMNS} FROM backfill WHERE subscription = ? ORDER BY id", (subscription,))
    return [BackfillRow._make(row) for row in rows]


def open_backfills(tx: Tx) -> list[BackfillRow]:
    rows = tx.rows(f"SELECT {_COLUMNS} FROM backfill INDEXED BY backfill_open WHERE closed_us IS NULL ORDER BY id")
    return [BackfillRow._make(row) for row in rows]


def all_backfills(tx: Tx) -> list[BackfillRow]:
    """Return every one there ever was: one per subscription, and few more."""
    return [BackfillRow._make(row) for row in tx.rows(f"SELECT {_COLUMNS} FROM backfill ORDER BY id")]


def note_progress(tx: Tx, backfill: int, *, cursor: bytes, persons: int) -> None:
    tx.run("UPDATE backfill SET cursor = ?, persons = ? WHERE id = ?", (cursor, persons, backfill))


def begin_ending(tx: Tx, backfill: int, *, ends: str) -> None:
    tx.run("UPDATE backfill SET ending = 1, ends = ? WHERE id = ?", (ends, backfill))


def mark_closed(tx: Tx, backfill: int, *, now_us: int) -> None:
    tx.run("UPDATE backfill SET closed_us = ? WHERE id = ?", (now_us, backfill))


def all_decided(tx: Tx, ends: str) -> bool:
    """Say whether the gate has decided everything that was on the bus when a backfill began to end."""
    wanted: dict[str, int] = loads(ends) if ends else {}
    names = sorted(wanted)
    rows = tx.rows(f"SELECT partition, next FROM position WHERE partition IN ({marks(len(names))})", names)
    reached: dict[str, int] = dict(rows)
    return all(reached.get(name, 0) >= end for name, end in wanted.items())


def chains_after(tx: Tx, row: BackfillRow, after: int, limit: int) -> list[Chain]:
    """Read up to `limit` chains of a backfill's subscription, by person: those that have anything backfilled or behind
    in the queue."""
    rows = tx.rows(
        "SELECT q.person, max(q.state), min(q.state), EXISTS (SELECT 1 FROM backfill_person p WHERE p.backfill = ?"
        " AND p.person = q.person) FROM queue q INDEXED BY queue_backfill"
        " WHERE q.subscription = ? AND q.person > ? AND q.state > 3 GROUP BY q.person ORDER BY q.person LIMIT ?",
        (row.id, row.subscription, after, limit),
    )
    later, behind = QueueState.LATER.value, QueueState.BEHIND.value
    return [Chain(person, most == later, least == behind, bool(noted)) for person, most, least, noted in rows]


def free(tx: Tx, row: BackfillRow, persons: Sequence[int]) -> None:
    """Let go what stands behind for these persons, of whom nothing backfilled is in the queue; and what comes next."""
    for person in persons:
        ready_behind(tx, row.subscription, person)
        tx.run(
            "INSERT INTO backfill_person(backfill, person, cleared) VALUES (?, ?, ?)"
            " ON CONFLICT(backfill, person) DO UPDATE SET cleared = 1 WHERE backfill_person.cleared = 0",
            (row.id, person, ENDS_ANYWAY),
        )


def anything_stands(tx: Tx, subscription: int) -> bool:
    """Say whether anything backfilled, or behind backfill, is still in the queue."""
    sql = "SELECT 1 FROM queue INDEXED BY queue_backfill WHERE subscription = ? AND state > 3 LIMIT 1"
    return tx.one(sql, (subscription,)) is not None


def forget_persons(tx: Tx, limit: int) -> int:
    """Drop who was in backfills that are closed, up to `limit` persons; returns how many."""
    closed = tx.rows(
        "SELECT b.id FROM backfill b WHERE b.closed_us IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM backfill_person p WHERE p.backfill = b.id) LIMIT 1"
    )
    if not closed:
        return 0
    return tx.run(
        "DELETE FROM backfill_person WHERE backfill = ? AND person IN"
        " (SELECT person FROM backfill_person WHERE backfill = ? ORDER BY person LIMIT ?)",
        (closed[0][0], closed[0][0], limit),
    )

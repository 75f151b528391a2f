"""Events that wait for a link, or behind one that does. Workers find them by state; a link never pushes."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from hub.store.dead_letters import end_letters
from hub.store.engine import Tx, marks

WAITING = "waiting(publisher, dataset, subject, local, event, since_us, until_us, sealed)"


class WaitingRow(NamedTuple):
    id: int
    publisher: int
    dataset: int
    subject: bytes
    sealed: bytes


def linked_now(tx: Tx, limit: int, publishers: Collection[int]) -> list[WaitingRow]:
    """Return waiting events whose missing id is linked now, oldest first, none that stands behind one that is not.

    Of these publishers only: what another sent, which is not in the catalogue now, waits on and is in nobody's way.
    """
    rows = tx.rows(
        "SELECT w.id, w.publisher, w.dataset, w.subject, w.sealed FROM waiting w"
        " WHERE EXISTS (SELECT 1 FROM link l WHERE l.local = w.local AND l.until_us IS NULL AND l.disputed = 0)"
        " AND NOT EXISTS (SELECT 1 FROM waiting e WHERE e.subject = w.subject AND e.dataset = w.dataset AND e.id < w.id"
        "  AND NOT EXISTS (SELECT 1 FROM link l WHERE l.local = e.local AND l.until_us IS NULL AND l.disputed = 0))"
        f" AND w.publisher IN ({marks(len(publishers))}) ORDER BY w.id LIMIT ?",
        (*publishers, limit),
    )
    return [WaitingRow._make(row) for row in rows]


def settle(tx: Tx, ids: Sequence[int]) -> int:
    """Take decided events off the list; returns how many were on it. Keys that nothing waits under go with them."""
    if not ids:
        return 0
    here = marks(len(ids))
    subjects = [row[0] for row in tx.rows(f"SELECT DISTINCT subject FROM waiting WHERE id IN ({here})", ids)]
    gone = tx.run(f"DELETE FROM waiting WHERE id IN ({here})", ids)
    end_letters(tx, ids)
    tx.run(
        f"DELETE FROM waiting_key WHERE subject IN ({marks(len(subjects))})"  # never all: there may be millions
        " AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.subject = waiting_key.subject)",
        subjects,
    )
    return gone


def move(tx: Tx, found: Sequence[tuple[int, bytes]]) -> None:
    """Note (row, id) where the next id that is missing is another one than was thought: the event waits for that."""
    for row, local in found:
        tx.run("UPDATE waiting SET local = ? WHERE id = ?", (local, row))


def keys_of(tx: Tx, subjects: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the wrapped keys of waiting events by chain."""
    rows = tx.rows(f"SELECT subject, key FROM waiting_key WHERE subject IN ({marks(len(subjects))})", subjects)
    return {bytes(subject): key for subject, key in rows}


def oldest(tx: Tx) -> tuple[int, int]:
    """Return how many wait and since when the oldest does (0 where none)."""
    row = tx.one("SELECT count(*), coalesce(min(since_us), 0) FROM waiting")
    assert row is not None
    return row[0], row[1]

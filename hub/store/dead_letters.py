"""Dead letters in the store: events whose decision met a defect, by a number of their own.

The event lies in `waiting`, where it stops its own chain; here stands what is known of the failure. A number never
means another event: its row stays when the event is decided or discarded, with `waiting` 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hub.store.engine import Tx, marks

STOPPED = bytes(16)  # what `waiting.local` holds of an event that met a defect: no id has this hash


class LetterRow(NamedTuple):
    """One dead letter. Its chain's keyed hash and its event's never leave the hub."""

    number: int
    waiting: int
    code: str
    attempts: int
    last_us: int
    publisher: int
    dataset: int
    subject: bytes
    event: bytes
    since_us: int
    until_us: int
    stopped: bool  # False: it is being tried again, or waits for its turn
    ahead: int  # events of its chain that come before it
    behind: int  # and after


_QUERY = (
    "SELECT l.number, l.waiting, l.code, l.attempts, l.last_us, w.publisher, w.dataset, w.subject, w.event, w.since_us,"
    " w.until_us, w.local = ?,"
    " (SELECT count(*) FROM waiting e WHERE e.subject = w.subject AND e.dataset = w.dataset AND e.id < w.id),"
    " (SELECT count(*) FROM waiting e WHERE e.subject = w.subject AND e.dataset = w.dataset AND e.id > w.id)"
    " FROM dead_letter l JOIN waiting w ON w.id = l.waiting WHERE l.waiting > 0"
)


def note_letters(tx: Tx, failed: Sequence[tuple[bytes, str]], now_us: int) -> None:
    """Note (event, class of failure) of events that have just been parked because of a defect, or parked again."""
    for event, code in failed:
        tx.run(
            "INSERT INTO dead_letter(waiting, code, attempts, last_us) SELECT id, ?, 1, ? FROM waiting"
            " WHERE local = ? AND event = ? ON CONFLICT(waiting) WHERE waiting > 0 DO UPDATE SET"
            " code = excluded.code, attempts = dead_letter.attempts + 1, last_us = excluded.last_us",
            (code, now_us, STOPPED, event),
        )


def end_letters(tx: Tx, waiting: Sequence[int]) -> None:
    """Note that these waiting events are dead letters no more; most never were."""
    tx.run(f"UPDATE dead_letter SET waiting = 0 WHERE waiting > 0 AND waiting IN ({marks(len(waiting))})", waiting)


def letters(tx: Tx, limit: int) -> list[LetterRow]:
    """Return the open dead letters, oldest first."""
    rows = tx.rows(f"{_QUERY} ORDER BY l.number LIMIT ?", (STOPPED, limit))
    return [LetterRow._make((*row[:11], bool(row[11]), *row[12:])) for row in rows]


def letter_by_number(tx: Tx, number: int) -> LetterRow | None:
    row = tx.one(f"{_QUERY} AND l.number = ?", (STOPPED, number))
    return None if row is None else LetterRow._make((*row[:11], bool(row[11]), *row[12:]))


def try_again(tx: Tx, waiting: Sequence[int]) -> int:
    """Let the gate find these again, each in its turn: they wait for their own subject's link now."""
    return tx.run(
        f"UPDATE waiting SET local = subject WHERE local = ? AND id IN ({marks(len(waiting))})", (STOPPED, *waiting)
    )


def stopped_letters(tx: Tx) -> tuple[int, int]:
    """Return how many stand still, and since when the oldest does (0 where none)."""
    row = tx.one("SELECT count(*), coalesce(min(since_us), 0) FROM waiting WHERE local = ?", (STOPPED,))
    assert row is not None
    return row[0], row[1]

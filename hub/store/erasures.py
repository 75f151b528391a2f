"""Erasures in the store: how far the rest of each is, and how many there were."""

from enum import IntEnum
from typing import NamedTuple

from hub.store.engine import Tx
from hub.store.news import Topic, tell

ERASURES = "erasures"  # the fact that counts them: fewer lines in the ledger mean that lines are missing


class Stage(IntEnum):
    """What is to be done next. The key is gone in every one of them."""

    DONE = 0
    TELL = 1  # recipients that were handed data are told to delete it
    WAITING = 2  # events that wait and name the person are written anew without them
    LOG = 3  # the write-ahead log is cut
    REST = 4  # until nothing published before can be opened any more
    WAITING_AGAIN = 5
    LOG_AGAIN = 6


class ErasureRow(NamedTuple):
    person: int
    audit: int
    reason: str
    erased_us: int
    bus_until_us: int
    due_us: int
    stage: int
    recipient: int
    number: int
    scanned: int


_COLUMNS = ", ".join(ErasureRow._fields)


def add_erasure(tx: Tx, row: ErasureRow) -> None:
    """Note a new erasure, count it, and let other processes hear of it."""
    tell(tx, Topic.ERASED)
    tx.insert(f"erasure({_COLUMNS})", [row])
    tx.run(
        "INSERT INTO fact(name, value) VALUES (?, '1')"
        " ON CONFLICT(name) DO UPDATE SET value = CAST(CAST(fact.value AS INTEGER) + 1 AS TEXT)",
        (ERASURES,),
    )


def erasure_of(tx: Tx, person: int) -> ErasureRow | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM erasure WHERE person = ?", (person,))
    return None if row is None else ErasureRow._make(row)


def open_erasures(tx: Tx, now_us: int, limit: int) -> list[ErasureRow]:
    """Return erasures of which something can be done now."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM erasure WHERE stage > 0 AND (stage <> ? OR bus_until_us <= ?)"
        " ORDER BY stage, erased_us LIMIT ?",
        (Stage.REST.value, now_us, limit),
    )
    return [ErasureRow._make(row) for row in rows]


def move_on(tx: Tx, row: ErasureRow) -> None:
    """Write down how far the rest of an erasure is."""
    tx.run(
        "UPDATE erasure SET stage = ?, recipient = ?, number = ?, scanned = ? WHERE person = ?",
        (row.stage, row.recipient, row.number, row.scanned, row.person),
    )


def count_told(tx: Tx, person: int, recipient: int, deliveries: int) -> None:
    tx.run(
        "INSERT INTO erasure_told(person, recipient, deliveries) VALUES (?, ?, ?)"
        " ON CONFLICT(person, recipient) DO UPDATE SET deliveries = erasure_told.deliveries + excluded.deliveries",
        (person, recipient, deliveries),
    )


def told(tx: Tx, person: int) -> list[tuple[int, int]]:
    """Return (recipient, deliveries it was told to delete)."""
    return [
        (recipient, deliveries)
        for recipient, deliveries in tx.rows(
            "SELECT recipient, deliveries FROM erasure_told WHERE person = ? ORDER BY recipient", (person,)
        )
    ]


def erasures_known(tx: Tx) -> int:
    """Return how many erasures this store knows of."""
    row = tx.one("SELECT value FROM fact WHERE name = ?", (ERASURES,))
    return int(row[0]) if row else 0


def last_erasure(tx: Tx) -> int:
    """Return the audit row of the newest erasure; 0 where there was none."""
    row = tx.one("SELECT max(audit) FROM erasure")
    return (row[0] or 0) if row else 0


def erased_since(tx: Tx, audit: int) -> list[tuple[int, int]]:
    """Return (person, audit row) of everybody erased after that row, oldest first.

    An erasure excludes all other writes, so their rows are in the order of their commits.
    """
    return [(p, at) for p, at in tx.rows("SELECT person, audit FROM erasure WHERE audit > ? ORDER BY audit", (audit,))]


def erased_persons(tx: Tx) -> list[tuple[int, int]]:
    """Return (person, when) of everybody who was erased, oldest first."""
    return [(p, at) for p, at in tx.rows("SELECT person, erased_us FROM erasure ORDER BY erased_us, person")]

"""Legal holds: why a person may not be erased for a while (GDPR 17(3)). Erasure looks here first, under its fence."""

from typing import NamedTuple

from hub.store.engine import Tx


class HoldRow(NamedTuple):
    number: int
    person: int
    reference: str
    reason: str
    from_us: int
    until_us: int


_COLUMNS = ", ".join(HoldRow._fields)


def add_hold(tx: Tx, *, person: int, reference: str, reason: str, from_us: int, until_us: int) -> int:
    """Add a hold; returns its number, which stands for it from then on."""
    number = tx.draw("legal_hold")
    tx.insert(f"legal_hold({_COLUMNS})", [(number, person, reference, reason, from_us, until_us)])
    return number


def hold_by_number(tx: Tx, number: int) -> HoldRow | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM legal_hold WHERE number = ?", (number,))
    return None if row is None else HoldRow._make(row)


def holds_on(tx: Tx, person: int, now_us: int) -> list[HoldRow]:
    """Return what holds a person at this moment, longest last."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM legal_hold WHERE person = ? AND from_us <= ? AND until_us > ? ORDER BY until_us",
        (person, now_us, now_us),
    )
    return [HoldRow._make(row) for row in rows]


def holds_now(tx: Tx, now_us: int) -> list[HoldRow]:
    """Return every hold that has not ended, oldest first."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM legal_hold WHERE until_us > ? ORDER BY number", (now_us,))
    return [HoldRow._make(row) for row in rows]


def end_hold(tx: Tx, number: int, now_us: int) -> None:
    tx.run("UPDATE legal_hold SET until_us = ? WHERE number = ? AND until_us > ?", (now_us, number, now_us))

"""What is sealed under the wrapping key, column by column, read and replaced a piece at a time; and how far that is.

A row is replaced only where it still holds what was read: who was erased meanwhile, or wrote anew, is passed over.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from hub.store.engine import Tx, marks
from hub.store.operations import fact, put_fact

ROTATION = "wrapping_rotation"


class Column(NamedTuple):
    """A column whose values are sealed under the wrapping key. `bound` names what each is bound to its row by.

    `only` says which rows are; the others are passed over. `look` rows are looked at in one piece.
    """

    table: str
    name: str
    key: tuple[str, ...]
    bound: tuple[str, ...]
    only: str = "1 = 1"
    look: int = 200  # where all of them are replaced a withdrawal waits a few ms at most


class Wrapped(NamedTuple):
    key: tuple[Any, ...]
    bound: tuple[Any, ...]
    sealed: bytes  # empty: nothing is sealed here


PERSONS = Column("person", "key", ("id",), ("id",))
WAITING = Column("waiting_key", "key", ("subject",), ("subject",))
DAYS = Column("day_key", "key", ("agency", "day"), ("agency", "day"))
WEBHOOKS = Column("webhook_key", "sealed", ("agency", "kid"), ("agency", "kid"))
BOOKMARKS = Column("backfill", "cursor", ("id",), ("public",))
TEXTS = Column("delivery", "payload", ("id",), ("public",), only="length(parts) = 0", look=2_000)  # stops, notices


def piece(tx: Tx, of: Column, after: Sequence[Any], most: int) -> list[Wrapped]:
    """Read the next rows in the order of their key; fewer than `most` where the table ends."""
    key = ", ".join(of.key)
    rows = tx.rows(
        f"SELECT {key}, {', '.join(of.bound)}, CASE WHEN {of.only} THEN coalesce({of.name}, x'') ELSE x'' END"
        f" FROM {of.table} {f'WHERE ({key}) > ({marks(len(after))})' if after else ''} ORDER BY {key} LIMIT ?",
        (*after, most),
    )
    wide = len(of.key)
    return [Wrapped(row[:wide], row[wide:-1], row[-1]) for row in rows]


def replace(tx: Tx, of: Column, one: Wrapped, sealed: bytes) -> int:
    """Put another value where this one still stands; returns 1, or 0 where it does not.

    Of the same length, so that SQLite overwrites it where it lies.
    """
    assert len(sealed) == len(one.sealed)
    where = " AND ".join(f"{name} = ?" for name in (*of.key, of.name))
    return tx.run(f"UPDATE {of.table} SET {of.name} = ? WHERE {where}", (sealed, *one.key, one.sealed))


class Rotation(NamedTuple):
    """A rotation of the wrapping key. It goes over all columns, again and again until one round finds nothing left.

    `column` and `after` say where the round stands; `renewed` and `damaged` what it has found. It began, or begins,
    at `round_us`. `last_us` is when a row was renewed last, or the key was made.
    """

    stage: str  # wrap | log | done
    key: str
    since_us: int
    round_us: int
    last_us: int
    column: int = 0
    after: tuple[Any, ...] = ()
    renewed: int = 0
    damaged: int = 0
    rounds: int = 0
    total: int = 0  # renewed in all rounds


def rotation_of(tx: Tx) -> Rotation | None:
    """Return the last rotation there was; None where there was none."""
    kept = orjson.loads(fact(tx, ROTATION) or "null")
    if kept is None:
        return None
    after = tuple(bytes.fromhex(one["hex"]) if isinstance(one, dict) else one for one in kept.pop("after"))
    return Rotation(**kept, after=after)


def put_rotation(tx: Tx, rotation: Rotation) -> None:
    after = [{"hex": one.hex()} if isinstance(one, bytes) else one for one in rotation.after]
    put_fact(tx, ROTATION, orjson.dumps({**rotation._asdict(), "after": after}).decode())

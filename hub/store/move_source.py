"""Read a whole SQLite store for a move: one snapshot, every table, its rows in the order of their key."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from hub.core.errors import HubError, Kind
from hub.store.engine import Row, Tx
from hub.store.moving import FACT
from hub.store.sqlite import SqliteTx

REVISION = "alembic_version"  # the one table that is not carried over: each database says its own
INTAKE = "bus_record"
PIECE_ROWS = 2_000  # per COPY: a fraction of a second's work, and little memory even where payloads are large


class Table(NamedTuple):
    """One table as the source has it. `key` is its primary key, which orders its rows the same on both engines.

    `only` is a condition in SQL, where not all rows are carried over.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    only: str
    rows: int

    def select(self) -> str:
        """Say the query that reads it, in words that both engines know: some columns are called like a keyword."""
        columns, key = (", ".join(f'"{name}"' for name in names) for names in (self.columns, self.key))
        return f'SELECT {columns} FROM "{self.name}" WHERE {self.only} ORDER BY {key}'


@contextmanager
def snapshot(path: Path) -> Iterator[SqliteTx]:
    """Open the store for reading, as of now for as long as the block runs. Raises HubError(STARTUP)."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master")  # the snapshot begins with the first look
            yield SqliteTx(connection)
        finally:
            connection.close()
    except sqlite3.Error as cause:
        code = getattr(cause, "sqlite_errorname", type(cause).__name__)
        raise HubError(
            Kind.STARTUP,
            f"the SQLite store cannot be read to its end ({code})",
            where=path.name,
            remedy="`hub doctor` says what is wrong with it. Restore it from its backup before it is moved.",
            code="store-unusable",
        ) from cause


def tables(tx: Tx, *, intake: bool) -> tuple[Table, ...]:
    """Describe every table but alembic's, by name; `intake`: what lies on the embedded bus is carried over as well.

    The mark of the move itself is not: it says another thing on either side.
    """
    only = {"fact": f"name <> '{FACT}'"} | ({} if intake else {INTAKE: "1 = 0"})
    names = [name for (name,) in tx.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    carried = [name for name in names if name != REVISION and not name.startswith("sqlite_")]
    return tuple(_table(tx, name, only.get(name, "1 = 1")) for name in carried)


def pieces(tx: Tx, table: Table) -> Iterator[list[Row]]:
    """Read a table, some thousand rows at a time."""
    cursor = tx.execute(table.select())
    while rows := cursor.fetchmany(PIECE_ROWS):
        yield rows


def undecided(tx: Tx) -> int:
    """Count what lies on the embedded bus and no gate has decided yet. See `BusRecord` for the parts of an id."""
    row = tx.one(
        "SELECT count(*) FROM bus_record r JOIN bus_topic t ON t.number = r.id >> 40"
        " LEFT JOIN position p ON p.partition = t.name"
        " WHERE (r.id & 1099511627775) >= coalesce(p.next, 0)"
    )
    assert row is not None
    return int(row[0])


class Digest:
    """Of a table's rows in the order of their key, as Python reads them from either engine: equal rows, equal digest.

    Nothing of one engine's own form is in it, so that a value that was written in a wrong form is noticed.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._hash = sha256()

    def add(self, rows: list[Row]) -> None:
        self._hash.update("".join(map(repr, rows)).encode())
        self.rows += len(rows)

    def hex(self) -> str:
        return self._hash.hexdigest()


def _table(tx: Tx, name: str, only: str) -> Table:
    described = tx.rows(f'PRAGMA table_info("{name}")')  # number, name, type, not null, default, place in the key
    key = tuple(row[1] for row in sorted(described, key=lambda row: row[5]) if row[5])
    assert key, f"table {name} has no primary key"
    ((count,),) = tx.rows(f'SELECT count(*) FROM "{name}" WHERE {only}')
    return Table(name, tuple(row[1] for row in described), key, only, count)

"""Fill an empty PostgreSQL database with what a SQLite store holds, and read it back.

Two connections: the hub's own role copies, so that what it lacks shows itself now; the owner makes the schema, and
empties what an earlier move has left, for the hub's role may not delete what is insert-only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from hub.core.errors import HubError, Kind
from hub.store.engine import Row, unavailable
from hub.store.migrate import HEAD, REVISIONS, newer
from hub.store.migrate_postgres import migrate, revision
from hub.store.move_source import PIECE_ROWS, Digest, Table
from hub.store.moving import FACT, Mark, State, mark_from
from hub.store.postgres import WORLD

MOVING = 0x6875_625F_6D6F  # "hub_mo": the advisory lock of who moves into this database
STANDS_ASIDE_MS = 10_000  # for a hub that holds its own lock, as one does that has just been started by mistake
_COLUMNS = (
    "SELECT a.attname::text, format_type(a.atttypid, NULL) FROM pg_attribute a WHERE a.attrelid = %s::regclass"
    " AND a.attnum > 0 AND NOT a.attisdropped"
)
_SEQUENCES = (
    "SELECT c.relname::text, a.attname::text, pg_get_serial_sequence(quote_ident(c.relname), a.attname)"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s)"
    " AND pg_get_serial_sequence(quote_ident(c.relname), a.attname) IS NOT NULL ORDER BY 1, 2"
)


def connected(dsn: str, password: str, *, option: str) -> psycopg.Connection:
    """Connect, to close it afterwards. Raises HubError(UNAVAILABLE) without the DSN, which may hold a password."""
    try:
        return psycopg.connect(dsn, password=password or None, connect_timeout=5, autocommit=True)
    except psycopg.Error:
        error = unavailable(
            "the database does not answer, or does not let this user in",
            f"Check the DSN of {option}, that its database is up, and the user's password.",
        )
        error.where = option
        raise error from None


@contextmanager
def told() -> Iterator[None]:
    """Tell every trouble of the database inside the block in words, without its values.

    Raises HubError UNAVAILABLE, STARTUP.
    """
    try:
        yield
    except psycopg.errors.InsufficientPrivilege:
        raise HubError(
            Kind.STARTUP,
            "this user may not do in the database what the move needs",
            where="--to",
            remedy="Name the owner of its schema: --owner-dsn postgresql://OWNER@HOST/NAME.",
            code="move-rights",
        ) from None
    except psycopg.OperationalError as cause:
        raise unavailable(
            f"the database gave up in the middle of the move ({cause.sqlstate or 'connection lost'}); no hub serves it",
            "Its log says more. Run the command again when it is up and has room: it begins anew.",
        ) from None
    except psycopg.Error as cause:
        raise HubError(
            Kind.STARTUP,
            f"PostgreSQL does not take what is in the SQLite store ({cause.sqlstate or type(cause).__name__})",
            where="--to",
            remedy="`hub doctor` may say what is wrong with the SQLite store; it is as it was.",
            code="move-unfit",
        ) from None


def take_alone(hub: psycopg.Connection, owner: psycopg.Connection) -> None:
    """Keep other moves out, and every write of a hub, until the first connection is closed.

    Raises HubError CONFLICT, STARTUP (both do not lead to the same database: locks are a database's own).
    """
    if not _locked(hub):
        raise HubError(
            Kind.CONFLICT,
            "another move into this database is under way",
            where="--to",
            remedy="Wait for its end, or end that process.",
            code="move-under-way",
        )
    if _locked(owner):
        raise HubError(
            Kind.STARTUP,
            "the owner's DSN leads to another database than the hub's",
            where="--owner-dsn",
            remedy="Name the owner of the schema in the database of --to.",
            code="move-two-databases",
        )
    for connection in (hub, owner):
        connection.execute("SET synchronous_commit = on")
        connection.execute("SET search_path = public")
        connection.execute("SET statement_timeout = 0")  # a large table's is one long statement
    hub.execute(f"SET lock_timeout = {STANDS_ASIDE_MS}".encode())
    try:
        hub.execute("SELECT pg_advisory_lock(%s)", (WORLD,))
    except psycopg.errors.LockNotAvailable:
        raise HubError(
            Kind.CONFLICT,
            "a hub writes to this database",
            where="--to",
            remedy="Stop it, and name a database that is this hub's alone.",
            code="move-written-to",
        ) from None
    hub.execute("SET lock_timeout = 0")


def _locked(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (MOVING,)).fetchone()
    return row is not None and bool(row[0])


def mark_in(connection: psycopg.Connection) -> Mark | None:
    """Read the mark of a database; None where it has none, or no schema yet."""
    if revision(connection) == "":
        return None
    row = connection.execute("SELECT value FROM fact WHERE name = %s", (FACT,)).fetchone()
    return mark_from(row[0]) if row else None


def put_mark(connection: psycopg.Connection, mark: Mark, *, over: Mark) -> bool:
    """Put a mark where that one still stands; says whether it did."""
    done = connection.execute(
        "UPDATE fact SET value = %s WHERE name = %s AND value = %s", (mark.text(), FACT, over.text())
    )
    return done.rowcount == 1


def prepare(owner: psycopg.Connection, role: str, tables: Sequence[Table], mark: Mark) -> str:
    """Make the schema or empty it, and mark it as being filled, in one transaction; `role` is the hub's own.

    Returns what was there: "nothing", "schema", or "half" for what a move had left that did not end or was taken back.
    Raises HubError(STARTUP) for anything else.
    """
    with owner.transaction():
        found = revision(owner)
        if found not in ("", HEAD):
            raise _other_version(found)
        if may_empty(owner):  # else the owner has made it, and granted what the hub's role needs
            migrate(owner, "", "", role)  # which opens no connection of its own where nothing is to be upgraded
        before = mark_in(owner)
        known = before is not None and before.state in (State.COPYING, State.BACK)
        if known:
            empty(owner, tables)
        elif filled := [table.name for table in tables if owner.execute(_any(table.name)).fetchone()]:
            raise _not_empty(before, filled)
        owner.execute("INSERT INTO fact(name, value) VALUES (%s, %s)", (FACT, mark.text()))
    return "half" if known else "schema" if found else "nothing"


def empty(owner: psycopg.Connection, tables: Sequence[Table]) -> None:
    """Take every row out, the mark too, and let the sequences begin anew."""
    names = sql.SQL(", ").join(sql.Identifier(table.name) for table in tables)
    owner.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(names))


def may_empty(owner: psycopg.Connection) -> bool:
    """Say whether this user may empty what is there; where nothing is, what it makes will be its own."""
    row = owner.execute(
        "SELECT coalesce(has_table_privilege(to_regclass('public.audit')::oid, 'TRUNCATE'), true)"
    ).fetchone()
    return row is not None and bool(row[0])


def types_of(hub: psycopg.Connection, table: Table) -> list[str]:
    """Name the types of a table's columns. Raises HubError(STARTUP) where both sides have not the same columns."""
    there = hub.execute("SELECT to_regclass(%s)", (f"public.{table.name}",)).fetchone()
    found: dict[str, str] = dict(hub.execute(_COLUMNS, (table.name,)).fetchall()) if there and there[0] else {}
    if found.keys() != set(table.columns):
        raise HubError(
            Kind.STARTUP,
            f"table {table.name} has other columns in the database than in the SQLite store",
            where="--to",
            remedy="Make the schema anew by this version's `hub migrate`, or name an empty database.",
            code="move-unfit",
        )
    return [found[name] for name in table.columns]


def fill(hub: psycopg.Connection, table: Table, types: Sequence[str], rows: Sequence[Row]) -> None:
    """Add rows, in one transaction of their own."""
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in table.columns)
    into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table.name), columns)
    with hub.cursor().copy(into) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def read_back(hub: psycopg.Connection, table: Table, types: Sequence[str]) -> Iterator[Digest]:
    """Read what the database holds now, as Python sees it; yields after each piece, the same digest each time."""
    digest, piece = Digest(), list[Row]()
    yield digest
    with hub.cursor().copy(f"COPY ({table.select()}) TO STDOUT (FORMAT BINARY)".encode()) as copy:
        copy.set_types(types)
        for row in copy.rows():
            piece.append(row)
            if len(piece) == PIECE_ROWS:
                digest.add(piece)
                piece.clear()
                yield digest
    digest.add(piece)
    yield digest


def set_sequences(hub: psycopg.Connection, tables: Sequence[Table]) -> int:
    """Let every sequence go on after the largest id of its column; returns how many there are."""
    found = hub.execute(_SEQUENCES, ([table.name for table in tables],)).fetchall()
    for table, column, sequence in found:
        largest = sql.SQL("SELECT setval(%s, greatest(max({}), 1), coalesce(max({}), 0) >= 1) FROM {}").format(
            sql.Identifier(column), sql.Identifier(column), sql.Identifier(table)
        )
        hub.execute(largest, (sequence,))
    return len(found)


def analyze(owner: psycopg.Connection, tables: Sequence[Table]) -> None:
    """Let the planner know what came, before the first query does. Whoever does not own a table is passed over."""
    for table in tables:
        owner.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table.name)))


def _any(table: str) -> sql.Composed:
    return sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(table))


def _other_version(found: str) -> HubError:
    if found not in REVISIONS:
        return newer(found, where="--to")
    return HubError(
        Kind.STARTUP,
        f"the database has the schema of an older hub ({found}; this one works with {HEAD})",
        where="--to",
        remedy="Name an empty database; or bring that one up to date with `hub migrate`, where nothing is in it.",
        code="move-older",
    )


def _not_empty(before: Mark | None, filled: Sequence[str]) -> HubError:
    if before is not None:
        what = f"a move has filled this database already (move {before.move}), and it is {before.state.value}"
    else:
        what = f"this database is not empty: there are rows in {', '.join(filled[:5])}"
    return HubError(
        Kind.STARTUP,
        what,
        where="--to",
        remedy="Name an empty database that was made for this hub: nothing is moved over what is there.",
        code="move-not-empty",
    )

"""The same schema on PostgreSQL, and who may do what with it.

Two roles: the owner migrates; the hub runs as another one, which cannot change what is insert-only
(`hub/store/tables.py`), whatever its code says. A new database is made from `migrations/head_postgres.sql`; one that is
there is brought up to date beside the hubs that serve (`under_way.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import quote

import psycopg
from psycopg import sql

from hub.core.errors import HubError, Kind
from hub.store import under_way
from hub.store.migrate import HEAD, MIGRATIONS, OURS, REVISIONS, newer, serves
from hub.store.partitions import ahead_days
from hub.store.refused import refused

INSERT_ONLY: dict[str, tuple[str, ...]] = {  # and which of their columns the hub has to overwrite all the same
    "agreement_proposal": ("proposed_us",),
    "agreement_signature": (),
    "audit": (),
    "catalogue_version": (),
    "consent_event": (),
    "delivery": ("payload",),  # its time is over, or it is sealed anew
    "event_conflict": (),
    "event_seen": ("delivery", "deliveries"),  # a late event's deliveries
    "event_unheard": (),
    "history": (),
    "interned": (),
    "receipt": (),
}
_MIGRATING = 0x6875_625F_6D69  # "hub_mi": the advisory lock of who migrates
PARTITION_DAYS = 91  # see `store_partition_days` in hub/settings.py
Phase = Literal["all", "expand", "contract"]


def ensure(
    dsn: str, *, password: str = "", owner_dsn: str = "", owner_password: str = "", days: int = PARTITION_DAYS
) -> str:
    """Make or upgrade the schema, or say that nothing is to be done: "current", "made" or "upgraded".

    `dsn` is the hub's own; where `owner_dsn` is given that one migrates, and grants the hub's role what it needs. With
    the hub's own alone it may not be the owner's: then an outdated schema is HubError(STARTUP), and says so.
    """
    with opened(dsn, password) as connection:
        found = revision(connection)
        if found and serves(found, under_way.oldest(connection)):
            return "current"
    if found and found not in REVISIONS:
        raise newer(found, where="store_dsn")
    with opened(owner_dsn or dsn, owner_password or password) as connection:
        return migrate(connection, owner_dsn or dsn, owner_password or password, role_of(dsn), days=days)


def migrate(
    connection: psycopg.Connection,
    dsn: str,
    password: str,
    role: str,
    *,
    phase: Phase = "all",
    days: int = PARTITION_DAYS,
) -> str:
    """Bring the database to this version's schema, as its owner; `role` is the one that the hub runs as.

    `phase`: "expand" stops before what an older version could not work on, "contract" does that alone; either is
    refused with HubError(CONFLICT) where it cannot be (`under_way.py`). "all" does both, and leaves the second for
    later while an older version is connected. Returns "made", "upgraded", "current", or "expanded": the roll-out is
    open, and older hubs may serve.
    """
    connection.execute("SELECT pg_advisory_lock(%s)", (_MIGRATING,))  # until the connection is closed
    _check_collation(connection)
    found = revision(connection)
    done = _make(connection) if found == "" else _bring(connection, dsn, password, found, phase)
    grant(connection, role)
    connection.execute("SELECT make_partitions(%s, %s)", (days, ahead_days(days)))
    return done


def _make(connection: psycopg.Connection) -> str:
    with connection.transaction(), _owning():
        connection.execute((MIGRATIONS / "head_postgres.sql").read_text(encoding="utf-8").encode())
        under_way.note_oldest(connection, HEAD)
    return "made"


def _bring(connection: psycopg.Connection, dsn: str, password: str, found: str, phase: Phase) -> str:
    if found not in REVISIONS:
        raise newer(found, where="store_dsn")
    older = under_way.older(connection, HEAD)
    if phase == "contract":
        under_way.refuse_older(connection, HEAD)
    closing = phase == "contract" or (phase == "all" and not older)
    wanted = OURS.missing(found) if closing else OURS.expanding(found)
    with _owning():
        if not closing:
            under_way.note_oldest(connection, min([found, *filter(None, older)]))
        if wanted:
            connection.execute(functions().encode())
            under_way.run(dsn, password, wanted)
        if closing:
            under_way.note_oldest(connection, HEAD)
    return "expanded" if not closing else "upgraded" if wanted else "current"


def upgrade(dsn: str, password: str = "", to: str = HEAD) -> None:
    """Run the migrations that are missing up to one of them."""
    with opened(dsn, password) as connection:
        connection.execute(functions().encode())
        missing = OURS.missing(revision(connection))
    under_way.run(dsn, password, [one for one in missing if one <= to])


def grant(connection: psycopg.Connection, role: str) -> None:
    """Give the hub's role what it needs and take what it must not have. The owner itself keeps everything."""
    owner = connection.info.user
    if role == owner:
        return
    with connection.transaction():
        name = sql.Identifier(role)
        for statement in (
            "GRANT USAGE ON SCHEMA public TO {}",
            "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}",
            "REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {}",
            "GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {}",
            "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {}",
            "REVOKE ALL ON ALL TABLES IN SCHEMA parts FROM {}",
            "REVOKE ALL ON SCHEMA parts FROM {}",
        ):
            connection.execute(sql.SQL(statement).format(name))
        for table, columns in INSERT_ONLY.items():
            connection.execute(
                sql.SQL("REVOKE UPDATE, DELETE, TRUNCATE ON {} FROM {}").format(sql.Identifier(table), name)
            )
            if columns:
                named = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
                connection.execute(sql.SQL("GRANT UPDATE ({}) ON {} TO {}").format(named, sql.Identifier(table), name))


def revision(connection: psycopg.Connection) -> str:
    """Read a database's revision; "" where it is empty. Raises HubError(STARTUP) where it holds something else."""
    found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    tables = {name for (name,) in found}
    if not tables:
        return ""
    if "alembic_version" not in tables:
        raise _unusable("it holds tables that no hub made")
    rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    if len(rows) != 1:
        raise _unusable("it does not say which schema it has")
    return str(rows[0][0])


def functions() -> str:
    return (MIGRATIONS / "postgres_functions.sql").read_text(encoding="utf-8")


@contextmanager
def _owning() -> Iterator[None]:
    """Say in words that somebody migrates who may not."""
    try:
        yield
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName) as cause:
        raise _not_owner() from cause


@contextmanager
def opened(dsn: str, password: str = "") -> Iterator[psycopg.Connection]:
    """Connect for a moment. Raises HubError(UNAVAILABLE) without the DSN, which may hold a password."""
    try:
        connection = psycopg.connect(dsn, password=password or None, connect_timeout=5, autocommit=True)
    except psycopg.Error as error:
        raise refused(error) from None
    try:
        yield connection
    finally:
        connection.close()


def role_of(dsn: str) -> str:
    """Name the user of a DSN: whom the hub runs as."""
    from psycopg.conninfo import conninfo_to_dict

    return str(conninfo_to_dict(dsn).get("user") or "")


def as_user(dsn: str, user: str) -> str:
    """Return the same database's DSN for another user, without a password."""
    from psycopg.conninfo import conninfo_to_dict

    named = conninfo_to_dict(dsn)
    return f"postgresql://{quote(user)}@{named['host']}:{named.get('port', 5432)}/{quote(str(named['dbname']))}"


def _check_collation(connection: psycopg.Connection) -> None:
    """Refuse a database whose texts sort by a language's rules: the hub's order is the bytes', on both engines."""
    row = connection.execute(
        "SELECT datcollate, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    if row is None or row[0] not in ("C", "POSIX") or row[1] != "UTF8":
        raise _unusable("its texts must sort by their bytes: collation C, encoding UTF8")


def _unusable(why: str) -> HubError:
    return HubError(
        Kind.STARTUP,
        f"the store cannot be used: {why}",
        where="store_dsn",
        remedy="Make one for the hub: CREATE DATABASE hub TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'.",
        code="store-unusable",
    )


def _not_owner() -> HubError:
    return HubError(
        Kind.STARTUP,
        "the store's schema is not this version's, and the hub's own role may not change it",
        where="store_dsn",
        remedy="Run `hub migrate` with HUB_STORE_OWNER_DSN set to the owner's, then start again.",
        code="store-unusable",
    )

"""Migrations of PostgreSQL beside hubs that serve: expand before a roll-out, contract after it.

An expanding migration adds; the version before works on with what it knew. A contracting one takes away what only that
version used: it waits until none of that version is connected. Each hub says in `application_name` which schema it was
written for. Between the two, Alembic's table says in its comment the oldest schema whose code may serve: a hub of the
version before that is started anew goes on, and once the roll-out is closed it is refused.

1. one migration after the other, each in its own transaction, so that what is done is done;
2. a lock is waited for 200 ms at a time: whoever stands in line behind us waits no longer, and we come again;
3. an index is made CONCURRENTLY, in an `autocommit_block`: what stands before it is committed then and must bear being
   done again, and an index that is half made is dropped first;
4. rows are filled in by the hub, in pieces, never by a migration in one statement over a large table.
"""

import time
from collections.abc import Sequence

import psycopg

from hub.core.errors import HubError, Kind
from hub.store.migrate import OURS, Chain, run_alembic

LOCK_MS = 200  # a withdrawal may take 100 ms at p99; who meets a migration waits once for this at most
PAUSE_S = 0.5  # between two tries: whoever was kept waiting goes first
PATIENCE_S = 300.0  # a backup or a report holds a table for minutes; after that the operator is told
NAME = "hub"  # what `application_name` begins with; the schema that its code was written for follows
SERVES = "serves "  # what the comment begins with


def oldest(connection: psycopg.Connection) -> str:
    """Read the oldest schema whose code may serve here; "" where none is said."""
    row = connection.execute("SELECT coalesce(obj_description('alembic_version'::regclass), '')").fetchone()
    return str(row[0]).removeprefix(SERVES) if row else ""


def note_oldest(connection: psycopg.Connection, revision: str) -> None:
    """Say it beside the revision. Only the owner can."""
    connection.execute(f"COMMENT ON TABLE alembic_version IS '{SERVES}{revision}'".encode())


def run(
    dsn: str, password: str, revisions: Sequence[str], chain: Chain = OURS, *, patience_s: float = PATIENCE_S
) -> None:
    """Run these migrations, 1. and 2. Raises HubError(UNAVAILABLE): a lock could not be had; what is done stays."""
    from sqlalchemy import create_engine, pool  # a second of imports that only an upgrade needs

    def connect() -> psycopg.Connection:
        options = f"-c lock_timeout={LOCK_MS}"
        return psycopg.connect(dsn, password=password or None, connect_timeout=5, options=options)

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=pool.NullPool)
    for each in revisions:
        until_s = time.monotonic() + patience_s
        while True:
            try:
                with engine.connect() as connection:
                    run_alembic(connection, each, chain.scripts)
                break
            except Exception as error:
                if not _in_the_way(error):
                    raise
                if time.monotonic() > until_s:
                    raise _busy(each) from error
            time.sleep(PAUSE_S)


def connected(connection: psycopg.Connection) -> list[str]:
    """Name the schemas that the connected hubs were written for; "" is one that does not say."""
    rows = connection.execute(
        "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND (application_name = %s OR application_name LIKE %s)",
        (NAME, f"{NAME} %"),
    )
    return sorted(str(name).removeprefix(NAME).strip() for (name,) in rows.fetchall())


def older(connection: psycopg.Connection, than: str) -> list[str]:
    """Name those of `connected` that are older than this one."""
    return [one for one in connected(connection) if one < than]


def refuse_older(connection: psycopg.Connection, than: str) -> None:
    """Raise HubError(CONFLICT) while a hub is connected that was written for an older schema."""
    if found := older(connection, than):
        named = ", ".join(one or "one that does not say which" for one in found)
        raise HubError(
            Kind.CONFLICT,
            f"hubs of an older version are connected, written for schema {named}",
            where="migrate",
            remedy="Finish the roll-out, or stop them; then run `hub migrate --contract`.",
            code="migrate-older-hubs",
        )


def _in_the_way(error: Exception) -> bool:
    cause = getattr(error, "orig", error)
    return isinstance(cause, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected)


def _busy(revision: str) -> HubError:
    return HubError(
        Kind.UNAVAILABLE,
        f"migration {revision} waits for a table that somebody uses without a pause; what was before it is done",
        where="migrate",
        remedy="End what holds it (a backup, a report: pg_stat_activity), then run `hub migrate` again.",
        code="migrate-busy",
    )

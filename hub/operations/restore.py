"""Put a backup in the store's place, in quarantine: nothing is released of it before it was reconciled.

1. the backup is whole, and the key file opens it      2. no hub runs, and the store is empty, or is to be
replaced: then it is moved aside and stays there      3. everything, and the quarantine's row, in one step
4. the next start skips the numbers that were given out, erases again, and says what reconciling would do
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from hub.core.errors import HubError, Kind
from hub.operations.backup import FILE, PIECE, read_manifest, verify
from hub.ports import Clock
from hub.settings import Settings
from hub.store.migrate import HEAD
from hub.store.quarantine import QUARANTINE, Quarantine, enter
from hub.store.sqlite import SqliteTx

if TYPE_CHECKING:
    import psycopg

RESTORED = "restored"


def restore(settings: Settings, folder: Path, *, owner_dsn: str, replace: bool, clock: Clock) -> dict[str, Any]:
    """Restore; returns the manifest, and under `aside` where the former store is. Raises HubError(STARTUP, CONFLICT).

    `owner_dsn`: who owns PostgreSQL's schema; "" for the hub's own role.
    """
    failed = [one for one in verify(folder, settings.key_path) if one.level != "PASS"]  # 1.
    if failed:
        raise _refused(failed[0].what, failed[0].remedy)
    manifest: dict[str, Any] = read_manifest(folder)["manifest"]
    engine = "postgresql" if settings.on_postgres else "sqlite"
    if manifest["engine"] != engine:
        raise _refused(
            f"this is a backup of {manifest['engine']}, and the store is {engine}",
            "Restore it with HUB_STORE_DSN as it was; `hub move-engines` moves a hub.",
        )
    if settings.on_postgres:
        return manifest | {"aside": _database(settings, owner_dsn, folder, manifest, replace=replace, clock=clock)}
    return manifest | {"aside": _file(settings.store_path, folder / FILE, replace=replace, clock=clock)}


def _file(store: Path, backup: Path, *, replace: bool, clock: Clock) -> str:
    """Do 2. and 3. with SQLite's file."""
    store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(store):
        there = [
            path for path in (store, *(store.with_name(store.name + end) for end in ("-wal", "-shm"))) if path.exists()
        ]
        if there and not replace and _holds_something(store):
            raise _not_empty(store.name)
        beside, aside = store.with_name(store.name + ".part"), f".replaced-{clock()}"
        beside.unlink(missing_ok=True)
        with backup.open("rb") as source, os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            shutil.copyfileobj(source, file, PIECE)
        with closing(sqlite3.connect(beside, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            enter(SqliteTx(connection), RESTORED, clock())
            connection.execute("COMMIT")
        for path in there:
            path.rename(path.with_name(path.name + aside))
        beside.rename(store)
        _sync(store.parent)
        return store.name + aside if there else ""


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """Hold the lock that a hub on this file holds. Raises HubError(CONFLICT)."""
    with store.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            raise _running() from cause
        yield


def _holds_something(store: Path) -> bool:
    try:
        with closing(sqlite3.connect(store)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            return bool(tables) and bool(connection.execute("SELECT 1 FROM hub_key LIMIT 1").fetchall())
    except sqlite3.Error:
        return True  # whatever it is, nobody said that it may go


def _database(
    settings: Settings, owner_dsn: str, folder: Path, manifest: dict[str, Any], *, replace: bool, clock: Clock
) -> str:
    """Do 2. and 3. with a database, as the owner of its schema."""
    import psycopg  # loaded only where it is used

    from hub.store.migrate_postgres import migrate, opened, revision, role_of, upgrade
    from hub.store.under_way import connected

    dsn = owner_dsn or settings.store_owner_dsn or settings.store_dsn
    password = settings.store_password() if dsn == settings.store_dsn else ""
    aside = ""
    try:
        with opened(dsn, password) as connection:
            if connected(connection):
                raise _running()
            if revision(connection) and _rows(connection):
                if not replace:
                    raise _not_empty("the database")
                aside = f"replaced_{clock()}"
            if revision(connection) and (aside or revision(connection) != manifest["schema"]):
                _move_aside(connection, aside or f"empty_{clock()}")
            if manifest["schema"] == HEAD:
                migrate(connection, dsn, password, role_of(settings.store_dsn))
            else:
                upgrade(dsn, password, to=manifest["schema"])
            with connection.transaction():
                _load(connection, folder, manifest, clock())
            migrate(connection, dsn, password, role_of(settings.store_dsn))
            connection.execute("ANALYZE")
    except psycopg.Error as cause:
        what = f"the database refused it ({type(cause).__name__})"
        raise _refused(what, "Run it as the schema's owner: HUB_STORE_OWNER_DSN, or --dsn.") from cause
    return aside


def _rows(connection: "psycopg.Connection") -> bool:
    """Say whether a hub has ever been started on it: it keeps its keys there then."""
    return connection.execute("SELECT 1 FROM hub_key LIMIT 1").fetchone() is not None


def _move_aside(connection: "psycopg.Connection", name: str) -> None:
    from psycopg import sql

    with connection.transaction():
        connection.execute(sql.SQL("ALTER SCHEMA public RENAME TO {}").format(sql.Identifier(name)))
        connection.execute("CREATE SCHEMA public")
        if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'parts'").fetchone():  # the partitions of it
            partitions = sql.Identifier(f"{name}_parts")
            connection.execute(sql.SQL("ALTER SCHEMA parts RENAME TO {}").format(partitions))


def _load(connection: "psycopg.Connection", folder: Path, manifest: dict[str, Any], now_us: int) -> None:
    """Fill every table, set every sequence, and write the quarantine's row."""
    connection.execute("SET LOCAL statement_timeout = 0")
    for table, columns in manifest["columns"].items():
        with connection.cursor() as cursor:
            copying = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
            with (folder / f"{table}.copy").open("rb") as file, cursor.copy(copying.encode()) as copy:
                while piece := file.read(PIECE):
                    copy.write(piece)
            if cursor.rowcount != manifest["rows"][table]:
                raise _refused(f"{table} has other rows than the manifest says", "Take another backup.")
    for name, last in manifest["sequences"].items():
        connection.execute("SELECT setval(%s::regclass, %s)", (name, last))
    newest = connection.execute("SELECT coalesce((SELECT at_us FROM audit ORDER BY id DESC LIMIT 1), 0)").fetchone()
    held = Quarantine(now_us, RESTORED, newest[0] if newest else 0)
    connection.execute(
        "INSERT INTO fact(name, value) VALUES (%s, %s) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
        (QUARANTINE, orjson.dumps(held._asdict()).decode()),
    )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _running() -> HubError:
    return HubError(
        Kind.CONFLICT,
        "a hub runs on this store",
        where="store",
        remedy="Stop every process of the hub, then restore.",
        code="restore-running",
    )


def _not_empty(where: str) -> HubError:
    return HubError(
        Kind.CONFLICT,
        "the store is not empty",
        where=where,
        remedy="`--replace` moves it aside and restores; nothing of it is deleted.",
        code="restore-not-empty",
    )


def _refused(what: str, remedy: str) -> HubError:
    return HubError(Kind.STARTUP, what, where="backup", remedy=remedy, code="backup-refused")

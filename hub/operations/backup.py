"""Copy the whole store beside a running hub, as of one moment, into a folder that says what it holds.

    DIR/manifest.json     engine, schema, moment, rows and SHA-256 of each file; with a MAC under the root key
    DIR/hub.sqlite        SQLite: a copy by its backup interface
    DIR/TABLE.copy        PostgreSQL: each table by COPY BINARY, all in one snapshot
One way for PostgreSQL and no pg_dump: its version need not be the server's, it needs no owner, and what is restored is
this version's own schema. The folder is as sealed as the store; the key, the ledger and the marks are not in it.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from hashlib import blake2b, sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any

import orjson

from hub.core.errors import HubError, Kind
from hub.identity.keys import ROOT_BYTES, derive, read_key_file
from hub.identity.ring import check_root, root_name
from hub.operations.doctor import looking_into, read_only
from hub.operations.findings import Finding, fail, passed, warn
from hub.ports import Clock
from hub.settings import Settings
from hub.store.migrate import REVISIONS

FORMAT = 1
MANIFEST, FILE = "manifest.json", "hub.sqlite"
PIECE = 1 << 20
TABLES = (
    "SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_class c"
    " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0"
    " AND NOT a.attisdropped GROUP BY c.relname ORDER BY c.relname"
)


def back_up(settings: Settings, folder: Path, *, clock: Clock) -> dict[str, Any]:
    """Make the folder, which must not be there; returns its manifest. Raises HubError(STARTUP, UNAVAILABLE).

    It is written beside itself and renamed when it is whole: one that broke off is never taken for a backup.
    """
    root, beside = read_key_file(settings.key_path), folder.with_name(folder.name + ".part")
    with looking_into(settings) as tx:
        check_root(tx, root)
    made: dict[str, Any] = {"format": FORMAT, "made_us": clock(), "root": root_name(root).hex()}
    try:
        if folder.exists():
            raise FileExistsError
        beside.mkdir(mode=0o700, parents=True)
        made |= _database(settings, beside) if settings.on_postgres else _copy(settings.store_path, beside)
        files = sorted(path for path in beside.iterdir())
        made["files"] = {path.name: {"bytes": path.stat().st_size, "sha256": _digest(path)} for path in files}
        _write(beside / MANIFEST, [_signed(made, root)])
        _sync(beside)
        beside.rename(folder)
        _sync(folder.parent)
    except FileExistsError as cause:
        raise _refused(
            "the folder is there already", "Name another; `.part` behind its name is one that broke off: remove it."
        ) from cause
    except (OSError, sqlite3.Error) as cause:
        raise _refused(
            f"the backup broke off ({type(cause).__name__})", "Make room, remove the folder `.part`, and try again."
        ) from cause
    return made


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what a backup says of itself; its MAC is `verify`'s matter. Raises HubError(STARTUP)."""
    try:
        found: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
        said = found["manifest"]
        well = said["format"] == FORMAT and said["schema"] in REVISIONS and {"engine", "files", "root"} <= said.keys()
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise _refused(
            "this folder is no backup, or a part of one", "Name a folder that `hub backup make` made."
        ) from cause
    if not well:
        raise _refused(
            "this backup was made by a newer hub, or is none",
            "Restore it with the version that made it, or a later one.",
        )
    return found


def verify(folder: Path, key_path: Path | None) -> list[Finding]:
    """Check each file against the manifest, and the manifest against the key where that is at hand."""
    document = read_manifest(folder)
    said, found = document["manifest"], []
    another = "Take another backup; this one is not what was made."
    for name, of in sorted(said["files"].items()):
        path = folder / Path(name).name
        if not path.is_file():
            found.append(fail("files", f"{name} is not there", another))
        elif path.stat().st_size != of["bytes"] or _digest(path) != of["sha256"]:
            found.append(fail("files", f"{name} is not what was written", another))
    if not found:
        total = sum(of["bytes"] for of in said["files"].values())
        found.append(passed("files", f"{len(said['files'])} files, {total / 1e6:.1f} MB, each as it was written"))
        found.append(_opens(said, document["mac"], key_path))
    if said["engine"] == "sqlite" and found[0].level == "PASS":
        with read_only(folder / FILE) as tx:
            sound = tx.rows("PRAGMA integrity_check(1)") == [("ok",)]
        found.append(passed("store", "whole") if sound else fail("store", "SQLite finds it damaged", another))
    return found


def _opens(said: dict[str, Any], mac: str, key_path: Path | None) -> Finding:
    """See that it is this key's, and that the manifest is what its holder wrote."""
    if key_path is None or not key_path.is_file():
        return warn("key", "the key file is not at hand: nobody can say whether it opens this", "Set HUB_KEY_FILE.")
    root = read_key_file(key_path)
    if root_name(root).hex() != said["root"]:
        what = f"it opens with key {said['root']}, and the file holds {root_name(root).hex()}"
        return fail("key", what, "Point HUB_KEY_FILE to the file of its time.")
    if not compare_digest(_mac(said, root), mac):
        return fail("key", "the manifest was altered", "Take another backup.")
    return passed("key", "the file's key opens it, and its manifest is as it was written")


def _copy(source: Path, folder: Path) -> dict[str, Any]:
    """Copy one snapshot of the file, beside a running hub."""
    to = folder / FILE
    os.close(os.open(to, os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as real, closing(
        sqlite3.connect(to)
    ) as other:  # fmt: skip
        real.backup(other)
        (schema,) = other.execute("SELECT version_num FROM alembic_version").fetchone()
        other.execute("PRAGMA journal_mode=DELETE")  # one file, that can be looked into where nothing may be written
    _sync(to)
    return {"engine": "sqlite", "schema": schema}


def _database(settings: Settings, folder: Path) -> dict[str, Any]:
    """Copy every table of one snapshot, and where the sequences are then."""
    import psycopg  # loaded only where it is used

    from hub.store.migrate_postgres import opened, revision

    rows: dict[str, int] = {}
    try:
        with opened(settings.store_dsn, settings.store_password()) as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute("SET LOCAL statement_timeout = 0")
            schema = revision(connection)
            columns = {name: of for name, of in connection.execute(TABLES).fetchall() if name != "alembic_version"}
            for table, of in columns.items():
                named = ", ".join(of)
                with connection.cursor() as cursor:
                    copying = f"COPY (SELECT {named} FROM {table}) TO STDOUT (FORMAT BINARY)"  # noqa: S608 - names as the database has them
                    with cursor.copy(copying.encode()) as copy:
                        _write(folder / f"{table}.copy", copy)
                    rows[table] = cursor.rowcount
            sequences = connection.execute(
                "SELECT sequencename::text, last_value FROM pg_sequences WHERE schemaname = 'public'"
            ).fetchall()
    except psycopg.Error as cause:
        raise HubError(
            Kind.UNAVAILABLE,
            "the database broke the backup off",
            remedy="See its log; try again.",
            code="backup-refused",
        ) from cause
    last = {name: value for name, value in sequences if value is not None}
    return {"engine": "postgresql", "schema": schema, "columns": columns, "rows": rows, "sequences": last}


def _signed(manifest: dict[str, Any], root: bytes) -> bytes:
    document = {"manifest": manifest, "mac": _mac(manifest, root)}
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)


def _mac(manifest: dict[str, Any], root: bytes) -> str:
    body = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
    return blake2b(body, key=derive(root, "hub/1/backup", ROOT_BYTES), digest_size=32).hexdigest()


def _digest(path: Path) -> str:
    said = sha256()
    with path.open("rb") as file:
        for piece in _pieces(file.fileno()):
            said.update(piece)
    return said.hexdigest()


def _pieces(descriptor: int) -> Iterator[bytes]:
    while piece := os.read(descriptor, PIECE):
        yield piece


def _write(path: Path, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
    """Write a new file, readable by its owner only, durably."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(what: str, remedy: str) -> HubError:
    return HubError(Kind.STARTUP, what, where="backup", remedy=remedy, code="backup-refused")

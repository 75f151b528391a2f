"""Stores for tests, on either engine. What runs over PostgreSQL has its worker's own server,
or the one that TEST_POSTGRES names by a superuser's DSN.

Each place in the file system has its own database there, made from a template that has the schema: opening the same
path again is a restart. A process that a test starts is told by `for_child` which database that is.
"""

import os
import secrets
import sqlite3
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg

from hub.store.dialect import translate
from hub.store.engine import Store
from hub.store.migrate import ensure as ensure_sqlite
from hub.store.migrate_postgres import as_user, ensure
from hub.store.postgres import PgStore
from hub.store.sqlite import SqliteStore
from tests.engines import needs_postgres

ROLE = "hub_runtime"  # may not change what is insert-only; the schema belongs to the server's superuser
PATIENT_MS = 30_000  # tests hold a transaction up on purpose, between two of its statements
EMBEDDED, REAL, WHOLE = "sqlite", "postgres", "postgres+kafka+opa"  # the sets, as the tests' names have them
GIVEN = "TEST_STORE_DSN"  # set for a process that a test started: its one database
_now = [EMBEDDED]  # which set of engines the running test is on; conftest.py turns it
_made: dict[str, str] = {}
_templates: list[str] = []


def use(engines: str) -> None:
    _now[0] = engines


def on_postgres() -> bool:
    return _now[0] != EMBEDDED


def on_whole_set() -> bool:
    """Say whether Kafka and OPA stand behind the exchange as well (`tests/exchange_engines.py`)."""
    return _now[0] == WHOLE


def for_child(path: Path) -> dict[str, str]:
    """Return what a process needs in its environment to open the store of this path by `open_store`."""
    return {GIVEN: dsn_of(path)} if on_postgres() else {}


def open_store(path: Path, *, synchronous: str = "FULL") -> Store:
    """Open the store of this path, with its schema: a file, or the database that stands for it."""
    if given := os.environ.get(GIVEN):
        return PgStore(given, idle_ms=PATIENT_MS)
    if on_postgres():
        return PgStore(dsn_of(path), idle_ms=PATIENT_MS)
    store = SqliteStore(path, synchronous=synchronous)
    ensure_sqlite(path)
    return store


def disk_full() -> Exception:
    """Return what the engine of the running test raises when there is no room left."""
    return psycopg.errors.DiskFull("no room") if on_postgres() else sqlite3.OperationalError("disk is full")


def settings_of(directory: Path) -> dict[str, Any]:
    """Return what settings a hub over this directory needs on the engines of the running test."""
    if not on_postgres():
        return {}
    own_clock_s = 10**9  # tests bring their own clocks, and the server has the machine's
    dsn = dsn_of(directory / "hub.sqlite")
    return {"store_dsn": dsn, "store_idle_ms": PATIENT_MS, "clock_off_max_s": own_clock_s}


def dsn_of(path: Path) -> str:
    """Return the DSN of the database that stands for a path, as the hub's own role; made when first asked for."""
    name = "t_" + sha256(f"{os.getpid()} {path.resolve()}".encode()).hexdigest()[:24]
    if name not in _made:
        _maintain(f"CREATE DATABASE {name} TEMPLATE {_template()}")
        _made[name] = name
    return as_user(f"{server()}/{name}", ROLE)


def owner_dsn_of(path: Path) -> str:
    """Return the DSN of the same database as its owner."""
    return f"{server()}/{dsn_of(path).rpartition('/')[2]}"


def meddle(store: Store, path: Path, statement: str) -> None:
    """Change what the hub itself may not change: on PostgreSQL as the schema's owner."""
    if not on_postgres():
        store.write(lambda tx: tx.run(statement))
        return
    with psycopg.connect(owner_dsn_of(path), autocommit=True) as owner:
        owner.execute(translate(statement).text.encode())


def dump(path: Path, *, into: Path) -> None:
    """Write all that every table of a database holds into a file: bytes as they are."""
    with psycopg.connect(owner_dsn_of(path)) as owner, into.open("wb") as file:
        tables = owner.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
        for (table,) in tables:
            with owner.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT (FORMAT BINARY)".encode()) as copy:
                file.writelines(copy)


def drop_all() -> None:
    """Drop the databases that this process made: hundreds of them would fill the disk."""
    while _made:
        _maintain(f"DROP DATABASE IF EXISTS {_made.popitem()[0]} (FORCE)")


def server() -> str:
    """Return the DSN of a server, without a database, as somebody who may make databases. Skips where there is none."""
    given = os.environ.get("TEST_POSTGRES") or needs_postgres().address
    return given.rpartition("/")[0] if given.count("/") > 2 else given


def leave() -> None:
    """Drop what this process made."""
    drop_all()
    while _templates:
        _maintain(f"DROP DATABASE IF EXISTS {_templates.pop()} (FORCE)")


@cache
def _template() -> str:
    """Make the database that all others are copied from, migrated by its owner for the hub's own role."""
    name = f"template_{secrets.token_hex(6)}"
    with psycopg.connect(f"{server()}/postgres", autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone():
            try:
                connection.execute(f"CREATE ROLE {ROLE} LOGIN")
            except psycopg.errors.UniqueViolation:
                pass  # another worker made it in this moment
    _maintain(f"CREATE DATABASE {name}")
    _templates.append(name)
    owner = f"{server()}/{name}"
    ensure(as_user(owner, ROLE), owner_dsn=owner)
    return name


def _maintain(statement: str) -> None:
    with psycopg.connect(f"{server()}/postgres", autocommit=True) as connection:
        connection.execute(statement.encode())

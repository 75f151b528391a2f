"""Bring a store's schema to what this version of the hub works with, or refuse to.

Migrations are Alembic's, under `migrations/versions`. Alembic and SQLAlchemy take a second to import, so neither is
touched where nothing is to be migrated: a current store is recognised by one query, and a new one is made from
`migrations/head.sql`, which holds what all migrations together give (a test makes both and compares).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hub.core.errors import HubError, Kind

if TYPE_CHECKING:
    from sqlalchemy import Connection

MIGRATIONS = Path(__file__).parent / "migrations"
REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0014",
    "0015",
)
HEAD = REVISIONS[-1]  # what this code works with
CONTRACTS: frozenset[str] = frozenset()  # those that take away what the version before still used: `phase` in each file


class Chain(NamedTuple):
    """Migrations in order, which of them contract, and where they lie."""

    revisions: tuple[str, ...] = REVISIONS
    contracts: frozenset[str] = CONTRACTS
    scripts: Path = MIGRATIONS

    @property
    def head(self) -> str:
        return self.revisions[-1]

    def missing(self, found: str) -> tuple[str, ...]:
        """List what a schema lacks; everything where it is none yet."""
        return self.revisions[self.revisions.index(found) + 1 :] if found else self.revisions

    def expanding(self, found: str) -> tuple[str, ...]:
        """List what can be run beside the version before. Raises HubError(CONFLICT): more stands behind a contract."""
        missing = self.missing(found)
        ends = next((at for at, one in enumerate(missing) if one in self.contracts), len(missing))
        if any(one not in self.contracts for one in missing[ends:]):
            raise HubError(
                Kind.CONFLICT,
                "this version is more than one release ahead of the schema: it cannot be migrated beside running hubs",
                where="migrate",
                remedy="Roll out the releases between one by one; or stop every hub and run `hub migrate`.",
                code="migrate-too-far",
            )
        return missing[:ends]


OURS = Chain()


def serves(found: str, oldest: str, chain: Chain = OURS) -> bool:
    """Say whether this version's code works on a schema: nothing is missing but what contracts, or a roll-out runs.

    `oldest` is what a newer version left beside its schema: the oldest one whose code may still serve.
    """
    if found in chain.revisions:
        return all(one in chain.contracts for one in chain.missing(found))
    return found > chain.head and "" < oldest <= chain.head


def ensure(path: Path) -> str:
    """Make or upgrade the schema in one transaction. Returns what was done: "current", "made" or "upgraded".

    The caller holds the store's lock. Raises HubError(STARTUP) for a store of a newer hub, or a file that is no store.
    """
    try:
        found = revision(path)
        if found == HEAD:
            return "current"
        if found == "":
            _make(path)
            return "made"
    except sqlite3.Error as cause:
        raise _unusable(path, f"SQLite says {type(cause).__name__}") from cause
    if found not in REVISIONS:
        raise newer(found, where=path.name)
    upgrade(path)
    return "upgraded"


def revision(path: Path) -> str:
    """Read a store's revision; "" where it is empty. Raises HubError(STARTUP) where the file holds something else."""
    with _opened(path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return ""
        if "alembic_version" not in tables:
            raise _unusable(path, "it holds tables that no hub made")
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    if len(rows) != 1:
        raise _unusable(path, "it does not say which schema it has")
    return str(rows[0][0])


def upgrade(path: Path, to: str = HEAD) -> None:
    """Run the migrations that are missing, all in one transaction: after a crash in between it is as before."""
    from sqlalchemy import create_engine, event, pool  # a second of imports that only an upgrade needs

    engine = create_engine(f"sqlite:///{path}", poolclass=pool.NullPool)
    # sqlite3 would commit before each CREATE; SQLAlchemy's documentation of pysqlite has these two lines against it.
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        run_alembic(connection, to)


def run_alembic(connection: "Connection", to: str, scripts: Path = MIGRATIONS) -> None:
    """Run migrations in the transaction that is open, or each in its own where none is."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def newer(found: str, *, where: str) -> HubError:
    return HubError(
        Kind.STARTUP,
        f"the store was written by a newer hub (schema {found[:32]}; this one knows up to {HEAD})",
        where=where,
        remedy="Start the newer version again, or restore the backup that was taken before it.",
        code="store-newer",
    )


def _make(path: Path) -> None:
    """Make a new store's schema at once."""
    with _opened(path) as connection:
        statements = (MIGRATIONS / "head.sql").read_text(encoding="utf-8")
        connection.executescript(f"BEGIN IMMEDIATE;\n{statements}\nCOMMIT;")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def _unusable(path: Path, why: str) -> HubError:
    return HubError(
        Kind.STARTUP,
        f"the store cannot be used: {why}",
        where=path.name,
        remedy="Point HUB_DATA_DIR or HUB_STORE_DSN at a hub's own store, or restore this one from its backup.",
        code="store-unusable",
    )

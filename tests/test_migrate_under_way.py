"""The schema changes while hubs of two versions serve: what is added first, what is taken away last, and what waits."""

import time
from collections.abc import Iterator
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from shutil import copytree
from typing import Any

import psycopg
import pytest

from hub.core.errors import HubError
from hub.store import under_way
from hub.store.engine import Store
from hub.store.migrate import CONTRACTS, HEAD, MIGRATIONS, REVISIONS, Chain, serves
from hub.store.migrate_postgres import ensure, grant, migrate, opened, revision, upgrade
from hub.store.postgres import PgStore
from tests import stores
from tests.interleaving import Doing
from tests.migrating import PATIENCE_S, Load
from tests.protocol_world import Hub

FORMER = REVISIONS[-2]
LONGEST_S = 1.0  # 200 ms behind who waits, some more while tables are exchanged, and what two busy cores add

# A release to come: it adds a column with an index and fills it in; the one after takes the column away again.
ADDS = '''
"""Persons are in a room. Taken up again after half of it, it goes on."""

from alembic import op

revision, down_revision, phase = "9001", "{head}", "expand"


def upgrade() -> None:
    op.execute("ALTER TABLE person ADD COLUMN IF NOT EXISTS room INTEGER")
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX IF EXISTS person_room")
        op.execute("CREATE INDEX CONCURRENTLY person_room ON person (room) WHERE room IS NOT NULL")
'''
TAKES = '''
"""Rooms are no more."""

from alembic import op

revision, down_revision, phase = "9002", "9001", "contract"


def upgrade() -> None:
    op.drop_column("person", "room")
'''


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The database of one test."""
    stores.server()
    stores.use(stores.REAL)
    stores.dsn_of(tmp_path / "hub.sqlite")
    yield tmp_path / "hub.sqlite"
    stores.use(stores.EMBEDDED)
    stores.drop_all()


@pytest.fixture
def next_release(tmp_path: Path) -> Chain:
    """The migrations of a release to come: ours, and two more."""
    scripts = tmp_path / "migrations"
    copytree(MIGRATIONS, scripts)
    (scripts / "versions" / "9001_rooms.py").write_text(ADDS.format(head=HEAD))
    (scripts / "versions" / "9002_no_rooms.py").write_text(TAKES)
    return Chain((*REVISIONS, "9001", "9002"), frozenset([*CONTRACTS, "9002"]), scripts)


def owner(path: Path) -> psycopg.Connection:
    return psycopg.connect(stores.owner_dsn_of(path), autocommit=True)


def back_to(path: Path, to: str) -> None:
    """Make the database anew as an older version left it, with the rights of the hub's role."""
    with owner(path) as connection:
        for schema in ("public", "parts"):
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
            connection.execute(f"CREATE SCHEMA {schema}".encode())
        upgrade(stores.owner_dsn_of(path), to=to)
        grant(connection, stores.ROLE)


def migrated(path: Path, **how: Any) -> str:
    """Migrate as `hub migrate` does."""
    dsn = stores.owner_dsn_of(path)
    with opened(dsn) as connection:
        return migrate(connection, dsn, "", stores.ROLE, **how)


def close(path: Path, store: Store, version: str) -> None:
    """Close a hub's store, and wait until the server has seen it off."""
    store.close()
    until_s = time.monotonic() + PATIENCE_S
    with owner(path) as connection:
        while version in under_way.older(connection, "9999"):
            assert time.monotonic() < until_s
            time.sleep(0.02)


# Which migrations may run when.


def test_every_migration_says_whether_it_adds_or_takes_away() -> None:
    """And the code's own list, which a hub reads at its start without Alembic, is what they say."""
    said = {}
    for file in sorted((MIGRATIONS / "versions").glob("*.py")):
        spec = spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        said[module.revision] = module.phase
    assert set(said.values()) <= {"expand", "contract"}
    assert {one for one, phase in said.items() if phase == "contract"} == CONTRACTS
    assert tuple(sorted(said)) == REVISIONS


CHAIN = Chain(("1", "2", "3", "4"), frozenset(["3"]))


@pytest.mark.parametrize(
    ("found", "runs"), [("1", ("2",)), ("2", ()), ("3", ("4",)), ("4", ())], ids=["adds", "waits", "after", "current"]
)
def test_before_a_roll_out_runs_what_adds_up_to_what_takes_away(found: str, runs: tuple[str, ...]) -> None:
    chain = CHAIN if found > "2" else Chain(("1", "2", "3"), frozenset(["3"]))
    assert chain.expanding(found) == runs


def test_two_releases_at_once_cannot_be_rolled_out() -> None:
    """What adds stands behind what takes away: the hub before would meet what it does not know."""
    with pytest.raises(HubError) as caught:
        CHAIN.expanding("1")
    assert caught.value.code == "migrate-too-far"


@pytest.mark.parametrize(
    ("found", "oldest", "works"),
    [
        ("3", "3", True),
        ("2", "1", True),  # what is missing takes away: the code does not need it gone
        ("1", "1", False),  # what is missing adds: the code needs it
        ("4", "3", True),  # a newer version is rolled out just now, beside this one
        ("4", "4", False),  # it has been: this one is a hub of before
        ("4", "", False),  # nobody said
    ],
)
def test_a_hub_serves_on_what_it_was_written_for_and_beside_its_successor(found: str, oldest: str, works: bool) -> None:
    assert serves(found, oldest, Chain(("1", "2", "3"), frozenset(["3"]))) is works


# Who is connected.


def test_what_takes_away_waits_for_hubs_of_the_version_before(path: Path) -> None:
    """They are named by the schema that they were written for; when the last has gone it may run."""
    former = PgStore(stores.dsn_of(path), written_for=FORMER)
    with pytest.raises(HubError) as caught:
        migrated(path, phase="contract")
    assert (caught.value.code, FORMER in caught.value.what) == ("migrate-older-hubs", True)
    close(path, former, FORMER)
    current = PgStore(stores.dsn_of(path))
    assert migrated(path, phase="contract") == "current"
    current.close()


def test_a_hub_that_does_not_say_its_version_counts_as_older(path: Path) -> None:
    """One of before this was asked."""
    with psycopg.connect(stores.dsn_of(path), application_name="hub"), pytest.raises(HubError):
        migrated(path, phase="contract")


def test_without_a_word_it_adds_beside_older_hubs_and_takes_away_where_there_are_none(path: Path) -> None:
    """So one command is right for a first installation, for a roll-out, and with every hub stopped."""
    back_to(path, FORMER)
    former = PgStore(stores.dsn_of(path), written_for=FORMER)
    assert migrated(path) == "expanded"
    with owner(path) as connection:
        assert (revision(connection), under_way.oldest(connection)) == (HEAD, FORMER)
    close(path, former, FORMER)
    assert migrated(path) == "current"
    with owner(path) as connection:
        assert under_way.oldest(connection) == HEAD


def test_during_a_roll_out_a_hub_of_before_may_be_started_anew_and_after_it_is_refused(path: Path) -> None:
    """A pod that is moved to another node in between must come back; a forgotten one must not, a year later."""
    with owner(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9001'")
        under_way.note_oldest(connection, HEAD)
    assert ensure(stores.dsn_of(path)) == "current"
    with owner(path) as connection:
        under_way.note_oldest(connection, "9001")
    with pytest.raises(HubError) as caught:
        ensure(stores.dsn_of(path))
    assert caught.value.code == "store-newer"


# Locks.


def waits_for_a_table(path: Path) -> None:
    """Return when somebody does."""
    until_s = time.monotonic() + PATIENCE_S
    with owner(path) as connection:
        query = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
        while connection.execute(query).fetchone() is None:
            assert time.monotonic() < until_s
            time.sleep(0.01)


def test_a_migration_that_finds_no_way_gives_up_says_so_and_has_changed_nothing(
    path: Path, next_release: Chain
) -> None:
    """Whoever comes while it waits is kept for 200 ms, not for as long as it tries."""
    with psycopg.connect(stores.owner_dsn_of(path)) as report:
        report.execute("SELECT count(*) FROM person")
        run = partial(under_way.run, stores.owner_dsn_of(path), "", ["9001"], next_release, patience_s=1.0)
        migrating = Doing(run)
        waits_for_a_table(path)
        with owner(path) as hub:
            hub.execute("SET lock_timeout = '5s'")
            hub.execute("SELECT count(*) FROM person")
        with pytest.raises(HubError) as caught:
            migrating.result()
    assert (caught.value.code, "9001" in caught.value.what) == ("migrate-busy", True)
    with owner(path) as connection:
        assert revision(connection) == HEAD
    run()
    with owner(path) as connection:
        assert revision(connection) == "9001"


def test_a_migration_comes_again_until_a_table_is_free(path: Path, next_release: Chain) -> None:
    """A report ends; the migration goes on by itself."""
    with psycopg.connect(stores.owner_dsn_of(path)) as report:
        report.execute("SELECT count(*) FROM person")
        migrating = Doing(lambda: under_way.run(stores.owner_dsn_of(path), "", ["9001"], next_release))
        waits_for_a_table(path)
        time.sleep(2 * under_way.LOCK_MS / 1000)
        report.rollback()
        migrating.result()
    with owner(path) as connection:
        assert revision(connection) == "9001"


# Two versions at once.


def of_version(path: Path, version: str) -> Hub:
    return Hub(path.parent, given=PgStore(stores.dsn_of(path), idle_ms=stores.PATIENT_MS, written_for=version))


def test_partitions_come_while_hubs_serve(path: Path) -> None:
    """Nobody's request fails or waits for long, every event arrives once, and the hub may still not rewrite its log."""
    back_to(path, FORMER)
    old, new = of_version(path, FORMER), of_version(path, HEAD)
    with owner(path) as watched, Load(old, new, watched) as load:
        assert migrated(path, phase="expand") == "expanded"
    load.finish()
    print(f"longest wait for a table: {load.longest_s:.3f} s")
    assert load.failed == []
    assert len(load.got) == len(set(load.got)) == load.published
    assert load.longest_s < LONGEST_S
    with owner(path) as connection:
        kept = connection.execute("SELECT count(*), max(until_id) > 0 FROM partition_bounds()").fetchone()
        assert kept == (6, True)  # of each table what was there, with room for a year, and what has no partition
        for part in ("audit_before", "delivery_before", "history_before"):
            assert connection.execute(f"SELECT count(*) > 0 FROM parts.{part}".encode()).fetchone() == (True,)
        mine = (
            "SELECT has_table_privilege(%s, 'audit', 'UPDATE'), has_table_privilege(%s, 'parts.audit_before', 'INSERT')"
        )
        assert connection.execute(mine.encode(), (stores.ROLE, stores.ROLE)).fetchone() == (False, False)
        left = connection.execute("SELECT count(*) FROM pg_constraint WHERE conname LIKE '%before_until'").fetchone()
        assert left == (0,)
    old.close()
    new.close()


def test_two_versions_serve_at_once_and_the_new_one_takes_over(path: Path, next_release: Chain) -> None:
    """What adds runs under load, an index is made beside it; the new gate takes over; then what takes away runs."""
    dsn = stores.owner_dsn_of(path)
    old, new = of_version(path, HEAD), of_version(path, "9001")
    with owner(path) as watched, Load(old, new, watched) as load:
        under_way.run(dsn, "", next_release.expanding(HEAD), next_release)
        new.store.write(lambda tx: tx.run("UPDATE person SET room = 1 WHERE room IS NULL"))
        load.go_on()
        with owner(path) as connection:
            with pytest.raises(HubError):
                under_way.refuse_older(connection, "9001")
            load.take_over(lambda: of_version(path, "9001"))
            load.go_on()
            close(path, old.store, HEAD)
            under_way.refuse_older(connection, "9001")
            under_way.run(dsn, "", next_release.missing(revision(connection)), next_release)
            assert revision(connection) == "9002"
    load.finish()
    print(f"longest wait for a table: {load.longest_s:.3f} s")
    assert load.failed == []
    assert len(load.got) == len(set(load.got)) == load.published
    assert load.longest_s < LONGEST_S
    load.old.close()
    new.close()

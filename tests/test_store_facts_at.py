"""What was decided outside a transaction stands inside it only while nothing that decisions read was changed."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.exchange.gate import read_facts
from hub.store.aims import AimKeys, read_aims
from hub.store.engine import Tx
from hub.store.facts import read_persons, scopes
from hub.store.migrate import ensure
from hub.store.sqlite import FACTS, SqliteStore, SqliteTx


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    ensure(tmp_path / "hub.sqlite")
    opened = SqliteStore(tmp_path / "hub.sqlite", synchronous="OFF")
    yield opened
    opened.close()


def facts_at(store: SqliteStore) -> int:
    with store.read() as tx:
        return tx.facts_at


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO person(id, created_us) VALUES (1, 0)",
        "INSERT OR IGNORE INTO agency_state(number, suspended, since_us) VALUES (1, 1, 0)",
        "UPDATE choice SET state = 2",
        "DELETE FROM link WHERE person = 1",
        "WITH one(n) AS (SELECT 1) UPDATE fence SET epoch = epoch + 1",
    ],
)
def test_a_change_of_facts_is_noticed_once_it_is_committed(store: SqliteStore, statement: str) -> None:
    """Also one that changed no row: nobody looks."""
    before = facts_at(store)
    store.write(lambda tx: tx.run(statement))
    assert facts_at(store) > before


def test_what_decisions_do_not_read_leaves_them_standing(store: SqliteStore) -> None:
    """Or every publish and every hand-out would make the gate read everything again."""
    before = facts_at(store)
    store.write(lambda tx: tx.insert("history(person, audit)", [(1, 1)]))
    store.write(lambda tx: tx.run("UPDATE position SET next = 1"))
    assert facts_at(store) == before


def test_a_snapshot_from_before_a_change_never_looks_like_one_from_after(store: SqliteStore) -> None:
    """It is open while the change commits: what is read in it is known to be old."""
    with store.read() as early:
        early.rows("SELECT id FROM person")
        store.write(lambda tx: tx.run("INSERT INTO person(id, created_us) VALUES (1, 0)"))
        assert early.rows("SELECT id FROM person") == []
        assert store.write(lambda tx: tx.facts_at) != early.facts_at


def test_a_transaction_that_changed_facts_itself_trusts_nothing_read_outside(store: SqliteStore) -> None:
    """Its own changes are not committed, so no count tells them apart."""
    before = facts_at(store)

    def change(tx: Tx) -> int:
        tx.run("DELETE FROM choice")
        return tx.facts_at

    assert store.write(change) != before


def test_every_table_that_decisions_read_is_watched(store: SqliteStore) -> None:
    """Asked of SQLite itself. Beside them is only `interned`, whose rows never change: content names them."""
    connection = store.connect()
    read: set[str] = set()

    def note(action: int, table: str | None, _column: str | None, _base: str | None, _inside: str | None) -> int:
        if action == sqlite3.SQLITE_READ and table:
            read.add(table)
        return sqlite3.SQLITE_OK

    connection.set_authorizer(note)
    tx = SqliteTx(connection)
    tx.run("INSERT INTO backfill VALUES (1, x'00', 1, 1, 0, 0, 0, NULL, 0, 0, x'', '')")
    read_facts(tx, [])
    read_persons(tx, [1])
    read_aims(tx, AimKeys((), ()), [1])  # asks and corrected events are read under the fence in any case
    scopes(tx, [1])
    assert read - {"interned", "json_each"} == FACTS

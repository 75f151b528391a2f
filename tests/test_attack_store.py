"""Attacks on the engine underneath: descriptors, file modes, a full disk, and lists longer than a statement takes."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub.core.errors import HubError, Kind
from hub.exchange.publish import publish
from hub.identity.people import NewLink, link
from hub.store.engine import Tx, padded
from hub.store.migrate import ensure
from hub.store.sqlite import SqliteStore
from tests.protocol_world import LINKER, opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    running = SqliteStore(tmp_path / "hub.sqlite", synchronous="OFF")
    ensure(tmp_path / "hub.sqlite")
    yield running
    running.close()


def test_threads_that_come_and_go_leave_no_connection_behind(store: SqliteStore) -> None:
    """A server's threads end when they are idle; a thousand short lives must not use up the descriptors."""

    def look() -> None:
        with store.read() as tx:
            tx.one("SELECT 1")

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    look()
    before = descriptors()
    for _ in range(50):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert descriptors() <= before + 6


def test_a_reader_inside_a_reader_has_a_snapshot_of_its_own(store: SqliteStore) -> None:
    """Whoever reads may call somebody who reads."""
    with store.read() as outer, store.read() as inner:
        assert outer.one("SELECT 1") == inner.one("SELECT 1")


def test_nobody_else_on_the_machine_may_read_the_store(tmp_path: Path) -> None:
    """Who is linked where, and who said yes to what, is not sealed: the files are the hub's own."""
    before = os.umask(0o022)
    try:
        with opened(tmp_path / "hub") as hub:
            hub.link("A")
            modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "hub").glob("hub.sqlite*")}
            assert {"hub.sqlite", "hub.sqlite-wal", "hub.sqlite-shm"} <= modes.keys()
            assert set(modes.values()) == {0}, modes
    finally:
        os.umask(before)


def test_a_full_disk_is_an_engine_that_is_down(store: SqliteStore) -> None:
    """Whatever statement meets it first: the caller is told to try again, and does when there is room."""

    def fill(tx: Tx) -> None:
        tx.insert("interned(id, body)", [(at, "x" * 4_000) for at in range(1, 2_000)])

    (pages,) = store.write(lambda tx: tx.one("PRAGMA page_count")) or (0,)
    store.write(lambda tx: tx.one(f"PRAGMA max_page_count = {pages + 20}"))
    with pytest.raises(HubError) as refused:
        store.write(fill)
    assert (refused.value.kind, refused.value.code) == (Kind.UNAVAILABLE, "store-unavailable")
    store.write(lambda tx: tx.one("PRAGMA max_page_count = 1000000"))
    store.write(fill)


def test_a_defect_is_not_taken_for_a_full_disk(store: SqliteStore) -> None:
    """A statement that breaks a rule of the schema stays what it is: the log has to say so."""
    with pytest.raises(sqlite3.IntegrityError):
        store.write(lambda tx: tx.insert("fact(name, value)", [("a", "1"), ("a", "2")]))


def test_a_list_of_keys_is_never_padded_beyond_what_a_statement_takes() -> None:
    """SQLite takes 32,766 parameters; a power of two above that would be refused."""
    assert len(padded(list(range(20_000)))) <= 32_766


class AnythingGoes:
    """A dataset's schema that sets no limit to its lists."""

    def is_valid(self, _data: object) -> bool:
        return True


def test_an_event_that_names_a_crowd_is_refused(tmp_path: Path) -> None:
    """Every person named is looked up, sealed for and committed to: sixty-four are enough for any family."""
    with opened(tmp_path) as hub:
        validators: dict[tuple[str, int], Any] = {("civil.birth.registered", 1): AnythingGoes()}
        desk = replace(hub.publishing, validators=validators)
        envelope = {
            "specversion": "1.0", "id": "e-1", "source": "urn:agency:civil-registry", "type": "civil.birth.registered",
            "subject": "C", "time": "2026-11-02T09:00:00Z",
            "data": {"child_id": "C", "dob": "2026-10-20", "parent_ids": [f"P-{at}" for at in range(65)]},
        }  # fmt: skip
        (outcome,) = publish(desk, "civil-registry", [envelope])
        assert isinstance(outcome, HubError)
        assert [item.where for item in outcome.items] == ["/data"]


def test_publishes_that_share_a_commit_do_not_keep_a_withdrawal_waiting_for_all_of_them(store: SqliteStore) -> None:
    """Twenty batches of five hundred queue behind one another; the fast lane gets in after two of them."""
    begun, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def hold_up(_tx: Tx) -> None:
        begun.set()
        go_on.wait(10)

    jobs = [store.submit(hold_up)]
    begun.wait(10)
    jobs += [store.submit(lambda _tx: order.append("batch"), group=True, rows=500) for _ in range(20)]
    before = store.commits
    go_on.set()
    for job in jobs:
        job.result()
    assert len(order) == 20
    assert store.commits - before >= 10


def test_a_bulk_of_links_is_written_in_pieces(tmp_path: Path) -> None:
    """A thousand links in one transaction held a withdrawal up for half a second."""
    with opened(tmp_path) as hub:
        before = hub.store.commits
        link(hub.register, LINKER, [NewLink("utilities", f"U-{at}", f"R-{at}", 3) for at in range(500)])
        assert hub.store.commits - before >= 5

"""PostgreSQL as the store: fences, ids, connections that are lost, and what the hub's own role may not do."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run
from sys import executable
from typing import Any

import psycopg
import pytest

from hub.clock import system_clock
from hub.core.errors import HubError, Kind
from hub.failpoints import arm, disarm
from hub.store.engine import IDS, Fences, Key, Tx
from hub.store.migrate import HEAD
from hub.store.migrate_postgres import INSERT_ONLY, as_user, ensure, opened, role_of
from hub.store.postgres import PgStore, lock_number, ordered
from hub.store.under_way import note_oldest
from tests import stores
from tests.interleaving import Doing

A, B = (1, 7), (1, 8)
SOON_S, NEVER_S = 5.0, 0.3


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The database of one test."""
    stores.server()
    yield tmp_path / "hub.sqlite"
    stores.drop_all()


@pytest.fixture
def store(path: Path) -> Iterator[PgStore]:
    running = PgStore(stores.dsn_of(path))
    yield running
    disarm()
    running.close()


def holding(store: PgStore, fences: Fences | None, *, hold_s: float = 0.25) -> "tuple[threading.Event, Doing[Any]]":
    """Begin a write that keeps its fences for a while; returns when it has them, and the write itself."""
    begun = threading.Event()

    def work(_tx: Tx) -> float:
        begun.set()
        time.sleep(hold_s)
        return time.monotonic()

    doing = Doing(lambda: store.write(work, fences=fences))
    assert begun.wait(SOON_S)
    return begun, doing


def ended(store: PgStore, fences: Fences | None) -> float:
    return store.write(lambda _tx: time.monotonic(), fences=fences)


CROSSING = [
    ("relies, then changes", Fences(relies=[A]), Fences(changes=[A]), True),
    ("changes, then relies", Fences(changes=[A]), Fences(relies=[A]), True),
    ("changes, then changes", Fences(changes=[A]), Fences(changes=[A, B]), True),
    ("nothing named, then named", None, Fences(relies=[A]), True),
    ("named, then nothing named", Fences(relies=[A]), None, True),
    ("two rely", Fences(relies=[A]), Fences(relies=[A]), False),
    ("of two persons", Fences(changes=[A]), Fences(changes=[B]), False),
]


@pytest.mark.parametrize(("first", "second", "waits"), [row[1:] for row in CROSSING], ids=[row[0] for row in CROSSING])
def test_whoever_changes_excludes_whoever_relies_in_both_directions(
    store: PgStore, first: Fences | None, second: Fences | None, waits: bool
) -> None:
    """And nobody else: two that rely on the same thing, or on different ones, run beside each other."""
    ended(store, second)  # its connection is open: what is measured is the lock
    _, doing = holding(store, first)
    there = ended(store, second)
    assert (there >= doing.result()) is waits


def test_what_the_work_reads_is_as_of_after_the_fence(store: PgStore) -> None:
    """Facts read while another changed them would be from before (release model: facts before fence)."""
    store.write(lambda tx: tx.run("INSERT INTO fact(name, value) VALUES ('x', 'old')"))
    changing = threading.Event()

    def change(tx: Tx) -> None:
        tx.run("UPDATE fact SET value = 'new' WHERE name = 'x'")
        changing.set()
        time.sleep(0.2)

    doing = Doing(lambda: store.write(change, fences=Fences(changes=[A])))
    assert changing.wait(SOON_S)
    assert store.write(lambda tx: tx.one("SELECT value FROM fact"), fences=Fences(relies=[A])) == ("new",)
    doing.result()


def test_two_thousand_random_transactions_meet_in_no_circle(store: PgStore) -> None:
    """Locks are taken in ascending order, whatever order they are named in: nobody waits for who waits for them."""
    before = deadlocks(store)

    def some(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(500):
            keys = [(1, chance.randrange(12)) for _ in range(chance.randrange(1, 6))]
            cut = chance.randrange(len(keys) + 1)
            store.write(lambda tx: tx.rows("SELECT 1"), fences=Fences(keys[:cut], keys[cut:]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(some, range(4)))
    assert deadlocks(store) == before
    assert store.commits >= 2_000


def deadlocks(store: PgStore) -> int:
    with store.read() as tx:
        row = tx.one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert row is not None
    return int(row[0])


def test_lock_numbers_ascend_and_what_is_changed_is_taken_alone() -> None:
    """Also where one thing is both relied on and changed: exclusive from the first, never upgraded."""
    keys: list[Key] = [(1, number) for number in range(50)]
    taken = ordered(Fences(relies=keys, changes=keys[:5]))
    assert list(taken) == sorted(taken)
    assert {number for number, alone in taken.items() if alone} == {lock_number(key) for key in keys[:5]}
    assert len(taken) == 50
    assert 0 not in taken  # the lock that every write takes


def test_a_withdrawal_waits_for_who_holds_its_person_and_not_for_who_came_later(store: PgStore) -> None:
    """With four threads that rely on a popular person all the time, one after the other, each change gets its turn."""
    stop = threading.Event()
    relies = Fences(relies=[A, *[(1, number) for number in range(100, 150)]])

    def rely() -> None:
        while not stop.is_set():
            store.write(lambda tx: tx.rows("SELECT pg_sleep(0.005)"), fences=relies)

    threads = [threading.Thread(target=rely) for _ in range(4)]
    for thread in threads:
        thread.start()
    waited = []
    try:
        for _ in range(20):
            began = time.monotonic()
            ended(store, Fences(changes=[A]))
            waited.append(time.monotonic() - began)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert max(waited) < 1.0, waited  # a few ms each on a quiet machine; starved it would be for ever


def test_a_worker_that_stops_inside_its_transaction_loses_its_fences(path: Path) -> None:
    """The citizen behind it waits for half a second, not for the worker; and what the worker did is taken back."""
    store = PgStore(stores.dsn_of(path), idle_ms=300)
    go_on = threading.Event()
    begun = threading.Event()

    def stall(tx: Tx) -> None:
        tx.run("INSERT INTO fact(name, value) VALUES ('stalled', '')")
        begun.set()
        go_on.wait(SOON_S)

    stalled = Doing(lambda: store.write(stall, fences=Fences(relies=[A])))
    assert begun.wait(SOON_S)
    began = time.monotonic()
    ended(store, Fences(changes=[A]))
    assert time.monotonic() - began < 2.0
    go_on.set()
    with pytest.raises(HubError) as caught:
        stalled.result()
    assert (caught.value.kind, caught.value.code) == (Kind.UNAVAILABLE, "store-unavailable")
    with store.read() as tx:
        assert tx.rows("SELECT 1 FROM fact WHERE name = 'stalled'") == []
    store.close()


def kill_all(path: Path) -> None:
    """Have the server hang up on everybody who is connected to the database."""
    with psycopg.connect(stores.owner_dsn_of(path), autocommit=True) as owner:
        owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("moment", ["store.before_commit", "in the work"])
def test_a_connection_that_is_lost_inside_a_write_is_an_engine_that_is_down(
    store: PgStore, path: Path, moment: str
) -> None:
    """Nothing of it is there, the caller is told to try again, and the next write opens a new connection by itself."""

    def work(tx: Tx) -> None:
        tx.run("INSERT INTO fact(name, value) VALUES ('lost', '')")
        if moment == "in the work":
            kill_all(path)
            tx.rows("SELECT 1")

    if moment != "in the work":
        arm(moment, lambda: kill_all(path))
    with pytest.raises(HubError) as caught:
        store.write(work)
    disarm()
    assert caught.value.code == "store-unavailable"
    assert "hub_runtime" not in caught.value.what + caught.value.remedy
    with store.read() as tx:
        assert tx.rows("SELECT 1 FROM fact WHERE name = 'lost'") == []
    assert store.write(lambda tx: tx.run("INSERT INTO fact(name, value) VALUES ('lost', '')")) == 1


def test_idle_connections_that_the_server_ended_are_noticed_before_they_are_used(store: PgStore, path: Path) -> None:
    """After a restart of the server nobody is told of it: neither who reads nor who writes."""
    ended(store, None)
    kill_all(path)
    time.sleep(0.1)
    ended(store, None)
    with store.read() as tx:
        assert tx.rows("SELECT 1") == [(1,)]
    assert store.trouble() == ""


def test_a_second_process_works_on_the_same_store(store: PgStore, path: Path) -> None:
    """Unlike SQLite: what it writes is seen here, and its ids do not meet ours."""
    program = (
        "import sys\n"
        "from hub.store.postgres import PgStore\n"
        "store = PgStore(sys.argv[1])\n"
        "print(store.write(lambda tx: tx.draw('audit', 10)))\n"
        "store.close()\n"
    )
    mine = store.write(lambda tx: tx.draw("audit", 10))
    said = run([executable, "-c", program, stores.dsn_of(path)], capture_output=True, text=True, check=True, timeout=60)
    theirs = int(said.stdout)
    assert theirs >= mine + 10
    assert store.write(lambda tx: tx.draw("audit")) >= theirs + 10


def test_ids_are_contiguous_and_nobody_elses_under_eight_threads(store: PgStore) -> None:
    """Pieces of any length, drawn at once and in transactions that roll back, too."""

    class Undo(Exception):
        pass

    def draw(seed: int) -> list[range]:
        chance, drawn = random.Random(seed), []
        for _ in range(60):
            many = chance.choice([1, 1, 2, 7, 200])

            def work(tx: Tx, many: int = many) -> None:
                first = tx.draw("audit", many)
                drawn.append(range(first, first + many))
                if chance.random() < 0.2:
                    raise Undo

            try:
                store.write(work, fences=Fences())
            except Undo:
                continue
        return drawn

    with ThreadPoolExecutor(8) as pool:
        pieces = [piece for drawn in pool.map(draw, range(8)) for piece in drawn]
    numbers = [number for piece in pieces for number in piece]
    assert len(numbers) == len(set(numbers))


def test_every_table_whose_ids_are_drawn_has_a_sequence(store: PgStore) -> None:
    drawn = {table: store.write(lambda tx, table=table: tx.draw(table)) for table in IDS}  # type: ignore[misc]  # each its own
    assert {drawn.pop("audit"), drawn.pop("delivery")} == {(system_clock() // 86_400_000_000) << 38}  # begun by the day
    assert set(drawn.values()) == {1}


def test_the_hubs_role_cannot_change_what_is_insert_only(store: PgStore, path: Path) -> None:
    """Whatever its code says. Of three tables it may overwrite the columns that it must, and no others."""
    for table, may in INSERT_ONLY.items():
        with psycopg.connect(stores.owner_dsn_of(path)) as owner:
            found = owner.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", (table,))
            columns = [row[0] for row in found]
        assert set(may) < set(columns)
        refused = [f"UPDATE {table} SET {column} = NULL" for column in columns if column not in may]
        for statement in (*refused, f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                store.write(lambda tx, statement=statement: tx.run(statement))  # type: ignore[misc]  # each its own
        for column in may:
            allowed = f"UPDATE {table} SET {column} = NULL WHERE 1 = 0"
            store.write(lambda tx, allowed=allowed: tx.run(allowed))  # type: ignore[misc]  # each its own


def test_the_hubs_role_makes_no_table_and_migrates_nothing(path: Path) -> None:
    """An empty database that only the owner may fill is refused, with the command that fills it."""
    name = stores.owner_dsn_of(path).rpartition("/")[2]
    with psycopg.connect(stores.owner_dsn_of(path), autocommit=True) as owner:
        owner.execute("DROP SCHEMA public CASCADE")
        owner.execute("CREATE SCHEMA public")
        owner.execute(f"GRANT USAGE ON SCHEMA public TO {stores.ROLE}".encode())
    dsn = as_user(f"{stores.server()}/{name}", stores.ROLE)
    with pytest.raises(HubError) as caught:
        ensure(dsn)
    assert (caught.value.kind, caught.value.code) == (Kind.STARTUP, "store-unusable")
    assert "hub migrate" in caught.value.remedy
    assert ensure(dsn, owner_dsn=stores.owner_dsn_of(path)) == "made"
    assert ensure(dsn) == "current"
    assert role_of(dsn) == stores.ROLE


def test_a_store_of_a_newer_hub_is_refused(path: Path) -> None:
    dsn = stores.dsn_of(path)
    with psycopg.connect(stores.owner_dsn_of(path), autocommit=True) as owner:
        owner.execute("UPDATE alembic_version SET version_num = '9999'")
        note_oldest(owner, "9999")
    with pytest.raises(HubError) as caught:
        ensure(dsn)
    assert caught.value.code == "store-newer"
    assert HEAD in caught.value.what


def test_a_database_that_sorts_by_a_languages_rules_is_refused(path: Path) -> None:
    """Order is the bytes' on both engines."""
    name = stores.owner_dsn_of(path).rpartition("/")[2] + "_utf8"
    with psycopg.connect(f"{stores.server()}/postgres", autocommit=True) as admin:
        locale = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 {locale}".encode())
    try:
        with pytest.raises(HubError) as caught:
            ensure(f"{stores.server()}/{name}")
        assert "bytes" in caught.value.what
    finally:
        with psycopg.connect(f"{stores.server()}/postgres", autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name}".encode())


def test_a_database_that_does_not_answer_is_said_without_its_address() -> None:
    """Whose password stands in the DSN, too."""
    for attempt in (
        lambda: PgStore("postgresql://me:secret@127.0.0.1:1/hub"),
        lambda: _open("postgresql://me:secret@127.0.0.1:1/hub"),
    ):
        with pytest.raises(HubError) as caught:
            attempt()
        said = repr(caught.value) + caught.value.what + caught.value.remedy + repr(caught.value.__cause__)
        assert caught.value.kind is Kind.UNAVAILABLE
        assert not [secret for secret in ("secret", "127.0.0.1", "me:") if secret in said]


def _open(dsn: str) -> None:
    with opened(dsn):
        pass


def test_what_is_submitted_runs_in_order_and_raises_where_its_result_is_asked_for(store: PgStore) -> None:
    """The gate's positions follow each other; a batch that failed is heard of by its own result alone."""
    said: list[int] = []

    def fail(_tx: Tx) -> None:
        raise ValueError("mine")

    jobs = [store.submit(lambda _tx, at=at: said.append(at)) for at in range(20)]  # type: ignore[misc]  # each its own
    failing, last = store.submit(fail), store.submit(lambda _tx: said.append(99))
    for job in jobs:
        job.result()
    with pytest.raises(ValueError, match="mine"):
        failing.result()
    last.result()
    assert said == [*range(20), 99]


def test_many_rows_and_few_go_in_alike(store: PgStore) -> None:
    """By COPY and by a statement, with nulls, negatives, empty bytes and the largest number there is."""
    rows = [(at, 2**62 - at, None if at % 2 else -at, b"" if at % 3 else b"\\x00", None) for at in range(1, 101)]
    into = "person(id, created_us, erased_us, key, born)"
    assert store.write(lambda tx: tx.insert(into, rows[:5])) == 5
    assert store.write(lambda tx: tx.insert(into, rows[5:])) == 95
    with store.read() as tx:
        assert tx.rows("SELECT id, created_us, erased_us, key, born FROM person ORDER BY id") == rows
    assert store.write(lambda tx: tx.insert(into, rows, or_ignore=True)) == 0
    assert store.write(lambda tx: tx.insert(into, [])) == 0

"""PostgreSQL's partitions: by day, made ahead, never in a write's way; what the hub's role may not do with them."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest

from hub.clock import system_clock
from hub.exchange.choose import gather
from hub.operations.partitioning import look, partitioning
from hub.settings import Settings
from hub.store.delivered import EMPTIED
from hub.store.engine import Fences, Tx
from hub.store.operations import put_fact
from hub.store.partitions import RENEW_ROWS, ahead_days, make_ahead, partitions, renew
from hub.store.postgres import PgStore
from tests import stores
from tests.interleaving import Doing
from tests.protocol_world import CONSENT, Hub

TABLES = ("audit", "delivery", "history")
DAY_US = 86_400_000_000
BITS = 38  # a day's ids begin at its number, shifted by so many
AUDIT = "audit(id, kind, at_us, leaf, fences, detail)"
PLANNED = 12  # so often a statement is asked before PostgreSQL keeps its plan: twice unprepared, five times for itself
DELIVERY = "delivery(id, public, kind, recipient, subscription, version, audit, time_us, parts, payload)"


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The database of one test."""
    stores.server()
    stores.use(stores.REAL)
    yield tmp_path / "hub.sqlite"
    stores.use(stores.EMBEDDED)
    stores.drop_all()


@pytest.fixture
def store(path: Path) -> Iterator[PgStore]:
    running = PgStore(stores.dsn_of(path))
    yield running
    running.close()


def today() -> int:
    return system_clock() // DAY_US


def owner(path: Path) -> psycopg.Connection:
    return psycopg.connect(stores.owner_dsn_of(path), autocommit=True)


def parts(path: Path, table: str) -> dict[str, tuple[int, int | None]]:
    """Return a table's partitions with their first day and the day after their last, in the order of their names."""
    with owner(path) as connection:
        found = connection.execute(
            "SELECT part, from_id >> 38, until_id >> 38 FROM partition_bounds() WHERE parent = %s ORDER BY part",
            (table,),
        )
        return {name: (first, until) for name, first, until in found}


def rows_of(path: Path, part: str) -> list[tuple[Any, ...]]:
    with owner(path) as connection:
        return connection.execute(f"SELECT * FROM parts.{part} ORDER BY 1, 2".encode()).fetchall()


def write_audits(store: PgStore, *ids: int) -> None:
    store.write(lambda tx: tx.insert(AUDIT, [(one, 1, 1, b"l", b"", b"d") for one in ids]), fences=Fences())


def test_ids_of_audit_rows_and_deliveries_begin_with_the_day(store: PgStore) -> None:
    """A draw of many stays in one piece, and the next one follows it; other tables are numbered from one."""
    for table in ("audit", "delivery"):
        first = store.write(lambda tx, table=table: tx.draw(table, 7))  # type: ignore[misc]  # each its own
        assert first == today() << BITS
        assert store.write(lambda tx, table=table: tx.draw(table)) == first + 7  # type: ignore[misc]  # each its own
    assert store.write(lambda tx: tx.draw("consent")) == 1


def test_a_sequence_that_is_ahead_is_never_set_back(store: PgStore, path: Path) -> None:
    """Ids grow, whatever the clock does: what was drawn tomorrow is followed by what comes after it."""
    ahead = (today() + 40) << BITS
    with owner(path) as connection:
        connection.execute("SELECT setval('audit_id_seq', %s)", (ahead,))
    assert store.write(lambda tx: tx.draw("audit")) == ahead + 1


def test_a_decision_its_deliveries_and_its_history_lie_in_partitions_of_their_day(path: Path) -> None:
    """And nothing in the one that takes what has no partition; moved ids of an older store lie in the first."""
    hub = Hub(path.parent)
    hub.grant(hub.link("A"))
    hub.publish("e1")
    hub.decide()
    assert len(hub.drain()[0]) == 1
    for table in TABLES:
        filled = {name for name in parts(path, table) if rows_of(path, name)}
        assert filled, table
        assert f"{table}_other" not in filled
    found = hub.rows("SELECT count(*) FROM history h JOIN audit a ON a.id = h.audit")
    assert found[0][0] >= 2
    write_audits(hub.store, 5)  # type: ignore[arg-type]  # on this set of engines it is one
    assert next(row[0] for row in rows_of(path, "audit_before")) == 5
    hub.close()


def test_partitions_are_made_ahead_by_migration_and_again_by_the_hub(store: PgStore, path: Path) -> None:
    """They follow each other without a hole; asked again, none is to be made."""
    for table in TABLES:
        bounds = [bound for name, bound in parts(path, table).items() if name != f"{table}_other"]
        ordered = sorted(bounds, key=lambda bound: bound[0])
        assert [until for _, until in ordered][:-1] == [first for first, _ in ordered][1:]
        assert ordered[-1][1] is not None
        assert ordered[-1][1] >= today() + ahead_days(30)
    assert make_ahead(store, 30, ahead_days(30)) == 0
    there = sum(len(parts(path, table)) for table in TABLES)
    made = make_ahead(store, 7, 400)
    assert made == sum(len(parts(path, table)) for table in TABLES) - there > 0
    with store.read() as tx:
        assert all(one.until_day >= today() + 400 for one in partitions(tx))


def test_what_no_partition_was_made_for_is_not_lost_and_doctor_says_so(store: PgStore, path: Path) -> None:
    """It stays where it went, and the next partition begins after it."""
    late = (today() + 400) << BITS
    write_audits(store, late + 1)
    assert [row[0] for row in rows_of(path, "audit_other")] == [late + 1]
    with store.read() as tx:
        assert tx.one("SELECT detail FROM audit WHERE id = ?", (late + 1,)) is not None
        said = look(tx)
    assert (said.level, "audit" in said.what, "delivery" in said.what) == ("WARN", True, False)
    assert make_ahead(store, 30, 440) > 0
    write_audits(store, late + (1 << BITS))
    assert [row[0] for row in rows_of(path, "audit_other")] == [late + 1]


def test_doctor_says_that_none_is_made_ahead(store: PgStore, path: Path) -> None:
    """Where retention has not run for weeks; with it all is well."""
    with store.read() as tx:
        assert look(tx).level == "PASS"
    with owner(path) as connection:
        for name, (first, _) in parts(path, "history").items():
            if first > today():
                connection.execute(f"DROP TABLE parts.{name}".encode())
    with store.read() as tx:
        said = look(tx)
    assert (said.level, "history" in said.what) == ("WARN", True)
    settings = Settings(mode="development", data_dir=path.parent, store_dsn=stores.dsn_of(path))
    step = partitioning(settings, store)
    step()
    with store.read() as tx:
        assert look(tx).level == "PASS"


def test_on_a_file_the_worker_has_nothing_to_do(store: PgStore, path: Path) -> None:
    """SQLite has no partitions: no function is asked for."""
    store.close()
    assert partitioning(Settings(mode="development", data_dir=path.parent), store)() == 0


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM parts.audit_before",
        "UPDATE parts.audit_before SET at_us = 0",
        "DELETE FROM parts.audit_before",
        "TRUNCATE parts.history_before",
        "INSERT INTO parts.history_before(person, audit) VALUES (1, 1)",
        "DROP TABLE parts.audit_before",
        "ALTER TABLE audit DETACH PARTITION parts.audit_before",
        "ALTER TABLE delivery DETACH PARTITION parts.delivery_before",
        "CREATE TABLE parts.mine (LIKE audit)",
        "CREATE TABLE mine PARTITION OF audit FOR VALUES FROM (1) TO (2)",
        "UPDATE audit SET leaf = ''",
        "DELETE FROM history",
        "COMMENT ON TABLE alembic_version IS 'serves 0001'",
    ],
)
def test_the_hubs_role_has_no_business_in_a_partition(store: PgStore, path: Path, statement: str) -> None:
    """Neither by its own name nor by its parent's: rows are inserted through the parent and read there."""
    write_audits(store, 1)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        store.write(lambda tx: tx.run(statement))
    assert len(rows_of(path, "audit_before")) == 1


def test_only_the_hubs_role_may_have_partitions_made_and_only_sane_ones(store: PgStore, path: Path) -> None:
    """The functions run as the owner: nobody else in the database may call them, and a thousand years are refused."""
    with owner(path) as connection:
        open_to_all = connection.execute(
            "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
            " AND (proacl IS NULL OR array_to_string(proacl, ',') ~ '(^|,)=X')"
        ).fetchall()
        fixed = connection.execute(
            "SELECT proname FROM pg_proc WHERE prosecdef"
            " AND NOT coalesce(proconfig::text LIKE '%search_path=pg_catalog%', false)"
        ).fetchall()
    assert (open_to_all, fixed) == ([], [])
    for days, ahead in ((0, 30), (400, 30), (30, 365_000)):
        with pytest.raises(psycopg.errors.RaiseException):
            make_ahead(store, days, ahead)


def test_a_reader_that_stays_keeps_nobody_waiting_for_long(store: PgStore, path: Path) -> None:
    """Partitions are made when it has gone; until then each try costs whoever comes meanwhile 200 ms at most."""
    begun, over = Event(), Event()

    def report() -> None:
        with store.read() as tx:
            tx.rows("SELECT count(*) FROM audit")
            begun.set()
            over.wait(10.0)

    reading = Doing(report)
    assert begun.wait(5.0)
    trying = Doing(lambda: make_ahead(store, 30, 500))
    slowest_s = 0.0
    for number in range(1, 40):
        began_s = time.monotonic()
        write_audits(store, number)
        with store.read() as tx:
            tx.rows("SELECT count(*) FROM audit")
        slowest_s = max(slowest_s, time.monotonic() - began_s)
    assert trying.result() == -1
    assert slowest_s < 1.0, slowest_s  # 0.2 s and what a busy machine adds; for as long as the report it would be 10
    over.set()
    reading.result()
    assert make_ahead(store, 30, 500) > 0


# What was emptied.


def write_deliveries(store: PgStore, ids: range, payload: bytes) -> None:
    rows = [(one, one.to_bytes(16), 1, 2, 3, 1, 4, 5, b"parts", payload) for one in ids]
    store.write(lambda tx: tx.insert(DELIVERY, rows), fences=Fences())


def emptied_up_to(store: PgStore, last: int) -> None:
    def work(tx: Tx) -> None:
        tx.run("UPDATE delivery SET payload = x'' WHERE id <= ?", (last,))
        put_fact(tx, EMPTIED, str(last))

    store.write(work)


def file_of(path: Path, part: str) -> bytes:
    """Read what lies on the disk of a partition, after a checkpoint."""
    with owner(path) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute(
            "SELECT current_setting('data_directory'), pg_relation_filepath(%s)", (f"parts.{part}",)
        )
        directory, name = row.fetchone() or ("", "")
    return (Path(str(directory)) / str(name)).read_bytes()


def test_a_partition_that_was_emptied_is_written_anew_and_the_bytes_are_gone_from_the_disk(
    store: PgStore, path: Path
) -> None:
    """Every row is as it was; emptying alone leaves the sealed bytes in the file's pages."""
    canary = b"canary-" * 20
    count = 2 * RENEW_ROWS + 10
    write_deliveries(store, range(1, count + 1), canary)
    assert renew(store) == 0  # nothing is empty yet
    emptied_up_to(store, (today() + 50) << BITS)
    assert canary in file_of(path, "delivery_before")
    rows = rows_of(path, "delivery_before")
    bounds = parts(path, "delivery")
    pieces = []
    while piece := renew(store):
        pieces.append(piece)
        with store.read() as tx:
            assert tx.one("SELECT count(*) FROM delivery") == (count,)
    assert pieces[:3] == [RENEW_ROWS, RENEW_ROWS, 10]
    assert canary not in file_of(path, "delivery_before")
    assert rows_of(path, "delivery_before") == rows
    assert parts(path, "delivery") == bounds
    assert look_for_leftovers(path) == []


def look_for_leftovers(path: Path) -> list[tuple[Any, ...]]:
    with owner(path) as connection:
        return connection.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE '%anew'").fetchall()


def test_a_partition_that_is_not_all_emptied_stays_as_it_is(store: PgStore, path: Path) -> None:
    """The mark says up to where; and where the mark is wrong, no payload is touched."""
    write_deliveries(store, range(1, 20), b"payload")
    emptied_up_to(store, 10)
    assert renew(store) == 0  # the mark lies within the partition
    store.write(lambda tx: put_fact(tx, EMPTIED, str((today() + 50) << BITS)))
    with pytest.raises(psycopg.errors.RaiseException):
        renew(store)
    assert sum(row[-1] == b"payload" for row in rows_of(path, "delivery_before")) == 9
    assert look_for_leftovers(path) == []


def test_a_partition_is_not_exchanged_under_a_reader_and_is_later(store: PgStore, path: Path) -> None:
    """What was copied is kept, and only the exchange is tried again."""
    write_deliveries(store, range(1, 50), b"payload")
    emptied_up_to(store, (today() + 50) << BITS)
    with store.read() as tx:
        tx.rows("SELECT count(*) FROM delivery")
        assert renew(store) == 0
        assert tx.one("SELECT count(*) FROM delivery") == (49,)
    while renew(store):
        pass
    with owner(path) as connection:
        renewed = connection.execute("SELECT obj_description('parts.delivery_before'::regclass)").fetchone()
    assert renewed == ("renewed",)


def test_a_query_by_id_reads_one_partition(store: PgStore, path: Path) -> None:
    """However many there are: the others are not opened."""
    make_ahead(store, 30, 1000)
    with owner(path) as connection:
        plan = connection.execute("EXPLAIN SELECT detail FROM audit WHERE id = 7").fetchall()
    text = "\n".join(str(row[0]) for row in plan)
    assert "audit_before" in text
    assert "audit_2" not in text
    assert "audit_other" not in text


def touched(tx: Tx, table: str) -> set[str]:
    """Return the partitions whose rows this transaction's statements could have read: their indexes are locked."""
    found = tx.rows(
        "SELECT t.relname FROM pg_locks l JOIN pg_index i ON i.indexrelid = l.relation JOIN pg_class t ON t.oid ="
        " i.indrelid WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND t.relispartition"
    )
    return {name for (name,) in found if name.startswith(f"{table}_")}


def test_a_hand_out_leaves_the_partitions_before_its_first_delivery_alone(path: Path) -> None:
    """However many there are: once its statement stays planned, those that nothing waits in are not even opened."""
    hub = Hub(path.parent)
    make_ahead(hub.store, 7, 300)
    hub.grant(hub.link("A"))
    recipient = hub.catalogue.agencies[CONSENT.recipient].number
    with hub.store.read() as tx:
        assert gather(hub.world, tx, recipient, 10).candidates == []
        assert touched(tx, "delivery") == set()
    late = (today() + 200) << BITS
    hub.store.write(lambda tx: tx.rows("SELECT setval('delivery_id_seq', ?)", (late,)))
    hub.publish("e1")
    hub.decide()
    for _ in range(PLANNED):
        with hub.store.read() as tx:
            assert len(gather(hub.world, tx, recipient, 10).candidates) == 1
    with hub.store.read() as tx:
        gather(hub.world, tx, recipient, 10)
        found = touched(tx, "delivery")
    spans = parts(path, "delivery")
    since = {name for name, (_, until) in spans.items() if until is None or until > today() + 200}
    assert len(since) < len(spans) - 2
    assert found == since
    hub.close()


def test_a_delivery_that_waits_from_long_ago_leaves_with_those_of_today(path: Path) -> None:
    """In the events' order, opened again or for the first time, whatever partitions lie between."""
    hub = Hub(path.parent)
    make_ahead(hub.store, 7, 300)
    hub.grant(hub.link("A"))
    hub.publish("opened")
    hub.decide()
    assert len(hub.pull().opened) == 1
    for days, event in ((100, "ready"), (200, "late")):
        hub.store.write(
            lambda tx, days=days: tx.rows("SELECT setval('delivery_id_seq', ?)", ((today() + days) << BITS,))  # type: ignore[misc]  # each its own
        )
        hub.publish(event)
        hub.decide()
    hub.pass_by(hub.limits.redeliver_us / 1e6 + 1)
    assert [one.number for one in hub.pull().opened] == [1, 2, 3]
    assert len({id_ >> BITS for id_, _ in hub.states()}) == 3
    hub.close()

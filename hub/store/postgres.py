"""PostgreSQL as this hub uses it: many processes over one database, and fences instead of a single writer.

Each write is one READ COMMITTED transaction in its caller's thread. Before its work runs it takes advisory locks:

1. WORLD: exclusive where the write names no fences - then it excludes every other write, as SQLite's one writer does -
   and shared where it does. In the same round trip, under the lock, it reads the number of the keys that everything is
   sealed under: whoever does not know it is refused here (`Store.heed`), and one that is known stays the present one
   until the commit, for a rotation names no fences;
2. one lock per fence it names, shared for what it relies on, exclusive for what it changes, in ascending order of the
   lock's number: whoever waits holds only lower ones, so nobody waits in a circle;
3. then the work: each of its statements sees what was committed before it, so facts are as of after the fences.
PostgreSQL queues advisory locks in the order they were asked for, so a withdrawal waits for those who hold its person,
never for those who came later. A snapshot older than the fence would be a hole: that is why writes are not REPEATABLE
READ. Readers are, and see one snapshot for as long as they run.
"""

# long: one engine, its transactions and its connections
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import pq
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import StrBinaryDumper, TextBinaryLoader

from hub.core.errors import HubError
from hub.failpoints import reach
from hub.store.arrays import (
    OF_TYPE,
    Binaries,
    BinariesDumper,
    Integers,
    IntegersDumper,
    Texts,
    TextsDumper,
    array_of,
)
from hub.store.dialect import table_and_columns, translate
from hub.store.engine import IDS, Fences, Key, Lane, Query, Row, Tx, Watch, keys_changed, only, stopping, unavailable
from hub.store.migrate import HEAD
from hub.store.news import Topic
from hub.store.outside import NOWHERE, Outside
from hub.store.refused import refused
from hub.store.told import told

T = TypeVar("T")
Connection = psycopg.Connection[Row]

COPY_ROWS = 32  # from here on COPY costs less than a statement over arrays: measured 4.8 and 15.6 us a row at 1,000
PREPARED = 500  # statements that stay prepared per connection; the house has fewer texts
IDLE_MS = 500  # see `store_idle_ms` in hub/settings.py
PATIENT_MS = 10_000  # an operator's act that computes between its statements, as a catalogue's approval does
STATEMENT_MS = 15_000  # a batch's longest statement takes milliseconds; what runs so long stands in everybody's way
LOCK_MS = 10_000  # waiting for a fence; who stands in the way is ended by then, or has committed
READ_IDLE_MS = 60_000  # a reader holds nobody up, but its snapshot keeps old rows from being cleared away
CONNECT_S = 5
CONNECTIONS = 24  # of each kind, per process: web threads and workers; PostgreSQL's own default allows 100 in all
BORROW_S = 5.0  # waiting for one of them
WORLD = 0  # the advisory lock that every write takes
_BROKEN = frozenset(["25006", "25P03", "25P04"])  # a standby, and the two time-outs inside a transaction
_COMMON = (
    "-c jit=off -c synchronous_commit=on -c search_path=public -c timezone=UTC -c bytea_output=hex"
    " -c client_min_messages=warning"
)  # fmt: skip - jit: it costs more than our short statements take
_WRITER = (
    f"{_COMMON} -c statement_timeout={STATEMENT_MS}"
    f" -c lock_timeout={LOCK_MS} -c default_transaction_isolation=read\\ committed"
)
_READER = (
    f"{_COMMON} -c idle_in_transaction_session_timeout={READ_IDLE_MS} -c statement_timeout={READ_IDLE_MS}"
    " -c default_transaction_isolation=repeatable\\ read -c default_transaction_read_only=on"
)
_ORIGIN = (
    b"SELECT (SELECT system_identifier FROM pg_control_system())::text || CASE WHEN pg_is_in_recovery() THEN ''"
    b" ELSE '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
)
_CLOCK = b"SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_GIVEN_UP: dict[str, Any] = {  # after these a line counts as dead that a firewall has forgotten without a word
    "tcp_user_timeout": 10_000, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
}  # fmt: skip
_LOCKS = (
    "SELECT CASE WHEN f.alone = 1 THEN pg_advisory_xact_lock(f.key) ELSE pg_advisory_xact_lock_shared(f.key) END"
    " FROM unnest($1, $2) AS f(key, alone)"  # unnest gives them in the order of the arrays
)
_KEYS = f"; SELECT number FROM news WHERE topic = {Topic.WRAPPING.value}"  # its own snapshot, taken under the lock


class PgTx:
    """One open transaction. Not shared between threads."""

    def __init__(self, store: "PgStore", connection: Connection, fences: Fences | None = None) -> None:
        self._store, self._connection, self._fences = store, connection, fences
        self.outside = store.outside

    @property
    def alone(self) -> bool:
        return self._fences is None

    def may_change(self, key: Key) -> bool:
        return self._fences is None or key in self._fences.changes

    @property
    def facts_at(self) -> int:
        """Equal to no other: what other processes commit cannot be counted here, so facts are read again."""
        return -next(_unequal)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> psycopg.Cursor[Row]:
        statement = translate(sql)
        values = statement.values(parameters)
        if values is not parameters:
            values = [array_of(one) if isinstance(one, list) else one for one in values]
        return self._connection.execute(statement.text.encode(), values or None, binary=True)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self.execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """Return the only row, or None. A second row is a programming error and is noticed."""
        return only(self.execute(sql, parameters).fetchmany(2))

    def text(self, sql: str, parameters: Sequence[Any] = ()) -> str:
        """Run a query that aggregates all it has into one JSON text."""
        found = self.execute(sql, parameters).fetchone()
        assert found is not None
        return str(found[0])

    def texts(self, queries: Sequence[Query]) -> list[str]:
        """Run several such queries at one go: they are sent together, and waited for once."""
        if len(queries) < 2:
            return [self.text(*one) for one in queries]
        with self._connection.pipeline():
            cursors = [self.execute(*one) for one in queries]
            return [str(only(cursor.fetchall())[0]) for cursor in cursors]  # type: ignore[index]  # an aggregate has one

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Return how many rows changed."""
        return self.execute(sql, parameters).rowcount

    def insert(self, into: str, rows: Sequence[Row], *, or_ignore: bool = False) -> int:
        """Insert rows in one statement over an array per column, or by COPY where they are many."""
        if not rows:
            return 0
        table, columns = table_and_columns(into)
        types = self._store.types_of(self._connection, table, columns)
        if len(rows) >= COPY_ROWS and not or_ignore:
            with self._connection.cursor().copy(f"COPY {into} FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
            return len(rows)
        arrays = [OF_TYPE[of](values) for of, values in zip(types, zip(*rows, strict=True), strict=True)]
        places = ",".join([f"${at}" for at in range(1, len(arrays) + 1)])
        ignoring = " ON CONFLICT DO NOTHING" if or_ignore else ""
        sql = f"INSERT INTO {into} SELECT * FROM unnest({places}){ignoring}"
        return self._connection.execute(sql.encode(), arrays).rowcount

    def draw(self, table: str, count: int = 1) -> int:
        """Take the next `count` numbers of the table's sequence, in one piece. What rolls back leaves a gap."""
        row = self._connection.execute(b"SELECT draw($1, $2)", (_sequence(table), count)).fetchone()
        assert row is not None
        self.outside.reserve(table, row[0] + count - 1)
        return int(row[0])

    def skip(self, table: str, upto: int) -> None:
        """Move the table's sequence on, never back. A sequence knows of no transaction: this stands at once."""
        sequence = _sequence(table)
        self.rows(f"SELECT setval('{sequence}', greatest(last_value, ?)) FROM {sequence}", (upto,))

    def origin(self) -> str:
        """Name cluster and timeline: a promoted standby begins a new one (PostgreSQL 18, 26.3 and 9.28.3)."""
        row = self._connection.execute(_ORIGIN).fetchone()
        assert row is not None
        return str(row[0])

    def has_table(self, name: str) -> bool:
        return bool(self.rows("SELECT 1 FROM pg_tables WHERE schemaname = 'public' AND tablename = ?", (name,)))

    def clock_us(self) -> int:
        row = self._connection.execute(_CLOCK, binary=True).fetchone()
        assert row is not None
        return int(row[0])


class _UnknownKeys(Exception):
    """This process does not know the keys that are present: nothing of a write has run."""

    def __init__(self, watch: Watch, number: int) -> None:
        super().__init__(number)
        self.watch, self.number = watch, number


class Pending(NamedTuple):
    """What was submitted."""

    future: "Future[Any]"

    def result(self) -> Any:
        return self.future.result()


class PgStore:
    """A database of PostgreSQL 18. Other processes may work on it at the same time."""

    shared = True

    def __init__(
        self,
        dsn: str,
        *,
        password: str = "",
        connections: int = CONNECTIONS,
        idle_ms: int = IDLE_MS,
        written_for: str = HEAD,
    ) -> None:
        """Look whether the database answers. Raises HubError(UNAVAILABLE); the DSN is in no message.

        `written_for` is the schema that the code knows; who migrates sees it beside each connection (`under_way.py`).
        """
        self.path, self._name = None, f"hub {written_for}"
        self.commits = 0
        self.outside: Outside = NOWHERE
        self._dsn, self._password = dsn, password
        self._writer = f"{_WRITER} -c idle_in_transaction_session_timeout={idle_ms}"
        self._idle: dict[str, deque[Connection]] = {self._writer: deque(), _READER: deque()}
        self._free = {kind: threading.Semaphore(connections) for kind in self._idle}
        self._types: dict[str, dict[str, str]] = {}
        self._counting = threading.Lock()
        self._closing = False
        self._watch: Watch | None = None
        self._submitted: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        with self.read() as tx:
            tx.rows("SELECT 1")
        self._worker = threading.Thread(target=self._work_off, name="store-writer", daemon=True)
        self._worker.start()

    def write(
        self,
        work: Callable[[Tx], T],
        *,
        lane: Lane = Lane.ORDINARY,  # noqa: ARG002 - nobody waits in a queue here; the locks are fair
        group: bool = False,  # noqa: ARG002 - PostgreSQL itself lets commits share a flush
        rows: int = 1,  # noqa: ARG002 - see `group`
        fences: Fences | None = None,
        patient: bool = False,
    ) -> T:
        """Run `work` in one transaction in this thread; see `Store.write`. Fences: the module's docstring, 1. and 2."""
        if self._closing:
            raise stopping()
        reach("store.queued")
        return self._transact(work, fences, patient=patient)

    def submit(
        self,
        work: Callable[[Tx], Any],
        *,
        lane: Lane = Lane.ORDINARY,  # noqa: ARG002 - as in `write`
        group: bool = False,  # noqa: ARG002 - as in `write`
        rows: int = 1,  # noqa: ARG002 - as in `write`
        fences: Fences | None = None,
    ) -> Pending:
        """Queue `work` for the store's own thread: one after the other, so that the gate's positions follow."""
        if self._closing:
            raise stopping()
        future: Future[Any] = Future()
        self._submitted.put((lambda: self._transact(work, fences), future))
        reach("store.queued")
        return Pending(future)

    @contextmanager
    def read(self) -> Iterator[PgTx]:
        """Give a reader on one snapshot for as long as the block runs. Raises HubError(UNAVAILABLE)."""
        with self._begun(_READER, b"BEGIN", "the store cannot be read; nothing was changed") as (connection, _):
            yield PgTx(self, connection)

    def heed(self, watch: Watch) -> None:
        """See `Store.heed`."""
        self._watch = watch

    def trouble(self) -> str:
        """Say in words why it cannot be read; "" when all is well."""
        try:
            with self.read() as tx:
                tx.rows("SELECT 1 FROM fact LIMIT 1")
        except HubError as error:
            return error.what
        return ""

    def wal_bytes(self) -> int:
        return 0  # PostgreSQL looks after its own log

    def close(self) -> None:
        """Finish what is queued, then close every connection that is idle."""
        self._closing = True
        self._submitted.put(None)
        self._worker.join()
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    def types_of(self, connection: Connection, table: str, columns: Sequence[str]) -> list[str]:
        """Name the types of a table's columns, as the database has them; asked once per table."""
        if table not in self._types:
            found = connection.execute(
                b"SELECT column_name::text, data_type::text FROM information_schema.columns"
                b" WHERE table_schema = 'public' AND table_name = $1",
                (table,),
            ).fetchall()
            self._types[table] = dict(found)
        known = self._types[table]
        return [known[column] for column in columns]

    # Transactions.
    def _transact(self, work: Callable[[Tx], T], fences: Fences | None, *, patient: bool = False) -> T:
        try:
            done = self._try(work, fences, patient=patient)
        except _UnknownKeys as unknown:
            if unknown.watch.learn(unknown.number):
                raise keys_changed() from None
            return self._transact(work, fences, patient=patient)  # another thread here had rotated, and is done by now
        with self._counting:
            self.commits += 1
        return done

    def _try(self, work: Callable[[Tx], T], fences: Fences | None, *, patient: bool) -> T:
        shared, watch = "" if fences is None else "_shared", self._watch
        waiting = f"SET LOCAL idle_in_transaction_session_timeout = {PATIENT_MS};" if patient else ""
        begin = f"BEGIN; {waiting} SELECT pg_advisory_xact_lock{shared}({WORLD})"  # 1.
        if watch is not None:
            begin += _KEYS
        with self._begun(self._writer, begin.encode(), "the store could not commit; nothing was changed") as begun:
            connection, said = begun
            if watch is not None and not watch.knows(number := _number(said)):
                raise _UnknownKeys(watch, number)
            tx = PgTx(self, connection, fences)
            if fences is not None and (locks := ordered(fences)):
                connection.execute(_LOCKS.encode(), (Integers(list(locks)), Integers(list(locks.values()))))  # 2.
            try:
                done = work(tx)  # 3.
            except psycopg.errors.UniqueViolation:
                if fences is None:
                    raise
                raise unavailable("another write was first; nothing was changed", "Try again.") from None
            reach("store.before_commit")
            _commit(connection)
        return done

    def _work_off(self) -> None:
        """Run what is submitted, in order, until the store is closed."""
        while (taken := self._submitted.get()) is not None:
            run, future = taken
            try:
                future.set_result(run())
            except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
                future.set_exception(error)

    # Connections.
    @contextmanager
    def _begun(self, kind: str, begin: bytes, failed: str) -> "Iterator[tuple[Connection, psycopg.Cursor[Row]]]":
        """Lend a connection with a transaction begun, and what that said; take it back clean, or close it.

        Raises HubError(UNAVAILABLE) for the engine's trouble.
        """
        if not self._free[kind].acquire(timeout=BORROW_S):
            raise _unavailable("every connection to the store is in use")
        try:
            connection, sound = self._take(kind), False
            try:
                connection, said = self._begin(kind, connection, begin)
                yield connection, said
                sound = True
            except psycopg.Error as cause:
                if not _engine_failed(cause, connection):
                    sound = not connection.closed
                    raise told(cause) from None
                raise _unavailable(failed) from cause
            except BaseException:
                sound = True  # what the work raised says nothing against the connection
                raise
            finally:
                self._give_back(kind, connection, sound=sound)
        finally:
            self._free[kind].release()

    def _take(self, kind: str) -> Connection:
        """Take an idle connection that still stands, else open one. After a restart of the server none of them does."""
        while True:
            try:
                connection = self._idle[kind].pop()
            except IndexError:
                return self._connect(kind)
            if _stands(connection):
                return connection
            connection.close()

    def _begin(self, kind: str, connection: Connection, begin: bytes) -> "tuple[Connection, psycopg.Cursor[Row]]":
        """Begin a transaction; on a new connection where the server has just ended this one, which loses nothing."""
        try:
            return connection, connection.execute(begin)
        except psycopg.Error:
            if not connection.closed:
                raise
        connection = self._connect(kind)
        try:
            return connection, connection.execute(begin)
        except psycopg.Error:
            connection.close()
            raise

    def _give_back(self, kind: str, connection: Connection, *, sound: bool) -> None:
        try:
            if sound and connection.info.transaction_status != pq.TransactionStatus.IDLE:
                connection.execute(b"ROLLBACK")
        except psycopg.Error:
            sound = False
        if sound and not connection.closed and not self._closing:
            self._idle[kind].append(connection)
        else:
            connection.close()

    def _connect(self, kind: str) -> Connection:
        named = {**_GIVEN_UP, "password": self._password} if self._password else _GIVEN_UP
        try:
            connection: Connection = psycopg.Connection.connect(
                self._dsn, autocommit=True, cursor_factory=psycopg.RawCursor, prepare_threshold=2, options=kind,
                application_name=self._name, connect_timeout=CONNECT_S, **named,
            )  # fmt: skip
        except psycopg.Error as error:
            raise refused(error) from None  # its own text names the place
        connection.prepared_max = PREPARED
        for of, dumper in (
            (int, Int8BinaryDumper), (bool, Int8BinaryDumper), (str, StrBinaryDumper), (Integers, IntegersDumper),
            (Binaries, BinariesDumper), (Texts, TextsDumper),
        ):  # fmt: skip
            connection.adapters.register_dumper(of, dumper)
        connection.adapters.register_loader("json", TextBinaryLoader)
        return connection


_unequal = count(2)


def _number(begun: "psycopg.Cursor[Row]") -> int:
    """Return what the last of several statements said; 0 where it found no row."""
    begun.set_result(-1)
    row = begun.fetchone()
    return int(row[0]) if row else 0


def _sequence(table: str) -> str:
    return f"{table}_{IDS[table]}_seq"


def _commit(connection: Connection) -> None:
    """Commit. Raises HubError(UNAVAILABLE) where it is done here and no synchronous standby has said so.

    A wait for the standby that a time-out or somebody cancels ends with a warning, and PostgreSQL calls that success.
    """
    warnings: list[str] = []

    def heard(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            warnings.append(diagnostic.sqlstate or "")

    connection.add_notice_handler(heard)
    try:
        connection.execute(b"COMMIT")
    finally:
        connection.remove_notice_handler(heard)
    if warnings:
        raise unavailable(
            "the standby did not confirm it in time; it may be lost if this database is",
            "Check the standby; try again: what is done already is found done.",
        )


@lru_cache(maxsize=1 << 16)  # a gate meets its persons again
def lock_number(key: Key) -> int:
    """Name a fence's advisory lock: 63 bits of a hash. Two that met would only wait for each other needlessly."""
    return int.from_bytes(blake2b(b"%d.%d" % key, digest_size=8).digest()) >> 1 or 1


def ordered(fences: Fences) -> dict[int, int]:
    """Return lock numbers in ascending order, each with 1 where it is taken exclusively."""
    alone = {lock_number(key) for key in fences.changes}
    return {number: int(number in alone) for number in sorted(alone | {lock_number(key) for key in fences.relies})}


def _stands(connection: Connection) -> bool:
    """Look whether the server has hung up, without asking it: then the idle socket has something to read."""
    if connection.closed:
        return False
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    return not socket.poll(0)


def _engine_failed(error: psycopg.Error, connection: Connection) -> bool:
    """Tell the engine's trouble from a defect in a statement, which has to show itself as one."""
    return connection.closed or isinstance(error, psycopg.OperationalError) or error.sqlstate in _BROKEN


def _unavailable(what: str) -> HubError:
    return unavailable(what, "Check that the database is up and has room; the hub tries again by itself.")

"""SQLite as this hub uses it: one process, one writer thread with a fast lane, readers that each see one snapshot.

Every change runs as a function of a `Tx` on the writer thread, inside `BEGIN IMMEDIATE`. That is the fence of this
engine: a decision that reads its facts inside the transaction excludes every withdrawal, and the other way round. The
lanes bound how long a withdrawal waits: for the one transaction that is running, never for a queue.

Statements take their rows as one multi-row VALUES and return their rows as one JSON text, so that a batch costs few
steps. `sqlite3` lets the interpreter lock go for each step: row by row, a busy thread would take it each time and keep
it for a whole switch interval.
"""

# long: one engine: its transactions, its writer, its readers and its log
import fcntl
import os
import re
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hub.clock import system_clock
from hub.core.errors import HubError, Kind
from hub.failpoints import reach
from hub.store.engine import IDS, Fences, Key, Lane, Query, Row, Tx, Watch, only, stopping, unavailable
from hub.store.outside import NOWHERE, Outside

T = TypeVar("T")

PIECES = (512, 128, 32, 8, 1)  # rows per statement; 512 rows of 20 columns stay below SQLite's 32,766 variables
GROUP = 64  # small writes that share one commit at most: publishes one by one would each pay an fsync
GROUP_ROWS = 500  # and the rows that they bring together: a withdrawal waits for the whole commit
CHECKPOINT_PAGES = 4_000  # of 4 KiB: then the checkpointer copies the WAL home, beside the writer
WAL_RESTART_BYTES = 256 * 1024 * 1024  # then it may also block the writer for a moment, so that the file starts over
PAGE_BYTES = 4_096
UNCOMMITTED = -1  # `facts_at` of a transaction that changed some itself: equal to no other
_OF_PEOPLE = frozenset(["person", "link", "choice", "waiting", "backfill", "backfill_person"])
FACTS = _OF_PEOPLE | frozenset(["fence", "agreement_state", "agency_state", "fact"])  # decisions read these
SKIPPED = "skipped."  # before a table's name: the fact that holds the id beyond which its next ones are drawn
CHANGED = re.compile(r"(?:INSERT (?:OR \w+ )?INTO|UPDATE|DELETE FROM) (\w+)")
ENGINE_FAILURES = frozenset(  # SQLite's primary result codes that speak of the disk, the file or its locks
    {
        sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_NOTADB,
    }
)  # fmt: skip


class SqliteTx:
    """One open transaction, or one reader's snapshot. Not shared between threads.

    `facts_at` counts the commits that changed anything decisions read. What was read when it had the same value need
    not be read again: a decision made outside stands, for nothing it rests on has changed.
    """

    def __init__(self, connection: sqlite3.Connection, facts_at: int = 0, outside: Outside = NOWHERE) -> None:
        self._connection, self._facts_at, self.outside = connection, facts_at, outside
        self.changes_facts = False

    @property
    def facts_at(self) -> int:
        return UNCOMMITTED if self.changes_facts else self._facts_at

    @property
    def alone(self) -> bool:
        return True

    def may_change(self, key: Key) -> bool:  # noqa: ARG002 - there is one writer
        return True

    def clock_us(self) -> int:
        """Return this machine's time: the engine is within this process."""
        return system_clock()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement. Every statement comes through here, so that no change of a fact goes unnoticed."""
        if _changes_facts(sql):
            self.changes_facts = True
        return self._connection.execute(sql, parameters)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self.execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """Return the only row, or None. A second row is a programming error and is noticed."""
        return only(self.execute(sql, parameters).fetchmany(2))

    def text(self, sql: str, parameters: Sequence[Any] = ()) -> str:
        """Run a query that aggregates all it has into one JSON text, in one step of the engine."""
        return str(self.execute(sql, parameters).fetchone()[0])

    def texts(self, queries: Sequence[Query]) -> list[str]:
        return [self.text(*one) for one in queries]

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Return how many rows changed."""
        return self.execute(sql, parameters).rowcount

    def insert(self, into: str, rows: Sequence[Row], *, or_ignore: bool = False) -> int:
        """Insert rows in few statements. `into` is `table(column, ...)`. Returns how many went in.

        Rows go in pieces of fixed sizes: the same text again finds its prepared statement.
        """
        done, at = 0, 0
        while at < len(rows):
            size = next(piece for piece in PIECES if piece <= len(rows) - at)
            flat = [value for row in rows[at : at + size] for value in row]
            done += self.execute(_insertion(into, len(rows[0]), size, or_ignore), flat).rowcount
            at += size
        return done

    def draw(self, table: str, count: int = 1) -> int:
        """Return the id after the last one, and after what a restore skipped: no other transaction draws meanwhile."""
        row = self.one(
            f"SELECT max((SELECT coalesce(max({IDS[table]}), 0) FROM {table}),"
            " (SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM fact WHERE name = ?)) + 1",
            (SKIPPED + table,),
        )
        assert row is not None
        self.outside.reserve(table, row[0] + count - 1)
        return int(row[0])

    def skip(self, table: str, upto: int) -> None:
        self.run(
            "INSERT INTO fact(name, value) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value"
            " WHERE CAST(fact.value AS INTEGER) < CAST(excluded.value AS INTEGER)",
            (SKIPPED + table, str(upto)),
        )

    def origin(self) -> str:
        return ""  # one file, one process

    def has_table(self, name: str) -> bool:
        return bool(self.rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)))


@lru_cache(maxsize=2_048)
def _changes_facts(sql: str) -> bool:
    """Say whether a statement may change what decisions read. One that is not understood is taken for a change."""
    if sql.startswith("SELECT"):
        return False
    changed = CHANGED.match(sql)
    return changed is None or changed[1] in FACTS


@lru_cache(maxsize=512)
def _insertion(into: str, width: int, size: int, or_ignore: bool) -> str:
    each = "(" + ",".join("?" * width) + ")"
    return f"INSERT {'OR IGNORE ' if or_ignore else ''}INTO {into} VALUES " + ",".join([each] * size)


class SqliteJob(NamedTuple):
    """One transaction on its way. `result` waits until it is durable and returns, or raises, what its work did."""

    work: Callable[[Tx], Any]
    group: bool
    rows: int
    done: threading.Event
    box: list[Any]  # the result, or the exception, once done is set

    def result(self) -> Any:
        self.done.wait()
        if isinstance(self.box[0], BaseException):
            raise self.box[0]
        return self.box[0]


class SqliteStore:
    """The embedded engine. A second process on the same file is refused."""

    shared = False

    def heed(self, watch: Watch) -> None:
        """Ask nobody: what this process keeps in memory nobody else changes."""

    def __init__(self, path: Path, *, synchronous: str = "FULL", wal_restart_bytes: int = WAL_RESTART_BYTES) -> None:
        """Open, and hold the file's lock until `close`. Raises HubError(STARTUP) when another process has it."""
        self.path, self.synchronous, self._wal_restart_bytes = path, synchronous, wal_restart_bytes
        self.commits = 0
        self.outside: Outside = NOWHERE
        self._facts_at = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives its WAL the same mode
        self._inode = path.stat().st_dev, path.stat().st_ino
        self._lock_file = path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            self._lock_file.close()
            raise HubError(
                Kind.STARTUP,
                "another hub already runs on this store",
                where=path.name,
                remedy="Talk to the running hub (commands do), or stop it: one process owns a SQLite store.",
                code="store-in-use",
            ) from cause
        self._queues: tuple[deque[SqliteJob], deque[SqliteJob]] = (deque(), deque())
        self._wake = threading.Condition()
        self._closing = False
        self._idle: deque[sqlite3.Connection] = deque()  # readers: as many as ever read at once, whatever thread did
        self._opened: list[sqlite3.Connection] = []
        first = self.connect()  # before any thread does: two that switch a new file to WAL at once lock each other out
        self._writer = threading.Thread(target=self._write_all, args=(first,), name="store-writer", daemon=True)
        self._checkpointer = threading.Thread(target=self._checkpoint_all, name="store-checkpointer", daemon=True)
        self._checkpoint_due = threading.Event()
        self._writer.start()
        self._checkpointer.start()

    def connect(self) -> sqlite3.Connection:
        """Open one more connection, set up as this hub needs it."""
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",  # never a new, empty file where the store is gone
            uri=True, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=30,
        )  # fmt: skip
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={self.synchronous}",
            "busy_timeout=30000",
            "foreign_keys=ON",
            "wal_autocheckpoint=0",
            "cache_size=-65536",
            "mmap_size=1073741824",  # readers drop their page cache at each commit; mapped pages cost no copy
            "secure_delete=FAST",  # personal values are sealed under destroyable keys; this is the second line
        ):
            connection.execute(f"PRAGMA {pragma}")
        self._opened.append(connection)
        return connection

    def write(
        self,
        work: Callable[[Tx], T],
        *,
        lane: Lane = Lane.ORDINARY,
        group: bool = False,
        rows: int = 1,
        fences: Fences | None = None,
        patient: bool = False,  # noqa: ARG002 - nobody ends a transaction here
    ) -> T:
        """Run `work` in one transaction on the writer thread; return when it is committed and durable.

        `fences` change nothing here: there is one writer. `group` lets it share a commit with others of its kind: for
        small independent writes, of about `rows` rows each.
        What `work` raises rolls back its own changes and is raised here. Never call it from inside another `write`.
        """
        result: T = self.submit(work, lane=lane, group=group, rows=rows, fences=fences).result()
        return result

    def submit(
        self,
        work: Callable[[Tx], Any],
        *,
        lane: Lane = Lane.ORDINARY,
        group: bool = False,
        rows: int = 1,
        fences: Fences | None = None,  # noqa: ARG002 - the one writer excludes all others anyway
    ) -> SqliteJob:
        """Queue `work` and return at once: the gate prepares its next batch while this one commits."""
        job = SqliteJob(work, group, rows, threading.Event(), [])
        with self._wake:
            if self._closing:
                raise stopping()
            self._queues[lane].append(job)
            self._wake.notify()
        reach("store.queued")
        return job

    @contextmanager
    def read(self) -> Iterator[SqliteTx]:
        """Give a reader on one snapshot for as long as the block runs. Raises HubError(UNAVAILABLE)."""
        try:
            connection = self._idle.pop()  # the one used last: its pages and statements are warm
        except IndexError:
            connection = self._reader()
        facts_at = self._facts_at  # before the snapshot, which a commit in between makes newer than this, never older
        sound = True
        try:
            connection.execute("BEGIN")
            yield SqliteTx(connection, facts_at, self.outside)
        except sqlite3.Error as cause:
            sound = not _engine_failed(cause)
            if sound:
                raise
            raise _unavailable("the store cannot be read; nothing was changed") from cause
        finally:
            self._give_back(connection, sound=sound)

    def _give_back(self, connection: sqlite3.Connection, *, sound: bool) -> None:
        """Keep a reader for the next who reads, unless its file failed it: the next one opens the file anew."""
        if sound:
            connection.execute("ROLLBACK")
            self._idle.append(connection)
        else:
            self._opened.remove(connection)
            connection.close()

    def _reader(self) -> sqlite3.Connection:
        try:
            return self.connect()
        except sqlite3.Error as cause:
            raise _unavailable("the store cannot be opened; nothing was changed") from cause

    def trouble(self) -> str:
        """Say in words why it can be read no more, or would lose what is written; "" when all is well."""
        try:
            with self.read() as tx:
                tx.rows("SELECT 1 FROM fact LIMIT 1")
            there = self.path.stat()
        except HubError as error:
            return error.what
        except OSError:
            return "the store's file is gone"
        if (there.st_dev, there.st_ino) != self._inode:
            return "another file stands where the store's was"
        return ""

    def wal_bytes(self) -> int:
        wal = self.path.with_name(self.path.name + "-wal")
        return wal.stat().st_size if wal.exists() else 0

    def close(self) -> None:
        """Finish what is queued, then let the file go."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._checkpoint_due.set()
        self._writer.join()
        self._checkpointer.join()
        for connection in self._opened:
            connection.close()
        self._lock_file.close()

    # The writer thread.
    def _write_all(self, connection: sqlite3.Connection) -> None:
        while jobs := self._next():
            self._transact(connection, jobs)

    def _next(self) -> list[SqliteJob]:
        """Wait for the next job; several where small ones may share a commit. Empty when closing and all is done."""
        urgent, ordinary = self._queues
        with self._wake:
            while not urgent and not ordinary:
                if self._closing:
                    return []
                self._wake.wait()
            if urgent:
                return [urgent.popleft()]
            jobs = [ordinary.popleft()]
            if jobs[0].group:
                rows = jobs[0].rows
                while ordinary and ordinary[0].group and len(jobs) < GROUP and rows + ordinary[0].rows <= GROUP_ROWS:
                    rows += ordinary[0].rows
                    jobs.append(ordinary.popleft())
            return jobs

    def _transact(self, connection: sqlite3.Connection, jobs: list[SqliteJob]) -> None:
        """Run jobs in one transaction; one that fails is rolled back alone."""
        tx, several = SqliteTx(connection, self._facts_at, self.outside), len(jobs) > 1
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                if several:
                    connection.execute("SAVEPOINT job")
                try:
                    job.box.append(job.work(tx))
                except Exception as error:  # handed to the caller of `write`, who raises it
                    if isinstance(error, sqlite3.OperationalError) or _engine_failed(error):
                        raise  # the engine's own trouble: a full disk shows itself to any statement
                    job.box.append(error)
                    if not several:
                        connection.execute("ROLLBACK")
                        return
                    connection.execute("ROLLBACK TO job")
                if several:
                    connection.execute("RELEASE job")
            reach("store.before_commit")
            connection.execute("COMMIT")
            self.commits += 1
        except sqlite3.Error as cause:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = _unavailable("the store could not commit; nothing was changed")
            failure.__cause__ = cause
            for job in jobs:
                job.box[:] = [failure]
        finally:
            self._facts_at += tx.changes_facts  # after the commit, and before anybody hears of it
            for job in jobs:
                job.done.set()
            if self.commits % 32 == 0:
                self._checkpoint_due.set()

    def _checkpoint_all(self) -> None:
        """Copy the WAL home beside the writer; only a very long one may hold the writer up for a moment."""
        connection = self.connect()
        connection.execute("PRAGMA busy_timeout=20")  # it holds the writer while it waits for readers
        while not self._closing:
            self._checkpoint_due.wait(timeout=1.0)
            self._checkpoint_due.clear()
            wal_bytes = self.wal_bytes()
            if wal_bytes > CHECKPOINT_PAGES * PAGE_BYTES:
                try:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                    if wal_bytes > self._wal_restart_bytes:  # little is left to copy while the writer stands still
                        connection.execute("PRAGMA wal_checkpoint(RESTART)")
                except sqlite3.OperationalError:  # a reader is in the way: the next round will do
                    continue


def _engine_failed(error: Exception) -> bool:
    """Tell the disk's or the file's trouble from a defect in a statement, which has to show itself as one."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the rest says which file and how
    return isinstance(error, sqlite3.Error) and code in ENGINE_FAILURES


def _unavailable(what: str) -> HubError:
    return unavailable(what, "Check disk space and the disk's health; the hub tries again by itself.")

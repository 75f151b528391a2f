"""What a store is to everybody who uses one: transactions, snapshots and fences. SQLite and PostgreSQL stand behind it.

One text per statement runs on both: SQLite's, within the subset that `hub/store/dialect.py` names and translates.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import orjson

from hub.core.errors import HubError, Kind
from hub.store.outside import Outside

T = TypeVar("T")
Row = tuple[Any, ...]
Query = tuple[str, Sequence[Any]]  # a statement and its parameters
Key = tuple[int, int]  # kind of fence (hub/store/facts.py), and the subject's number

NO_ROWS = "[]"  # what `Tx.text` returns of them
VARIABLES = 32_766  # of one statement, SQLite's own default limit
IDS = {  # tables whose ids are drawn in the transaction that writes the rows, and their column
    "ask": "id", "audit": "id", "backfill": "id", "bus_topic": "number", "consent": "number", "delivery": "id",
    "file_batch": "id", "legal_hold": "number",
}  # fmt: skip


class Lane(IntEnum):
    """Who goes first. Withdrawals and suspensions wait for one running transaction, never for a queue."""

    URGENT = 0
    ORDINARY = 1


class Fences(NamedTuple):
    """What a transaction relies on and what it changes. Whoever changes a thing excludes all who rely on or change it.

    A write that names none excludes every other one. One that names some promises that whatever else it touches is
    protected otherwise: by a unique key, by rows that are taken `WHERE` they are as they were, by a count of them.
    """

    relies: Sequence[Key] = ()
    changes: Sequence[Key] = ()


class Tx(Protocol):
    """One open transaction, or one reader's snapshot. Not shared between threads."""

    @property
    def facts_at(self) -> int:
        """A number; what decisions read has not changed between two transactions that show the same one.

        What was read when it had the same value need not be read again. An engine that cannot know returns another
        value each time.
        """

    @property
    def alone(self) -> bool:
        """Say whether this transaction excludes every other write: always on SQLite, else where it named no fences."""

    @property
    def outside(self) -> Outside:
        """What this transaction gives out and takes back is kept here as well, before its commit."""

    def may_change(self, key: Key) -> bool:
        """Say whether whoever relies on this is excluded until the commit."""

    def clock_us(self) -> int:
        """Return the time by the engine's own clock: the same one for every process that works on it."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Run one statement."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]: ...

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """Return the only row, or None. A second row is a programming error and is noticed."""

    def text(self, sql: str, parameters: Sequence[Any] = ()) -> str:
        """Run a query that aggregates all it has into one JSON text."""

    def texts(self, queries: Sequence[Query]) -> list[str]:
        """Run several such queries; an engine that is far away is waited for once."""

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Return how many rows changed."""

    def insert(self, into: str, rows: Sequence[Row], *, or_ignore: bool = False) -> int:
        """Insert rows in few statements. `into` is `table(column, ...)`. Returns how many went in."""

    def draw(self, table: str, count: int = 1) -> int:
        """Draw `count` ids of a table (of `IDS`) that follow each other, for rows of this transaction.

        Returns the first. Draw them once per table, under the fences, and write the rows in the same transaction.
        """

    def skip(self, table: str, upto: int) -> None:
        """Draw only ids beyond `upto` from now on."""

    def origin(self) -> str:
        """Name the server and its line of history; it is another one after a failover. "" where that cannot happen."""

    def has_table(self, name: str) -> bool: ...


class Job(Protocol):
    """One transaction on its way."""

    def result(self) -> Any:
        """Wait until it is durable, and return, or raise, what its work did."""


class Watch(Protocol):
    """The keys that a process seals under, which others may rotate: whether it knows the present ones."""

    def knows(self, number: int) -> bool:
        """Say whether `number` of `Topic.WRAPPING` is the one whose keys are in memory. Waits for nothing."""

    def learn(self, number: int) -> bool:
        """Read the keys anew, unless `number` has become known meanwhile; returns whether they had to be.

        Never called inside a transaction. Raises HubError(UNAVAILABLE) where this process cannot open them.
        """


class Store(Protocol):
    """Where everything is kept. Methods may be called from any thread."""

    outside: Outside  # set once, by who keeps the marks; what transactions reach as `tx.outside`

    @property
    def shared(self) -> bool:
        """Say whether other processes may write to it at the same time: what is in memory is to be watched then."""

    def heed(self, watch: Watch) -> None:
        """Refuse from now on each write of whoever does not know the present keys, before its work runs.

        What it prepared may be sealed under a key that is destroyed meanwhile. The keys are read anew then, so that
        the next try is taken. Nothing happens where no other process can write.
        """

    @property
    def commits(self) -> int:
        """Count transactions that were committed here, since the start."""

    @property
    def path(self) -> Path | None:
        """Return the file it lies in, where it is a file."""

    def write(
        self,
        work: Callable[[Tx], T],
        *,
        lane: Lane = Lane.ORDINARY,
        group: bool = False,
        rows: int = 1,
        fences: Fences | None = None,
        patient: bool = False,
    ) -> T:
        """Run `work` in one transaction; return when it is committed and durable.

        `group` lets it share a commit with others of its kind: for small independent writes, of about `rows` rows each.
        `fences`: None excludes all other writes; see `Fences`. What `work` reads is as of now, after they are taken.
        `patient` is for an operator's rare act that computes between its statements for longer than a stalled worker
        is given.
        What `work` raises rolls back its own changes and is raised here. Never call it from inside another `write`.
        Raises HubError(UNAVAILABLE, code="store-unavailable"): the engine is down. Then nothing was changed - unless
        the connection was lost in the very moment of the commit, as in a crash: who tries again must be able to find
        that it was done. Callers are: event, delivery and jti keys are unique, positions and queue rows are taken as
        they were, acts are found by their state.
        And HubError(UNAVAILABLE, code="keys-changed"): see `heed`; nothing was run.
        """

    def submit(
        self,
        work: Callable[[Tx], Any],
        *,
        lane: Lane = Lane.ORDINARY,
        group: bool = False,
        rows: int = 1,
        fences: Fences | None = None,
    ) -> Job:
        """Queue `work` and return at once. What is submitted runs one after the other, in this order."""

    def read(self) -> AbstractContextManager[Tx]:
        """Give a reader on one snapshot for as long as the block runs. Raises HubError(UNAVAILABLE)."""

    def trouble(self) -> str:
        """Say in words why it can be read no more, or would lose what is written; "" when all is well."""

    def wal_bytes(self) -> int:
        """Measure the write-ahead log beside the file; 0 where another process looks after it."""

    def close(self) -> None:
        """Finish what is queued, then let go."""


def marks(count: int) -> str:
    """Return `?,?,...` for an IN list."""
    return ",".join("?" * count)


def padded(keys: Sequence[Any]) -> Sequence[Any]:
    """Repeat the last key up to a power of two: an IN list does not mind, and few statement texts stay prepared."""
    if len(keys) < 2:
        return keys
    return [*keys, *[keys[-1]] * (min(1 << (len(keys) - 1).bit_length(), VARIABLES) - len(keys))]


def only(found: Sequence[Row]) -> Row | None:
    """Return the only row, or None. A second row is a programming error and is noticed."""
    if len(found) > 1:
        raise AssertionError("one row expected, several found")
    return found[0] if found else None


def unavailable(what: str, remedy: str) -> HubError:
    return HubError(Kind.UNAVAILABLE, what, remedy=remedy, code="store-unavailable")


def keys_changed() -> HubError:
    return HubError(
        Kind.UNAVAILABLE,
        "another process of this hub has changed the keys meanwhile; nothing was changed",
        remedy="Try again at once.",
        code="keys-changed",
        retry_after_s=1,
    )


def stopping() -> HubError:
    return HubError(Kind.UNAVAILABLE, "the hub is stopping", remedy="Try again in a moment.", code="stopping")


def loads(text: str) -> Any:
    """Parse what `Tx.text` returned."""
    return orjson.loads(text)

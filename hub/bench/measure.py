"""How things are measured: medians of interleaved rounds, CPU time per thread, and a machine that says what it is."""

import os
import platform
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from hub.store.engine import Store, Tx
from hub.store.sqlite import SqliteStore, SqliteTx

TABLES = (
    "bus_record",
    "event_seen",
    "audit",
    "history",
    "delivery",
    "queue",
    "handout",
    "handout_person",
    "choice",
    "person",
    "link",
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `goal` is what it should reach: at least, or at most where `lower_is_better`."""

    name: str
    unit: str
    rounds: tuple[float, ...]
    goal: float | None = None
    lower_is_better: bool = False

    @property
    def value(self) -> float:
        return median(self.rounds)

    @property
    def reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value <= self.goal if self.lower_is_better else self.value >= self.goal


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark found. `notes` are further facts, in the order they should be read."""

    name: str
    figures: tuple[Figure, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. `quick` sizes say that everything works, not how fast it is."""

    people: int = 100_000
    events: int = 20_000  # per round
    rounds: int = 5
    seconds: float = 20.0  # of the figures that run for a time
    withdrawals: int = 500
    consents: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    seed: int = 20_261_102

    @classmethod
    def quick(cls) -> "Sizes":
        return cls(people=2_000, events=2_000, rounds=2, seconds=2.0, withdrawals=20, consents=(1_000, 10_000))


REAL_CONSENTS = (10_000, 100_000, 1_000_000, 10_000_000)  # over PostgreSQL: a nation's

Say = Callable[[str], None]
"""Tell whoever watches what is done now."""


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that at least `part` (0..1) of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(part * 1000) * len(ordered) // 1000) - 1)]


@contextmanager
def cpu_of_threads(into: dict[str, float]) -> Iterator[None]:
    """Add the CPU seconds that each thread of this process takes meanwhile, by the thread's name."""
    before = _cpu()
    yield
    for name, seconds in _cpu().items():
        into[name] = into.get(name, 0.0) + seconds - before.get(name, 0.0)


def _cpu() -> dict[str, float]:
    return {
        thread.name: time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        for thread in threading.enumerate()
        if thread.ident is not None
    }


class TimedTx(SqliteTx):
    """A transaction that notes the CPU time of its statements, by their first words."""

    def __init__(self, inner: SqliteTx, spent: dict[str, float]) -> None:
        super().__init__(inner._connection, inner.facts_at)
        self._spent = spent

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._noting(sql):
            return super().rows(sql, parameters)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        with self._noting(sql):
            return super().one(sql, parameters)

    def text(self, sql: str, parameters: Sequence[Any] = ()) -> str:
        with self._noting(sql):
            return super().text(sql, parameters)

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        with self._noting(sql):
            return super().run(sql, parameters)

    def insert(self, into: str, rows: Sequence[tuple[Any, ...]], *, or_ignore: bool = False) -> int:
        with self._noting("INSERT INTO " + into):
            return super().insert(into, rows, or_ignore=or_ignore)

    @contextmanager
    def _noting(self, sql: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        group = group_of(sql)
        self._spent[group] = self._spent.get(group, 0.0) + time.thread_time() - began


def group_of(sql: str) -> str:
    """Name a statement by its verb and the first table in it."""
    words = sql.replace("(", " ").split()
    table = next((words[at + 1] for at, word in enumerate(words[:-1]) if word in ("INTO", "FROM", "UPDATE")), "")
    return f"{words[0].lower()} {table}".strip()


class TimedStore(SqliteStore):
    """The store as it is, except that the writer's statements are timed."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.statements: dict[str, float] = {}
        super().__init__(*given, **named)

    def submit(self, work: Callable[[Tx], Any], **named: Any) -> Any:
        def timed(tx: Tx) -> Any:
            assert isinstance(tx, SqliteTx)
            began = time.thread_time()
            timing = TimedTx(tx, self.statements)
            try:
                return work(timing)
            finally:
                tx.changes_facts |= timing.changes_facts
                self.statements["whole"] = self.statements.get("whole", 0.0) + time.thread_time() - began

        return super().submit(timed, **named)


def rows_on_disk(store: Store) -> dict[str, int]:
    """Count the rows of the tables that grow, and the bytes of the store's files."""
    with store.read() as tx:
        counts = {name: int((tx.one(f"SELECT count(*) FROM {name}") or (0,))[0]) for name in TABLES}  # noqa: S608 - names above
    files = [store.path, store.path.with_name(store.path.name + "-wal")] if store.path else []
    return {**counts, "file_bytes": sum(file.stat().st_size for file in files if file.exists())}


def machine() -> dict[str, Any]:
    """Say what this was measured on. Nothing that names the machine or its owner."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "interpreter_lock": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "sqlite": sqlite3.sqlite_version,
        "load_before": round(os.getloadavg()[0], 2),
    }

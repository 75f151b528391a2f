"""A store that notes how long each of its statements is waited for: where the time of a batch goes, engine included."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, TypeVar

from hub.bench.measure import group_of
from hub.store.engine import Fences, Job, Key, Lane, Query, Row, Store, Tx, Watch
from hub.store.outside import Outside

T = TypeVar("T")


class NotingTx:
    """A transaction as it is, timed."""

    def __init__(self, inner: Tx, spent: dict[str, float], who: str) -> None:
        self._inner, self._spent, self._who = inner, spent, who

    @property
    def facts_at(self) -> int:
        return self._inner.facts_at

    @property
    def alone(self) -> bool:
        return self._inner.alone

    @property
    def outside(self) -> Outside:
        return self._inner.outside

    def may_change(self, key: Key) -> bool:
        return self._inner.may_change(key)

    def clock_us(self) -> int:
        return self._inner.clock_us()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        return self._noting(sql, lambda: self._inner.execute(sql, parameters))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._noting(sql, lambda: self._inner.rows(sql, parameters))

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        return self._noting(sql, lambda: self._inner.one(sql, parameters))

    def text(self, sql: str, parameters: Sequence[Any] = ()) -> str:
        return self._noting(sql, lambda: self._inner.text(sql, parameters))

    def texts(self, queries: Sequence[Query]) -> list[str]:
        return self._noting(queries[0][0], lambda: self._inner.texts(queries))

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return self._noting(sql, lambda: self._inner.run(sql, parameters))

    def insert(self, into: str, rows: Sequence[Row], *, or_ignore: bool = False) -> int:
        return self._noting("INSERT INTO " + into, lambda: self._inner.insert(into, rows, or_ignore=or_ignore))

    def draw(self, table: str, count: int = 1) -> int:
        return self._noting("DRAW FROM ids", lambda: self._inner.draw(table, count))

    def skip(self, table: str, upto: int) -> None:
        self._inner.skip(table, upto)

    def origin(self) -> str:
        return self._inner.origin()

    def has_table(self, name: str) -> bool:
        return self._inner.has_table(name)

    def _noting(self, sql: str, act: Callable[[], T]) -> T:
        began = perf_counter()
        done = act()
        group = f"{self._who} {group_of(sql)}"
        self._spent[group] = self._spent.get(group, 0.0) + perf_counter() - began
        return done


class Noting:
    """A store as it is, but for `submit` and `read`, which the gate uses."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self._spent: dict[str, float] = {}

    def told(self, events: int) -> dict[str, float]:
        """Return microseconds per event by statement, the longest first. "writes" is a whole transaction's work."""
        ordered = sorted(self._spent.items(), key=lambda item: -item[1])
        return {name: round(spent / events * 1e6, 1) for name, spent in ordered}

    @property
    def commits(self) -> int:
        return self._inner.commits

    @property
    def path(self) -> Any:
        return self._inner.path

    @property
    def shared(self) -> bool:
        return self._inner.shared

    @property
    def outside(self) -> Outside:
        return self._inner.outside

    @outside.setter
    def outside(self, outside: Outside) -> None:
        self._inner.outside = outside

    def heed(self, watch: Watch) -> None:
        self._inner.heed(watch)

    def write(self, work: Callable[[Tx], T], **named: Any) -> T:
        return self._inner.write(work, **named)

    def submit(
        self,
        work: Callable[[Tx], Any],
        *,
        lane: Lane = Lane.ORDINARY,
        group: bool = False,
        rows: int = 1,
        fences: Fences | None = None,
    ) -> Job:
        def timed(tx: Tx) -> Any:
            began = perf_counter()
            try:
                return work(NotingTx(tx, self._spent, "writes"))
            finally:
                self._spent["writes"] = self._spent.get("writes", 0.0) + perf_counter() - began

        return self._inner.submit(timed, lane=lane, group=group, rows=rows, fences=fences)

    @contextmanager
    def read(self) -> Iterator[Tx]:
        with self._inner.read() as tx:
            yield NotingTx(tx, self._spent, "reads")

    def trouble(self) -> str:
        return self._inner.trouble()

    def wal_bytes(self) -> int:
        return self._inner.wal_bytes()

    def close(self) -> None:
        self._inner.close()

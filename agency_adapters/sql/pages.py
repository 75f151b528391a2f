"""Read rows in order, page by page, each in a transaction of its own: an agency's application is never kept waiting.

Values come as the driver gives them, no types assumed: in old databases a column's type says little of what is in it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

import sqlalchemy as sa

from agency_adapters.errors import AgencyError
from agency_adapters.sql.database import split_name, told, verbatim
from agency_adapters.sql.mapping import Plan
from agency_adapters.values import Row

T = TypeVar("T")
PAGE_ROWS = 500  # the hub's limit for a batch
AHEAD = 2  # pages that are read while another travels


def source_of(plan: Plan, columns: Sequence[str]) -> sa.FromClause:
    """Name the plan's table, or wrap its query as one."""
    listed: list[sa.ColumnClause[Any]] = [sa.column(name) for name in columns]
    if plan.query:
        return verbatim(plan.query).columns(*listed).subquery("hub_rows")
    schema, name = split_name(plan.table)
    return sa.table(name, *listed, schema=schema)


def pages(
    engine: sa.Engine,
    source: sa.FromClause,
    columns: Sequence[str],
    *,
    order: Sequence[str],
    after: Sequence[Any] = (),
    where: Sequence[sa.ColumnElement[bool]] = (),
) -> Iterator[list[Row]]:
    """Yield the rows after `after` (values of `order`), at most `PAGE_ROWS` each. No two are alike in `order`."""
    listed, order_by = [source.c[name] for name in columns], [source.c[name] for name in order]
    while True:
        place = [_beyond(order_by, after)] if after else []
        wanted = sa.select(*listed).where(*where, *place).order_by(*order_by).limit(PAGE_ROWS + 1)
        with told("read the rows"), engine.connect() as connection:
            found: list[Row] = [dict(row) for row in connection.execute(wanted).mappings()]
        _refuse_twins(found, order)
        if page := found[:PAGE_ROWS]:
            yield page
        if len(found) <= PAGE_ROWS:
            return
        after = [page[-1][name] for name in order]


def _beyond(order: Sequence[sa.ColumnElement[Any]], after: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Compare several columns with several values, written out: not every database compares rows."""
    cases = []
    for at, column in enumerate(order):
        same = [earlier == value for earlier, value in zip(order[:at], after, strict=False)]
        cases.append(sa.and_(*same, column > after[at]))
    return sa.or_(*cases)


def _refuse_twins(rows: Sequence[Mapping[str, Any]], order: Sequence[str]) -> None:
    """Find two rows with one key, or none: between two pages one of them would be lost."""
    names = [tuple(row[name] for name in order) for row in rows]
    if any(None in name for name in names) or len(set(names)) < len(names):
        remedy = "Name as key the columns that tell every two rows apart."
        raise AgencyError(f"the key {', '.join(order)} is empty in a row, or the same in two", remedy=remedy)


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield `items`, read in a thread up to `AHEAD` in advance. Its exception is raised here; leaving early ends it."""
    queue: Queue[tuple[T] | BaseException | None] = Queue(AHEAD)
    left = Event()

    def put(item: "tuple[T] | BaseException | None") -> bool:
        while not left.is_set():
            try:
                queue.put(item, timeout=0.1)
            except Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for item in items:
                if not put((item,)):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits for it
            put(error)

    thread = Thread(target=read, name="rows-ahead", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        left.set()
        thread.join()

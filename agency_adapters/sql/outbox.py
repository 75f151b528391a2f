"""Publish the rows of an outbox: those in state `new`, in the order of their ids, marked once the hub has answered.

Rows are found by state and never by a mark of how far one was: a lower id that commits late is found in the next pass.
Killed between the hub's answer and the mark, the publisher sends the same rows again under the same ids.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from agency_adapters.results import Accepted, PublishStopped
from agency_adapters.sql.database import split_name, told
from agency_adapters.sql.desk import UNFIT, Desk
from agency_adapters.sql.mapping import Plan
from agency_adapters.sql.pages import ahead, pages, source_of
from agency_adapters.sql.rows import Said, Unfit, reader
from agency_adapters.sql.tables import NEW, PUBLISHED, REFUSED
from agency_adapters.values import Row

MARKS = ("state", "code", "token", "event_id", "published_at")  # those that the table has are filled in
OPTIONAL = ("dataset", "data", "corrects", "event_id")

Made = tuple[Row, str, dict[str, Any] | Unfit]
"""A row, the id of its event, and the event."""


def publish_outbox(plan: Plan, engine: sa.Engine, desk: Desk, columns: Mapping[str, str]) -> None:
    """Publish until a pass finds nothing new. `columns` are the table's.

    Raises `PublishStopped` after marking what was answered, and `AgencyError` for the database's refusals.
    """
    mark = _marker(plan, engine, desk, columns)
    met = True
    with ThreadPoolExecutor(1, "marks") as marking:
        while met:
            written: Future[None] | None = None
            for page in ahead(_events(plan, engine, desk, columns)):
                marks, stopped = _send(plan, desk, page, mark)
                if written:
                    written.result()  # the page before: it was marked while this one travelled
                written = marking.submit(mark.write, marks)
                if stopped:
                    written.result()
                    raise stopped
            if met := written is not None:
                written.result()  # before the next pass looks for what is new


def unpublished(plan: Plan, engine: sa.Engine, columns: Mapping[str, str]) -> Iterator[list[Row]]:
    """Yield the rows in state `new`, by id."""
    optional = () if plan.rules else tuple(one for one in OPTIONAL if one in columns)
    names = list(dict.fromkeys((*plan.columns, *optional, "state")))
    source = source_of(plan, names)
    return pages(engine, source, names, order=plan.key, where=[source.c.state == NEW])


def _events(plan: Plan, engine: sa.Engine, desk: Desk, columns: Mapping[str, str]) -> Iterator[list[Made]]:
    read = reader(plan, desk.datasets)
    for rows in unpublished(plan, engine, columns):
        yield [outbox_event(plan, desk, row, read(row)) for row in rows]


def outbox_event(plan: Plan, desk: Desk, row: Row, said: Said | Unfit) -> Made:
    """Make the event of a row: under the application's id where it chose one."""
    if isinstance(said, Unfit):
        return row, "", said
    key = [row[name] for name in plan.key]
    event_id = said.id or desk.event_id(plan.table, key, said.dataset, said.subject, said.time, said.data)
    return row, event_id, desk.event(said, event_id)


def _send(
    plan: Plan, desk: Desk, page: Sequence[Made], mark: "_Marker"
) -> tuple[list[dict[str, Any]], PublishStopped | None]:
    """Publish a page; return what is to be written into its rows, and what ended it before the last."""
    desk.counts["read"] += len(page)
    marks = []
    for row, _, event in page:
        if isinstance(event, Unfit):
            desk.unfit(name_of(plan, row), event)
            marks.append(mark.of(row, REFUSED, code=UNFIT))
    sendable = [(row, event_id, event) for row, event_id, event in page if not isinstance(event, Unfit)]
    answers, stopped = desk.publish([event for _, _, event in sendable])
    for (row, event_id, _), answer in zip(sendable, answers, strict=False):
        if isinstance(answer, Accepted):
            desk.counts["published"] += 1
            marks.append(mark.of(row, PUBLISHED, token=answer.token, event_id=event_id))
        else:
            code = desk.refused(name_of(plan, row), answer).code
            marks.append(mark.of(row, REFUSED, code=code, event_id=event_id))
    return marks, stopped


def name_of(plan: Plan, row: Row) -> str:
    """Name a row by its key, for whoever looks after the database."""
    return f"{plan.table or plan.name} {', '.join(str(row[one]) for one in plan.key)}"


def _marker(plan: Plan, engine: sa.Engine, desk: Desk, columns: Mapping[str, str]) -> "_Marker":
    marks = [name for name in MARKS if name in columns]
    kinds = {"published_at": sa.DateTime()}
    schema, name = split_name(plan.table)
    listed = [sa.column(one, kinds.get(one)) for one in dict.fromkeys((*plan.key, *marks))]
    table = sa.table(name, *listed, schema=schema)
    same = [table.c[one] == sa.bindparam(f"key_{at}") for at, one in enumerate(plan.key)]
    update = (
        sa.update(table).where(*same, table.c.state == NEW).values({one: sa.bindparam(f"to_{one}") for one in marks})
    )
    return _Marker(plan, engine, desk, tuple(marks), update)


class _Marker:
    """Writes what became of rows back into them, a page in one transaction."""

    def __init__(self, plan: Plan, engine: sa.Engine, desk: Desk, marks: tuple[str, ...], update: sa.Update) -> None:
        self._plan, self._engine, self._desk, self._marks, self._update = plan, engine, desk, marks, update

    def of(self, row: Row, state: str, *, code: str = "", token: str = "", event_id: str = "") -> dict[str, Any]:
        """Say what is to be written into a row."""
        now = datetime.fromtimestamp(self._desk.clock() // 1_000_000, UTC).replace(tzinfo=None)
        values: dict[str, Any] = {"state": state, "code": code[:64] or None, "token": token or None}
        values |= {"event_id": event_id or None, "published_at": now if state == PUBLISHED else None}
        keys = {f"key_{at}": row[one] for at, one in enumerate(self._plan.key)}
        return keys | {f"to_{one}": values[one] for one in self._marks}

    def write(self, marks: list[dict[str, Any]]) -> None:
        """Write them all, or none."""
        if marks:
            with told("mark the rows"), self._engine.begin() as connection:
                connection.execute(self._update, marks)

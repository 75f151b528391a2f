"""Publish what changed in a table that does not say what was published: by a watermark, or by comparing all.

Watermark: rows whose `changed` is later than the latest met, less an overlap in which a transaction may commit late.
Snapshot: every row, in the order of its key; what a whole run did not meet any more is gone.
Both compare each row with what was sent of it (`sent`), and write down what they are about to send.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from agency_adapters.errors import AgencyError
from agency_adapters.results import Accepted
from agency_adapters.sql.desk import Desk
from agency_adapters.sql.mapping import UNITS, Plan
from agency_adapters.sql.outbox import name_of
from agency_adapters.sql.pages import PAGE_ROWS, ahead, pages, source_of
from agency_adapters.sql.rows import Said, Unfit, field_readers, reader, zone_of
from agency_adapters.sql.sent import GONE, LEAVING, REFUSED, SENDING, SENT, Known, Sent
from agency_adapters.values import Row

FEW_ROWS = 10  # so many may always go at once


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row that is to be sent, and the event it becomes."""

    name: str
    known: Known
    event: Mapping[str, Any]


def publish_differences(
    plan: Plan,
    engine: sa.Engine,
    desk: Desk,
    sent: Sent,
    *,
    baseline: bool = False,
    many_gone: bool = False,
    all_rows: bool = False,
) -> None:
    """Publish new and changed rows, and what the mapping says of those that are gone.

    With `baseline` the rows are taken as known, and nothing is sent; with `all_rows` the watermark counts for nothing,
    and every row is compared. Raises `PublishStopped` after writing down what
    was answered, and `AgencyError` for the database's refusals or too many rows gone (unless `many_gone`).
    """
    run = int(sent.meta("run", "0")) + 1
    since = "" if all_rows else sent.meta("watermark")
    sent.keep(meta={"run": str(run)})
    for page in ahead(changed_pages(plan, engine, since, now_us=desk.clock())):
        desk.counts["read"] += len(page)
        if plan.changed:
            _back(plan, page[-1][plan.changed], desk.clock())  # a column that holds no time is told before it is sent
        wanted, met = compare(plan, desk, sent, page, run)
        sent.keep(met)
        if baseline:
            sent.keep([replace(one.known, state=SENT) for one in wanted])
        else:
            _send(desk, sent, wanted)
        if plan.changed:
            sent.keep(meta={"watermark": mark_text(page[-1][plan.changed])})
    if plan.mode == "snapshot":
        _leave(plan, desk, sent, run, many_gone=many_gone)


def changed_pages(plan: Plan, engine: sa.Engine, watermark: str, *, now_us: int) -> Iterator[list[Row]]:
    """Read the rows to be compared: all, or those that may have changed since the watermark."""
    source = source_of(plan, plan.columns)
    if not plan.changed:
        return pages(engine, source, plan.columns, order=plan.key)
    changed = source.c[plan.changed]
    where = [changed.is_not(None)]
    if watermark:
        where.append(changed >= _back(plan, mark_value(watermark), now_us))
    return pages(engine, source, plan.columns, order=[plan.changed, *plan.key], where=where)


def compare(plan: Plan, desk: Desk, sent: Sent, page: Sequence[Row], run: int) -> tuple[list[Wanted], list[Known]]:
    """Find the rows of a page that are new or changed, and what is to be written down of the others. Writes nothing."""
    read = reader(plan, desk.datasets)
    keys = [json.dumps([row[one] for one in plan.key], default=str) for row in page]
    known = sent.of(keys)
    wanted, met = [], []
    for key, row in zip(keys, page, strict=True):
        said, before = read(row), known.get(key)
        digest = desk.digest([str(one) for one in row.values()] if isinstance(said, Unfit) else _content(said))
        if before and before.hash == digest and before.state in (SENT, REFUSED):
            desk.counts["unchanged" if before.state == SENT else "still_refused"] += 1
            met.append(replace(before, run=run))
        elif isinstance(said, Unfit):
            desk.unfit(name_of(plan, row), said)
            met.append(Known(key, _next(before), digest, REFUSED, "", "", run))
        elif before and before.hash == digest and before.state == SENDING:
            wanted.append(_wanted(plan, desk, row, said, replace(before, run=run)))
        else:
            version = mark_text(row[plan.changed]) if plan.changed else _next(before)
            noticed = Known(key, version, digest, SENDING, said.time or desk.now(), said.subject, run)
            wanted.append(_wanted(plan, desk, row, said, noticed))
    return wanted, met


def _content(said: Said) -> list[Any]:
    return [said.dataset, said.subject, said.time, said.data]


def _next(before: Known | None) -> str:
    return str(int(before.version) + 1) if before and before.version.isdecimal() else "1"


def _wanted(plan: Plan, desk: Desk, row: Row, said: Said, known: Known) -> Wanted:
    event_id = desk.event_id(plan.table or plan.name, known.key, known.version, _content(said))
    return Wanted(name_of(plan, row), known, desk.event(replace(said, time=known.time), event_id))


def _send(desk: Desk, sent: Sent, wanted: Sequence[Wanted], *, then: str = SENT) -> None:
    """Write down what is about to be sent, send it, and write down what became of it."""
    sent.keep(one.known for one in wanted)
    answers, stopped = desk.publish([one.event for one in wanted]) if wanted else ((), None)
    settled = []
    for one, answer in zip(wanted, answers, strict=False):
        if isinstance(answer, Accepted):
            desk.counts["published" if then == SENT else "gone"] += 1
        else:
            desk.refused(one.name, answer)
        # a deletion that is refused is settled too: its row will not change any more
        settled.append(replace(one.known, state=then if isinstance(answer, Accepted) or then == GONE else REFUSED))
    sent.keep(settled)
    if stopped:
        raise stopped


def _leave(plan: Plan, desk: Desk, sent: Sent, run: int, *, many_gone: bool) -> None:
    """Publish what is said of rows that are gone, or only note them. Raises `AgencyError` where they are too many."""
    gone = sent.not_in(run)
    if not many_gone and len(gone) > max(FEW_ROWS, (sent.count(SENT) * plan.most_percent) // 100):
        remedy = "See whether the table was read whole. If they are really gone, run it once with --many-gone."
        raise AgencyError(f"{len(gone)} rows are gone at once; nothing was published of them", remedy=remedy)
    if plan.deletions is None:
        desk.counts["gone"] += len(gone)
        sent.keep(replace(one, state=GONE) for one in gone)
        return
    met = [one for one in gone if one.state in (SENT, LEAVING, SENDING)]
    sent.keep(replace(one, state=GONE) for one in gone if one not in met)  # refused rows: nobody ever heard of them
    for first in range(0, len(met), PAGE_ROWS):
        _send(desk, sent, [_farewell(plan, desk, one) for one in met[first : first + PAGE_ROWS]], then=GONE)


def _farewell(plan: Plan, desk: Desk, known: Known) -> Wanted:
    """Make the event of a row that is gone, of what is still known of it."""
    assert plan.deletions is not None  # asked by the caller
    again = known.state == LEAVING
    leaving = known if again else replace(known, state=LEAVING, version=_next(known), time=desk.now())
    dataset = desk.datasets[plan.deletions.dataset]
    still = {"key": ", ".join(map(str, json.loads(known.key))), "subject": known.subject, "noticed": leaving.time[:10]}
    data = {name: get(still) for name, get in field_readers(plan.deletions.rules, dataset, zone_of(plan))}
    said = Said(plan.deletions.dataset, known.subject, leaving.time, data)
    event_id = desk.event_id(plan.table or plan.name, known.key, leaving.version, "gone", plan.deletions.dataset)
    return Wanted(f"{plan.table or plan.name} {still['key']}", leaving, desk.event(said, event_id))


def mark_text(value: Any) -> str:
    """Write a watermark down, so that it is read back as the driver gave it."""
    if isinstance(value, datetime | date):
        return f"{'datetime' if isinstance(value, datetime) else 'date'}:{value.isoformat()}"
    if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool):
        return f"{type(value).__name__}:{value}"
    raise AgencyError("the column named by `changed` holds no time", remedy="Name the column of the last change.")


def mark_value(text: str) -> Any:
    """Read a watermark as it was written down."""
    kind, _, value = text.partition(":")
    made: Mapping[str, Any] = {
        "datetime": datetime.fromisoformat, "date": date.fromisoformat, "int": int, "float": float, "Decimal": Decimal,
    }  # fmt: skip
    return made.get(kind, str)(value)


def _back(plan: Plan, value: Any, now_us: int) -> Any:
    """Return the watermark less the overlap, in the form that the column has.

    A watermark that lies ahead counts as now: one row with a mistaken year would otherwise hide all that follow.
    """
    if isinstance(value, int | float | Decimal):
        unit = UNITS[plan.changed_unit]
        return min(value, now_us * unit // 1_000_000) - plan.overlap_s * unit
    overlap, zone = timedelta(seconds=plan.overlap_s), zone_of(plan)
    now = datetime.fromtimestamp(now_us // 1_000_000, UTC)
    if isinstance(value, datetime):
        return min(value, now if value.tzinfo else now.astimezone(zone).replace(tzinfo=None)) - overlap
    if isinstance(value, date):
        return min(value, now.astimezone(zone).date()) - timedelta(days=1 + overlap.days)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        remedy = "Name a column of times like 2026-01-31 09:30:00, or make one in a query."
        raise AgencyError("the column named by `changed` holds no time", remedy=remedy) from None
    if moment.utcoffset():
        remedy = "Compare in UTC: make the column in a query."
        raise AgencyError("the times in the column named by `changed` have offsets", remedy=remedy)
    here = now.astimezone(UTC if moment.tzinfo else zone).replace(tzinfo=None)
    since = min(moment.replace(tzinfo=None), here) - overlap
    # without fraction and offset it sorts before every text of the same second, whatever follows there
    return since.replace(microsecond=0).isoformat(sep=value[10:11] or " ")[: len(value)]

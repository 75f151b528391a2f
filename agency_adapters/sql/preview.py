"""Show what a mapping would publish, with every value masked, and which rows would be refused. Nothing is changed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from agency_adapters.results import Refused
from agency_adapters.sql.desk import Desk
from agency_adapters.sql.differences import changed_pages, compare
from agency_adapters.sql.mapping import Plan
from agency_adapters.sql.outbox import name_of, outbox_event, unpublished
from agency_adapters.sql.rows import Unfit, reader
from agency_adapters.sql.sent import Sent

Named = tuple[str, Mapping[str, Any]]
"""A row's name and its event."""


def preview(
    plan: Plan,
    engine: sa.Engine,
    desk: Desk,
    columns: Mapping[str, str],
    sent: Sent | None,
    *,
    rows: int,
    show: Callable[[Mapping[str, Any]], None],
) -> None:
    """Ask the hub about the events of at most `rows` rows without storing any; `show` gets each of them masked.

    Rows that would be refused are told as they would be. Deletions are not looked for: that takes a whole run.
    """
    for many, page in _events(plan, engine, desk, columns, sent):
        page = page[: rows - desk.counts["read"]]
        desk.counts["read"] += many
        answers = desk.client.publish([event for _, event in page], dry_run=True).items
        for (name, event), answer in zip(page, answers, strict=True):
            show(masked_event(event))
            if isinstance(answer, Refused):
                desk.refused(name, answer)
        if desk.counts["read"] >= rows:
            return


def _events(
    plan: Plan, engine: sa.Engine, desk: Desk, columns: Mapping[str, str], sent: Sent | None
) -> Iterator[tuple[int, Sequence[Named]]]:
    """Yield how many rows were read, and those of them that became events."""
    if sent is not None:
        for page in changed_pages(plan, engine, sent.meta("watermark"), now_us=desk.clock()):
            wanted, _ = compare(plan, desk, sent, page, 0)
            yield len(page), [(one.name, one.event) for one in wanted]
        return
    read = reader(plan, desk.datasets)
    for rows in unpublished(plan, engine, columns):
        named = []
        for row in rows:
            _, _, event = outbox_event(plan, desk, row, read(row))
            if isinstance(event, Unfit):
                desk.unfit(name_of(plan, row), event)
            else:
                named.append((name_of(plan, row), event))
        yield len(rows), named


def masked_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Show the form of an event and nothing of the person: every value of the person's own is masked."""
    shown = ("type", "source")
    return {name: value if name in shown else masked(value) for name, value in event.items() if name != "specversion"}


def masked(value: Any) -> Any:
    """Keep the first character of a text, and nothing of a number."""
    match value:
        case str():
            return value[:1] + "***"
        case dict():
            return {name: masked(one) for name, one in value.items()}
        case list():
            return [masked(one) for one in value]
        case None:
            return None
        case _:
            return "***"

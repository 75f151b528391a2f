"""From parsed files to an approved-able catalogue: read each part, check them together, index what is clean."""

from collections.abc import Iterable
from typing import TypeVar

from hub.core.agreement import Catalogue
from hub.core.catalogue.check import Drafts, check
from hub.core.catalogue.document import Line, compose
from hub.core.catalogue.read import read_agencies, read_agreement, read_dataset, read_purpose
from hub.core.catalogue.sheet import Marked, Sources
from hub.core.errors import Item

Value = TypeVar("Value")


def assemble(sources: Sources) -> tuple[Catalogue | None, tuple[Item, ...]]:
    """Give the catalogue, or None and every finding with file and line."""
    findings: list[Item] = []
    drafts = Drafts(
        agencies={draft.value.code: draft for draft in read_agencies(sources.agencies, findings)},
        datasets={draft.value.name: draft for draft in (read_dataset(node, findings) for node in sources.datasets)},
        purposes={draft.value.code: draft for draft in (read_purpose(node, findings) for node in sources.purposes)},
        agreements={
            draft.value.agreement.code: draft
            for draft in (read_agreement(node, findings) for node in sources.agreements)
        },
    )
    findings += check(drafts)
    if findings:
        return None, tuple(findings)
    papers = _values(drafts.agreements.values())
    catalogue = compose(
        agencies=_values(drafts.agencies.values()),
        datasets=_values(drafts.datasets.values()),
        purposes=_values(drafts.purposes.values()),
        agreements=[paper.agreement for paper in papers],
        lines=[
            Line(line.number, paper.agreement.code, line.purpose, line.dataset)
            for paper in papers
            for line in paper.lines
        ],
    )
    return catalogue, ()


def _values(drafts: Iterable[Marked[Value]]) -> list[Value]:
    return [draft.value for draft in drafts]

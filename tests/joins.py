"""Join what agencies received: is there anything in common that the hub issued, or let through, that names somebody?

Left aside, as the promise says: words of the catalogue and of the envelope, free content, running numbers and times.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

from hub.core.agreement import Catalogue
from hub.core.catalogue import to_document

ENVELOPE = {"1.0", "urn:hub", "hub.stop", "hub.notice", "data", "correction", "stop", "delete", "test", "notice"}
STOPS = {"withdrawn", "recorded", "event.conflict", "event.expired", "event.failed"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
LARGE = 1 << 32  # a smaller number is a count, a version or a running number; an internal id is not


def words(catalogue: Catalogue) -> set[str]:
    """Give every word that says nothing of a person: it stands in the catalogue."""
    schemas = {f"{one.name}/{one.version}" for one in catalogue.datasets.values()}
    return ENVELOPE | STOPS | schemas | {text for _, text in leaves(to_document(catalogue))}


def in_common(received: Mapping[str, Iterable[Any]], *, aside: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return (agency, agency, value) for each value that two of them hold. `aside` are words and free content."""
    known = set(aside)
    held = {code: {text for _, text in leaves(list(got))} - known for code, got in received.items()}
    return [
        (one, other, value) for one, other in combinations(sorted(held), 2) for value in sorted(held[one] & held[other])
    ]


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield (key, text) of everything in a document that might name somebody, keys of objects among it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from leaves(inner, name)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner, key)
    elif isinstance(value, str):
        if not TIME.fullmatch(value):
            yield key, value
    elif isinstance(value, int) and value >= LARGE and not key.endswith("_us"):
        yield key, str(value)

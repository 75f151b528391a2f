"""The files of one batch: NDJSON, or one CSV for each line of an agreement, and the manifest that names them.

NDJSON holds every cloud event exactly as a pull gives it. CSV has the columns that the agreement allows, the same ones
in every batch; what is no row of data (a stop, a notice, a payload that only the recipient can open) stands in a file
of its own as JSON text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from hub.core.agreement import Subscription
from hub.exchange.csv_cells import MARK, line
from hub.exchange.opening import Leaving

FORMAT = 1  # of the manifest; a reader refuses one that it does not know
NDJSON, CSV = "application/x-ndjson", "text/csv; charset=utf-8"
ENVELOPE = ("id", "number", "kind", "time", "subject")
OTHERS = ("id", "number", "kind", "type", "time", "event")
ROWS = frozenset({"data", "correction", "test"})  # kinds that carry a row of data
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a batch before it is written. `about`: what the manifest says of it besides."""

    name: str
    media_type: str
    body: bytes
    count: int
    first: int
    last: int
    about: Mapping[str, Any]


def ndjson(batch: str, leaving: Sequence[Leaving]) -> list[DataFile]:
    body = b"".join([orjson.dumps(one.event, option=orjson.OPT_APPEND_NEWLINE) for one in leaving])
    return [_file(f"{batch}.ndjson", NDJSON, body, leaving, {})]


def csv(batch: str, leaving: Sequence[Leaving], *, bom: bool) -> list[DataFile]:
    """Write one file for each subscription in the batch, and one for what has no columns."""
    groups: dict[int, list[Leaving]] = {}
    for one in leaving:
        subscription = one.opened.subscription
        groups.setdefault(subscription.number if subscription and _is_row(one.event) else 0, []).append(one)
    mark, files = MARK if bom else b"", []
    for number, group in sorted(groups.items()):
        subscription = group[0].opened.subscription
        if number and subscription:
            columns = [*ENVELOPE, *sorted(subscription.allowed)]
            body = mark + line(columns) + b"".join(_rows(group, columns[len(ENVELOPE) :]))
            about = _about(subscription) | {"columns": columns}
            files.append(_file(f"{batch}.{number}.csv", CSV, body, group, about))
        else:
            body = mark + line(OTHERS) + b"".join(line(_other(one.event)) for one in group)
            files.append(_file(f"{batch}.others.csv", CSV, body, group, {"columns": list(OTHERS)}))
    return files


def manifest(batch: str, recipient: str, files: Sequence[DataFile], *, created: str) -> bytes:
    """Write what the recipient checks a batch against."""
    document = {
        "format": FORMAT,
        "batch": batch,
        "recipient": recipient,
        "created": created,
        "count": sum(file.count for file in files),
        "first_number": min(file.first for file in files),
        "last_number": max(file.last for file in files),
        "files": [
            {
                "name": file.name,
                "media_type": file.media_type,
                "count": file.count,
                "bytes": len(file.body),
                "sha256": sha256(file.body).hexdigest(),
                "first_number": file.first,
                "last_number": file.last,
                **file.about,
            }
            for file in files
        ],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _file(name: str, media_type: str, body: bytes, group: Sequence[Leaving], about: Mapping[str, Any]) -> DataFile:
    numbers = [one.opened.number for one in group]
    return DataFile(name, media_type, body, len(group), min(numbers), max(numbers), about)


def _about(subscription: Subscription) -> dict[str, Any]:
    return {
        "dataset": subscription.dataset.name,
        "purpose": subscription.purpose.code,
        "agreement": subscription.agreement.code,
    }


def _is_row(event: Mapping[str, Any]) -> bool:
    """Say whether an event has fields that its agreement names, readable as they are."""
    plain = event.get("datacontenttype", JSON) == JSON and isinstance(event.get("data"), dict)
    return plain and event["kind"] in ROWS


def _rows(group: Sequence[Leaving], fields: Sequence[str]) -> Iterable[bytes]:
    for one in group:
        event = one.event
        data = event["data"]
        yield line([*[event.get(name) for name in ENVELOPE], *[data.get(name) for name in fields]])


def _other(event: Mapping[str, Any]) -> list[Any]:
    return [*[event.get(name) for name in OTHERS[:-1]], orjson.dumps(event).decode()]

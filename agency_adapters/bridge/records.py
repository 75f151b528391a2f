"""One delivery into one record, and one record into one event: the Kafka binding of CloudEvents 1.0.2.

Structured: the value is the event as JSON. Binary: the value is its data, the attributes are headers `ce_...`. What is
produced has those headers in both forms, so that consumers can route by them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from agency_adapters.folder import RowMap, event_of
from agency_adapters.ndjson import Broken
from agency_adapters.results import CloudEvent, Delivery

STRUCTURED = "application/cloudevents+json"
JSON = "application/json"
CONTENT_TYPE = "content-type"
PREFIX = "ce_"
IDS = "kafka/1"  # part of every event id that is made here: another way to make them would be another name
Headers = Sequence[tuple[str, bytes | None]]


class Record(Protocol):
    """What is used of a record that was consumed."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # ms since 1970, by its producer or the broker
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Produced:
    """A record to be produced."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who publishes. `id_key` makes ids that only the agency can; without `row_map` records are CloudEvents."""

    agency: str
    id_key: bytes
    row_map: RowMap | None = None


def key_of(delivery: Delivery) -> str:
    """Return what a delivery's record is keyed by: the agency's own id of the person, else the delivery's id."""
    return delivery.subject or delivery.id


def record_of(delivery: Delivery, form: str) -> Produced:
    """Make the record of a delivery; whatever is delivered again gives the same."""
    document = delivery.document
    headers = [
        (PREFIX + name, _text(value).encode())
        for name, value in document.items()
        if name not in ("data", "datacontenttype") and value is not None
    ]
    structured = form == "structured"
    value = _json(document) if structured else _json(document.get("data"))
    kind = STRUCTURED + "; charset=UTF-8" if structured else str(document.get("datacontenttype", JSON))
    return Produced(key_of(delivery).encode(), value, [(CONTENT_TYPE, kind.encode()), *headers])


def where_of(record: Record) -> str:
    """Name a record by its place, which names nobody."""
    return f"{record.topic}-{record.partition}@{record.offset}"


def event_from(record: Record, publisher: Publisher) -> CloudEvent | Broken:
    """Make the event of a record, or say why it is none, without its values. The same record gives the same id."""
    where = where_of(record)
    if publisher.row_map is not None:
        row = _object(record.value)
        if row is None:
            return Broken(where, "its value is no JSON object")
        own_id = "" if publisher.row_map.key else _id(publisher, *_place(record))
        return event_of(where, row, publisher.row_map, publisher.agency, publisher.id_key, event_id=own_id)
    found = _cloud_event(record)
    return Broken(where, found) if isinstance(found, str) else _as_published(found, record, publisher)


def _cloud_event(record: Record) -> dict[str, Any] | str:
    """Read a CloudEvent in either form; where it is none, why."""
    headers = {name.lower(): value or b"" for name, value in record.headers}
    kind = headers.get(CONTENT_TYPE, b"").decode(errors="replace").partition(";")[0].strip().lower()
    if PREFIX + "specversion" not in headers or kind == STRUCTURED:
        event = _object(record.value)
        if event is None or "specversion" not in event:
            return "it is no CloudEvent, neither by its headers nor by its value"
        return event
    if kind not in ("", JSON) and not kind.endswith("+json"):
        return "its data is not JSON"
    try:
        event = {name.removeprefix(PREFIX): headers[name].decode() for name in headers if name.startswith(PREFIX)}
        data = json.loads(record.value or b"", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return "its data is not JSON in UTF-8"
    return {**event, "data": data}


def _as_published(event: dict[str, Any], record: Record, publisher: Publisher) -> CloudEvent:
    """Give the event the source that the hub takes from this agency, and an id of that source; a time if it has none.

    CloudEvents name an event by source and id together: where the source was another, so is the id.
    """
    source = f"urn:agency:{publisher.agency}"
    if event.get("id") in (None, ""):
        event["id"] = _id(publisher, *_place(record))
    elif event.get("source") != source:
        event["id"] = _id(publisher, str(event.get("source", "")), str(event["id"]))
    return {"time": _moment(record.timestamp), **event, "source": source}


def _place(record: Record) -> tuple[Any, ...]:
    """Name a record by where it is. The time is part of it: a topic that is made anew counts from 0 again."""
    return record.topic, record.partition, record.offset, record.timestamp


def _id(publisher: Publisher, *parts: Any) -> str:
    name = json.dumps([IDS, *parts], ensure_ascii=False)
    return hashlib.blake2b(name.encode(), key=publisher.id_key, digest_size=16).hexdigest()


def _moment(timestamp_ms: int) -> str:
    try:
        moment = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # its producer may write what it likes there: the hub refuses it
        return ""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _object(value: bytes | None) -> dict[str, Any] | None:
    try:
        found = json.loads(value or b"", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no_constant(_name: str) -> None:
    raise ValueError  # NaN and Infinity are no JSON


def _text(value: Any) -> str:
    """Write an attribute as the string that CloudEvents 1.0.2 gives its type (section "Type System")."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json(document: Any | Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

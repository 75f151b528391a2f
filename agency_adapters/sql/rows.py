"""One row into what an event says: subject, time, data. Total: a row that does not fit is told by field, not value."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from agency_adapters.rules import Rule
from agency_adapters.sql.mapping import Plan
from agency_adapters.values import Row, field_reader, instant, text_of


@dataclass(frozen=True, slots=True)
class Dataset:
    """One of the agency's own datasets, as GET /v1/agency tells it."""

    name: str
    properties: Mapping[str, Mapping[str, Any]]  # field -> JSON Schema
    required: frozenset[str]
    titles: Mapping[str, Mapping[str, str]]  # field -> language -> title
    subject_fields: frozenset[str]  # those that name the person whom an event is about


@dataclass(frozen=True, slots=True)
class Said:
    """What a row says. `time` is RFC 3339, or "" where the mapping names no column for it."""

    dataset: str
    subject: str
    time: str
    data: Mapping[str, Any]
    corrects: str = ""
    id: str = ""  # where the application chose one


@dataclass(frozen=True, slots=True)
class Unfit:
    """A row of which no event can be made. `reason` holds no value of it."""

    reason: str


def zone_of(plan: Plan) -> tzinfo:
    """Return the zone in which the database's times are meant."""
    return UTC if plan.time_zone == "UTC" else ZoneInfo(plan.time_zone)  # Windows knows no zones without tzdata


def reader(plan: Plan, datasets: Mapping[str, Dataset]) -> Callable[[Row], Said | Unfit]:
    """Make the function that reads the rows of a plan; the plan fits (`fit`)."""
    zone = zone_of(plan)
    fields = field_readers(plan.rules, datasets[plan.dataset], zone) if plan.rules else ()

    def read(row: Row) -> Said | Unfit:
        try:
            subject = _subject(row[plan.subject])
            time = _at("time", instant, row[plan.time], zone) if plan.time else ""
            if not fields:
                return _from_json(row, subject, time, plan.dataset, datasets)
            data = {name: value for name, get in fields if (value := get(row)) is not None}
        except ValueError as error:
            return Unfit(str(error))
        return Said(plan.dataset, subject, time, data)

    return read


def field_readers(
    rules: Mapping[str, Rule], dataset: Dataset, zone: tzinfo
) -> tuple[tuple[str, Callable[[Row], Any]], ...]:
    """Make one function per field: from a row to its value, or None where the field is left out."""
    made = []
    for name, rule in rules.items():
        schema = dataset.properties[name]
        form = rule.form or form_of(schema.get("items", {}) if rule.many else schema)
        made.append((name, field_reader(name, rule, form, zone, required=name in dataset.required)))
    return tuple(made)


def form_of(schema: Mapping[str, Any]) -> str:
    """Return the form that a field's schema asks for."""
    match schema.get("type"), schema.get("format"):
        case "string", "date":
            return "date"
        case "string", "date-time":
            return "datetime"
        case "string", _:
            return "str"
        case "integer", _:
            return "int"
        case "number", _:
            return "number"
        case "boolean", _:
            return "bool"
        case _:
            return "json"


def _subject(value: Any) -> str:
    try:
        text = text_of(value)
    except (ValueError, OverflowError):
        text = ""
    if not text:
        raise ValueError("the column with the person is empty")
    return text


def _at(what: str, read: Callable[[Any, tzinfo], str], value: Any, zone: tzinfo) -> str:
    try:
        return read(value, zone)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"the column of {what} holds none") from None


def _from_json(row: Row, subject: str, time: str, dataset: str, datasets: Mapping[str, Dataset]) -> Said:
    """Read a row of our own outbox, whose column `data` holds the event's data as JSON."""
    name = dataset or str(row.get("dataset") or "")
    if name not in datasets:
        raise ValueError("column dataset names no dataset that this agency publishes")
    data = row["data"]
    if isinstance(data, str | bytes):
        try:
            data = json.loads(data, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise ValueError("column data is not JSON") from None
    if not isinstance(data, dict):
        raise ValueError("column data is no JSON object")
    return Said(name, subject, time, data, str(row.get("corrects") or ""), str(row.get("event_id") or ""))


def _no_constant(_name: str) -> None:
    raise ValueError


def datasets_of(agency: Mapping[str, Any]) -> dict[str, Dataset]:
    """Read the agency's own datasets from what the hub tells it of itself."""
    told: Sequence[Any] = agency.get("datasets") or ()
    found = {}
    for one in told:
        if isinstance(one, dict):
            schema, fields = one.get("schema") or {}, one.get("fields") or ()
            found[str(one.get("name"))] = Dataset(
                str(one.get("name")),
                schema.get("properties") or {},
                frozenset(schema.get("required") or ()),
                {str(field["name"]): field.get("titles") or {} for field in fields},
                frozenset(str(field["name"]) for field in fields if field.get("subject")),
            )
    return found

"""One row into what an event says: subject, time, data. Total: a row that does not fit is told by field, not value."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from agency_adapters.sql.mapping import Plan, Rule

Row = Mapping[str, Any]
_TRUE, _FALSE = frozenset({"1", "true", "t", "yes", "y"}), frozenset({"0", "false", "f", "no", "n"})


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
        made.append((name, _reader(name, rule, form, zone, required=name in dataset.required)))
    return tuple(made)


def _reader(name: str, rule: Rule, form: str, zone: tzinfo, *, required: bool) -> Callable[[Row], Any]:
    if rule.known:
        return lambda row: row[rule.known]
    if not rule.columns:
        return lambda _row: rule.constant

    def one(row: Row, column: str) -> Any:
        value = row[column]
        if value is None or (isinstance(value, str) and not value.strip()):  # old databases write '' for nothing
            return None
        try:
            return value_of(value, form, rule, zone)
        except (ValueError, ArithmeticError, OverflowError):
            raise ValueError(f"{name}: what is in column {column} is no {form}") from None

    def field(row: Row) -> Any:
        if rule.many:
            value: Any = [found for column in rule.columns if (found := one(row, column)) is not None] or None
        else:
            value = one(row, rule.columns[0])
        if value is None and required:
            raise ValueError(f"{name}: column {', '.join(rule.columns)} is empty, and the field is required")
        return value

    return field


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


def value_of(value: Any, form: str, rule: Rule, zone: tzinfo) -> Any:
    """Turn a column's value into the field's. Raises ValueError and kin where it is none."""
    match form:
        case "str":
            return text_of(value)
        case "int":
            return _whole(value)
        case "number":
            return _number(value)
        case "bool":
            return _truth(value)
        case "date":
            return _day(value, rule.format)
        case "datetime":
            return instant(datetime.strptime(value, rule.format) if rule.format else value, zone)  # noqa: DTZ007 - the mapping's zone follows
        case "lookup":
            return rule.lookup[_known(text_of(value), rule.lookup)]
        case _:
            return json.loads(value) if isinstance(value, str | bytes) else value


def text_of(value: Any) -> str:
    """Write a value as text; CHAR columns come padded. Raises ValueError for what is none."""
    if isinstance(value, str):
        return value.rstrip(" ")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bool) or not isinstance(value, int | Decimal | float | UUID):
        raise ValueError
    return str(int(value)) if not isinstance(value, UUID) and value == int(value) else str(value)


def instant(value: Any, zone: tzinfo) -> str:
    """Write a date or time as RFC 3339 in UTC; without an offset it is meant in `zone`. Raises ValueError."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        value = datetime.fromtimestamp(float(value), UTC)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=zone)
    if not isinstance(value, datetime):
        raise ValueError
    aware = value if value.tzinfo else value.replace(tzinfo=zone)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _known(code: str, lookup: Mapping[str, Any]) -> str:
    if code not in lookup:
        raise ValueError
    return code


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


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise ValueError
    whole = int(value)
    if not isinstance(value, str) and whole != value:
        raise ValueError
    return whole


def _number(value: Any) -> int | float:
    if isinstance(value, bool):
        raise ValueError
    number = Decimal(str(value).strip())
    if not number.is_finite():
        raise ValueError
    return int(number) if number == int(number) else float(number)


def _truth(value: Any) -> bool:
    word = str(int(value) if isinstance(value, bool) else value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _day(value: Any, pattern: str) -> str:
    if pattern:
        return datetime.strptime(text_of(value), pattern).date().isoformat()  # noqa: DTZ007 - a day has no zone
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    if not isinstance(value, date):
        raise ValueError
    return (value.date() if isinstance(value, datetime) else value).isoformat()


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

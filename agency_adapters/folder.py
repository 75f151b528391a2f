"""An agency's own folder of rows (CSV, or NDJSON), and a small mapping that makes events of them.

The mapping is TOML: which dataset, which columns name the record, whom it is about and when it happened, and which
column fills which field. Event ids are worked out from the record, so publishing the folder again repeats them.

    dataset = "pop.residence"
    key = ["record_no", "version"]      # what names one state of one record
    subject = "person_no"
    time = "changed_on"                 # RFC 3339, or a day
    [fields]
    resident = "person_no"
    weight = {column = "weight_g", type = "integer"}     # text, integer, number, boolean, json
"""

import csv
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agency_adapters.errors import AgencyError
from agency_adapters.ndjson import Broken
from agency_adapters.results import CloudEvent

TYPES = ("text", "integer", "number", "boolean", "json")
MAPPING = "folder/1"  # part of every event id: another way to make them would be another mapping
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_REMEDY = "See the example in agency_adapters/README.md."


@dataclass(frozen=True, slots=True)
class Column:
    """Where a field's value is, and what it is."""

    name: str
    type: str = "text"


@dataclass(frozen=True, slots=True)
class RowMap:
    """A mapping as read."""

    dataset: str
    key: tuple[str, ...]
    subject: str
    time: str
    fields: Mapping[str, Column]
    dataschema: str = ""

    @property
    def columns(self) -> frozenset[str]:
        """Every column that it names."""
        return frozenset({*self.key, self.subject, self.time, *(column.name for column in self.fields.values())})


def read_map(path: Path) -> RowMap:
    """Read a mapping. Raises `AgencyError` naming what is wrong in it."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AgencyError(f"the mapping {path.name} cannot be read as TOML: {error}", remedy=_REMEDY) from error
    strange = sorted(set(told) - {"dataset", "key", "subject", "time", "fields", "dataschema"})
    if strange:
        raise AgencyError(f"the mapping {path.name} has {strange[0]!r}, which means nothing there", remedy=_REMEDY)
    key = told.get("key")
    keys = [key] if isinstance(key, str) else key
    named = [told.get(name) for name in ("dataset", "subject", "time")]
    if not all(
        isinstance(one, str) and one for one in [*named, *(keys if isinstance(keys, list) and keys else [None])]
    ):
        raise AgencyError(f"the mapping {path.name} lacks dataset, key, subject or time", remedy=_REMEDY)
    fields = told.get("fields")
    if not isinstance(fields, dict) or not fields:
        raise AgencyError(f"the mapping {path.name} has no [fields]", remedy=_REMEDY)
    columns = {name: _column(path, name, column) for name, column in fields.items()}
    dataset, subject, time = map(str, named)
    return RowMap(dataset, tuple(keys or ()), subject, time, columns, str(told.get("dataschema", "")))


def read_folder(
    directory: Path, row_map: RowMap, *, publisher: str, id_key: bytes = b""
) -> Iterator[CloudEvent | Broken]:
    """Yield an event for each row, or why it is none, without its values; files by name.

    Raises `AgencyError` when there is no file, or a CSV lacks a column that the mapping names: before any of its rows.
    """
    files = sorted((*directory.glob("*.csv"), *directory.glob("*.ndjson")))
    if not files:
        raise AgencyError(f"no *.csv or *.ndjson in {directory}", remedy="Name the folder that the rows are in.")
    for path in files:
        rows = _csv_rows(path, row_map) if path.suffix == ".csv" else _ndjson_rows(path)
        for at, row in rows:
            where = f"{path.name}:{at}"
            yield row if isinstance(row, Broken) else _event(where, row, row_map, publisher, id_key)


def _csv_rows(path: Path, row_map: RowMap) -> Iterator[tuple[int, dict[str, Any] | Broken]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = sorted(row_map.columns - set(reader.fieldnames or ()))
            if missing:
                raise AgencyError(
                    f"{path.name} has no column {missing[0]!r}, which the mapping names",
                    remedy=f"Its columns are {', '.join(reader.fieldnames or ())}. Correct the mapping or the file.",
                )
            for row in reader:
                if None in row or None in row.values():
                    broken = Broken(f"{path.name}:{reader.line_num}", "it has more or fewer cells than the first line")
                    yield reader.line_num, broken
                else:
                    yield reader.line_num, dict(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        yield 0, Broken(f"{path.name}:0", f"it is not CSV in UTF-8 ({type(error).__name__}); the rest was not read")


def _ndjson_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | Broken]]:
    try:
        with path.open("rb") as file:
            for at, line in enumerate(file, 1):
                if line.strip():
                    yield at, _object(f"{path.name}:{at}", line)
    except OSError as error:
        yield 0, Broken(f"{path.name}:0", f"the file cannot be read: {error.strerror or type(error).__name__}")


def _object(where: str, line: bytes) -> dict[str, Any] | Broken:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return Broken(where, "it is not JSON in UTF-8")
    return row if isinstance(row, dict) else Broken(where, "it is no JSON object")


def _event(where: str, row: Mapping[str, Any], row_map: RowMap, publisher: str, id_key: bytes) -> CloudEvent | Broken:
    for name in (*row_map.key, row_map.subject, row_map.time):
        if row.get(name) in (None, ""):
            return Broken(where, f"the column {name!r} is empty or not there")
    data: dict[str, Any] = {}
    for name, column in row_map.fields.items():
        value = row.get(column.name)
        if value in (None, ""):
            continue
        try:
            data[name] = _value(value, column.type)
        except ValueError:
            return Broken(where, f"the column {column.name!r} is no {column.type}")
    time = str(row[row_map.time])
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": _event_id(row, row_map, id_key),
        "source": f"urn:agency:{publisher}",
        "type": row_map.dataset,
        "subject": str(row[row_map.subject]),
        "time": f"{time}T00:00:00Z" if _DAY.fullmatch(time) else time,
        "data": data,
    }
    return event | ({"dataschema": row_map.dataschema} if row_map.dataschema else {})


def _event_id(row: Mapping[str, Any], row_map: RowMap, id_key: bytes) -> str:
    """Name one state of one record: 32 hex digits that nobody without the key works out from a record's number."""
    name = json.dumps([MAPPING, row_map.dataset, *[str(row[column]) for column in row_map.key]], ensure_ascii=False)
    return hashlib.blake2b(name.encode(), key=id_key, digest_size=16).hexdigest()


def _value(value: Any, kind: str) -> Any:
    """Read a cell as what the mapping says. Raises ValueError. What NDJSON gives as that already stays."""
    if kind == "text":
        return value if isinstance(value, str) else json.dumps(value)
    if not isinstance(value, str):
        return value
    if kind == "integer":
        return int(value)
    if kind == "boolean":
        if value.strip().lower() not in _WORDS:
            raise ValueError
        return _WORDS[value.strip().lower()]
    found = json.loads(value)
    if kind == "number" and (isinstance(found, bool) or not isinstance(found, int | float)):
        raise ValueError
    return found


def _column(path: Path, field: str, told: Any) -> Column:
    if isinstance(told, str) and told:
        return Column(told)
    if isinstance(told, dict) and isinstance(told.get("column"), str) and set(told) <= {"column", "type"}:
        if told.get("type", "text") in TYPES:
            return Column(told["column"], told.get("type", "text"))
        raise AgencyError(
            f"the mapping {path.name} gives {field!r} a type that there is not",
            remedy=f"Take one of {', '.join(TYPES)}.",
        )
    raise AgencyError(f"the mapping {path.name} does not say which column fills {field!r}", remedy=_REMEDY)

"""An agency's own folder of rows (CSV, or NDJSON), and a small mapping that makes events of them.

The mapping is TOML: which dataset, which columns name the record, whom it is about and when it happened, and where
each field comes from, in the words of `rules.py`; a column without `as` is text. Event ids are worked out from the
record, so publishing the folder again repeats them.

    dataset = "pop.residence"
    key = ["record_no", "version"]      # what names one state of one record
    subject = "person_no"
    time = "changed_on"                 # RFC 3339, or a day
    [fields]
    resident = "person_no"
    weight = {column = "weight_g", as = "int"}
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from agency_adapters.errors import AgencyError
from agency_adapters.ndjson import Broken
from agency_adapters.results import CloudEvent
from agency_adapters.rules import Rule, Sheet, read_toml, refuse, rule_of
from agency_adapters.values import Row, field_reader

MAPPING = "folder/1"  # part of every event id: another way to make them would be another mapping
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
Fields = list[tuple[str, Callable[[Row], Any]]]
_TOP = {"dataset": str, "key": (str, list), "subject": str, "time": str, "fields": dict, "dataschema": str}


@dataclass(frozen=True, slots=True)
class RowMap:
    """A mapping as read."""

    dataset: str
    key: tuple[str, ...]
    subject: str
    time: str
    rules: Mapping[str, Rule]
    readers: Fields  # one function per field, made of its rule
    dataschema: str = ""

    @property
    def columns(self) -> frozenset[str]:
        """Every column that it names."""
        fields = (column for rule in self.rules.values() for column in rule.columns)
        return frozenset({*self.key, self.subject, self.time, *fields})


def read_map(path: Path, *, key_needed: bool = True) -> RowMap:
    """Read a mapping. Raises `AgencyError` with everything that is wrong in it.

    Without `key_needed` it may leave `key` out, for rows that are named otherwise: `event_of` takes their ids.
    """
    given = read_toml(path, remedy="See the example in agency_adapters/README.md.")
    sheet = Sheet(path.name)
    top = sheet.known("", given, _TOP)
    key = top.get("key", [])
    keys = [key] if isinstance(key, str) else key
    for name in ("dataset", "key", "subject", "time", "fields"):
        missing = name not in given or given[name] in ("", [], {})
        if missing and (name != "key" or key_needed):
            sheet.note(f"{name} is missing")
    if not all(isinstance(one, str) and one for one in keys):
        sheet.note("key is a column, or a list of columns")
    rules = {name: rule_of(sheet, f"fields.{name}", said) for name, said in top.get("fields", {}).items()}
    for name, rule in rules.items():
        if rule.known:
            sheet.note(f"fields.{name}.from is for rows of a database that are gone")
    refuse(path.name, sheet.findings)
    return RowMap(
        top["dataset"], tuple(keys), top["subject"], top["time"], rules, _readers(rules), top.get("dataschema", "")
    )


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
            yield row if isinstance(row, Broken) else event_of(where, row, row_map, publisher, id_key)


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


def _readers(rules: Mapping[str, Rule]) -> Fields:
    """Make one function per field; a time without an offset is meant in UTC."""
    return [(name, field_reader(name, rule, rule.form or "str", UTC, required=False)) for name, rule in rules.items()]


def event_of(
    where: str, row: Row, row_map: RowMap, publisher: str, id_key: bytes, *, event_id: str = ""
) -> CloudEvent | Broken:
    """Make the event of one row, or say why it is none. `event_id`: its id, where the mapping has no key."""
    for name in (*row_map.key, row_map.subject, row_map.time):
        if row.get(name) in (None, ""):
            return Broken(where, f"the column {name!r} is empty or not there")
    whole = {**dict.fromkeys(row_map.columns), **row}
    try:
        data = {name: value for name, read in row_map.readers if (value := read(whole)) is not None}
    except ValueError as error:
        return Broken(where, str(error))
    time = str(row[row_map.time])
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id or _event_id(row, row_map, id_key),
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

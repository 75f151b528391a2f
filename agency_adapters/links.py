"""Read a CSV of links between agencies' ids of the same person. Values never show up in an error: they name people."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agency_adapters.errors import AgencyError

COLUMNS = ("agency", "local_id", "mine", "level", "born")  # `born` may be empty or absent
LEVELS = ("1", "2", "3")  # P1 to P3


def read_links(path: Path) -> list[Mapping[str, Any]]:
    """Read the whole file. Raises `AgencyError` naming FILE:LINE of the first row that cannot be meant."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(_rows(csv.DictReader(file, strict=True), name=path.name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AgencyError(f"{path} cannot be read as CSV in UTF-8", remedy=_REMEDY) from error


_REMEDY = f"The first line names the columns: {','.join(COLUMNS)}."


def _rows(reader: "csv.DictReader[str]", *, name: str) -> Iterator[Mapping[str, Any]]:
    names = set(reader.fieldnames or ())
    if not set(COLUMNS[:4]) <= names or not names <= set(COLUMNS):
        raise AgencyError(f"{name}:1 does not name the columns of a link", remedy=_REMEDY)
    for row in reader:
        where = f"{name}:{reader.line_num}"
        if None in row or None in row.values():
            raise AgencyError(f"{where} has more or fewer cells than columns", remedy=_REMEDY)
        if not all(row[column] for column in COLUMNS[:3]):
            raise AgencyError(f"{where} has an empty agency, local_id or mine", remedy=_REMEDY)
        if row["level"] not in LEVELS:
            raise AgencyError(f"{where}: level is not 1, 2 or 3", remedy=_REMEDY)
        link: dict[str, Any] = {column: row[column] for column in COLUMNS[:3]} | {"level": int(row["level"])}
        yield link | ({"born": row["born"]} if row.get("born") else {})

"""Read a CSV of links between agencies' ids of the same person. Values never show up in an error: they name people.

Making a link takes all of `COLUMNS`; to undo, dispute or settle one, `agency` and `local_id` name it.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agency_adapters.errors import AgencyError

COLUMNS = ("agency", "local_id", "mine", "level", "born")  # `born` may be empty or absent
NAMING = COLUMNS[:2]
LEVELS = ("1", "2", "3")  # P1 to P3


def read_links(path: Path) -> list[Mapping[str, Any]]:
    """Read the whole file. Raises `AgencyError` naming FILE:LINE of the first row that cannot be meant."""
    return _read(path, needed=COLUMNS[:4], known=COLUMNS)


def read_names(path: Path) -> list[Mapping[str, Any]]:
    """Read which links are meant. Raises as `read_links`."""
    return _read(path, needed=NAMING, known=NAMING)


def _read(path: Path, *, needed: Sequence[str], known: Sequence[str]) -> list[Mapping[str, Any]]:
    remedy = f"The first line names the columns: {','.join(known)}."
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(_rows(csv.DictReader(file, strict=True), path.name, needed, known, remedy))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AgencyError(f"{path} cannot be read as CSV in UTF-8", remedy=remedy) from error


def _rows(
    reader: "csv.DictReader[str]", name: str, needed: Sequence[str], known: Sequence[str], remedy: str
) -> Iterator[Mapping[str, Any]]:
    names = set(reader.fieldnames or ())
    if not set(needed) <= names or not names <= set(known):
        raise AgencyError(f"{name}:1 does not name the columns of a link", remedy=remedy)
    texts = [column for column in needed if column != "level"]
    for row in reader:
        where = f"{name}:{reader.line_num}"
        if None in row or None in row.values():
            raise AgencyError(f"{where} has more or fewer cells than columns", remedy=remedy)
        if not all(row[column] for column in texts):
            raise AgencyError(f"{where}: one of {', '.join(texts)} is empty", remedy=remedy)
        if "level" in needed and row["level"] not in LEVELS:
            raise AgencyError(f"{where}: level is not 1, 2 or 3", remedy=remedy)
        link: dict[str, Any] = {column: row[column] for column in texts}
        yield link | {column: _cell(column, row[column]) for column in known[len(texts) :] if row.get(column)}


def _cell(column: str, text: str) -> str | int:
    return int(text) if column == "level" else text

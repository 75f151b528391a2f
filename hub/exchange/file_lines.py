"""What an agency publishes as a file, read piece by piece: each line or row becomes one event, or says why it is none.

NDJSON: one CloudEvent a line. CSV: a row is an event; the columns `id`, `type`, `subject`, `time`, `dataschema`,
`case`, `actor` and `source` are its attributes, every other column is a field of its data (`data.NAME` where it has
the name of an attribute). Cells are text; what the dataset's schema says is no text is read as JSON. Empty: left out.
"""

import codecs
import csv
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple

import orjson

from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Kind
from hub.exchange.csv_cells import unescaped

ATTRIBUTES = ("id", "type", "subject", "time", "dataschema", "case", "actor", "source")
NEEDED = ("id", "type", "subject", "time")
PIECE = 65_536
DEEPEST_CELL = 131_072  # characters of one CSV cell; csv's own limit, longer ones are a quote that was never closed
LONGEST_ROW = 8 * DEEPEST_CELL  # bytes: far more than an event may have; each comma of it is a cell in memory


class Line(NamedTuple):
    """One event as parsed JSON, or why it is none; `at` counts lines, or rows after the header, from 1."""

    at: int
    envelope: Any
    size: int
    refused: HubError | None = None


def ndjson_lines(file: IO[bytes], most: int) -> Iterator[Line]:
    """Read line by line; blank ones are passed over. A longer line than `most` bytes is refused and skipped."""
    at = 0
    while line := file.readline(most + 2):
        at += 1
        too_long = len(line) > most and not line.endswith(b"\n")
        rest = line
        while too_long and rest and not rest.endswith(b"\n"):
            rest = file.readline(PIECE)
        if too_long:
            yield Line(at, None, 0, _refusal(f"the line has more than {most} bytes", "event-too-large"))
        elif line.strip():
            yield _parsed(at, line)


def count_ndjson(file: IO[bytes]) -> int:
    """Count the lines that are not blank, however long they are."""
    count, blank = 0, True
    while piece := file.readline(PIECE):
        blank = blank and not piece.strip()
        if piece.endswith(b"\n"):
            count, blank = count + (not blank), True
    return count + (not blank)


def csv_rows(file: IO[bytes], catalogue: Catalogue, agency: str) -> Iterator[Line]:
    """Read row by row. Raises HubError(INVALID) for what is no CSV in UTF-8, or has no such columns."""
    text = _Text(file)
    reader = csv.reader(text, strict=True)
    header: list[str] = []
    try:
        header = [unescaped(name) for name in next(reader, [])]
        _check_header(header)
        for at, row in enumerate(reader, 1):
            text.row_chars = 0
            if len(row) != len(header):
                raise _refusal(f"row {at} has {len(row)} cells and the header {len(header)}", "file-csv")
            yield _of_row(at, header, [unescaped(cell) for cell in row], catalogue, agency)
    except (csv.Error, UnicodeDecodeError) as cause:
        raise _refusal(
            f"it is not CSV in UTF-8, or a cell or a row is too long (near line {reader.line_num})", "file-csv"
        ) from cause


class _Text:
    """A file's text in pieces no longer than a cell may be: csv's limit ends a quote that was never closed.

    A quoted cell across the end of a piece makes one row of both, so that a row could be all of the file, a cell for
    each comma in it: whoever reads sets `row_chars` to 0 at each row's end, and a longer row is no CSV.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.row_chars = 0
        self._file, self._decoder = file, codecs.getincrementaldecoder("utf-8-sig")("strict")

    def __iter__(self) -> Iterator[str]:
        while piece := self._file.readline(DEEPEST_CELL):
            self.row_chars += len(piece)
            if self.row_chars > LONGEST_ROW:
                raise csv.Error("a row is too long")
            yield self._decoder.decode(piece)
        self._decoder.decode(b"", final=True)


def _parsed(at: int, line: bytes) -> Line:
    try:
        return Line(at, orjson.loads(line), len(line))
    except orjson.JSONDecodeError as cause:
        what = f"the line is not UTF-8 JSON: something is wrong in column {cause.colno}"
        return Line(at, None, 0, _refusal(what, "json-malformed"))


def _check_header(header: list[str]) -> None:
    missing = [name for name in NEEDED if name not in header]
    if missing or len(set(header)) != len(header):
        what = f"the first line does not name the columns {', '.join(missing)}" if missing else "a column comes twice"
        raise _refusal(what, "file-csv")


def _of_row(at: int, header: list[str], row: list[str], catalogue: Catalogue, agency: str) -> Line:
    envelope: dict[str, Any] = {"specversion": "1.0", "source": f"urn:agency:{agency}"}
    cells = {name: cell for name, cell in zip(header, row, strict=True) if cell}
    dataset = catalogue.datasets.get(cells.get("type", ""))
    properties = dataset.schema.get("properties") if dataset and dataset.provider == agency else None
    known: Mapping[str, Any] = properties if isinstance(properties, dict) else {}
    data: dict[str, Any] = {}
    for name, cell in cells.items():
        if name in ATTRIBUTES:
            envelope[name] = cell
        else:
            field = name.removeprefix("data.")
            data[field] = _value(cell, known.get(field))
    envelope["data"] = data
    return Line(at, envelope, sum(map(len, row)))


def _value(cell: str, schema: Any) -> Any:
    """Read a cell as what its field is; where it is none, it stays text, and the schema says what is wrong."""
    kind = schema.get("type", "string") if isinstance(schema, dict) else "string"
    if "string" in ([kind] if isinstance(kind, str) else kind):
        return cell
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell


def _refusal(what: str, code: str) -> HubError:
    return HubError(Kind.INVALID, what, remedy="Mend it and put the whole file there again, under its ids.", code=code)

"""Read a directory of NDJSON line by line, plain or gzipped: FHIR Bulk Data Access 2.0, section "Output Files"."""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from agency_adapters.errors import AgencyError

MAX_LINE_BYTES = 16 * 1024 * 1024  # a patient with a photograph stays below; a file that is one line does not


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that gives nothing. `where` is FILE:LINE; `reason` holds no value of the line."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resource:
    """One JSON object and where it stood."""

    where: str
    content: dict[str, Any]


def read_directory(directory: Path) -> Iterator[Resource | Broken]:
    """Yield one outcome per line that is not blank, files by name. Raises `AgencyError` when there is no such file."""
    files = sorted((*directory.glob("*.ndjson"), *directory.glob("*.ndjson.gz")))
    if not files:
        raise AgencyError(f"no *.ndjson or *.ndjson.gz in {directory}", remedy="Name the directory of the export.")
    for path in files:
        yield from read_file(path)


def read_file(path: Path) -> Iterator[Resource | Broken]:
    """Yield one outcome per line of one file that is not blank."""
    try:
        # "rb" alone for gzip.open would give an untyped stream; both of these give bytes line by line
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            yield from _lines(lines, name=path.name)
    except OSError as error:
        yield Broken(f"{path.name}:0", f"the file cannot be opened: {error.strerror or type(error).__name__}")


def _lines(lines: IO[bytes] | gzip.GzipFile, *, name: str) -> Iterator[Resource | Broken]:
    number = 0
    while True:
        number += 1
        where = f"{name}:{number}"
        try:
            line = lines.readline(MAX_LINE_BYTES + 1)
            too_long = len(line) > MAX_LINE_BYTES
            rest = line
            while too_long and rest and not rest.endswith(b"\n"):
                rest = lines.readline(MAX_LINE_BYTES)
        except (OSError, EOFError, zlib.error):
            yield Broken(where, "the file is damaged from here on; nothing after this line was read")
            return
        if not line:
            return
        if too_long:
            yield Broken(where, f"the line is longer than {MAX_LINE_BYTES} bytes")
        elif line.strip():
            yield _resource(line, where=where)


def _resource(line: bytes, *, where: str) -> Resource | Broken:
    try:
        content = json.loads(line.decode("utf-8-sig"), parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        return Broken(where, f"not JSON: {error.msg} at column {error.colno}")
    except UnicodeDecodeError as error:
        return Broken(where, f"not UTF-8 at byte {error.start + 1}")
    except (ValueError, RecursionError):
        return Broken(where, "not JSON: a number that JSON does not know, or nested too deep")
    if not isinstance(content, dict):
        return Broken(where, "not a JSON object")
    return Resource(where, content)


def _no_constant(name: str) -> None:
    raise ValueError(name)

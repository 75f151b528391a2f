"""The way in as files: `in/NAME.ndjson` or `in/NAME.csv`, with a manifest and a done-marker, published line by line.

1. nothing without its done-marker is touched      2. the manifest names this file and this agency
3. it is one plain file, within its limits, with the bytes, the hash and the count that the manifest says
4. every line goes through the same publish as over HTTP, as the agency whose folder it is
5. receipt: per line what became of it             6. the file moves to `done`
A file that fails 2. or 3. moves to `refused` with the reason, and nothing of it is published. After a crash it is read
again from its first line: the same ids are repeats, which the gate drops.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import IO, Any, NamedTuple

import orjson

from hub.core.errors import HubError, Kind
from hub.exchange.file_lines import Line, count_ndjson, csv_rows, ndjson_lines
from hub.exchange.publish import Accepted, Outcome, PublishDesk, publish
from hub.workers.folders import PART, Place, age_us, move, names, new_file, plain_file, put, read_small, remove, settled

MANIFEST, DONE, RECEIPT, REASON = ".manifest.json", ".done", ".receipt.json", ".reason.json"
FORMS = (".ndjson", ".csv")
FORMAT = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MANIFEST_BYTES = 65_536
EVENTS_AT_ONCE = 500  # published together: as many as one request may bring
PIECE = 1 << 20
HALF_WRITTEN_US = 600_000_000  # a file without its done-marker for longer is reported; it is left alone all the same


@dataclass(frozen=True, slots=True)
class Told:
    """What a manifest says of its file."""

    count: int
    bytes: int
    sha256: str


class Taken(NamedTuple):
    """How a file ended: what became of its lines; `refused_as` where none was looked at."""

    accepted: int
    refused: int
    refused_as: str = ""


class Intake(NamedTuple):
    """What taking a file needs. `quota` raises HubError(TOO_MANY); `published` counts."""

    desk: Callable[[], PublishDesk]
    quota: Callable[[str, int], None]
    most_bytes: int


def ready(place: Place) -> list[str]:
    """Return the names of the files that are complete, by their done-markers."""
    there = [name.removesuffix(DONE) for name in names(place.incoming) if name.endswith(DONE)]
    return [name for name in there if NAME.fullmatch(name)]


def half_written(place: Place, now_us: int) -> tuple[int, int]:
    """Count the files that have had no done-marker for long, and the age of the oldest in microseconds."""
    present = names(place.incoming)
    done = {name.removesuffix(DONE) for name in present if name.endswith(DONE)}
    ages = [
        age_us(place.incoming, name, now_us)
        for name in present
        if name not in ("done", "refused") and not name.endswith(DONE) and _stem(name) not in done
    ]
    old = [age for age in ages if age >= HALF_WRITTEN_US]
    return len(old), max(old, default=0)


def take(intake: Intake, place: Place, agency: str, name: str) -> Iterator[Taken | None]:
    """Publish a file piece by piece, giving way after each (None); the last thing it gives is how it ended.

    Raises HubError(UNAVAILABLE) where nothing can be published now: it is read again from its start, later.
    """
    if _was_moved(place, name):
        _leave(place, name, "", place.done)
        return
    try:
        form, told = _announced(place, agency, name)  # 2.
        if "publish" not in intake.desk().catalogue.agencies[agency].rights:
            raise _refused("this agency does not publish", "file-right", "Ask the hub's operator.")
        with plain_file(place.incoming, name + form) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
            _check(file, told, intake.most_bytes)  # 3.
            _count(file, form, told.count, intake.desk(), agency)
            file.seek(0)
            yield from _publish_all(intake, place, agency, name, form, file)  # 4. 5.
    except HubError as refused:
        if refused.kind is not Kind.INVALID:
            raise
        _refuse(place, name, refused)
        yield Taken(0, 0, refused.code)
        return
    _leave(place, name, form, place.done)  # 6.


def sweep(place: Place, now_us: int, keep_us: int) -> int:
    """Remove what was taken or refused longer ago; returns how many files."""
    swept = 0
    for folder in (place.done, place.refused):
        for name in names(folder):
            if age_us(folder, name, now_us, changed=True) >= keep_us:
                remove(folder, name)
                swept += 1
    return swept


def clear_begun(place: Place) -> None:
    """Remove what a process that died had begun to write."""
    for folder in (place.done, place.refused):
        for name in names(folder):
            if name.startswith(".") and name.endswith(PART):
                remove(folder, name)


def _was_moved(place: Place, name: str) -> bool:
    """Say whether a process died between the moving of a file and the removing of its marker."""
    present = names(place.incoming)
    return not any(name + form in present for form in FORMS) and name + RECEIPT in names(place.done)


def _announced(place: Place, agency: str, name: str) -> tuple[str, Told]:
    """Find the file's form, and what its manifest says. No name in it is used for anything but comparing."""
    present = set(names(place.incoming))
    forms = [form for form in FORMS if name + form in present]
    if len(forms) != 1:
        what = f"there are {len(forms)} data files of this name"
        raise _refused(what, "file-missing", "Put one .ndjson or one .csv there, its manifest, then its done-marker.")
    document = _manifest(read_small(place.incoming, name + MANIFEST, MANIFEST_BYTES))
    if document.get("format") != FORMAT:
        raise _bad_manifest(f"`format` must be {FORMAT}", "file-manifest")
    if document.get("publisher") != agency:
        raise _bad_manifest("`publisher` is not the agency whose folder this is", "file-of-another")
    files = document.get("files")
    if not isinstance(files, list) or len(files) != 1 or not isinstance(files[0], dict):
        raise _bad_manifest("`files` must list the one file", "file-manifest")
    told = files[0]
    if told.get("name") != name + forms[0]:
        raise _bad_manifest("it names another file than the one beside it", "file-manifest")
    numbers = [told.get("count"), told.get("bytes")]
    if not all(isinstance(number, int) and number >= 0 for number in numbers) or not isinstance(
        told.get("sha256"), str
    ):
        raise _bad_manifest("it lacks the count, the bytes or the sha256 of the file", "file-manifest")
    return forms[0], Told(told["count"], told["bytes"], told["sha256"])


def _manifest(text: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as cause:
        raise _bad_manifest("it is not JSON", "file-manifest") from cause
    if not isinstance(document, dict):
        raise _bad_manifest("it is no JSON object", "file-manifest")
    return document


def _check(file: IO[bytes], told: Told, most_bytes: int) -> None:
    """Compare the file with its manifest, before anything of it is published."""
    size = os.fstat(file.fileno()).st_size
    if size > most_bytes:
        raise _refused(f"it has {size} bytes; {most_bytes} are allowed", "file-too-large", "Send it in several files.")
    digest = sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    file.seek(0)
    if size != told.bytes or digest.hexdigest() != told.sha256.lower():
        raise _refused("it is not the file of its manifest: it was changed or cut short", "file-changed", _AGAIN)


def _count(file: IO[bytes], form: str, told: int, desk: PublishDesk, agency: str) -> None:
    """Count, and read every row of a CSV once: a table that breaks off in the middle is refused as a whole."""
    count = sum(1 for _ in csv_rows(file, desk.catalogue, agency)) if form == ".csv" else count_ndjson(file)
    if count != told:
        raise _refused(f"it holds {count} events, and its manifest says {told}", "file-count", _AGAIN)


def _publish_all(
    intake: Intake, place: Place, agency: str, name: str, form: str, file: IO[bytes]
) -> Iterator[Taken | None]:
    """Publish in pieces and write the receipt as they go; it is there only when all of it is."""
    desk = intake.desk()
    lines = csv_rows(file, desk.catalogue, agency) if form == ".csv" else ndjson_lines(file, desk.event_bytes)
    accepted = refused = 0
    with new_file(place.done, name + RECEIPT) as receipt:
        receipt.write(b'{"format":%d,"file":%b,"lines":[' % (FORMAT, orjson.dumps(name + form)))
        first = True
        while some := list(islice(lines, EVENTS_AT_ONCE)):
            yield from _within_quota(intake, agency, len(some))
            for line, outcome in zip(some, _publish(intake.desk(), agency, some), strict=True):
                receipt.write((b"\n" if first else b",\n") + orjson.dumps(_told(line, outcome)))
                first = False
                accepted += isinstance(outcome, Accepted)
                refused += isinstance(outcome, HubError)
            yield None
        receipt.write(b'\n],"accepted":%d,"refused":%d}\n' % (accepted, refused))
        receipt.close()
    settled(place.done)
    yield Taken(accepted, refused)


def _within_quota(intake: Intake, agency: str, events: int) -> Iterator[None]:
    while True:
        try:
            intake.quota(agency, events)
        except HubError as busy:
            if busy.kind is not Kind.TOO_MANY:
                raise
            yield None
            continue
        return


def _publish(desk: PublishDesk, agency: str, lines: Sequence[Line]) -> list[Outcome]:
    good = [line for line in lines if line.refused is None]
    done = iter(publish(desk, agency, [line.envelope for line in good], sizes=[line.size for line in good]))
    return [line.refused or next(done) for line in lines]


def _told(line: Line, outcome: Outcome) -> dict[str, Any]:
    """Say what became of a line. Values are not repeated, but for the event's own id."""
    if isinstance(outcome, Accepted):
        return {"line": line.at, "id": outcome.id, "status": "accepted", "token": outcome.token}
    given = line.envelope.get("id") if isinstance(line.envelope, dict) else None
    named = {"id": given} if isinstance(given, str) else {}
    told = {"line": line.at, **named, "status": "refused", **_words(outcome)}
    if outcome.items:
        items = [{"what": item.what, "where": item.where, "remedy": item.remedy} for item in outcome.items]
        told["items"] = [{key: text for key, text in item.items() if text} for item in items]
    return told


def _words(refused: HubError) -> dict[str, str]:
    words = {"code": refused.code, "what": refused.what, "where": refused.where, "remedy": refused.remedy}
    return {key: text for key, text in words.items() if text}


def _refuse(place: Place, name: str, refused: HubError) -> None:
    put(place.refused, name + REASON, [orjson.dumps(_words(refused), option=orjson.OPT_APPEND_NEWLINE)])
    for form in FORMS:
        move(place.incoming, name + form, place.refused)
    _leave(place, name, "", place.refused)


def _leave(place: Place, name: str, form: str, to: int) -> None:
    """Move a file where it belongs; its marker goes last, so that a crash in between is begun again."""
    if form:
        move(place.incoming, name + form, to)
    move(place.incoming, name + MANIFEST, to)
    settled(to)
    remove(place.incoming, name + DONE)
    move(place.incoming, name + DONE, to)  # where it is a folder
    settled(place.incoming)


def _stem(name: str) -> str:
    for suffix in (MANIFEST, *FORMS):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


_AGAIN = "Write the file, then its manifest, then its done-marker, and change none of them after."


def _bad_manifest(what: str, code: str) -> HubError:
    return _refused(f"its manifest cannot be taken: {what}", code, _AGAIN)


def _refused(what: str, code: str, remedy: str) -> HubError:
    return HubError(Kind.INVALID, what, remedy=remedy, code=code)

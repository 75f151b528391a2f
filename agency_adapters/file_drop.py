"""File drop from the agency's side: put events into a folder for the hub, and take deliveries that it put there.

The folder is the agency's own at the hub, over SFTP or a share, with `out`, `ack` and `in` in it. Nothing in it counts
without its done-marker, and nothing is believed that its manifest does not say.
"""

import csv
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from agency_adapters.client import KNOWN_KINDS, NOTICE
from agency_adapters.clock import Clock, system_clock
from agency_adapters.csv_cells import unescaped
from agency_adapters.errors import AgencyError, problem_of
from agency_adapters.results import Accepted, CloudEvent, Delivery, PublishResult, Refused, delivery_of
from agency_adapters.seen import Seen

FORMAT = 1  # of manifests and receipts, the hub's
DONE, MANIFEST, ACK = ".done", ".manifest.json", ".ack"
BATCH = "batch"  # under this kind `Seen` remembers whole batches
HALF_WRITTEN_US = 3_600_000_000  # files without their marker for longer are reported: whoever copies them has stopped
UNPROCESSABLE = 422  # the status that an event refused at the hub's door would have had
ENVELOPE = ("id", "number", "kind", "time", "subject")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SEND_AGAIN = "Nothing of it was handled or acknowledged; what the hub is not told of comes again in a later batch."


@dataclass(frozen=True, slots=True)
class BadBatch:
    """A batch that was not taken. `quarantined`: its files are in the folder `quarantine` now, with the reason."""

    batch: str
    what: str
    remedy: str
    quarantined: bool


class _Bad(Exception):
    """Why a batch is not taken."""


def write_batch(
    directory: Path, events: Sequence[CloudEvent], *, agency: str, name: str = "", clock: Clock = system_clock
) -> str:
    """Put events there for the hub to publish: the file, its manifest, its done-marker, each whole or not at all.

    Returns the name under which the receipt will be. The same events again, under any name, double nothing.
    Raises `AgencyError` when the folder cannot be written; then the hub takes nothing of it.
    """
    name = name or f"{agency}-{clock()}-{secrets.token_hex(4)}"
    if not _NAME.fullmatch(name):
        raise AgencyError("the name of a file is not taken by the hub", remedy="Use letters, digits, `.`, `_`, `-`.")
    lines = [json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n" for event in events]
    body = "".join(lines).encode()
    told = {"name": f"{name}.ndjson", "count": len(lines), "bytes": len(body), "sha256": sha256(body).hexdigest()}
    manifest = {"format": FORMAT, "publisher": agency, "files": [told]}
    folder = directory / "in"
    _put(folder, f"{name}.ndjson", body)
    _put(folder, name + MANIFEST, json.dumps(manifest, indent=2).encode())
    _put(folder, name + DONE, b"")
    return name


def read_receipt(directory: Path, name: str) -> PublishResult | None:
    """Read what became of a file; None while the hub has not taken it. Items are lines, counted from 0.

    Raises `AgencyError` where the hub refused the file as a whole, with its reason.
    """
    refused, receipt = (
        directory / "in" / part for part in (f"refused/{name}.reason.json", f"done/{name}.receipt.json")
    )
    if receipt.exists():
        lines = _json(receipt.read_bytes()).get("lines")
        return PublishResult(tuple(_outcome(line) for line in lines or () if isinstance(line, dict)))
    if refused.exists():
        told = _json(refused.read_bytes())
        what = f"the hub refused the file {name}: {told.get('what', 'it does not say why')}"
        raise AgencyError(what, remedy=str(told.get("remedy", "")))
    return None


def read_batches(
    directory: Path, *, agency: str, seen: Seen, bad: list[BadBatch] | None = None, clock: Clock = system_clock
) -> Iterator[Delivery]:
    """Yield what is there, each delivery once; asking for the next says that the last one is handled.

    1. only batches with their done-marker, oldest first       2. manifest, addressee, hash and count, before any line
    3. yield what was not handled before; when the caller returns, remember it as handled      4. acknowledge the batch
    A kind that this client does not know is yielded and never acknowledged. What is not as its manifest says, or is
    another agency's, goes to `quarantine` and into `bad`; without `bad`, `AgencyError` tells of it after the last one.
    """
    found: list[BadBatch] = [] if bad is None else bad
    for batch in _finished(directory):
        if seen.has(batch, BATCH) or (directory / "quarantine" / f"{batch}.reason.json").exists():
            continue
        try:
            deliveries = _verified(directory / "out", batch, agency)
        except _Bad as reason:
            found.append(_quarantine(directory, batch, str(reason)))
            continue
        known = [one for one in deliveries if one.kind in KNOWN_KINDS or one.kind == NOTICE]
        for delivery in deliveries:
            if not seen.has(delivery.id, delivery.kind):
                yield delivery
                if delivery in known:
                    seen.add(delivery.id, delivery.kind)
        if len(known) == len(deliveries):
            _put(directory / "ack", batch + ACK, b"all\n")
            seen.add(batch, BATCH)
        elif known:
            _put(directory / "ack", batch + ACK, "".join(f"{one.number}\n" for one in known).encode())
    found += _half_written(directory, clock())
    if bad is None and found:
        what = f"{len(found)} batches were not taken; {found[0].batch}: {found[0].what}"
        raise AgencyError(what, remedy=found[0].remedy)


def _finished(directory: Path) -> list[str]:
    try:
        names = sorted(path.name for path in (directory / "out").iterdir())
    except OSError as error:
        what = f"the folder {directory / 'out'} cannot be read: {error.strerror or type(error).__name__}"
        raise AgencyError(what, remedy="Name the agency's own folder, with `out`, `ack` and `in` in it.") from error
    found = [name.removesuffix(DONE) for name in names if name.endswith(DONE)]
    return [name for name in found if _NAME.fullmatch(name)]  # their names are in the order of the hand-outs


def _verified(out: Path, batch: str, agency: str) -> list[Delivery]:
    """Check a batch and read it whole. Raises _Bad. What was checked is what is read: no file is opened twice."""
    manifest = _json(_read(out, batch + MANIFEST))
    if manifest.get("format") != FORMAT:
        raise _Bad("its manifest is of a form that this version does not know")
    if manifest.get("batch") != batch:
        raise _Bad("its manifest is another batch's")
    if manifest.get("recipient") != agency:
        raise _Bad("it is addressed to another agency")
    files = manifest.get("files")
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise _Bad("its manifest lists no files")
    deliveries = [delivery for file in files for delivery in _deliveries(out, batch, file)]
    if len(deliveries) != manifest.get("count"):
        raise _Bad("it does not hold as many deliveries as its manifest says")
    return sorted(deliveries, key=lambda one: one.number)


def _deliveries(out: Path, batch: str, file: Mapping[str, Any]) -> list[Delivery]:
    name = file.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.startswith(batch + "."):
        raise _Bad("its manifest names a file that is not the batch's own")
    body = _read(out, name)
    if len(body) != file.get("bytes") or sha256(body).hexdigest() != file.get("sha256"):
        raise _Bad("a file of it was changed after its manifest, or did not arrive whole")
    try:
        documents = _csv(body, file) if name.endswith(".csv") else [json.loads(line) for line in body.splitlines()]
        found = [delivery_of(document) for document in documents]
    except (ValueError, AttributeError, csv.Error, AgencyError) as error:
        raise _Bad("a file of it cannot be read as what it says it is") from error
    if len(found) != file.get("count"):
        raise _Bad("a file of it does not hold as many deliveries as its manifest says")
    return found


def _csv(body: bytes, file: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read rows back into events: cells are text, empty ones left out; what is no row of data stands there whole."""
    reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
    documents: list[dict[str, Any]] = []
    for row in reader:
        if "event" in row and "type" in row:
            documents.append(json.loads(row["event"]))
            continue
        cells = {name: unescaped(cell) for name, cell in row.items() if cell}
        event: dict[str, Any] = {name: cells.pop(name) for name in ENVELOPE if name in cells}
        about = {name: file[name] for name in ("purpose", "agreement") if name in file}
        event |= {"specversion": "1.0", "type": file.get("dataset", ""), "number": int(event["number"]), **about}
        documents.append(event | {"data": cells})
    return documents


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise _Bad("a file of it is not there, or is no plain file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise _Bad("a file of it cannot be read") from error


def _json(text: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _Bad("its manifest is not JSON") from error
    if not isinstance(document, dict):
        raise _Bad("its manifest is no JSON object")
    return document


def _quarantine(directory: Path, batch: str, what: str) -> BadBatch:
    """Put a batch's files aside, by moving where that is allowed and else by copying, and say why beside them."""
    aside = directory / "quarantine"
    try:
        aside.mkdir(exist_ok=True)
        for path in sorted((directory / "out").glob(f"{batch}.*"), reverse=True):
            if path.is_symlink() or not path.is_file():
                continue
            try:
                path.replace(aside / path.name)
            except OSError:
                shutil.copyfile(path, aside / path.name)
        _put(aside, f"{batch}.reason.json", json.dumps({"what": what, "remedy": _SEND_AGAIN}).encode())
    except OSError:
        return BadBatch(batch, what, _SEND_AGAIN, quarantined=False)
    return BadBatch(batch, what, _SEND_AGAIN, quarantined=True)


def _half_written(directory: Path, now_us: int) -> list[BadBatch]:
    """Find batches that have had a manifest or a file for long and no marker. They are left where they are."""
    out, found = directory / "out", []
    for path in sorted(out.glob("*" + MANIFEST)):
        batch = path.name.removesuffix(MANIFEST)
        if (out / (batch + DONE)).exists() or path.is_symlink():
            continue
        if now_us - path.stat().st_mtime_ns // 1_000 > HALF_WRITTEN_US:
            remedy = (
                "See whether whatever copies the files still runs. Nothing is read before the done-marker is there."
            )
            found.append(BadBatch(batch, "it has no done-marker for an hour", remedy, quarantined=False))
    return found


def _put(folder: Path, name: str, body: bytes) -> None:
    """Write beside its place and rename, so that nobody sees half of it."""
    part = folder / f".{name}.{secrets.token_hex(4)}.part"
    try:
        with part.open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / name)
    except OSError as error:
        part.unlink(missing_ok=True)
        why = error.strerror or type(error).__name__
        raise AgencyError(f"{folder} cannot be written: {why}", remedy="Make it writable, with room on it.") from error


def _outcome(line: Mapping[str, Any]) -> Accepted | Refused:
    at, event_id = int(line.get("line", 1)) - 1, str(line.get("id", ""))
    if line.get("status") == "accepted":
        return Accepted(at, event_id, str(line.get("token", "")))
    told = problem_of(
        {**line, "detail": line.get("what"), "type": line.get("code"), "status": None}, status=UNPROCESSABLE
    )
    return Refused(at, event_id, told)

"""The operator's stop: a small file of JSON lines in the data directory, read by every hand-out before it commits.

It needs nothing but the file: no hub, no store, no key. It survives restarts. It fails closed: a file that is there and
is empty, torn, unreadable or not what is written here stops everything, so `touch` is enough in the worst hour.
One line stops one thing: {"code": "tax", "reason": "", "scope": "agency", "since_us": 1}.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import orjson

from hub.core.errors import HubError, Kind

STOP_FLAG = "stop-release"  # in data_dir
LOCK = (
    "stop-release.lock"  # whoever changes the flag holds it; whoever reads needs none, for the file is replaced whole
)
MOST_BYTES = 1 << 20  # some ten thousand lines; more was not written here
REASON_CHARS = 200
CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
Scope = Literal["all", "agency", "agreement"]
KEYS = {"scope", "code", "since_us", "reason"}


class Stop(NamedTuple):
    """One thing that is stopped. `code` is "" for everything; `reason` is the operator's own words, of no person."""

    scope: Scope
    code: str
    since_us: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stops:
    """What is stopped now. Empty, and so false, where nothing is. `unreadable` says why the file stops everything."""

    lines: tuple[Stop, ...] = ()
    unreadable: str = ""

    def __bool__(self) -> bool:
        return bool(self.lines or self.unreadable)

    @property
    def everything(self) -> bool:
        return bool(self.unreadable) or any(one.scope == "all" for one in self.lines)

    @property
    def agencies(self) -> frozenset[str]:
        return frozenset(one.code for one in self.lines if one.scope == "agency")

    def stops(self, agency: str) -> bool:
        """Say whether nothing may go to this agency at all."""
        return self.everything or agency in self.agencies

    @property
    def agreements(self) -> frozenset[str]:
        return frozenset(one.code for one in self.lines if one.scope == "agreement")


NOTHING = Stops()


def nothing_stopped() -> Stops:
    return NOTHING


def read_stops(path: str | Path) -> Stops:
    """Read the flag file. Never raises: what cannot be read stops everything. Absent is the cheap case, one call."""
    try:
        size = os.stat(path).st_size  # the hand-out asks each time, and Path.stat costs three times as much
    except FileNotFoundError:
        return Stops((), "the flag file is a link to nothing") if os.path.lexists(path) else NOTHING
    except OSError as error:
        return Stops((), f"the flag file cannot be looked at ({error.strerror})")
    if size > MOST_BYTES:
        return Stops((), "the flag file is far larger than any that was written by the hub")
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:  # taken away in between: the hand-out that reads this comes after
        return NOTHING
    except OSError as error:
        return Stops((), f"the flag file cannot be read ({error.strerror})")
    return parse(content)


def parse(content: bytes) -> Stops:
    """Turn the file's bytes into what they stop. Empty and anything not understood stop everything."""
    if not content.strip():
        return Stops((), "the flag file is empty")
    if not content.endswith(b"\n"):
        return Stops((), "the flag file's last line is torn")
    lines = []
    for number, raw in enumerate(content.splitlines(), 1):
        line = _line(raw)
        if line is None:
            return Stops((), f"line {number} of the flag file is not what the hub writes")
        lines.append(line)
    return Stops(tuple(lines))


def stop(path: Path, line: Stop) -> Stops:
    """Add a line, durably, and return what is stopped now; one that is there already keeps its beginning.

    Stopping everything works on a full disk too: an empty file takes no room. Raises HubError: INVALID (there can
    be no such code), CONFLICT (the file is unreadable, so all is stopped), STARTUP (the folder cannot be written).
    """
    _check(line)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path):
            now = read_stops(path)
            if now.unreadable:
                if line.scope == "all":
                    return now
                raise _unreadable(now)
            if any(one[:2] == line[:2] for one in now.lines):
                return now
            after = Stops((*now.lines, line))
            _replace(path, after)
            return after
    except OSError as cause:
        if line.scope == "all":
            return _touch(path, cause)
        raise _unwritable(path, cause) from cause


def resume(path: Path, scope: Scope, code: str = "") -> Stops:
    """Take one line away and return what is stopped still; nothing happens where it is not there.

    Resuming everything leaves agencies and agreements that are stopped by name. Raises HubError like `stop`.
    """
    if not path.parent.is_dir():
        return NOTHING
    try:
        with _locked(path):
            now = read_stops(path)
            if now.unreadable and scope != "all":
                raise _unreadable(now)
            after = Stops(tuple(one for one in now.lines if (one.scope, one.code) != (scope, code)))
            if after:
                _replace(path, after)
            else:
                path.unlink(missing_ok=True)
                _sync(path.parent)
            return after
    except OSError as cause:
        raise _unwritable(path, cause) from cause


def _line(raw: bytes) -> Stop | None:
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(said, dict) or said.keys() != KEYS or said["scope"] not in ("all", "agency", "agreement"):
        return None
    code, since_us, reason = said["code"], said["since_us"], said["reason"]
    if not isinstance(code, str) or not isinstance(reason, str) or type(since_us) is not int:
        return None
    line = Stop(said["scope"], code, since_us, reason)
    return line if _sound(line) else None


def _sound(line: Stop) -> bool:
    named = line.code == "" if line.scope == "all" else CODE.fullmatch(line.code) is not None
    return named and len(line.reason) <= REASON_CHARS and (line.reason.isprintable() or not line.reason)


def _check(line: Stop) -> None:
    if not _sound(line):
        raise HubError(
            Kind.INVALID,
            f"this is no {line.scope} to stop, or its reason is longer than {REASON_CHARS} characters of one line",
            where=line.scope,
            remedy="Give the code as the catalogue writes it; `hub stop-release --all` needs none.",
            code="stop-refused",
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of whoever changes the flag. Raises OSError where the folder cannot be written."""
    descriptor = os.open(path.parent / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        _give_to_owner(path.parent / LOCK)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, stops: Stops) -> None:
    """Write beside the file, durably, and put it in its place: a reader sees the former or this, never half of one."""
    beside = path.with_name(path.name + ".new")
    content = b"".join(orjson.dumps(one._asdict(), option=orjson.OPT_SORT_KEYS) + b"\n" for one in stops.lines)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    _give_to_owner(beside)
    beside.replace(path)
    _sync(path.parent)


def _touch(path: Path, cause: OSError) -> Stops:
    """Stop everything with an empty file, where no line could be written."""
    try:
        path.touch(mode=0o600)
        _give_to_owner(path)
    except OSError:
        raise _unwritable(path, cause) from cause
    return read_stops(path)


def _give_to_owner(path: Path) -> None:
    """Let the hub's own user read what root wrote."""
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unreadable(stops: Stops) -> HubError:
    return HubError(
        Kind.CONFLICT,
        f"{stops.unreadable}; everything is stopped already",
        where=STOP_FLAG,
        remedy="`hub stop-release --resume --all` takes the file away; stop by name what is to stay stopped after it.",
        code="stop-flag-unreadable",
    )


def _unwritable(path: Path, cause: OSError) -> HubError:
    return HubError(
        Kind.STARTUP,
        f"the flag file cannot be changed ({cause.strerror}); what is stopped is what was stopped before",
        where=str(path),
        remedy="Free room, or see who owns the folder. If nothing helps, end the hub's process: then nothing leaves.",
        code="stop-flag-unwritable",
    )

"""What a restored older copy of the store would have forgotten, written down beside the root key.

Two files, mode 0600, that hold no personal value. `KEY.marks` is small and replaced whole: how often the store and it
have agreed (beats), up to which numbers ids and deliveries may have been given out, and which server the store was on.
`KEY.acts` is only ever appended to: each withdrawal, objection, pause and the like, a line before its commit, the
person as a keyed hash. Each line carries a MAC over itself and the MAC before it; the marks count the lines.
Several processes of one hub share both: whoever writes holds a lock on the second.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import orjson

from hub.core.errors import HubError, Kind
from hub.store.outside import PERSONAL, Act

MARKS, ACTS = ".marks", ".acts"
MAC_BYTES = 16
BEGIN = bytes(MAC_BYTES)  # what the first line's MAC covers in place of the one before
BLOCKS = {"audit": 1_000_000, "delivery": 1_000_000}  # numbers reserved at once: at 25,000 a second, 40 s of them
BLOCK = 10_000  # of all others, a recipient's running numbers among them: what a restore skips at most
_RESTORE = "Restore both files from the backup of the key's volume. Only where they are lost: remove them, start, and"
_RESTORE_BOTH = "Stop the hub, and restore both files from the backup of the key's volume."
_LOST = f"{_RESTORE} see what `hub restore reconcile` says."


class Known(NamedTuple):
    """What the marks say."""

    beats: int = 0
    given: dict[str, int] = {}  # noqa: RUF012 - a field of a NamedTuple; nobody changes it
    acts: int = 0  # lines of the other file, when this was written
    origin: str = ""


class Marks:
    """Both files of one root key. Thread-safe. Implements `hub.store.outside.Outside`."""

    def __init__(self, base: Path, key: bytes) -> None:
        """Read and check every line. Raises HubError(STARTUP): a file was altered, is short, or cannot be used.

        `base`: what the names of both files begin with, the root key's own path as a rule.
        """
        self.path, self._acts = marks_path(base), acts_path(base)
        self._key, self._lock = key, Lock()
        self._last, self._lines, self._read_to = BEGIN, 0, 0
        self._reserved: dict[str, int] = {}
        self._origin, self._seen = "", _UNSEEN
        self._carried: Path | None = None  # beside another root key, until a start with that one
        known = self.known()
        self._there = known is not None
        try:
            with self._held() as descriptor:
                self._catch_up(descriptor)
                os.ftruncate(descriptor, self._read_to)  # a line that a crash cut short: its act did not commit
        except OSError as cause:
            raise _unusable(self._acts, "cannot be opened", "Let the hub's user write it and its folder.") from cause
        if known is not None and self._lines < known.acts:
            raise _unusable(self._acts, f"lacks lines: {self._lines} of {known.acts} are there", _LOST)

    def known(self) -> Known | None:
        """Read the marks as they are now; None where there are none. Raises HubError(STARTUP)."""
        return read_marks(self.path, self._key)

    def reserve(self, name: str, upto: int) -> None:
        """See `Outside.reserve`. A block is durable before the first number of it leaves."""
        if upto <= self._reserved.get(name, 0):
            return
        try:
            with self._held():
                known = self._still_known()
                there = known.given.get(name, 0)
                if upto > there:
                    there = upto + BLOCKS.get(name, BLOCK)
                    self._replace(known._replace(given={**known.given, name: there}))
        except OSError as cause:
            raise self._down(cause) from cause
        self._reserved[name] = there

    def note(self, act: Act) -> None:
        """See `Outside.note`."""
        named = self.hidden(act.name) if act.kind in PERSONAL else act.name
        body = orjson.dumps(act._replace(name=named)._asdict(), option=orjson.OPT_SORT_KEYS)
        try:
            with self._held() as descriptor:
                self._catch_up(descriptor)
                mac = _mac(self._key, self._last, body)
                line = body + b" " + mac.hex().encode() + b"\n"
                _append(descriptor, line, self._read_to)
                self._last, self._lines, self._read_to = mac, self._lines + 1, self._read_to + len(line)
        except OSError as cause:
            raise self._down(cause) from cause

    def trusts(self, origin: str) -> bool:
        """See `Outside.trusts`. Another process may have followed a failover already: what it wrote counts at once.

        So a process that still reaches the former primary lets go nothing more there. A look costs microseconds.
        """
        seen = _version(self.path)  # before the content: what is written in between is seen the next time
        if seen != self._seen:
            known = self.known()
            self._origin, self._seen = (known.origin if known else ""), seen
        return origin == self._origin

    def agree(self, beats: int, origin: str | None) -> None:
        """Write down that the store counted so far, in a transaction that is durable; None: its origin is in doubt."""
        try:
            with self._held() as descriptor:
                self._catch_up(descriptor)
                known = self._still_known() if origin is not None else self.known() or Known()
                here = known.origin if origin is None else origin
                self._replace(known._replace(beats=max(beats, known.beats), acts=self._lines, origin=here))
        except OSError as cause:
            raise self._down(cause) from cause
        if self._carried is not None:
            self.carry(self._carried)

    def acts(self) -> Iterator[Act]:
        """Yield every act, oldest first, persons and links by `hidden` names. Raises HubError(STARTUP)."""
        last = BEGIN
        with self._acts.open("rb") as file:
            for at, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                last, act = _checked(self._acts, self._key, last, line, at)
                yield act

    def hidden(self, name: str) -> str:
        """Return the keyed hash that a person or link stands under."""
        return blake2b(name.encode(), key=self._key, digest_size=MAC_BYTES, person=b"hub acts").hexdigest()

    def carry(self, key_path: Path) -> None:
        """Copy both beside another root key, durably, and anew at each beat: the start with that key needs them."""
        self._carried = key_path
        with self._held():
            for source, to in ((self._acts, acts_path(key_path)), (self.path, marks_path(key_path))):
                if source.exists() and not (to.exists() and to.samefile(source)):
                    _write(to, source.read_bytes())

    @contextmanager
    def _held(self) -> Iterator[int]:
        """Be the only one, of all threads and processes, who writes either file."""
        with self._lock:
            descriptor = os.open(self._acts, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield descriptor
            finally:
                os.close(descriptor)

    def _catch_up(self, descriptor: int) -> None:
        """Read what other processes have appended since."""
        status = os.fstat(descriptor)
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise _unusable(self._acts, "is open to others", "Run chmod 600 on it.")
        if status.st_size < self._read_to:  # of another hub, or restored under this one: nothing is put behind its end
            raise _unusable(self._acts, "lacks lines that were there", _RESTORE_BOTH)
        while whole := os.pread(descriptor, _PIECE, self._read_to):
            whole = whole[: whole.rfind(b"\n") + 1]
            if not whole:
                return
            for line in whole.splitlines(keepends=True):
                self._last, _ = _checked(self._acts, self._key, self._last, line, self._lines + 1)
                self._lines += 1
            self._read_to += len(whole)

    def _still_known(self) -> Known:
        """Read the marks, to go on from them. Raises HubError(STARTUP) where they are gone that were there.

        Made anew they would lack what other names had been given out, and nobody would notice.
        """
        known = self.known()
        if known is None and self._there:
            raise _unusable(self.path, "is gone", _RESTORE_BOTH)
        return known or Known()

    def _replace(self, known: Known) -> None:
        """Put other marks in the place of these; whoever reads sees the former or these."""
        body = orjson.dumps(known._asdict(), option=orjson.OPT_SORT_KEYS)
        _write(self.path, body + b" " + _mac(self._key, b"marks", body).hex().encode() + b"\n")
        self._there = True

    def _down(self, cause: OSError) -> HubError:
        return HubError(
            Kind.UNAVAILABLE,
            f"the marks beside the key cannot be written ({cause.strerror}); nothing was changed",
            where=self.path.name,
            remedy="Let the hub's user write both files and their folder, check the disk's space, and try again.",
            code="marks-down",
        )


_UNSEEN = (0, 0)


def _version(path: Path) -> tuple[int, int]:
    """Say which file it is: whoever writes the marks puts another one in its place. Why there is none, `known` says."""
    try:
        found = path.stat()
    except OSError:
        return _UNSEEN
    return found.st_ino, found.st_mtime_ns


_PIECE = 1 << 20  # bytes read at once; a line has some two hundred


def marks_path(base: Path) -> Path:
    """Return where the marks lie: beside the root key, or where a link there leads, for they are replaced whole."""
    return base.with_name(base.name + MARKS).resolve()


def acts_path(base: Path) -> Path:
    return base.with_name(base.name + ACTS).resolve()


def read_marks(path: Path, key: bytes) -> Known | None:
    """Read the marks, changing nothing; None where there are none. Raises HubError(STARTUP)."""
    try:
        mode, content = path.stat().st_mode, path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise _unusable(path, "cannot be read", "Let the hub's user read and write it.") from cause
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _unusable(path, f"is open to others (mode {stat.S_IMODE(mode):o})", "Run chmod 600 on it.")
    body, _, said = content.rstrip(b"\n").rpartition(b" ")
    if not compare_digest(_mac(key, b"marks", body).hex().encode(), said):
        raise _unusable(path, "was altered, or is another hub's", _LOST)
    return Known(**orjson.loads(body))


def _checked(path: Path, key: bytes, last: bytes, line: bytes, at: int) -> tuple[bytes, Act]:
    body, _, said = line.rstrip(b"\n").rpartition(b" ")
    mac = _mac(key, last, body)
    if not compare_digest(mac.hex().encode(), said):
        raise _unusable(path, f"was altered: line {at} is not what this hub wrote", _LOST)
    fields: dict[str, Any] = orjson.loads(body)
    return mac, Act(**fields)


def _mac(key: bytes, before: bytes, body: bytes) -> bytes:
    return blake2b(before + body, key=key, digest_size=MAC_BYTES, person=b"hub marks").digest()


def _append(descriptor: int, line: bytes, end: int) -> None:
    """Write a line durably, or leave nothing of it: the next one would stand behind its half. Raises OSError.

    `end` is where the last whole line ends: what a process that was killed left behind it goes.
    """
    try:
        os.ftruncate(descriptor, end)
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, end)
        raise


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _unusable(path: Path, why: str, remedy: str) -> HubError:
    return HubError(Kind.STARTUP, f"{path.name} {why}", where=path.name, remedy=remedy, code="marks-broken")

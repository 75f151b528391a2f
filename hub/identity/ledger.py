"""Who was erased, written down outside the store: a restored backup of the store must bring nobody back unnoticed.

A file beside the root key, mode 0600, that is only ever appended to and holds nothing but random ids and instants. Each
line carries a MAC over itself and the MAC before it, so none can be altered, taken out or put elsewhere. Its end can be
cut off; the store therefore counts its erasures (the fact `erasures`), and more of them than lines is noticed.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterable
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path
from threading import Lock

from hub.core.errors import HubError, Kind

SUFFIX = ".erasures"
MAC_BYTES = 16
BEGIN = bytes(MAC_BYTES)  # what the first line's MAC covers in place of the one before
_RESTORE = "Restore it from the backup of the key's volume. Only where it is lost: `hub person ledger --rebuild`."


class Ledger:
    """The open file. Thread-safe, and safe beside other processes: who changes it holds its lock and reads it first."""

    def __init__(self, path: Path, key: bytes) -> None:
        """Read and check every line. Raises HubError(STARTUP) for a file that others may read or that was altered."""
        self.path, self._key, self._lock = path, key, Lock()
        self._erased: dict[int, int] = {}
        self._last, self._bytes = BEGIN, 0
        self.look()

    @property
    def erased(self) -> dict[int, int]:
        """Every person of the ledger, and when they were erased."""
        return dict(self._erased)

    def look(self) -> None:
        """Read what was added since, by other processes too. Raises HubError(STARTUP) as the opening does."""
        with self._lock:
            if self._read() is None:
                return
            try:
                descriptor = os.open(self.path, os.O_RDWR)
            except OSError:  # who may not write here reads whole lines, and leaves half a one to who may
                return
            try:  # of a crash, or of another process that is writing it
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._mend(descriptor)
            finally:
                os.close(descriptor)

    def append(self, person: int, erased_us: int) -> None:
        """Add a person, durably before it returns; nothing where they are in it. Raises HubError(UNAVAILABLE)."""
        with self._lock:
            try:
                new = not self.path.exists()
                descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    if os.fstat(descriptor).st_size != self._bytes:  # another process has erased somebody
                        self._mend(descriptor)
                    if person in self._erased:
                        return
                    mac = _mac(self._key, self._last, person, erased_us)
                    line = _line(person, erased_us, mac)
                    _append(descriptor, line)
                finally:
                    os.close(descriptor)
                if new:
                    _sync_folder(self.path.parent)
            except OSError as cause:
                raise HubError(
                    Kind.UNAVAILABLE,
                    "the ledger of erasures cannot be written; nobody was erased",
                    where=self.path.name,
                    remedy="Let the hub's user write this file and its folder, check the disk's space, and try again.",
                    code="erasure-ledger-down",
                ) from cause
            self._erased[person], self._last = erased_us, mac
            self._bytes += len(line)

    def _read(self) -> int | None:
        """Read it; returns the bytes to keep where the last line is not whole."""
        erased, last, whole_bytes, torn = _read(self.path, self._key)
        if len(erased) < len(self._erased):
            raise _unusable(self.path, "lacks lines that were there", _RESTORE)
        self._erased, self._last, self._bytes = erased, last, whole_bytes
        return whole_bytes if torn else None

    def _mend(self, descriptor: int) -> None:
        """Read it, and cut off half a line: one that a crash cut short was never relied on. Under the file's lock."""
        kept = self._read()
        if kept is not None:
            os.ftruncate(descriptor, kept)


def ledger_path(key_path: Path) -> Path:
    """Return where the ledger lies: beside the root key, so that it is backed up with it and not with the store."""
    return key_path.with_name(key_path.name + SUFFIX)


def open_ledger(key_path: Path, key: bytes) -> Ledger:
    """Open the ledger of a root key. Raises as `Ledger` does."""
    return Ledger(ledger_path(key_path), key)


def carry(ledger: Ledger, key_path: Path) -> None:
    """Copy the ledger beside another root key, durably: the start with that key looks for it there."""
    to = ledger_path(key_path)
    if not ledger.path.exists() or (to.exists() and to.samefile(ledger.path)):
        return
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(ledger.path.read_bytes())
        file.flush()
        os.fsync(descriptor)
    _sync_folder(to.parent)


def check_count(ledger: Ledger, erasures: int) -> None:
    """Refuse to go on where the store knows of more erasures than the ledger. Raises HubError(STARTUP)."""
    if len(ledger.erased) < erasures:
        raise HubError(
            Kind.STARTUP,
            f"the store knows of {erasures} erasures and the ledger beside the key of {len(ledger.erased)}",
            where=ledger.path.name,
            remedy=_RESTORE,
            code="erasure-ledger-missing",
        )


def rebuild(path: Path, key: bytes, erased: Iterable[tuple[int, int]]) -> int:
    """Write the ledger anew from what the store knows, beside the former one until it is whole; returns the lines."""
    lines, last = [], BEGIN
    for person, erased_us in erased:
        last = _mac(key, last, person, erased_us)
        lines.append(_line(person, erased_us, last))
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(b"".join(lines))
        file.flush()
        os.fsync(descriptor)
    beside.replace(path)
    _sync_folder(path.parent)
    return len(lines)


def _read(path: Path, key: bytes) -> tuple[dict[int, int], bytes, int, bool]:
    """Return who was erased when, the last MAC, how many bytes are whole lines, and whether half a line follows."""
    try:
        mode, content = path.stat().st_mode, path.read_bytes()
    except FileNotFoundError:
        return {}, BEGIN, 0, False
    except OSError as cause:
        raise _unusable(path, "cannot be read", "Let the hub's user read and write it.") from cause
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _unusable(path, f"is open to others (mode {stat.S_IMODE(mode):o})", "Run chmod 600 on it.")
    whole = content[: content.rfind(b"\n") + 1]
    erased: dict[int, int] = {}
    last = BEGIN
    for at, line in enumerate(whole.splitlines(), 1):
        try:
            person, erased_us, said = line.decode("ascii").split(" ")
            mac = _mac(key, last, int(person), int(erased_us))
        except (ValueError, OverflowError) as cause:
            raise _unusable(path, f"has a line {at} that is none of a ledger", _RESTORE) from cause
        if not compare_digest(mac.hex(), said):
            raise _unusable(path, f"was altered: line {at} is not what this hub wrote", _RESTORE)
        erased[int(person)], last = int(erased_us), mac
    return erased, last, len(whole), len(whole) < len(content)


def _mac(key: bytes, before: bytes, person: int, erased_us: int) -> bytes:
    return blake2b(before + person.to_bytes(8) + erased_us.to_bytes(8), key=key, digest_size=MAC_BYTES).digest()


def _append(descriptor: int, line: bytes) -> None:
    """Write a line durably, or leave nothing of it: the next one would stand behind its half. Raises OSError.

    A disk that has room for a part of it takes that part, and says no word (POSIX write).
    """
    before = os.fstat(descriptor).st_size
    try:
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        os.fsync(descriptor)
        raise


def _line(person: int, erased_us: int, mac: bytes) -> bytes:
    return f"{person} {erased_us} {mac.hex()}\n".encode("ascii")


def _sync_folder(folder: Path) -> None:
    """Make the file's name durable too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, why: str, remedy: str) -> HubError:
    return HubError(
        Kind.STARTUP, f"the ledger of erasures {why}", where=path.name, remedy=remedy, code="erasure-ledger-broken"
    )

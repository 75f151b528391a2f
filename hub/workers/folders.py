"""An agency's folders, held by descriptor: the agency may write in some of them, so no name in them is trusted.

Everything goes by a folder's descriptor and a plain name in it. Links are never followed: where a folder became a link,
or a file is anything but one file of its own, it is refused. What is written appears whole or not at all.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from hub.core.errors import HubError, Kind

PART = ".part"  # ends the name of what is not complete; it begins with a dot as well
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO that nobody writes to must not block
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
OURS, SHARED = 0o2750, 0o2770  # the group is the agency's; the bit hands it down to what is put there
FILE = 0o640


class Place(NamedTuple):
    """Descriptors of one agency's folders, and of the two below `in`."""

    out: int
    ack: int
    incoming: int
    done: int
    refused: int


class Written(NamedTuple):
    size: int
    digest: bytes


@contextmanager
def opened_place(base: Path, agency: str) -> Iterator[Place]:
    """Open an agency's folders, making those that are missing. Raises HubError(UNAVAILABLE)."""
    with ExitStack() as stack:

        def folder(name: str, above: int | None, mode: int) -> int:
            made = True
            try:
                os.mkdir(name, mode, dir_fd=above)
            except FileExistsError:
                made = False
            descriptor = os.open(name, FOLDER, dir_fd=above)
            stack.callback(os.close, descriptor)
            if made:  # the mask and the system leave bits out; one that was there keeps what its owner gave it
                os.fchmod(descriptor, mode)
            return descriptor

        with unusable("opened"):
            root = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, root)
            home = folder(agency, root, OURS)
            incoming = folder("in", home, SHARED)
            place = Place(
                folder("out", home, OURS), folder("ack", home, SHARED), incoming,
                folder("done", incoming, SHARED), folder("refused", incoming, SHARED),
            )  # fmt: skip
        yield place


def names(folder: int) -> list[str]:
    """List what is in a folder, sorted."""
    with unusable("listed"):
        return sorted(os.listdir(folder))


def put(folder: int, name: str, pieces: Iterable[bytes], *, settle: bool = True) -> Written:
    """Write a new file beside its place, make it durable, and rename it there: it is whole or not there.

    `settle` makes the rename durable as well. Raises HubError(UNAVAILABLE), and leaves nothing behind.
    """
    with new_file(folder, name) as file:
        for piece in pieces:
            file.write(piece)
        written = file.close()
    if settle:
        settled(folder)
    return written


class NewFile:
    """A file that is being written under a name of its own. `close` puts it in its place."""

    def __init__(self, folder: int, name: str) -> None:
        self._folder, self._name = folder, name
        self._part = f".{name[:80]}.{secrets.token_hex(4)}{PART}"
        self._digest, self._bytes = sha256(), 0
        with unusable("written"):
            self._descriptor = os.open(self._part, WRITE, FILE, dir_fd=folder)
        self._open = True

    def write(self, piece: bytes) -> None:
        with unusable("written"):
            left = memoryview(piece)
            while left:
                left = left[os.write(self._descriptor, left) :]
        self._digest.update(piece)
        self._bytes += len(piece)

    def close(self) -> Written:
        with unusable("written"):
            os.fsync(self._descriptor)
            os.rename(self._part, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._open = False
        os.close(self._descriptor)
        return Written(self._bytes, self._digest.digest())

    def drop(self) -> None:
        """Leave nothing behind of a file that was not closed."""
        if self._open:
            self._open = False
            os.close(self._descriptor)
            remove(self._folder, self._part)


@contextmanager
def new_file(folder: int, name: str) -> Iterator[NewFile]:
    """Write a file piece by piece; it is dropped where the block ends before `close`."""
    file = NewFile(folder, name)
    try:
        yield file
    finally:
        file.drop()


def settled(folder: int) -> None:
    """Make renames and removals in a folder durable."""
    with unusable("written"):
        os.fsync(folder)


def remove(folder: int, name: str) -> None:
    """Remove a file, or a link itself; what is gone already, or is a folder, is left at that."""
    with unusable("cleared"):
        try:
            os.unlink(name, dir_fd=folder)
        except (FileNotFoundError, IsADirectoryError):
            return


def move(folder: int, name: str, to: int, as_name: str = "") -> None:
    """Move something as it is, whatever it is; what is gone already is left at that."""
    with unusable("written"):
        try:
            os.rename(name, as_name or name, src_dir_fd=folder, dst_dir_fd=to)
        except FileNotFoundError:
            return


@contextmanager
def plain_file(folder: int, name: str) -> Iterator[int]:
    """Open a file that is one: no link, no other thing, under no second name. Raises HubError(INVALID)."""
    try:
        descriptor = os.open(name, READ, dir_fd=folder)
    except FileNotFoundError as cause:
        raise _refused("is not there", "file-missing") from cause
    except OSError as cause:
        if cause.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise _not_plain() from cause
        raise _refused("cannot be read", "file-unreadable") from cause
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise _not_plain()
        yield descriptor
    finally:
        os.close(descriptor)


def read_small(folder: int, name: str, most: int) -> bytes:
    """Read a plain file of at most `most` bytes. Raises HubError(INVALID)."""
    with plain_file(folder, name) as descriptor:
        body = b""
        while piece := os.read(descriptor, most + 1 - len(body)):
            body += piece
            if len(body) > most:
                raise _refused(f"has more than {most} bytes", "file-too-large")
        return body


def age_us(folder: int, name: str, now_us: int, *, changed: bool = False) -> int:
    """Return how long ago a file was written, or renamed (`changed`); 0 where it is gone."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return now_us - (found.st_ctime_ns if changed else found.st_mtime_ns) // 1_000


def free_bytes(folder: int) -> int:
    """Return how much more this user may write on the folder's disk."""
    with unusable("looked at"):
        found = os.fstatvfs(folder)
    return found.f_bavail * found.f_frsize


@contextmanager
def unusable(done: str) -> Iterator[None]:
    """Turn an error of the system into words. It names no file: files' names are the agency's own."""
    try:
        yield
    except OSError as cause:
        why = os.strerror(cause.errno) if cause.errno else type(cause).__name__
        raise HubError(
            Kind.UNAVAILABLE,
            f"the agency's folder could not be {done}: {why}",
            remedy="Make room on the disk, or give the hub's user its rights there; deploy/README.md has the layout.",
            code="file-drop-unusable",
        ) from cause


def _not_plain() -> HubError:
    return _refused("is a link, or no file; nothing of it was read", "file-not-plain")


def _refused(what: str, code: str) -> HubError:
    remedy = "Write the file itself into the folder, then its manifest, then its done-marker."
    return HubError(Kind.INVALID, f"the file {what}", remedy=remedy, code=code)

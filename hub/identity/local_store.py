"""A small SQLite file of this machine's own, so that signing in and publishing go on while the main database is down.

It holds the `jti` of assertions already used, and a few named values (a publisher's key of the day). Both are durable
before a call returns. Every call is one short transaction and may be made from any thread.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import TypeVar

from hub.core.errors import HubError, Kind
from hub.ports import Clock

FORMAT = 1  # PRAGMA user_version
BUSY_MS = 5_000  # another process on the same file (a second hub is refused elsewhere) holds it for a moment only
PRUNE_AFTER_US = 3_600_000_000  # used ids stay an hour longer than they must: a clock set back reopens nothing
TABLES = """
CREATE TABLE IF NOT EXISTS used_assertion (
    digest BLOB PRIMARY KEY,      -- SHA-256 of agency and jti
    exp_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS used_assertion_exp ON used_assertion (exp_us);
CREATE TABLE IF NOT EXISTS named_value (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""
T = TypeVar("T")


class LocalStore:
    """`edge.sqlite`. Methods raise `HubError(UNAVAILABLE, code="local-store-down")` when the disk fails them."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """Open or create the file, readable by its owner alone. Raises `HubError(STARTUP)` when it cannot be used."""
        self._clock, self._lock = clock, Lock()
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives its WAL the same mode
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, type(error).__name__) from error

    def claim_jti(self, agency: str, jti: str, exp_us: int) -> bool:
        """Take the assertion `jti` of `agency` for good; False when it was taken before, even before a restart.

        `exp_us` is the first moment at which the assertion is refused for its age (clock skew included): only then may
        its id be forgotten.
        """
        digest = hashlib.sha256(f"{agency}\0{jti}".encode()).digest()

        def claim(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM used_assertion WHERE exp_us < ?", (self._clock() - PRUNE_AFTER_US,))
            taken = connection.execute("INSERT OR IGNORE INTO used_assertion VALUES (?, ?)", (digest, exp_us))
            return taken.rowcount == 1

        return self._write(claim)

    def get(self, name: str) -> bytes | None:
        """Return a named value; None when there is none."""
        with self._lock:
            try:
                row = self._connection.execute("SELECT value FROM named_value WHERE name = ?", (name,)).fetchone()
            except sqlite3.Error as error:
                raise _down(error) from error
        return None if row is None else bytes(row[0])

    def put(self, name: str, value: bytes) -> None:
        """Store `value` under `name`, over whatever stood there."""
        self._write(lambda c: c.execute("INSERT OR REPLACE INTO named_value VALUES (?, ?)", (name, value)))

    def put_all(self, values: Mapping[str, bytes]) -> None:
        """Store all of these, each over whatever stood there, together."""
        self._write(lambda c: c.executemany("INSERT OR REPLACE INTO named_value VALUES (?, ?)", list(values.items())))

    def put_if_absent(self, name: str, value: bytes) -> bytes:
        """Store `value` unless `name` holds one already. Return the one that stands: whoever comes first wins."""

        def put(connection: sqlite3.Connection) -> bytes:
            connection.execute("INSERT OR IGNORE INTO named_value VALUES (?, ?)", (name, value))
            row = connection.execute("SELECT value FROM named_value WHERE name = ?", (name,)).fetchone()
            return bytes(row[0])

        return self._write(put)

    def names(self, prefix: str) -> tuple[str, ...]:
        """List, sorted, the names that begin with `prefix`."""
        with self._lock:
            try:
                query = "SELECT name FROM named_value WHERE substr(name, 1, ?) = ? ORDER BY name"
                rows = self._connection.execute(query, (len(prefix), prefix)).fetchall()
            except sqlite3.Error as error:
                raise _down(error) from error
        return tuple(str(name) for (name,) in rows)

    def destroy(self, name: str) -> None:
        """Delete a named value so that neither the file nor its write-ahead log holds it afterwards."""
        self._write(lambda c: c.execute("DELETE FROM named_value WHERE name = ?", (name,)))
        with self._lock:
            try:
                busy, _frames, _done = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.Error as error:
                raise _down(error) from error
        if busy:
            what = "The local store is being read by another process; its log still holds what was to be destroyed."
            raise HubError(Kind.UNAVAILABLE, what, code="local-store-down")

    def close(self) -> None:
        """Close the file. Nothing is lost by not calling it."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        """Set durability and make the tables. FULL: a claim that returned survives the power going out."""
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", f"busy_timeout={BUSY_MS}"):
            self._connection.execute(f"PRAGMA {pragma}")
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found not in (0, FORMAT):
            raise sqlite3.DatabaseError("made by another version")
        self._connection.executescript(TABLES)
        self._connection.execute(f"PRAGMA user_version={FORMAT}")

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    done = work(self._connection)
                    self._connection.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise _down(error) from error
        return done


def _down(error: sqlite3.Error) -> HubError:
    what = f"The hub's local store does not take writes or reads ({type(error).__name__}). Nothing was changed."
    remedy = "Try again later. The operator checks space and permissions of the hub's data directory."
    return HubError(Kind.UNAVAILABLE, what, remedy=remedy, code="local-store-down")


def _unusable(path: Path, reason: str) -> HubError:
    what = f"The local store cannot be opened ({reason})."
    remedy = "Check space and permissions of the data directory; a file made by another version must be moved away."
    return HubError(Kind.STARTUP, what, where=str(path), remedy=remedy, code="local-store-unusable")

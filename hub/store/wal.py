"""Leave no old page behind: overwrite what is deleted, and let the write-ahead log begin anew from an empty file.

What is deleted is sealed, and its key is among it. So while a key is destroyed nothing may keep a copy: neither a page
of the file that is free now, nor the log that still holds the page as it was.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from time import monotonic

from hub.store.engine import Store, Tx
from hub.store.sqlite import SqliteStore, SqliteTx

BUSY_S = 0.005  # a try waits so long for readers, and the writer stands still meanwhile
PAUSE_S = 0.05  # between two tries


@contextmanager
def overwriting(tx: Tx) -> Iterator[None]:
    """Overwrite with zeros whatever the block deletes or replaces, whole pages too, which `FAST` leaves."""
    if not isinstance(tx, SqliteTx):  # PostgreSQL keeps old rows until VACUUM, and its log as long as it is told to
        yield
        return
    tx.execute("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        tx.execute("PRAGMA secure_delete=FAST")


def truncate_wal(store: Store, *, pause: Callable[[float], object], patience_s: float) -> bool:
    """Copy the log home and cut it to nothing; returns whether it is. A reader on an older snapshot prevents it.

    `pause` is called between two tries, with seconds: it waits, for as long or less.
    """
    if not isinstance(store, SqliteStore):
        return True
    until_s = monotonic() + patience_s
    with closing(sqlite3.connect(store.path, isolation_level=None, timeout=BUSY_S)) as connection:
        connection.execute(f"PRAGMA synchronous={store.synchronous}")  # what is cut off the log is on disk before
        while True:
            try:
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.OperationalError:  # locked: another checkpoint runs
                busy = 1
            if not busy or monotonic() >= until_s:
                return not busy
            pause(PAUSE_S)

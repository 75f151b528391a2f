"""What was already handled here: the second half of "no recipient gets a thing twice".

The hub repeats a delivery under the same id until it is acknowledged; an acknowledgement can get lost. One small SQLite
file beside the profile remembers (id, kind), so that the repeat is acknowledged and not handled again.
"""

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from agency_adapters.clock import Clock, system_clock
from agency_adapters.errors import AgencyError

KEPT_DAYS = 90  # the hub repeats for days, not months, and never after it got the acknowledgement
_DAY_US = 86_400_000_000


class Seen:
    """The store. Holds delivery ids only, nothing of their content. One process at a time writes; others wait 5 s.

    Threads may share it where one at a time uses it.
    """

    def __init__(self, path: Path, *, clock: Clock = system_clock) -> None:
        """Open or make the file. Raises `AgencyError` when it cannot be."""
        self._clock = clock
        try:
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
            # NORMAL: a power cut may forget the last ids, and a repeat is then handled again rather than lost
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = normal")
            self._database.execute(
                "create table if not exists seen "
                "(id text, kind text, at_us integer not null, primary key (id, kind)) without rowid"
            )
            self._database.execute("delete from seen where at_us < ?", (clock() - KEPT_DAYS * _DAY_US,))
        except (OSError, sqlite3.Error) as error:
            raise AgencyError(
                f"the file of handled deliveries cannot be used: {path}",
                remedy="Make it writable, or move it away; repeats are then shown once more.",
            ) from error

    def has(self, delivery_id: str, kind: str) -> bool:
        """Tell whether this delivery was handled. The kind counts: a `stop` may come under its data's id."""
        row = self._database.execute("select 1 from seen where id = ? and kind = ?", (delivery_id, kind))
        return row.fetchone() is not None

    def add(self, delivery_id: str, kind: str) -> None:
        """Remember that this delivery was handled."""
        self._database.execute("insert or ignore into seen values (?, ?, ?)", (delivery_id, kind, self._clock()))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        """Open for a `with` block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close after it."""
        self.close()

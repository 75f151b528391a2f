"""What was sent of each row, for tables that do not say it themselves: a small SQLite file beside the profile.

It holds keys, and keyed hashes in place of contents. What is about to be sent is written down before it is: after a
crash the same row is sent again under the same id, and a row that changed back meanwhile is not taken for unchanged.
One process at a time has it; a killed one leaves no lock.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from agency_adapters.errors import AgencyError

SENDING, SENT, REFUSED, LEAVING, GONE = "sending", "sent", "refused", "leaving", "gone"
_ROW = "key, version, hash, state, time, subject, run"


@dataclass(frozen=True, slots=True)
class Known:
    """A row as it was last seen. `version` tells its versions apart, `time` is when it was noticed, `run` the run."""

    key: str
    version: str
    hash: bytes
    state: str
    time: str
    subject: str
    run: int


class Sent:
    """The file. Use in one thread, as a context manager."""

    def __init__(self, path: Path, *, about: str) -> None:
        """Open or make it for one mapping, named by `about`. Raises `AgencyError` where another run has it."""
        remedy = "Wait for the other run to end, or stop it; see that the file can be written."
        try:
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            self._database.execute("pragma locking_mode = exclusive")  # kept until the end of this process
            self._database.execute("begin exclusive")
            self._database.execute("create table if not exists meta (name text primary key, value text) without rowid")
            self._database.execute(
                "create table if not exists row (key text primary key, version text, hash blob, state text,"
                " time text, subject text, run integer) without rowid"
            )
            self._database.execute("create index if not exists row_run on row (run)")
            self._database.execute("commit")
        except (OSError, sqlite3.Error) as error:
            raise AgencyError(f"what was sent is kept in {path}, and it cannot be used now", remedy=remedy) from error
        if self.meta("about", about) != about:
            self.close()
            remedy = "Give the mapping file a name of its own, or move that file away to begin anew."
            raise AgencyError(f"{path} was written for another mapping of the same name", remedy=remedy)
        self.keep(meta={"about": about})

    def meta(self, name: str, default: str = "") -> str:
        """Return one of the file's own notes."""
        row = self._database.execute("select value from meta where name = ?", (name,)).fetchone()
        return str(row[0]) if row else default

    def of(self, keys: Sequence[str]) -> dict[str, Known]:
        """Return what is known of these rows."""
        marks = ",".join("?" * len(keys))
        rows = self._database.execute(f"select {_ROW} from row where key in ({marks})", keys)  # noqa: S608 - names above
        return {row[0]: Known(*row) for row in rows}

    def keep(self, rows: Iterable[Known] = (), *, meta: "dict[str, str] | None" = None) -> None:
        """Write rows and notes down, together."""
        self._database.execute("begin immediate")
        self._database.executemany(
            f"insert or replace into row ({_ROW}) values (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names above
            [(one.key, one.version, one.hash, one.state, one.time, one.subject, one.run) for one in rows],
        )
        self._database.executemany("insert or replace into meta values (?, ?)", (meta or {}).items())
        self._database.execute("commit")

    def not_in(self, run: int) -> list[Known]:
        """Return the rows that a whole run did not meet any more, and that are not settled as gone."""
        rows = self._database.execute(f"select {_ROW} from row where run < ? and state <> ? order by key", (run, GONE))  # noqa: S608 - names above
        return [Known(*row) for row in rows]

    def count(self, *states: str) -> int:
        """Count the rows in these states."""
        marks = ",".join("?" * len(states))
        return int(self._database.execute(f"select count(*) from row where state in ({marks})", states).fetchone()[0])  # noqa: S608 - marks only

    def forget_refused(self) -> None:
        """Have refused rows count as changed, so that they are sent again."""
        self._database.execute("update row set hash = x'' where state = ?", (REFUSED,))

    def close(self) -> None:
        """Close the file; the next run may have it."""
        self._database.close()

    def __enter__(self) -> Self:
        """Open for a `with` block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close after it."""
        self.close()

"""Short words between the hub's processes, over PostgreSQL's LISTEN and NOTIFY. Hints only: any may get lost.

They are sent by a connection of their own and never within a transaction that decides: NOTIFY in it would have all
such commits wait for one another (its queue is appended under one lock), and the word would buy nothing, for whoever
hears it looks for itself.
"""

from collections.abc import Collection

import psycopg

from hub.core.errors import HubError
from hub.store.engine import unavailable
from hub.store.migrate import HEAD
from hub.store.under_way import NAME

CHANNEL = "hub_bell"
CONNECT_S = 5


class Signals:
    """Two connections: one thread sends, another hears. Both open anew by themselves after a failure."""

    def __init__(self, dsn: str, *, password: str = "") -> None:
        self._dsn, self._password = dsn, password
        self._out: psycopg.Connection | None = None
        self._in: psycopg.Connection | None = None

    def send(self, words: Collection[str]) -> None:
        """Send each of these to every other process that listens. Raises HubError(UNAVAILABLE)."""
        try:
            if self._out is None or self._out.closed:
                self._out = self._connect()
                self._out.execute("SET synchronous_commit = off")  # nothing is stored: there is nothing to wait for
            for word in words:
                self._out.execute("SELECT pg_notify(%s, %s)", (CHANNEL, word))
        except psycopg.Error as error:
            _drop(self._out)
            self._out = None
            raise _down() from error

    def heard(self, wait_s: float) -> list[str]:
        """Wait for words of other processes, no longer than this; returns what came. Raises HubError(UNAVAILABLE)."""
        try:
            if self._in is None or self._in.closed:
                self._in = self._connect()
                self._in.execute(f"LISTEN {CHANNEL}")
            mine = self._out.info.backend_pid if self._out is not None and not self._out.closed else 0
            return [said.payload for said in self._in.notifies(timeout=wait_s, stop_after=1) if said.pid != mine]
        except psycopg.Error as error:
            _drop(self._in)
            self._in = None
            raise _down() from error

    def close(self) -> None:
        """Let go of both. No thread may use it any more."""
        for connection in (self._out, self._in):
            _drop(connection)
        self._out = self._in = None

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            self._dsn, password=self._password or None, autocommit=True, application_name=f"{NAME} {HEAD}",
            connect_timeout=CONNECT_S,
        )  # fmt: skip


def _drop(connection: psycopg.Connection | None) -> None:
    if connection is not None:
        connection.close()


def _down() -> HubError:
    return unavailable("the hub's processes cannot wake one another", "They look by themselves each half second.")

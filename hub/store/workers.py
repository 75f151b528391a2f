"""The processes that make up this hub, as each says of itself every two seconds. Times are the database's own."""

from typing import NamedTuple

from hub.parts import Part, read, shown
from hub.store.engine import Tx

SILENT_US = 10_000_000  # five words missed: it hangs, is stopped, or was killed
FORGOTTEN_US = 600_000_000  # whoever looks within ten minutes sees who has fallen silent


class Process(NamedTuple):
    """One process. `silent_us`: since when nothing was heard of it."""

    id: str
    name: str
    parts: frozenset[Part]
    up_us: int
    silent_us: int

    @property
    def alive(self) -> bool:
        return self.silent_us < SILENT_US


def beat(tx: Tx, me: str, name: str, parts: frozenset[Part]) -> None:
    """Say that this process is there; whoever was silent for long is forgotten."""
    now_us = tx.clock_us()
    tx.run(
        "INSERT INTO worker(id, name, parts, since_us, heard_us) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT(id) DO UPDATE SET heard_us = excluded.heard_us",
        (me, name, shown(parts), now_us, now_us),
    )
    tx.run("DELETE FROM worker WHERE heard_us < ?", (now_us - FORGOTTEN_US,))


def leave(tx: Tx, me: str) -> None:
    """Take this process off the list: it ends."""
    tx.run("DELETE FROM worker WHERE id = ?", (me,))


def processes(tx: Tx) -> list[Process]:
    """List them, by name, the silent ones too."""
    now_us = tx.clock_us()
    return [
        Process(me, name, read(parts), now_us - since_us, now_us - heard_us)
        for me, name, parts, since_us, heard_us in tx.rows(
            "SELECT id, name, parts, since_us, heard_us FROM worker ORDER BY name, id"
        )
    ]

"""The public keys that agencies have their payloads sealed to, as stored. At most one of an agency counts."""

from typing import NamedTuple

from hub.store.engine import Store, Tx
from hub.store.news import Topic, tell

COLUMNS = "agency, kid, public, from_us, until_us"
FOR_EVER_US = 2**62


class SealingRow(NamedTuple):
    """An X25519 public key, counting from `from_us` until just before `until_us`."""

    agency: str
    kid: str
    public: bytes
    from_us: int
    until_us: int


def sealing_rows(store: Store) -> list[SealingRow]:
    """Return those that count: each is ended by an act, never by time alone."""
    with store.read() as tx:
        rows = tx.rows(f"SELECT {COLUMNS} FROM sealing_key WHERE until_us = ?", (FOR_EVER_US,))
    return [SealingRow._make(row) for row in rows]


def put_sealing_key(tx: Tx, row: SealingRow) -> None:
    """Let a key count in place of the agency's former one."""
    end_sealing_key(tx, row.agency, row.from_us)
    tx.run("DELETE FROM sealing_key WHERE agency = ? AND kid = ?", (row.agency, row.kid))
    tx.insert(f"sealing_key({COLUMNS})", [row])


def end_sealing_key(tx: Tx, agency: str, now_us: int) -> bool:
    tell(tx, Topic.SEALING_KEYS)
    return bool(
        tx.run("UPDATE sealing_key SET until_us = ? WHERE agency = ? AND until_us = ?", (now_us, agency, FOR_EVER_US))
    )

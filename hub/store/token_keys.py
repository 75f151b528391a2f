"""When the hub's key for access tokens was rotated, as stored: one fact, a list that only grows."""

import orjson

from hub.store.engine import Store, Tx
from hub.store.news import Topic, tell

FACT = "token_keys_from_us"


def rotations(store: Store) -> tuple[int, ...]:
    """Return the moments at which key 2, key 3, ... began to sign; empty while the first one does."""
    with store.read() as tx:
        return _read(tx)


def add_rotation(tx: Tx, now_us: int, *, apart_us: int) -> tuple[int, ...] | None:
    """Let the next key sign from now on. Returns all moments; None where the last is less than `apart_us` ago.

    One that lies ahead (the clock was set back) does not count as recent: nobody could rotate until then.
    """
    moments = _read(tx)
    if moments and moments[-1] <= now_us < moments[-1] + apart_us:
        return None
    moments = (*moments, now_us)
    tell(tx, Topic.TOKEN_KEYS)
    tx.run(
        "INSERT INTO fact(name, value) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
        (FACT, orjson.dumps(moments).decode()),
    )
    return moments


def _read(tx: Tx) -> tuple[int, ...]:
    row = tx.one("SELECT value FROM fact WHERE name = ?", (FACT,))
    return tuple(orjson.loads(row[0])) if row else ()

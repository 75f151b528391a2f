"""When the hub's key for receipts was rotated, as stored: one fact, a list that only grows."""

import orjson

from hub.store.engine import Tx
from hub.store.operations import fact, put_fact

FACT = "receipt_keys_from_us"


def receipt_rotations(tx: Tx) -> tuple[int, ...]:
    """Return the moments at which key 2, key 3, ... began to sign; empty while the first one does."""
    return tuple(orjson.loads(fact(tx, FACT) or "[]"))


def add_receipt_rotation(tx: Tx, now_us: int) -> int:
    """Let the next key sign from now on; return its number, counted from 1.

    Nobody keeps these in memory: each receipt reads the number in the transaction that it belongs to.
    """
    moments = (*receipt_rotations(tx), now_us)
    put_fact(tx, FACT, orjson.dumps(moments).decode())
    return 1 + len(moments)

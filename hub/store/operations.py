"""An operator's acts on record, and what they look at: counts, ages and numbers, never a person."""

import os
from collections.abc import Callable

from hub.core.leaf import NONCE_BYTES, LeafKind, canonical, commitment, leaf
from hub.store.audit import add_audit
from hub.store.engine import Tx

Salt = Callable[[bytes], bytes]
"""Makes the salt of an audit row's commitment from the row's nonce."""


def record(tx: Tx, said: dict[str, object], *, now_us: int, salt: Salt) -> int:
    """Write an operator's act; returns the audit row. Its detail is in the clear, for it names nobody."""
    nonce, body = os.urandom(NONCE_BYTES), canonical(said)
    row_leaf = leaf(LeafKind.OPERATION, at_us=now_us, nonce=nonce, commitments=[commitment(salt(nonce), b"", body)])
    return add_audit(tx, LeafKind.OPERATION, at_us=now_us, leaf=row_leaf, detail=body)


def fact(tx: Tx, name: str) -> str:
    """Read a single fact; "" where it was never said."""
    row = tx.one("SELECT value FROM fact WHERE name = ?", (name,))
    return "" if row is None else str(row[0])


def put_fact(tx: Tx, name: str, value: str) -> None:
    tx.run(
        "INSERT INTO fact(name, value) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
        (name, value),
    )

"""The audit rows: insert-only, the id drawn in the transaction of what they record, under the fences that were read."""

from hub.core.leaf import LeafKind
from hub.store.engine import Tx

AUDIT = "audit(id, kind, at_us, leaf, fences, detail)"


def add_audit(tx: Tx, kind: LeafKind, *, at_us: int, leaf: bytes, detail: bytes, fences: bytes = b"") -> int:
    """Append one row; returns its id. `leaf` holds its final bytes; `detail` is sealed, or names nobody."""
    row = tx.one("SELECT coalesce(max(id), 0) + 1 FROM audit")
    assert row is not None
    tx.insert(AUDIT, [(row[0], kind.value, at_us, leaf, fences, detail)])
    return int(row[0])

"""The audit rows: insert-only, the id drawn in the transaction of what they record, under the fences that were read."""

import os
from collections.abc import Callable, Mapping

from hub.core.leaf import NONCE_BYTES, LeafKind, canonical, commitment
from hub.core.leaf import leaf as leaf_of
from hub.store.engine import Tx

Salt = Callable[[bytes], bytes]
"""Makes the salt of an audit row that is about no person from the row's nonce; the hub's own leaf key stands behind."""

AUDIT = "audit(id, kind, at_us, leaf, fences, detail)"


def add_audit(tx: Tx, kind: LeafKind, *, at_us: int, leaf: bytes, detail: bytes, fences: bytes = b"") -> int:
    """Append one row; returns its id. `leaf` holds its final bytes; `detail` is sealed, or names nobody."""
    at = tx.draw("audit")
    tx.insert(AUDIT, [(at, kind.value, at_us, leaf, fences, detail)])
    return at


def add_act(
    tx: Tx,
    kind: LeafKind,
    said: Mapping[str, object],
    *,
    at_us: int,
    salt: Salt,
    name: bytes = b"",
    fences: Mapping[str, object] | None = None,
) -> int:
    """Append an act that is about no person; returns its id. What was `said` is its detail, in the clear.

    `name`: the public id of what it is about, where that has one; `fences`: the epochs it raised, by kind and number.
    """
    nonce, body = os.urandom(NONCE_BYTES), canonical(dict(said))
    row_leaf = leaf_of(kind, at_us=at_us, nonce=nonce, commitments=[commitment(salt(nonce), name, body)])
    return add_audit(tx, kind, at_us=at_us, leaf=row_leaf, detail=body, fences=canonical(fences) if fences else b"")

"""An act that concerns one person, on record: its audit row, and its place in that person's own history."""

import os
from collections.abc import Mapping

from hub.core.leaf import NONCE_BYTES, LeafKind, canonical, commitment, leaf, salts
from hub.identity.keys import OpenKey, seal_with
from hub.store.audit import add_audit
from hub.store.engine import Tx


def write_audit(
    tx: Tx, key: OpenKey, person: int, kind: LeafKind, detail: Mapping[str, object], *, at_us: int, name: bytes = b""
) -> int:
    """Write an act's audit row and the person's history row.

    The detail is sealed for the person; the leaf commits to it.
    """
    nonce, body = os.urandom(NONCE_BYTES), canonical(detail)
    row_leaf = leaf(kind, at_us=at_us, nonce=nonce, commitments=[commitment(salts(key.salt, nonce, 1)[0], name, body)])
    audit = add_audit(tx, kind, at_us=at_us, leaf=row_leaf, detail=seal_with(key, body, nonce))
    tx.insert("history(person, audit)", [(person, audit)])
    return audit

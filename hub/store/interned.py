"""Texts that repeat, stored once and named by their content: field sets, roles, outcomes as they are committed to.

The name is the first 63 bits of the SHA-256 of the body, so whoever has the body knows the name without asking, and a
rolled-back insert leaves no false memory. Bodies come from the catalogue, never from a person.
"""

from collections.abc import Mapping
from hashlib import sha256

from hub.store.engine import Tx


def intern_id(body: bytes) -> int:
    return int.from_bytes(sha256(body).digest()[:8]) >> 1


def remember(tx: Tx, bodies: Mapping[int, bytes], known: set[int]) -> list[int]:
    """Insert what is not `known` to be stored; returns the new names, to be added to `known` after the commit."""
    new = sorted(number for number in bodies if number not in known)  # one order for all who insert at once
    tx.insert("interned(id, body)", [(number, bodies[number].decode()) for number in new], or_ignore=True)
    return new

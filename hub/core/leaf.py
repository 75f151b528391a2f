"""The final bytes of an audit row: canonical JSON, at most about 1 KiB, with nothing personal and nothing erasable.

A leaf says its kind, its hour, a nonce, and salted commitments to what each party may be shown. The detail is sealed
beside it; salts come from the person's own key, so destroying that key closes the commitments for ever.
Canonical means RFC 8785: keys sorted, no spaces; values are integers and base64 text, so plain formatting is exact.
"""

from binascii import b2a_base64
from collections.abc import Sequence
from enum import IntEnum
from hashlib import blake2b, sha256
from typing import Any

import orjson

US_PER_HOUR = 3_600_000_000
SCHEMA = 1  # of every leaf below; a new shape is a new number, and old leaves stay as they are
SALT_BYTES = 16
NONCE_BYTES = 12


class LeafKind(IntEnum):
    """What a row of the log records. Numbers are final."""

    DECISION = 1
    HANDOUT = 2
    CONSENT = 3
    LINK = 4
    CATALOGUE = 5
    SUSPENSION = 6
    ERASURE = 7
    EXPIRY = 8
    CONFLICT = 9
    SIGNATURE = 10  # officers' keys, proposals and signatures of agreements
    WAY_OUT = 11  # an agency's endpoint or sealing key: registered, proven, rotated, disabled, removed
    LEGAL_HOLD = 12
    DEAD_LETTER = 13
    OPERATION = 14  # an operator: stop and resume, a key, a retention run
    ASK = 15
    BACKFILL = 16


def leaf(kind: LeafKind, *, at_us: int, nonce: bytes, commitments: Sequence[bytes]) -> bytes:
    """Return the final bytes. `commitments` are SHA-256 values in the order of the sealed detail."""
    listed = b'","'.join([b2a_base64(one, newline=False) for one in commitments])
    quoted = b'"%b"' % listed if commitments else b""
    noted = b2a_base64(nonce, newline=False)
    return b'{"c":[%b],"h":%d,"k":%d,"n":"%b","v":%d}' % (quoted, at_us // US_PER_HOUR, kind, noted, SCHEMA)


def salts(salt_key: bytes, nonce: bytes, count: int) -> list[bytes]:
    """Derive `count` salts of 16 bytes from a person's salt key and the row's nonce (keyed BLAKE2b, RFC 7693)."""
    found: list[bytes] = []
    for block in range((count + 3) // 4):
        four = blake2b(nonce + block.to_bytes(4), key=salt_key, digest_size=64).digest()
        found += (four[:16], four[16:32], four[32:48], four[48:])
    return found[:count]


def commitment(salt: bytes, name: bytes, body: bytes) -> bytes:
    """Commit to `body` (canonical JSON) under a 16-byte salt and the 16-byte public name of the delivery or act."""
    return sha256(salt + name + body).digest()


def merkle_root(entries: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 tree hash (section 2.1) over `entries`; of none, SHA-256 of nothing."""
    if not entries:
        return sha256(b"").digest()
    level = [sha256(b"\x00" + entry).digest() for entry in entries]
    while len(level) > 1:  # pairing left to right gives RFC 6962's tree: the odd last one moves up unchanged
        paired = [sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
    return level[0]


def canonical(value: Any) -> bytes:
    """Return canonical JSON of a value without floats and with ASCII keys: RFC 8785 then is sorted keys, no spaces."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)

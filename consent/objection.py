"""What a person takes away from objecting to a use that the law allows, or from taking that back.

Bytes as a consent's receipt has them (receipt.py): canonical, signed, kept as they were signed.
"""

import json
from dataclasses import dataclass
from typing import Any

from consent.canonical import Json, canonical
from consent.receipt import SCHEMA, Opened


@dataclass(frozen=True, slots=True)
class Objection:
    """The receipt for an act. It names no person. Without an issuer: one of before receipts were signed."""

    id: str
    record: str  # recipient:PURPOSE
    action: str  # object | take-back
    state: str  # objected | none
    moment_us: int
    opened_before: tuple[Opened, ...] = ()
    issuer: str = ""
    status: str = ""  # address that says what has become of it since

    @property
    def canonical(self) -> bytes:
        """RFC 8785 bytes: what is signed."""
        said: dict[str, Json] = {
            "kind": "objection-receipt",
            "v": 1,
            "id": self.id,
            "record": self.record,
            "action": self.action,
            "state": self.state,
            "moment_us": self.moment_us,
            "opened_before": [one.as_json() for one in self.opened_before],
            "promise": {},
        }
        if self.issuer:
            said |= {"v": 2, "schema": SCHEMA, "issuer": self.issuer, "status": self.status}
        return canonical(said)


def objection_from_bytes(data: bytes) -> Objection:
    """Read what `canonical` wrote. Raises `ValueError`, `KeyError` or `TypeError` when it is something else."""
    said: dict[str, Any] = json.loads(data)
    return Objection(
        id=said["id"],
        record=said["record"],
        action=said["action"],
        state=said["state"],
        moment_us=said["moment_us"],
        opened_before=tuple(Opened(**one) for one in said["opened_before"]),
        issuer=said.get("issuer", ""),
        status=said.get("status", ""),
    )

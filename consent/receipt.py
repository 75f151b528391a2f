"""What a person takes away from a transition: the moment it holds from, and what had been opened just before.

A frozen value with canonical bytes. Asking again gives the same receipt, byte for byte, so it is kept as its bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consent.canonical import Json, canonical
from consent.states import State


@dataclass(frozen=True, slots=True)
class Opened:
    """A delivery handed out before the transition: it cannot be taken back, so it is named."""

    recipient: str
    dataset: str
    delivery: str
    number: int  # the recipient's own running number
    opened_us: int

    def as_json(self) -> dict[str, Json]:
        return {
            "recipient": self.recipient,
            "dataset": self.dataset,
            "delivery": self.delivery,
            "number": self.number,
            "opened_us": self.opened_us,
        }


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature over `Receipt.canonical`. Nobody signs yet; with the place kept, stored receipts stay as they are."""

    key: str  # names the key
    value: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt for one transition of one record. It names no person; its holder knows whose it is."""

    id: str
    record: str
    action: str
    state: State  # after the transition
    stretch: int
    moment_us: int
    event: bytes  # hash of the transition's event: ties the receipt to the record's chain
    opened_before: tuple[Opened, ...] = ()
    promise: Mapping[str, str] = field(default_factory=dict)  # what whoever issues it promises; part of what is signed
    signature: Signature | None = None  # None: not signed. Beside the canonical bytes, never in them

    @property
    def canonical(self) -> bytes:
        """RFC 8785 bytes of everything but the signature."""
        return canonical(
            {
                "kind": "consent-receipt",
                "v": 1,
                "id": self.id,
                "record": self.record,
                "action": self.action,
                "state": self.state.value,
                "stretch": self.stretch,
                "moment_us": self.moment_us,
                "event": self.event.hex(),
                "opened_before": [one.as_json() for one in self.opened_before],
                "promise": dict(self.promise),
            }
        )


def receipt_from_bytes(data: bytes, *, signature: Signature | None = None) -> Receipt:
    """Read what `canonical` wrote. Raises `ValueError`, `KeyError` or `TypeError` when it is something else."""
    said: dict[str, Any] = json.loads(data)
    return Receipt(
        id=said["id"],
        record=said["record"],
        action=said["action"],
        state=State(said["state"]),
        stretch=said["stretch"],
        moment_us=said["moment_us"],
        event=bytes.fromhex(said["event"]),
        opened_before=tuple(Opened(**one) for one in said["opened_before"]),
        promise=said["promise"],
        signature=signature,
    )

"""What a person takes away from a transition: the moment it holds from, what it left in force, what had been opened.

A frozen value with canonical bytes, which are what is signed (a JWS whose payload they are). Asking again gives the
same receipt, byte for byte, so it is kept as it was signed. ISO/IEC TS 27560:2023 asks two fields of a receipt, its
identifier and its schema; the W3C DPV guide "Consent Records and Receipts as per ISO/IEC TS 27560:2023 using DPV"
names the schema of one that says what GDPR asks for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consent.canonical import Json, canonical
from consent.notice import Notice, notice_from_json
from consent.record import Record
from consent.states import State
from consent.terms import Pair

SCHEMA = "https://w3id.org/dpv/schema/dpv-27560#receipt-eu-gdpr"


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
class Scope:
    """What the record is about, as the transition left it. Names no person."""

    recipient: str
    purpose: str
    items: frozenset[Pair]  # what is given, or was when it ended; empty where nothing ever was
    until_us: int  # half-open; 0 where nothing was given
    terms: bytes  # SHA-256 of the terms that were asked
    notice: Notice | None  # what was read before the yes; None where there was none

    def as_json(self) -> dict[str, Json]:
        return {
            "recipient": self.recipient,
            "purpose": self.purpose,
            "items": [[dataset, name] for dataset, name in sorted(self.items)],
            "until_us": self.until_us,
            "terms": self.terms.hex(),
            "notice": self.notice.as_json() if self.notice else {},
        }


def scope_of(record: Record) -> Scope:
    """Say what a receipt for the record's latest transition is about."""
    terms = record.terms
    return Scope(terms.recipient, terms.purpose, record.items, record.until_us, terms.digest, record.notice)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt for one transition of one record. It names no person; its holder knows whose it is.

    Without a scope it is one of version 1, as they were kept before receipts were signed.
    """

    id: str
    record: str
    action: str
    state: State  # after the transition
    stretch: int
    moment_us: int
    event: bytes  # hash of the transition's event: ties the receipt to the record's chain
    opened_before: tuple[Opened, ...] = ()
    promise: Mapping[str, str] = field(default_factory=dict)  # what whoever issues it promises; part of what is signed
    issuer: str = ""  # address of the hub that issued it
    status: str = ""  # address that says what has become of the record since
    scope: Scope | None = None

    @property
    def canonical(self) -> bytes:
        """RFC 8785 bytes of everything: what is signed."""
        said: dict[str, Json] = {
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
        if self.scope is not None:
            said |= {
                "v": 2,
                "schema": SCHEMA,
                "issuer": self.issuer,
                "status": self.status,
                "scope": self.scope.as_json(),
            }
        return canonical(said)


def receipt_from_bytes(data: bytes) -> Receipt:
    """Read what `canonical` wrote. Raises `ValueError`, `KeyError`, `TypeError` or `ConsentError` for anything else."""
    said: dict[str, Any] = json.loads(data)
    scope = said.get("scope")
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
        issuer=said.get("issuer", ""),
        status=said.get("status", ""),
        scope=None if scope is None else _scope_from_json(scope),
    )


def _scope_from_json(said: Mapping[str, Any]) -> Scope:
    return Scope(
        recipient=said["recipient"],
        purpose=said["purpose"],
        items=frozenset((dataset, name) for dataset, name in said["items"]),
        until_us=said["until_us"],
        terms=bytes.fromhex(said["terms"]),
        notice=notice_from_json(said["notice"]) if said["notice"] else None,
    )

"""Who did what when, as a chain of canonical bytes: each event holds the hash of the one before it.

An event is kept as two values, its canonical bytes and their SHA-256; everything else is read from the bytes, so no
second copy can disagree. The bytes name a person: whoever stores them seals them under that person's key.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consent.canonical import Json, canonical, check_ints, check_texts, sha256
from consent.errors import Code, ConsentError

START = bytes(32)  # what the first event names as the hash before it
MAX_PERSON = 2**63 - 1  # wider than a JSON integer, so persons and actors are written as decimal texts


class Capacity(StrEnum):
    """As what somebody acts."""

    SELF = "self"
    GUARDIAN = "guardian"
    AGENCY = "agency"
    OPERATOR = "operator"
    SYSTEM = "system"  # time passed, or another transition brought this one about


@dataclass(frozen=True, slots=True)
class By:
    """Who does it: the principal's plain values. Raises `ConsentError(VALUE)`.

    `actor` is the acting person for self and guardian, the agency's number for an agency, and 0 where nobody acts.
    """

    person: int  # the one the record is about
    actor: int
    capacity: Capacity
    acr: int  # assurance of the sign-in, 0..3
    session: str  # "" where there was none

    def __post_init__(self) -> None:
        check_ints(low=1, high=MAX_PERSON, person=self.person)
        check_ints(low=0, high=MAX_PERSON, actor=self.actor)
        check_ints(low=0, high=3, acr=self.acr)
        check_texts(shortest=0, session=self.session)
        if self.capacity is Capacity.SELF and self.actor != self.person:
            raise ConsentError(Code.VALUE, "who acts for oneself is the person")

    def as_json(self) -> dict[str, Json]:
        return {
            "person": str(self.person),
            "actor": str(self.actor),
            "capacity": self.capacity.value,
            "acr": self.acr,
            "session": self.session,
        }


@dataclass(frozen=True, slots=True)
class Said:
    """What an event says, read from its bytes."""

    record: str
    number: int  # from 0 within the record
    action: str
    at_us: int
    by: By
    prev: bytes
    body: Mapping[str, Any]  # what else the action needs


@dataclass(frozen=True, slots=True)
class Event:
    """One transition as it is kept. Believe it only after `record.fold` did."""

    canonical: bytes
    hash: bytes

    @property
    def said(self) -> Said:
        """Read the bytes. Raises `ValueError`, `KeyError`, `TypeError` or `ConsentError` when they are no event."""
        said = json.loads(self.canonical)
        by = said["by"]
        who = By(int(by["person"]), int(by["actor"]), Capacity(by["capacity"]), by["acr"], by["session"])
        prev = bytes.fromhex(said["prev"])
        return Said(said["record"], said["number"], said["action"], said["at_us"], who, prev, said["body"])


def link(*, record: str, number: int, action: str, at_us: int, by: By, prev: bytes, body: Mapping[str, Json]) -> Event:
    """Write the next event of a chain. Raises `ConsentError(VALUE)`."""
    check_texts(record=record)
    check_ints(low=0, number=number, at_us=at_us)
    data = canonical(
        {
            "kind": "consent-event",
            "v": 1,
            "record": record,
            "number": number,
            "action": action,
            "at_us": at_us,
            "by": by.as_json(),
            "prev": prev.hex(),
            "body": body,
        }
    )
    return Event(data, sha256(data))

"""What a recipient reads: one delivery as a CloudEvent, opened after its hand-out has committed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from hub.core.agreement import Subscription
from hub.core.minimise import merge, minimise
from hub.exchange.holds import unseal_held
from hub.identity.keys import NONCE_BYTES, OpenKey, Wrapping
from hub.identity.sealing import SealTo, seal_event
from hub.store.deliveries import FEED_KINDS, DeliveryKind, Part

US = 1_000_000


class Opened(NamedTuple):
    """One delivery that may leave now: its row, its number, and per part the fields that were decided just now."""

    public: bytes
    kind: int
    number: int
    subscription: Subscription | None  # None for a notice
    version: int
    time_us: int
    parts: Sequence[Part]
    fields: Sequence[frozenset[str]]
    payload: bytes
    hold_keys: Sequence[bytes] = ()  # per part, where it was held at first
    of: bytes = b""  # the recipient's id of what it corrects or deletes, or the ask's
    due_us: int = 0  # of a stop or delete: until when it is to be acknowledged
    person: int = 0  # of the event's subject: deliveries of one person leave in order
    seal_to: SealTo | None = None  # the recipient's own key, where it registered one


def cloud_event(opened: Opened, keys: Mapping[int, OpenKey], wrapping: Wrapping) -> dict[str, Any]:
    """Open a delivery into what the recipient gets, on every way out; sealed to its key where it registered one."""
    event = _open_event(opened, keys, wrapping)
    if opened.seal_to is None:
        return event
    return seal_event(opened.seal_to, event, public=opened.public, number=opened.number)


def _open_event(opened: Opened, keys: Mapping[int, OpenKey], wrapping: Wrapping) -> dict[str, Any]:
    """Open each part. Fields lost since the gate stay behind; none are added."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": opened.public.hex(),
        "source": "urn:hub",
        "time": rfc3339(opened.time_us),
        "kind": FEED_KINDS[DeliveryKind(opened.kind)],
        "number": opened.number,
    }
    if opened.due_us:
        event["due"] = rfc3339(opened.due_us)
    if opened.kind in (DeliveryKind.STOP, DeliveryKind.DELETE):
        event["type"] = f"hub.{event['kind']}"  # its agreement may have ended meanwhile, and then it is not named
    if opened.subscription is not None:
        one = opened.subscription
        if opened.kind not in (DeliveryKind.STOP, DeliveryKind.DELETE):
            event["type"], event["dataschema"] = one.dataset.name, f"{one.dataset.name}/{one.dataset.version}"
        event["purpose"] = one.purpose.code
        event["agreement"] = one.agreement.code
        event["agreementversion"] = opened.version
    if not opened.parts:
        event.setdefault("type", "hub.notice")
        event["data"] = orjson.loads(wrapping.unseal(opened.payload, opened.public))
        return event
    _tell_aim(event, opened)
    shares, at = [], 0
    for place, (part, fields) in enumerate(zip(opened.parts, opened.fields, strict=True)):
        size = abs(part.sealed_bytes)
        sealed = opened.payload[at : at + size]
        at += size
        if not fields:
            continue
        key = keys[part.person]
        if part.sealed_bytes < 0:
            plain = unseal_held(key, opened.hold_keys[place], sealed, public=opened.public, part=place)
        else:
            plain = _open(key, sealed, opened.public)
        name, share = orjson.loads(plain)
        if name is not None:
            event["subject"] = name
        if opened.kind == DeliveryKind.QUESTION:  # it holds no field's value, only which are asked for
            share["fields"] = sorted(fields)
            shares.append(share)
        else:
            shares.append(minimise(share, fields))
    event["data"] = merge(shares)
    return event


def _tell_aim(event: dict[str, Any], opened: Opened) -> None:
    """Say which delivery is corrected, which ask is answered, and what was there before the agreement."""
    if opened.kind == DeliveryKind.CORRECTION:
        event["corrects"] = opened.of.hex()
    elif opened.kind == DeliveryKind.ANSWER:
        event["ask"] = opened.of.hex()
    elif opened.kind == DeliveryKind.BACKFILLED:
        event["backfill"] = True
    elif opened.kind == DeliveryKind.QUESTION:
        event["ask"], event["type"] = opened.of.hex(), "hub.ask"
        event.pop("dataschema", None)


def rfc3339(time_us: int) -> str:
    """Return the instant in UTC, to the millisecond where it has any."""
    whole, rest = divmod(time_us, US)
    return f"{_second(whole)}.{rest // 1000:03d}Z" if rest else _second(whole) + "Z"


@lru_cache(maxsize=4_096)  # what is handed out together happened together: a page has few seconds, and each is dear
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _open(key: OpenKey, sealed: bytes, bound: bytes) -> bytes:
    return key.aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)

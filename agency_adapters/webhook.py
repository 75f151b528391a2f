"""Receive the hub's webhooks: Standard Webhooks with Ed25519 signatures (`v1a`), as plain functions for any server.

1. the signature is one of the hub's keys' for this agency, over `id.timestamp.body`       2. the time is now
3. a challenge is repeated: that proves the endpoint      4. what was handled before is not handled again
5. the caller's function handles the delivery; only when it returned is the hub told so, and it sends the person's next
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agency_adapters.client import KNOWN_KINDS, NOTICE
from agency_adapters.clock import Clock, system_clock
from agency_adapters.errors import AgencyError
from agency_adapters.results import Delivery, delivery_of
from agency_adapters.sealing import SealKeys, open_sealed
from agency_adapters.seen import Seen

TOLERANCE_S = 300  # the published libraries' own: older may be a replay, newer is a clock that is off
BODY_BYTES = 1_000_000  # a delivery is at most some 100 kB
PREFIX = "whpk_"
VERIFICATION = "hub.webhook.verification"
OK, BAD, UNAUTHORIZED, NOT_HANDLED = 200, 400, 401, 501


class WebhookRefused(AgencyError):
    """A message is not the hub's, or not of now. Nothing of it may be used."""


class Reply(NamedTuple):
    """What to answer: a status and a JSON body."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Receiver:
    """What receiving needs. `keys` gives the hub's public keys, `whpk_...`; with True it asks the hub for them anew."""

    keys: Callable[[bool], Sequence[str]]
    seen: Seen
    handle: Callable[[Delivery], None]
    seal_keys: SealKeys = ()
    clock: Clock = system_clock
    lock: Lock = field(default_factory=Lock)


def receive(receiver: Receiver, headers: Mapping[str, str], body: bytes) -> Reply:
    """Take one request, of any thread; returns what to answer. What `handle` raises is raised: answer 500 then.

    So it is where a delivery is sealed to a key that is not here. A kind that this version does not know is not handled
    and not taken: it comes again, to a newer version.
    """
    try:
        try:
            verify(headers, body, receiver.keys(False), now_us=receiver.clock())  # 1., 2.
        except WebhookRefused:
            verify(headers, body, receiver.keys(True), now_us=receiver.clock())
    except WebhookRefused as refused:
        return _reply(UNAUTHORIZED, {"problem": refused.what})
    try:
        document = json.loads(body)
        if document.get("type") == VERIFICATION:  # 3.
            return _reply(OK, {"challenge": document["data"]["challenge"]})
        delivery_of(document)
    except (ValueError, KeyError, TypeError, AttributeError, AgencyError) as error:
        return _reply(BAD, {"problem": f"not a delivery: {type(error).__name__}"})
    delivery = delivery_of(open_sealed(document, receiver.seal_keys))
    if delivery.id != _named(headers, "webhook-id"):
        return _reply(BAD, {"problem": "the message's id is not the delivery's"})
    if delivery.kind not in KNOWN_KINDS | {NOTICE}:
        return _reply(NOT_HANDLED, {"problem": "this version does not know this kind of delivery"})
    with receiver.lock:
        if not receiver.seen.has(delivery.id, delivery.kind):  # 4.
            receiver.handle(delivery)  # 5.
            receiver.seen.add(delivery.id, delivery.kind)
    return _reply(OK, {})


def verify(headers: Mapping[str, str], body: bytes, keys: Sequence[str], *, now_us: int) -> None:
    """Check signature and time of a message. Raises `WebhookRefused`.

    Every signature is tried with every key: while keys rotate the hub sends two. Ed25519 verification handles public
    values only, so there is no secret whose comparison could leak by its time.
    """
    message, stamp, signatures = (
        _named(headers, name) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    )
    if not (message and stamp and signatures):
        raise WebhookRefused("a webhook- header is missing")
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) < 16):
        raise WebhookRefused("webhook-timestamp is not a number of seconds")
    if abs(int(stamp) - now_us // 1_000_000) > TOLERANCE_S:
        raise WebhookRefused(f"the message is more than {TOLERANCE_S} s off this machine's clock")
    signed = b"%b.%b.%b" % (message.encode(), stamp.encode(), body)
    publics = [public_key(key) for key in keys]
    for each in signatures.split(" "):
        version, _, text = each.partition(",")
        if version != "v1a":
            continue
        try:
            signature = base64.b64decode(text, validate=True)
        except binascii.Error:
            continue
        for public in publics:
            try:
                public.verify(signature, signed)
            except InvalidSignature:
                continue
            return
    raise WebhookRefused("no signature is by a key of the hub's")


def public_key(text: str) -> Ed25519PublicKey:
    """Read `whpk_<base64>`. Raises `AgencyError`."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.removeprefix(PREFIX), validate=True))
    except ValueError as error:
        raise AgencyError("a public key of the hub's cannot be read", remedy="Take it from GET /v1/webhook.") from error


def _named(headers: Mapping[str, str], name: str) -> str:
    """Find a header whatever its letters' case; servers differ in it."""
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _reply(status: int, document: Mapping[str, object]) -> Reply:
    return Reply(status, json.dumps(document).encode())

"""What a publisher can learn of its own event: a MACed token says which one, without a table of who asked what."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from hmac import compare_digest

from hub.core.errors import HubError, Kind
from hub.exchange.intake import POISON
from hub.identity.keys import Keyring
from hub.store.engine import Store

PREFIX = "st1."
NAMED_BYTES = 20  # event hash and publisher
TAG_BYTES = 16


def status_token(keys: Keyring, event: bytes, publisher: int) -> str:
    """Return the token of an event hash (16 bytes). It names its publisher: nobody else's question is answered."""
    named = event + publisher.to_bytes(4)
    return PREFIX + urlsafe_b64encode(named + _tag(keys, named)).decode().rstrip("=")


def event_of(keys: Keyring, token: str, publisher: int | None = None) -> bytes:
    """Return the event hash a token names. Raises HubError(NOT_FOUND) when it is not ours, or not `publisher`'s."""
    try:
        raw = urlsafe_b64decode(token.removeprefix(PREFIX) + "==")
    except ValueError:
        raw = b""
    named, tag = raw[:NAMED_BYTES], raw[NAMED_BYTES:]
    ours = token.startswith(PREFIX) and len(raw) == NAMED_BYTES + TAG_BYTES and compare_digest(tag, _tag(keys, named))
    if not ours or publisher not in (None, int.from_bytes(named[16:])):
        raise HubError(
            Kind.NOT_FOUND,
            "no such event status",
            remedy="Use the token that the 202 answer gave you.",
            code="event-unknown",
        )
    return named[:16]


def event_state(store: Store, event: bytes) -> str:
    """Say how far an event is.

    accepted (the gate has not seen it), waiting (for a link, its own or an earlier event's), expired (it waited too
    long, and nobody will hear of it), failed (so too: a defect of the hub's met it), handled, or conflict.
    """
    with store.read() as tx:
        if tx.one("SELECT 1 FROM event_conflict WHERE event = ? LIMIT 1", (event,)):
            return "conflict"
        if tx.one("SELECT 1 FROM event_seen WHERE event = ?", (event,)) is None:
            return "accepted"
        waits = tx.one("SELECT local = ? FROM waiting WHERE event = ? LIMIT 1", (POISON, event))
        if waits is not None:
            return "failed" if waits[0] else "waiting"
        unheard = tx.one("SELECT failed FROM event_unheard WHERE event = ?", (event,))
        if unheard is not None:
            return "failed" if unheard[0] else "expired"
        return "handled"


def _tag(keys: Keyring, named: bytes) -> bytes:
    return blake2b(named, key=keys.status, digest_size=TAG_BYTES).digest()

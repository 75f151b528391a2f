"""Every key that there is: what for, since when, how it is rotated, or honestly why not."""

from typing import Any

import orjson

from hub.store.engine import Tx
from hub.store.operations import fact, roots
from hub.store.receipt_keys import receipt_rotations
from hub.store.token_keys import FACT
from hub.store.wrapped import Rotation, rotation_of

TOKEN_ROTATED_DAYS = 100  # a quarter and a week: `hub status` says so from then on
US_PER_DAY = 86_400_000_000
NAMES_HANG_ON_IT = "Not rotated: {} would be named anew, and nothing stored would be found again."

SECRETS = {  # of hub/identity/keys.py `Keyring`: what for, and how it is rotated; a test knows that none is left out
    "wrapping": (
        "wraps the keys of persons, days, waiting events and webhooks; seals notices, stops and bookmarks",
        "hub keys rotate wrapping",
    ),
    "event": ("names events, so that a repeat is known", NAMES_HANG_ON_IT.format("every event ever seen")),
    "content": ("names contents, so that a conflict is known", NAMES_HANG_ON_IT.format("every content ever seen")),
    "delivery": ("names deliveries", NAMES_HANG_ON_IT.format("every delivery, at its recipient too,")),
    "local": ("finds links by an agency's own id", NAMES_HANG_ON_IT.format("every link")),
    "status": ("authenticates status tokens", "Not rotated: tokens that publishers keep would stop working."),
    "pseudonym": ("names persons to agencies", NAMES_HANG_ON_IT.format("every person, at every agency,")),
    "session": (
        "hides session cookies",
        "Not rotated: everybody would have to sign in anew; sessions end by themselves.",
    ),
    "leaf": (
        "salts the log's rows that are about no person",
        "Not rotated: old commitments could not be opened any more.",
    ),
    "erasure": ("authenticates the ledger of erasures", "Not rotated: the ledger could not be checked any more."),
    "marks": (
        "authenticates the marks beside the key, and hides whose acts are among them",
        "Not rotated: after a restore nobody could say any more who had withdrawn since.",
    ),
    "bundle": (
        "signs the policy's bundle for an OPA server",
        "Not rotated: OPA is configured with its public half; it signs nothing about people.",
    ),
    "token": ("signs access tokens, by a number", "hub keys rotate token"),
    "receipt": ("signs citizens' receipts, by a number; the former ones verify for ever", "hub keys rotate receipt"),
}


def list_keys(tx: Tx, root: bytes, now_us: int) -> list[dict[str, Any]]:
    """Describe every key, without a byte of any. `since_us` is 0 where nothing says when it was made."""
    known = roots(tx)
    first_us = min((since for _, since in known), default=0)
    numbered = {"token": orjson.loads(fact(tx, FACT) or "[]"), "receipt": receipt_rotations(tx)}
    row = tx.one(
        "SELECT (SELECT count(*) FROM person WHERE key IS NOT NULL), (SELECT count(*) FROM waiting_key),"
        " (SELECT count(*) FROM day_key WHERE key IS NOT NULL), (SELECT count(*) FROM agency_key WHERE until_us > ?),"
        " (SELECT count(*) FROM webhook_key WHERE until_us > ?)",
        (now_us, now_us),
    )
    assert row is not None
    pending = [name.hex() for name, _ in known if name != root]
    how = (
        f"Half done: start the hub with the new file (key {pending[-1]}); until then either file opens the store."
        if pending
        else "hub keys rotate root --new-file FILE"
    )
    found = [_key("root", "opens all of the below; the key file", dict(known).get(root, 0), how, named=root.hex())]
    wrapping = rotation_of(tx)
    for name, (what_for, rotated) in SECRETS.items():
        if name == "wrapping" and wrapping is not None:
            found.append(_rotated_wrapping(what_for, rotated, wrapping))
            continue
        moments = numbered.get(name, ())
        found.append(_key(name, what_for, moments[-1] if moments else first_us, rotated, count=1 + len(moments)))
    found += [
        _key("persons", "seal what is about a person", 0, "Destroyed by erasure, one by one.", count=row[0]),
        _key("waiting", "seal what waits for a link", 0, "Destroyed with the last event that waits.", count=row[1]),
        _key(
            "days", "seal what lies on the bus", 0, "A new one each day; destroyed after the retention.", count=row[2]
        ),
        _key("webhooks", "sign webhooks, one or two per agency", 0, "hub keys rotate-webhook AGENCY", count=row[4]),
        _key("agencies", "agencies' own public keys", 0, "hub agency add-key, then hub agency end-key", count=row[3]),
    ]
    return found


def _rotated_wrapping(what_for: str, rotated: str, rotation: Rotation) -> dict[str, Any]:
    """Describe a wrapping key that was made by a rotation; two of them until that is done."""
    if rotation.stage == "done":
        return _key("wrapping", what_for, rotation.since_us, rotated, named=rotation.key)
    how = "Being rotated: what the former key sealed is sealed anew, then that is destroyed; see `hub status`."
    return _key("wrapping", what_for, rotation.since_us, how, count=2, named=rotation.key)


def token_key_age_days(tx: Tx, now_us: int) -> int:
    """Count the days since the token key was made or rotated."""
    moments = orjson.loads(fact(tx, FACT) or "[]")
    since_us = moments[-1] if moments else min((since for _, since in roots(tx)), default=now_us)
    return int((now_us - since_us) // US_PER_DAY)


def _key(name: str, what_for: str, since_us: int, how: str, *, count: int = 1, named: str = "") -> dict[str, Any]:
    return {"name": name, "for": what_for, "since_us": since_us, "rotate": how, "count": count, "id": named}

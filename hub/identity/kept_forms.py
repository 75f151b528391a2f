"""What somebody had filled in when their session ended, kept until they have signed in again: no choice is lost.

A page carries a ticket with each form: a seal over who it was shown to, which form it is, and until when. What comes
back with a good ticket and no session is kept; without one nothing is, so nobody else can fill the store, or a form. It
is sealed under a random token that the browser takes along and the store does not have, bound to person and form:
opened once, within `KEPT_US`, by the same person on the same form, and otherwise never.
"""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

import orjson
from cryptography.exceptions import InvalidTag

from hub.core.errors import HubError, Kind
from hub.identity.keys import Keyring, derive, keyed, seal, unseal
from hub.identity.sessions import SESSIONS
from hub.store.engine import Store, Tx

KEPT_US = 30 * 60 * 1_000_000  # long enough to find a card reader, short enough that nobody else sits down there
SHOWN_US = 24 * 3_600 * 1_000_000  # how long after it was shown a form may still be sent: a day's work
TOKEN_BYTES = 24
FORM_BYTES = 65_536  # as much as a form's body may have (hub/web/bodies.py)
OF_ONE_PERSON = 8  # kept at once; an older one makes room
TEXT_CHARS = 1_024  # no ticket or token of ours is longer

Fields = Sequence[tuple[str, str]]
"""A form's fields in their order; one name may stand there several times, as ticked boxes do."""


def ticket(keys: Keyring, *, person: int, form: str, now_us: int) -> str:
    """Make what a form carries in a hidden field. It says nothing to whoever reads it."""
    sealed = seal(_key(keys), orjson.dumps([person, now_us + SHOWN_US]), form.encode())
    return urlsafe_b64encode(sealed).decode().rstrip("=")


def shown_to(keys: Keyring, given: str, *, form: str, now_us: int) -> int | None:
    """Return the person whom this form was shown to; None where the ticket is another form's, altered or too old."""
    try:
        person, until_us = orjson.loads(unseal(_key(keys), _bytes(given), form.encode()))
    except (InvalidTag, ValueError):
        return None
    return int(person) if now_us < until_us else None


def keep(store: Store, keys: Keyring, given: str, *, form: str, fields: Fields, now_us: int) -> str:
    """Keep what was sent with a good ticket; returns the token that gives it back.

    Raises HubError: FORBIDDEN (no good ticket; nothing is kept), TOO_LARGE.
    """
    person = shown_to(keys, given, form=form, now_us=now_us)
    if person is None:
        raise _not_shown()
    plain = orjson.dumps([list(one) for one in fields])
    if len(plain) > FORM_BYTES:
        raise HubError(Kind.TOO_LARGE, f"The form holds more than {FORM_BYTES} bytes.", code="body-too-large")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    sealed = seal(_form_key(keys, token), plain, _place(person, form))

    def transaction(tx: Tx) -> None:
        if tx.one("SELECT 1 FROM person WHERE id = ? AND erased_us IS NOT NULL", (person,)):
            raise _not_shown()  # a page from before they were erased: nothing of theirs is to be kept any more
        tx.run("DELETE FROM kept_form WHERE expires_us <= ?", (now_us,))
        older = tx.rows("SELECT token FROM kept_form WHERE person = ? ORDER BY expires_us, token", (person,))
        for (one,) in older[: max(0, len(older) - OF_ONE_PERSON + 1)]:
            tx.run("DELETE FROM kept_form WHERE token = ?", (one,))
        tx.insert(
            "kept_form(token, person, sealed, expires_us)", [(_hash(keys, token), person, sealed, now_us + KEPT_US)]
        )

    store.write(transaction, fences=SESSIONS)
    return token


def give_back(store: Store, keys: Keyring, token: str, *, person: int, form: str, now_us: int) -> list[tuple[str, str]]:
    """Return what was kept, and forget it; empty where there is nothing for this person and form under this token.

    Somebody else's attempt takes nothing away: a row is forgotten only once it has been opened.
    """
    if not token or len(token) > TEXT_CHARS:
        return []
    hashed = _hash(keys, token)

    def transaction(tx: Tx) -> list[tuple[str, str]]:
        row = tx.one("SELECT sealed, expires_us FROM kept_form WHERE token = ?", (hashed,))
        if row is None or now_us >= row[1]:
            return []
        try:
            plain = unseal(_form_key(keys, token), row[0], _place(person, form))
        except InvalidTag:
            return []
        tx.run("DELETE FROM kept_form WHERE token = ?", (hashed,))
        return [(str(name), str(value)) for name, value in orjson.loads(plain)]

    return store.write(transaction, fences=SESSIONS)


def forget_forms(store: Store, now_us: int, most: int) -> int:
    """Forget up to `most` forms that nobody came back for; returns how many."""
    with store.read() as tx:
        rows = tx.rows("SELECT token FROM kept_form WHERE expires_us <= ? LIMIT ?", (now_us, most))
    if not rows:
        return 0
    return store.write(
        lambda tx: sum(tx.run("DELETE FROM kept_form WHERE token = ?", row) for row in rows), fences=SESSIONS
    )


def _not_shown() -> HubError:
    return HubError(
        Kind.FORBIDDEN,
        "This form was not shown to you lately; nothing was changed and nothing kept.",
        remedy="Open the page again, then fill it in.",
        code="form-ticket",
    )


def _place(person: int, form: str) -> bytes:
    return b"kept" + person.to_bytes(8) + form.encode()


def _key(keys: Keyring) -> bytes:
    return derive(keys.session, "form-tickets/1", 32)


def _form_key(keys: Keyring, token: str) -> bytes:
    return derive(keys.session + token.encode(), "kept-forms/1", 32)


def _hash(keys: Keyring, token: str) -> bytes:
    return keyed(keys.session, "kept-form", token)


def _bytes(text: str) -> bytes:
    if len(text) > TEXT_CHARS:
        raise ValueError("too long")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))

"""Whom a sign-in is of: the person to whom the civil register's links lead from a verified claim.

A provider knows people by names of its own (`iss` and `sub`), and by one verified claim that holds their id at one
agency, as a population register's number. The links of that agency say which person that is (`people.py`). The account
only remembers which link it was, for a provider that shows the claim the first time alone. It never names a person:
where the register undoes the link, or links the id to somebody else, the account follows at once. So nothing has to be
moved when the provider changes: the new one's claim leads through the same link, and its name becomes one account more.
Nobody is made here: who is not linked has nothing at this hub to see.
"""

from typing import NamedTuple

from hub.core.errors import HubError, Kind
from hub.identity.keys import Keyring, keyed
from hub.identity.people import local_of
from hub.store.engine import Tx

NAME_CHARS = 255  # OpenID Connect Core section 2, of `sub`


class Identified(NamedTuple):
    """What a provider vouches for: its own name of somebody, and the claim, "" where it did not come along."""

    issuer: str
    subject: str
    claim: str
    level: int  # of assurance, 0..3


class Holder(NamedTuple):
    """The person, and the link that said so."""

    person: int
    local: bytes


def holder_of(tx: Tx, keys: Keyring, who: Identified, *, agency: str, now_us: int) -> Holder:
    """Find whom this sign-in is of, and remember the account. `agency` is the one whose ids the claim holds.

    Inside a transaction that excludes changes of links. Raises HubError(FORBIDDEN): account-unknown (no claim and no
    account, or nobody is linked under it), account-conflict (claim and account lead to two people), account-disputed.
    """
    subject = keyed(keys.session, "account", who.issuer, who.subject)
    row = tx.one("SELECT local FROM account WHERE subject = ?", (subject,))
    known = bytes(row[0]) if row else None
    local = local_of(keys, agency, who.claim) if who.claim else known
    if local is None:
        raise _refused("account-unknown", "The sign-in does not say who you are in the register.", _ASK_FOR_CLAIM)
    person = _person(tx, local)
    before = _person(tx, known) if known else None
    if person is None:
        raise _refused("account-unknown", "The register has linked nobody to what your sign-in says.", _ASK_REGISTER)
    if before is not None and before != person:
        what = "This account was another person's until now; the hub lets nobody in on it."
        raise _refused("account-conflict", what, _ASK_REGISTER)
    if local != known:
        tx.run("DELETE FROM account WHERE subject = ?", (subject,))
        tx.insert("account(subject, local, since_us)", [(subject, local, now_us)])
    return Holder(person, local)


def _person(tx: Tx, local: bytes) -> int | None:
    """Follow a link to a person who was not erased. Raises HubError where the register doubts it."""
    row = tx.one(
        "SELECT l.person, l.disputed FROM link l JOIN person p ON p.id = l.person"
        " WHERE l.local = ? AND l.until_us IS NULL AND p.erased_us IS NULL",
        (local,),
    )
    if row is not None and row[1]:
        raise _refused("account-disputed", "The register is looking into whether this is really you.", _ASK_REGISTER)
    return None if row is None else int(row[0])


_ASK_FOR_CLAIM = "Sign in again and let your provider pass on your register number, or use another one."
_ASK_REGISTER = "Ask the register's office; nothing here was shown or changed."


def _refused(code: str, what: str, remedy: str) -> HubError:
    return HubError(Kind.FORBIDDEN, what, remedy=remedy, code=code)

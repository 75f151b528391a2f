"""One-time codes: eight digits that a person types, or pastes, within ten minutes, once.

Of a code only a keyed hash is stored, bound to person, aim and moment. A wrong try is counted before it is compared, in
the same transaction, so that many at once get no more tries than one after the other. After `ATTEMPTS` a code is worth
nothing; a new one replaces the one before; and there are at most `ISSUED_PER_HOUR` for a person and an aim, so that
nobody has more than 25 tries in 10^8 an hour, nor gets more than that many messages.
"""

import secrets
import unicodedata
from enum import StrEnum
from hmac import compare_digest

from hub.core.errors import HubError, Kind
from hub.identity.keys import Keyring, keyed
from hub.identity.sessions import SESSIONS
from hub.store.engine import Store, Tx

DIGITS = 8
GROUP = 4  # digits between spaces, as it is shown: easier to read aloud
LIFE_US = 600 * 1_000_000  # NIST SP 800-63B section 5.1.3.2: at most ten minutes
ATTEMPTS = 5
ISSUED_PER_HOUR = 5
HOUR_US = 3_600 * 1_000_000
TYPED_CHARS = 64  # a pasted line may bring blanks and dashes along; a longer text is no code
BETWEEN = frozenset("-.\u00b7")  # besides blanks and marks of direction, what people and mail programs put in between


class Tried(StrEnum):
    """What became of a try."""

    RIGHT = "right"
    WRONG = "wrong"
    OVER = "over"  # there is none: it was used, tried too often, replaced, or its ten minutes are over


def issue(store: Store, keys: Keyring, *, person: int, aim: str, now_us: int) -> str:
    """Make a code for an aim, as in `counter:V-17`; the one before is worth nothing from now on. Returns it as shown.

    Raises HubError(TOO_MANY) with the seconds to wait.
    """
    code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"

    def transaction(tx: Tx) -> None:
        row = tx.one("SELECT issued, window_us FROM one_time_code WHERE person = ? AND aim = ?", (person, aim))
        issued, window_us = row if row is not None and now_us < row[1] + HOUR_US else (0, now_us)
        if issued >= ISSUED_PER_HOUR:
            raise _too_many((window_us + HOUR_US - now_us) // 1_000_000 + 1)
        until_us = now_us + LIFE_US
        tx.run("DELETE FROM one_time_code WHERE person = ? AND aim = ?", (person, aim))
        hashed = _hash(keys, person, aim, until_us, code)
        tx.insert(
            "one_time_code(person, aim, code, expires_us, attempts, issued, window_us)",
            [(person, aim, hashed, until_us, 0, issued + 1, window_us)],
        )

    store.write(transaction, fences=SESSIONS)
    return " ".join(code[at : at + GROUP] for at in range(0, DIGITS, GROUP))


def check(store: Store, keys: Keyring, typed: str, *, person: int, aim: str, now_us: int) -> Tried:
    """Try a code. Right is right once. What cannot be a code at all (a slip of the finger) is not counted."""
    code = digits(typed)
    if len(code) != DIGITS:
        return Tried.WRONG

    def transaction(tx: Tx) -> Tried:
        row = tx.one("SELECT code, expires_us, attempts FROM one_time_code WHERE person = ? AND aim = ?", (person, aim))
        if row is None or not row[0] or now_us >= row[1] or row[2] >= ATTEMPTS:
            return Tried.OVER
        right = compare_digest(_hash(keys, person, aim, row[1], code), row[0])
        over = right or row[2] + 1 == ATTEMPTS
        tx.run(
            "UPDATE one_time_code SET attempts = attempts + 1, code = ? WHERE person = ? AND aim = ?",
            (b"" if over else row[0], person, aim),
        )
        return Tried.RIGHT if right else Tried.WRONG

    return store.write(transaction, fences=SESSIONS)


def digits(typed: str) -> str:
    """Read a code as people write and paste it: in any script's digits, with blanks, dashes and marks in between.

    Returns "" where anything else stands in it.
    """
    if len(typed) > TYPED_CHARS:
        return ""
    found = []
    for one in typed:
        digit = unicodedata.digit(one, None)
        if digit is not None:
            found.append(str(digit))
        elif not (one.isspace() or one in BETWEEN or unicodedata.category(one) in ("Cf", "Pd")):
            return ""
    return "".join(found)


def forget_codes(store: Store, now_us: int, most: int) -> int:
    """Forget that there were codes, an hour after the first of them; up to `most`, returns how many.

    The last of them may have been made just before, and is good for its ten minutes all the same.
    """
    over = now_us - HOUR_US, now_us
    with store.read() as tx:
        rows = tx.rows(
            "SELECT person, aim FROM one_time_code WHERE window_us <= ? AND expires_us <= ? LIMIT ?", (*over, most)
        )
    if not rows:
        return 0
    one = "DELETE FROM one_time_code WHERE person = ? AND aim = ? AND window_us <= ? AND expires_us <= ?"
    return store.write(lambda tx: sum(tx.run(one, (*row, *over)) for row in rows), fences=SESSIONS)


def _hash(keys: Keyring, person: int, aim: str, until_us: int, code: str) -> bytes:
    return keyed(keys.session, "one-time-code", str(person), aim, str(until_us), code)


def _too_many(wait_s: int) -> HubError:
    return HubError(
        Kind.TOO_MANY,
        f"There were {ISSUED_PER_HOUR} codes within an hour already.",
        remedy="Use the last one you were given while its ten minutes last, or wait.",
        code="codes-too-many",
        retry_after_s=wait_s,
    )

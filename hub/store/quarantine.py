"""Whether this store was restored and not reconciled since: then nothing is released. And how often it was counted on.

Both are single facts. Every hand-out reads the first in its own transaction, so who sets it excludes all others.
"""

from typing import NamedTuple

import orjson

from hub.core.errors import HubError, Kind
from hub.store.engine import IDS, Tx
from hub.store.operations import fact, newest_us, put_fact

QUARANTINE = "quarantine"
NUMBERS = "numbers"
BEATS = "beats"  # how often the store and the marks beside the key have agreed; behind them, it is an older copy
REMEDY = "`hub restore reconcile` shows what was lost and done since, does again what must be, and lets go on."


class Quarantine(NamedTuple):
    """Why nothing is released, and since when."""

    since_us: int
    why: str  # a code of WHY
    known_us: int  # the store's newest entry then: what was done after it, and until `since_us`, is in doubt


WHY = {
    "restored": "the store was restored from a backup",
    "older": "the store is older than what this hub has given out",
    "marks-missing": "the marks beside the key are gone: nobody can say whether this store is the newest",
    "moved": "a standby took over, and it may lack what was committed last",
    "elsewhere": "another database server answers than before, and it may lack what was committed last",
}

WEIGHT = ("marks-missing", "restored", "older", "elsewhere", "moved")  # a heavier reason takes a lighter one's place


def quarantine(tx: Tx) -> Quarantine | None:
    """Read it; None where all is well."""
    said = fact(tx, QUARANTINE)
    return Quarantine(**orjson.loads(said)) if said else None


def enter(tx: Tx, why: str, now_us: int) -> bool:
    """Release nothing any more; returns whether that is news. The transaction excludes all others."""
    assert tx.alone, "a hand-out could commit beside it"
    held = quarantine(tx)
    if held is not None and (held.why == why or WEIGHT.index(held.why) <= WEIGHT.index(why)):
        return False
    found = held._replace(why=why) if held is not None else Quarantine(now_us, why, newest_us(tx))
    put_fact(tx, QUARANTINE, orjson.dumps(found._asdict()).decode())
    return True


def lift(tx: Tx) -> None:
    assert tx.alone, "a hand-out could rely on the rows before"
    tx.run("DELETE FROM fact WHERE name = ?", (QUARANTINE,))


def beats(tx: Tx) -> int:
    return int(fact(tx, BEATS) or 0)


def put_beats(tx: Tx, count: int) -> None:
    put_fact(tx, BEATS, str(count))


def refuse_quarantined(tx: Tx) -> None:
    """Let nothing be handed out or decided of a store that may have forgotten. Raises HubError(UNAVAILABLE)."""
    if fact(tx, QUARANTINE) or not tx.outside.trusts(tx.origin()):
        raise quarantined()


def quarantined() -> HubError:
    return HubError(
        Kind.UNAVAILABLE,
        "the hub was restored and is being checked; nothing is released meanwhile",
        remedy="Nothing is lost by waiting; pull again later.",
        code="quarantined",
    )


def skip(tx: Tx, given_out: dict[str, int]) -> None:
    """Go on with numbers beyond all that may have been given out: of ids, and of each recipient's deliveries."""
    for table in IDS:
        if given_out.get(table, 0):
            tx.skip(table, given_out[table])
    for name, upto in given_out.items():
        kind, _, recipient = name.partition(" ")
        if kind == NUMBERS:
            tx.run(
                "INSERT INTO recipient_counter(recipient, number) VALUES (?, ?) ON CONFLICT(recipient) DO UPDATE"
                " SET number = excluded.number WHERE recipient_counter.number < excluded.number",
                (int(recipient), upto),
            )


def numbers_of(recipient: int) -> str:
    """Name a recipient's running numbers, as `Outside.reserve` knows them."""
    return f"{NUMBERS} {recipient}"

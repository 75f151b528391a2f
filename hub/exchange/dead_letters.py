"""Dead letters: events whose decision met a defect. Each stops its own (publisher, dataset, person) and nobody else.

An operator sees which class of failure it was and how many wait behind; never a payload, nor whom it is about. Tried
again, an event takes its turn: it passes no earlier one. Discarded, its publisher is told and the chain goes on. What
nobody looks after ends by itself when its time to wait is over (`hub/exchange/expiry.py`).
"""

from typing import Any

from cryptography.exceptions import InvalidTag

from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.exchange.feed import rfc3339
from hub.exchange.notices import Unheard, tell_unheard
from hub.exchange.world import World
from hub.identity.ring import act_salt
from hub.metrics import Metrics
from hub.store.audit import add_act
from hub.store.dead_letters import LetterRow, letter_by_number, letters, stopped_letters, try_again
from hub.store.engine import Tx
from hub.store.waiting import settle

REASONS = ("duplicate", "wrong-data", "publisher-will-resend", "defect-known")
SHOWN = 1_000  # at once; the rest is seen when these are dealt with
US = 1_000_000
US_PER_HOUR = 3_600 * US
FORM = "form"  # the event could not be taken apart at all


def class_of(error: Exception) -> str:
    """Name the class of a failure: a closed set, and never a value. A log line has the exception's place."""
    if isinstance(error, InvalidTag):
        return "seal"  # a sealed value does not open with its key
    if isinstance(error, LookupError | ValueError | TypeError | AttributeError | ArithmeticError):
        return "data"  # a value has another form than the code thought
    return "defect"


def listed(world: World) -> list[dict[str, Any]]:
    """Say what is known of each open dead letter, oldest first."""
    with world.store.read() as tx:
        rows = letters(tx, SHOWN)
    return [_shown(world, row) for row in rows]


def shown(world: World, number: int) -> dict[str, Any]:
    """Say what is known of one. Raises HubError(NOT_FOUND)."""
    with world.store.read() as tx:
        return _shown(world, _found(tx, number))


def retry(world: World, number: int | None) -> list[dict[str, Any]]:
    """Let the gate decide a dead letter again, or all (None); returns them. Raises HubError(NOT_FOUND).

    One that stands behind an earlier one waits for its turn; one that fails again is a dead letter again.
    """

    def transaction(tx: Tx) -> list[LetterRow]:
        rows = letters(tx, SHOWN) if number is None else [_found(tx, number)]
        rows = [row for row in rows if row.stopped]
        try_again(tx, [row.waiting for row in rows])
        for row in rows:
            _record(world, tx, row, {"act": "retried"})
        return rows

    return [_shown(world, row) for row in world.store.write(transaction)]


def discard(world: World, number: int, reason: str) -> dict[str, Any]:
    """End a dead letter undecided, and tell its publisher; what waits behind it goes on.

    Raises HubError: NOT_FOUND, INVALID (no such reason), CONFLICT (it is being tried again).
    """
    if reason not in REASONS:
        raise HubError(
            Kind.INVALID,
            "a dead letter is discarded for one of a few reasons, and this is none of them",
            where="reason",
            remedy=f"Name one of {', '.join(REASONS)}.",
            code="dead-letter-reason",
        )
    return _shown(world, world.store.write(lambda tx: _discard(world, tx, number, reason)))


def measure_letters(metrics: Metrics, tx: Tx, now_us: int) -> None:
    """Bring their gauges up to date."""
    count, since_us = stopped_letters(tx)
    metrics.dead_letters.set(count)
    metrics.oldest_dead_letter_s.set((now_us - since_us) / US if count else 0)


def letters_status(tx: Tx, now_us: int, alarm_h: int) -> dict[str, Any]:
    """Say for `hub status` how many there are, and raise the alarm where one is older than `alarm_h` hours."""
    count, since_us = stopped_letters(tx)
    late = count and now_us - since_us >= alarm_h * US_PER_HOUR
    alarm = {
        "what": f"a dead letter stands still for more than {alarm_h} h, and a person's later events behind it",
        "remedy": "See `hub deadletters list`; retry it after an update, or discard it.",
    }
    return {"dead_letters": count, "alarms": [alarm] if late else []}


def _discard(world: World, tx: Tx, number: int, reason: str) -> LetterRow:
    row, now_us = _found(tx, number), world.clock()
    if not row.stopped:
        raise HubError(
            Kind.CONFLICT,
            "this event is being tried again",
            where=f"dead letter {number}",
            remedy="See what becomes of it: `hub deadletters list`.",
            code="dead-letter-trying",
        )
    settle(tx, [row.waiting])
    audit = _record(world, tx, row, {"act": "discarded", "reason": reason})
    tx.insert("event_unheard(event, failed, at_us)", [(row.event, 1, now_us)], or_ignore=True)
    names = {dataset.number: dataset.name for dataset in world.datasets.values()}
    unheard = Unheard(row.publisher, names.get(row.dataset, ""), failed=True, events=[row.event], reason=reason)
    tell_unheard(world, tx, unheard, audit=audit, now_us=now_us)
    return row


def _found(tx: Tx, number: int) -> LetterRow:
    row = letter_by_number(tx, number)
    if row is None:
        raise HubError(
            Kind.NOT_FOUND,
            "there is no open dead letter of this number",
            where=f"dead letter {number}",
            remedy="It was decided, discarded or has expired; `hub deadletters list` shows what is open.",
            code="dead-letter-unknown",
        )
    return row


def _record(world: World, tx: Tx, row: LetterRow, said: dict[str, Any]) -> int:
    """Put an act on record. Its detail is in the clear: it is about an event's failure, and names no person."""
    about = {"class": row.code, "dataset": row.dataset, "letter": row.number, "publisher": row.publisher}
    return add_act(
        tx, LeafKind.DEAD_LETTER, {**said, **about}, at_us=world.clock(), salt=act_salt(world.keys), name=row.event
    )


def _shown(world: World, row: LetterRow) -> dict[str, Any]:
    agencies = {agency.number: agency.code for agency in world.catalogue.agencies.values()}
    names = {dataset.number: dataset.name for dataset in world.datasets.values()}
    return {
        "number": row.number,
        "publisher": agencies.get(row.publisher, f"agency {row.publisher}"),
        "dataset": names.get(row.dataset, f"dataset {row.dataset}"),
        "class": row.code,
        "state": "stopped" if row.stopped else "trying",
        "attempts": row.attempts,
        "since": rfc3339(row.since_us),
        "last": rfc3339(row.last_us),
        "deadline": rfc3339(row.until_us),
        "ahead": row.ahead,
        "behind": row.behind,
    }

"""What is kept how long, and letting go of what is over: the same for the worker's rounds and an operator's command.

Each class in pieces, each piece in one transaction, so that nobody waits long. What is let go is gone: its key is
destroyed, or its bytes are overwritten; ids and audit rows stay, for they name nobody.
"""

from collections.abc import Callable
from time import sleep
from typing import Any, NamedTuple

from hub.exchange.asked import asked_freely
from hub.exchange.expiry import PIECE, expire_held, expire_waiting
from hub.exchange.world import World
from hub.identity.day_keys import US_PER_DAY, DayKeys
from hub.identity.kept_forms import forget_forms
from hub.identity.one_time_codes import HOUR_US, forget_codes
from hub.ports import Clock
from hub.settings import Settings
from hub.store.asks_over import forget, left_to_forget, next_over
from hub.store.audit import Salt
from hub.store.delivered import empty, left_to_empty, next_to_empty, note_emptied
from hub.store.engine import Store, Tx
from hub.store.operations import record

RECORDS = 500  # of the bus per piece
PAUSE_S = 0.02  # between two pieces: a thread that writes without a pause would double everybody's wait for the writer
NAMES = ("intake", "day-keys", "waiting", "held", "sessions", "forms", "codes", "delivered", "asks")
SHORTEST_DAYS = 2  # a key ends with a whole day: after fewer, an event of a minute before midnight might go undecided


class Class(NamedTuple):
    """One class of what is kept. `over` counts what is over now, `drop` lets one piece of it go and says how many."""

    name: str
    period: str
    why: str
    piece: int
    over: Callable[[], int]
    drop: Callable[[], int]


class Kept(NamedTuple):
    """What retention works on."""

    settings: Settings
    store: Store
    world: World
    day_keys: DayKeys
    decided: Callable[[], int]
    drop_decided: Callable[[int], int]
    clock: Clock
    salt: Salt


def classes(kept: Kept) -> tuple[Class, ...]:
    """List them, with the periods of the settings in force."""
    days, now_us, store = kept.settings, kept.clock, kept.store
    keep_days = max(days.intake_retention_days, SHORTEST_DAYS)
    delivered_us = days.delivered_days * US_PER_DAY

    def count(sql: str, *values: int) -> int:
        with store.read() as tx:
            row = tx.one(f"SELECT count(*) FROM {sql}", values)  # noqa: S608 - from this function only
        return int(row[0]) if row else 0

    def first_day() -> int:
        return now_us() // US_PER_DAY - keep_days + 1

    def deliver_before_us() -> int:
        return now_us() - delivered_us

    def over_asks() -> int:
        with store.read() as tx:
            return left_to_forget(tx, deliver_before_us(), asked_freely(kept.world))

    def over_delivered() -> int:
        with store.read() as tx:
            return left_to_empty(tx, deliver_before_us())

    return (
        Class(
            "intake", "until decided", "What is decided is not read again.", RECORDS,
            kept.decided, lambda: kept.drop_decided(RECORDS),
        ),
        Class(
            "day-keys", f"{keep_days} days (HUB_INTAKE_RETENTION_DAYS)",
            "An erased person's intake, and copies of it, are unreadable after a week at the latest.", PIECE,
            lambda: count("day_key WHERE day < ? AND key IS NOT NULL", first_day()),
            lambda: kept.day_keys.destroy_before(first_day()),
        ),
        Class(
            "waiting", f"{days.waiting_days} days (HUB_WAITING_DAYS)",
            "Long enough for a register to link a person; its publisher is told when an event was never heard.", PIECE,
            lambda: count("waiting WHERE until_us <= ?", now_us()), lambda: expire_waiting(kept.world),
        ),
        Class(
            "held", "the look-back of its agreement", "What nobody consented to in time goes to nobody.", PIECE,
            lambda: count("queue WHERE state = 2 AND due_us <= ?", now_us()), lambda: expire_held(kept.world),
        ),
        Class(
            "sessions", f"{days.session_hours} hours (HUB_SESSION_HOURS)", "A sign-in ends, used or not.", PIECE,
            lambda: count("session WHERE expires_us <= ?", now_us()), lambda: _end_sessions(store, now_us()),
        ),
        Class(
            "forms", "30 minutes", "What was filled in waits for its person to sign in again, no longer.", PIECE,
            lambda: count("kept_form WHERE expires_us <= ?", now_us()),
            lambda: forget_forms(store, now_us(), PIECE),
        ),
        Class(
            "codes", "an hour", "Ten minutes of use; then only how many there were, so that nobody gets too many.",
            PIECE,
            lambda: count("one_time_code WHERE window_us <= ? AND expires_us <= ?", now_us() - HOUR_US, now_us()),
            lambda: forget_codes(store, now_us(), PIECE),
        ),
        Class(
            "delivered", f"{days.delivered_days} days after it was decided (HUB_DELIVERED_DAYS)",
            "The recipient has it and the hub is no archive; ids stay, for corrections and for the person's history.",
            PIECE, over_delivered,
            lambda: empty_delivered(kept),
        ),
        Class(
            "asks", f"{days.delivered_days} days after it was closed (HUB_DELIVERED_DAYS)",
            "Who asked what about whom is in the person's history; an id that somebody may name again stays.",
            PIECE, over_asks, forgetting(lambda: kept),
        ),
    )  # fmt: skip


def run(chosen: Class, *, told: Callable[[int], None] = lambda _gone: None, pause_s: float = PAUSE_S) -> int:
    """Let go all of one class that is over; `told` hears after each piece how many are gone."""
    gone = 0
    while piece := chosen.drop():
        gone += piece
        told(gone)
        if piece < chosen.piece:
            break
        sleep(pause_s)
    return gone


def run_recorded(kept: Kept, names: tuple[str, ...], *, dry_run: bool) -> list[dict[str, Any]]:
    """Run the classes of these names, all where none is named, and record the operator's act; or only count."""
    found: list[dict[str, Any]] = []
    for one in classes(kept):
        if not names or one.name in names:
            over = one.over()
            gone = 0 if dry_run else run(one)
            found.append({"class": one.name, "period": one.period, "why": one.why, "over": over, "gone": gone})
    if not dry_run:
        said: dict[str, object] = {"act": "retention", "gone": {one["class"]: one["gone"] for one in found}}
        kept.store.write(lambda tx: record(tx, said, now_us=kept.clock(), salt=kept.salt))
    return found


def _end_sessions(store: Store, now_us: int) -> int:
    return store.write(
        lambda tx: tx.run(
            "DELETE FROM session WHERE token IN (SELECT token FROM session WHERE expires_us <= ? LIMIT ?)",
            (now_us, PIECE),
        )
    )


def empty_piece(store: Store, before_us: int, now_us: int, salt: Salt) -> int:
    """Empty one piece of what was delivered long ago, with its audit row: it is the one thing that is overwritten."""
    ids = next_to_empty(store, before_us, PIECE)

    def transaction(tx: Tx) -> int:
        gone = empty(tx, ids) if ids else 0
        if len(ids) < PIECE:
            note_emptied(tx, before_us)
        if gone:
            record(tx, {"act": "retention", "class": "delivered", "count": gone}, now_us=now_us, salt=salt)
        return gone

    return store.write(transaction)


def empty_delivered(kept: Kept) -> int:
    """Empty one piece by the settings in force."""
    now_us = kept.clock()
    return empty_piece(kept.store, now_us - kept.settings.delivered_days * US_PER_DAY, now_us, kept.salt)


def forgetting(kept: Callable[[], Kept]) -> Callable[[], int]:
    """Make what forgets one piece of the asks that ended long ago, from where the piece before it ended."""
    after = 0

    def piece() -> int:
        nonlocal after
        of = kept()
        now_us, freely = of.clock(), asked_freely(of.world)
        before_us = now_us - of.settings.delivered_days * US_PER_DAY
        with of.store.read() as tx:
            ids = next_over(tx, before_us, freely, after=after, limit=PIECE)
        after = ids[-1] if len(ids) == PIECE else 0
        if not ids:
            return 0

        def transaction(tx: Tx) -> int:
            gone = forget(tx, ids, before_us, freely)
            record(tx, {"act": "retention", "class": "asks", "count": gone}, now_us=now_us, salt=of.salt)
            return gone

        return of.store.write(transaction)

    return piece


def once_a_day(clock: Clock, piece: Callable[[], int]) -> Callable[[], int]:
    """Make a step of the worker's: piece by piece, then quiet until the next day."""
    done = 0

    def step() -> int:
        nonlocal done
        today = clock() // US_PER_DAY
        if done == today:
            return 0
        gone = piece()
        if gone < PIECE:
            done = today
        return gone

    return step

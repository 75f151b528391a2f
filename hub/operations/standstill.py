"""Whether releases stand still, since when and why, and what that means: one paragraph for three in the morning."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from hub.core.agreement import Catalogue
from hub.core.errors import HubError
from hub.ports import Behind, Clock
from hub.settings import INTAKE_RETENTION_MOST_DAYS, Settings
from hub.store.engine import Store
from hub.store.operations import last_opened, outlet, ready_oldest

US = 1_000_000
DAY_S = 86_400
RATE_AFTER_S = 20  # before that a growth of the disk's use is chance


class Reason(NamedTuple):
    """What keeps releases from going on. `since_us`: where it is known better than by having looked; else 0."""

    what: str
    since_us: int = 0


@dataclass(frozen=True, slots=True)
class Standstill:
    """Releases stand still: since when, why now, and how much room there was when it began."""

    since_us: int
    why: str
    free_bytes: int


class Waiting(NamedTuple):
    """What waits meanwhile. `opened_us`: when something left last; -1 where the store cannot say."""

    unsent: int
    oldest_s: int
    opened_us: int


class Watch:
    """Looks at the reasons again and again. What it saw is read from any thread."""

    def __init__(self, reasons: Callable[[], Sequence[Reason]], settings: Settings, clock: Clock) -> None:
        self._reasons, self._settings, self._clock = reasons, settings, clock
        self._seen: Standstill | None = None

    def look(self) -> Standstill | None:
        """Look once. The first reason is told; it stands still since the first look that found any."""
        reasons, seen = self._reasons(), self._seen
        if not reasons:
            self._seen = None
        elif seen is None:
            since_us = reasons[0].since_us or self._clock()
            self._seen = Standstill(since_us, reasons[0].what, free_bytes(self._settings))
        else:
            self._seen = Standstill(seen.since_us, reasons[0].what, seen.free_bytes)
        return self._seen


def waiting(store: Store, catalogue: Catalogue, behind: Behind, now_us: int) -> Waiting:
    """Count what is accepted and has not left: events that are not decided, and deliveries that are ready."""
    recipients = [one.number for one in catalogue.agencies.values()]
    try:
        with store.read() as tx:
            ready = sum(outlet(tx, one).ready for one in recipients)
            ready_us, opened_us = ready_oldest(tx, recipients), last_opened(tx, recipients)
    except HubError:
        return Waiting(behind.records, behind.oldest_s, -1)
    ready_s = max(0, (now_us - ready_us) // US) if ready_us else 0
    return Waiting(behind.records + ready, max(behind.oldest_s, ready_s), opened_us)


def full_s(settings: Settings, stands: Standstill, behind: Behind, free: int, now_us: int) -> int:
    """Estimate after how many seconds intake loses what waits, or takes no more; `free` bytes are left on the disk.

    What is not decided within the intake's retention is dropped by Kafka, and its key destroyed. Where the intake lies
    on this machine the disk may be full before that, if its use grows on as since the beginning.
    """
    kept_s = min(settings.intake_retention_days, INTAKE_RETENTION_MOST_DAYS) * DAY_S
    left_s = max(0, kept_s - behind.oldest_s)
    passed_s = (now_us - stands.since_us) / US
    if settings.bus == "kafka" or settings.on_postgres or passed_s < RATE_AFTER_S:
        return left_s
    used_per_s = (stands.free_bytes - free) / passed_s
    return min(left_s, int(free / used_per_s)) if used_per_s > 0 else left_s


def sentence(
    stands: Standstill, waits: Waiting, *, full_in_s: int, obstacles: Sequence[dict[str, str]], now_us: int
) -> str:
    """Say all of it in words."""
    if waits.opened_us < 0:
        nothing = "Nothing is lost."
    elif waits.opened_us < stands.since_us:
        nothing = "Nothing released or lost."
    else:
        nothing = f"Nothing is lost; what had been decided before left until {_at(waits.opened_us, now_us)}."
    if waits.unsent:
        queue = f"{waits.unsent:,} waiting, oldest {_long(waits.oldest_s)}; intake full in about {_long(full_in_s)}."
    else:
        queue = f"Nothing is waiting; intake would be full in about {_long(full_in_s)}."
    restart = f"Do not restart: {obstacles[0]['what']}." if obstacles else "Restart is safe."
    return f"Releases paused since {_at(stands.since_us, now_us)}: {stands.why}. {nothing} {queue} {restart}"


def free_bytes(settings: Settings) -> int:
    return shutil.disk_usage(settings.data_dir).free


def _at(at_us: int, now_us: int) -> str:
    at, now = (datetime.fromtimestamp(us / US, UTC) for us in (at_us, now_us))
    return (
        at.strftime("%H:%M UTC" if at.date() == now.date() else "%Y-%m-%d %H:%M UTC") if at_us else "an unknown moment"
    )


def _long(seconds: int) -> str:
    for unit, size in (("days", DAY_S), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"

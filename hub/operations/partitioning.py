"""Keep PostgreSQL's partitions ahead of time, and give back the room of those that were emptied."""

from collections.abc import Callable
from time import monotonic

from hub.operations.findings import Finding, passed, warn
from hub.settings import Settings
from hub.store.engine import Store, Tx
from hub.store.partitions import SHORT_DAYS, ahead_days, make_ahead, partitions, renew

EVERY_S = 3_600.0  # partitions are made weeks ahead: whoever was in the way once is not in the way all day


def partitioning(settings: Settings, store: Store) -> Callable[[], int]:
    """Make a step of the retention worker's: at the start and once an hour; 0 where nothing is left to do for now.

    The hour is the machine's: partitions follow PostgreSQL's clock and not the hub's.
    """
    days, due_s = settings.store_partition_days, 0.0

    def step() -> int:
        nonlocal due_s
        if not settings.on_postgres or monotonic() < due_s:
            return 0
        made = make_ahead(store, days, ahead_days(days))
        renewed = renew(store) if made >= 0 else 0
        if not renewed:
            due_s = monotonic() + EVERY_S
        return renewed

    return step


def look(tx: Tx) -> Finding:
    """Say whether every partition is there, and nothing lies where none was."""
    found = partitions(tx)
    row = tx.one("SELECT today()")
    assert row is not None
    strays = [one.table for one in found if one.stray_day is not None]
    short = [one.table for one in found if one.until_day < row[0] + SHORT_DAYS]
    run = "Have the retention part of a hub run: it makes them ahead; its log says what is in the way."
    if short:
        return warn("partitions", f"none is made ahead for {', '.join(short)}", run)
    if strays:
        lost = "Nothing is lost, and what is there stays; it cannot be moved by itself."
        return warn("partitions", f"some of {', '.join(strays)} came when no partition was there for it", lost)
    return passed("partitions", f"made until {min(one.until_day for one in found) - row[0]} days from now")

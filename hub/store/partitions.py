"""PostgreSQL's partitions by time: audit rows, deliveries, and the persons' index of audit rows. SQLite has none.

Ids of a day begin at the day's number times 2^38 (`draw` in `migrations/postgres_functions.sql`), so what is
partitioned by ids is partitioned by days. The hub's role may make no table, change none and drop none; the functions
below run as the schema's owner and look for themselves whether what they do is due. No row is ever dropped by
them.
`event_seen` is in one piece for good: its key has to be unique over all time, and a correction looks far back.
Measured, in turns with plain tables: COPY of a batch's rows into these three takes 4 % more of the server's processor,
with 100 partitions as with 5, and the gate as a whole no more that was seen. A hand-out joins its queue with those that
are not before its first delivery (`hub/exchange/choose.py`): with 59 it takes as much of the server's processor as with
5, some 0.85 ms a look; joined with all it was 1.05 to 1.25. They are few all the same: a quarter of a year each.
"""

from typing import NamedTuple

from hub.store.engine import Fences, Store, Tx

NO_FENCES = Fences()  # relies on nothing: whoever excludes all others waits for a few ms of this
RENEW_ROWS = 5_000  # copied in one piece: some 50 ms
SHORT_DAYS = 3  # less than this ahead, and retention has not run for long


def ahead_days(days: int) -> int:
    """Say how far ahead partitions of so many days are made: two whole ones at least, and never less than a week."""
    return 2 * days + 7


class Partitioned(NamedTuple):
    """How far a table's partitions reach: days since 1970. `stray_day`: the last of what is in none; None: nothing."""

    table: str
    until_day: int
    stray_day: int | None


def make_ahead(store: Store, days: int, ahead_days: int) -> int:
    """Make the partitions that will be needed; returns how many. -1: somebody was in the way, so another time."""
    return _called(store, "SELECT make_partitions(?, ?)", (days, ahead_days))


def renew(store: Store) -> int:
    """Write one piece of an emptied partition anew, and drop the old one with the last; returns how many rows."""
    return _called(store, "SELECT renew_emptied(?)", (RENEW_ROWS,))


def partitions(tx: Tx) -> list[Partitioned]:
    return [Partitioned._make(row) for row in tx.rows("SELECT parent, until_day, stray_day FROM partition_state()")]


def _called(store: Store, sql: str, values: tuple[int, ...]) -> int:
    def transaction(tx: Tx) -> int:
        row = tx.one(sql, values)
        return int(row[0]) if row else 0

    return store.write(transaction, fences=NO_FENCES)

"""A publisher's key of the day: what lies on the bus is sealed under it, and unreadable once it is destroyed."""

import threading
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.identity.keys import Keyring, new_key
from hub.store.engine import Row, Store, Tx

US_PER_DAY = 86_400_000_000
SHORTEST_DAYS = 2  # a key ends with a whole day: after fewer, an event of a minute before midnight might go undecided


class DayKeys:
    """Open day keys by (agency, day), ready for use: each seals many records.

    Makes today's and tomorrow's when first asked: midnight then needs no store.
    """

    def __init__(self, store: Store, keys: Keyring) -> None:
        self._store, self._wrapping = store, keys.wrapping
        self._open: dict[tuple[int, int], AESGCM] = {}
        self._lock = threading.Lock()

    def for_publish(self, agency: int, now_us: int) -> tuple[int, AESGCM]:
        """Return (day, key) to seal under now."""
        day = now_us // US_PER_DAY
        if (agency, day) not in self._open:
            for of, wrapped in self._store.write(lambda tx: self._ensure(tx, agency, (day, day + 1))):
                self._unwrap(agency, of, wrapped)  # after the commit: nothing is sealed under a key that is not stored
        return day, self._open[agency, day]

    def of(self, agency: int, day: int) -> AESGCM | None:
        """Return the key, or None where it was destroyed or never was."""
        with self._lock:
            known = self._open.get((agency, day))
        if known is not None:
            return known
        with self._store.read() as tx:
            row = tx.one("SELECT key FROM day_key WHERE agency = ? AND day = ?", (agency, day))
        return None if row is None or row[0] is None else self._unwrap(agency, day, row[0])

    def destroy_before(self, day: int) -> int:
        """Destroy every key of an earlier day; returns how many."""
        gone = self._store.write(
            lambda tx: tx.run("UPDATE day_key SET key = NULL WHERE day < ? AND key IS NOT NULL", (day,))
        )
        with self._lock:
            self._open = {(agency, of): key for (agency, of), key in self._open.items() if of >= day}
        return gone

    def _ensure(self, tx: Tx, agency: int, days: Sequence[int]) -> list[Row]:
        fresh = [(agency, day, self._wrapping.seal(new_key(), day_place(agency, day))) for day in days]
        for row in fresh:  # one that a clock running ahead had destroyed too early is made anew
            tx.run(
                "INSERT INTO day_key(agency, day, key) VALUES (?, ?, ?)"
                " ON CONFLICT(agency, day) DO UPDATE SET key = excluded.key WHERE day_key.key IS NULL",
                row,
            )
        return tx.rows("SELECT day, key FROM day_key WHERE agency = ? AND day IN (?, ?)", (agency, *days))

    def _unwrap(self, agency: int, day: int, wrapped: bytes) -> AESGCM:
        key = AESGCM(self._wrapping.unseal(wrapped, day_place(agency, day)))
        with self._lock:
            self._open[agency, day] = key
        return key


def day_place(agency: int, day: int) -> bytes:
    """Say what a day's wrapped key is bound to."""
    return b"day" + agency.to_bytes(4) + day.to_bytes(4)

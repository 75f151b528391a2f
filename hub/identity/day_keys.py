"""A publisher's key of the day: what lies on the bus is sealed under it, and unreadable once it is destroyed."""

import threading
from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.core.errors import HubError, Kind
from hub.identity.keys import Keyring, Wrapping, new_key
from hub.identity.local_store import LocalStore
from hub.store.engine import Fences, Row, Store, Tx
from hub.store.news import Topic, tell

US_PER_DAY = 86_400_000_000
SHORTEST_DAYS = 2  # a key ends with a whole day: after fewer, an event of a minute before midnight might go undecided
PIECE = 100  # keys made in one transaction
LOCAL = "day/"  # begins their names in the local store


class DayKeys:
    """Open day keys by (agency, day), ready for use: each seals many records.

    Today's and tomorrow's are made ahead (`prepare`), and kept in the local store as well, wrapped as the store has
    them: publishing needs no store until the day after tomorrow. A key is destroyed in both.
    """

    def __init__(self, store: Store, keys: Keyring, local: LocalStore | None = None) -> None:
        self._store, self._wrapping, self._local = store, keys.wrapping, local
        self._open: dict[tuple[int, int], AESGCM] = {}
        self._lock = threading.Lock()

    def for_publish(self, agency: int, now_us: int) -> tuple[int, AESGCM]:
        """Return (day, key) to seal under now. Raises HubError(UNAVAILABLE) where none is kept and none can be made."""
        day = now_us // US_PER_DAY
        key = self._open.get((agency, day))
        if key is None:
            try:
                self._make([(agency, day), (agency, day + 1)])
                key = self._open[agency, day]
            except HubError as error:
                wrapped = self._copy(agency, day)
                if wrapped is None:
                    raise _no_key() from error
                key = self._unwrap(agency, day, wrapped)
        return day, key

    def prepare(self, agencies: Iterable[int], now_us: int) -> int:
        """Make what publishers will seal under today and tomorrow; returns how many were not known here yet."""
        day = now_us // US_PER_DAY
        missing = [
            place for agency in agencies for place in ((agency, day), (agency, day + 1)) if place not in self._open
        ]
        for at in range(0, len(missing), PIECE):
            self._make(missing[at : at + PIECE])
        return len(missing)

    def of(self, agency: int, day: int) -> AESGCM | None:
        """Return the key, or None where it was destroyed or never was.

        One that the store does not know at all is looked for in the local store: a store that was restored from its
        backup has forgotten the keys made since, and what they sealed is still on a bus that was not restored.
        """
        with self._lock:
            known = self._open.get((agency, day))
        if known is not None:
            return known
        with self._store.read() as tx:
            row = tx.one("SELECT key FROM day_key WHERE agency = ? AND day = ?", (agency, day))
        if row is None:  # not remembered: the next publish has to see that the store lacks it
            wrapped = self._copy(agency, day)
            return None if wrapped is None else AESGCM(self._wrapping.unseal(wrapped, day_place(agency, day)))
        return None if row[0] is None else self._unwrap(agency, day, row[0])

    def destroy_before(self, day: int) -> int:
        """Destroy every key of an earlier day, in the store and here; returns how many the store had."""

        def transaction(tx: Tx) -> int:
            gone = tx.run("UPDATE day_key SET key = NULL WHERE day < ? AND key IS NOT NULL", (day,))
            if gone:
                tell(tx, Topic.DAY_KEYS)
            return gone

        gone = self._store.write(transaction)
        self.forget_before(day)
        return gone

    def forget_destroyed(self) -> None:
        """Let go here of what another process has destroyed in the store: whole days, the oldest first."""
        with self._store.read() as tx:
            row = tx.one("SELECT min(day) FROM day_key WHERE key IS NOT NULL")
        if row is not None and row[0] is not None:
            self.forget_before(row[0])

    def forget_before(self, day: int) -> None:
        """Destroy what this process has of an earlier day's keys: each process of a hub has copies of its own."""
        with self._lock:
            self._open = {(agency, of): key for (agency, of), key in self._open.items() if of >= day}
        if self._local is not None:
            for name in self._local.names(LOCAL):
                if int(name.rpartition("/")[2]) < day:
                    self._local.destroy(name)

    def _make(self, places: Sequence[tuple[int, int]]) -> None:
        """Make in the store what is not there, then keep it here: nothing is sealed under a key that is not stored."""
        fresh = [(*place, self._copy(*place) or self._wrapping.seal(new_key(), day_place(*place))) for place in places]
        rows = self._store.write(lambda tx: _ensure(tx, fresh, self._wrapping), fences=Fences())
        for agency, day, wrapped in rows:
            self._unwrap(agency, day, wrapped)
        if self._local is not None:
            try:
                self._local.put_all({_local_name(agency, day): wrapped for agency, day, wrapped in rows})
            except HubError:  # it is kept in memory; who signs in hears of the disk
                return

    def _copy(self, agency: int, day: int) -> bytes | None:
        """Return the local store's copy of a wrapped key, where it opens: a former wrapping key is gone."""
        if self._local is None:
            return None
        try:
            wrapped = self._local.get(_local_name(agency, day))
            if wrapped is not None:
                self._wrapping.unseal(wrapped, day_place(agency, day))
        except (HubError, InvalidTag):
            return None
        return wrapped

    def _unwrap(self, agency: int, day: int, wrapped: bytes) -> AESGCM:
        key = AESGCM(self._wrapping.unseal(wrapped, day_place(agency, day)))
        with self._lock:
            self._open[agency, day] = key
        return key


def _ensure(tx: Tx, fresh: Sequence[tuple[int, int, bytes]], wrapping: Wrapping) -> list[Row]:
    """Store those that are not there. Returns (agency, day, wrapped key) of each, as it stands."""
    found = []
    for agency, day, wrapped in fresh:  # one that a clock running ahead had destroyed too early is made anew
        tx.run(
            "INSERT INTO day_key(agency, day, key) VALUES (?, ?, ?)"
            " ON CONFLICT(agency, day) DO UPDATE SET key = excluded.key WHERE day_key.key IS NULL",
            (agency, day, wrapping.sound(wrapped, day_place(agency, day))),
        )
        found += tx.rows("SELECT agency, day, key FROM day_key WHERE agency = ? AND day = ?", (agency, day))
    return found


def _local_name(agency: int, day: int) -> str:
    return f"{LOCAL}{agency}/{day}"


def _no_key() -> HubError:
    return HubError(
        Kind.UNAVAILABLE,
        "there is no key to seal today's events under, and the store that keeps such keys is down",
        remedy="Send the events again later, under the same ids. The operator brings the store back.",
        code="day-key-missing",
        retry_after_s=30,
    )


def day_place(agency: int, day: int) -> bytes:
    """Say what a day's wrapped key is bound to."""
    return b"day" + agency.to_bytes(4) + day.to_bytes(4)

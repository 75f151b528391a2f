"""What the exchange works with, put together once by the composition root."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from zoneinfo import ZoneInfo

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.core.agreement import Catalogue, Dataset
from hub.exchange.clock_check import ClockCheck
from hub.exchange.verdicts import Verdicts
from hub.identity.keys import Keyring, OpenKey, OpenKeys, unseal_with
from hub.identity.people import born_place
from hub.identity.sealing import SealTo
from hub.ports import Bus, Clock
from hub.stop_flag import Stops, nothing_stopped
from hub.store.engine import Store, Tx
from hub.store.facts import scopes
from hub.way import Way


class FieldSets:
    """Interned field sets in memory: scope -> dataset -> fields. They never change, so they never go stale."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[int, dict[str, frozenset[str]]] = {0: {}}
        self._lock = threading.Lock()

    def of(self, ids: set[int]) -> Mapping[int, Mapping[str, frozenset[str]]]:
        missing = [number for number in ids if number not in self._known]
        if missing:
            with self._store.read() as tx:
                self.learn(scopes(tx, missing))
        return self._known

    def within(self, tx: Tx, ids: set[int]) -> Mapping[int, Mapping[str, frozenset[str]]]:
        """The same, where a transaction is open already."""
        missing = [number for number in ids if number not in self._known]
        if missing:
            self.learn(scopes(tx, missing))
        return self._known

    def learn(self, bodies: Mapping[int, list[list[str]]]) -> None:
        """Take in bodies as stored: a list of [dataset, field]."""
        for number, items in bodies.items():
            sets: dict[str, set[str]] = {}
            for dataset, name in items:
                sets.setdefault(dataset, set()).add(name)
            with self._lock:
                self._known[number] = {dataset: frozenset(names) for dataset, names in sets.items()}


class Shapes:
    """Interned shapes of delivery parts in memory: (role, fields)."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[str, frozenset[str]]] = {}

    def of(self, tx: Tx, ids: set[int]) -> Mapping[int, tuple[str, frozenset[str]]]:
        missing = [number for number in ids if number not in self._known]
        if missing:
            for number, body in scopes(tx, missing).items():
                self._known[number] = (body["role"], frozenset(body["fields"]))
        return self._known


@dataclass(frozen=True, slots=True)
class Limits:
    """Knobs of the exchange, from the settings."""

    batch_events: int = 200
    page: int = 500
    redeliver_us: int = 60_000_000
    outstanding: int = 20_000
    waiting_us: int = 30 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class World:
    """The exchange's own world: store, bus, policy, keys, catalogue, clock."""

    store: Store
    bus: Bus
    verdicts: Verdicts
    keys: Keyring
    open_keys: OpenKeys
    catalogue: Catalogue
    datasets: Mapping[tuple[str, int], Dataset]  # every approved version, by name and version
    clock: Clock
    zone: ZoneInfo
    field_sets: FieldSets
    day_key: Callable[[str, int], AESGCM | None]  # (publisher, day) -> the key its events of that day are sealed under
    stopped: Callable[[], Stops] = nothing_stopped  # the operator's flag file: read by every hand-out before it commits
    way: Way = field(default_factory=Way)  # who stops a release goes first
    intake: Way = field(default_factory=Way)  # who publishes waits for the gate's transaction: then it holds less
    shapes: Shapes = field(default_factory=Shapes)
    seal_to: Callable[[int], SealTo | None] = lambda _recipient: None  # the key that a recipient has payloads sealed to
    limits: Limits = field(default_factory=Limits)
    timely: ClockCheck | None = None  # whether `clock` can be believed; None: it is not looked at

    def stopped_lines(self, stops: Stops) -> frozenset[int]:
        """Number the subscriptions whose agreement, or whose provider, is stopped by name."""
        return frozenset(
            number
            for number, line in self.catalogue.subscriptions.items()
            if line.agreement.code in stops.agreements or line.agreement.provider in stops.agencies
        )


def born_of(sealed: bytes | None, person: int, key: OpenKey | None) -> date | None:
    """Open a person's date of birth; None where no register gave one, or the key is gone."""
    if sealed is None or key is None:
        return None
    return date.fromisoformat(unseal_with(key, sealed, born_place(person)).decode())


def dumps(value: object) -> bytes:
    return orjson.dumps(value)

"""What the exchange works with, put together once by the composition root."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from zoneinfo import ZoneInfo

import orjson

from hub.core.agreement import Catalogue, Dataset
from hub.exchange.verdicts import Verdicts
from hub.identity.keys import Keyring, OpenKey, OpenKeys, unseal_with
from hub.ports import Bus, Clock
from hub.store.engine import Store
from hub.store.facts import scopes


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

    def learn(self, bodies: Mapping[int, list[list[str]]]) -> None:
        """Take in bodies as stored: a list of [dataset, field]."""
        for number, items in bodies.items():
            sets: dict[str, set[str]] = {}
            for dataset, name in items:
                sets.setdefault(dataset, set()).add(name)
            with self._lock:
                self._known[number] = {dataset: frozenset(names) for dataset, names in sets.items()}


@dataclass(frozen=True, slots=True)
class Limits:
    """Knobs of the exchange, from the settings."""

    batch_events: int = 200
    batch_s: float = 0.05
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
    day_key: Callable[[str, int], bytes | None]  # (publisher, day) -> the key its events of that day are sealed under
    limits: Limits = field(default_factory=Limits)


def born_of(sealed: bytes | None, person: int, key: OpenKey | None) -> date | None:
    """Open a person's date of birth; None where no register gave one, or the key is gone."""
    if sealed is None or key is None:
        return None
    return date.fromisoformat(unseal_with(key, sealed, born_place(person)).decode())


def born_place(person: int) -> bytes:
    """Return what a sealed date of birth is bound to."""
    return b"born" + person.to_bytes(8)


def link_place(agency: int, person: int) -> bytes:
    """Return what a sealed local id is bound to."""
    return b"link" + agency.to_bytes(4) + person.to_bytes(8)


def dumps(value: object) -> bytes:
    return orjson.dumps(value)

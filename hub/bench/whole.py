"""A hub's parts in this process, over a fresh store: what a benchmark measures when it is not the doors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hub.bench.measure import Sizes
from hub.bench.synthetic import Synthetic, assemble, build, catalogue
from hub.bus.embedded import EmbeddedBus
from hub.engines import COMPILED
from hub.identity.keys import Keyring
from hub.interpreter import settle_in
from hub.policy.embedded import EmbeddedPolicy
from hub.store.engine import Store
from hub.store.migrate import ensure
from hub.store.sqlite import SqliteStore

if TYPE_CHECKING:  # what is embedded needs no clients of engines
    from hub.bench.engines import Engines, Room


@contextmanager
def fresh(
    directory: Path,
    sizes: Sizes,
    *,
    store: Callable[[Path], Store] = SqliteStore,
    people: int | None = None,
    keys: Keyring | None = None,
) -> Iterator[Synthetic]:
    """Make a store with the synthetic world in it, and close it afterwards. `directory` must not be there yet."""
    directory.mkdir(parents=True)
    path = directory / "hub.sqlite"
    ensure(path)
    settle_in()  # as `hub serve` does
    opened = store(path)
    try:
        yield build(
            opened,
            people=people or sizes.people,
            seed=sizes.seed,
            policy=lambda papers: EmbeddedPolicy(papers, COMPILED),
            bus=EmbeddedBus,
            keys=keys,
        )
    finally:
        opened.close()


@contextmanager
def filled(
    room: "Room", sizes: Sizes, *, people: int | None = None, keys: Keyring | None = None
) -> Iterator[Synthetic]:
    """Make the synthetic world in a room of the real engines, open until the block ends; what it holds stays."""
    papers = catalogue()
    room.prepare(papers)
    settle_in()
    store = room.open_store()
    bus = room.open_bus(store, papers)
    try:
        made = build(
            store, people=people or sizes.people, seed=sizes.seed, policy=room.open_policy, bus=lambda _: bus, keys=keys
        )
        room.tidy()
        yield made
    finally:
        bus.close()
        store.close()


@contextmanager
def over(engines: "Engines | None", directory: Path, sizes: Sizes, *, people: int | None = None) -> Iterator[Synthetic]:
    """Make the world over real engines where there are any, else over a store in `directory`."""
    if engines is None:
        with fresh(directory, sizes, people=people) as made:
            yield made
        return
    with engines.room() as room, filled(room, sizes, people=people) as made:
        yield made


@contextmanager
def reopened(room: "Room", sizes: Sizes, keys: Keyring, *, people: int | None = None) -> Iterator[Synthetic]:
    """Open a room whose world was made before, by this process or another."""
    papers = catalogue()
    settle_in()
    store = room.open_store()
    bus = room.open_bus(store, papers)
    try:
        yield assemble(
            store, papers, room.open_policy(papers), bus, keys, people=people or sizes.people, seed=sizes.seed
        )
    finally:
        bus.close()
        store.close()

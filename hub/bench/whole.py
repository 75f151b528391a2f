"""A hub's parts in this process, over a fresh store: what a benchmark measures when it is not the doors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hub.bench.measure import Sizes
from hub.bench.synthetic import Synthetic, build
from hub.bus.embedded import EmbeddedBus
from hub.identity.keys import Keyring
from hub.interpreter import settle_in
from hub.policy.embedded import EmbeddedPolicy
from hub.store.engine import Store
from hub.store.migrate import ensure
from hub.store.sqlite import SqliteStore

COMPILED = Path("policies/compiled")


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

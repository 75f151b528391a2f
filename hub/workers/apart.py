"""What other parts need of retention's work, where retention is another process.

Keys of the day: each process that publishes or decides has copies of its own, made ahead and destroyed in time.
Backfill that ends: it needs to know how far the bus is decided, which the gate's process alone may ask.
"""

from collections.abc import Callable
from threading import Event

from hub.exchange.let_go import CHAINS, LetGo
from hub.exchange.world import World
from hub.identity.day_keys import SHORTEST_DAYS, US_PER_DAY, DayKeys
from hub.logs import Log
from hub.workers.retention import PAUSE_S, PIECES, ROUND_S, publishers
from hub.workers.worker import Worker


class OwnKeys:
    """Keeps this process's copies of the keys of the day."""

    def __init__(self, world: Callable[[], World], day_keys: DayKeys, *, keep_days: int) -> None:
        self._world, self._day_keys, self._keep_days = world, day_keys, max(keep_days, SHORTEST_DAYS)
        self._cleared_day = 0

    def step(self, _stop: Event) -> float:
        """Make ahead what is missing; once a day destroy what is over. Raises HubError(UNAVAILABLE)."""
        world = self._world()
        self._day_keys.prepare(publishers(world), world.clock())
        today = world.clock() // US_PER_DAY
        if today != self._cleared_day:
            if world.timely is not None:
                world.timely.require()  # by a wrong clock copies would go that a restored store may need
            self._day_keys.forget_before(today - self._keep_days + 1)
            self._cleared_day = today
        return ROUND_S


class LettingGo:
    """Lets go what stands behind backfill, where the lease of it is this process's."""

    def __init__(self, world: Callable[[], World], mine: Callable[[], bool]) -> None:
        self._world, self._mine, self._let_go = world, mine, LetGo()

    def step(self, stop: Event) -> float:
        """Go on while there are whole pieces, as retention does."""
        for _ in range(PIECES):
            if not self._mine() or self._let_go.step(self._world()) < CHAINS or stop.wait(PAUSE_S):
                break
        return ROUND_S


def day_key_worker(world: Callable[[], World], day_keys: DayKeys, *, keep_days: int, log: Log) -> Worker:
    """Make the thread, unstarted."""
    return Worker("day-keys", OwnKeys(world, day_keys, keep_days=keep_days).step, log=log)


def let_go_worker(world: Callable[[], World], mine: Callable[[], bool], log: Log) -> Worker:
    """Make the thread, unstarted."""
    return Worker("let-go", LettingGo(world, mine).step, log=log)

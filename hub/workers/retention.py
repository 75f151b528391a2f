"""The thread that lets go what is over: day keys, decided records, events never linked, deliveries held too long.

And writes down the end of consents and questions whose time is over, lets go what stands behind backfill, wraps anew
what a former wrapping key wrapped, and makes PostgreSQL's partitions ahead of their time.
"""

from collections.abc import Callable, Collection
from threading import Event

from hub.citizens.desk import CitizenDesk
from hub.citizens.endings import AT_ONCE, end_overdue
from hub.exchange.asked import expire_asks
from hub.exchange.erase_rest import finish_erasures
from hub.exchange.expiry import PIECE, expire_held, expire_waiting
from hub.exchange.let_go import CHAINS, LetGo, forget_backfilled
from hub.exchange.world import World
from hub.identity.day_keys import SHORTEST_DAYS, US_PER_DAY, DayKeys
from hub.identity.kept_forms import forget_forms
from hub.identity.one_time_codes import forget_codes
from hub.identity.used_assertions import forget_used
from hub.identity.wrapping import wrap_anew
from hub.logs import Log
from hub.workers.worker import Worker

ROUND_S = 1.0
PAUSE_S = 0.02  # between two pieces: a thread that writes without a pause would double everybody's wait for the writer
RECORDS = 500  # of the bus per piece
PIECES = 200  # of one kind per round; the rest comes in the next


class Retention:
    """One round a second. Each kind in small pieces, so that nobody waits long for the store."""

    def __init__(
        self,
        world: Callable[[], World],
        desk: Callable[[], CitizenDesk],
        *,
        day_keys: DayKeys,
        drop_decided: Callable[[int], int],
        keep_days: int,
        log: Log,
        delivered: Callable[[], int] = lambda: 0,
        asked: Callable[[], int] = lambda: 0,
        partitions: Callable[[], int] = lambda: 0,
        mine: Callable[[], bool] = lambda: True,
        apart: Collection[str] = (),
    ) -> None:
        """`delivered` empties a piece of what was delivered long ago, and says how many; `asked` forgets old asks so.

        `drop_decided(n)` lets the bus forget up to n records behind its position, and says how many; `partitions` goes
        once over PostgreSQL's, piece by piece. Where there are several processes `mine` says whether this one does it,
        and `apart` names what is done elsewhere.
        """
        self._mine, self._apart = mine, frozenset(apart)
        self._world, self._desk, self._log = world, desk, log
        self._day_keys, self._drop_decided = day_keys, drop_decided
        self._delivered, self._asked, self._partitions = delivered, asked, partitions
        self._keep_days = max(keep_days, SHORTEST_DAYS)
        self._cleared_day, self._let_go = 0, LetGo()

    def step(self, stop: Event) -> float:
        """Go once over everything; returns the pause until the next round. Raises HubError(UNAVAILABLE)."""
        world = self._world()
        if not self._mine():
            return ROUND_S
        if world.timely is not None:
            world.timely.require()  # by a wrong clock keys would be destroyed that are still needed
        today = world.clock() // US_PER_DAY
        if today != self._cleared_day:
            destroyed = self._day_keys.destroy_before(today - self._keep_days + 1)
            self._log.info("retention.daykeys", count=destroyed)
            self._cleared_day = today
        if "day-keys" not in self._apart:
            self._day_keys.prepare(publishers(world), world.clock())
        for kind, piece, drop in (
            ("records", RECORDS, lambda: self._drop_decided(RECORDS)),
            ("waiting", PIECE, lambda: expire_waiting(world)),
            ("held", PIECE, lambda: expire_held(world)),
            ("asks", PIECE, lambda: expire_asks(world)),
            ("consents", AT_ONCE, self._end_consents),
            ("erasures", 1, lambda: finish_erasures(world)),
            ("behind", CHAINS, lambda: self._let_go.step(world)),
            ("backfilled", PIECE, lambda: forget_backfilled(world, PIECE)),
            ("delivered", PIECE, self._delivered),
            ("asked", PIECE, self._asked),
            ("assertions", PIECE, lambda: forget_used(world.store, world.clock())),
            ("forms", PIECE, lambda: forget_forms(world.store, world.clock(), PIECE)),
            ("codes", PIECE, lambda: forget_codes(world.store, world.clock(), PIECE)),
            ("partitions", 1, self._partitions),
            ("wrapping", 1, lambda: wrap_anew(world.store, world.keys, world.clock, world.way)),
        ):
            gone = self._in_pieces(drop, piece, stop) if kind not in self._apart else 0
            if gone and kind not in ("records", "behind", "assertions", "wrapping", "partitions"):
                self._log.info("retention.expired", kind=kind, expired=gone)
        return ROUND_S

    def _end_consents(self) -> int:
        ended = end_overdue(self._desk())
        if ended.broken:
            self._log.error("retention.broken", count=ended.broken)
        return ended.seen

    def _in_pieces(self, drop: Callable[[], int], piece: int, stop: Event) -> int:
        """Repeat while there are whole pieces."""
        gone = 0
        for _ in range(PIECES):
            if not self._mine():
                break
            count = drop()
            gone += count
            if count < piece or stop.wait(PAUSE_S):
                break
        return gone


def publishers(world: World) -> list[int]:
    """Number the agencies that may publish: each has a key of the day."""
    return [one.number for one in world.catalogue.agencies.values() if "publish" in one.rights]


def retention_worker(
    world: Callable[[], World],
    desk: Callable[[], CitizenDesk],
    *,
    day_keys: DayKeys,
    drop_decided: Callable[[int], int],
    keep_days: int,
    log: Log,
    delivered: Callable[[], int],
    asked: Callable[[], int],
    partitions: Callable[[], int],
    mine: Callable[[], bool] = lambda: True,
    apart: Collection[str] = (),
) -> Worker:
    """Make the thread, unstarted."""
    rounds = Retention(
        world, desk, day_keys=day_keys, drop_decided=drop_decided, keep_days=keep_days, log=log, delivered=delivered,
        asked=asked, partitions=partitions, mine=mine, apart=apart,
    )  # fmt: skip
    return Worker("retention", rounds.step, log=log)

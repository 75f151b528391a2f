"""Whether the hub's clock can be believed: ages, deadlines and the ends of consents are decided by it.

It is compared with the store's own clock, where the store has one, and with the last row of the audit log, than which
it cannot be earlier. That is looked up once a second, and at once where the clock has jumped since, which the machine's
monotonic clock tells. While it is off nothing is released and nothing that is over is let go; what is published waits.
"""

from threading import Lock
from time import monotonic
from typing import NamedTuple

from hub.core.errors import HubError, Kind
from hub.ports import Clock
from hub.store.engine import Store
from hub.store.operations import newest_us

US = 1_000_000
LOOK_S = 1.0
REMEDY = "Set it by NTP, and see that NTP runs; then the hub goes on by itself. Nothing is lost meanwhile."


class _Look(NamedTuple):
    """What one look found. Both clocks were read together, so that a jump of the one shows."""

    passed_s: float  # the machine's monotonic clock
    clock_us: int
    trouble: str


class ClockCheck:
    """Shared by all who release. Safe to use from any thread."""

    def __init__(self, store: Store, clock: Clock, most_s: int) -> None:
        """`most_s`: how far it may be off, in either direction."""
        self._store, self._clock, self._most_us = store, clock, most_s * US
        self._seen: _Look | None = None
        self._looking = Lock()

    def require(self) -> None:
        """Raise HubError(UNAVAILABLE) while the clock is off, or the store cannot say."""
        if said := self._looked().trouble:
            raise _off(said)

    def require_still(self) -> None:
        """Raise HubError(UNAVAILABLE) where the clock was moved since the last look. For transactions: no I/O."""
        seen = self._seen
        if seen is not None and self._moved(seen):
            raise _off("the hub's clock was moved a moment ago")

    def trouble(self) -> str:
        """Say in words how far it is off; "" when it is not, and while the store cannot say, which says so itself."""
        try:
            return self._looked().trouble
        except HubError:
            return ""

    def _looked(self) -> _Look:
        seen = self._seen
        if seen is not None and monotonic() - seen.passed_s < LOOK_S and not self._moved(seen):
            return seen
        with self._looking:
            if self._seen is not seen and self._seen is not None:  # another has looked meanwhile
                return self._seen
            self._seen = self._look()
            return self._seen

    def _moved(self, seen: _Look) -> bool:
        passed_us = (monotonic() - seen.passed_s) * US
        return abs(self._clock() - seen.clock_us - passed_us) > self._most_us

    def _look(self) -> _Look:
        with self._store.read() as tx:
            last_us = newest_us(tx)
            before_us, store_us = self._clock(), tx.clock_us() if self._store.shared else 0
            passed_s, after_us = monotonic(), self._clock()
        return _Look(passed_s, after_us, off_by(before_us, after_us, store_us, last_us, self._most_us))


def off_by(before_us: int, after_us: int, store_us: int, last_us: int, most_us: int) -> str:
    """Say how far the clock is off, "" where it is not.

    It said `before_us`, then the store's clock was asked, then it said `after_us`. `store_us` is 0 where the store has
    no clock of its own; `last_us` is the audit log's last row.
    """
    if store_us and before_us > store_us + most_us:
        return f"the hub's clock is {_long(before_us - store_us)} ahead of the store's"
    if store_us and after_us < store_us - most_us:
        return f"the hub's clock is {_long(store_us - after_us)} behind the store's"
    if after_us < last_us - most_us:
        return f"the hub's clock is {_long(last_us - after_us)} behind the last entry of the audit log"
    return ""


def _long(us: int) -> str:
    return f"{round(us / US)} s" if us < 7_200 * US else f"{us // (3_600 * US)} h"


def _off(said: str) -> HubError:
    return HubError(Kind.UNAVAILABLE, f"{said}; nothing is released", remedy=REMEDY, code="clock-off")

"""Give way: while somebody stops a release, work that can wait stands still.

Every thread of the hub needs the interpreter lock, and gets it for one switch interval at a time. A withdrawal passes
two threads and some thirty statements, and would queue for the lock behind all who decide, hand out or take in at each
of them. They look here between two events, and leave it the machine for the few milliseconds that it takes.

The same for those who publish, in one respect: while events come in, what they wait for in the store is made shorter.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

AT_MOST_S = 0.1  # a withdrawal that takes longer waits for something else: a disk, or another withdrawal
LATELY_S = 1.0  # where one came, another may
PORTIONS = 3  # who goes first waits for the transaction that is running: then each holds a third


class Way:
    """One for the whole hub. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._free = threading.Event()
        self._free.set()
        self._stood = threading.local()
        self._last_s = -LATELY_S

    @contextmanager
    def first(self) -> Iterator[None]:
        """Go first, for as long as the block runs. Several may; they do not wait for one another here."""
        with self._lock:
            self._under_way += 1
            self._last_s = monotonic()
            self._free.clear()
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                if self._under_way == 0:
                    self._free.set()

    def portion(self, most: int) -> int:
        """Say how many of `most` rows one transaction may hold now: all, or fewer where somebody went first lately."""
        return max(1, most // PORTIONS) if monotonic() - self._last_s < LATELY_S else most

    def give(self) -> None:
        """Stand still while somebody goes first; but of its time a thread stands still for half at the most.

        Never called inside a transaction: who goes first waits for that.
        """
        if self._under_way:
            self._stand_still()

    def _stand_still(self) -> None:
        began_s = monotonic()
        if began_s < getattr(self._stood, "works_until_s", 0.0):
            return
        self._free.wait(AT_MOST_S)
        now_s = monotonic()
        self._stood.works_until_s = now_s + (now_s - began_s)

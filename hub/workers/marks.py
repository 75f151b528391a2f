"""The thread that has the store and the marks beside the key count on, and notices that the store became another one.

A promoted standby is another one. It may lack what was committed last, so nothing leaves until what the marks know was
done again: by this thread at once where only a failover lies behind, by an operator after a restore.
"""

from threading import Event
from time import monotonic

from hub.core.errors import HubError
from hub.logs import Log
from hub.operations.counted import count_on
from hub.operations.reconcile import Reconciled, reconcile
from hub.workers.worker import Worker

BEAT_S = 60.0  # what an older copy of the store may lack unnoticed, where nobody said `hub restore`
LOOK_S = 1.0  # for another server


class Counting:
    """Counts every `BEAT_S`, and at once where the store is on another server than before."""

    def __init__(self, hub: Reconciled) -> None:
        self._hub = hub
        self._next_s = monotonic() + BEAT_S

    def step(self, _stop: Event) -> float:
        """Look once; returns the pause until the next look."""
        hub = self._hub
        with hub.store.read() as tx:
            trusted = hub.marks.trusts(tx.origin())
        if trusted and monotonic() < self._next_s:
            return LOOK_S
        held = count_on(hub.store, hub.marks, clock=hub.clock, salt=hub.act_salt, log=hub.log)
        if held is not None and held.why == "moved":
            reconcile(hub)
        self._next_s = monotonic() + BEAT_S
        return LOOK_S


def marks_worker(hub: Reconciled, log: Log) -> Worker:
    """Make the thread, unstarted."""
    return Worker("marks", Counting(hub).step, log=log, expected=(HubError,))

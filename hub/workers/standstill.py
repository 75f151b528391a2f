"""The thread that notes when releases begin to stand still, and when they go on: nobody need be asking then."""

from threading import Event

from hub.logs import Log
from hub.operations.standstill import Watch
from hub.workers.worker import Worker

LOOK_S = 1.0


def standstill_worker(watch: Watch, log: Log) -> Worker:
    """Make the thread, unstarted."""
    stood = [False]

    def step(_stop: Event) -> float:
        stands = watch.look() is not None
        if stands != stood[0]:
            stood[0] = stands
            (log.warning if stands else log.info)("releases.paused" if stands else "releases.go-on")
        return LOOK_S

    return Worker("standstill", step, log=log)

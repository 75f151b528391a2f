"""The watch on a policy server: is it there, and under the hub's own revision? Known before an event needs it."""

from collections.abc import Callable
from threading import Event
from typing import Protocol

from hub.core.errors import HubError, Item
from hub.exchange.bell import Bell
from hub.logs import Log
from hub.workers.worker import Worker

PROBE_S = 2.0  # while it answers: how late its end is noticed where nothing is asked
AGAIN_S = 0.5  # while it does not


class Probed(Protocol):
    """A policy engine that can be asked for nothing."""

    def probe(self) -> None:
        """Raise HubError(UNAVAILABLE) where it would not answer under the revision in force."""


class PolicyWatch:
    """Probes the engine in force. What it found last is what `/readyz` says."""

    def __init__(self, engine: Callable[[], Probed], *, bell: Bell, log: Log) -> None:
        self._engine, self._bell, self._log = engine, bell, log
        self._trouble: Item | None = Item("the policy server was not asked yet", remedy="Wait a moment.")
        self._logged = ""

    def step(self, _stop: Event) -> float:
        """Probe once; returns the pause to the next time. Says in the log when that changed, and not each time."""
        try:
            self._engine().probe()
        except HubError as error:
            self._trouble = Item(f"nothing is decided: {error.what.rstrip('.')}", remedy=error.remedy)
            if self._logged != error.what:
                self._logged = error.what
                self._log.warning("opa.waits", code=error.code)
            return AGAIN_S
        if self._trouble is not None:
            self._trouble, self._logged = None, ""
            self._log.info("opa.answers")
            self._bell.ring_all()  # what waited for a verdict is decided now
        return PROBE_S

    def troubles(self) -> tuple[Item, ...]:
        """Say what stands in the way; empty when nothing does."""
        return (self._trouble,) if self._trouble else ()


def policy_worker(watch: PolicyWatch, log: Log) -> Worker:
    """Make the watch's thread, unstarted."""
    return Worker("policy-watch", watch.step, log=log)

"""The gate's thread: batch after batch off the bus, and now and then the events that waited for a link."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from time import monotonic

from hub.core.errors import HubError
from hub.exchange.bell import Bell
from hub.exchange.gate import Done, Gate, Undecided
from hub.exchange.world import World
from hub.logs import Log
from hub.metrics import Metrics
from hub.store.positions import Superseded
from hub.store.waiting import linked_now
from hub.traces import Traces
from hub.workers.worker import Worker

POLL_S = 0.1  # an empty poll waits this long; a stop and a revisit wait no longer either
REVISIT_S = 0.1
REVISIT_SHARE = 20  # a revisit that took t is not repeated for 20 t: a long waiting list takes 5 % of the time at most


class GateLoop:
    """Steps one gate over the world that is in force, and makes a new one when that changes."""

    def __init__(
        self, world: Callable[[], World], *, bell: Bell, metrics: Metrics, log: Log, traces: Traces | None = None
    ) -> None:
        self._world, self._bell, self._metrics, self._log, self._traces = world, bell, metrics, log, traces
        self._of: World | None = None
        self._gate: Gate | None = None
        self._revisit_at_s = 0.0

    def step(self, _stop: Event) -> float:
        """Take one batch; every `REVISIT_S` see what of the waiting is linked now."""
        gate = self._present()
        began_s, polled_s = monotonic(), gate.phases["poll"]
        with self._noting(gate):
            counts = gate.step(POLL_S)
        if counts is not None:
            waited_s = gate.phases["poll"] - polled_s
            self._metrics.gate_batch_s.observe(monotonic() - began_s - waited_s)
        if monotonic() >= self._revisit_at_s:
            self._revisit(gate)
        return 0.0

    def _revisit(self, gate: Gate) -> None:
        began_s = monotonic()
        assert self._of is not None
        with self._of.store.read() as tx:
            publishers = [agency.number for agency in self._of.catalogue.agencies.values()]
            any_linked = bool(linked_now(tx, 1, publishers))
        if any_linked:
            with self._noting(gate):
                gate.finish()
            with self._noting(gate):
                gate.revisit()
        self._revisit_at_s = monotonic() + max(REVISIT_S, REVISIT_SHARE * (monotonic() - began_s))

    def failed(self, error: Exception) -> None:
        """Count, and start over from the stored positions: what was polled and not decided is polled again."""
        if isinstance(error, HubError) and error.code == "policy-unavailable":
            self._metrics.policy_unavailable.inc()
        if self._of is not None and not isinstance(error, HubError | Undecided | Superseded):
            self._gate = None  # a defect: nothing of its state is trusted
            self._of.bus.rewind()

    def _present(self) -> Gate:
        """Return the gate of the world in force. The former one's last batch is seen off first."""
        world = self._world()
        if self._gate is None or self._of is not world:
            former, self._gate = self._gate, None
            if former is not None:
                with self._noting(former):  # under a new policy it may fail; then the bus is rewound, and decided anew
                    former.finish()
            self._gate, self._of = Gate(world), world
        return self._gate

    @contextmanager
    def _noting(self, gate: Gate) -> Iterator[None]:
        """Tell of what a call of the gate saw through, also of one that raised."""
        try:
            yield
        finally:
            for done in gate.done:
                self._note(done)

    def _note(self, done: Done) -> None:
        metrics, counts = self._metrics, done.counts
        metrics.gate_events.inc(counts.events)
        for outcome, count in (("release", counts.releases), ("hold", counts.holds), ("refusal", counts.refusals)):
            metrics.decisions.labels(outcome).inc(count)
        metrics.decisions.labels("wait").inc(counts.parked)
        if self._traces is not None and self._of is not None:
            self._trace(self._traces, self._of, done)
        self._ring(done)
        if counts.unreadable:
            self._log.error("gate.unreadable", events=counts.unreadable)
        if counts.poisoned:
            self._log.error("gate.poisoned", events=counts.poisoned)
        self._log.debug(
            "gate.batch",
            events=counts.events, releases=counts.releases, holds=counts.holds, refusals=counts.refusals,
            waits=counts.parked,
        )  # fmt: skip

    def _ring(self, done: Done) -> None:
        """Wake those for whom there is something; all, where a notice may be for somebody else."""
        if done.counts.conflicts:
            self._bell.ring_all()
            return
        for recipient in {one[2] for one in done.wrote.deliveries}:
            self._bell.ring(recipient)

    def _trace(self, traces: Traces, world: World, done: Done) -> None:
        """Record a batch that has committed: from its first look-up on, with every event and delivery it made."""
        counts, decided, began_us = done
        events = [event for event, _ in decided.seen] + decided.late + [event.event for event, _ in decided.parked]
        traces.record(
            "gate.batch", began_us, world.clock(),
            events=events, deliveries=[one[0] for one in decided.deliveries],
            counts={
                "decided": counts.events, "released": counts.releases, "held": counts.holds,
                "refusals": counts.refusals, "waiting": counts.parked,
            },
        )  # fmt: skip


def gate_worker(
    world: Callable[[], World], *, bell: Bell, metrics: Metrics, log: Log, traces: Traces | None = None
) -> Worker:
    """Make the gate's thread, unstarted."""
    loop = GateLoop(world, bell=bell, metrics=metrics, log=log, traces=traces)
    return Worker("gate", loop.step, log=log, expected=(HubError, Undecided, Superseded), failed=loop.failed)

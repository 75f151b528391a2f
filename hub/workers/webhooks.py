"""Keeps one sender running for every webhook that is active or failing, per shard of persons, and none for any other.

Of the shards those whose lease this process has. What other processes ask to be proven is proven here as well.
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import NamedTuple

from hub.core.errors import HubError
from hub.exchange.bell import Bell
from hub.exchange.webhook_proof import proofs_wanted, prove_for
from hub.exchange.webhooks import WebhookDesk
from hub.logs import Log
from hub.metrics import Metrics
from hub.store.webhooks import Proof, webhooks
from hub.traces import Traces
from hub.workers.leases import Alone, Shared
from hub.workers.webhook_sender import Sender
from hub.workers.worker import Worker

LOOK_S = 1.0  # for a catalogue that changed, and for what other processes changed; endpoints that changed here ring
STOP_SENDER_S = 5.0
PROOFS_AT_ONCE = 4  # each waits for somebody else's machine


class Line(NamedTuple):
    """One agency's persons of one shard."""

    agency: str
    shard: int


class WebhookWorkers:
    """A worker that keeps workers: started, asked and stopped like one."""

    name = "webhooks"

    def __init__(
        self,
        desk: WebhookDesk,
        *,
        bell: Bell,
        metrics: Metrics,
        connections: int,
        log: Log,
        traces: Traces | None = None,
        shared: Shared | None = None,
        shards: int = 1,
    ) -> None:
        self._desk, self._bell, self._metrics, self._log, self._traces = desk, bell, metrics, log, traces
        self._connections, self._shards = max(1, connections // shards), shards
        self._shared = shared or Alone()
        self._running: dict[Line, tuple[Sender, Worker]] = {}
        self._provers = ThreadPoolExecutor(PROOFS_AT_ONCE, thread_name_prefix="webhook-proof")
        self._worker = Worker("webhooks", self._step, log=log)

    def start(self) -> None:
        self._worker.start()

    def stop(self, timeout_s: float) -> bool:
        """End all: what is on its way is cut off, and comes again."""
        for sender, _ in list(self._running.values()):
            sender.halt()
        self._desk.changed.set()
        ended = self._worker.stop(timeout_s)
        for line in list(self._running):
            ended &= self._end(line)
        self._provers.shutdown(wait=False, cancel_futures=True)
        return ended

    def trouble(self) -> str:
        """Say what keeps the hub from sending; an endpoint that fails is its agency's trouble, not the hub's."""
        return self._worker.trouble()

    def _step(self, stop: Event) -> float:
        self._desk.changed.clear()
        world = self._desk.world()
        with world.store.read() as tx:
            rows = webhooks(tx)
        agencies = {row.agency for row in rows if row.state in ("active", "failing")} & world.catalogue.agencies.keys()
        wanted = {Line(agency, shard) for agency in agencies for shard in range(self._shards)}
        self._shared.want("webhook", [self._lease(line) for line in wanted])
        mine = {line for line in wanted if self._shared.is_mine(self._lease(line))}
        for line in self._running.keys() - mine:
            self._end(line)
        for line in sorted(mine - self._running.keys()):
            if stop.is_set():
                break
            self._begin(line)
        for proof in proofs_wanted(self._desk):
            self._provers.submit(self._prove, proof)
        self._desk.changed.wait(LOOK_S)
        return 0.0

    def _begin(self, line: Line) -> None:
        lease, shards = self._lease(line), self._shards
        sender = Sender(
            self._desk, line.agency, bell=self._bell, metrics=self._metrics, connections=self._connections,
            traces=self._traces, turn=lambda: self._shared.turn(lease, line.shard, shards),
        )  # fmt: skip
        name = f"webhook-{line.agency}" + (f"-{line.shard}" if shards > 1 else "")
        worker = Worker(name, sender.step, log=self._log)
        self._running[line] = sender, worker
        worker.start()

    def _end(self, line: Line) -> bool:
        sender, worker = self._running.pop(line)
        sender.halt()
        ended = worker.stop(STOP_SENDER_S)
        if ended:
            self._shared.done_with(self._lease(line))
        else:  # whatever this one does until the lease has run out it does alone
            self._shared.let_run_out(self._lease(line))
            self._log.error("worker.stuck", worker=worker.name)
        sender.close()
        return ended

    def _lease(self, line: Line) -> str:
        return f"webhook/{line.agency}/{self._shards}/{line.shard}"

    def _prove(self, proof: Proof) -> None:
        try:
            prove_for(self._desk, proof)
        except HubError as error:  # it stays on the list, and is begun again after a minute
            self._log.warning("webhook.unproven", agency=proof.agency, code=error.code)

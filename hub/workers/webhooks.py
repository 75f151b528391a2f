"""Keeps one sender running for every webhook that is active or failing, and none for any other."""

from threading import Event

from hub.exchange.bell import Bell
from hub.exchange.webhooks import WebhookDesk
from hub.logs import Log
from hub.metrics import Metrics
from hub.store.webhooks import webhooks
from hub.traces import Traces
from hub.workers.webhook_sender import Sender
from hub.workers.worker import Worker

LOOK_S = 1.0  # for a catalogue that changed; endpoints that changed ring
STOP_SENDER_S = 5.0


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
    ) -> None:
        self._desk, self._bell, self._metrics, self._log, self._traces = desk, bell, metrics, log, traces
        self._connections = connections
        self._running: dict[str, tuple[Sender, Worker]] = {}
        self._worker = Worker("webhooks", self._step, log=log)

    def start(self) -> None:
        self._worker.start()

    def stop(self, timeout_s: float) -> bool:
        """End all: what is on its way is cut off, and comes again."""
        for sender, _ in list(self._running.values()):
            sender.halt()
        self._desk.changed.set()
        ended = self._worker.stop(timeout_s)
        for agency in list(self._running):
            ended &= self._end(agency)
        return ended

    def trouble(self) -> str:
        """Say what keeps the hub from sending; an endpoint that fails is its agency's trouble, not the hub's."""
        return self._worker.trouble()

    def _step(self, stop: Event) -> float:
        self._desk.changed.clear()
        world = self._desk.world()
        with world.store.read() as tx:
            rows = webhooks(tx)
        wanted = {row.agency for row in rows if row.state in ("active", "failing")} & world.catalogue.agencies.keys()
        for agency in self._running.keys() - wanted:
            self._end(agency)
        for agency in sorted(wanted - self._running.keys()):
            if stop.is_set():
                break
            sender = Sender(
                self._desk, agency, bell=self._bell, metrics=self._metrics, connections=self._connections,
                traces=self._traces,
            )  # fmt: skip
            worker = Worker(f"webhook-{agency}", sender.step, log=self._log)
            self._running[agency] = sender, worker
            worker.start()
        self._desk.changed.wait(LOOK_S)
        return 0.0

    def _end(self, agency: str) -> bool:
        sender, worker = self._running.pop(agency)
        sender.halt()
        ended = worker.stop(STOP_SENDER_S)
        if not ended:
            self._log.error("worker.stuck", worker=worker.name)
        sender.close()
        return ended

"""The hub's own threads: which of them a process runs, by its parts, and in what order they begin and end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hub.engines import open_signals
from hub.exchange.webhooks import WebhookDesk
from hub.identity.day_keys import DayKeys
from hub.in_force import InForce
from hub.metrics import Metrics
from hub.operations import condition
from hub.operations.partitioning import partitioning
from hub.operations.reconcile import Reconciled
from hub.operations.retention import empty_delivered, forgetting, once_a_day
from hub.operations.standstill import Watch
from hub.operations.steered import kept_by
from hub.parts import DECIDE, ON_THE_BUS, Part
from hub.traces import Traces
from hub.workers.apart import day_key_worker, let_go_worker
from hub.workers.bell import Teller, bell_workers
from hub.workers.files import FileDrops, files_worker
from hub.workers.files import Running as DropsFiles
from hub.workers.gate import gate_worker
from hub.workers.leases import Alone, Leases, Shared
from hub.workers.marks import marks_worker
from hub.workers.news import News, news_worker
from hub.workers.policy import PolicyWatch, policy_worker
from hub.workers.retention import retention_worker
from hub.workers.standstill import standstill_worker
from hub.workers.webhooks import WebhookWorkers
from hub.workers.worker import Worker

if TYPE_CHECKING:
    from hub.store.signals import Signals


class Manned(condition.Watched, Reconciled, DropsFiles, Protocol):
    """A hub that is put together, and has no threads yet."""

    @property
    def in_force(self) -> InForce: ...
    @property
    def webhooks(self) -> WebhookDesk: ...
    @property
    def day_keys(self) -> DayKeys: ...
    @property
    def news(self) -> News: ...
    @property
    def teller(self) -> Teller | None:
        """What takes the bell's rings for other processes; None where there are none."""

    @property
    def metrics(self) -> Metrics: ...
    @property
    def traces(self) -> Traces | None: ...


@dataclass(frozen=True, slots=True)
class Threads:
    """All threads of one process. Those that its parts do not ask for are made and never started."""

    here: tuple[Worker | WebhookWorkers | Leases, ...]  # what runs, in the order in which it ends
    wires: tuple[Worker, ...]  # carry the bell to other processes; they end last
    gate: Worker
    webhooks: WebhookWorkers
    retention: Worker
    own_keys: Worker
    news: Worker
    file_drops: FileDrops
    policy_watch: PolicyWatch
    standstill: Watch
    leases: Leases | None  # None on SQLite, where everything is this process's
    signals: "Signals | None"

    @property
    def several(self) -> bool:
        """Whether other processes may work on the same store."""
        return self.leases is not None

    def start(self) -> None:
        for worker in (*self.here, *self.wires):
            worker.start()

    def stop(self, timeout_s: float) -> list[str]:
        """End one after the other; returns the names of those that have not ended, each within `timeout_s`."""
        return [worker.name for worker in (*self.here, *self.wires) if not worker.stop(timeout_s)]


def threads_of(hub: Manned) -> Threads:
    """Make all threads, unstarted."""
    settings, parts, log = hub.settings, hub.settings.parts, hub.log
    leases = _leases(hub) if settings.on_postgres else None
    shared: Shared = leases or Alone()
    gate = gate_worker(lambda: hub.world, bell=hub.bell, metrics=hub.metrics, log=log, traces=hub.traces)
    webhooks = WebhookWorkers(
        hub.webhooks, bell=hub.bell, metrics=hub.metrics, connections=settings.webhook_connections_max, log=log,
        traces=hub.traces, shared=shared, shards=settings.webhook_shards,
    )  # fmt: skip
    retention = _retention(hub, shared)
    file_drops = FileDrops(hub, shared)
    let_go = let_go_worker(lambda: hub.world, lambda: shared.is_mine("let-go"), log)
    own_keys = day_key_worker(lambda: hub.world, hub.day_keys, keep_days=settings.intake_retention_days, log=log)
    policy_watch = PolicyWatch(lambda: hub.in_force.policy, bell=hub.bell, log=log)
    standstill = Watch(lambda: condition.paused(hub), settings, hub.clock)
    news = news_worker(hub.news, log)
    signals = open_signals(settings)
    workers: list[tuple[bool, Worker | WebhookWorkers]] = [
        (Part.WEBHOOKS in parts, webhooks),
        (Part.FILES in parts, files_worker(file_drops, log)),
        (Part.GATE in parts, gate),
        (Part.GATE in parts and leases is not None, let_go),
        (Part.RETENTION in parts, retention),
        (bool(parts & ON_THE_BUS) and leases is not None, own_keys),
        (bool(parts & DECIDE) and settings.policy == "server", policy_worker(policy_watch, log)),
        (hub.store.shared, news),  # nobody else changes an embedded store
        (True, marks_worker(hub, log)),
        (True, standstill_worker(standstill, log)),
    ]
    return Threads(
        here=(*[worker for wanted, worker in workers if wanted], *([leases] if leases else [])),  # leases last of all
        wires=bell_workers(hub.teller, hub.bell, signals, log) if hub.teller and signals else (),
        gate=gate,
        webhooks=webhooks,
        retention=retention,
        own_keys=own_keys,
        news=news,
        file_drops=file_drops,
        policy_watch=policy_watch,
        standstill=standstill,
        leases=leases,
        signals=signals,
    )


def _leases(hub: Manned) -> Leases:
    """What of the work on a store that processes share is this one's."""
    parts = hub.settings.parts
    leases = Leases(hub.store, parts, lease_s=hub.settings.lease_s, log=hub.log, changed=hub.webhooks.changed.set)
    leases.want("retention", ["retention"] if Part.RETENTION in parts else [])
    leases.want("let-go", ["let-go"] if Part.GATE in parts else [])
    return leases


def _retention(hub: Manned, shared: Shared) -> Worker:
    return retention_worker(
        lambda: hub.world,
        lambda: hub.citizens,
        day_keys=hub.day_keys,
        drop_decided=hub.bus.drop_decided,
        keep_days=hub.settings.intake_retention_days,
        log=hub.log,
        delivered=once_a_day(hub.clock, lambda: empty_delivered(kept_by(hub))),
        asked=once_a_day(hub.clock, forgetting(lambda: kept_by(hub))),
        mine=lambda: shared.is_mine("retention"),
        apart=("day-keys", "behind") if hub.settings.on_postgres else (),
        partitions=partitioning(hub.settings, hub.store),
    )

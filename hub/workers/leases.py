"""What this process alone does of what one process may do at a time, and its word that it is there.

One thread, every two seconds or a third of a lease: 1. say that this process is there; renew what it holds
2. see how many processes share each kind     3. take what is free, up to a fair share; mark what is beyond it
A lease counts here as long as its last successful renewal, by this machine's monotonic clock and from before it was
asked for, is younger than the lease: then nobody else has it. Whoever works under one asks before each thing it
begins, and its transactions look at the row itself (`hub/store/leases.py`): a process that was stopped for a while and
goes on finds that its time is over before it does anything, or commits nothing.
"""

import os
import secrets
import socket
from collections.abc import Callable, Collection
from threading import Event, Lock
from time import monotonic
from typing import Protocol

from hub.core.errors import HubError
from hub.exchange.turns import Turn
from hub.logs import Log
from hub.parts import Part
from hub.store.engine import Fences, Store, Tx
from hub.store.leases import Lease, live, release, renew, take, taking
from hub.store.workers import beat, leave, processes
from hub.workers.worker import Worker

BEAT_S = 2.0
US = 1_000_000
OF = {"webhook": Part.WEBHOOKS, "files": Part.FILES, "retention": Part.RETENTION, "let-go": Part.GATE}


class Shared(Protocol):
    """What is this process's to do, of what only one process may do at a time."""

    def want(self, kind: str, names: Collection[str]) -> None:
        """Have these from now on, as far as they are this process's share, and no other ones of this kind."""

    def is_mine(self, name: str) -> bool:
        """Say whether this process may begin something of it now."""

    def turn(self, name: str, shard: int = 0, shards: int = 1) -> Turn | None:
        """Return what a hand-out under it names; None where it is not this process's."""

    def done_with(self, name: str) -> None:
        """Give one up, once all that worked under it has ended. Nothing where it is not held."""

    def let_run_out(self, name: str) -> None:
        """Renew one no more: what works under it does not end, and another process is to go on once it ran out."""


class Alone:
    """The only process there is: everything is its to do."""

    def want(self, kind: str, names: Collection[str]) -> None:
        """Have them."""

    def is_mine(self, name: str) -> bool:  # noqa: ARG002 - everything is
        return True

    def turn(self, name: str, shard: int = 0, shards: int = 1) -> Turn | None:  # noqa: ARG002 - see `is_mine`
        return Turn(shard, shards)

    def done_with(self, name: str) -> None:
        """Nobody waits for it."""

    def let_run_out(self, name: str) -> None:
        """Nobody waits for it."""


class Leases:
    """See `Shared`. Thread-safe; `start` and `stop` as a worker's."""

    def __init__(
        self,
        store: Store,
        parts: frozenset[Part],
        *,
        lease_s: float,
        log: Log,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called when something was taken or is to be given up."""
        self._store, self._parts, self._lease_s, self._log, self._changed = store, parts, lease_s, log, changed
        self.me, self._name = secrets.token_hex(8), f"{socket.gethostname()}/{os.getpid()}"
        self._wanted: dict[str, tuple[str, ...]] = {}
        self._held: dict[str, tuple[Lease, float]] = {}  # with when its last renewal was asked for
        self._beyond: frozenset[str] = frozenset()  # what another process is to have
        self._lock, self._soon, self._began = Lock(), Event(), False
        self.worker = Worker("leases", self._step, log=log)

    def want(self, kind: str, names: Collection[str]) -> None:
        """See `Shared.want`."""
        wanted = tuple(sorted(names))
        with self._lock:
            if self._wanted.get(kind) == wanted:
                return
            self._wanted[kind] = wanted
        self._soon.set()

    def held(self, name: str) -> Lease | None:
        """Return the lease while it is this process's, for sure; None where it is not, or is to be given up."""
        with self._lock:
            found = self._held.get(name)
            if found is None or name in self._beyond:
                return None
        lease, asked_s = found
        return lease if monotonic() - asked_s < self._lease_s else None

    def is_mine(self, name: str) -> bool:
        """See `Shared.is_mine`."""
        return self.held(name) is not None

    def turn(self, name: str, shard: int = 0, shards: int = 1) -> Turn | None:
        """See `Shared.turn`."""
        lease = self.held(name)
        return None if lease is None else Turn(shard, shards, lease)

    def done_with(self, name: str) -> None:
        """See `Shared.done_with`."""
        with self._lock:
            found = self._held.pop(name, None)
        if found is not None:
            self._release([found[0]])

    def let_run_out(self, name: str) -> None:
        """See `Shared.let_run_out`."""
        with self._lock:
            self._held.pop(name, None)

    def start(self) -> None:
        """Say at once that this process is there, and begin. The thread tries again what the store did not take."""
        self._began = True
        try:
            self._keep()
        except HubError:
            self._log.warning("worker.waits", worker="leases", code="store-unavailable")
        self.worker.start()

    def stop(self, timeout_s: float) -> bool:
        """End, and give everything up: nobody has to wait for what a process held that has ended."""
        self.worker.stop(0)
        self._soon.set()
        ended = self.worker.stop(timeout_s)
        with self._lock:
            held, self._held = [lease for lease, _ in self._held.values()], {}
        self._release(held, leaving=self._began)
        return ended

    def trouble(self) -> str:
        return self.worker.trouble()

    @property
    def name(self) -> str:
        return self.worker.name

    # The thread.
    def _step(self, stop: Event) -> float:
        self._soon.wait(min(BEAT_S, self._lease_s / 3))
        self._soon.clear()
        if not stop.is_set():
            self._keep()
        return 0.0

    def _keep(self) -> None:
        """1. to 3."""
        with self._lock:
            held, wanted = {name: lease for name, (lease, _) in self._held.items()}, dict(self._wanted)
        asked_s = monotonic()
        kept, sharers, live_now = self._store.write(
            lambda tx: self._renewed(tx, held.values()), fences=Fences()
        )  # 1., 2.
        with self._lock:
            for name, lease in held.items():
                if name in self._held and lease in kept:
                    self._held[name] = lease, asked_s
                elif lease not in kept and name in self._held:
                    del self._held[name]
                    self._log.warning("lease.lost", lease=name)
        lost, beyond, taken = held.keys() - {one.name for one in kept}, set[str](), False
        for kind, names in wanted.items():
            more, mine = self._share(kind, names, sharers[OF[kind]], live_now)  # 3.
            taken |= more
            beyond |= mine
        former, self._beyond = self._beyond, frozenset(beyond)
        if taken or lost or beyond - former:
            self._changed()

    def _renewed(self, tx: Tx, held: Collection[Lease]) -> tuple[set[Lease], dict[Part, int], set[str]]:
        beat(tx, self.me, self._name, self._parts)
        kept = renew(tx, held, lease_us=int(self._lease_s * US))
        alive = [one for one in processes(tx) if one.alive]
        return kept, {part: sum(part in one.parts for one in alive) for part in Part}, live(tx)

    def _share(
        self, kind: str, names: Collection[str], sharers: int, live_now: Collection[str]
    ) -> tuple[bool, set[str]]:
        """Take what is free, up to this process's share. Returns whether any was taken, and what it has beyond it."""
        share = -(-len(names) // max(1, sharers))
        with self._lock:
            mine = sorted(name for name in self._held if name.partition("/")[0] == kind)
        unwanted = [name for name in mine if name not in names]
        kept, taken = [name for name in mine if name in names], False
        for name in names:
            if len(kept) >= share or name in kept or name in live_now:
                continue
            if self._take(name):
                kept.append(name)
                taken = True
        return taken, {*unwanted, *kept[share:]}

    def _take(self, name: str) -> bool:
        asked_s = monotonic()
        lease = self._store.write(
            lambda tx: take(tx, name, self.me, lease_us=int(self._lease_s * US)), fences=taking(name)
        )
        if lease is None:
            return False
        with self._lock:
            self._held[name] = lease, asked_s
        self._log.info("lease.taken", lease=name)
        return True

    def _release(self, leases: Collection[Lease], *, leaving: bool = False) -> None:
        def transaction(tx: Tx) -> None:
            release(tx, leases)
            if leaving:
                leave(tx, self.me)

        if leases or leaving:
            try:
                self._store.write(transaction, fences=Fences())
            except HubError:  # they run out by themselves
                self._log.warning("worker.waits", worker="leases", code="store-unavailable")

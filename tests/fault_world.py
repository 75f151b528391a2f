"""An exchange on real engines, each behind a proxy, under load: what was promised is noted, and held against the store.

`place.load()` publishes, pulls, acknowledges, grants and withdraws until its block ends, whatever engines do meanwhile;
`place.wrong(load)` says every promise that was not kept; `place.recovered(load, since_s)` how long it took.
"""

import io
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

from deploy.engines import launch
from deploy.engines.process import Engine, free_port
from hub.app import Hub, build
from hub.bus.kafka_access import access_of
from hub.bus.kafka_plan import wanted_of
from hub.bus.kafka_topics import carry_out, plan_now
from hub.citizens.choices import grant_unasked
from hub.citizens.withdraw import withdraw_it
from hub.clock import system_clock
from hub.core.errors import HubError, Kind
from hub.exchange.acknowledge import Acknowledgement, acknowledge
from hub.exchange.handout import hand_out
from hub.exchange.intake import event_hash
from hub.exchange.publish import Accepted, publish
from hub.identity.people import NewLink, link, person_of
from hub.logs import open_log
from hub.settings import Settings
from hub.store.deliveries import DeliveryKind
from tests import stores
from tests.engines import own
from tests.opa_world import Opa, opa
from tests.protocol_checks import faults
from tests.protocol_world import CONSENT, LINKER, LOOK_BACK, NOTICE, Matter, principal
from tests.proxy import Proxy

PEOPLE = 8
SOON_S = 60.0  # for what takes seconds on a machine that does nothing else
MATTERS = (CONSENT, LOOK_BACK)  # the second is first asked about while an engine is away: nobody knows that verdict yet
UNSURE = (Kind.UNAVAILABLE, Kind.CONFLICT)  # an engine is away, or somebody else was first: the client comes again


@dataclass
class Moving:
    """The hub's clock; a test moves it."""

    off_us: int = 0

    def __call__(self) -> int:
        return system_clock() + self.off_us


@dataclass
class Load:
    """What everybody did until it ended, and what they were promised. Each list has one thread that writes it."""

    matters: tuple[Matter, ...]
    published: list[tuple[Matter, str]] = field(default_factory=list)  # answered 202
    handed: dict[tuple[str, int], set[str]] = field(default_factory=dict)  # (recipient, number) -> ids
    released_s: list[float] = field(default_factory=list)  # when data under a new number left
    withdrawn: list[tuple[int, int, frozenset[int]]] = field(default_factory=list)  # person, stretch, numbers named
    withdrawals_s: list[float] = field(default_factory=list)  # how long each took
    refused: int = 0  # publishes that were told to come again
    broken: list[str] = field(default_factory=list)  # what ended a thread that should not have ended
    end: Event = field(default_factory=Event)
    threads: list[Thread] = field(default_factory=list)


@dataclass
class Place:
    """One hub that runs, and what loads do to it."""

    hub: Hub
    clock: "Moving"
    seed: int = 0
    names: int = 0

    # The load.
    @contextmanager
    def load(self, *matters: Matter, people: int = PEOPLE) -> Iterator[Load]:
        """Run the load while the block does, then end its threads. People of its own, so that loads do not meet."""
        self.names += 1
        name = f"L{self.names}"
        load = Load(matters or (CONSENT,))
        for matter in load.matters:
            for number in range(people):
                self.grant(self.linked(f"{name}-{number}", matter), matter)
        works: list[Callable[[], None]] = []
        for matter in load.matters:
            rng = random.Random(f"{self.seed}/{name}/{matter.dataset}")
            works += [
                partial(self._publish, load, matter, name, people, rng),
                partial(self._pull, load, matter),
                partial(self._change, load, matter, name, people, rng),
            ]
        load.threads += [Thread(target=_kept_going, args=(load, work), daemon=True) for work in works]
        for thread in load.threads:
            thread.start()
        try:
            yield load
        finally:
            load.end.set()
            for thread in load.threads:
                thread.join(SOON_S)

    def linked(self, local_id: str, matter: Matter) -> int:
        born = (_now() - timedelta(days=730)).date()  # young enough for every purpose here, whatever year it is
        new = NewLink(matter.publisher, local_id, f"R-{matter.publisher}-{local_id}", 3, born)
        (said,) = link(self.hub.register, LINKER, [new])
        assert said in ("linked", "known"), said
        with self.hub.store.read() as tx:
            found = person_of(tx, self.hub.keys, matter.publisher, local_id)
        assert found is not None
        return found

    def grant(self, person: int, matter: Matter) -> None:
        grant_unasked(
            self.hub.citizens, principal(person), recipient=matter.recipient, purpose=matter.purpose, items=None,
            notice=NOTICE,
        )  # fmt: skip

    def _publish(self, load: Load, matter: Matter, name: str, people: int, rng: random.Random) -> None:
        """Publish one event after the other, each again until it is taken: so they stand in order per person."""
        number = 0
        while not load.end.is_set():
            number += 1
            event_id, local_id = f"{name}-{number}", f"{name}-{rng.randrange(people)}"
            event = {
                "specversion": "1.0", "id": event_id, "source": f"urn:agency:{matter.publisher}",
                "type": matter.dataset, "subject": local_id,
                "time": _now().isoformat(),
                "data": {matter.subject_field: local_id, **matter.data},
            }  # fmt: skip
            while not load.end.is_set():
                try:
                    (said,) = publish(self.hub.desk, matter.publisher, [event])
                except HubError as error:
                    if error.kind not in UNSURE:
                        raise
                    load.refused += 1
                    sleep(0.05)
                    continue
                assert isinstance(said, Accepted), said
                load.published.append((matter, event_id))
                break
            sleep(rng.random() * 0.01)

    def _pull(self, load: Load, matter: Matter) -> None:
        rng = random.Random(self.seed)
        while not load.end.is_set():
            if not self.pull_once(load, matter, settle=rng.random() < 0.8):
                sleep(0.01)

    def pull_once(self, load: Load, matter: Matter, *, settle: bool = True) -> bool:
        """Pull a page, and acknowledge it; say whether anything came."""
        try:
            page = hand_out(self.hub.world, matter.recipient, 50)
            for one in page.opened:
                ids = load.handed.setdefault((matter.recipient, one.number), set())
                if not ids and one.kind == DeliveryKind.DATA:
                    load.released_s.append(monotonic())
                ids.add(one.public.hex())
            if page.opened and settle:
                given = [Acknowledgement(one.number, one.public.hex()) for one in page.opened]
                acknowledge(self.hub.world, matter.recipient, given)
        except HubError as error:
            if error.kind not in UNSURE:
                raise
            sleep(0.05)
            return False
        return bool(page.opened or page.cancelled or page.held)

    def _change(self, load: Load, matter: Matter, name: str, people: int, rng: random.Random) -> None:
        """Citizens withdraw and grant to and fro. Who was told to come again looks first how things stand."""
        while not load.end.is_set():
            local_id = f"{name}-{rng.randrange(people)}"
            try:
                with self.hub.store.read() as tx:
                    person = person_of(tx, self.hub.keys, matter.publisher, local_id)
                    assert person is not None
                    given = tx.rows("SELECT public FROM consent WHERE person = ? AND state = 'given'", (person,))
                if given:
                    began_s = monotonic()
                    receipt = withdraw_it(self.hub.citizens, principal(person), given[0][0]).receipt
                    load.withdrawals_s.append(monotonic() - began_s)
                    numbers = frozenset(one.number for one in receipt.opened_before)
                    load.withdrawn.append((person, receipt.stretch, numbers))
                else:
                    self.grant(person, matter)
            except HubError as error:
                if error.kind not in UNSURE:
                    raise
                sleep(0.05)
            sleep(rng.random() * 0.05)

    # What came of it.
    def recovered(self, load: Load, since_s: float, within_s: float = SOON_S) -> float:
        """Wait for the first new release after this moment; return after how many seconds it came."""
        while not (later := [one for one in load.released_s if one > since_s]):
            assert monotonic() - since_s < within_s, (load.broken, self.hub.troubles())
            sleep(0.01)
        return min(later) - since_s

    def wrong(self, load: Load) -> list[str]:
        """Let what is on its way arrive, then say every promise that was not kept."""
        found = list(load.broken)
        self._arrived(load)
        for matter in load.matters:
            while self.pull_once(load, matter):
                pass
        found += [one for one in faults(self.hub) if not one.startswith("position ")]  # Kafka's are not in the store
        return found + self._lost(load) + self._doubled(load) + self._late(load) + self._disordered()

    def _arrived(self, load: Load) -> None:
        """Wait until the gate has seen everything that was accepted; what it never sees is found as lost."""
        end_s = monotonic() + SOON_S
        while self._lost(load) and monotonic() < end_s:
            sleep(0.05)

    def _lost(self, load: Load) -> list[str]:
        try:
            with self.hub.store.read() as tx:
                seen = {bytes(event) for (event,) in tx.rows("SELECT event FROM event_seen")}
        except HubError as error:
            return [error.what]
        keys = self.hub.keys
        of = [(event_hash(keys, m.publisher, f"urn:agency:{m.publisher}", one), one) for m, one in load.published]
        return [f"event {one} was accepted and is lost" for known, one in of if known not in seen]

    def _doubled(self, load: Load) -> list[str]:
        """A number is one delivery's, to both sides; only a stop may take it over, under one id of its own."""
        found = [f"number {number} left under three ids" for number, ids in load.handed.items() if len(ids) > 2]
        with self.hub.store.read() as tx:
            rows = tx.rows("SELECT h.recipient, h.number, hex(d.public), h.ended FROM handout h"
                           " JOIN delivery d ON d.id = h.delivery")  # fmt: skip
        codes = {one.number: one.code for one in self.hub.approved().agencies.values()}
        stored = {(codes[to], number): (public.lower(), ended) for to, number, public, ended in rows}
        for number, ids in load.handed.items():
            if number not in stored:
                found.append(f"the bytes of number {number} left, and no opening is known")
            elif stored[number][0] not in ids and not stored[number][1]:
                found.append(f"number {number} left under another id than is known")
        return found

    def _late(self, load: Load) -> list[str]:
        """What a receipt names is all that was ever opened under the stretch it ended."""
        found = []
        with self.hub.store.read() as tx:
            for person, stretch, named in load.withdrawn:
                rows = tx.rows("SELECT number FROM handout_person WHERE person = ? AND stretch = ?", (person, stretch))
                if {number for (number,) in rows} != named:
                    found.append(f"a receipt names {sorted(named)}; opened under its stretch were {sorted(rows)}")
        return found

    def _disordered(self) -> list[str]:
        """Of one person and subscription deliveries leave in the order in which they were published."""
        with self.hub.store.read() as tx:
            rows = tx.rows("SELECT d.subscription, p.person, h.recipient, h.number, d.time_us FROM handout h"
                           " JOIN delivery d ON d.id = h.delivery JOIN handout_person p ON p.recipient = h.recipient"
                           " AND p.number = h.number WHERE d.kind = 1 ORDER BY h.recipient, h.number")  # fmt: skip
        last: dict[tuple[int, int], int] = {}
        found = []
        for subscription, person, _, number, time_us in rows:
            if time_us < last.get((subscription, person), 0):
                found.append(f"number {number} was passed by a later event of its person")
            last[subscription, person] = time_us
        return found


@dataclass(kw_only=True)
class RealPlace(Place):
    """The same on real engines, with the proxies through which it reaches them."""

    postgres: Engine
    kafka: Engine
    opa: Opa
    to_postgres: Proxy
    to_kafka: Proxy
    to_opa: Proxy


def _now() -> datetime:
    """The publisher's clock, which is right whatever the hub's says."""
    return datetime.fromtimestamp(system_clock() / 1e6, tz=UTC)


def _kept_going(load: Load, work: Callable[[], None]) -> None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - the last line of a thread: it must not end silently
        load.broken.append(f"{type(error).__name__}: {error}")


@contextmanager
def place(directory: Path, *, postgres_at: Path | None = None, seed: int = 0, **more: Any) -> Iterator[RealPlace]:
    """Start all three engines, put a proxy before each, and run a hub over these until the block ends."""
    with ExitStack() as stack:
        stores.use(stores.REAL)
        stack.callback(stores.use, stores.EMBEDDED)
        at = postgres_at or directory / "pg"
        postgres = stack.enter_context(own(lambda at: launch.postgres(at, fsync=False), at))
        to_postgres = _proxy(stack, postgres.port)
        kafka, to_kafka = _kafka(stack, directory / "kafka")
        engine = stack.enter_context(opa())
        to_opa = _proxy(stack, int(engine.url.rpartition(":")[2]))
        (directory / "hub").mkdir(exist_ok=True)
        given: dict[str, Any] = {
            "mode": "development", "data_dir": directory / "hub", "handout_redeliver_s": 1, "log_level": "warning",
            "store_dsn": postgres.address.replace(f":{postgres.port}/", f":{to_postgres.port}/"),
            "bus": "kafka", "kafka_bootstrap": (f"127.0.0.1:{to_kafka.port}",), "kafka_security": "PLAINTEXT",
            "kafka_topic_prefix": f"t{secrets.token_hex(4)}.", "kafka_partitions": 2, "kafka_replication": 1,
            "kafka_min_insync": 1, "policy": "server", "opa_url": f"http://127.0.0.1:{to_opa.port}",
            "opa_timeout_s": 1.0, "event_max_future_s": 7_200,
        }  # fmt: skip
        settings = Settings(**given | more)
        with (directory / "hub.log").open("w") as stream:
            clock = Moving()
            hub = build(settings, clock=clock, log=open_log(clock=system_clock, level="info", stream=stream))
            try:
                wanted = wanted_of(settings, hub.approved())
                carry_out(access_of(settings), wanted, plan_now(access_of(settings), wanted).document()["digest"])
                engine.hold(hub.approved())
                hub.start()
                ready = RealPlace(
                    hub, clock, seed, postgres=postgres, kafka=kafka, opa=engine, to_postgres=to_postgres,
                    to_kafka=to_kafka, to_opa=to_opa,
                )  # fmt: skip
                until_ready(hub)
                yield ready
            finally:
                for proxy in (to_postgres, to_kafka, to_opa):
                    proxy.heal()
                hub.close()


@contextmanager
def solo(directory: Path) -> Iterator[Place]:
    """Run a hub on the embedded engines until the block ends. Its log is written elsewhere: the disk may be full."""
    settings = Settings(mode="development", data_dir=directory, handout_redeliver_s=1)
    clock = Moving()
    hub = build(settings, clock=clock, log=open_log(clock=system_clock, level="error", stream=io.StringIO()))
    try:
        hub.start()
        until_ready(hub)
        yield Place(hub, clock)
    finally:
        hub.close()


def until_ready(hub: Hub, within_s: float = SOON_S) -> float:
    """Wait until nothing is in the hub's way; return for how many seconds."""
    began_s = monotonic()
    while hub.troubles():
        assert monotonic() - began_s < within_s, hub.troubles()
        sleep(0.05)
    return monotonic() - began_s


def _proxy(stack: ExitStack, port: int) -> Proxy:
    proxy = Proxy(port)
    stack.callback(proxy.close)
    return proxy


def _kafka(stack: ExitStack, directory: Path) -> tuple[Engine, Proxy]:
    """Start a broker that tells whoever comes through the proxy to come back through it."""
    port = free_port()
    proxy = _proxy(stack, port)
    more = {
        "listeners": f"PROXIED://127.0.0.1:{port}",
        "advertised.listeners": f"PROXIED://127.0.0.1:{proxy.port}",
        "listener.security.protocol.map": "PROXIED:PLAINTEXT",
    }
    return stack.enter_context(own(lambda at: launch.kafka(at, more=more), directory)), proxy

"""The composition root: the only file that names implementations. `build` puts one hub together, `Hub` is the result.

What depends on the catalogue is one value, `InForce`, replaced whole when another one is approved: whoever reads
`hub.world` or `hub.desk` sees all of the former or all of the new.
"""

# long: all that is put together, so that nothing is assembled elsewhere
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from anyio import CapacityLimiter
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub import failpoints
from hub.bus.absent import NoBus
from hub.bus.embedded import EmbeddedBus
from hub.citizens.desk import CitizenDesk
from hub.clock import system_clock
from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Item, Kind
from hub.exchange.agreements import AgreementDesk
from hub.exchange.bell import Bell
from hub.exchange.clock_check import REMEDY as SET_THE_CLOCK
from hub.exchange.clock_check import ClockCheck
from hub.exchange.dead_letters import letters_status, measure_letters
from hub.exchange.erase import erase_again, eraser
from hub.exchange.intake import topic
from hub.exchange.officers import invent_officers
from hub.exchange.publish import PublishDesk, validators_of
from hub.exchange.verdicts import Verdicts
from hub.exchange.webhooks import open_webhooks, rotate
from hub.exchange.world import FieldSets, Limits, World
from hub.identity.agency_tokens import AgencyTokens, nothing_new
from hub.identity.bundle_key import bundle_key
from hub.identity.day_keys import DayKeys
from hub.identity.keys import OpenKeys, make_key_file, read_key_file
from hub.identity.ledger import open_ledger
from hub.identity.local_store import LocalStore
from hub.identity.marks import Marks
from hub.identity.people import Register
from hub.identity.registered_keys import RegisteredKeys
from hub.identity.ring import RingWatch, act_salt, open_ring, root_name
from hub.identity.sealing import SealingKeys
from hub.identity.token_keys import RotatingKeys
from hub.identity.used_assertions import SharedClaims
from hub.logs import Log, open_log
from hub.metrics import open_metrics
from hub.operations import standstill, state, stopping
from hub.operations.counted import count_on
from hub.operations.partitioning import partitioning
from hub.operations.retention import empty_delivered, forgetting, once_a_day
from hub.operations.running import missing_parts, running_parts
from hub.operations.steered import kept_by, standstill_of, status_of, without_store
from hub.parts import DECIDE, ON_THE_BUS, Part
from hub.policy.bundle import signed_bundle
from hub.policy.embedded import EmbeddedPolicy
from hub.policy.engine import Engine
from hub.ports import Bundle, Clock
from hub.settings import DEMO_MARK, Settings
from hub.stop_flag import STOP_FLAG, Scope, Stop, read_stops
from hub.store import catalogue as approved_catalogues
from hub.store.engine import Store
from hub.store.erasures import erased_since, last_erasure
from hub.store.moving import take_over
from hub.store.news import Topic
from hub.store.opening import open_store
from hub.store.operations import record
from hub.store.person_keys import wrapped_keys
from hub.store.quarantine import REMEDY, WHY, Quarantine, quarantine
from hub.store.waiting import oldest
from hub.token_file import read_token
from hub.traces import open_traces
from hub.way import Way
from hub.web.quota import Quota, Quotas
from hub.workers.apart import day_key_worker, let_go_worker
from hub.workers.bell import Teller, bell_workers
from hub.workers.files import FileDrops, files_worker
from hub.workers.gate import gate_worker
from hub.workers.leases import Alone, Leases
from hub.workers.marks import marks_worker
from hub.workers.news import News, news_worker
from hub.workers.policy import PolicyWatch, policy_worker
from hub.workers.retention import retention_worker
from hub.workers.standstill import standstill_worker
from hub.workers.webhooks import WebhookWorkers
from hub.workers.worker import Worker

if TYPE_CHECKING:
    from hub.bus.kafka import KafkaBus
    from hub.store.signals import Signals

POLICIES = Path(__file__).resolve().parents[1] / "policies"
CATALOGUE, COMPILED = POLICIES / "catalogue", POLICIES / "compiled"
AGENCY_THREADS = 24  # of the 40 there are: agencies in a crowd leave 16 to citizens' acts, which use none of these
STOP_WORKERS_S = 10.0  # a batch takes a fraction of a second
US = 1_000_000


@dataclass(frozen=True, slots=True)
class InForce:
    """All that depends on the catalogue. `revision` is what the store says decisions are made under."""

    catalogue: Catalogue
    policy: Engine
    revision: str
    world: World
    desk: PublishDesk
    register: Register
    citizens: CitizenDesk


class Hub:
    """One running hub: what `app.state.hub` holds. Attributes are set once; `in_force` alone is replaced."""

    def __init__(self, settings: Settings, *, clock: Clock, log: Log, stock: bool) -> None:
        """Open everything under `data_dir`; see `build` for `stock`. Raises HubError(STARTUP)."""
        self.settings, self.clock, self.log, self.parts = settings, clock, log, settings.parts
        root = _root_key(settings)
        self.root = root_name(root)
        self.store, self.schema = open_store(settings)
        try:
            self.news = News(self.store, self.log)  # first: what is changed while the rest is read is read anew
            self.keys = open_ring(self.store, root, clock)
            self.wrapping, self.act_salt = self.keys.wrapping, act_salt(self.keys)
            self.ring_watch = RingWatch(self.store, self.keys, settings.key_path)
            self._share_keys()
            self.marks = Marks(settings.marks_base, self.keys.marks)
            self.store.outside = self.marks
            take_over(self.store, clock=clock, salt=self.act_salt)
            self.count_on(starting=True)  # before anything is given out: an older copy is put into quarantine
            self._open(stock=stock)
            self._sign_agencies_in()
            self._attend_to_news()
            self._make_workers()
        except BaseException:
            if hasattr(self, "bus"):
                self.bus.close()
            if hasattr(self, "local_store"):
                self.local_store.close()
            self.store.close()
            raise

    def _attend_to_news(self) -> None:
        """Say what is read anew when another process has changed it."""
        self.news.readers = {
            Topic.CATALOGUE: self._take_catalogue,
            Topic.AGENCY_KEYS: self.agency_keys.load,
            Topic.TOKEN_KEYS: self.token_keys.load,
            Topic.WRAPPING: self.ring_watch.look,
            Topic.ERASED: self._forget_erased,
            Topic.SEALING_KEYS: self.sealing_keys.load,
            Topic.DAY_KEYS: self.day_keys.forget_destroyed,
        }

    def _share_keys(self) -> None:
        """Where other processes rotate the wrapping key too: write nothing without the present one, and learn it."""
        with self.store.read() as tx:
            self._erased_until = last_erasure(tx)
        if self.store.shared:
            self.store.heed(self.ring_watch)
            self.wrapping.learn = self.ring_watch.look

    def _open(self, *, stock: bool) -> None:
        self.local_store = LocalStore(self.settings.data_dir / "edge.sqlite", clock=self.clock)
        self.bus = open_bus(self.settings, self.store, self.log, self.approved, self.clock)
        self._teller = Teller() if self.settings.on_postgres else None
        self.bell = Bell(self._teller.tell) if self._teller else Bell()
        self.open_keys = OpenKeys(self.keys.wrapping, partial(wrapped_keys, self.store), current=self.news.current)
        self.day_keys = DayKeys(self.store, self.keys, self.local_store)
        self.field_sets, self.sealing_keys = FieldSets(self.store), SealingKeys(self.store)
        self.agency_threads, self.way, self.intake = CapacityLimiter(AGENCY_THREADS), Way(), Way()
        self.stopping, self.began = False, (monotonic(), self.clock())
        self.timely = ClockCheck(self.store, self.clock, self.settings.clock_off_max_s)
        self._approving = Lock()
        self._bundle: tuple[InForce, Bundle] | None = None
        self.agreements = AgreementDesk(
            self.store, self.approved, self.clock, self.act_salt, self.bell.ring_all, self.way
        )
        policy, approved = self._stock() if stock else (None, None)
        self.in_force = self._assemble(policy, approved)
        self._follow_topics()
        self.ledger = open_ledger(self.settings.key_path, self.keys.erasure)
        erase_again(eraser(self), self.log)  # before anything else runs: an older backup brings nobody back
        self.metrics = open_metrics(self._agencies)
        endpoint = self.settings.otlp_endpoint
        self.traces = open_traces(endpoint, self.metrics.agency) if endpoint else None

    def _sign_agencies_in(self) -> None:
        self.quotas = Quotas(_quota(self.settings), refused=self._count_refusal)
        self.agency_keys = RegisteredKeys(self.store, self.log)
        self.token_keys = RotatingKeys(self.store, self.keys.token, self.log)
        self.agency_tokens = AgencyTokens(
            issuer=self.settings.issuer,
            keys_at=self.token_keys.at,
            keys_of=lambda code: self.agency_keys.of(code) if code in self._agencies() else (),
            rights_of=lambda code: self.in_force.catalogue.agencies[code].rights,
            claims=SharedClaims(self.local_store, self.store, self.log) if self.store.shared else self.local_store,
            clock=self.clock,
            knows=lambda code: code in self._agencies(),
            count=self.quotas.take,
            hear=self.news.ask if self.store.shared else nothing_new,
        )

    def _make_workers(self) -> None:
        self.gate = gate_worker(
            lambda: self.world, bell=self.bell, metrics=self.metrics, log=self.log, traces=self.traces
        )
        self.webhooks = open_webhooks(
            self.settings, lambda: self.world, salt=self.act_salt, wrapping=self.wrapping, log=self.log,
            ring=self.bell.ring,
        )  # fmt: skip
        self._share_out()
        self.webhook_senders = WebhookWorkers(
            self.webhooks, bell=self.bell, metrics=self.metrics, connections=self.settings.webhook_connections_max,
            log=self.log, traces=self.traces, shared=self.shared, shards=self.settings.webhook_shards,
        )  # fmt: skip
        several = self.leases is not None
        self.retention = retention_worker(
            lambda: self.world,
            lambda: self.citizens,
            day_keys=self.day_keys,
            drop_decided=self.bus.drop_decided,
            keep_days=self.settings.intake_retention_days,
            log=self.log,
            delivered=once_a_day(self.clock, lambda: empty_delivered(kept_by(self))),
            asked=once_a_day(self.clock, forgetting(lambda: kept_by(self))),
            mine=lambda: self.shared.is_mine("retention"),
            apart=("day-keys", "behind") if several else (),
            partitions=partitioning(self.settings, self.store),
        )
        self.own_keys = day_key_worker(
            lambda: self.world, self.day_keys, keep_days=self.settings.intake_retention_days, log=self.log
        )
        self.let_go = let_go_worker(lambda: self.world, lambda: self.shared.is_mine("let-go"), self.log)
        self.policy_watch = PolicyWatch(lambda: self.in_force.policy, bell=self.bell, log=self.log)
        self.policy_watcher = policy_worker(self.policy_watch, self.log)
        self.news_watcher = news_worker(self.news, self.log)
        self.marks_worker = marks_worker(self, self.log)
        self.standstill = standstill.Watch(self._paused, self.settings, self.clock)
        self.standstill_watcher = standstill_worker(self.standstill, self.log)
        self.file_drops = FileDrops(self, self.shared)
        self.files = files_worker(self.file_drops, self.log)

    def _share_out(self) -> None:
        """Where other processes may work on the same store: what of it is this one's, and how they wake one another."""
        self.leases: Leases | None = None
        self.signals = open_signals(self.settings)
        if self.settings.on_postgres:
            self.leases = Leases(
                self.store, self.parts, lease_s=self.settings.lease_s, log=self.log, changed=self.webhooks.changed.set
            )
            self.leases.want("retention", ["retention"] if Part.RETENTION in self.parts else [])
            self.leases.want("let-go", ["let-go"] if Part.GATE in self.parts else [])
        self.shared: Leases | Alone = self.leases or Alone()
        self.wires: tuple[Worker, ...] = ()
        if self.signals is not None and self._teller is not None:
            self.wires = bell_workers(self._teller, self.bell, self.signals, self.log)

    # What is in force now. Each is taken once per request or batch.
    @property
    def world(self) -> World:
        return self.in_force.world

    @property
    def desk(self) -> PublishDesk:
        return self.in_force.desk

    @property
    def register(self) -> Register:
        return self.in_force.register

    @property
    def citizens(self) -> CitizenDesk:
        return self.in_force.citizens

    @property
    def stop_flag(self) -> Path:
        return self.settings.flag_dir / STOP_FLAG

    def approved(self) -> Catalogue:
        return self.in_force.catalogue

    def approve(self, proposed: Catalogue, *, expected: str | None = None) -> dict[str, Any]:
        """Put a catalogue in force, in the store first and then here. Raises as `hub.store.catalogue.apply` does."""
        with self._approving:
            policy = engine(self.settings, proposed)
            validators_of({(one.name, one.version): one for one in proposed.datasets.values()})  # or it could not start
            applied = self._apply(proposed, policy, expected)
            self._replace(policy)
        self.bell.ring_all()
        return {**applied._asdict(), "changes": len(applied.changes)}

    def _take_catalogue(self) -> None:
        """Put in force here what was approved at another process. Until then its decisions do not stand, and wait."""
        with self._approving:
            approved = approved_catalogues.load_approved(self.store)
            if (approved.revision, approved.catalogue.digest) == (self.in_force.revision, self.approved().digest):
                return
            self._replace(engine(self.settings, approved.catalogue), approved)
        self.bell.ring_all()

    def _replace(self, policy: Engine, approved: approved_catalogues.Approved | None = None) -> None:
        former, self.in_force = self.in_force, self._assemble(policy, approved)
        self._follow_topics()
        former.policy.close()  # whoever still asks it is told to ask again

    def _forget_erased(self) -> None:
        """Forget the keys of whom another process has erased."""
        with self.store.read() as tx:
            for person, audit in erased_since(tx, self._erased_until):
                self.open_keys.forget(person)
                self._erased_until = audit

    def policy_bundle(self) -> Bundle:
        """Return what a policy server is to have, signed; made once for each catalogue in force."""
        in_force, made = self.in_force, self._bundle
        if made is None or made[0] is not in_force:
            signed = signed_bundle(in_force.policy.compiled, in_force.catalogue, bundle_key(self.keys.bundle))
            made = self._bundle = (in_force, signed)
        return made[1]

    def add_agency_key(self, agency: str, jwk: Mapping[str, Any]) -> dict[str, Any]:
        """Register a public key. Raises HubError NOT_FOUND (no such agency), INVALID (the key is refused)."""
        if agency not in self.in_force.catalogue.agencies:
            raise HubError(
                Kind.NOT_FOUND,
                "the catalogue in force has no agency of this code",
                where="agency",
                remedy="Codes stand in agencies.yaml; `hub catalogue apply` puts a new one in force.",
                code="agency-unknown",
            )
        return {"agency": agency, "kid": self.agency_keys.add(agency, jwk, now_us=self.clock()).kid}

    def end_agency_key(self, agency: str, kid: str) -> dict[str, Any]:
        """Let an agency's key sign nobody in any more. Raises HubError(NOT_FOUND)."""
        self.agency_keys.end(agency, kid, now_us=self.clock())
        return {"agency": agency, "kid": kid}

    def rotate_webhook_key(self, agency: str) -> dict[str, Any]:
        """Sign an agency's webhooks with a new key as well. Raises HubError NOT_FOUND, CONFLICT."""
        return rotate(self.webhooks, agency)

    def rotate_token_key(self) -> dict[str, Any]:
        """Sign access tokens with the next key from now on. Raises HubError(CONFLICT) shortly after the last time."""
        return self.token_keys.rotate(self.clock())._asdict()

    def stop_releases(self, stop: bool, *, scope: Scope = "all", code: str = "", reason: str = "") -> dict[str, Any]:
        """Stop, or resume. When this returns after a stop, no hand-out under it commits any more. Raises HubError."""
        line, catalogue = Stop(scope, code, self.clock(), reason), self.in_force.catalogue
        done = stopping.change(
            self.store, self.stop_flag, line, on=stop, catalogue=catalogue, clock=self.clock, salt=self.act_salt
        )
        if not stop:
            self.bell.ring_all()
        self.log.warning("releases.stopped" if stop else "releases.resumed", kind=scope)
        return done

    def count_on(self, *, starting: bool = False) -> Quarantine | None:
        """Have the store and the marks beside the key agree once more; returns the quarantine, where it is in one."""
        return count_on(self.store, self.marks, clock=self.clock, salt=self.act_salt, log=self.log, starting=starting)

    def note_backup(self) -> dict[str, Any]:
        """Put on record that the store was copied just now, and count on: restored, the copy is an older one."""
        self.store.write(lambda tx: record(tx, {"act": "backup"}, now_us=self.clock(), salt=self.act_salt))
        return {"quarantined": self.count_on() is not None}

    # Running.
    def start(self) -> None:
        """Start the hub's own threads, and record what was stopped while none ran."""
        stopping.note(self.store, self.stop_flag, clock=self.clock, salt=self.act_salt)
        if Part.GATE not in self.parts:
            self.bus.watch()
        for worker in (*self._workers(), *self.wires):
            worker.start()

    def close(self) -> None:
        """Finish what is begun, then let every file go. Nothing is lost by not calling it."""
        self.stopping = True
        self.bell.ring_all()
        for worker in (*self._workers(), *self.wires):
            if not worker.stop(STOP_WORKERS_S):
                self.log.error("worker.stuck", worker=worker.name)
        try:
            self.count_on()  # any copy that was made while it ran is an older one from now on
        except HubError as error:
            self.log.warning("marks.behind", code=error.code)
        self.bus.close()
        if self.signals is not None:
            self.signals.close()
        self.store.close()
        self.local_store.close()
        self.in_force.policy.close()
        if self.traces is not None:
            self.traces.close()

    def _workers(self) -> tuple[Worker | WebhookWorkers | Leases, ...]:
        """What this process runs, in the order in which it ends: leases are given up once nothing works under them."""
        several = self.leases is not None
        workers: list[tuple[bool, Worker | WebhookWorkers]] = [
            (Part.WEBHOOKS in self.parts, self.webhook_senders),
            (Part.FILES in self.parts, self.files),
            (Part.GATE in self.parts, self.gate),
            (Part.GATE in self.parts and several, self.let_go),
            (Part.RETENTION in self.parts, self.retention),
            (bool(self.parts & ON_THE_BUS) and several, self.own_keys),
            (bool(self.parts & DECIDE) and self.settings.policy == "server", self.policy_watcher),
            (self.store.shared, self.news_watcher),  # nobody else changes an embedded store
            (True, self.marks_worker),
            (True, self.standstill_watcher),
        ]
        return *[worker for here, worker in workers if here], *([self.leases] if self.leases else [])

    def _paused(self) -> list[standstill.Reason]:
        """Say what keeps releases from going on, what lies deepest first."""
        stops = read_stops(self.stop_flag)
        found = []
        if stops.everything:
            since_us = min((one.since_us for one in stops.lines if one.scope == "all"), default=0)
            found.append(standstill.Reason("stopped by the operator", since_us))
        engines = [self.store.trouble(), self.timely.trouble(), *[one.what for one in self.bus.troubles()]]
        engines += [one.what for one in self._quarantine()]
        gate = self.gate.trouble() if self.gate in self._workers() else ""
        said = (*engines, *self._unapproved(), *[one.what for one in self._policy_away()], gate)
        words = [one.removeprefix("nothing is decided: ") for one in said if one]
        return found + [standstill.Reason(one[:1].lower() + one[1:]) for one in words]

    def troubles(self) -> tuple[Item, ...]:
        """Say in words why the hub does not do its work; empty when it does."""
        items = [Item(said, remedy="Its log says more.") for worker in self._workers() if (said := worker.trouble())]
        if said := self.store.trouble():
            items.append(Item(said, remedy="Check the disk and the store's file; restart when both are back."))
        else:
            items += self._quarantine()
        if said := self.timely.trouble():
            items.append(Item(said, remedy=SET_THE_CLOCK))
        items += self.bus.troubles()
        items += [Item(said, remedy="Run `hub catalogue apply`.") for said in self._unapproved()]
        items += self._policy_away()
        if self.stopping:
            items.append(Item("the hub is stopping"))
        return tuple(items)

    def _quarantine(self) -> list[Item]:
        """Say that the store was restored and nothing is released."""
        try:
            with self.store.read() as tx:
                held = quarantine(tx)
        except HubError:  # the store's own trouble says more
            return []
        return [Item(f"{WHY[held.why]}; nothing is released", remedy=REMEDY)] if held else []

    def _unapproved(self) -> tuple[str, ...]:
        if not self.in_force.revision:
            return ("no catalogue is approved",)
        if self.in_force.revision != self.in_force.policy.revision():
            return ("the policy is not the one that was approved; nothing is decided",)
        return ()

    def _policy_away(self) -> tuple[Item, ...]:
        asked = self.settings.policy == "server" and self.parts & DECIDE and not self._unapproved()
        return self.policy_watch.troubles() if asked else ()

    def measure(self) -> None:
        """Bring the gauges up to date."""
        with self.store.read() as tx:
            waiting, since_us = oldest(tx)
            measure_letters(self.metrics, tx, self.clock())
        self.metrics.waiting_events.set(waiting)
        self.metrics.oldest_waiting_s.set((self.clock() - since_us) / US if waiting else 0)
        self.metrics.intake_backlog.set(self.bus.backlog())
        self.metrics.wal_bytes.set(self.store.wal_bytes())
        self.metrics.long_polls.set(self.bell.listeners())
        self.metrics.troubles.set(len(self.troubles()))
        state.measure(
            self.metrics, self.settings, self.store, self.in_force.catalogue, read_stops(self.stop_flag), self.clock()
        )

    def status(self) -> dict[str, Any]:
        """Say how the hub is, for an operator. While its store is away: what is known without it."""
        said: dict[str, Any] = {
            "pid": os.getpid(),
            "parts": [str(part) for part in Part if part in self.parts],
            "troubles": [{"what": item.what, "remedy": item.remedy} for item in self.troubles()],
            "revision": self.in_force.revision,
            "long_polls": self.bell.listeners(),
            "standstill": standstill_of(self, self.standstill.look()),
        }
        try:
            with self.store.read() as tx:
                letters = letters_status(tx, self.clock(), self.settings.dead_letter_alarm_hours)
                running = running_parts(tx) if self.leases else []
            absent = missing_parts(running, self.settings) if self.leases else ()
            said["troubles"] += [{"what": item.what, "remedy": item.remedy} for item in absent]
            return {**said, "processes": running, **status_of(self), **letters}
        except HubError as error:
            if error.kind is not Kind.UNAVAILABLE:
                raise
            return {**said, **without_store(self)}

    def _apply(self, proposed: Catalogue, policy: Engine, expected: str | None) -> approved_catalogues.Applied:
        applied = approved_catalogues.apply(
            self.store, self.clock, proposed, revision=policy.revision(), salt=self.act_salt, expected=expected
        )
        self.log.info("catalogue.approved", digest=applied.digest, count=len(applied.changes))
        return applied

    def _stock(self) -> tuple[Engine, approved_catalogues.Approved | None]:
        """Approve the shipped catalogue where nothing is, and the present policy where another one was.

        Returns what is approved only where that was so before: it need not be read again.
        """
        approved = approved_catalogues.load_approved(self.store)
        catalogue = approved.catalogue if approved.revision else shipped_catalogue()
        policy = engine(self.settings, catalogue)
        if approved.revision == policy.revision():
            return policy, approved
        if not approved.revision:  # nobody's officers are there to sign for an invented country
            invent_officers(self.agreements, catalogue, self.settings.data_dir)
        self._apply(catalogue, policy, None)
        return policy, None

    def _assemble(self, policy: Engine | None, approved: approved_catalogues.Approved | None = None) -> InForce:
        """Build all that depends on the catalogue from what the store says is approved; both where they are there."""
        settings, approved = self.settings, approved or approved_catalogues.load_approved(self.store)
        catalogue, datasets = approved.catalogue, approved.datasets
        policy = policy or engine(settings, catalogue)
        numbers = {agency.code: agency.number for agency in catalogue.agencies.values()}
        codes = {number: code for code, number in numbers.items()}

        def day_key(publisher: str, day: int) -> AESGCM | None:
            return self.day_keys.of(numbers[publisher], day) if publisher in numbers else None

        world = World(
            store=self.store,
            bus=self.bus,
            verdicts=Verdicts(policy),
            keys=self.keys,
            open_keys=self.open_keys,
            catalogue=catalogue,
            datasets=datasets,
            clock=self.clock,
            zone=ZoneInfo(settings.timezone),
            field_sets=self.field_sets,
            day_key=day_key,
            stopped=partial(read_stops, str(self.stop_flag)),
            limits=_limits(settings),
            timely=self.timely,
            way=self.way,
            intake=self.intake,
            seal_to=lambda recipient: self.sealing_keys.of(codes.get(recipient, "")),
        )
        desk = PublishDesk(
            bus=self.bus,
            keys=self.keys,
            catalogue=catalogue,
            datasets=datasets,
            validators=validators_of(datasets),
            day_key=self.day_keys.for_publish,
            clock=self.clock,
            event_bytes=settings.publish_event_bytes,
            oldest_us=settings.event_max_age_days * 86_400 * US,
            newest_us=settings.event_max_future_s * US,
            way=self.way,
            intake=self.intake,
            backlog=self.bus.backlog,
        )
        keep_days = settings.intake_retention_days
        register = Register(self.store, self.keys, self.open_keys, catalogue, self.clock, keep_days)
        citizens = CitizenDesk(self.store, self.keys, self.open_keys, catalogue, self.clock, self.bell.ring)
        return InForce(catalogue, policy, approved.revision, world, desk, register, citizens)

    def _follow_topics(self) -> None:
        """Poll the topics of every dataset there ever was: one that has left may still have events to be decided."""
        datasets = self.in_force.desk.datasets.values()
        self.bus.follow({topic(one.provider, one.name) for one in datasets})

    def _agencies(self) -> Collection[str]:
        return self.in_force.catalogue.agencies.keys()

    def _count_refusal(self, agency: str) -> None:
        self.metrics.quota_refusals.labels(self.metrics.agency(agency)).inc()


def build(settings: Settings, *, clock: Clock = system_clock, log: Log | None = None, stock: bool = True) -> Hub:
    """Put a hub together, without starting its threads. Raises HubError(STARTUP).

    Outside production an empty store is stocked with the shipped catalogue, and a changed policy is approved by itself;
    in production both are an operator's act. `stock=False` leaves the store as it is.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.mode == "demo":
        (settings.data_dir / DEMO_MARK).touch()
    failpoints.arm_from(settings.failpoints)
    log = log or open_log(clock=clock, level=settings.log_level, form=settings.log_format)
    return Hub(settings, clock=clock, log=log, stock=stock and settings.mode != "production")


def engine(settings: Settings, catalogue: Catalogue) -> Engine:
    """Make the policy engine that the settings name; a server is not asked yet. Raises HubError(STARTUP)."""
    if settings.policy == "embedded":
        return EmbeddedPolicy(catalogue, COMPILED)
    from hub.policy.opa import OpaServer  # here: it brings an HTTP client of its own, which takes a moment to load
    from hub.policy.server import ServerPolicy

    token, path = "", settings.opa_token_file
    if path is not None:
        token = read_token(path, "OPA", setting="HUB_OPA_TOKEN_FILE", code="opa-token-file")
    server = OpaServer(settings.opa_url, token=token, ca_file=settings.opa_ca_file, timeout_s=settings.opa_timeout_s)
    return ServerPolicy(catalogue, COMPILED, server)


def shipped_catalogue() -> Catalogue:
    """Read the catalogue that ships with the hub: once in a store's life, so what parses it is loaded then only."""
    from hub import catalogue_files

    return catalogue_files.load(CATALOGUE)


def _root_key(settings: Settings) -> bytes:
    """Read the root key; outside production make one at the first start, and never for a store that is there."""
    path = settings.key_path
    if settings.mode != "production" and not path.exists() and not settings.store_path.exists():
        make_key_file(path)
    return read_key_file(path)


def open_bus(
    settings: Settings, store: Store, log: Log, approved: Callable[[], Catalogue], clock: Clock
) -> "EmbeddedBus | KafkaBus | NoBus":
    """Open the bus that the settings name, where this process has any need of it. Raises HubError(STARTUP)."""
    if not settings.parts & ON_THE_BUS:
        return NoBus()
    if settings.bus == "embedded":
        return EmbeddedBus(store)
    from hub.bus.kafka import KafkaBus, nothing_barred  # what it brings is loaded by hubs that use it
    from hub.bus.kafka_access import access_of
    from hub.bus.kafka_plan import wanted_of
    from hub.bus.kafka_topics import barring

    decides = Part.GATE in settings.parts  # who only publishes needs, and has, no right to look at topics' settings
    return KafkaBus(
        store,
        access_of(settings),
        barred=barring(access_of(settings), lambda: wanted_of(settings, approved())) if decides else nothing_barred,
        log=log,
        publisher=access_of(settings, of="publish"),
        publish_s=settings.kafka_publish_s,
        clock=clock,
    )


def open_signals(settings: Settings) -> "Signals | None":
    """Open what carries words between the hub's processes, where there may be several."""
    if not settings.on_postgres:
        return None
    from hub.store.signals import Signals  # psycopg is loaded only where it is used

    return Signals(settings.store_dsn, password=settings.store_password())


def _quota(settings: Settings) -> Quota:
    return Quota(
        requests_per_s=settings.quota_requests_per_s,
        requests_burst=settings.quota_requests_burst,
        events_per_s=settings.quota_events_per_s,
        events_burst=settings.quota_events_burst,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        batch_events=settings.gate_batch_events,
        page=settings.handout_page,
        redeliver_us=settings.handout_redeliver_s * US,
        outstanding=settings.handout_outstanding,
        waiting_us=settings.waiting_days * 86_400 * US,
    )

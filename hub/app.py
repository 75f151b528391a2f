"""The composition root: `build` puts one hub together, `Hub` is the result.

It and what stands beside it alone name implementations: `engines.py` opens what the settings name, `in_force.py` is
what depends on the catalogue, `threads.py` what runs by itself. How a running hub is, `operations/condition.py` says.
"""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

from anyio import CapacityLimiter

from hub import failpoints
from hub.citizens.desk import CitizenDesk
from hub.clock import system_clock
from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Item, Kind
from hub.engines import engine, open_bus, open_root_key, quota_of, shipped_catalogue
from hub.exchange.agreements import AgreementDesk
from hub.exchange.bell import Bell
from hub.exchange.clock_check import ClockCheck
from hub.exchange.erase import erase_again, eraser
from hub.exchange.intake import topic
from hub.exchange.officers import invent_officers
from hub.exchange.publish import PublishDesk, validators_of
from hub.exchange.webhooks import open_webhooks, rotate
from hub.exchange.world import FieldSets, World
from hub.identity.agency_tokens import AgencyTokens, nothing_new
from hub.identity.bundle_key import bundle_key
from hub.identity.day_keys import DayKeys
from hub.identity.keys import OpenKeys
from hub.identity.ledger import open_ledger
from hub.identity.local_store import LocalStore
from hub.identity.marks import Marks
from hub.identity.people import Register
from hub.identity.receipt_keys import rotate_receipt_key
from hub.identity.registered_keys import RegisteredKeys
from hub.identity.ring import RingWatch, act_salt, open_ring, root_name
from hub.identity.sealing import SealingKeys
from hub.identity.sign_ins import open_sign_in
from hub.identity.token_keys import RotatingKeys
from hub.identity.used_assertions import SharedClaims
from hub.in_force import InForce, assemble
from hub.logs import Log, open_log
from hub.metrics import open_metrics
from hub.operations import condition, stopping
from hub.operations.counted import count_on
from hub.parts import Part
from hub.policy.bundle import signed_bundle
from hub.policy.engine import Engine
from hub.ports import Bundle, Clock
from hub.settings import DEMO_MARK, Settings
from hub.stop_flag import STOP_FLAG, Scope, Stop
from hub.store import catalogue as approved_catalogues
from hub.store.catalogue import Approved
from hub.store.erasures import erased_since, last_erasure
from hub.store.moving import take_over
from hub.store.news import Topic
from hub.store.opening import open_store
from hub.store.operations import record
from hub.store.person_keys import wrapped_keys
from hub.store.quarantine import Quarantine
from hub.threads import threads_of
from hub.traces import open_traces
from hub.way import Way
from hub.web.quota import Quotas
from hub.workers.bell import Teller
from hub.workers.news import News

AGENCY_THREADS = 24  # of the 40 there are: agencies in a crowd leave 16 to citizens' acts, which use none of these
STOP_WORKERS_S = 10.0  # a batch takes a fraction of a second


class Hub:
    """One running hub: what `app.state.hub` holds. Attributes are set once; `in_force` alone is replaced."""

    def __init__(self, settings: Settings, *, clock: Clock, log: Log, stock: bool) -> None:
        """Open everything under `data_dir`; see `build` for `stock`. Raises HubError(STARTUP), with nothing left open.

        1. the store, and the keys that it keeps sealed      2. is it the newest one? Before anything is given out
        3. the bus, and what is kept in memory               4. what depends on the catalogue in force
        5. who is erased stays so: before anything else runs
        6. how people and agencies sign in
        7. what is read anew when another process changed it      8. the threads
        """
        self.settings, self.clock, self.log, self.parts = settings, clock, log, settings.parts
        with ExitStack() as opened:
            self._open_store(opened)  # 1.
            self.count_on(starting=True)  # 2.
            self._open_bus(opened)  # 3.
            self._put_in_force(stock=stock)  # 4.
            opened.callback(lambda: self.in_force.policy.close())  # noqa: PLW0108 - the one that is in force then
            self.ledger = open_ledger(settings.key_path, self.keys.erasure)
            erase_again(eraser(self), log)  # 5.
            self._open_metrics(opened)
            self._sign_in(opened)  # 6.
            self._attend_to_news()  # 7.
            self._make_threads(opened)  # 8.
            self._opened = opened.pop_all()

    def _open_store(self, opened: ExitStack) -> None:
        settings, clock, root = self.settings, self.clock, open_root_key(self.settings)
        self.root = root_name(root)
        self.store, self.schema = open_store(settings)
        opened.callback(self.store.close)
        self.news = News(self.store, self.log)  # first: what is changed while the rest is read is read anew
        self.keys = open_ring(self.store, root, clock)
        self.wrapping, self.act_salt = self.keys.wrapping, act_salt(self.keys)
        self.ring_watch = RingWatch(self.store, self.keys, settings.key_path)
        self._share_keys()
        self.marks = Marks(settings.marks_base, self.keys.marks)
        self.store.outside = self.marks
        take_over(self.store, clock=clock, salt=self.act_salt)

    def _share_keys(self) -> None:
        """Where other processes rotate the wrapping key too: write nothing without the present one, and learn it."""
        with self.store.read() as tx:
            self._erased_until = last_erasure(tx)
        if self.store.shared:
            self.store.heed(self.ring_watch)
            self.wrapping.learn = self.ring_watch.look

    def _open_bus(self, opened: ExitStack) -> None:
        self.local_store = LocalStore(self.settings.data_dir / "edge.sqlite", clock=self.clock)
        opened.callback(self.local_store.close)
        self.bus = open_bus(self.settings, self.store, self.log, self.approved, self.clock)
        opened.callback(lambda: self.bus.close())  # noqa: PLW0108 - the one that is here then
        self.teller = Teller() if self.settings.on_postgres else None
        self.bell = Bell(self.teller.tell) if self.teller else Bell()
        self.open_keys = OpenKeys(self.keys.wrapping, partial(wrapped_keys, self.store), current=self.news.current)
        self.day_keys = DayKeys(self.store, self.keys, self.local_store)
        self.field_sets, self.sealing_keys = FieldSets(self.store), SealingKeys(self.store)
        self.agency_threads, self.way, self.intake = CapacityLimiter(AGENCY_THREADS), Way(), Way()
        self.stopping, self.began = False, (monotonic(), self.clock())
        self.timely = ClockCheck(self.store, self.clock, self.settings.clock_off_max_s)

    def _put_in_force(self, *, stock: bool) -> None:
        self._approving = Lock()
        self._bundle: tuple[InForce, Bundle] | None = None
        self.agreements = AgreementDesk(
            self.store, self.approved, self.clock, self.act_salt, self.bell.ring_all, self.way
        )
        policy, approved = self._stock() if stock else (None, None)
        self.in_force = assemble(self, approved or approved_catalogues.load_approved(self.store), policy)
        self._follow_topics()

    def _open_metrics(self, opened: ExitStack) -> None:
        self.metrics = open_metrics(self._agencies)
        endpoint = self.settings.otlp_endpoint
        self.traces = open_traces(endpoint, self.metrics.agency) if endpoint else None
        if self.traces is not None:
            opened.callback(self.traces.close)

    def _sign_in(self, opened: ExitStack) -> None:
        self.sign_in = open_sign_in(self.settings, self.store, self.keys, self.clock)
        if self.sign_in is not None:
            opened.callback(self.sign_in.provider.close)
        self.quotas = Quotas(quota_of(self.settings), refused=self._count_refusal)
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

    def _make_threads(self, opened: ExitStack) -> None:
        self.webhooks = open_webhooks(
            self.settings, lambda: self.world, salt=self.act_salt, wrapping=self.wrapping, log=self.log,
            ring=self.bell.ring,
        )  # fmt: skip
        self.threads = threads_of(self)
        if self.threads.signals is not None:
            opened.callback(self.threads.signals.close)
        self.gate, self.file_drops = self.threads.gate, self.threads.file_drops

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

    def _replace(self, policy: Engine, approved: Approved | None = None) -> None:
        former = self.in_force
        self.in_force = assemble(self, approved or approved_catalogues.load_approved(self.store), policy)
        self._follow_topics()
        former.policy.close()  # whoever still asks it is told to ask again

    def _apply(self, proposed: Catalogue, policy: Engine, expected: str | None) -> approved_catalogues.Applied:
        applied = approved_catalogues.apply(
            self.store, self.clock, proposed, revision=policy.revision(), salt=self.act_salt, expected=expected
        )
        self.log.info("catalogue.approved", digest=applied.digest, count=len(applied.changes))
        return applied

    def _stock(self) -> tuple[Engine, Approved | None]:
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

    def _follow_topics(self) -> None:
        """Poll the topics of every dataset there ever was: one that has left may still have events to be decided."""
        datasets = self.in_force.desk.datasets.values()
        self.bus.follow({topic(one.provider, one.name) for one in datasets})

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

    def rotate_receipt_key(self) -> dict[str, Any]:
        """Sign receipts with the next key from now on; those of before verify for ever."""
        done = rotate_receipt_key(self.store, self.keys, self.clock)
        self.log.warning("receipt_key.rotated", count=done.published)
        return done._asdict()

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
        self.threads.start()

    def close(self) -> None:
        """Finish what is begun, then let every file go. Nothing is lost by not calling it."""
        self.stopping = True
        self.bell.ring_all()
        for name in self.threads.stop(STOP_WORKERS_S):
            self.log.error("worker.stuck", worker=name)
        try:
            self.count_on()  # any copy that was made while it ran is an older one from now on
        except HubError as error:
            self.log.warning("marks.behind", code=error.code)
        self._opened.close()

    # How it is.
    def troubles(self) -> tuple[Item, ...]:
        return condition.troubles(self)

    def measure(self) -> None:
        condition.measure(self)

    def status(self) -> dict[str, Any]:
        return condition.status(self)

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

"""Rehearse a disaster on a scratch store, with three invented people: the one who stays, who withdraws, who is erased.

1. a hub hands out something about each      2. backup, checked      3. since then: another hand-out, a withdrawal, an
erasure      4. the store is lost      5. restore: quarantine, nothing is decided or handed out, publishing goes on
6. reconcile      7. the first release after it: about the one who stays, under a number that nobody was ever given
Nothing of a real store is read or written.
"""

import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

from consent.notice import Notice
from hub.app import Hub, build
from hub.citizens.choices import grant_unasked
from hub.citizens.withdraw import withdraw_it
from hub.clock import system_clock
from hub.core.errors import HubError
from hub.exchange.acknowledge import Acknowledgement, acknowledge
from hub.exchange.erase import erase_person, eraser
from hub.exchange.feed import Opened, rfc3339
from hub.exchange.gate import Gate
from hub.exchange.handout import hand_out
from hub.exchange.publish import Accepted, publish
from hub.identity.people import NewLink, link, person_of
from hub.identity.principal import Principal
from hub.logs import open_log
from hub.operations.backup import back_up, verify
from hub.operations.findings import Finding, fail, passed
from hub.operations.reconcile import reconcile
from hub.operations.restore import restore
from hub.settings import Settings
from hub.store.deliveries import DeliveryKind

PROVIDER, DATASET, RECIPIENT, PURPOSE = "population-register", "pop.residence", "lindum", "KINDER-PLACE"
STAYS, WITHDRAWS, ERASED = "stays", "withdraws", "erased"
PEOPLE = (STAYS, WITHDRAWS, ERASED)
US = 1_000_000


def rehearse(place: Path, dsn: str) -> list[Finding]:
    """Take all steps, each a finding with its time; the first that fails ends it.

    `dsn`: the owner's of an empty PostgreSQL database; "" for SQLite.
    """
    place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="restore-drill-", dir=place))
    settings = Settings(mode="demo", data_dir=folder / "hub", store_dsn=dsn, bus="embedded", policy="embedded")
    drill = Drill(settings, folder / "backup", dsn)
    found: list[Finding] = []
    try:
        if dsn:
            _refuse_filled(dsn)
        for check, step in drill.steps():
            began_s = perf_counter()
            try:
                said = step()
            except (HubError, AssertionError, OSError) as error:
                what = error.what if isinstance(error, HubError) else f"{type(error).__name__}: {error}"
                found.append(fail(check, what, "A real disaster would end here: see what the step needs."))
                break
            found.append(passed(check, f"{said} ({perf_counter() - began_s:.2f} s)"))
    finally:
        drill.close()
        shutil.rmtree(folder, ignore_errors=True)
        if dsn and found:
            _clear(dsn)
    return found


class Drill:
    """One hub over the scratch store, lost and restored in between."""

    def __init__(self, settings: Settings, backup: Path, dsn: str) -> None:
        self._settings, self._backup, self._dsn = settings, backup, dsn
        self._hub: Hub | None = None
        self._log = open_log(clock=system_clock, stream=io.StringIO())
        self._consents: dict[str, str] = {}
        self._given_out = 0
        self._published = 0

    def steps(self) -> Sequence[tuple[str, Callable[[], str]]]:
        return (
            ("a hub", self.begin), ("backup", self.back_up), ("since then", self.go_on), ("loss", self.lose),
            ("restore", self.restore), ("quarantine", self.see_quarantine), ("reconcile", self.reconcile),
            ("first release", self.release),
        )  # fmt: skip

    def close(self) -> None:
        if self._hub is not None:
            self._hub.close()
            self._hub = None

    def begin(self) -> str:
        """Link three people, let them consent, and hand out something about each."""
        self._hub = hub = build(self._settings, log=self._log)
        for who in PEOPLE:
            link(hub.register, PROVIDER, [NewLink(PROVIDER, who, f"R-{who}", 3, date(2023, 5, 1))])
            principal = self._principal(who)
            notice = Notice(1, "en", sha256(b"drill").digest())
            done = grant_unasked(
                hub.citizens, principal, recipient=RECIPIENT, purpose=PURPOSE, items=None, notice=notice
            )
            self._consents[who] = done.consent
        handed = self._publish_and_pull()
        _expect(handed == 3, f"{handed} of 3 deliveries were handed out")
        return f"3 people consent, {handed} deliveries handed out"

    def back_up(self) -> str:
        """Copy the store beside the hub, and check the copy."""
        hub = self._running()
        made = back_up(self._settings, self._backup, clock=system_clock)
        hub.note_backup()
        failed = [one.what for one in verify(self._backup, self._settings.key_path) if one.level != "PASS"]
        _expect(not failed, "; ".join(failed))
        return f"{sum(of['bytes'] for of in made['files'].values()) / 1e6:.1f} MB, every file checked"

    def go_on(self) -> str:
        """Hand out more; one withdraws, one is erased."""
        hub = self._running()
        handed = self._publish_and_pull()
        withdraw_it(hub.citizens, self._principal(WITHDRAWS), self._consents[WITHDRAWS])
        erase_person(eraser(hub), self._principal(ERASED).person, reason="request")
        return f"{handed} more deliveries, up to number {self._given_out}; one person withdraws, one is erased"

    def lose(self) -> str:
        """Throw the store away; the key's folder stays."""
        self.close()
        if self._dsn:
            _clear(self._dsn)
        else:
            for path in self._settings.data_dir.glob("hub.sqlite*"):
                path.unlink()
        return "the store is gone; the key, its ledger and its marks are there"

    def restore(self) -> str:
        done = restore(self._settings, self._backup, owner_dsn=self._dsn, replace=False, clock=system_clock)
        return f"schema {done['schema']}, {rfc3339(done['made_us'])}"

    def see_quarantine(self) -> str:
        """See that nothing is decided and nothing handed out, while publishing goes on."""
        self._hub = hub = build(self._settings, log=self._log)
        said = [one.what for one in hub.troubles() if "nothing is released" in one.what]
        _expect(bool(said), "the hub does not say that it is in quarantine")
        self._publish()
        _expect(_refused(lambda: self._decide(hub)), "the gate decided")
        _expect(_refused(lambda: hand_out(hub.world, RECIPIENT, 500)), "something was handed out")
        return f"{said[0]}; a pull and the gate are refused, publishing is not"

    def reconcile(self) -> str:
        done = reconcile(self._running())
        _expect(done["acts"] == {"withdrawn": 1}, f"the acts are {done['acts']}")
        return "the withdrawal is done again, whom the ledger names was erased again at the start"

    def release(self) -> str:
        """See who gets something, and under which number."""
        hub = self._running()
        self._decide(hub)
        opened = self._pull(hub)
        data = [one for one in opened if one.kind == DeliveryKind.DATA]
        persons = {one.person for one in data}
        _expect(persons == {self._principal(STAYS).person}, f"{len(persons)} people's data were handed out")
        _expect(min(one.number for one in opened) > self._given_out, "a number was given out twice")
        first = min(one.number for one in opened)
        return f"about the one who stays alone; numbers go on at {first}, {self._given_out} was the last before"

    def _running(self) -> Hub:
        assert self._hub is not None
        return self._hub

    def _principal(self, who: str) -> Principal:
        hub = self._running()
        with hub.store.read() as tx:
            person = person_of(tx, hub.keys, PROVIDER, who)
        assert person is not None
        return Principal(person, person, "self", 3, "drill")

    def _publish(self) -> None:
        """Publish one event about each."""
        hub = self._running()
        for who in PEOPLE:
            self._published += 1
            event: dict[str, Any] = {
                "specversion": "1.0", "id": f"drill-{self._published}", "source": f"urn:agency:{PROVIDER}",
                "type": DATASET, "subject": who, "time": rfc3339(system_clock()),
                "data": {"resident": who, "municipality_code": "M-7"},
            }  # fmt: skip
            (outcome,) = publish(hub.desk, PROVIDER, [event])
            _expect(isinstance(outcome, Accepted), "an event was refused")

    def _publish_and_pull(self) -> int:
        hub = self._running()
        self._publish()
        self._decide(hub)
        return sum(one.kind == DeliveryKind.DATA for one in self._pull(hub, note=True))

    def _decide(self, hub: Hub) -> None:
        gate = Gate(hub.world)
        while gate.step(0.0) is not None or not gate.idle():
            continue

    def _pull(self, hub: Hub, *, note: bool = False) -> list[Opened]:
        """Take all that there is, and acknowledge it."""
        found: list[Opened] = []
        while opened := hand_out(hub.world, RECIPIENT, 500).opened:
            acknowledge(hub.world, RECIPIENT, [Acknowledgement(one.number, one.public.hex()) for one in opened])
            found += opened
        if note:
            self._given_out = max([self._given_out, *[one.number for one in found]])
        return found


def _refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except HubError as error:
        return error.code == "quarantined"
    return False


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _refuse_filled(dsn: str) -> None:
    from hub.core.errors import Kind
    from hub.store.migrate_postgres import opened

    with opened(dsn) as connection:
        filled = connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public' LIMIT 1").fetchone()
    if filled:
        raise HubError(
            Kind.STARTUP,
            "the scratch database is not empty; the drill would delete what is in it",
            where="--dsn",
            remedy="Make one for the drill: CREATE DATABASE drill TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'.",
            code="drill-impossible",
        )


def _clear(dsn: str) -> None:
    """Empty the scratch database, which was empty before."""
    from hub.store.migrate_postgres import opened

    with opened(dsn) as connection, connection.transaction():
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")

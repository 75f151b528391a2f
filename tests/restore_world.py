"""A hub put together and not started, that is backed up, lost and restored: its acts in the order of a test's words."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from hub.app import Hub, build
from hub.citizens.choices import grant_unasked, narrow_it, pause_it, resume_it
from hub.citizens.objections import object_to
from hub.citizens.withdraw import withdraw_it
from hub.exchange.acknowledge import Acknowledgement, acknowledge
from hub.exchange.erase import erase_person, eraser
from hub.exchange.feed import Opened
from hub.exchange.gate import Gate
from hub.exchange.handout import hand_out
from hub.exchange.publish import Accepted, publish
from hub.identity.people import NewLink, link, person_of
from hub.logs import open_log
from hub.operations.backup import back_up
from hub.operations.reconcile import reconcile, shown
from hub.operations.restore import restore
from hub.settings import Settings
from hub.store.deliveries import DeliveryKind
from tests import stores
from tests.protocol_world import CONSENT, LINKER, NOTICE, ManualClock, Matter, S, principal

BORN = date(2023, 5, 1)


class House:
    """One hub over `directory`. After `lose_to` it is the store of the backup, under the key and marks of now."""

    def __init__(self, directory: Path, clock: ManualClock | None = None, **settings: Any) -> None:
        self.directory, self.clock = directory, clock or ManualClock()
        given: dict[str, Any] = {"mode": "development", "data_dir": directory, "synchronous": "NORMAL"}
        self.settings = Settings(**{**given, **stores.settings_of(directory), **settings})
        self.said = io.StringIO()
        self.published = 0
        self.open()

    def open(self) -> Hub:
        self.hub = build(self.settings, clock=self.clock, log=open_log(clock=self.clock, stream=self.said))
        return self.hub

    def close(self) -> None:
        self.hub.close()

    def pass_by(self, seconds: float = 1.0) -> None:
        self.clock.pass_by(seconds)

    # People.
    def link(self, who: str, matter: Matter = CONSENT) -> int:
        link(self.hub.register, LINKER, [NewLink(matter.publisher, who, f"R-{who}", 3, BORN)])
        return self.person(who, matter)

    def person(self, who: str, matter: Matter = CONSENT) -> int:
        with self.hub.store.read() as tx:
            found = person_of(tx, self.hub.keys, matter.publisher, who)
        assert found is not None
        return found

    def consents(self, *people: str, matter: Matter = CONSENT) -> list[str]:
        """Link each and have them consent; returns the consents."""
        return [self.grant(self.link(who, matter), matter) for who in people]

    def grant(
        self,
        person: int,
        matter: Matter = CONSENT,
        *,
        items: Sequence[tuple[str, str]] | None = None,
        until_us: int | None = None,
    ) -> str:
        done = grant_unasked(
            self.hub.citizens, principal(person), recipient=matter.recipient, purpose=matter.purpose, items=items,
            notice=NOTICE, until_us=until_us,
        )  # fmt: skip
        return done.consent

    def withdraw(self, person: int, consent: str) -> None:
        withdraw_it(self.hub.citizens, principal(person), consent)

    def pause(self, person: int, consent: str) -> None:
        pause_it(self.hub.citizens, principal(person), consent)

    def resume(self, person: int, consent: str) -> None:
        resume_it(self.hub.citizens, principal(person), consent)

    def narrow(self, person: int, consent: str, items: Any) -> None:
        narrow_it(self.hub.citizens, principal(person), consent, items=items)

    def object(self, person: int, matter: Matter) -> None:
        object_to(self.hub.citizens, principal(person), recipient=matter.recipient, purpose=matter.purpose)

    def erase(self, person: int) -> None:
        erase_person(eraser(self.hub), person, reason="request")

    # Agencies.
    def publish(self, *people: str, matter: Matter = CONSENT) -> None:
        """Publish one event about each."""
        for who in people:
            self.published += 1
            event = {
                "specversion": "1.0", "id": f"e-{self.published}", "source": f"urn:agency:{matter.publisher}",
                "type": matter.dataset, "subject": who,
                "time": datetime.fromtimestamp(self.clock() / S, tz=UTC).isoformat(),
                "data": {matter.subject_field: who, **matter.data},
            }  # fmt: skip
            (outcome,) = publish(self.hub.desk, matter.publisher, [event])
            assert isinstance(outcome, Accepted), outcome

    def decide(self) -> None:
        gate = Gate(self.hub.world)
        while gate.step(0.0) is not None or not gate.idle():
            continue

    def pull(self, matter: Matter = CONSENT) -> list[Opened]:
        """Take all that there is, and acknowledge it."""
        found: list[Opened] = []
        while opened := hand_out(self.hub.world, matter.recipient, 500).opened:
            given = [Acknowledgement(one.number, one.public.hex()) for one in opened]
            acknowledge(self.hub.world, matter.recipient, given)
            found += opened
        return found

    def told(self, *people: str, matter: Matter = CONSENT) -> set[int]:
        """Publish about each, decide, and say whose data the recipient got."""
        self.publish(*people, matter=matter)
        self.decide()
        return {one.person for one in self.pull(matter) if one.kind == DeliveryKind.DATA}

    # The operator.
    def back_up(self, name: str = "backup") -> Path:
        folder = self.directory.with_name(f"{self.directory.name}-{name}")
        back_up(self.settings, folder, clock=self.clock)
        self.hub.note_backup()
        self.pass_by()
        return folder

    def lose_to(self, backup: Path, *, quietly: bool = False) -> None:
        """Stop the hub, restore, start. `quietly`: as if it had been put back by hand, and nobody had said so."""
        self.hub.close()
        self.pass_by()
        owner = stores.owner_dsn_of(self.directory / "hub.sqlite") if stores.on_postgres() else ""
        restore(self.settings, backup, owner_dsn=owner, replace=True, clock=self.clock)
        if quietly:
            store = stores.open_store(self.directory / "hub.sqlite")
            store.write(lambda tx: tx.run("DELETE FROM fact WHERE name = 'quarantine'"))
            store.close()
        self.open()

    def shown(self) -> dict[str, Any]:
        return shown(self.hub)

    def reconcile(self) -> dict[str, Any]:
        self.pass_by()
        return reconcile(self.hub)

    def rows(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        with self.hub.store.read() as tx:
            return tx.rows(sql, parameters)

    def quarantined(self) -> str:
        """Say in which quarantine it is, by the hub's own words."""
        return "; ".join(one.what for one in self.hub.troubles() if "nothing is released" in one.what)


def required(ours: House) -> list[tuple[str, str]]:
    """Return the least that can be given of what the consents are about."""
    (line,) = (
        one for one in ours.hub.approved().by_dataset[CONSENT.dataset]
        if (one.recipient, one.purpose.code) == (CONSENT.recipient, CONSENT.purpose)
    )  # fmt: skip
    return [(CONSENT.dataset, name) for name in sorted(line.required)]


@contextmanager
def house(directory: Path, **settings: Any) -> Iterator[House]:
    there = House(directory / "hub", **settings)
    try:
        yield there
    finally:
        there.close()

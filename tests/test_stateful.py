"""Whatever agencies and citizens do, in any order, with crashes in between: every promise holds after every step."""

import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hub.citizens.choices import Done, grant, grant_unasked, narrow_it, pause_it, resume_it, say_no
from hub.citizens.endings import end_overdue
from hub.citizens.objections import object_to, take_back
from hub.citizens.requests import ask
from hub.citizens.withdraw import withdraw_it
from hub.core.errors import HubError, Kind
from hub.core.question import Question
from hub.exchange.acknowledge import Acknowledgement, acknowledge
from hub.exchange.agreements import move
from hub.exchange.expiry import expire_held, expire_waiting
from hub.exchange.feed import cloud_event
from hub.exchange.gate import Undecided
from hub.exchange.handout import hand_out
from hub.exchange.publish import Accepted, publish
from hub.exchange.status import event_of, event_state
from hub.exchange.verdicts import Missing
from hub.failpoints import arm, disarm
from hub.identity.people import NewLink, dispute, link, person_of, settle, unlink
from hub.store.deliveries import public_id
from hub.store.facts import CHOICE_STATES
from tests.stateful_model import OPERATOR, Choice, Event, Model, Part, Row
from tests.stateful_world import (
    AGENCIES,
    ASSURANCE,
    BASES,
    DATASETS,
    DAY,
    LINES,
    NOTICE,
    NOW_US,
    Agreed,
    Exchange,
    S,
    signed_in,
)

pytestmark = pytest.mark.engines

PERSONS = range(2)
REDELIVER_US = 60 * S
GATE_POINTS = ("polled", "asks", "prepared", "begun", "decided", "before_commit", "committed")
HANDOUT_POINTS = ("begun", "decided", "before_commit", "committed")
WITHDRAW_POINTS = ("begun", "recorded", "before_commit", "committed")
KINDS = {1: "data", 2: "correction", 3: "stop", 4: "delete", 6: "notice", 9: "backfilled"}
STATES = {1: "ready", 2: "held", 3: "opened", 4: "behind", 5: "later"}
HANDED = struct.Struct("<qqqi")  # delivery, number, outcome, stretch: one entry of a page's audit row

RECIPIENTS = ("kinder", "tax", "fund")
RECIPIENT = {one.purpose: one.recipient for one in LINES.values()}

persons = st.sampled_from(PERSONS)
recipients = st.sampled_from(RECIPIENTS)
purposes = st.sampled_from(("PLACE", "HELP"))
numbers = st.sampled_from(sorted(LINES))
extras = st.sampled_from(("code", "extra", "guardian"))


# long: one machine, so that every rule is checked against the same model after every step


class Crash(Exception):
    """The process ends here."""


def crash() -> None:
    raise Crash


class Walk(RuleBasedStateMachine):
    """Does one thing after another to a hub and to the model, and compares them."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="walk-"))
        self.hub = Exchange(self.directory, signed=False)
        self.model = Model()
        self.names = {person: str(person) for person in PERSONS}  # who comes after somebody erased has other ids
        self.records = dict.fromkeys(DATASETS, 0)  # published, whatever became of them
        self.taken: dict[str, int] | None = dict(self.records)  # of these, handled; None where a crash left it open
        self.noted: set[tuple[int, int]] = set()  # chains whose last backfilled event is decided just now
        self.hub.appoint()
        for line in LINES.values():
            self._sign_at_first(line)
        self.ids: dict[int, int] = {}  # the model's person -> the hub's
        self.sent: list[tuple[dict[str, Any], Event]] = []
        self.got: dict[str, list[dict[str, Any]]] = {code: [] for code in AGENCIES}
        self.serial = 0
        self.may_wait = False  # verdicts may be missing or outdated: what waits is no fault
        for person in PERSONS:  # most walks are to get far; what is linked here can be unlinked
            for agency in ("linker", "register", "clinic", "fund"):
                self._link(agency, person, 3)

    def _sign_at_first(self, line: Agreed) -> None:
        for agency in (line.provider, line.recipient):
            self._sign(line, agency)

    def _sign(self, line: Agreed, agency: str) -> None:
        self.model.signed[line.number].add(agency)
        both = self.model.signed[line.number] == {line.provider, line.recipient}
        phase = "suspended" if self.model.suspended[line.number] else "in_force" if both else "unsigned"
        assert self.hub.sign(line.number, agency).phase == phase

    def local(self, agency: str, person: int) -> str:
        """Return an agency's own id of a person."""
        return f"{agency}-{self.names[person]}"

    def teardown(self) -> None:
        disarm()
        try:
            self.settle_everything()
        finally:
            self.hub.store.close()
            shutil.rmtree(self.directory)

    # Agencies publish.
    @initialize(data=st.data())
    def some_have_said_yes(self, data: st.DataObject) -> None:
        for person in PERSONS:
            for purpose in data.draw(st.sets(purposes)):
                self.grant_unasked(person, purpose, 3, data)

    @rule(
        events=st.lists(st.tuples(persons, st.sampled_from(sorted(DATASETS)), st.sets(extras)), min_size=1, max_size=4)
    )
    def publish_some(self, events: list[tuple[int, str, set[str]]]) -> None:
        for person, dataset, more in events:
            self._publish(dataset, person, 1 - person, more)

    @rule(
        events=st.lists(st.tuples(persons, st.sampled_from(sorted(DATASETS)), st.sets(extras)), min_size=1, max_size=4)
    )
    def publish_and_decide(self, events: list[tuple[int, str, set[str]]]) -> None:
        self.publish_some(events)
        self.revisit()

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def publish_again(self, data: st.DataObject) -> None:
        """A repeat changes nothing."""
        envelope, event = data.draw(st.sampled_from(self.sent))
        self._send(envelope, event.dataset)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def publish_otherwise(self, data: st.DataObject) -> None:
        """The first content counts; the publisher gets one notice."""
        envelope, event = data.draw(st.sampled_from(self.sent))
        self._send({**envelope, "data": {**envelope["data"], "serial": "another"}}, event.dataset)

    def _publish(self, dataset: str, child: int, other: int, more: set[str], **aim: Any) -> Event:
        """Publish an event of somebody; with "guardian" in `more` it names the other one too."""
        self.serial += 1
        guardian = other if dataset == "birth" and "guardian" in more else None
        if dataset == "care":
            data = {"patient_id": self.local("clinic", child), "detail": "d", "number": self.local("N", child)}
            data |= {"code": "c"} if "code" in more else {}
        else:
            data = {"child_id": self.local("register", child), "note": "n"} | (
                {"extra": "x"} if "extra" in more else {}
            )
        if guardian is not None:
            data |= {"guardian_id": self.local("register", guardian), "phone": "p"}
        agency, role = DATASETS[dataset]
        content = data | {"serial": f"s{self.serial}"}
        envelope = {
            "specversion": "1.0", "id": f"e{self.serial}", "source": f"urn:agency:{agency}", "type": dataset,
            "subject": self.local(agency, child), "time": "2027-01-15T00:00:00Z", "data": content, **aim,
        }  # fmt: skip
        token = self._send(envelope, dataset)
        fields = {name: "guardian" if name in ("guardian_id", "phone") else role for name in content}
        event = Event(content["serial"], dataset, child, guardian, fields, event_of(self.hub.keys, token))
        self.model.events.append(event)
        self.sent.append((envelope, event))
        return event

    def _send(self, envelope: dict[str, Any], dataset: str) -> str:
        (outcome,) = publish(self.hub.publishing, DATASETS[dataset][0], [envelope])
        assert isinstance(outcome, Accepted), outcome
        self.records[dataset] += 1
        return outcome.token

    # The gate decides.
    @rule()
    def revisit(self) -> None:
        """What waited and is linked now gets decided, oldest first."""
        self._drain()
        self._compare_decisions()
        before = None
        while before != (before := self.hub.rows("SELECT count(*) FROM waiting")):
            try:
                self.hub.gate.revisit()
            except (HubError, Undecided):
                assert self.may_wait
                break
        waiting = {row[0] for row in self.hub.rows("SELECT event FROM waiting")}
        self._note_lasts({event.hash for event in self.model.events if event.state == "waiting"} - waiting)
        for event in self.model.events:
            if event.state != "waiting":
                continue
            if self.model.missing(event) or self.model.behind(event):
                assert event.hash in waiting, "decided without a link, or out of order"
            elif event.hash in waiting:
                assert self.may_wait, "linked, first of its chain, and still waiting"
            else:
                self._decided(event)
        self._clear_noted()

    def _drain(self) -> None:
        quiet = 0
        while quiet < 2:
            try:
                quiet = quiet + 1 if self.hub.gate.step(0.0) is None and self.hub.gate.idle() else 0
            except (HubError, Undecided):
                assert self.may_wait, "nothing keeps the gate from deciding"
                self.taken = None
                return
        self.taken = dict(self.records)

    def _compare_decisions(self, *, partly: bool = False) -> None:
        """Each event that left the bus was handled as the model says; none was passed by a later one of its topic."""
        seen = {row[0] for row in self.hub.rows("SELECT event FROM event_seen")}
        waiting = {row[0] for row in self.hub.rows("SELECT event FROM waiting")}
        self._note_lasts(seen - waiting)
        for dataset in DATASETS:
            left = False
            for event in self.model.events:
                if event.dataset != dataset or event.state != "bus":
                    continue
                if event.hash not in seen:
                    assert partly or self.may_wait, "left on the bus"
                    left = True
                    continue
                assert not left, "passed an earlier event of its topic"
                if self.model.missing(event) or self.model.behind(event):
                    assert event.hash in waiting, "decided without a link, or out of order"
                    event.state, event.until_us = "waiting", self.model.now_us + 30 * DAY
                else:
                    assert event.hash not in waiting, "waits for nothing"
                    self._decided(event)
        self._clear_noted()

    def _note_lasts(self, decided: set[bytes]) -> None:
        """Note whose last backfilled event is among these. Within a batch it makes no difference before its end."""
        self.noted = {
            (event.backfill.line, event.child)
            for event in self.model.events
            if event.last and event.hash in decided and event.state in ("bus", "waiting")
            if event.backfill is not None and event.backfill.state != "closed"
        }

    def _clear_noted(self) -> None:
        for line, person in self.noted:
            one = self.model.backfill_of(line)
            assert one is not None
            one.noted.add(person)
            self.model.clear(line, person)
        self.noted = set()

    def _decided(self, event: Event) -> None:
        """Take a decision into the model, and see that the hub's is the same for every line."""
        event.state = "handled"
        for line, kind, original in self.model.addressed(event):
            parts = self.model.fresh_parts(event, line)
            outcome, fields = self.model.decide(line, parts, keeps=kind != "backfilled")
            public = public_id(self.hub.keys.delivery, event.hash, line.number)
            found = self.hub.rows(
                "SELECT d.id, d.kind, q.state, q.due_us FROM delivery d JOIN queue q ON q.delivery = d.id"
                " WHERE d.public = ?",
                (public,),
            )
            kept = tuple(
                Part(one.person, what, one.stretch, one.level) for one, what in zip(parts, fields, strict=True) if what
            )
            chain = (line.number, event.child)
            row = Row(0, public, line.recipient, kind, line.number, event.serial, chain, kept, original=original)
            if outcome == "refusal" and kind == "correction":  # who got the original is to delete it
                row.kind, row.parts, outcome = "delete", (), "release"
            self._queued(row, outcome, found)

    def _queued(self, row: Row, outcome: str, found: list[tuple[Any, ...]]) -> None:
        """Take into the model what became of one line of an event, which is what the model says."""
        assert len(found) == (outcome != "refusal"), (row, outcome, found)
        if not found:
            return
        row.id, kind, state, due_us = found[0]
        expected = {"held"} if outcome == "hold" else {self._place(row)}
        if row.chain in self.noted and outcome == "release":  # in one batch it stands behind, in two it does not
            expected |= {"ready", "later" if row.kind == "backfilled" else "behind"}
        assert (KINDS[kind], STATES[state] in expected) == (row.kind, True), (row, outcome, state)
        row.state, row.due_us, row.decided_us = STATES[state], due_us, self.model.now_us
        row.was_behind = row.state == "behind"
        self.model.rows.append(row)

    def _place(self, row: Row) -> str:
        """Say where what is released is put: behind backfill, unless what is to be deleted has left."""
        if not self.model.behind_backfill(*row.chain):
            return "ready"
        if row.kind == "delete" and row.original is not None and row.original.state not in ("behind", "later"):
            return "ready"
        return "later" if row.kind == "backfilled" else "behind"

    # Recipients pull and acknowledge.
    @rule(warm=st.booleans())
    def pull(self, warm: bool) -> None:
        for recipient in RECIPIENTS:
            if warm:
                self._warm()
            self._pull(recipient, wait=self.may_wait or not warm)

    def _warm(self) -> None:
        """Ask everything that can be asked, so that no hand-out has to wait for a verdict."""
        asked = Missing()
        for number, one in self.hub.catalogue.subscriptions.items():
            consent = BASES[one.purpose.code] == "consent"
            pairs = [("given", acr) for acr in range(4)] + [
                (state, 0) for state in CHOICE_STATES if state not in ("given", "objected")
            ]
            for state, acr in (
                pairs if consent else [(state, acr) for state in ("none", "objected") for acr in range(4)]
            ):
                asked[number, "", state, acr] = Question(
                    one.agreement.code, 1, one.purpose.code, one.dataset.name, one.purpose.basis.value, state, acr
                )
        self.hub.verdicts.ask(asked)

    def _pull(self, recipient: str, *, wait: bool, lost: bool = False) -> None:
        try:
            page = hand_out(self.hub.world, recipient, 500)
        except Crash:
            pass
        except HubError:
            assert self.hub.engine.down
        else:
            keys = self.hub.open_keys.of([part.person for one in page.opened for part in one.parts])
            self._receive(recipient, [cloud_event(one, keys, self.hub.keys.wrapping) for one in page.opened])
            assert not lost
        self._compare_queue(recipient, wait=wait)

    def _receive(self, recipient: str, events: list[dict[str, Any]]) -> None:
        """Nothing is in a delivery but what may go at this moment, and all of that."""
        rows = {row.public.hex(): row for row in self.model.rows}
        for got in events:
            self.got[recipient].append(got)
            if got["kind"] in ("stop", "notice"):
                continue
            row = rows[got["id"]]
            outcome, fields = self.model.judge(row)
            assert outcome == "release", f"released against {outcome}"
            assert got["kind"] == ("data" if row.kind == "backfilled" else row.kind)
            if row.kind == "delete":
                assert got["data"] == row.deletes()
                continue
            assert set(got["data"]) == frozenset().union(*fields), "other fields than everybody allows"
            assert (recipient, row.serial) == (LINES[row.line].recipient, got["data"].get("serial", row.serial))
            assert got.get("backfill", False) == (row.kind == "backfilled")
            assert got.get("corrects") == (row.original.public.hex() if row.original else None)

    def _compare_queue(self, recipient: str, *, wait: bool) -> None:
        """Move the model's queue as the hub should have moved its own; several rounds where verdicts came late."""
        there = self._queue(recipient)
        for _ in range(3 if wait else 1):
            self._hand_out(recipient, there, wait=wait)
        mine = {row.id: (row.state, row.number) for row in self.model.queue(recipient)}
        assert mine == {at: (state, number) for at, (state, number, _, _) in there.items()}

    def _hand_out(self, recipient: str, there: dict[int, tuple[str, int, int, bytes]], *, wait: bool) -> None:
        blocked: set[tuple[int, int]] = set()
        first: list[Row] = []
        left: set[tuple[int, int]] = set()
        for row in self.model.candidates(recipient):
            if row.decides and row.chain in blocked and not row.number:
                continue
            state, number, due_us, _ = there.get(row.id, ("gone", 0, 0, b""))
            if wait and (state, number, due_us) == (row.state, row.number, row.due_us):
                blocked.add(row.chain)
                continue
            outcome, fields = self.model.judge(row)
            left |= {row.chain} if row.state == "later" else set()
            if outcome == "release":
                if not row.number:
                    row.number = number
                    first.append(row)
                row.state, row.due_us = "opened", self.model.now_us + REDELIVER_US
                self._note_opened(row, fields)
            elif outcome == "hold":
                row.state, row.due_us = "held", self.model.hold_us(row)
                blocked.add(row.chain)
            else:
                self._goes(row, there)
        self._numbered(recipient, first)
        for chain in left:
            self.model.clear(*chain)

    def _goes(self, row: Row, there: dict[int, tuple[str, int, int, bytes]]) -> None:
        """What was opened leaves a stop behind; a correction has its original deleted by who has that."""
        row.state = "gone"
        if row.number:
            self._expect_stop(row, there)
        if row.kind == "correction" and row.original is not None and row.original.number:
            public = public_id(self.hub.keys.delivery, row.public + row.original.public, row.line)
            (at,) = [at for at, (*_, name) in there.items() if name == public]
            self.model.rows.append(
                Row(at, public, row.recipient, "delete", row.line, chain=row.chain, original=row.original)
            )

    def _note_opened(self, row: Row, fields: list[frozenset[str]]) -> None:
        for part, what in zip(row.parts, fields, strict=False):
            if what:
                stretch = self.model.choice(part.person, LINES[row.line].purpose).stretch
                self.model.opened.append((part.person, row.line, stretch, row.public.hex(), row.number))

    def _numbered(self, recipient: str, first: list[Row]) -> None:
        """New numbers follow the last one without a gap, and each chain's in the order of its events."""
        known = max(
            (row.number for row in self.model.rows if row.recipient == recipient and row not in first), default=0
        )
        assert sorted(row.number for row in first) == list(range(known + 1, known + 1 + len(first)))
        for row in first:
            if row.decides:
                chain = [one for one in self.model.rows if one.decides and one.chain == row.chain]
                assert not (row.was_behind and any(one.state == "later" for one in chain)), "news before the old"
                old = row.kind == "backfilled"
                later = [one.number for one in chain if one.id > row.id and (one.kind == "backfilled") == old]
                assert all(number == 0 or number > row.number for number in later), "opened out of order"

    def _expect_stop(self, row: Row, there: dict[int, tuple[str, int, int, bytes]]) -> None:
        """What was opened and is cancelled now is followed by a stop under its number."""
        (stop,) = [at for at, (_, number, _, _) in there.items() if number == row.number and at != row.id]
        self.model.rows.append(
            Row(stop, there[stop][3], row.recipient, "stop", row.line, chain=row.chain, number=row.number)
        )

    def _queue(self, recipient: str) -> dict[int, tuple[str, int, int, bytes]]:
        rows = self.hub.rows(
            "SELECT q.delivery, q.state, q.number, q.due_us, d.public FROM queue q JOIN delivery d ON d.id = q.delivery"
            " WHERE q.recipient = ?",
            (AGENCIES[recipient],),
        )
        return {at: (STATES[state], number, due_us, public) for at, state, number, due_us, public in rows}

    @rule(recipient=recipients, data=st.data())
    def acknowledge_some(self, recipient: str, data: st.DataObject) -> None:
        """What is acknowledged never comes again; of what was stopped meanwhile the stop is still to be read."""
        if not self.got[recipient]:
            return
        some = data.draw(st.lists(st.sampled_from(self.got[recipient]), min_size=1, max_size=6))
        acknowledge(self.hub.world, recipient, [Acknowledgement(one["number"], one["id"]) for one in some])
        acked = {one["id"] for one in some}
        for row in self.model.queue(recipient):
            if row.public.hex() in acked:
                row.state = "gone"
        self._compare_queue_unmoved(recipient)

    @rule(recipient=recipients, number=st.integers(1, 10_000))
    def acknowledge_something_else(self, recipient: str, number: int) -> None:
        with pytest.raises(HubError) as raised:
            acknowledge(self.hub.world, recipient, [Acknowledgement(number, "0" * 32)])
        assert raised.value.kind is Kind.NOT_FOUND

    def _compare_queue_unmoved(self, recipient: str) -> None:
        mine = {row.id: (row.state, row.number) for row in self.model.queue(recipient)}
        assert mine == {at: (state, number) for at, (state, number, _, _) in self._queue(recipient).items()}

    # Citizens choose.
    @rule(person=persons, purpose=purposes, acr=st.integers(1, 3), data=st.data())
    def grant_unasked(self, person: int, purpose: str, acr: int, data: st.DataObject) -> None:
        """A yes on top of one that runs goes on in its stretch; else a new one begins."""
        items = data.draw(choices_of(purpose))
        self._grant(
            person, purpose, acr, items,
            lambda: grant_unasked(
                self.hub.desk, signed_in(self.ids[person], acr), recipient=RECIPIENT[purpose], purpose=purpose,
                items=sorted(items), notice=NOTICE,
            ),
        )  # fmt: skip

    def _grant(self, person: int, purpose: str, acr: int, items: set[tuple[str, str]], act: Callable[[], Done]) -> None:
        choice, now_us = self.model.choice(person, purpose), self.model.now_us
        if acr < ASSURANCE[purpose]:
            with pytest.raises(HubError):
                act()
            return
        done = act()
        stretch = choice.stretch if choice.runs(now_us) else choice.stretch + 1
        given = Choice("given", frozenset(items), now_us + 365 * DAY, stretch, acr, done.consent)
        given.asked, given.deadline_us, given.refused_us = choice.asked, choice.deadline_us, choice.refused_us
        self.model.choices[person, purpose] = given
        self._let_go_on(person, purpose)

    @rule(person=persons, purpose=purposes)
    def ask(self, person: int, purpose: str) -> None:
        """An agency asks once, not while a yes runs, and not for 30 days after a no."""
        choice, now_us = self.model.choice(person, purpose), self.model.now_us
        if (RECIPIENT[purpose], person) not in self.model.linked:
            return

        def put() -> str:
            recipient = RECIPIENT[purpose]
            return ask(self.hub.desk, recipient, subject=self.local(recipient, person), purpose=purpose)

        if (
            choice.runs(now_us)
            or (choice.asked and now_us < choice.deadline_us)
            or now_us < choice.refused_us + 30 * DAY
        ):
            with pytest.raises(HubError):
                put()
            return
        choice.asked, choice.deadline_us, choice.state = put(), now_us + 30 * DAY, "requested"

    @rule(person=persons, purpose=purposes, yes=st.booleans(), data=st.data())
    def answer(self, person: int, purpose: str, yes: bool, data: st.DataObject) -> None:
        choice, now_us = self.model.choice(person, purpose), self.model.now_us
        public, items = choice.asked, data.draw(choices_of(purpose))
        if not public or now_us >= choice.deadline_us:
            return
        principal = signed_in(self.ids[person])
        if yes:
            self._grant(
                person, purpose, 3, items,
                lambda: grant(self.hub.desk, principal, public, items=sorted(items), until_us=None, notice=NOTICE),
            )  # fmt: skip
        else:
            say_no(self.hub.desk, principal, public)
            choice.refused_us = now_us
            if not choice.runs(now_us):
                choice.state = "refused"
        self.model.choice(person, purpose).asked = ""

    @rule(person=persons, purpose=purposes)
    def pause(self, person: int, purpose: str) -> None:
        choice = self.model.choice(person, purpose)
        if choice.at(self.model.now_us) == "given":
            pause_it(self.hub.desk, signed_in(self.ids[person]), choice.consent)
            choice.state = "paused"

    @rule(person=persons, purpose=purposes)
    def resume(self, person: int, purpose: str) -> None:
        choice = self.model.choice(person, purpose)
        if choice.at(self.model.now_us) == "paused":
            resume_it(self.hub.desk, signed_in(self.ids[person]), choice.consent)
            choice.state = "given"
            self._let_go_on(person, purpose)

    @rule(person=persons, purpose=purposes, data=st.data())
    def narrow(self, person: int, purpose: str, data: st.DataObject) -> None:
        choice = self.model.choice(person, purpose)
        fewer = frozenset(data.draw(choices_of(purpose))) & choice.items
        datasets = {dataset for dataset, _ in fewer}
        if choice.runs(self.model.now_us) and fewer < choice.items and required(purpose, datasets) <= fewer and fewer:
            narrow_it(self.hub.desk, signed_in(self.ids[person]), choice.consent, items=sorted(fewer))
            choice.items = fewer

    @rule(person=persons, purpose=purposes, point=st.none() | st.sampled_from(WITHDRAW_POINTS))
    def withdraw(self, person: int, purpose: str, point: str | None) -> None:
        """The receipt names what was opened in this stretch, no more and no less; asked again, it is the same."""
        choice = self.model.choice(person, purpose)
        again = choice.state == "withdrawn"
        if not (again or choice.runs(self.model.now_us)):
            return

        def act() -> Done:
            return withdraw_it(self.hub.desk, signed_in(self.ids[person]), choice.consent)

        if point is not None and self._crashes(f"withdraw.{point}", act) and point != "committed":
            return
        done = act()
        assert act().receipt == done.receipt
        named = {(one.delivery, one.number) for one in done.receipt.opened_before}
        assert named == self._opened_under(person, purpose, choice.stretch)
        if not again:
            choice.state = "withdrawn"
            self._expect_word_of(RECIPIENT[purpose], person)

    @rule(person=persons, purpose=purposes, data=st.data())
    def change_ones_mind_twice(self, person: int, purpose: str, data: st.DataObject) -> None:
        """What was promised under the former yes does not go out under the new one."""
        self.withdraw(person, purpose, None)
        self.grant_unasked(person, purpose, 3, data)

    def _opened_under(self, person: int, purpose: str, stretch: int) -> set[tuple[str, int]]:
        return {
            (public, number)
            for who, line, of, public, number in self.model.opened
            if (who, LINES[line].purpose, of) == (person, purpose, stretch)
        }

    def _expect_word_of(self, recipient: str, person: int) -> None:
        """A withdrawal tells its recipient: one stop more, ready, without a number yet."""
        known = {row.id for row in self.model.rows}
        (stop,) = [(at, row) for at, row in self._queue(recipient).items() if at not in known]
        assert stop[1][:2] == ("ready", 0)
        self.model.rows.append(Row(stop[0], stop[1][3], recipient, "stop", about=person))

    def _let_go_on(self, person: int, purpose: str) -> None:
        """A yes makes ready what was held for it."""
        for row in self.model.rows:
            theirs = row.decides and person in (row.chain[1], *(part.person for part in row.parts))
            if row.state == "held" and theirs and LINES[row.line].purpose == purpose and self.model.now_us < row.due_us:
                row.was_behind = not row.number and self.model.behind_backfill(*row.chain)
                row.state, row.due_us = "behind" if row.was_behind else "ready", 0

    @rule(person=persons)
    def object_or_take_back(self, person: int) -> None:
        """The recipient is told of an objection; taken back, what was refused meanwhile stays refused."""
        choice, principal = self.model.choice(person, "TELL"), signed_in(self.ids[person])
        if choice.state == "objected":
            take_back(self.hub.desk, principal, "tax:TELL")
            choice.state, choice.stretch = "none", choice.stretch + 1
        else:
            receipt = orjson.loads(object_to(self.hub.desk, principal, recipient="tax", purpose="TELL"))
            named = {(one["delivery"], one["number"]) for one in receipt["opened_before"]}
            assert named == self._opened_under(person, "TELL", choice.stretch)
            choice.state = "objected"
            self._expect_word_of("tax", person)

    # Registers link, operators suspend, time passes.
    @rule(person=persons, agency=st.sampled_from(("register", "clinic", "kinder", "fund")), level=st.integers(1, 3))
    def link(self, person: int, agency: str, level: int) -> None:
        self._link(agency, person, level)

    def _link(self, agency: str, person: int, level: int) -> None:
        mine = self.local("linker", person)
        self.model.now_us = self.hub.now_us = self.model.now_us + 1  # an interval that ended begins anew later
        (said,) = link(self.hub.register, "linker", [NewLink(agency, self.local(agency, person), mine, level)])
        before = self.model.linked.get((agency, person), 0)
        became = ("level-raised" if before < level else "level-lowered") if before != level else "known"
        assert said == (became if before else "linked")
        self.model.linked[agency, person] = level
        if level < before:
            needing = {number for number, line in LINES.items() if line.provider == agency}
            needing &= {number for number, line in LINES.items() if BASES[line.purpose] != "consent"}
            self._taken_off(
                person, needing & {number for number, line in LINES.items() if ASSURANCE[line.purpose] > level}
            )
        with self.hub.store.read() as tx:
            found = person_of(tx, self.hub.keys, "linker", mine)
        assert found is not None
        assert self.ids.setdefault(person, found) == found

    @precondition(lambda self: self._links())
    @rule(data=st.data())
    def unlink(self, data: st.DataObject) -> None:
        """What rests on the link goes; of what was opened a stop remains; a stop itself stays."""
        agency, person = data.draw(st.sampled_from(self._links()))
        self._unlink(agency, person)

    def _links(self) -> list[tuple[str, int]]:
        """List what may be undone or doubted: of somebody erased it may not."""
        return sorted(key for key in self.model.linked if key[0] != "linker" and key[1] in PERSONS)

    def _unlink(self, agency: str, person: int) -> None:
        unlink(self.hub.register, agency=agency, local_id=self.local(agency, person))
        del self.model.linked[agency, person]
        self.model.disputed.discard((agency, person))
        self._taken_off(person, {number for number, line in LINES.items() if agency in (line.provider, line.recipient)})

    def _taken_off(self, person: int, lines: set[int]) -> None:
        """What of these lines is about the person has left the queue, and a stop stands for what had been opened."""
        for row in list(self.model.rows):
            about = {row.chain[1], *(part.person for part in row.parts)}
            if row.decides and row.line in lines and person in about and row.state != "gone":
                self._goes(row, self._queue(row.recipient))
        for recipient in RECIPIENTS:
            self._compare_queue_unmoved(recipient)

    @precondition(lambda self: self._links())
    @rule(data=st.data(), again=st.booleans())
    def dispute(self, data: st.DataObject, again: bool) -> None:
        """What rests on the link waits as it is; disputed once more, nothing changes."""
        key = data.draw(st.sampled_from(self._links()))
        for _ in range(2 if again else 1):
            self._doubt(*key, disputed=True)

    @precondition(lambda self: self.model.disputed)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """What waited for nothing else goes on, in order."""
        self._doubt(*data.draw(st.sampled_from(sorted(self.model.disputed))), disputed=False)

    @rule(person=persons, dataset=st.sampled_from(sorted(DATASETS)))
    def dispute_and_settle(self, person: int, dataset: str) -> None:
        """A delivery that was ready is kept back, a later event of the person waits, and both go afterwards."""
        agency = DATASETS[dataset][0]
        self.publish_and_decide([(person, dataset, set())])
        if (agency, person) in self.model.linked:
            self._doubt(agency, person, disputed=True)
            self.publish_and_decide([(person, dataset, {"code"})])
            self.pull(warm=True)
            self._doubt(agency, person, disputed=False)
            self.revisit()
            self.pull(warm=True)

    def _doubt(self, agency: str, person: int, *, disputed: bool) -> None:
        act, was = dispute if disputed else settle, (agency, person) in self.model.disputed
        said = act(self.hub.register, agency=agency, local_id=self.local(agency, person))
        assert said == ("known" if was == disputed else "disputed" if disputed else "settled")
        (self.model.disputed.add if disputed else self.model.disputed.discard)((agency, person))
        for recipient in RECIPIENTS:
            self._compare_queue_unmoved(recipient)

    @rule(number=numbers)
    def suspend_or_resume(self, number: int) -> None:
        self._move(number, "resume" if OPERATOR in self.model.suspended[number] else "suspend", OPERATOR)

    def _move(self, number: int, act: str, by: str) -> None:
        """A suspension is theirs who made it, and in force again when none is left."""
        standing = self.model.suspended[number]
        if (act == "suspend") == (by in standing):
            with pytest.raises(HubError) as refused:
                move(self.hub.agreements, f"A-{number}", act, agency=by)
            assert refused.value.kind is Kind.CONFLICT
            return
        move(self.hub.agreements, f"A-{number}", act, agency=by)
        standing ^= {by}

    @rule(by_us=st.sampled_from((S, 61 * S, 6 * DAY, 400 * DAY)))
    def let_time_pass(self, by_us: int) -> None:
        if self.model.now_us < NOW_US + 2_000 * DAY:
            self.model.now_us = self.hub.now_us = self.model.now_us + by_us

    @rule()
    def come_again(self) -> None:
        """What nobody acknowledged in time is decided again: under its number it comes again, or a stop does."""
        self.let_time_pass(61 * S)
        self.pull(warm=True)
        self.pull(warm=True)

    @rule(person=persons, dataset=st.sampled_from(sorted(DATASETS)))
    def link_late(self, person: int, dataset: str) -> None:
        """Later events of a person wait behind the one that waited for the link."""
        agency = DATASETS[dataset][0]
        if (agency, person) in self.model.linked:
            self._unlink(agency, person)
        self.publish_some([(person, dataset, set())])
        self._drain()
        self._compare_decisions()
        self._link(agency, person, 3)
        self.publish_and_decide([(person, dataset, {"code"})])

    @rule()
    def sweep(self) -> None:
        """A hold ends when its look-back is over, as does an event that nobody was linked to in time.

        So does a consent or a question: that it is written down changes nothing of what is decided.
        """
        while expire_held(self.hub.world) or expire_waiting(self.hub.world) or end_overdue(self.hub.desk).seen:
            pass
        for row in list(self.model.rows):
            if row.state == "held" and row.due_us <= self.model.now_us:
                self._goes(row, self._queue(row.recipient))
        waiting = {row[0] for row in self.hub.rows("SELECT event FROM waiting")}
        for event in self.model.events:
            if event.state == "waiting" and event.until_us <= self.model.now_us:
                assert event.hash not in waiting
                other = self.hub.rows("SELECT 1 FROM event_conflict WHERE event = ?", (event.hash,))
                assert event_state(self.hub.store, event.hash) == ("conflict" if other else "expired")
                event.state = "expired"

    # The policy changes, engines and processes fail.
    @rule(told=st.booleans(), which=st.sampled_from(("ordinary", "narrow", "wide")))
    def change_policy(self, told: bool, which: str) -> None:
        """Until the hub has noticed, no verdict of the former policy lets anything out."""
        self._drain()
        self._compare_decisions()
        self.model.policy = which
        self.hub.change_policy(self.model.policy)
        if not told:
            self.may_wait = True
            self.publish_some([(person, dataset, {"code"}) for person in PERSONS for dataset in DATASETS])
            self._drain()
            self._compare_decisions()
            for recipient in RECIPIENTS:
                self._pull(recipient, wait=True)
        self.hub.verdicts.revision()
        self.may_wait = False

    @rule(recipient=recipients)
    def engine_goes_down(self, recipient: str) -> None:
        """What nobody has answered is neither yes nor no: it waits, and nothing is consumed."""
        self._drain()
        self._compare_decisions()
        self.hub.restart()
        self.hub.engine.down, self.may_wait = True, True
        self._drain()
        self._compare_decisions()
        self._pull(recipient, wait=True)
        self.hub.engine.down, self.may_wait = False, False
        self.hub.bus.rewind()

    @rule(point=st.sampled_from(GATE_POINTS), nth=st.integers(1, 2))
    def crash_the_gate(self, point: str, nth: int) -> None:
        self._crashes(f"gate.{point}", self._drain, nth=nth)
        self._compare_decisions(partly=True)

    @rule(recipient=recipients, point=st.sampled_from(HANDOUT_POINTS))
    def crash_a_hand_out(self, recipient: str, point: str) -> None:
        """Before its commit nothing has happened; after it the bytes are lost, and come again."""
        before = self._queue(recipient)
        crashed = self._crashes(f"handout.{point}", lambda: self._pull_raw(recipient))
        if crashed and point != "committed":
            assert self._queue(recipient) == before
        else:
            self._compare_queue(recipient, wait=True)

    def _pull_raw(self, recipient: str) -> None:
        hand_out(self.hub.world, recipient, 500)

    @rule()
    def restart(self) -> None:
        self.hub.restart()

    def _crashes(self, name: str, act: Callable[[], Any], *, nth: int = 1) -> bool:
        left = [nth]

        def when_reached() -> None:
            left[0] -= 1
            if left[0] == 0:
                crash()

        arm(name, when_reached)
        try:
            act()
        except Crash:
            return True
        finally:
            disarm()
            if left[0] <= 0:
                self.hub.restart()
        return False

    # What always holds.
    @invariant()
    def one_decision_row_per_handled_event(self) -> None:
        decided = self.hub.rows("SELECT count(*) FROM audit WHERE kind = 1")[0][0]
        assert decided == sum(1 for event in self.model.events if event.state == "handled")

    @invariant()
    def every_opening_has_its_decision_and_its_page(self) -> None:
        opened = self.hub.rows(
            "SELECT h.number, h.recipient, d.id, d.kind, a.kind FROM handout h JOIN delivery d ON d.id = h.delivery"
            " JOIN audit a ON a.id = d.audit"
        )
        assert len(opened) == self.hub.rows("SELECT count(*) FROM handout")[0][0]
        pages = self.hub.rows("SELECT detail FROM audit WHERE kind = 2")
        named = {(entry[0], entry[1]) for (page,) in pages for entry in HANDED.iter_unpack(page)}
        for number, _, delivery, kind, audit in opened:
            assert kind != 1 or (audit == 1 and (delivery, number) in named)

    @invariant()
    def ids_and_numbers_are_one_to_one(self) -> None:
        for events in self.got.values():
            data = [one for one in events if one["kind"] in ("data", "correction")]
            assert len({one["id"] for one in data}) == len({one["number"] for one in data})
            serials = {(one["id"], one["data"]["serial"]) for one in data if "serial" in one["data"]}
            assert len(serials) == len({public for public, _ in serials}), "one event under two ids"

    def settle_everything(self) -> None:
        """From wherever the walk ended, the workers alone can bring everything to its end: nothing was lost."""
        for key in sorted(self.model.disputed):
            self._doubt(*key, disputed=False)
        self.revisit()
        self.sweep()
        assert all(event.state != "bus" for event in self.model.events)
        for recipient in RECIPIENTS:
            for _ in range(4):
                self._warm()
                self._pull(recipient, wait=False)
            rest = [row for row in self.model.queue(recipient) if row.state == "ready"]
            held = {row.chain for row in self.model.queue(recipient) if row.state == "held"}
            assert all(row.chain in held for row in rest), "ready, nothing before it, and not handed out"
        self.model.now_us = self.hub.now_us = self.model.now_us + 6 * DAY
        self.sweep()
        assert not [row for row in self.model.rows if row.state == "held"], "held for ever"


def required(purpose: str, datasets: set[str]) -> frozenset[tuple[str, str]]:
    return frozenset(
        (one.dataset, name)
        for one in LINES.values()
        if one.purpose == purpose and one.dataset in datasets
        for name in one.required
    )


def choices_of(purpose: str) -> st.SearchStrategy[set[tuple[str, str]]]:
    """Draw what somebody may say yes to: of each dataset nothing, or at least what is required."""
    lines = [one for one in LINES.values() if one.purpose == purpose]
    optional = sorted((one.dataset, name) for one in lines for name in one.allowed - one.required)
    datasets = st.sets(st.sampled_from(sorted(one.dataset for one in lines)), min_size=1)
    return st.builds(
        lambda picked, chosen: set(required(purpose, picked)) | {pair for pair in chosen if pair[0] in picked},
        datasets, st.sets(st.sampled_from(optional)),
    )  # fmt: skip


TORTURE = os.environ.get("HYPOTHESIS_PROFILE") == "torture"


def as_set(*, examples: int, steps: int) -> settings:
    return settings(
        deadline=None,
        max_examples=examples,
        stateful_step_count=steps,
        phases=[Phase.explicit, Phase.reuse, Phase.generate]
        + ([Phase.shrink] if TORTURE else []),  # shrinking takes minutes
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),  # each step is a transaction; slow is what it is, and none is filtered
    )


def test_whatever_happens_in_any_order_every_promise_holds() -> None:
    """Also where the process ends at any step of it."""
    run_state_machine_as_test(Walk, settings=as_set(examples=2_000 if TORTURE else 20, steps=80 if TORTURE else 40))

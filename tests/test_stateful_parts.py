"""And with everything else an exchange does: corrections, erasures, backfill, officers, in any order with all of it."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from hub.core.errors import HubError, Kind
from hub.exchange.backfills import Wish, end_backfill, open_backfill
from hub.exchange.erase import Erased, erase_again, erase_person
from hub.exchange.erase_rest import finish_erasures
from hub.exchange.let_go import LetGo
from hub.identity.keys import keyed
from hub.identity.people import NewLink, link
from hub.logs import open_log
from tests.stateful_model import OPERATOR, Backfill, Row
from tests.stateful_world import AGENCIES, DATASETS, DAY, LINES, Agreed
from tests.test_stateful import PERSONS, RECIPIENTS, TORTURE, Walk, as_set, extras, numbers, persons

pytestmark = pytest.mark.engines

BACKFILL_DAYS = 30
ERASE_POINTS = ("begun", "recorded", "committed", "told")
FIRST_ERASED = 100  # in the model: who is erased gets a number from here on, and another person the former one

sides = st.sampled_from(("provider", "recipient"))
acts = st.sampled_from(("suspend", "resume"))


# Rules are inherited, so that everything of the first walk goes on in between and is compared with one model.
class PartsWalk(Walk):
    """Does what the first walk does, and the rest."""

    def _sign_at_first(self, line: Agreed) -> None:
        """Sign nothing: what officers have not signed at first is drawn."""

    # Officers.
    @initialize(late=st.sets(st.tuples(numbers, sides), max_size=3))
    def most_is_signed(self, late: set[tuple[int, str]]) -> None:
        for line in LINES.values():
            for side in ("provider", "recipient"):
                if (line.number, side) not in late:
                    self._sign(line, _agency(line, side))

    @rule(number=numbers, side=sides)
    def sign(self, number: int, side: str) -> None:
        """With the second signature it is in force, unless somebody keeps it suspended; a side signs once."""
        line = LINES[number]
        agency = _agency(line, side)
        if agency not in self.model.signed[number]:
            self._sign(line, agency)
            return
        with pytest.raises(HubError) as refused:
            self.hub.sign(number, agency)
        assert refused.value.code == "signature-there"

    @rule(data=st.data())
    def sign_what_is_open(self, data: st.DataObject) -> None:
        late = [
            (line, agency)
            for line in LINES.values()
            for agency in (line.provider, line.recipient)
            if agency not in self.model.signed[line.number]
        ]
        if late:
            self._sign(*data.draw(st.sampled_from(late)))

    @rule(number=numbers, act=acts, by=st.none() | sides)
    def suspend_or_resume_as(self, number: int, act: str, by: str | None) -> None:
        self._move(number, act, OPERATOR if by is None else _agency(LINES[number], by))

    # Corrections.
    @precondition(lambda self: self.sent)
    @rule(data=st.data(), more=st.sets(extras), wrong=st.booleans(), decided=st.booleans())
    def correct(self, data: st.DataObject, more: set[str], wrong: bool, decided: bool) -> None:
        """It goes to who was promised the original, about the same person, or has that deleted."""
        envelope, event = data.draw(st.sampled_from(self.sent[-12:]))
        about = next((one for one in PERSONS if one != event.child), 0) if wrong else event.child
        correction = self._publish(event.dataset, about, self._other(about), more, corrects=envelope["id"])
        correction.corrects = event
        if decided:
            self.revisit()

    @rule(person=persons, dataset=st.sampled_from(sorted(DATASETS)), data=st.data(), late=st.booleans())
    def correct_what_was_got(self, person: int, dataset: str, data: st.DataObject, late: bool) -> None:
        """Publish, hand out, change one's mind, correct, hand out."""
        self.publish_and_decide([(person, dataset, {"guardian"})])
        envelope, event = self.sent[-1]
        self.pull(warm=True)
        mind: list[Callable[[], object]] = [
            lambda: self.withdraw(person, "HELP", None),
            lambda: self.pause(person, "HELP"),
            lambda: self.object_or_take_back(person),
            lambda: self._link(DATASETS[dataset][0], person, 1),
            lambda: self.let_time_pass(61 * 1_000_000),
            lambda: None,
        ]
        first = data.draw(st.sampled_from(mind))
        if not late:
            first()
        correction = self._publish(dataset, person, 1 - person, {"guardian"}, corrects=envelope["id"])
        correction.corrects = event
        self.revisit()
        if late:
            first()
        self.pull(warm=True)

    def _other(self, person: int) -> int:
        return 1 - person if person in PERSONS else 0

    # Backfill.
    @rule(number=numbers, data=st.data())
    def open_a_backfill(self, number: int, data: st.DataObject) -> None:
        """One at a time, under an agreement in force."""
        line = LINES[number]
        wish = Wish(f"A-{number}", line.purpose, line.dataset)

        def act() -> dict[str, Any]:
            return open_backfill(self.hub.world, wish, days=BACKFILL_DAYS, recipient=line.recipient, again=True)

        if self.model.closed(line) or self.model.backfill_of(number) is not None:
            with pytest.raises(HubError) as refused:
                act()
            assert refused.value.kind is Kind.CONFLICT
            return
        until_us = min(self.model.now_us + BACKFILL_DAYS * DAY, line.until_us)
        self.model.backfills.append(Backfill(str(act()["id"]), number, until_us))

    @precondition(lambda self: self.model.backfills)
    @rule(data=st.data(), person=persons, more=st.sets(extras), last=st.booleans(), behind=st.booleans())
    def backfill(self, data: st.DataObject, person: int, more: set[str], last: bool, behind: bool) -> None:
        """The old goes before what happens meanwhile; for a closed one nothing goes."""
        one = data.draw(st.sampled_from(self.model.backfills[-4:]))
        dataset = LINES[one.line].dataset
        if behind:
            self._publish(dataset, person, 1 - person, more)
        aim = {"backfill": one.public, **({"backfilllast": True} if last else {})}
        event = self._publish(dataset, person, 1 - person, more, **aim)
        event.backfill, event.last = one, last
        if behind:
            self._publish(dataset, person, 1 - person, more)
            self.revisit()

    @precondition(lambda self: self.model.backfills)
    @rule(data=st.data())
    def say_that_all_was_sent(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.model.backfills))
        self._end(one)

    def _end(self, one: Backfill) -> None:
        line = LINES[one.line]
        if one.state == "closed":
            with pytest.raises(HubError) as refused:
                end_backfill(self.hub.world, one.public, agency=line.provider)
            assert refused.value.code == "backfill-closed"
            return
        end_backfill(self.hub.world, one.public, agency=line.provider)
        if one.state == "open":
            one.state, one.sent = "ending", self.records[line.dataset]

    @rule(decided=st.booleans())
    def let_go(self, decided: bool) -> None:
        """What stands behind goes once the old is out of the way; with the last of it a backfill closes."""
        if decided or self.taken is None:
            self._drain()
            self._compare_decisions()
        worker = LetGo()
        for _ in range(3):
            worker.step(self.hub.world)
        there = [one for one in self.model.backfills if one.state != "closed"]
        closed = [LINES[one.line].recipient for one in there if self._let_go(one)]
        for recipient in RECIPIENTS:
            self._expect_notices(recipient, closed.count(recipient))
            self._compare_queue_unmoved(recipient)

    def _let_go(self, one: Backfill) -> bool:
        """Do to one backfill what its worker should have done; returns whether it is closed with that."""
        line = LINES[one.line]
        if one.state == "open" and self.model.now_us >= one.until_us:
            one.state, one.sent = "ending", self.records[line.dataset]
        assert self.taken is not None
        ending = one.state == "ending" and self.taken[line.dataset] >= one.sent
        rows = [row for row in self.model.rows if row.line == one.line]
        old = {row.chain[1] for row in rows if row.state == "later"}
        for person in {row.chain[1] for row in rows if row.state == "behind"} - old:
            if ending or person in one.noted:
                self.model.free((one.line, person))
                one.noted.add(person)
                one.cleared.add(person)
        if ending and not any(row.state in ("behind", "later") for row in rows):
            one.state = "closed"
        return one.state == "closed"

    def _expect_notices(self, recipient: str, count: int) -> None:
        known = {row.id for row in self.model.rows}
        new = [(at, row) for at, row in self._queue(recipient).items() if at not in known]
        assert len(new) == count
        self.model.rows += [Row(at, row[3], recipient, "notice") for at, row in new]

    # Erasure.
    @rule(person=persons, point=st.none() | st.sampled_from(ERASE_POINTS))
    def erase(self, person: int, point: str | None) -> None:
        """Every key and name goes; who got anything is told to delete it; the next one here is another person."""
        if len(self.model.erased) >= 3:
            return
        number = self.ids.pop(person)

        def act() -> Erased:
            return erase_person(self.hub.eraser, number, reason="request")

        self._drain()
        self._compare_decisions()
        if point is not None and self._crashes(f"erase.{point}", act):
            erase_again(self.hub.eraser, open_log(clock=self.hub.clock, level="debug", stream=io.StringIO()))
        done = act()
        assert done.already == (point is not None and point != "begun" and done.already)
        gone = self._take_out(person, done.bus_until_us)
        self._expect_deletes(gone, number, done)
        for recipient in RECIPIENTS:
            self._compare_queue_unmoved(recipient)
        for agency in ("linker", "register", "clinic", "fund"):
            self._link(agency, person, 3)

    def _take_out(self, person: int, until_us: int) -> int:
        """Do to the model what an erasure does before anybody is told; returns the person's number from now on."""
        for row in list(self.model.rows):
            if row.state == "held" and row.chain[1] == person:
                row.state = "gone"
                if row.number:
                    self._expect_stop(row, self._queue(row.recipient))
        for event in self.model.events:
            if event.state == "waiting" and event.child == person and self._known(event.dataset, person):
                event.state = "expired"
        self.model.disputed = {key for key in self.model.disputed if key[1] != person}
        gone = FIRST_ERASED + len(self.model.erased)
        self.model.rename(person, gone)
        self.model.erased[gone] = until_us
        self.names[gone] = self.names[person]
        self.names[person] = f"{person}.{gone}"
        self._forget(gone)
        return gone

    def _known(self, dataset: str, person: int) -> bool:
        return (DATASETS[dataset][0], person) in self.model.linked

    def _forget(self, gone: int) -> None:
        """What waits for somebody else does not name them any more."""
        for event in self.model.events:
            if event.state == "waiting" and event.guardian == gone and self._known(event.dataset, gone):
                event.guardian = None
                event.fields = {name: role for name, role in event.fields.items() if role != "guardian"}

    def _expect_deletes(self, gone: int, number: int, done: Erased) -> None:
        """Each recipient is told once, of exactly what it got; of what it got of others too, which fields."""
        rows = {row.public.hex(): row for row in self.model.rows}
        told: dict[str, set[tuple[int, str]]] = {}
        for person, line, _, public, at in self.model.opened:
            if person == gone:
                told.setdefault(LINES[line].recipient, set()).add((at, public))
        assert done.told == {recipient: len(handed) for recipient, handed in told.items()}
        for recipient, handed in told.items():
            whole, partly = [], {}
            for _, public in sorted(handed):
                parts = rows[public].parts
                if all(part.person == gone for part in parts):
                    whole.append(public)
                else:
                    partly[public] = sorted(name for part in parts if part.person == gone for name in part.fields)
            first = min(at for at, _ in handed)
            key = self.hub.keys.delivery
            public_ = keyed(key, "delete", str(number), str(AGENCIES[recipient]), str(first))
            (at,) = [at for at, (*_, name) in self._queue(recipient).items() if name == public_]
            named: dict[str, object] = {"deletes": whole} | ({"fields": partly} if partly else {})
            self.model.rows.append(Row(at, public_, recipient, "delete", named=named))

    @precondition(lambda self: self.model.erased)
    @rule(data=st.data(), agency=st.sampled_from(("register", "fund")))
    def link_somebody_erased(self, data: st.DataObject, agency: str) -> None:
        """As long as an event from before may come, their ids lead to the mark and to nobody else."""
        gone = data.draw(st.sampled_from(sorted(self.model.erased)))
        if self.model.now_us >= self.model.erased[gone]:
            return
        new = NewLink(agency, f"another-{self.model.now_us}", self.local("linker", gone), 3)
        (said,) = link(self.hub.register, "linker", [new])
        assert isinstance(said, HubError)
        assert said.code == "person-erased"

    @precondition(lambda self: self.model.erased)
    @rule(data=st.data(), dataset=st.sampled_from(sorted(DATASETS)), more=st.sets(extras), other=persons)
    def publish_about_somebody_erased(self, data: st.DataObject, dataset: str, more: set[str], other: int) -> None:
        """As the subject, and as somebody else's guardian: nothing of theirs goes."""
        gone = data.draw(st.sampled_from(sorted(self.model.erased)))
        self._publish(dataset, gone, other, more)
        self._publish("birth", other, gone, {"guardian"})
        self.revisit()

    @rule()
    def finish(self) -> None:
        """Once nothing from before can come any more, what waits is looked through again."""
        self._drain()
        self._compare_decisions()
        while finish_erasures(self.hub.world):
            pass
        for gone, until_us in self.model.erased.items():
            if self.model.now_us >= until_us and gone not in self.finished:
                self.finished.add(gone)
                self._forget(gone)

    def __init__(self) -> None:
        self.finished: set[int] = set()
        super().__init__()

    def settle_everything(self) -> None:
        """Every backfill ends too, and nothing stands behind it."""
        for key in sorted(self.model.disputed):
            self._doubt(*key, disputed=False)
        self.revisit()
        for one in self.model.backfills:
            if one.state == "open":
                self._end(one)
        for _ in range(3):
            self.let_go(decided=True)
            self.pull(warm=True)
        assert all(one.state == "closed" for one in self.model.backfills), "a backfill that never ends"
        assert not [row for row in self.model.rows if row.state in ("behind", "later")], "behind for ever"
        super().settle_everything()


def _agency(line: Agreed, side: str) -> str:
    return line.provider if side == "provider" else line.recipient


def test_whatever_happens_to_asks_backfills_and_the_erased_every_promise_holds() -> None:
    """The same walk, with more that can happen."""
    run_state_machine_as_test(
        PartsWalk, settings=as_set(examples=1_500 if TORTURE else 40, steps=80 if TORTURE else 40)
    )

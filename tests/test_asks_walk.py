"""Asks in any order with what people, registers and time do to them: each ends as the model says, and answers once."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.core.errors import HubError
from hub.exchange.asked import expire_asks, no_answer
from hub.exchange.asks import Asked
from hub.failpoints import arm, disarm
from hub.identity.people import NewLink, dispute, link, settle, unlink
from tests.asks_world import BY_CONSENT, BY_REQUEST, known, put
from tests.protocol_checks import faults
from tests.protocol_world import LINKER, Hub, Matter, S

pytestmark = pytest.mark.engines

MATTERS = (BY_CONSENT, BY_REQUEST)
NAMES = ("A", "B")
POINTS = ("asking.begun", "asking.before_commit", "asking.committed")
names, matters = st.sampled_from(NAMES), st.sampled_from(MATTERS)


class Crash(Exception):
    """The process ends here."""


def crash() -> None:
    raise Crash


@dataclass
class Put:
    """One ask, as the model knows it."""

    asked: Asked
    name: str
    matter: Matter
    stretch: int
    deadline_us: int
    state: str
    question: str = "ready"  # ready | taken | gone
    answer: str = ""  # "" | ready | taken | gone


class Walk(RuleBasedStateMachine):
    """Does one thing after another to a hub and to the model, and compares them."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="asks-"))
        self.hub = Hub(self.directory)
        self.asks: list[Put] = []
        self.given: dict[tuple[str, str], str] = {}  # (name, purpose) -> consent that runs
        self.stretch: dict[tuple[str, str], int] = {}
        self.linked: dict[tuple[str, str], str] = {}  # (name, asker) -> linked | disputed
        self.came: dict[str, set[str]] = {}  # ask -> ids of its answers
        self.serial = 0
        for matter in MATTERS:
            for name in NAMES:
                known(self.hub, name, matter)
                self.linked[name, matter.recipient] = "linked"
                self.grant(name, matter)

    def teardown(self) -> None:
        disarm()
        try:
            assert faults(self.hub) == []
        finally:
            self.hub.close()
            shutil.rmtree(self.directory)

    # People.
    @rule(name=names, matter=matters)
    def grant(self, name: str, matter: Matter) -> None:
        key = name, matter.purpose
        if key not in self.given:
            self.given[key] = self.hub.grant(self.hub.person(name, matter), matter)
            self.stretch[key] = self.stretch.get(key, 0) + 1

    @rule(name=names, matter=matters)
    def withdraw(self, name: str, matter: Matter) -> None:
        if consent := self.given.pop((name, matter.purpose), ""):
            self.hub.withdraw(self.hub.person(name, matter), consent)

    @rule(name=names, matter=matters)
    def change_ones_mind_twice(self, name: str, matter: Matter) -> None:
        self.withdraw(name, matter)
        self.grant(name, matter)

    # Registers.
    @rule(name=names, matter=matters)
    def doubt_or_settle(self, name: str, matter: Matter) -> None:
        key = name, matter.recipient
        if key in self.linked:
            act = dispute if self.linked[key] == "linked" else settle
            act(self.hub.register, agency=matter.recipient, local_id=f"asker/{name}")
            self.linked[key] = "disputed" if act is dispute else "linked"

    @rule(name=names, matter=matters)
    def unlink_or_link(self, name: str, matter: Matter) -> None:
        """What is asked on a link ends with it; an answer that lies ready goes no more."""
        key = name, matter.recipient
        if key not in self.linked:
            self.hub.pass_by(1e-6)  # an interval that ended begins anew later
            link(self.hub.register, LINKER, [NewLink(matter.recipient, f"asker/{name}", f"R-{name}", 3)])
            self.linked[key] = "linked"
            return
        unlink(self.hub.register, agency=matter.recipient, local_id=f"asker/{name}")
        del self.linked[key]
        for one in self.asks:
            if (one.name, one.matter.recipient) == key:
                if one.state == "asked":
                    one.state, one.question = "refused", "gone"
                if one.answer == "ready":
                    one.answer = "gone"

    # The asker and its provider.
    @rule(name=names, matter=matters, hours=st.sampled_from((1, 24)), point=st.none() | st.sampled_from(POINTS))
    def ask(self, name: str, matter: Matter, hours: int, point: str | None) -> None:
        """A crash in between loses nothing and doubles nothing: under its id it is the same ask."""
        self.serial += 1
        key, deadline_us = (name, matter.purpose), self.hub.clock() + hours * 3_600 * S

        def act() -> Asked:
            return put(self.hub, name, matter, id=f"q{self.serial}", deadline_us=deadline_us)

        if point is not None:
            self._crash(point, act)
        asked = act()
        stretch = self.stretch[key]
        used = matter is BY_REQUEST and any(
            (one.name, one.matter, one.stretch) == (name, matter, stretch)
            and (one.state == "answered" or (one.state == "asked" and one.deadline_us > self.hub.clock()))
            for one in self.asks
        )
        may = self.linked.get((name, matter.recipient)) == "linked" and key in self.given and not used
        assert asked.row.word == ("asked" if may else "refused")
        if may:
            self.asks.append(Put(asked, name, matter, stretch, deadline_us, "asked"))

    @rule(matter=matters)
    def take_questions(self, matter: Matter) -> None:
        """What may be put is; what may not ends its ask; what rests on a doubtful link waits."""
        there = {one["ask"] for one in self._taken(matter.publisher) if one["kind"] == "ask"}
        expected = set()
        for one in self._of(matter):
            if one.question != "ready" or one.state != "asked" or self._doubted(one):
                continue
            one.question = "taken"
            if self.hub.clock() >= one.deadline_us:
                one.state = "expired"
            elif not self._runs(one):
                one.state = "refused"
            else:
                expected.add(one.asked.row.public.hex())
        assert there == expected

    @rule(data=st.data(), wrong=st.booleans())
    def answer(self, data: st.DataObject, wrong: bool) -> None:
        """The first that is in time and about the right person closes it; it goes only where the grant still runs."""
        if not self.asks:
            return
        self._answer(data.draw(st.sampled_from(self.asks)), wrong)

    def _answer(self, one: Put, wrong: bool) -> None:
        self.serial += 1
        about = next(name for name in NAMES if (name == one.name) is not wrong)
        aim = {"answers": one.asked.row.public.hex()}
        self.hub.publish(f"a{self.serial}", about, one.matter, aim=aim)
        self.hub.decide()
        if one.state == "asked" and self.hub.clock() < one.deadline_us and not wrong:
            one.state, one.answer = ("answered", "ready") if self._runs(one) else ("refused", "")

    @rule(name=names, matter=matters, first=st.booleans(), mind=st.none() | st.booleans(), late=st.booleans())
    def go_the_whole_way(self, name: str, matter: Matter, first: bool, mind: bool | None, late: bool) -> None:
        """Ask, let it be read or not, answer; withdraw before the answer or after it, or grant anew in between."""
        self.ask(name, matter, 1, None)
        if not self.asks:
            return
        if first:
            self.take_questions(matter)
        acts = [self.withdraw, self.change_ones_mind_twice]
        if mind is not None and not late:
            acts[mind](name, matter)
        self._answer(self.asks[-1], wrong=False)
        if mind is not None and late:
            acts[mind](name, matter)
        self.take_answers(matter)

    @rule(data=st.data())
    def have_no_answer(self, data: st.DataObject) -> None:
        if not self.asks:
            return
        one = data.draw(st.sampled_from(self.asks))
        try:
            no_answer(self.hub.world, one.matter.publisher, one.asked.row.public.hex())
        except HubError:
            assert one.state not in ("asked", "no_answer")
        else:
            assert one.state in ("asked", "no_answer")
            one.state = "no_answer"

    @rule(matter=matters)
    def take_answers(self, matter: Matter) -> None:
        """After a withdrawal none leaves, whenever it was decided."""
        for event in self._taken(matter.recipient):
            if event["kind"] == "data":
                self.came.setdefault(event["ask"], set()).add(event["id"])
        for one in self._of(matter):
            if one.answer != "ready" or self._doubted(one):
                continue
            one.answer = "taken" if self._runs(one) else "gone"
            one.state = "answered" if self._runs(one) else "refused"

    # Time.
    @rule(hours=st.sampled_from((0.5, 2, 25)))
    def pass_by(self, hours: float) -> None:
        self.hub.pass_by(hours * 3_600)

    @rule()
    def expire(self) -> None:
        expire_asks(self.hub.world)
        for one in self.asks:
            if one.state == "asked" and one.deadline_us <= self.hub.clock():
                one.state, one.question = "expired", "gone"

    # What always holds.
    @invariant()
    def every_ask_is_where_the_model_has_it(self) -> None:
        stored = dict(self.hub.rows("SELECT public, state FROM ask"))
        words = ("", "asked", "answered", "refused", "no_answer", "expired")
        assert {one.asked.row.public: one.state for one in self.asks} == {
            one.asked.row.public: words[stored[one.asked.row.public]] for one in self.asks
        }

    @invariant()
    def exactly_what_may_has_come_and_once(self) -> None:
        assert {ask for ask, ids in self.came.items() if len(ids) == 1} == self.came.keys()
        assert self.came.keys() == {one.asked.row.public.hex() for one in self.asks if one.answer == "taken"}

    @invariant()
    def a_grant_by_request_is_good_for_one_answer(self) -> None:
        taken = [(one.name, one.stretch) for one in self.asks if one.matter is BY_REQUEST and one.answer == "taken"]
        assert len(taken) == len(set(taken))

    # Steps that several have in common.
    def _of(self, matter: Matter) -> list[Put]:
        return [one for one in self.asks if one.matter is matter]

    def _runs(self, one: Put) -> bool:
        key = one.name, one.matter.purpose
        return key in self.given and self.stretch[key] == one.stretch

    def _doubted(self, one: Put) -> bool:
        return self.linked.get((one.name, one.matter.recipient)) == "disputed"

    def _taken(self, agency: str) -> list[dict[str, Any]]:
        """Take and acknowledge all there is."""
        matter, found = BY_CONSENT._replace(recipient=agency), list[dict[str, Any]]()
        while (page := self.hub.pull(matter)).opened or page.cancelled:
            found += self.hub.read(page)
            self.hub.acknowledge(page, matter)
        return found

    def _crash(self, point: str, act: Callable[[], object]) -> None:
        arm(point, crash)
        try:
            act()
        except Crash:
            self.hub.close()
            self.hub = Hub(self.directory, clock=self.hub.clock)
        finally:
            disarm()


Walk.TestCase.settings = settings(
    max_examples=50, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_asks_end_as_the_model_says_in_any_order = Walk.TestCase

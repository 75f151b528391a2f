"""Whatever a person, an agency and time do in any order, a consent is what a far simpler model says it is.

The model keeps one stretch of facts and no history: what is given, until when, whether it rests. It looks at the clock
first and asks nothing of the code under test. One person, one recipient, one purpose; any number of consents.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consent.chain import By, Capacity, Event
from consent.coverage import covers
from consent.errors import Code, ConsentError
from consent.history import fold
from consent.record import (
    Record,
    expire,
    extend,
    give,
    invalidate,
    lapse,
    narrow,
    pause,
    refuse,
    renew,
    request,
    resume,
    supersede,
    terminate,
    withdraw,
)
from consent.terms import Pair, Terms
from tests.consent_examples import (
    AGENCY,
    DOB_MONTH,
    FEWER,
    GUARDIAN,
    MUNICIPALITY_CODE,
    NOON_US,
    NOTICE,
    PERSON,
    SELF,
    SEX,
    SYSTEM,
    TERMS,
    Kept,
)

PAIRS = (DOB_MONTH, SEX, MUNICIPALITY_CODE)
SUBSETS = [frozenset(chosen) for size in range(4) for chosen in combinations(PAIRS, size)]
UNASKED = frozenset({DOB_MONTH, ("civil.birth.registered", "birth_weight")})
CHOICES = st.sampled_from([frozenset({DOB_MONTH}), frozenset(PAIRS), *SUBSETS, UNASKED])  # good ones more often
WEAK = By(PERSON, PERSON, Capacity.SELF, 1, "session-9")
PRINCIPALS = st.sampled_from([SELF] * 8 + [GUARDIAN, WEAK, AGENCY, SYSTEM])  # mostly those who may
MOSTLY = st.sampled_from([True, True, True, False])
LENGTHS_US = st.sampled_from([60, 20, 7, 2, 1, 0, -5, TERMS.duration_us - 5, TERMS.duration_us, TERMS.duration_us + 1])


@dataclass
class Now:
    """The model: where one consent stands, told by six plain facts."""

    terms: Terms
    deadline_us: int
    phase: str = "requested"
    items: frozenset[Pair] = frozenset()
    until_us: int = 0
    acr: int = 0
    stretch: int = 0

    def look(self, clock_us: int) -> str:
        if self.phase == "requested" and clock_us >= self.deadline_us:
            return "lapsed"
        if self.phase in ("given", "paused") and clock_us >= self.until_us:
            return "expired"
        return self.phase


def personal(by: By) -> bool:
    return by.capacity in ("self", "guardian")


def choosable(terms: Terms, items: frozenset[Pair]) -> bool:
    """Say whether this choice leaves something of use, in the plainest words for the one purpose used here."""
    birth_is_whole = SEX not in items or DOB_MONTH in items
    return bool(items) and items <= terms.pairs and birth_is_whole


class Consents(RuleBasedStateMachine):
    """Any number of consents, one after the other: `open` is the latest request, `held` the latest grant."""

    def __init__(self) -> None:
        super().__init__()
        self.clock_us = NOON_US
        self.count = 0
        self.stretch = 0  # of the latest grant there ever was
        self.kept: dict[str, Kept] = {}
        self.model: dict[str, Now] = {}
        self.open = self.held = ""

    # Time

    @rule(step_us=st.sampled_from([1, 2, 5]))
    def time_passes(self, step_us: int) -> None:
        self.clock_us += step_us

    @rule(edge_us=st.sampled_from([-1, 0, 1]))
    @precondition(lambda self: bool(self.model))
    def time_comes_to_an_edge(self, edge_us: int) -> None:
        """Go to just before, at, or just after the next deadline or end; never back."""
        edges = [when for now in self.model.values() for when in (now.deadline_us, now.until_us)]
        ahead = [edge + edge_us for edge in edges if edge + edge_us > self.clock_us]
        self.clock_us = min(ahead, default=self.clock_us)

    # Asking and answering

    @initialize()
    def a_first_consent_is_given(self) -> None:
        self.a_consent_is_asked_for_and_given(TERMS, 60)

    @rule(terms=st.sampled_from([TERMS, FEWER]), length_us=st.sampled_from([60, 20, 7]))
    def a_consent_is_asked_for_and_given(self, terms: Terms, length_us: int) -> None:
        """The way it mostly goes, so that long stories are not left to chance."""
        self.an_agency_asks(terms, 50)
        self.the_answer_is_yes(terms.pairs, length_us, SELF, known=True)

    @rule(terms=st.sampled_from([TERMS, FEWER]), wait_us=st.sampled_from([50, 50, 50, 3, 1, 0, -1]))
    def an_agency_asks(self, terms: Terms, wait_us: int) -> None:
        name, deadline_us = f"c-{self.count}", self.clock_us + wait_us

        def ask() -> tuple[Record, Event]:
            return request(
                record_id=name,
                person=PERSON,
                terms=terms,
                deadline_us=deadline_us,
                stretch_before=self.stretch,
                by=AGENCY,
                at_us=self.clock_us,
            )

        if wait_us <= 0:
            self.refused(ask, Code.UNTIL_PAST)
            return
        record, event = ask()
        self.count += 1
        self.kept[name] = Kept(record, (event,))
        self.model[name] = Now(terms, deadline_us, stretch=self.stretch)
        self.open = name

    @rule(items=CHOICES, length_us=LENGTHS_US, by=PRINCIPALS, known=st.booleans())
    @precondition(lambda self: self.open != "")
    def the_answer_is_yes(self, items: frozenset[Pair], length_us: int, by: By, known: bool) -> None:
        """Give, naming the consent that runs; where none runs any more, naming the old one must make no difference."""
        now, until_us = self.model[self.open], self.clock_us + length_us
        old = self.model[self.held] if self.held else None
        runs = old is not None and old.look(self.clock_us) in ("given", "paused")
        named = self.kept[self.held].record if self.held and (runs or known) and self.held != self.open else None

        def say_yes() -> tuple[Record, Event]:
            record = self.kept[self.open].record
            return give(
                record, items=items, until_us=until_us, notice=NOTICE, by=by, at_us=self.clock_us, continues=named
            )

        possible = now.look(self.clock_us) == "requested"
        in_time = 0 < length_us <= now.terms.duration_us
        if not (personal(by) and possible and choosable(now.terms, items) and in_time):
            self.refused(say_yes)
            return
        self.took(self.open, say_yes())
        before, self.held = self.held, self.open
        self.stretch += 0 if runs else 1
        now.phase, now.items, now.until_us, now.acr, now.stretch = "given", items, until_us, by.acr, self.stretch
        if runs:
            self.hand_over(before)

    def hand_over(self, before: str) -> None:
        """Renew where it may be renewed, else supersede; the one not allowed is tried as well."""
        old, successor = self.model[before], self.kept[self.held].record
        record = self.kept[before].record
        may_renew = old.phase == "given" and old.terms == self.model[self.held].terms
        if may_renew:
            self.took(before, renew(record, successor=successor, by=SYSTEM, at_us=self.clock_us))
        else:
            self.refused(lambda: renew(record, successor=successor, by=SYSTEM, at_us=self.clock_us))
            self.took(before, supersede(record, successor=successor, by=SYSTEM, at_us=self.clock_us))
        old.phase = "renewed" if may_renew else "superseded"

    @rule(by=PRINCIPALS, fitting=MOSTLY)
    @precondition(lambda self: self.open != "")
    def the_answer_is_no_or_none(self, by: By, fitting: bool) -> None:
        """Refuse in time, and write down that it lapsed afterwards; now and then the other way round."""
        now, record = self.model[self.open], self.kept[self.open].record
        over = self.clock_us >= now.deadline_us
        if over == fitting:
            may = now.phase == "requested" and over
            self.expect(self.open, may, "lapsed", lambda: lapse(record, by=SYSTEM, at_us=self.clock_us))
        else:
            may = personal(by) and now.look(self.clock_us) == "requested"
            self.expect(self.open, may, "refused", lambda: refuse(record, by=by, at_us=self.clock_us))

    # While it runs

    @rule(by=PRINCIPALS, fitting=MOSTLY)
    @precondition(lambda self: self.held != "")
    def pausing_or_resuming(self, by: By, fitting: bool) -> None:
        """Pause what runs and resume what rests; now and then the other way round."""
        if (self.standing() == "paused") == fitting:
            may = personal(by) and self.standing() == "paused" and by.acr >= self.model[self.held].acr
            self.expect(self.held, may, "given", lambda: resume(self.record(), by=by, at_us=self.clock_us))
        else:
            may = personal(by) and self.standing() == "given"
            self.expect(self.held, may, "paused", lambda: pause(self.record(), by=by, at_us=self.clock_us))

    @rule(items=CHOICES, by=PRINCIPALS)
    @precondition(lambda self: self.held != "")
    def narrowing(self, items: frozenset[Pair], by: By) -> None:
        now = self.model[self.held]
        may = personal(by) and self.standing() in ("given", "paused") and choosable(now.terms, items)
        may = may and items < now.items
        self.expect(self.held, may, now.phase, lambda: narrow(self.record(), items=items, by=by, at_us=self.clock_us))
        now.items = items if may else now.items

    @rule(length_us=LENGTHS_US, by=PRINCIPALS)
    @precondition(lambda self: self.held != "")
    def extending(self, length_us: int, by: By) -> None:
        now, until_us = self.model[self.held], self.clock_us + length_us
        may = personal(by) and self.standing() == "given" and by.acr >= now.acr
        may = may and now.until_us < until_us and length_us <= now.terms.duration_us
        self.expect(
            self.held, may, "given", lambda: extend(self.record(), until_us=until_us, by=by, at_us=self.clock_us)
        )
        now.until_us = until_us if may else now.until_us

    # Ends

    @rule(way=st.sampled_from(["withdraw", "withdraw", "expire", "terminate", "invalidate"]), by=PRINCIPALS)
    @precondition(lambda self: self.held != "")
    def ending(self, way: str, by: By) -> None:
        if way == "withdraw":
            self.withdrawing(by)
        elif way == "expire":
            may = self.model[self.held].phase in ("given", "paused") and self.standing() == "expired"
            self.expect(self.held, may, "expired", lambda: expire(self.record(), by=SYSTEM, at_us=self.clock_us))
        else:
            may, phase = self.standing() in ("given", "paused"), f"{way}d"
            end = invalidate if way == "invalidate" else terminate
            self.expect(self.held, may, phase, lambda: end(self.record(), cause="c", by=SYSTEM, at_us=self.clock_us))

    def withdrawing(self, by: By) -> None:
        """Under a clock that stepped back, too, though not so far that an expired consent would look alive again."""
        standing = self.standing()
        at_us = self.clock_us if standing == "expired" else self.clock_us - 3
        if standing == "withdrawn" and personal(by):
            assert withdraw(self.record(), by=by, at_us=at_us) == (self.record(), None)
            return
        may = personal(by) and standing in ("given", "paused")
        self.expect(self.held, may, "withdrawn", lambda: withdraw(self.record(), by=by, at_us=at_us))

    # What always holds

    @invariant()
    def every_consent_covers_what_the_model_says(self) -> None:
        for name, now in self.model.items():
            phase = now.look(self.clock_us)
            for dataset in (DOB_MONTH[0], MUNICIPALITY_CODE[0], "health.condition"):
                coverage = covers(self.kept[name].record, dataset, self.clock_us)
                given = frozenset(field for of, field in now.items if of == dataset)
                assert coverage.state == phase
                assert coverage.stretch == now.stretch
                assert coverage.fields == (given if phase == "given" else frozenset())
                assert (coverage.until_us, coverage.acr) == ((now.until_us, now.acr) if phase == "given" else (0, 0))

    @invariant()
    def every_history_folds_into_its_record(self) -> None:
        for kept in self.kept.values():
            assert fold(kept.events, head=kept.record.head) == kept.record

    @invariant()
    def at_most_one_consent_covers_anything(self) -> None:
        states = [covers(kept.record, DOB_MONTH[0], self.clock_us).state for kept in self.kept.values()]
        assert sum(state in ("given", "paused") for state in states) <= 1

    @invariant()
    def a_stretch_has_one_beginning_and_goes_on_only_without_a_gap(self) -> None:
        granted = [kept.record for kept in self.kept.values() if kept.record.given_us]
        beginnings = [record.stretch for record in granted if not record.continues]
        assert sorted(beginnings) == [*range(1, self.stretch + 1)]
        for following in (record for record in granted if record.continues):
            old = self.kept[following.continues].record
            assert old.state in ("renewed", "superseded")
            assert (old.successor, old.stretch) == (following.id, following.stretch)
            assert old.ended_us == following.given_us < old.until_us

    # How the machine tries things

    def record(self) -> Record:
        return self.kept[self.held].record

    def standing(self) -> str:
        return self.model[self.held].look(self.clock_us)

    def took(self, name: str, step: tuple[Record, Event | None]) -> None:
        self.kept[name] = self.kept[name].then(step)

    def expect(self, name: str, may: bool, phase: str, act: Callable[[], tuple[Record, Event | None]]) -> None:
        """Do it and note the new phase where the model allows it; otherwise see it raise."""
        if may:
            self.took(name, act())
            self.model[name].phase = phase
        else:
            self.refused(act)

    def refused(self, act: Callable[[], object], code: Code | None = None) -> None:
        with pytest.raises(ConsentError) as raised:
            act()
        assert raised.value.code is not Code.CHAIN
        assert code in (None, raised.value.code)


TestConsents = Consents.TestCase
TestConsents.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

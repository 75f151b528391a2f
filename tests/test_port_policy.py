"""What every implementation of `hub.ports.Policy` must pass. A new engine joins in `tests/opa_world.py`."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest

from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Kind
from hub.core.question import Question, Verdict
from hub.policy.answers import MOST_QUESTIONS
from hub.policy.engine import Engine
from tests.decision_vectors import catalogue
from tests.opa_world import ENGINES
from tests.opa_world import engine as running

GIVEN = Question("T-KINDER", 2, "KINDER-PLACE", "civil.birth.registered", "consent", "given", 2)
PAUSED = GIVEN._replace(state="paused")
UNKNOWN = GIVEN._replace(agreement="T-GONE")


@pytest.fixture(params=ENGINES)
def start(request: pytest.FixtureRequest) -> Iterator[Callable[[Catalogue], Engine]]:
    """Start an engine over a catalogue; all of them are stopped afterwards."""
    with ExitStack() as started:
        yield lambda papers: started.enter_context(running(request.param, papers))


@pytest.fixture
def engine(start: Callable[[Catalogue], Engine]) -> Engine:
    """An engine over the decision table's catalogue."""
    return start(catalogue())


def test_every_question_gets_its_own_verdict_in_order(engine: Engine) -> None:
    """Answers run parallel to the questions, repeated ones included."""
    given, paused, unknown, again = engine.ask([GIVEN, PAUSED, UNKNOWN, GIVEN])
    assert given == Verdict(engine.revision(), frozenset({"child_id", "dob_month"}), frozenset())
    assert paused == given._replace(reasons=frozenset({"consent.paused"}))
    assert not unknown.fields
    assert "policy.agreement_unknown" in unknown.reasons
    assert again == given


def test_no_questions_are_no_verdicts(engine: Engine) -> None:
    """An empty call is answered by an empty list."""
    assert engine.ask([]) == []


def test_more_questions_than_one_call_carries_are_all_answered(engine: Engine) -> None:
    """The engine's own limit per call is not the caller's concern."""
    questions = [(GIVEN, PAUSED, UNKNOWN)[at % 3] for at in range(2 * MOST_QUESTIONS + 7)]
    verdicts = engine.ask(questions)
    few = dict(zip((GIVEN, PAUSED, UNKNOWN), engine.ask([GIVEN, PAUSED, UNKNOWN]), strict=True))
    assert verdicts == [few[question] for question in questions]


def test_a_verdict_carries_the_revision_it_was_given_under(engine: Engine) -> None:
    """The hub believes no verdict of another revision than the one in force, so each one names its own."""
    assert engine.revision().startswith("sha256:")
    assert {verdict.revision for verdict in engine.ask([GIVEN, UNKNOWN])} == {engine.revision()}


def test_the_revision_names_the_catalogue_as_well(start: Callable[[Catalogue], Engine]) -> None:
    """The same policy over the same papers is the same revision; over other papers it is another."""
    first, same, other = (start(papers).revision() for papers in _papers())
    assert first == same
    assert first != other


@pytest.mark.parametrize(
    "odd",
    [
        GIVEN._replace(basis="curiosity"),
        GIVEN._replace(state="maybe"),
        GIVEN._replace(state="objected"),
        GIVEN._replace(assurance=4),
        GIVEN._replace(basis="law", state="given"),
    ],
    ids=["unknown basis", "unknown state", "objection to a consent", "unknown assurance", "consent under a law"],
)
def test_a_question_that_is_not_understood_is_no_refusal(engine: Engine, odd: Question) -> None:
    """It is an exception for the whole call, so that the event waits: an unclear question consumes nothing."""
    with pytest.raises(HubError) as told:
        engine.ask([GIVEN, odd, PAUSED])
    assert told.value.kind is Kind.UNAVAILABLE


def test_an_engine_that_is_gone_is_no_refusal(engine: Engine) -> None:
    """Asked after its end it raises, and says neither yes nor no."""
    engine.close()
    with pytest.raises(HubError) as told:
        engine.ask([GIVEN])
    assert told.value.kind is Kind.UNAVAILABLE
    assert told.value.remedy


def test_many_threads_may_ask_at_once(engine: Engine) -> None:
    """Gate and hand-out share one engine; everybody gets the answers to the own questions."""
    asked = [GIVEN, PAUSED, UNKNOWN]
    expected = engine.ask(asked)

    def ask(turn: int) -> bool:
        at = turn % 3
        return engine.ask([asked[at]] * 20) == [expected[at]] * 20

    with ThreadPoolExecutor(max_workers=8) as threads:
        assert all(threads.map(ask, range(48)))


def _papers() -> tuple[Catalogue, Catalogue, Catalogue]:
    return catalogue(), catalogue(), replace(catalogue(), digest="another")

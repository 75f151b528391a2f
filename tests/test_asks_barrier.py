"""Questions and answers meet withdrawals and endings at the worst moment: each forced on the real code, row by row."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hub.exchange.asked import expire_asks, no_answer
from hub.exchange.gate import Undecided
from hub.failpoints import disarm
from tests.asks_world import BY_CONSENT, BY_LAW, BY_REQUEST, answered, known, put, questions, state
from tests.interleaving import Doing, doing_at, paused
from tests.protocol_checks import faults
from tests.protocol_world import Hub, opened

pytestmark = pytest.mark.engines

DAY_S = 86_400


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        disarm()
        assert faults(one) == []


def consenting(hub: Hub) -> tuple[int, str]:
    person = known(hub, "A", BY_CONSENT)
    return person, hub.grant(person, BY_CONSENT)


def test_a_withdrawal_waits_for_the_question_that_is_leaving(hub: Hub) -> None:
    """It stands before its commit; once the withdrawal has returned, none leaves any more."""
    person, consent = consenting(hub)
    put(hub, "A", BY_CONSENT)
    with paused("handout.before_commit") as leaving:
        taking = Doing(lambda: questions(hub, BY_CONSENT))
        leaving.reached()
        withdrawing = Doing(lambda: hub.withdraw(person, consent))
        assert not withdrawing.returned()
        leaving.go()
        withdrawing.result()
        assert [one["kind"] for one in taking.result()] == ["ask"]
    assert questions(hub, BY_CONSENT) == []


def test_an_ask_that_comes_behind_a_withdrawal_goes_by_the_facts_after_it(hub: Hub) -> None:
    """It was put before the withdrawal had returned, and waits for its transaction."""
    person, consent = consenting(hub)
    with paused("withdraw.before_commit") as ending:
        withdrawing = Doing(lambda: hub.withdraw(person, consent))
        ending.reached()
        asking = Doing(lambda: put(hub, "A", BY_CONSENT))
        assert not asking.returned()
        ending.go()
        withdrawing.result()
        assert asking.result().row.word == "refused"
    assert questions(hub, BY_CONSENT) == []


def test_an_answer_that_was_prepared_before_a_withdrawal_is_decided_after_it(hub: Hub) -> None:
    """The gate's snapshot still had the consent; under the fence it is gone."""
    person, consent = consenting(hub)
    asked = put(hub, "A", BY_CONSENT)
    with doing_at("gate.prepared", lambda: hub.withdraw(person, consent)), suppress(Undecided):
        answered(hub, asked, "A", BY_CONSENT)  # nobody had asked for such a verdict yet: then the batch comes again
    hub.decide()
    assert [one["kind"] for one in hub.drain(BY_CONSENT)[0]] == ["stop"]
    assert state(hub, asked, BY_CONSENT).word == "refused"


def test_an_ask_that_is_closed_while_its_answer_is_prepared_takes_none(hub: Hub) -> None:
    """What others than the gate change is read again under the fence, whatever else has changed."""
    known(hub)
    asked = put(hub)
    with doing_at("gate.prepared", lambda: no_answer(hub.world, BY_LAW.publisher, asked.row.public.hex())):
        answered(hub, asked)
    assert [one["kind"] for one in hub.drain(BY_LAW)[0]] == ["notice"]
    assert state(hub, asked).word == "no_answer"


def test_an_ask_that_expires_while_its_answer_is_prepared_takes_none(hub: Hub) -> None:
    """To the instant, by the clock of the transaction."""
    known(hub)
    asked = put(hub)

    def late() -> None:
        hub.pass_by(DAY_S)
        expire_asks(hub.world)

    with doing_at("gate.prepared", late):
        answered(hub, asked)
    assert [one["kind"] for one in hub.drain(BY_LAW)[0]] == ["notice"]
    assert state(hub, asked).word == "expired"


def test_two_asks_at_once_under_one_grant_are_one(hub: Hub) -> None:
    """One stands in its transaction; the other comes behind it."""
    hub.grant(known(hub, "A", BY_REQUEST), BY_REQUEST)
    with paused("asking.before_commit") as first:
        asking = [Doing(lambda: put(hub, "A", BY_REQUEST)) for _ in range(2)]
        first.reached()
        first.go()
        assert sorted(one.result().row.word for one in asking) == ["asked", "refused"]


def test_nothing_personal_of_an_ask_stands_in_the_clear(hub: Hub) -> None:
    """Neither the asker's tags and ids nor what was answered, while it waits or after it left."""
    person, _ = consenting(hub)
    asked = put(hub, "A", BY_CONSENT, case="canary-case", actor="canary-officer", id="canary-id")
    questions(hub, BY_CONSENT)
    answered(hub, asked, "A", BY_CONSENT, clinic="canary-clinic", restrictions=["canary-glasses"])
    assert "canary-glasses" in repr(hub.drain(BY_CONSENT)[0])
    assert person
    stored = b"".join(path.read_bytes() for path in hub.directory.iterdir() if path.is_file())
    assert b"canary" not in stored
    assert b"asker/A" not in stored

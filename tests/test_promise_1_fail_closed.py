"""Promise 1: fail closed, lose nothing.

Missing agreement, consent, key or rule means no. An undefined, malformed or outdated verdict and an engine that is down
are not a "no" either: the event waits, unconsumed. Only an explicit refusal consumes.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.core.errors import HubError, Kind
from hub.core.question import Question
from hub.exchange.gate import Undecided
from hub.exchange.status import event_of, event_state
from hub.policy.answers import believed
from tests.promise_hub import reasons_of_all, restarted
from tests.protocol_world import Hub, opened, shipped

pytestmark = pytest.mark.engines(whole=True)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that knows one person, who has said yes."""
    with opened(tmp_path) as one:
        one.grant(one.link("A"))
        yield one


def state(hub: Hub, token: str) -> str:
    return event_state(hub.store, event_of(hub.keys, token))


def test_an_event_waits_unconsumed_while_the_engine_is_down(hub: Hub) -> None:
    """It is neither decided nor lost, and is decided once the engine is back."""
    hub.policy.down = True
    token = hub.publish("1")
    with pytest.raises(HubError) as raised:
        hub.decide()
    assert raised.value.kind is Kind.UNAVAILABLE
    assert (state(hub, token), hub.bus.backlog(), hub.pull().opened) == ("accepted", 1, ())
    hub.policy.down = False
    assert hub.decide().releases == 1
    assert state(hub, token) == "handled"
    assert len(hub.pull().opened) == 1


def test_a_hand_out_waits_while_the_engine_is_down(hub: Hub) -> None:
    """What is ready stays ready: not opened, not cancelled."""
    hub.publish("1")
    hub.decide()
    after = restarted(hub)  # nothing is remembered of what the engine said before
    after.policy.down = True
    with pytest.raises(HubError):
        after.pull()
    assert [state for _, state in after.states()] == [1]
    after.policy.down = False
    assert len(after.pull().opened) == 1
    after.close()


def test_a_verdict_of_another_revision_is_not_believed(hub: Hub) -> None:
    """A policy came into force that the gate has not asked yet: the event waits until it has."""
    hub.publish("0")
    hub.decide()  # now verdicts are remembered
    hub.forbid()
    token = hub.publish("1")
    with pytest.raises(Undecided):
        hub.decide()
    assert (state(hub, token), hub.pull().opened) == ("accepted", ())
    hub.verdicts.revision()
    assert hub.decide().refusals == 1
    assert state(hub, token) == "handled"


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        {"revision": "r", "verdicts": []},
        {"revision": "other", "verdicts": [{"fields": [], "reasons": []}]},
        {"revision": "r", "verdicts": [{"fields": ["a"], "reasons": [1]}]},
        {"revision": "r", "verdicts": [{"fields": ["a"]}]},
    ],
    ids=["nothing", "empty", "too few", "other revision", "odd reason", "no reasons"],
)
def test_a_malformed_answer_is_no_answer(said: object) -> None:
    """It is an engine that is down, never a no."""
    with pytest.raises(HubError) as raised:
        believed(said, count=1, revision="r")
    assert raised.value.kind is Kind.UNAVAILABLE


def test_an_undefined_verdict_is_no_answer() -> None:
    """A question that the policy has no rule for is not answered at all."""
    with pytest.raises(HubError) as raised:
        shipped()[1].ask([Question("AGR-4", 1, "KINDER-PLACE", "pop.residence", "unheard-of", "given", 2)])
    assert raised.value.kind is Kind.UNAVAILABLE


def test_without_the_agreements_row_nothing_goes(hub: Hub) -> None:
    """Who has not signed has not agreed; and the refusal consumes the event."""
    hub.store.write(lambda tx: tx.run("DELETE FROM agreement_state"))
    token = hub.publish("1")
    assert hub.decide().refusals == 1
    assert (state(hub, token), hub.pull().opened) == ("handled", ())
    assert "agreement.unsigned" in reasons_of_all(hub)


def test_without_consent_nothing_goes(hub: Hub) -> None:
    """Somebody who was never asked has said nothing, which is not a yes."""
    hub.link("B")
    hub.publish("1", "B")
    assert hub.decide().refusals == 1
    assert "consent.none" in reasons_of_all(hub)


def test_without_the_persons_key_nothing_goes(hub: Hub) -> None:
    """Neither of an event that comes later nor of one that is ready already."""
    hub.publish("1")
    hub.decide()
    hub.erase(hub.person("A"))
    hub.publish("2")
    assert hub.decide().refusals == 1
    assert hub.pull().opened == ()
    assert "person.erased" in reasons_of_all(hub)


def test_without_an_approved_policy_revision_nothing_is_decided(hub: Hub) -> None:
    """A store that names no revision believes no verdict: everything waits."""
    hub.store.write(lambda tx: tx.run("DELETE FROM fact WHERE name = 'policy_revision'"))
    token = hub.publish("1")
    with pytest.raises(Undecided):
        hub.decide()
    assert state(hub, token) == "accepted"


def test_an_event_of_somebody_unknown_waits(hub: Hub) -> None:
    """Until the register says who it is; then it is decided, by itself."""
    token = hub.publish("1", "nobody-yet")
    hub.decide()
    assert state(hub, token) == "waiting"
    hub.link("nobody-yet")
    hub.gate.revisit()
    assert state(hub, token) == "handled"

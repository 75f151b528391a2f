"""Dead letters: seen without a payload, tried again in their turn, discarded with a reason that the publisher hears."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from hub.core.errors import HubError
from hub.core.leaf import LeafKind
from hub.exchange.dead_letters import class_of, discard, letters_status, listed, retry, shown
from hub.exchange.expiry import expire_waiting
from hub.exchange.status import event_of, event_state
from hub.failpoints import disarm
from hub.identity.people import dispute
from hub.store.engine import Tx
from hub.store.facts import PERSON_FENCE, raise_fence
from tests.protocol_checks import faults
from tests.protocol_world import CONSENT, Hub, Matter, opened

pytestmark = pytest.mark.engines

S = 1_000_000
PUBLISHER = Matter(CONSENT.dataset, "", CONSENT.publisher, "", "", {})  # pulls what its publisher is told


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        disarm()
        assert faults(one) == []


class Spoilt(NamedTuple):
    """A person whose date of birth is unreadable, and what it was before."""

    person: int
    born: bytes


def spoilt(hub: Hub, *events: str, local_id: str = "A") -> Spoilt:
    """Spoil a person's date of birth, and publish: the first event is a dead letter, the rest behind it."""
    person = hub.link(local_id)
    hub.grant(person)
    ((born,),) = hub.rows("SELECT born FROM person WHERE id = ?", (person,))
    _set_born(hub, person, bytes(40))
    for event in events:
        hub.publish(event, local_id)
    hub.decide()
    return Spoilt(person, born)


def _set_born(hub: Hub, person: int, born: bytes) -> None:
    def transaction(tx: Tx) -> None:
        tx.run("UPDATE person SET born = ? WHERE id = ?", (born, person))
        raise_fence(tx, PERSON_FENCE, person)

    hub.store.write(transaction)


def decide_waiting(hub: Hub) -> list[str]:
    """Let the gate take all that waits and may go on; returns what the recipient then reads, in order."""
    while hub.gate.revisit() is not None:
        pass
    return [event["kind"] for event in hub.drain()[0]]


def stopped(hub: Hub) -> list[int]:
    return [one["number"] for one in listed(hub.world) if one["state"] == "stopped"]


def test_a_dead_letter_shows_its_class_and_deadline_and_what_waits_behind(hub: Hub) -> None:
    """Neither a payload nor anybody's id: what an operator needs to decide is a number, a class and two instants."""
    spoilt(hub, "e1", "e2", "e3")
    (one,) = listed(hub.world)
    assert one == {
        "number": 1, "publisher": CONSENT.publisher, "dataset": CONSENT.dataset, "class": "seal", "state": "stopped",
        "attempts": 1, "since": "2026-11-02T09:00:00Z", "last": "2026-11-02T09:00:00Z",
        "deadline": "2026-12-02T09:00:00Z", "ahead": 0, "behind": 2,
    }  # fmt: skip
    assert shown(hub.world, 1) == one
    assert "M-7" not in json.dumps(one)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyError("Nora"), "data"),
        (ValueError("1990"), "data"),
        (RuntimeError("?"), "defect"),
        (AssertionError(), "defect"),
    ],
)
def test_a_failures_class_holds_no_value(error: Exception, code: str) -> None:
    """A closed set of four: an exception's own words may quote what it was given."""
    assert class_of(error) == code


def test_tried_again_after_a_repair_it_is_decided_and_what_waited_follows_in_order(hub: Hub) -> None:
    """Nothing is lost, and nobody else ever waited."""
    person = spoilt(hub, "e1", "e2")
    _set_born(hub, *person)
    assert decide_waiting(hub) == []
    assert [one["number"] for one in retry(hub.world, 1)] == [1]
    assert decide_waiting(hub) == ["data", "data"]
    assert listed(hub.world) == []
    assert hub.rows("SELECT time_us FROM delivery ORDER BY id") == sorted(hub.rows("SELECT time_us FROM delivery"))
    with pytest.raises(HubError) as gone:
        retry(hub.world, 1)
    assert gone.value.code == "dead-letter-unknown"


def test_tried_again_before_the_repair_it_is_a_dead_letter_again(hub: Hub) -> None:
    """Under the same number, with one more attempt; what waits behind it still does."""
    spoilt(hub, "e1", "e2")
    retry(hub.world, None)
    assert [one["state"] for one in listed(hub.world)] == ["trying"]
    hub.pass_by(60)
    assert decide_waiting(hub) == []
    (one,) = listed(hub.world)
    assert (one["number"], one["state"], one["attempts"]) == (1, "stopped", 2)
    assert one["last"] != one["since"]


def test_tried_again_it_passes_no_earlier_one(hub: Hub) -> None:
    """Two dead letters of one person: the later one waits for its turn, whoever tries it first."""
    person = spoilt(hub, "e1", "e2")
    ((first, subject),) = hub.rows("SELECT id, subject FROM waiting ORDER BY id LIMIT 1")
    hub.store.write(
        lambda tx: (
            tx.run("UPDATE waiting SET local = ? WHERE id <> ?", (bytes(16), first)),
            tx.run("INSERT INTO dead_letter SELECT 2, id, 'data', 1, since_us FROM waiting WHERE id <> ?", (first,)),
        )
    )
    _set_born(hub, *person)
    assert [one["ahead"] for one in retry(hub.world, 2)] == [1]
    assert decide_waiting(hub) == []
    assert stopped(hub) == [1]
    retry(hub.world, 1)
    assert decide_waiting(hub) == ["data", "data"]
    assert subject


def test_discarded_its_publisher_is_told_and_the_chain_goes_on(hub: Hub) -> None:
    """One notice with the event's own token and the reason; the status is failed; the next event is decided."""
    person = spoilt(hub, "e1", "e2")
    token = hub.publish("e1")  # the same event again has the same token
    _set_born(hub, *person)
    done = discard(hub.world, 1, "wrong-data")
    assert (done["publisher"], done["behind"]) == (CONSENT.publisher, 1)
    hub.decide()
    assert decide_waiting(hub) == ["data"]
    (notice,) = hub.read(hub.pull(PUBLISHER))
    assert notice["kind"] == "notice"
    assert notice["data"] == {
        "type": "event.discarded", "dataset": CONSENT.dataset, "events": [token], "reason": "wrong-data",
    }  # fmt: skip
    assert event_state(hub.store, event_of(hub.keys, token)) == "failed"
    assert listed(hub.world) == []


def test_every_act_on_a_dead_letter_is_in_the_log_and_names_nobody(hub: Hub) -> None:
    """Its kind is its own; the detail says the number, the class and the reason."""
    person = spoilt(hub, "e1")
    retry(hub.world, 1)
    decide_waiting(hub)
    discard(hub.world, 1, "defect-known")
    rows = hub.rows("SELECT detail FROM audit WHERE kind = ? ORDER BY id", (LeafKind.DEAD_LETTER.value,))
    said = [orjson.loads(detail) for (detail,) in rows]
    assert [one["act"] for one in said] == ["retried", "discarded"]
    assert said[1]["reason"] == "defect-known"
    assert set().union(*said) == {"act", "class", "dataset", "letter", "publisher", "reason"}
    assert str(person.person) not in json.dumps(said)


def test_without_a_reason_of_the_list_nothing_is_discarded(hub: Hub) -> None:
    """Whoever ends somebody's event says why, in a word that others can count."""
    spoilt(hub, "e1")
    for reason in ("", "because", "DUPLICATE"):
        with pytest.raises(HubError) as refused:
            discard(hub.world, 1, reason)
        assert refused.value.code == "dead-letter-reason"
    assert stopped(hub) == [1]


def test_what_is_being_tried_again_is_not_discarded(hub: Hub) -> None:
    """The gate may be deciding it this moment."""
    spoilt(hub, "e1")
    retry(hub.world, 1)
    with pytest.raises(HubError) as refused:
        discard(hub.world, 1, "duplicate")
    assert refused.value.code == "dead-letter-trying"


def test_one_that_waits_for_a_link_after_all_is_no_dead_letter_any_more(hub: Hub) -> None:
    """Tried again, it met no defect; what it waits for is in the ordinary list."""
    person = spoilt(hub, "e1")
    _set_born(hub, *person)
    dispute(hub.register, agency=CONSENT.publisher, local_id="A")
    retry(hub.world, 1)
    assert decide_waiting(hub) == []
    assert stopped(hub) == []


def test_nobody_looking_it_ends_at_its_deadline(hub: Hub) -> None:
    """And a number that was used never means another event."""
    spoilt(hub, "e1")
    hub.pass_by(31 * 86_400)
    assert expire_waiting(hub.world) == 1
    assert listed(hub.world) == []
    spoilt(hub, "f1", local_id="B")
    assert stopped(hub) == [2]


def test_one_older_than_the_setting_is_an_alarm(hub: Hub) -> None:
    """`hub status` says so with its remedy; before that it only counts."""
    spoilt(hub, "e1")
    for hours, alarms in ((0, 0), (3.9, 0), (0.2, 1)):
        hub.pass_by(hours * 3600)
        with hub.store.read() as tx:
            said = letters_status(tx, hub.clock(), 4)
        assert (said["dead_letters"], len(said["alarms"])) == (1, alarms)
        if alarms:
            assert "hub deadletters list" in said["alarms"][0]["remedy"]


def test_erased_the_person_takes_the_dead_letter_along(hub: Hub) -> None:
    """Nothing of theirs waits any more, stopped or not."""
    person = spoilt(hub, "e1", "e2")
    assert hub.erase(person.person).destroyed["waiting"] == 2
    assert listed(hub.world) == []

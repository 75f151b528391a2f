"""What time ends of consents is written down, as their own last event, and changes nothing of what is decided."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consent.chain import Capacity, Event
from consent.record import Record
from consent.states import State
from hub.citizens.choices import grant, grant_unasked, pause_it, resume_it
from hub.citizens.desk import key_of, record_of
from hub.citizens.endings import AT_ONCE, Ended, end_overdue
from hub.citizens.history import Acted, history
from hub.citizens.inbox import consents, open_requests
from hub.citizens.withdraw import withdraw_it
from hub.core.leaf import LeafKind
from hub.exchange.world import Limits
from hub.identity.keys import unseal_with
from hub.store.consents import consent_by_public, sealed_events
from tests.citizen_world import BIRTH, DAY_US, S, Town
from tests.stores import meddle

pytestmark = pytest.mark.engines

KINDER = ("lindum", "child", "KINDER-PLACE")
HELP = ("social-fund", "worker", "EARLY-HELP")
CONTRACT = {"end_date": "2026-10-31", "reason_group": "redundancy", "insured_months": 40}
ANSWER_US = 30 * DAY_US


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, limits=Limits(redeliver_us=60 * S))
    yield town
    town.store.close()


def asked(town: Town, matter: tuple[str, str, str] = KINDER) -> tuple[int, str]:
    """Link a person where the matter needs it, and ask them."""
    agency, name, purpose = matter
    providers = {one.agreement.provider for one in town.catalogue.subscriptions.values() if one.purpose.code == purpose}
    person = town.person(name, agency, *providers - {"population-register"})
    return person, town.ask(agency, name, purpose)


def given(town: Town) -> tuple[int, str, int]:
    """Return a person, their running consent, and when it ends."""
    person, consent = asked(town)
    return person, consent, say_yes_to(town, person, consent)


def say_yes_to(town: Town, person: int, consent: str) -> int:
    who, until_us = town.principal(person), town.now_us + 100 * DAY_US
    grant(town.desk, who, consent, items=None, until_us=until_us, notice=town.notice(who, consent))
    return until_us


def record(town: Town, person: int, consent: str) -> Record:
    with town.store.read() as tx:
        row = consent_by_public(tx, consent)
        assert row is not None
        return record_of(tx, key_of(town.desk, person), row)


def last_event(town: Town, person: int, consent: str) -> Event:
    with town.store.read() as tx:
        row = consent_by_public(tx, consent)
        assert row is not None
        sealed, hash_ = sealed_events(tx, row.number)[-1]
    place = b"consent" + row.number.to_bytes(8) + (row.events - 1).to_bytes(4)
    return Event(unseal_with(key_of(town.desk, person), sealed, place), hash_)


def ended_all(town: Town) -> int:
    """Write down everything that is due; return how many records were looked at."""
    seen = 0
    while (one := end_overdue(town.desk)).seen:
        seen += one.seen
    return seen


def standing(town: Town) -> list[tuple[Any, ...]]:
    return town.rows("SELECT * FROM consent ORDER BY number") + town.rows("SELECT * FROM choice ORDER BY person")


def acts(town: Town, person: int) -> list[Acted]:
    entries = history(town.desk, town.principal(person)).entries
    return [one for one in entries if isinstance(one, Acted) and one.kind == "consent"]


def test_a_consent_past_its_end_gets_its_last_event_of_that_instant(town: Town) -> None:
    """The system acts, nobody signed in; the event is of the end itself, the log's row of when it was written."""
    person, consent, until_us = given(town)
    town.now_us = until_us - 1
    assert ended_all(town) == 0
    town.now_us = until_us + 3 * DAY_US
    assert ended_all(town) == 1
    ended, said = record(town, person, consent), last_event(town, person, consent).said
    assert (ended.state, ended.ended_us, ended.at_us) == (State.EXPIRED, until_us, until_us)
    assert (said.action, said.by.capacity, said.by.actor, said.by.acr) == ("expire", Capacity.SYSTEM, 0, 0)
    newest = acts(town, person)[0]
    assert (newest.said["act"], newest.said["state"], newest.said["ended_us"]) == ("expire", "expired", until_us)
    assert newest.moment_us == town.now_us
    assert newest.said["event"] == ended.head.hex()


def test_a_question_past_its_deadline_has_lapsed_and_says_so(town: Town) -> None:
    """It leaves the inbox by itself at the deadline; that it lapsed is in the record once it is written down."""
    person, consent = asked(town)
    town.now_us += ANSWER_US
    assert open_requests(town.desk, town.principal(person), "en") == ()
    assert ended_all(town) == 1
    assert record(town, person, consent).state is State.LAPSED
    (shown,) = consents(town.desk, town.principal(person), "en").ended
    assert (shown.state, shown.ended_us) == ("lapsed", town.now_us)
    assert acts(town, person)[0].said["act"] == "lapse"


def test_it_is_written_once(town: Town) -> None:
    """A second round finds nothing: no event, no audit row, no epoch."""
    given(town)
    town.now_us += 400 * DAY_US
    assert ended_all(town) == 1
    before = standing(town), town.rows("SELECT count(*) FROM audit"), town.rows("SELECT * FROM fence")
    town.now_us += DAY_US
    assert ended_all(town) == 0
    assert before == (standing(town), town.rows("SELECT count(*) FROM audit"), town.rows("SELECT * FROM fence"))


def test_the_persons_fence_is_raised_with_it(town: Town) -> None:
    """What decisions read of the person has changed, so a batch that was prepared before decides anew."""
    person, _, until_us = given(town)
    before = town.rows("SELECT epoch FROM fence WHERE kind = 1 AND subject = ?", (person,))[0][0]
    town.now_us = until_us
    ended_all(town)
    assert town.rows("SELECT epoch FROM fence WHERE kind = 1 AND subject = ?", (person,)) == [(before + 1,)]
    assert town.rows("SELECT kind FROM audit ORDER BY id DESC LIMIT 1") == [(LeafKind.CONSENT,)]


def outcome(town: Town, person: int, name: str) -> tuple[Any, ...]:
    """Say how the latest decision about a person came out, without when."""
    newest = next(one for one in history(town.desk, town.principal(person)).entries if not isinstance(one, Acted))
    found = [
        one
        for one in history(town.desk, town.principal(person)).entries
        if not isinstance(one, Acted) and one.audit == newest.audit and one.recipient == name
    ]
    return tuple((one.purpose, one.outcome, one.fields, one.withheld, one.reasons) for one in found)


def birth(town: Town) -> None:
    town.publish("civil-registry", "civil.birth.registered", "child", BIRTH)


def contract(town: Town) -> None:
    town.publish("employment-service", "emp.contract", "worker", CONTRACT)


@pytest.mark.parametrize(("matter", "publish"), [(KINDER, birth), (HELP, contract)])
@pytest.mark.parametrize("say_yes", [True, False])
def test_decisions_are_the_same_before_and_after_it_is_written_down(
    town: Town, matter: tuple[str, str, str], publish: Callable[[Town], None], say_yes: bool
) -> None:
    """At the very instant the outcome and its reasons are those of a recorded end; a microsecond before, not."""
    person, consent = asked(town, matter)
    town.now_us = (say_yes_to(town, person, consent) if say_yes else town.now_us + ANSWER_US) - 1
    publish(town)
    running = outcome(town, person, matter[0])
    town.now_us += 1
    publish(town)
    unwritten = outcome(town, person, matter[0])
    assert ended_all(town) == 1
    publish(town)
    assert outcome(town, person, matter[0]) == unwritten
    assert running != unwritten
    assert any(f"consent.{'expired' if say_yes else 'lapsed'}" in one[-1] for one in unwritten)


def test_what_was_queued_under_it_is_refused_at_the_hand_out_either_way(town: Town) -> None:
    """A delivery that was promised in time and pulled too late does not go, whether or not the end is recorded."""
    _, _, until_us = given(town)
    town.now_us = until_us - 1
    birth(town)
    birth(town)
    town.now_us = until_us
    ended_all(town)
    assert town.pull("lindum") == []
    assert town.queued("lindum") == []


def test_a_renewed_consent_is_left_alone_and_the_new_one_counts(town: Town) -> None:
    """Renewed in time, the old record has ended by that; at its former end nothing happens to it or to the new one."""
    person, consent, until_us = given(town)
    town.now_us = until_us - DAY_US
    who = town.principal(person)
    notice = town.notice(who, consent)
    grant_unasked(town.desk, who, recipient="lindum", purpose="KINDER-PLACE", items=None, notice=notice)
    town.now_us = until_us
    assert ended_all(town) == 0
    birth(town)
    assert len(town.pull("lindum")) == 1


def test_an_end_written_after_a_new_yes_does_not_touch_what_the_new_yes_means(town: Town) -> None:
    """The old one ran out unrecorded, a new one was given, and then the worker came: the choice is the new one's."""
    person, consent, until_us = given(town)
    town.now_us = until_us + S
    who = town.principal(person)
    notice = town.notice(who, consent)
    grant_unasked(town.desk, who, recipient="lindum", purpose="KINDER-PLACE", items=None, notice=notice)
    choice = town.rows("SELECT * FROM choice")
    assert ended_all(town) == 1
    assert town.rows("SELECT * FROM choice") == choice
    assert record(town, person, consent).state is State.EXPIRED
    birth(town)
    assert len(town.pull("lindum")) == 1


def test_a_withdrawn_consent_never_expires(town: Town) -> None:
    """The person ended it; time has nothing more to say."""
    person, consent, until_us = given(town)
    withdraw_it(town.desk, town.principal(person), consent)
    town.now_us = until_us
    assert ended_all(town) == 0
    assert record(town, person, consent).state is State.WITHDRAWN


def test_a_paused_consent_expires_too(town: Town) -> None:
    """Its time went on while it was paused."""
    person, consent, until_us = given(town)
    pause_it(town.desk, town.principal(person), consent)
    resume_it(town.desk, town.principal(person), consent)
    pause_it(town.desk, town.principal(person), consent)
    town.now_us = until_us
    assert ended_all(town) == 1
    assert record(town, person, consent).state is State.EXPIRED


def test_an_erased_person_is_passed_over(town: Town) -> None:
    """There is no key to seal an event under: nothing is written, and nothing stays due."""
    person, _, until_us = given(town)
    assert town.world.open_keys.of([person])  # still in memory, as where an erasure has just committed
    town.store.write(lambda tx: tx.run("UPDATE person SET erased_us = 1, key = NULL WHERE id = ?", (person,)))
    events, audits = town.rows("SELECT count(*) FROM consent_event"), town.rows("SELECT count(*) FROM audit")
    town.now_us = until_us
    assert ended_all(town) == 1
    assert (town.rows("SELECT count(*) FROM consent_event"), town.rows("SELECT count(*) FROM audit")) == (
        events,
        audits,
    )
    assert town.rows("SELECT count(*) FROM consent WHERE due_us IS NOT NULL") == [(0,)]


def test_a_record_that_does_not_hold_keeps_no_other_waiting(town: Town) -> None:
    """It is counted, left as it is, and looked at again a day later."""
    _, _, until_us = given(town)
    other, question = asked(town, HELP)
    damage = f"UPDATE consent_event SET hash = x'{'00' * 32}' WHERE consent = 1 AND seq = 0"
    meddle(town.store, town.directory / "hub.sqlite", damage)
    town.now_us = until_us
    assert end_overdue(town.desk) == Ended(2, 1)
    assert record(town, other, question).state is State.LAPSED
    assert town.rows("SELECT state FROM consent WHERE number = 1") == [("given",)]
    assert end_overdue(town.desk) == Ended(0, 0)
    town.now_us += DAY_US
    assert end_overdue(town.desk) == Ended(1, 1)


def test_one_transaction_ends_a_bounded_number(town: Town) -> None:
    """A withdrawal waits for one of them at most."""
    for number in range(AT_ONCE + 2):
        asked(town, ("lindum", f"child-{number}", "KINDER-PLACE"))
    town.now_us += ANSWER_US
    assert end_overdue(town.desk) == Ended(AT_ONCE, 0)
    assert end_overdue(town.desk) == Ended(2, 0)


def test_what_an_older_store_left_open_is_looked_at_once_and_then_at_its_time(town: Town) -> None:
    """A migrated store says of every open record that it is due; the record knows better."""
    person, consent = asked(town)
    deadline_us = town.now_us + ANSWER_US
    town.store.write(lambda tx: tx.run("UPDATE consent SET due_us = ?", (town.now_us,)))
    town.store.write(lambda tx: tx.run("UPDATE choice SET until_us = ?", (2**62,)))
    assert ended_all(town) == 1
    assert record(town, person, consent).state is State.REQUESTED
    assert town.rows("SELECT due_us FROM consent") == town.rows("SELECT until_us FROM choice") == [(deadline_us,)]
    assert ended_all(town) == 0

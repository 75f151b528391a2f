"""What a person says to a question, and what of their data then goes: real store, gate and hand-out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from consent.states import State
from hub.citizens.choices import grant, grant_unasked, narrow_it, pause_it, resume_it, say_no
from hub.citizens.desk import key_of, record_of
from hub.citizens.withdraw import withdraw_it
from hub.core.errors import HubError
from hub.exchange.world import Limits
from hub.store.consents import consent_by_public
from hub.store.deliveries import DELIVERY, QUEUE, Part, QueueState, pack_parts
from hub.store.engine import Tx
from hub.store.held import release_held
from tests.citizen_world import DAY_US, S, Town

pytestmark = pytest.mark.engines

KINDER = ("lindum", "child", "KINDER-PLACE")
CARE = ("health-region", "patient", "CARE-PLAN")
HELP = ("social-fund", "worker", "EARLY-HELP")
CONDITION = {"code": "T-1", "clinical_status": "active", "onset_on": "2026-01-05", "display": "Test condition"}
CONTRACT = {"end_date": "2026-10-31", "reason_group": "redundancy", "insured_months": 40}


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, limits=Limits(redeliver_us=60 * S))
    yield town
    town.store.close()


def asked(town: Town, matter: tuple[str, str, str]) -> tuple[int, str]:
    """Link a person where the matter needs it, and ask them."""
    agency, name, purpose = matter
    providers = {one.agreement.provider for one in town.catalogue.subscriptions.values() if one.purpose.code == purpose}
    person = town.person(name, agency, *providers - {"population-register"})
    return person, town.ask(agency, name, purpose)


def code(call: object) -> str:
    """Run a call that must be refused; return the refusal's code."""
    assert callable(call)
    with pytest.raises(HubError) as refusal:
        call()
    return refusal.value.code


def condition(town: Town) -> None:
    town.publish("health-ministry", "health.condition", "patient", CONDITION)


def contract(town: Town, **changed: object) -> None:
    town.publish("employment-service", "emp.contract", "worker", CONTRACT | changed)


def test_a_yes_lets_exactly_the_asked_fields_through(town: Town) -> None:
    """Before it nothing goes, after it the month of birth and no more, under the recipient's own id of the child."""
    person, consent = asked(town, KINDER)
    town.birth()
    assert town.pull("lindum") == []
    done = town.granted(person, consent)
    town.birth()
    (delivery,) = town.pull("lindum")
    assert (delivery["data"], delivery["subject"]) == ({"dob_month": "2026-10"}, "lindum/child")
    assert (done.state, done.receipt.stretch, done.receipt.action) == ("given", 1, "grant")
    assert done.recipient in town.rung


def test_a_choice_of_items_holds_for_the_rest(town: Town) -> None:
    """A field left out at the grant does not go."""
    person, consent = asked(town, CARE)
    town.granted(person, consent, [("health.condition", "code"), ("health.condition", "clinical_status")])
    condition(town)
    (delivery,) = town.pull("health-region")
    assert delivery["data"] == {"code": "T-1", "clinical_status": "active"}


def test_narrowing_drops_a_field_at_the_hand_out(town: Town) -> None:
    """What was decided with three fields leaves with two, once the person has taken one back."""
    person, consent = asked(town, CARE)
    town.granted(person, consent)
    condition(town)
    left = [("health.condition", "code"), ("health.condition", "clinical_status")]
    done = narrow_it(town.desk, town.principal(person), consent, items=left)
    (delivery,) = town.pull("health-region")
    assert (set(delivery["data"]), done.receipt.stretch) == ({"code", "clinical_status"}, 1)
    assert code(lambda: narrow_it(town.desk, town.principal(person), consent, items=left)) == "consent-not-narrower"


def test_an_item_that_was_never_asked_for_is_named_only_where_the_catalogue_knows_it(town: Town) -> None:
    """The refusal lists every such item by its place, and repeats nothing that only the request says."""
    person, consent = asked(town, KINDER)
    items = [("civil.birth.registered", "dob_month"), ("civil.birth.registered", "birth_weight"), ("Doe", "Jane")]
    with pytest.raises(HubError) as refusal:
        town.granted(person, consent, items)
    assert refusal.value.code == "consent-unknown-field"
    assert [(one.where, one.what) for one in refusal.value.items] == [
        ("/items/1", "civil.birth.registered/birth_weight was never asked for"),
        ("/items/2", "a field that no dataset has was never asked for"),
    ]
    assert "Jane" not in str(vars(refusal.value))


def test_a_sign_in_too_weak_for_the_purpose_says_no_yes(town: Town) -> None:
    """A yes that no decision would count is refused at once, instead of looking like one."""
    person, consent = asked(town, CARE)
    weak = town.principal(person, acr=1)
    notice = town.notice(weak, consent)
    refused = code(lambda: grant(town.desk, weak, consent, items=None, until_us=None, notice=notice))
    assert refused == "assurance-too-low"


def test_a_no_is_final_and_rests(town: Town) -> None:
    """The same question may come again after 30 days from the no, however long it had waited."""
    person, consent = asked(town, KINDER)
    town.now_us += 20 * DAY_US
    assert say_no(town.desk, town.principal(person), consent).state == "refused"
    assert code(lambda: town.granted(person, consent)) == "consent-illegal-transition"
    town.now_us += 29 * DAY_US
    assert code(lambda: town.ask(*KINDER)) == "request-rests"
    town.now_us += 1 * DAY_US
    assert town.ask(*KINDER) != consent


def test_a_question_is_put_once(town: Town) -> None:
    """Neither while one is open, nor while consent runs; and a deadline lies within thirty days."""
    person, consent = asked(town, KINDER)
    assert code(lambda: town.ask(*KINDER)) == "request-open"
    town.granted(person, consent)
    assert code(lambda: town.ask(*KINDER)) == "request-open"
    withdraw_it(town.desk, town.principal(person), consent)
    assert code(lambda: town.ask(*KINDER, deadline_us=town.now_us + 31 * DAY_US)) == "request-deadline"
    assert town.ask(*KINDER, deadline_us=town.now_us + DAY_US)


def test_only_whom_the_agency_knows_can_be_asked_and_only_for_what_is_agreed(town: Town) -> None:
    """An unknown id, a purpose of somebody else, a purpose that rests on law."""
    asked(town, KINDER)
    assert code(lambda: town.ask("lindum", "stranger", "KINDER-PLACE")) == "subject-unknown"
    assert code(lambda: town.ask("lindum", "child", "CARE-PLAN")) == "purpose-unknown"
    assert code(lambda: town.ask("family-benefits", "child", "FAM-ALLOW")) == "purpose-not-asked"


def test_pausing_stops_and_keeps_the_stretch(town: Town) -> None:
    """What was ready stays ready over a pause, and goes once it is over."""
    person, consent = asked(town, KINDER)
    town.granted(person, consent)
    town.birth()
    who = town.principal(person)
    assert pause_it(town.desk, who, consent).receipt.stretch == 1
    assert resume_it(town.desk, who, consent).receipt.stretch == 1
    assert [one["data"] for one in town.pull("lindum")] == [{"dob_month": "2026-10"}]
    pause_it(town.desk, who, consent)
    town.birth()
    assert town.pull("lindum") == []


def test_somebody_elses_consent_does_not_exist(town: Town) -> None:
    """For every act the answer is the same as for no such consent."""
    _, consent = asked(town, KINDER)
    other = town.principal(town.person("other", "lindum"))
    notice = town.notice(town.principal(town.person("child")), consent)
    items = [("civil.birth.registered", "dob_month")]
    for act in (
        lambda: grant(town.desk, other, consent, items=None, until_us=None, notice=notice),
        lambda: say_no(town.desk, other, consent),
        lambda: pause_it(town.desk, other, consent),
        lambda: resume_it(town.desk, other, consent),
        lambda: narrow_it(town.desk, other, consent, items=items),
        lambda: withdraw_it(town.desk, other, consent),
    ):
        assert code(act) == "entry-unknown"


def test_a_new_grant_after_a_withdrawal_revives_nothing(town: Town) -> None:
    """Without look-back, what was ready under the stretch that ended is cancelled, though consent runs again."""
    person, consent = asked(town, KINDER)
    town.granted(person, consent)
    town.birth()
    withdraw_it(town.desk, town.principal(person), consent)
    again = town.granted(person, town.ask(*KINDER))
    assert again.receipt.stretch == 2
    assert [one["kind"] for one in town.pull("lindum")] == ["stop"]
    assert town.queued("lindum") == [3]  # the stop, opened: nothing is ready


def test_an_old_question_answered_late_begins_a_stretch_of_its_own(town: Town) -> None:
    """It was asked when there had been no consent; meanwhile one came and went, and that one's stretch is used up."""
    person, consent = asked(town, KINDER)
    who = town.principal(person)
    given = grant_unasked(
        town.desk, who, recipient="lindum", purpose="KINDER-PLACE", items=None, notice=town.notice(who, consent)
    )
    town.birth()
    withdraw_it(town.desk, who, given.consent)
    assert town.granted(person, consent).receipt.stretch == 2
    assert [one["kind"] for one in town.pull("lindum")] == ["stop"]


def test_a_second_yes_takes_the_place_of_the_first_and_keeps_its_stretch(town: Town) -> None:
    """The first record ends as renewed and can no more be withdrawn; what was ready goes under the same stretch."""
    person, consent = asked(town, KINDER)
    who = town.principal(person)
    first = grant_unasked(
        town.desk, who, recipient="lindum", purpose="KINDER-PLACE", items=None, notice=town.notice(who, consent)
    )
    town.birth()
    assert town.granted(person, consent).receipt.stretch == 1
    assert code(lambda: withdraw_it(town.desk, who, first.consent)) == "consent-illegal-transition"
    assert len(town.pull("lindum")) == 1
    with town.store.read() as tx:
        row = consent_by_public(tx, first.consent)
        assert row is not None
        record = record_of(tx, key_of(town.desk, person), row)
    assert (record.state, record.successor) == (State.RENEWED, consent)


def test_a_consent_that_renewed_another_can_be_paused_and_resumed(town: Town) -> None:
    """The other has ended once, and is not ended again."""
    person, consent = asked(town, KINDER)
    who = town.principal(person)
    grant_unasked(
        town.desk, who, recipient="lindum", purpose="KINDER-PLACE", items=None, notice=town.notice(who, consent)
    )
    town.granted(person, consent)
    pause_it(town.desk, who, consent)
    assert resume_it(town.desk, who, consent).state == "given"
    town.birth()
    assert len(town.pull("lindum")) == 1


def test_a_no_to_a_second_question_leaves_the_running_consent_alone(town: Town) -> None:
    """Refusing what was asked before the person said yes of their own accord stops nothing."""
    person, consent = asked(town, KINDER)
    who = town.principal(person)
    grant_unasked(
        town.desk, who, recipient="lindum", purpose="KINDER-PLACE", items=None, notice=town.notice(who, consent)
    )
    say_no(town.desk, who, consent)
    town.birth()
    assert len(town.pull("lindum")) == 1


def test_a_grant_releases_what_was_held_in_order_ahead_of_anything_newer(town: Town) -> None:
    """Under look-back the events before the yes are handed out first, oldest first."""
    person, consent = asked(town, HELP)
    contract(town, insured_months=1)
    contract(town, insured_months=2)
    assert town.pull("social-fund") == []
    town.granted(person, consent)
    contract(town, insured_months=3)
    assert [one["data"]["insured_months"] for one in town.pull("social-fund")] == [1, 2, 3]


def test_a_hold_that_is_over_is_not_released(town: Town) -> None:
    """Thirty days of look-back are thirty days, whether or not anybody has swept since."""
    person, consent = asked(town, HELP)
    contract(town, insured_months=1)
    town.now_us += 29 * DAY_US
    contract(town, insured_months=2)
    town.now_us += DAY_US
    assert code(lambda: town.granted(person, consent)) == "consent-illegal-transition"  # the question lapsed as well
    town.granted(person, town.ask(*HELP))
    assert town.queued("social-fund") == [1, 2]


def test_what_is_held_for_somebody_in_another_role_is_released_too(town: Town) -> None:
    """An event about a child, with a part of the parent's: the parent's yes lets it go, somebody else's does not."""
    parent, child, other, recipient = 1001, 1002, 1003, 7
    parts = pack_parts([Part(child, 1, 0, 3, 40), Part(parent, 2, 0, 3, 40)])

    def hold(tx: Tx) -> None:
        tx.insert(DELIVERY, [(1, b"d" * 16, 1, recipient, 20, 1, 1, town.now_us, parts, b"")])
        tx.insert(QUEUE, [(recipient, QueueState.HELD.value, 1, 20, child, 0, town.now_us + S)])

    def release(person: int, now_us: int) -> None:
        def work(tx: Tx) -> None:
            release_held(tx, person=person, recipient=recipient, subscriptions=[20], now_us=now_us, other_roles=True)

        town.store.write(work)

    town.store.write(hold)
    for person, now_us, state in ((other, town.now_us, 2), (parent, town.now_us + S, 2), (parent, town.now_us, 1)):
        release(person, now_us)
        assert town.rows("SELECT state FROM queue WHERE recipient = ?", (recipient,)) == [(state,)]

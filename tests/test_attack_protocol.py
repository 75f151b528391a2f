"""Attacks on the promises themselves: what changes while something is under way, and what must outlive it."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from threading import Event

import pytest

from hub import failpoints
from hub.app import Hub as WholeHub
from hub.app import build
from hub.citizens.choices import grant_unasked
from hub.citizens.withdraw import withdraw_it
from hub.core.agreement import Catalogue
from hub.core.catalogue import from_document, to_document
from hub.core.errors import HubError
from hub.engines import shipped_catalogue
from hub.exchange.feed import cloud_event
from hub.exchange.gate import Gate, Undecided
from hub.exchange.handout import hand_out
from hub.exchange.publish import Accepted, publish
from hub.identity.people import NewLink, link, person_of, unlink
from hub.logs import open_log
from hub.settings import Settings
from hub.store.facts import PERSON_FENCE
from hub.workers.retention import Retention
from tests.protocol_world import CONSENT, LINKER, NOTICE, Hub, ManualClock, Matter, opened, principal
from tests.stores import settings_of
from tests.world import agree

pytestmark = pytest.mark.engines

DAY_S = 86_400


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as running:
        yield running


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[WholeHub]:
    """A composed hub without its threads, on a clock that stands still."""
    clock = ManualClock()
    running = build(
        Settings(mode="development", data_dir=tmp_path, synchronous="NORMAL", **settings_of(tmp_path)),
        clock=clock,
        log=open_log(clock=clock, level="error"),
    )
    try:
        yield running
    finally:
        failpoints.disarm()
        running.close()


def without(catalogue: Catalogue, matter: Matter, *, dataset: str = "") -> Catalogue:
    """Return the catalogue without any agreement for a matter's purpose, or without any about `dataset`."""
    document = to_document(catalogue)
    for one in catalogue.subscriptions.values():
        if dataset == one.dataset.name or (
            not dataset and (one.recipient, one.purpose.code) == (matter.recipient, matter.purpose)
        ):
            document["agreements"].pop(one.agreement.code, None)
    return from_document(document)


def publish_one(whole: WholeHub, matter: Matter, event_id: str, local_id: str) -> None:
    envelope = {
        "specversion": "1.0", "id": event_id, "source": f"urn:agency:{matter.publisher}", "type": matter.dataset,
        "subject": local_id, "time": "2026-11-02T09:00:00Z",
        "data": {matter.subject_field: local_id, **matter.data},
    }  # fmt: skip
    (outcome,) = publish(whole.desk, matter.publisher, [envelope])
    assert isinstance(outcome, Accepted), outcome


def consenting(whole: WholeHub, matter: Matter, local_id: str) -> tuple[int, str]:
    """Link a person under four and say yes for them; returns the person and the consent's public id."""
    (said,) = link(whole.register, LINKER, [NewLink(matter.publisher, local_id, f"R-{local_id}", 3, date(2023, 5, 1))])
    assert said in ("linked", "known")
    with whole.store.read() as tx:
        person = person_of(tx, whole.keys, matter.publisher, local_id)
    assert person is not None
    done = grant_unasked(
        whole.citizens, principal(person), recipient=matter.recipient, purpose=matter.purpose, items=None, notice=NOTICE
    )
    return person, done.consent


def settle(gate: Gate) -> None:
    quiet = 0
    while quiet < 2:
        quiet = quiet + 1 if gate.step(0.0) is None and gate.idle() else 0


# The catalogue changes while something is under way.


def test_a_hand_out_under_the_former_catalogue_does_not_cancel_what_only_the_new_one_knows(tmp_path: Path) -> None:
    """A subscription that a pull has never heard of may be newer than the pull: its delivery waits, it is not ended."""
    clock = ManualClock()
    settings = Settings(mode="development", data_dir=tmp_path, synchronous="NORMAL", **settings_of(tmp_path))
    whole = build(settings, clock=clock, log=open_log(clock=clock, level="error"), stock=False)
    try:
        full = shipped_catalogue()
        agree(whole, without(full, CONSENT))
        former = whole.world
        agree(whole, full)
        consenting(whole, CONSENT, "A")
        publish_one(whole, CONSENT, "e-1", "A")
        settle(Gate(whole.world))
        page = hand_out(former, CONSENT.recipient, 500)  # it took its catalogue just before the approval
        assert (len(page.opened), page.cancelled) == (0, 0)
        assert len(hand_out(whole.world, CONSENT.recipient, 500).opened) == 1
    finally:
        whole.close()


def test_an_event_nobody_heard_of_is_decided_anew_when_a_subscriber_came_while_it_was_prepared(tmp_path: Path) -> None:
    """An event without any recipient asks for no verdict; it must not be consumed under the former catalogue either."""
    clock = ManualClock()
    settings = Settings(mode="development", data_dir=tmp_path, synchronous="NORMAL", **settings_of(tmp_path))
    whole = build(settings, clock=clock, log=open_log(clock=clock, level="error"), stock=False)
    try:
        full = shipped_catalogue()
        agree(whole, without(full, CONSENT, dataset=CONSENT.dataset))
        (said,) = link(whole.register, LINKER, [NewLink(CONSENT.publisher, "A", "R-A", 3, date(2023, 5, 1))])
        assert said == "linked"
        publish_one(whole, CONSENT, "e-1", "A")
        gate = Gate(whole.world)

        def approve_now() -> None:
            failpoints.disarm()
            agree(whole, full)

        failpoints.arm("gate.prepared", approve_now)
        with pytest.raises(Undecided):
            settle(gate)
        consenting(whole, CONSENT, "A")
        settle(Gate(whole.world))
        assert len(hand_out(whole.world, CONSENT.recipient, 500).opened) == 1
    finally:
        failpoints.disarm()
        whole.close()


def test_a_consent_can_be_withdrawn_after_its_agreement_has_ended(whole: WholeHub) -> None:
    """The catalogue has no line for it any more; the person's word counts all the same, and names what went."""
    person, consent = consenting(whole, CONSENT, "A")
    publish_one(whole, CONSENT, "e-1", "A")
    settle(Gate(whole.world))
    (went,) = hand_out(whole.world, CONSENT.recipient, 500).opened
    agree(whole, without(whole.approved(), CONSENT))
    done = withdraw_it(whole.citizens, principal(person), consent)
    assert done.state == "withdrawn"
    assert [one.delivery for one in done.receipt.opened_before] == [went.public.hex()]


def test_a_stop_reaches_a_recipient_whose_agreement_has_ended(whole: WholeHub) -> None:
    """What it holds was stopped by the person; that the agreement ended as well does not keep the word from it."""
    person, consent = consenting(whole, CONSENT, "A")
    agree(whole, without(whole.approved(), CONSENT))
    withdraw_it(whole.citizens, principal(person), consent)
    (stop,) = hand_out(whole.world, CONSENT.recipient, 500).opened
    event = cloud_event(stop, whole.open_keys.of([person]), whole.wrapping)
    assert (event["kind"], event["type"]) == ("stop", "hub.stop")
    assert event["data"]["purpose"] == CONSENT.purpose


def test_a_catalogue_whose_schemas_cannot_be_compiled_is_not_approved(whole: WholeHub) -> None:
    """Approved in the store and refused here, it would stop the hub now and keep it from ever starting again."""
    document = to_document(whole.approved())
    one = document["datasets"][CONSENT.dataset]
    one["version"] += 1
    one["schema"] = {**one["schema"], "properties": {**one["schema"]["properties"]}}
    one["schema"]["properties"]["municipality_code"] = {"type": "string", "pattern": "("}
    before = whole.in_force.revision
    with pytest.raises(HubError):
        agree(whole, from_document(document))
    with whole.store.read() as tx:
        assert tx.one("SELECT value FROM fact WHERE name = 'policy_revision'") == (before,)


def test_what_waits_for_a_link_outlives_its_dataset(whole: WholeHub) -> None:
    """A dataset leaves the catalogue while an event of it waits: the others that wait are still decided."""
    publish_one(whole, CONSENT, "e-1", "gone")
    other = Matter("utilities", "util.account", "social-fund", "EARLY-HELP", "customer_id", {"at_risk": True})
    publish_one(whole, other, "e-2", "B")
    settle(Gate(whole.world))
    document = to_document(without(whole.approved(), CONSENT, dataset=CONSENT.dataset))
    del document["datasets"][CONSENT.dataset]
    for purpose in document["purposes"].values():
        if purpose["wanted"].pop(CONSENT.dataset, None):
            purpose["version"] += 1
    agree(whole, from_document(document))
    for local_id, matter in (("gone", CONSENT), ("B", other)):
        link(whole.register, LINKER, [NewLink(matter.publisher, local_id, f"R-{local_id}", 3, date(2023, 5, 1))])
    gate = Gate(whole.world)
    gate.revisit()
    with whole.store.read() as tx:
        assert tx.one("SELECT count(*) FROM waiting") == (0,)


# Links.


def birth_of(hub: Hub, event_id: str, child: str, parents: list[str]) -> None:
    matter = Matter("civil-registry", "civil.birth.registered", "family-benefits", "FAM-ALLOW", "child_id", {})
    hub.publish(event_id, child, matter, dob="2026-10-20", parent_ids=parents)


def test_undoing_the_link_of_a_parent_stops_what_rests_on_it(hub: Hub) -> None:
    """A wrong parent was linked; once the undoing has returned, nothing about that person goes."""
    rows = [
        NewLink("civil-registry", "C", "R-C", 3, date(2026, 10, 20)),
        NewLink("civil-registry", "P", "R-P", 3, date(1990, 1, 1)),
    ]
    assert set(link(hub.register, LINKER, rows)) == {"linked"}
    birth_of(hub, "e-1", "C", ["P"])
    hub.decide()
    before = hub.rows("SELECT count(*) FROM queue")
    assert before != [(0,)]
    unlink(hub.register, agency="civil-registry", local_id="P")
    went = [
        event["data"].get("parent_ids")
        for recipient in {one.recipient for one in hub.catalogue.by_dataset["civil.birth.registered"]}
        for event in hub.read(hand_out(hub.world, recipient, 500))
    ]
    assert not any(went)


def test_a_corrected_date_of_birth_takes_the_persons_fence_and_an_audit_row(hub: Hub) -> None:
    """Age decides; whoever changes it leaves a trace, as for any other fact."""

    def standing() -> tuple[int, int]:
        epochs = hub.rows("SELECT epoch FROM fence WHERE kind = ? AND subject = ?", (PERSON_FENCE, person))
        return epochs[0][0], hub.rows("SELECT count(*) FROM history WHERE person = ?", (person,))[0][0]

    person = hub.link("A")
    epoch, rows = standing()
    (said,) = link(hub.register, LINKER, [NewLink(CONSENT.publisher, "A", "R-A", 3, date(1980, 1, 1))])
    assert said == "known"
    assert standing() == (epoch + 1, rows + 1)
    link(hub.register, LINKER, [NewLink(CONSENT.publisher, "A", "R-A", 3, date(1980, 1, 1))])
    assert standing() == (epoch + 1, rows + 1)  # the same again is no change


def test_one_link_to_an_erased_person_does_not_undo_the_others(hub: Hub) -> None:
    """Each link stands on its own, also where one names a person who was erased."""
    erased = hub.link("E")
    hub.erase(erased)
    rows = [(CONSENT.publisher, "X", "R-X"), ("utilities", "E-2", "R-E"), ("utilities", "Y", "R-Y")]
    outcomes = link(hub.register, LINKER, [NewLink(*row, 3) for row in rows])
    assert [one if isinstance(one, str) else one.code for one in outcomes] == ["linked", "person-erased", "linked"]


# The clock.


def test_a_clock_that_ran_ahead_and_was_set_back_leaves_publishing_possible(hub: Hub) -> None:
    """Day keys were destroyed too early; nothing lost can come back, and new events get a new key."""
    retention = Retention(
        lambda: hub.world, lambda: hub.desk, day_keys=hub.day_keys, drop_decided=hub.bus.drop_decided, keep_days=7,
        log=open_log(clock=hub.clock, level="error"),
    )  # fmt: skip
    hub.link("A")
    hub.publish("e-1")
    hub.pass_by(40 * DAY_S)
    retention.step(Event())
    hub.pass_by(-40 * DAY_S)
    hub.publish("e-2")
    hub.decide()
    assert hub.rows("SELECT count(*) FROM event_seen") == [(1,)]

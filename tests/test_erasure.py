"""Erasing a person: what forbids it, what is destroyed, who is told, and that nothing brings them back."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import orjson
import pytest

from hub.citizens.desk import NotTheirs
from hub.core.errors import HubError
from hub.core.leaf import LeafKind
from hub.exchange.erase import erase
from hub.exchange.erase_rest import PIECE, finish_erasures
from hub.exchange.expiry import expire_held
from hub.exchange.holds_by_law import hold, holds, unhold
from hub.exchange.status import event_of, event_state
from hub.failpoints import disarm
from hub.identity.keys import unseal
from hub.identity.people import NewLink, dispute, link, unlink
from hub.identity.sessions import find, sign_in
from hub.store.deliveries import DeliveryKind
from hub.store.erasures import Stage
from hub.store.overdue import Unconfirmed, overdue
from tests.protocol_checks import faults
from tests.protocol_world import CONSENT, LINKER, LOOK_BACK, Hub, Matter, opened, principal

pytestmark = pytest.mark.engines

DAY_S = 86_400
S = 1_000_000
BIRTH = Matter("civil-registry", "civil.birth.registered", "family-benefits", "FAM-ALLOW", "child_id", {})


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        disarm()
        assert faults(one) == []


def handed(hub: Hub, events: int = 1, local_id: str = "A") -> int:
    """Link a person, let them consent, and hand out events of theirs; returns the person."""
    person = hub.link(local_id)
    hub.grant(person)
    for number in range(events):
        hub.publish(f"{local_id}-{number}", local_id)
    hub.decide()
    while (page := hub.pull()).opened:
        hub.acknowledge(page)
    return person


def unconfirmed(hub: Hub, recipient: int | None = None) -> list[Unconfirmed]:
    with hub.store.read() as tx:
        return overdue(tx, hub.clock(), recipient=recipient)


def link_family(hub: Hub, child: str = "C", parent: str = "P") -> None:
    rows = [
        NewLink("civil-registry", child, f"R-{child}", 3, date(2026, 1, 31)),
        NewLink("civil-registry", parent, f"R-{parent}", 3, date(1990, 5, 1)),
    ]
    assert set(link(hub.register, LINKER, rows)) == {"linked"}


def publish_birth(hub: Hub, event: str = "b1", child: str = "C", parents: tuple[str, ...] = ("P",)) -> str:
    return hub.publish(event, child, BIRTH, dob="2026-01-31", parent_ids=list(parents))


# What forbids it.


def test_a_person_under_a_legal_hold_is_not_erased(hub: Hub) -> None:
    """It is refused with the order's reference and until when, and nothing of theirs has changed."""
    person = handed(hub)
    until_us = hub.clock() + 10 * DAY_S * S
    hold(
        hub.world, agency=CONSENT.publisher, local_id="A", reference="KG 12/2026", reason="court-order",
        until_us=until_us,
    )  # fmt: skip
    with pytest.raises(HubError, match=r"KG 12/2026 \(court-order\), until 2026-11-12") as refused:
        hub.erase(person)
    assert refused.value.code == "legal-hold"
    assert hub.open_keys.of([person])
    assert hub.ledger.erased == {}
    hub.pass_by(10 * DAY_S)
    assert not hub.erase(person).already


def test_a_hold_that_was_lifted_forbids_nothing(hub: Hub) -> None:
    """Both acts are in the log, under a kind of their own, and name nobody."""
    person = handed(hub)
    given = hold(
        hub.world, agency=CONSENT.publisher, local_id="A", reference="KG-7", reason="audit",
        until_us=hub.clock() + DAY_S * S,
    )  # fmt: skip
    assert [one["number"] for one in holds(hub.world)] == [given["number"]]
    unhold(hub.world, given["number"])
    assert holds(hub.world) == []
    with pytest.raises(HubError, match="no hold of this number stands"):
        unhold(hub.world, given["number"])
    assert len(hub.rows("SELECT id FROM audit WHERE kind = ?", (LeafKind.LEGAL_HOLD.value,))) == 2
    hub.erase(person)


@pytest.mark.parametrize(
    ("said", "where"),
    [({"reason": "because"}, "reason"), ({"reference": "Nora F., née X"}, "reference"), ({"until_us": 1}, "until")],
)
def test_a_hold_says_which_order_why_and_until_when(hub: Hub, said: dict[str, object], where: str) -> None:
    """A reason of the list, a reference that is no sentence, and an end that is yet to come."""
    hub.link("A")
    good = {"reference": "KG-7", "reason": "audit", "until_us": hub.clock() + S}
    with pytest.raises(HubError) as refused:
        hold(hub.world, agency=CONSENT.publisher, local_id="A", **{**good, **said})  # type: ignore[arg-type]  # as a client might send it
    assert (refused.value.code, refused.value.where) == ("hold-refused", where)


def test_whom_nobody_is_linked_to_is_not_found(hub: Hub) -> None:
    """And a reason that is not in the list is refused before anybody is looked for."""
    with pytest.raises(HubError) as unknown:
        erase(hub.eraser, agency=CONSENT.publisher, local_id="nobody", reason="request")
    assert unknown.value.code == "person-unknown"
    with pytest.raises(HubError) as reason:
        erase(hub.eraser, agency=CONSENT.publisher, local_id="nobody", reason="why not")
    assert reason.value.code == "erasure-reason"


# What is destroyed.


def test_the_answer_counts_what_was_destroyed_and_says_what_may_still_be(hub: Hub) -> None:
    """Said again, it is the same answer: nothing is destroyed or told twice."""
    handed(hub, 3)
    done = erase(hub.eraser, agency=CONSENT.publisher, local_id="A", reason="request")
    assert (done.already, done.reason, done.left, done.log_cut) == (False, "request", False, True)
    assert done.destroyed == {"keys": 1, "names": 2, "sessions": 0, "choices": 1, "held": 0, "waiting": 0}
    assert done.told == {CONSENT.recipient: 3}
    assert done.bus_until_us == (hub.clock() // (DAY_S * S) + 7) * DAY_S * S
    assert done.due_us == hub.clock() + 30 * DAY_S * S
    again = erase(hub.eraser, agency=CONSENT.publisher, local_id="A", reason="unlawful")
    assert again == done._replace(already=True)
    assert hub.rows("SELECT count(*) FROM audit WHERE kind = ?", (LeafKind.ERASURE.value,)) == [(1,)]


def test_what_was_not_opened_is_never_handed_out(hub: Hub) -> None:
    """Ready deliveries are cancelled by the next hand-out, which says why in the log."""
    person = hub.link("A")
    hub.grant(person)
    hub.publish("e1")
    hub.decide()
    hub.erase(person)
    assert hub.drain() == ([], 1)


def test_a_held_delivery_goes_with_its_key(hub: Hub) -> None:
    """At once: no grant can come for it any more. One that had been opened before leaves a stop."""
    person = hub.link("A", LOOK_BACK)
    consent = hub.grant(person, LOOK_BACK)
    hub.publish("e1", "A", LOOK_BACK)
    hub.decide()
    assert len(hub.pull(LOOK_BACK).opened) == 1
    hub.pause(person, consent)
    hub.publish("e2", "A", LOOK_BACK)
    hub.decide()
    hub.pass_by(120)
    assert hub.pull(LOOK_BACK).held == 1
    assert hub.erase(person).destroyed["held"] == 2
    assert hub.rows("SELECT count(*) FROM hold_key") == [(0,)]
    assert expire_held(hub.world) == 0
    assert [event["kind"] for event in hub.drain(LOOK_BACK)[0]] == ["stop", "delete"]


def test_a_stop_that_names_the_person_is_not_handed_out_any_more(hub: Hub) -> None:
    """Its key is gone, so it could not be opened; it does not come back for ever either."""
    person = handed(hub)
    (consent,) = hub.rows("SELECT public FROM consent WHERE person = ?", (person,))[0]
    hub.withdraw(person, consent)
    hub.erase(person)
    events, cancelled = hub.drain()
    assert [event["kind"] for event in events] == ["delete"]
    assert cancelled == 1


def test_nobody_stays_signed_in_as_an_erased_person_or_for_one(hub: Hub) -> None:
    """Sessions go in the same transaction: their own, and those of whoever acts for them."""
    person, guardian = hub.link("A"), hub.link("G")
    own = sign_in(hub.store, hub.keys, person=person, actor=person, acr=2, now_us=hub.clock(), life_us=S)
    acting = sign_in(hub.store, hub.keys, person=person, actor=guardian, acr=2, now_us=hub.clock(), life_us=S)
    others = sign_in(hub.store, hub.keys, person=guardian, actor=guardian, acr=2, now_us=hub.clock(), life_us=S)
    assert hub.erase(person).destroyed["sessions"] == 2
    for one in (own, acting):
        with pytest.raises(HubError, match="session has ended"):
            find(hub.store, hub.keys, one.cookie, now_us=hub.clock())
    assert find(hub.store, hub.keys, others.cookie, now_us=hub.clock()).principal.person == guardian


def test_nobody_can_consent_for_an_erased_person(hub: Hub) -> None:
    """Not even who holds an act in hand that was begun before."""
    person = hub.link("A")
    hub.erase(person)
    with pytest.raises(NotTheirs):
        hub.grant(person)
    assert hub.rows("SELECT count(*) FROM choice WHERE person = ?", (person,)) == [(0,)]


def test_their_own_waiting_events_go_with_their_key(hub: Hub) -> None:
    """To the publisher they have expired: it learns nothing else of anybody."""
    person = hub.link("A")
    dispute(hub.register, agency=CONSENT.publisher, local_id="A")
    token = hub.publish("e1")
    hub.decide()
    assert hub.erase(person).destroyed["waiting"] == 1
    assert hub.rows("SELECT count(*) FROM waiting UNION ALL SELECT count(*) FROM waiting_key") == [(0,), (0,)]
    assert event_state(hub.store, event_of(hub.keys, token)) == "expired"


def test_an_event_that_waits_for_somebody_else_forgets_the_erased_person(hub: Hub) -> None:
    """A birth waits for the child's link and names the parents: the erased one's part goes, the other's stays."""
    link_family(hub, parent="P")
    link_family(hub, child="X", parent="Q")
    publish_birth(hub, child="new", parents=("P", "Q"))
    hub.decide()
    hub.erase(hub.person("P", BIRTH))
    ((subject, sealed),) = hub.rows("SELECT subject, sealed FROM waiting")
    ((wrapped,),) = hub.rows("SELECT key FROM waiting_key")
    key = hub.keys.wrapping.unseal(wrapped, b"waiting" + subject)
    assert orjson.loads(unseal(key, sealed, subject))[5]["parent_ids"] == ["Q"]
    link(hub.register, LINKER, [NewLink("civil-registry", "new", "R-new", 3, date(2026, 1, 31))])
    done = hub.gate.revisit()
    assert done is not None
    assert done.releases > 0


def test_what_begins_to_wait_after_an_erasure_forgets_the_person_when_the_bus_has(hub: Hub) -> None:
    """The event lay on the bus; once nothing from before lies there any more it is looked for once more."""
    link_family(hub)
    publish_birth(hub, child="new", parents=("P",))
    done = hub.erase(hub.person("P", BIRTH))
    hub.decide()
    finish_erasures(hub.world)
    assert b"P" in plain_of_waiting(hub)
    hub.pass_by((done.bus_until_us - hub.clock()) / S)
    while finish_erasures(hub.world):
        pass
    assert b'"P"' not in plain_of_waiting(hub)
    assert hub.rows("SELECT stage FROM erasure") == [(Stage.DONE.value,)]


def plain_of_waiting(hub: Hub) -> bytes:
    ((subject, sealed),) = hub.rows("SELECT subject, sealed FROM waiting")
    ((wrapped,),) = hub.rows("SELECT key FROM waiting_key")
    return unseal(hub.keys.wrapping.unseal(wrapped, b"waiting" + subject), sealed, subject)


# Who is told.


def test_a_recipient_is_told_to_delete_under_a_new_number_and_until_when(hub: Hub) -> None:
    """The message names its deliveries and nobody; acknowledged in time it is confirmed, else it is overdue."""
    person = hub.link("A")
    hub.grant(person)
    for event in ("e1", "e2"):
        hub.publish(event)
    hub.decide()
    data = hub.read(first := hub.pull())
    hub.acknowledge(first)
    hub.erase(person)
    page = hub.pull()
    (told,) = hub.read(page)
    assert (told["kind"], told["type"], told["number"]) == ("delete", "hub.delete", 3)
    assert told["data"] == {"deletes": [one["id"] for one in data]}
    assert told["due"] == "2026-12-02T09:00:00Z"
    assert "subject" not in told
    assert unconfirmed(hub) == []
    hub.pass_by(30 * DAY_S)
    late = unconfirmed(hub)
    recipient = hub.catalogue.agencies[CONSENT.recipient].number
    assert [(one.recipient, one.kind, one.number) for one in late] == [(recipient, DeliveryKind.DELETE, 3)]
    assert unconfirmed(hub, recipient=recipient + 1) == []
    hub.acknowledge(page)
    assert unconfirmed(hub) == []


def test_a_person_with_many_hand_outs_is_erased_in_pieces(hub: Hub) -> None:
    """The key goes first; each piece names a bounded number of deliveries, and together they name each once."""
    person = handed(hub, 2 * PIECE + 1)
    assert hub.erase(person).told == {CONSENT.recipient: 2 * PIECE + 1}
    told = hub.drain()[0]
    assert [len(one["data"]["deletes"]) for one in told] == [PIECE, PIECE, 1]
    assert len({name for one in told for name in one["data"]["deletes"]}) == 2 * PIECE + 1


def test_of_a_shared_delivery_only_the_persons_own_fields_are_to_be_deleted(hub: Hub) -> None:
    """The child's data stays with the recipient when a parent is erased."""
    link_family(hub)
    publish_birth(hub)
    hub.decide()
    (birth,) = hub.read(page := hub.pull(BIRTH))
    assert {"child_id", "parent_ids"} <= birth["data"].keys()
    hub.acknowledge(page, BIRTH)
    hub.erase(hub.person("P", BIRTH))
    (told,) = hub.drain(BIRTH)[0]
    assert told["data"] == {"deletes": [], "fields": {birth["id"]: ["parent_ids"]}}


def test_what_a_stop_took_over_is_named_by_the_id_it_went_out_under(hub: Hub) -> None:
    """The recipient may have the data although it never acknowledged it."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("e1")
    hub.decide()
    (data,) = hub.read(hub.pull())
    hub.withdraw(person, consent)
    hub.pass_by(120)
    assert "stop" in {event["kind"] for event in hub.drain()[0]}
    hub.erase(person)
    hub.pass_by(120)
    told = [event for event in hub.drain()[0] if event["kind"] == "delete"]
    assert [one["data"]["deletes"] for one in told] == [[data["id"]]]


# Nothing brings them back.


def test_an_erased_persons_id_is_refused_while_an_event_of_theirs_may_lie_on_the_bus(hub: Hub) -> None:
    """Linked, raised, undone or disputed: nothing of it is done, and the event that comes is refused."""
    person = hub.link("A")
    hub.publish("late")
    hub.erase(person)
    before = hub.rows("SELECT * FROM link")
    for mine in ("R-A", "R-other"):
        (said,) = link(hub.register, LINKER, [NewLink(CONSENT.publisher, "A", mine, 2, date(2023, 5, 1))])
        assert isinstance(said, HubError)
        assert said.code == "person-erased"
    for act in (unlink, dispute):
        with pytest.raises(HubError) as refused:
            act(hub.register, agency=CONSENT.publisher, local_id="A")
        assert refused.value.code == "person-erased"
    assert hub.rows("SELECT * FROM link") == before
    assert hub.decide().refusals > 0


def test_after_the_intakes_retention_the_id_is_a_new_persons(hub: Hub) -> None:
    """Who comes back has nothing of before: another person, another key, no history and no consent."""
    person = handed(hub)
    hub.erase(person)
    hub.pass_by(8 * DAY_S)
    new = hub.link("A")
    assert new != person
    assert hub.rows("SELECT count(*) FROM history WHERE person = ?", (new,)) == [(1,)]
    assert hub.rows("SELECT key, born FROM person WHERE id = ?", (person,)) == [(None, None)]
    hub.publish("after")
    assert hub.decide().releases == 0
    hub.grant(new)
    hub.publish("again")
    assert hub.decide().releases > 0


def test_the_detail_of_an_erasure_names_nobody(hub: Hub) -> None:
    """Counts and a reason: it stays readable for ever."""
    person = handed(hub)
    hub.erase(person)
    ((detail,),) = hub.rows("SELECT detail FROM audit WHERE kind = ?", (LeafKind.ERASURE.value,))
    assert set(orjson.loads(detail)) == {"act", "destroyed", "reason"}
    assert str(person).encode() not in detail
    assert hub.rows("SELECT count(*) FROM history WHERE person = ?", (person,))[0][0] > 0
    assert principal(person).person == person

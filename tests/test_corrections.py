"""A correction reaches who got the original, and nobody else; after a withdrawal as a delete without data."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from hub.citizens.choices import grant_unasked
from hub.exchange.expiry import expire_held
from hub.exchange.handout import hand_out
from hub.exchange.publish import publish
from hub.exchange.world import Limits
from hub.failpoints import arm, disarm
from hub.identity.people import NewLink, link, person_of, unlink
from hub.store.agreements import resume, suspend
from hub.store.deliveries import FEED_KINDS, DeliveryKind
from tests.interleaving import doing_at
from tests.promise_hub import crashing
from tests.protocol_world import CONSENT, LOOK_BACK, Hub, Matter, opened
from tests.stateful_world import NOTICE, Exchange, signed_in
from tests.wrapping_world import piece, rotate, under

pytestmark = pytest.mark.engines

CORRECTS = {"corrects": "one"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one


def test_who_got_the_original_gets_its_correction_under_the_id_it_knows(hub: Hub) -> None:
    """And the corrected values; the id is that recipient's own of the original."""
    hub.grant(hub.link("A"))
    hub.publish("one")
    hub.decide()
    (original,), _ = hub.drain()
    hub.publish("two", aim=CORRECTS, municipality_code="M-8")
    hub.decide()
    (correction,), _ = hub.drain()
    assert (correction["kind"], correction["corrects"]) == ("correction", original["id"])
    assert correction["data"]["municipality_code"] == "M-8"


def test_an_original_of_the_same_batch_is_corrected_behind_it(hub: Hub) -> None:
    """The store has not seen it yet when the correction is decided."""
    hub.grant(hub.link("A"))
    hub.publish("one")
    hub.publish("two", aim=CORRECTS, municipality_code="M-8")
    hub.decide()
    events, _ = hub.drain()
    assert [one["kind"] for one in events] == ["data", "correction"]
    assert events[1]["corrects"] == events[0]["id"]


def test_an_original_of_the_batch_that_commits_meanwhile_is_corrected(tmp_path: Path) -> None:
    """It is not in the snapshot that the correction is prepared on; under the fence it is."""
    with opened(tmp_path, limits=Limits(batch_events=1)) as hub:
        hub.grant(hub.link("A"))
        hub.publish("one")
        hub.publish("two", aim=CORRECTS)
        prepared, release = count(1), Event()
        hub.store.submit(lambda _tx: release.wait(5.0))  # the first batch cannot commit before the second is prepared
        arm("gate.prepared", lambda: release.set() if next(prepared) == 2 else None)
        try:
            hub.decide()
        finally:
            disarm()
        events, _ = hub.drain()
        assert [one["kind"] for one in events] == ["data", "correction"]


def test_a_delete_that_was_sealed_before_its_transaction_is_stored_under_the_present_wrapping_key(hub: Hub) -> None:
    """That key is rotated in between, and all that the former sealed by then is sealed anew: this is not among it."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("one")
    hub.decide()
    hub.drain()
    hub.withdraw(person, consent)
    hub.publish("two", aim=CORRECTS)
    former = hub.keys.wrapping.present

    def rotated() -> None:
        rotate(hub)
        while piece(hub):
            pass

    with doing_at("gate.prepared", rotated):
        hub.decide()
    assert under(hub, former)["delivery"] == 0
    assert "delete" in [one["kind"] for one in hub.drain()[0]]


def test_after_a_withdrawal_the_correction_is_a_delete_without_data(hub: Hub) -> None:
    """What is known to be wrong does not stay, and what is right is not told."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("one")
    hub.decide()
    page = hub.pull()
    (original,) = hub.read(page)
    hub.acknowledge(page)
    hub.withdraw(person, consent)
    hub.publish("two", aim=CORRECTS, municipality_code="M-8")
    hub.decide()
    events, _ = hub.drain()
    (deleted,) = [one for one in events if one["kind"] == "delete"]
    assert deleted["data"] == {"deletes": [original["id"]]}
    assert "M-8" not in repr(events)


def test_a_correction_withdrawn_before_it_left_becomes_a_delete(hub: Hub) -> None:
    """It was ready; the hand-out decides again, and the recipient still has the original."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("one")
    hub.decide()
    page = hub.pull()
    (original,) = hub.read(page)
    hub.acknowledge(page)
    hub.publish("two", aim=CORRECTS, municipality_code="M-8")
    hub.decide()
    hub.withdraw(person, consent)
    events, cancelled = hub.drain()
    (deleted,) = [one for one in events if one["kind"] == "delete"]
    assert (deleted["data"], cancelled) == ({"deletes": [original["id"]]}, 1)


def test_who_was_refused_the_original_hears_nothing_of_its_correction(hub: Hub) -> None:
    """Not even when it may hear of such events now: the original was not its business."""
    person = hub.link("A")
    hub.publish("one")
    hub.decide()
    hub.grant(person)
    hub.publish("two", aim=CORRECTS, municipality_code="M-8")
    hub.decide()
    assert hub.drain() == ([], 0)


def test_nobody_is_told_to_delete_what_never_left(hub: Hub) -> None:
    """Original and correction are both cancelled: the recipient hears of neither."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("one")
    hub.decide()
    hub.withdraw(person, consent)
    hub.publish("two", aim=CORRECTS)
    hub.decide()
    events, _ = hub.drain()
    assert [one["kind"] for one in events if one["kind"] != "stop"] == []


def test_a_correction_about_somebody_else_reaches_nobody(hub: Hub) -> None:
    """An event is corrected for the person it was about."""
    hub.grant(hub.link("A"))
    hub.grant(hub.link("B"))
    hub.publish("one", "A")
    hub.decide()
    hub.drain()
    hub.publish("two", "B", aim=CORRECTS)
    hub.decide()
    assert hub.drain() == ([], 0)


def test_a_held_original_and_its_correction_come_in_order_after_a_grant(hub: Hub) -> None:
    """Look-back holds both; the first to leave is the first that happened."""
    person = hub.link("A", LOOK_BACK)
    hub.publish("one", matter=LOOK_BACK)
    hub.publish("two", matter=LOOK_BACK, aim=CORRECTS)
    hub.decide()
    assert hub.drain(LOOK_BACK) == ([], 0)
    hub.grant(person, LOOK_BACK)
    events, _ = hub.drain(LOOK_BACK)
    assert [one["kind"] for one in events] == ["data", "correction"]


def test_a_correction_of_what_had_waited_for_a_link_finds_it(hub: Hub) -> None:
    """The original was seen long before it was decided."""
    hub.publish("one")
    hub.decide()
    hub.grant(hub.link("A"))
    while hub.gate.revisit():
        pass
    hub.publish("two", aim=CORRECTS)
    hub.decide()
    events, _ = hub.drain()
    assert [one["kind"] for one in events] == ["data", "correction"]


# Who has the original is never left with it.


def got(hub: Hub, matter: Matter = CONSENT, *, acknowledged: bool = True) -> dict[str, Any]:
    """Publish the original and hand it out."""
    hub.publish("one", matter=matter)
    hub.decide()
    page = hub.pull(matter)
    if acknowledged:
        hub.acknowledge(page, matter)
    (original,) = hub.read(page)
    return original


def deleted(hub: Hub, matter: Matter = CONSENT) -> list[dict[str, Any]]:
    return [one["data"] for one in hub.drain(matter)[0] if one["kind"] == "delete"]


def test_a_correction_that_goes_with_a_link_leaves_a_delete(hub: Hub) -> None:
    """It was ready; the link it rests on is undone, and nobody will send it any more."""
    hub.grant(hub.link("A"))
    original = got(hub)
    hub.publish("two", aim=CORRECTS, municipality_code="M-8")
    hub.decide()
    unlink(hub.register, agency=CONSENT.publisher, local_id="A")
    assert deleted(hub) == [{"deletes": [original["id"]]}]


def test_a_held_correction_that_expires_leaves_a_delete(hub: Hub) -> None:
    """The pause outlasts the look-back: what is right never came, so what is wrong does not stay."""
    person = hub.link("A", LOOK_BACK)
    consent = hub.grant(person, LOOK_BACK)
    original = got(hub, LOOK_BACK)
    hub.pause(person, consent)
    hub.publish("two", matter=LOOK_BACK, aim=CORRECTS)
    hub.decide()
    hub.pass_by(60 * 86_400)
    assert expire_held(hub.world) == 1
    assert deleted(hub, LOOK_BACK) == [{"deletes": [original["id"]]}]


def test_what_was_opened_and_stopped_is_deleted_like_what_was_confirmed(hub: Hub) -> None:
    """The recipient may have it although it never said so."""
    person = hub.link("A")
    consent = hub.grant(person)
    original = got(hub, acknowledged=False)
    hub.withdraw(person, consent)
    hub.pass_by(120)
    hub.drain()  # the stop takes its number over
    hub.publish("two", aim=CORRECTS)
    hub.decide()
    assert deleted(hub) == [{"deletes": [original["id"]]}]


def test_a_delete_waits_for_an_original_that_may_still_leave(hub: Hub) -> None:
    """The original is held when its correction is refused; once a yes lets it go, its deletion follows."""
    person = hub.link("A", LOOK_BACK)
    hub.publish("one", matter=LOOK_BACK)
    hub.decide()
    hub.suspend(LOOK_BACK)
    hub.publish("two", matter=LOOK_BACK, aim=CORRECTS)
    hub.decide()
    assert hub.drain(LOOK_BACK) == ([], 0)
    number = next(one.agreement.number for one in hub.catalogue.by_dataset[LOOK_BACK.dataset])
    resume(hub.store, number, clock=hub.clock, salt=lambda nonce: nonce[:16])
    hub.grant(person, LOOK_BACK)
    events, _ = hub.drain(LOOK_BACK)
    assert [one["kind"] for one in events] == ["data", "delete"]
    assert events[1]["data"] == {"deletes": [events[0]["id"]]}


@pytest.mark.parametrize("after", ["one batch", "correction", "delete"])
def test_an_original_without_its_subjects_own_part_is_corrected_all_the_same(tmp_path: Path, after: str) -> None:
    """The child never said yes, so only the guardian's fields went: whoever got these hears of the correction."""
    hub, guardian = Exchange(tmp_path), 0
    for name in ("child", "guardian"):
        link(hub.register, "linker", [NewLink("register", name, f"mine-{name}", 3)])
    with hub.store.read() as tx:
        guardian = person_of(tx, hub.keys, "register", "guardian") or 0
    one_by_one = after != "one batch"
    grant_unasked(
        hub.desk, signed_in(guardian), recipient="fund", purpose="HELP", items=[("birth", "phone")], notice=NOTICE
    )
    aims: list[dict[str, str]] = [{}, {"corrects": "e0"}]
    for at, aim in enumerate(aims):
        if at and after == "delete":
            suspend(hub.store, 3, clock=hub.clock, salt=hub.salt)
        publish(hub.publishing, "register", [birth(f"e{at}") | aim])
        while one_by_one and hub.gate.step(0.0) is None:
            pass
        if one_by_one:
            hand_out(hub.world, "fund", 10)
    while hub.gate.step(0.0) or not hub.gate.idle():
        pass
    hand_out(hub.world, "fund", 10)
    kinds = hub.rows(
        "SELECT d.kind FROM handout h JOIN delivery d ON d.id = h.delivery WHERE d.kind <> 3 ORDER BY d.id"
    )
    assert kinds == [(DeliveryKind.DATA,), (DeliveryKind.DELETE if after == "delete" else DeliveryKind.CORRECTION,)]
    hub.store.close()


def birth(event: str) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": event, "source": "urn:agency:register", "type": "birth", "subject": "child",
        "time": "2027-01-15T00:00:00Z",
        "data": {"child_id": "child", "serial": event, "guardian_id": "guardian", "phone": "p"},
    }  # fmt: skip


@pytest.mark.parametrize("point", ["gate.before_commit", "gate.committed"])
def test_a_crash_around_its_commit_neither_loses_nor_doubles_a_correction(hub: Hub, point: str) -> None:
    """The same names come out of the same events."""
    hub.grant(hub.link("A"))
    hub.publish("one")
    hub.publish("two", aim=CORRECTS)
    after = crashing(hub, point, hub.decide)
    after.decide()
    events, _ = after.drain(CONSENT)
    assert [one["kind"] for one in events] == ["data", "correction"]
    after.close()


def test_every_kind_of_delivery_has_a_word_in_the_feed() -> None:
    """Answers and backfill are data to whoever reads them."""
    assert FEED_KINDS.keys() == set(DeliveryKind)

"""Of each person the old comes before the new, in any order of things; and what is backfilled never holds up news."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.exchange.backfills import end_backfill
from hub.exchange.choose import BACKFILLED_SHARE
from hub.exchange.let_go import LetGo
from hub.exchange.publish import BACKFILL_BACKLOG, Accepted, publish
from hub.exchange.world import Limits
from hub.failpoints import arm, disarm
from hub.store.deliveries import QueueState
from tests.backfill_world import backfill, codes, envelope, go_round, opened, state
from tests.promise_hub import crashing, restarted
from tests.protocol_world import CONSENT, LOOK_BACK, Hub

pytestmark = pytest.mark.engines


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    opened = Hub(tmp_path)
    yield opened
    opened.close()


# Order.


def test_what_happens_now_stands_behind_what_is_backfilled_of_that_person(hub: Hub) -> None:
    """And only of that person: somebody else's news goes at once."""
    for local_id in "AB":
        hub.grant(hub.link(local_id))
    of = opened(hub)
    hub.publish("live-a", "A", municipality_code="live-a")
    hub.publish("old-b", "B", municipality_code="old-b", aim={"backfill": of, "backfilllast": True})
    hub.decide()
    hub.drain()  # all of B's backfill has left
    hub.publish("live-b", "B", municipality_code="live-b")
    hub.decide()
    assert codes(hub.drain()[0]) == ["live-b"]
    backfill(hub, of, "old-a", "A", last=True, municipality_code="old-a")
    hub.decide()
    assert codes(hub.drain()[0]) == ["old-a", "live-a"]


def test_a_person_whose_backfill_is_refused_as_a_whole_gets_news_at_once(hub: Hub) -> None:
    """The last of it was decided, and nothing of it stands in the way."""
    person = hub.link("A")
    of = opened(hub)
    backfill(hub, of, "old", last=True)
    hub.decide()
    hub.grant(person)
    hub.publish("live")
    hub.decide()
    assert codes(hub.drain()[0]) == ["M-7"]


def test_after_a_persons_last_what_is_backfilled_all_the_same_keeps_its_place(hub: Hub) -> None:
    """A provider that said `last` too early: its event is not lost, and no news overtakes it."""
    hub.grant(hub.link("A"))
    of = opened(hub)
    backfill(hub, of, "old-1", last=True, municipality_code="old-1")
    hub.decide()
    assert codes(hub.drain()[0]) == ["old-1"]
    backfill(hub, of, "old-2", municipality_code="old-2")
    hub.publish("live", municipality_code="live")
    hub.decide()
    assert codes(hub.drain()[0]) == ["old-2", "live"]


def test_what_a_grant_lets_go_stands_behind_backfill_too(hub: Hub) -> None:
    """It was held; once it may go, it is news like any other, and comes after what is older."""
    person = hub.link("A", LOOK_BACK)
    of = opened(hub, LOOK_BACK)
    hub.publish("live", matter=LOOK_BACK)
    hub.decide()
    hub.grant(person, LOOK_BACK)
    assert hub.drain(LOOK_BACK) == ([], 0)
    backfill(hub, of, "old", matter=LOOK_BACK, last=True, at_risk=False)
    hub.decide()
    events, _ = hub.drain(LOOK_BACK)
    assert [one["data"]["at_risk"] for one in events] == [False, True]


@pytest.mark.parametrize("seed", range(12))
def test_in_any_interleaving_each_person_gets_the_old_before_the_new(tmp_path: Path, seed: int) -> None:
    """Provider, news, gate, pulls and the worker in random order; a crash in between; every event arrives, once."""
    draw, hub, of = random.Random(seed), Hub(tmp_path, limits=Limits(batch_events=7, page=5)), ""
    people = ["A", "B", "C", "D"]
    for local_id in people:
        hub.grant(hub.link(local_id))
    of = opened(hub)
    old = [(local_id, at) for local_id in people for at in range(4)]
    told: dict[str, list[str]] = {local_id: [] for local_id in people}
    got: list[str] = []
    let_go, live, ended = LetGo(), 0, False
    while old or live < 30 or not ended:
        act = draw.choice(["old", "old", "live", "decide", "pull", "go", "crash"])
        if act == "old" and old:
            local_id, at = old.pop(0)
            code = f"{local_id}-old-{at}"
            backfill(hub, of, code, local_id, last=at == 3, municipality_code=code)
        elif act == "live" and live < 30:
            live += 1
            local_id = draw.choice(people)
            told[local_id].append(f"{local_id}-live-{live}")
            hub.publish(told[local_id][-1], local_id, municipality_code=told[local_id][-1])
        elif act == "decide":
            hub.decide()
        elif act == "pull":
            got += codes(hub.read(hub.pull(limit=draw.randint(1, 5))))
        elif act == "go":
            let_go.step(hub.world)
        elif act == "crash" and draw.random() < 0.2:
            hub = restarted(hub)
        if not old and not ended:
            end_backfill(hub.world, of, agency="population-register")
            ended = True
    for _ in range(6):
        hub.decide()
        let_go.step(hub.world)
        got += codes(hub.drain()[0])
    assert state(hub, of) == "closed"
    assert len(got) == len(set(got)) == 16 + 30
    for local_id in people:
        theirs = [code for code in got if code.startswith(local_id)]
        assert theirs == [f"{local_id}-old-{at}" for at in range(4)] + told[local_id]
    hub.close()


@pytest.mark.parametrize("point", ["gate.before_commit", "gate.committed", "handout.before_commit"])
def test_a_crash_neither_loses_nor_doubles_nor_reorders(hub: Hub, point: str) -> None:
    """Around the decision of a person's last, and around the hand-out that lets their news go."""
    hub.grant(hub.link("A"))
    of = opened(hub)
    hub.publish("live", municipality_code="live")
    backfill(hub, of, "old", last=True, municipality_code="old")
    if point.startswith("handout"):
        hub.decide()
        after = crashing(hub, point, hub.pull)
    else:
        after = crashing(hub, point, hub.decide)
        after.decide()
    assert codes(after.drain()[0]) == ["old", "live"]
    after.close()


# Behind everything that is news.


def test_a_live_delivery_overtakes_thousands_that_are_backfilled(hub: Hub) -> None:
    """The hand-out gives backfill the room that is left."""
    for local_id in ("A", "B"):
        hub.grant(hub.link(local_id))
    of = opened(hub)
    for first in range(0, 2_000, 500):
        envelopes = [envelope(hub, of, f"old-{at}", "A") for at in range(first, first + 500)]
        assert all(isinstance(one, Accepted) for one in publish(hub.publishing, CONSENT.publisher, envelopes))
        hub.decide()
    end_backfill(hub.world, of, agency="population-register")
    go_round(hub)  # B has nothing backfilled: its news goes from now on, as soon as it has come once
    hub.publish("live-1", "B", municipality_code="live-1")
    hub.decide()
    go_round(hub)
    hub.publish("live-2", "B", municipality_code="live-2")
    hub.decide()
    assert codes(hub.read(hub.pull(limit=3)))[:2] == ["live-1", "live-2"]
    assert state(hub, of) == "ending"


def test_a_recipient_that_is_slow_with_backfill_still_gets_its_news(tmp_path: Path) -> None:
    """What is backfilled never takes all of what may be unacknowledged at once."""
    hub = Hub(tmp_path, limits=Limits(outstanding=8))
    hub.grant(hub.link("A"))
    hub.grant(hub.link("B"))
    of = opened(hub)
    for at in range(20):
        backfill(hub, of, f"old-{at}", "A")
    backfill(hub, of, "old-b", "B", last=True, municipality_code="old-b")
    hub.decide()
    assert len(hub.drain()[0]) == 8 // BACKFILLED_SHARE
    person = hub.person("B")
    hub.store.write(lambda tx: tx.run("UPDATE backfill_person SET cleared = 1 WHERE person = ?", (person,)))
    hub.publish("live", "B", municipality_code="live")
    hub.decide()
    assert codes(hub.drain()[0]) == ["live"]
    hub.close()


def test_while_the_bus_is_full_of_news_backfill_is_asked_to_wait(hub: Hub) -> None:
    """Each of its events alone, with the time to come again; news is taken all the while."""
    hub.link("A")
    of = opened(hub)
    busy = replace(hub.publishing, backlog=lambda: BACKFILL_BACKLOG + 1)
    live = {name: value for name, value in envelope(hub, of, "live", "A").items() if name != "backfill"}
    waits, taken = publish(busy, CONSENT.publisher, [envelope(hub, of, "old", "A"), live])
    assert isinstance(waits, HubError)
    assert (waits.code, waits.retry_after_s) == ("backfill-waits", 1)
    assert isinstance(taken, Accepted)
    (again,) = publish(replace(hub.publishing, backlog=lambda: BACKFILL_BACKLOG), CONSENT.publisher, [
        envelope(hub, of, "old", "A")
    ])  # fmt: skip
    assert isinstance(again, Accepted)


def test_the_deletion_of_what_a_recipient_has_does_not_wait_for_backfill(hub: Hub) -> None:
    """It holds no data, and the person does not have to wait for it; of what has not left yet it stands behind that."""
    person = hub.link("A")
    consent = hub.grant(person)
    hub.publish("early", municipality_code="early")
    hub.decide()
    page = hub.pull()
    hub.acknowledge(page)
    (had,) = hub.read(page)
    opened(hub)
    hub.publish("late", municipality_code="late")
    hub.decide()
    hub.withdraw(person, consent)
    hub.publish("correction-1", aim={"corrects": "early"})
    hub.publish("correction-2", aim={"corrects": "late"})
    hub.decide()
    events, _ = hub.drain()
    assert [one["data"] for one in events if one["kind"] == "delete"] == [{"deletes": [had["id"]]}]
    states = [state for _, state in hub.states()]
    assert states.count(QueueState.BEHIND) == 2  # what has not left, and its own deletion


def test_a_correction_comes_after_the_backfilled_event_that_it_corrects(hub: Hub) -> None:
    """Whether that has left or not."""
    hub.grant(hub.link("A"))
    of = opened(hub)
    backfill(hub, of, "old", municipality_code="old", last=True)
    hub.publish("mended", municipality_code="mended", aim={"corrects": "old"})
    hub.decide()
    events, _ = hub.drain()
    assert [one["kind"] for one in events] == ["data", "correction"]
    assert events[1]["corrects"] == events[0]["id"]


@pytest.mark.parametrize("meanwhile", ["the last leaves", "it is opened"])
def test_what_was_prepared_before_a_backfill_changed_is_decided_anew(hub: Hub, meanwhile: str) -> None:
    """Between preparing a batch and its transaction: no news is left behind, and none slips past."""
    hub.grant(hub.link("A"))
    of, pulled = "", list[str]()
    if meanwhile == "the last leaves":
        of = opened(hub)
        backfill(hub, of, "old", last=True, municipality_code="old")
        hub.decide()
    hub.publish("live", municipality_code="live")

    def change() -> None:
        nonlocal of
        disarm()
        if of:
            pulled.extend(codes(hub.read(hub.pull())))
        else:
            of = opened(hub)

    arm("gate.prepared", change)
    try:
        hub.decide()
    finally:
        disarm()
    if meanwhile == "it is opened":
        assert codes(hub.drain()[0]) == []
        backfill(hub, of, "old", last=True, municipality_code="old")
        hub.decide()
    assert pulled + codes(hub.drain()[0]) == ["old", "live"]

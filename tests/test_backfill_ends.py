"""A backfill ends: by its provider, its time, its agreement; and nothing stands behind it for ever."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub.core.leaf import LeafKind
from hub.exchange.backfills import end_backfill, list_backfills
from hub.exchange.gate import Gate
from hub.exchange.let_go import CHAINS, LetGo, forget_backfilled
from hub.identity.people import unlink
from hub.store.agreements import end, resume
from hub.store.deliveries import QueueState
from tests.backfill_world import agreement, backfill, codes, go_round, notices, opened, state, wish
from tests.interleaving import doing_at
from tests.protocol_world import Hub

pytestmark = pytest.mark.engines

DAY_S = 86_400.0


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    opened = Hub(tmp_path)
    yield opened
    opened.close()


# How it ends.


def test_it_closes_only_after_everything_on_the_bus_is_decided_and_has_left(hub: Hub) -> None:
    """The provider may say `end` as soon as it has sent the last."""
    hub.grant(hub.link("A"))
    of = opened(hub)
    backfill(hub, of, "old", municipality_code="old")  # it never says which is this person's last
    hub.publish("live", municipality_code="live")
    end_backfill(hub.world, of, agency="population-register")
    go_round(hub)
    assert state(hub, of) == "ending"
    hub.decide()
    go_round(hub)
    assert codes(hub.read(hub.pull())) == ["old"]
    go_round(hub)
    assert state(hub, of) == "closed"
    events = hub.read(hub.pull())
    assert codes(events) == ["live"]
    assert [one["data"]["type"] for one in events if one["kind"] == "notice"] == ["backfill.closed"]
    assert "backfill.closed" in [one["type"] for one in notices(hub, "population-register")]


def test_it_closes_while_news_keeps_coming(hub: Hub) -> None:
    """Of new people at each step: each round lets go all that stood there, and what comes next goes at once."""
    of = opened(hub)
    for at in range(40):
        local_id = f"N-{at}"
        hub.grant(hub.link(local_id))
        hub.publish(f"live-{at}", local_id)
    end_backfill(hub.world, of, agency="population-register")
    hub.decide()
    let_go, came = LetGo(), 40
    for _ in range(3):
        hub.grant(hub.link(f"N-{came}"))
        hub.publish(f"live-{came}", f"N-{came}")
        hub.decide()
        came += 1
        let_go.step(hub.world)
    assert state(hub, of) == "closed"
    assert len(codes(hub.drain()[0])) == came


def test_its_time_ends_it(hub: Hub) -> None:
    """A provider that never says a word does not keep anybody's news back for ever."""
    hub.grant(hub.link("A"))
    of = opened(hub)
    hub.publish("live")
    hub.decide()
    go_round(hub)
    assert codes(hub.drain()[0]) == []
    hub.pass_by(30 * DAY_S)
    go_round(hub)
    assert (codes(hub.drain()[0]), state(hub, of)) == (["M-7"], "closed")


def test_a_suspended_agreement_lets_nothing_go_and_its_backfill_still_ends(hub: Hub) -> None:
    """What stood behind is refused like all that is suspended; after it resumes news goes at once."""
    hub.grant(hub.link("A"))
    of = opened(hub)
    hub.publish("live-1")
    hub.decide()
    hub.suspend()
    end_backfill(hub.world, of, agency="population-register")
    go_round(hub)
    events, cancelled = hub.drain()
    assert (codes(events), cancelled, state(hub, of)) == ([], 1, "closed")
    resume(hub.store, agreement(hub), clock=hub.clock, salt=lambda nonce: nonce[:16])
    hub.publish("live-2", municipality_code="live-2")
    hub.decide()
    assert codes(hub.drain()[0]) == ["live-2"]


def test_the_end_of_its_agreement_ends_it(hub: Hub) -> None:
    """Without a word of the provider's."""
    hub.grant(hub.link("A"))
    of = opened(hub)
    backfill(hub, of, "old")
    hub.publish("live")
    hub.decide()
    end(hub.store, agreement(hub), clock=hub.clock, salt=lambda nonce: nonce[:16])
    go_round(hub)
    hub.drain()
    go_round(hub)
    hub.drain()
    assert state(hub, of) == "closed"
    assert {state for _, state in hub.states()} == {QueueState.OPENED}  # the notice that says so


def test_a_line_that_left_the_catalogue_ends_it(hub: Hub) -> None:
    """What stands there is cancelled at the next pull, and the backfill closes."""
    hub.grant(hub.link("A"))
    of = opened(hub)
    backfill(hub, of, "old")
    hub.publish("live")
    hub.decide()
    gone = next(n for n, one in hub.catalogue.subscriptions.items() if one.agreement.code == wish(hub).agreement)
    lines = {number: one for number, one in hub.catalogue.subscriptions.items() if number != gone}
    by_dataset = {
        name: tuple(one for one in those if one.number != gone) for name, those in hub.catalogue.by_dataset.items()
    }
    hub.world = replace(hub.world, catalogue=replace(hub.catalogue, subscriptions=lines, by_dataset=by_dataset))
    hub.gate = Gate(hub.world)
    go_round(hub)
    hub.drain()
    go_round(hub)
    hub.drain()
    assert (state(hub, of), hub.states()) == ("closed", [])


def test_erasure_and_unlinking_leave_nothing_behind(hub: Hub) -> None:
    """Their rows go, unread; nobody else's wait because of it."""
    for local_id in "AB":
        hub.grant(hub.link(local_id))
    of = opened(hub)
    for local_id in "AB":
        backfill(hub, of, f"old-{local_id}", local_id)
        hub.publish(f"live-{local_id}", local_id)
    hub.decide()
    hub.erase(hub.person("A"))
    unlink(hub.register, agency="population-register", local_id="B")
    end_backfill(hub.world, of, agency="population-register")
    assert codes(hub.drain()[0]) == []  # the pull takes off the queue what is of somebody erased
    go_round(hub)
    assert (state(hub, of), codes(hub.drain()[0])) == ("closed", [])


def test_what_was_taken_off_the_queue_lets_go_what_stood_behind_it(hub: Hub) -> None:
    """No hand-out ever sees it leave; the worker notices."""
    hub.grant(hub.link("A"))
    of = opened(hub)
    backfill(hub, of, "old", last=True)
    hub.publish("live", municipality_code="live")
    hub.decide()
    hub.store.write(lambda tx: tx.run("DELETE FROM queue WHERE state = ?", (QueueState.LATER.value,)))
    assert codes(hub.drain()[0]) == []
    go_round(hub)
    assert codes(hub.drain()[0]) == ["live"]


@pytest.mark.parametrize("came", ["while it was open", "after it had closed"])
def test_what_waits_for_a_link_is_refused_once_it_has_closed_and_its_provider_hears_why(hub: Hub, came: str) -> None:
    """Whenever it came: a closed backfill releases nothing more. It is settled, on record, and nobody waits behind."""
    of = opened(hub)
    tokens = []
    if came == "while it was open":
        tokens.append(backfill(hub, of, "old", last=True))
        hub.decide()
    end_backfill(hub.world, of, agency="population-register")
    go_round(hub)
    assert state(hub, of) == "closed"
    if came == "after it had closed":
        tokens.append(backfill(hub, of, "old", last=True))
    hub.publish("live", municipality_code="live")
    hub.decide()
    person = hub.link("A")
    hub.grant(person)
    while hub.gate.revisit():
        pass
    assert codes(hub.drain()[0]) == ["live"]
    told = [one for one in notices(hub, "population-register") if one["type"] == "event.refused"]
    assert [(one["reason"], one["event"]) for one in told] == [("backfill.closed", tokens[0])]
    assert hub.rows("SELECT count(*) FROM waiting") == [(0,)]
    decisions = "SELECT count(*) FROM history h JOIN audit a ON a.id = h.audit WHERE h.person = ? AND a.kind = ?"
    assert hub.rows(decisions, (person, LeafKind.DECISION.value)) == [(2,)]


def test_a_backfill_that_closes_while_its_event_is_prepared_releases_nothing_of_it(hub: Hub) -> None:
    """The gate's snapshot still had it open; in the transaction it is closed."""
    of = opened(hub)
    backfill(hub, of, "old", last=True)
    hub.decide()
    hub.grant(hub.link("A"))

    def close() -> None:
        end_backfill(hub.world, of, agency="population-register")
        go_round(hub)

    with doing_at("gate.prepared", close):
        hub.gate.revisit()
    assert (state(hub, of), codes(hub.drain()[0])) == ("closed", [])
    told = [one["reason"] for one in notices(hub, "population-register") if one["type"] == "event.refused"]
    assert told == ["backfill.closed"]


def test_who_was_in_a_closed_backfill_is_forgotten(hub: Hub) -> None:
    """Nothing needs to know it any more; how many there were stays."""
    hub.link("A")
    of = opened(hub)
    backfill(hub, of, "old", last=True)
    hub.decide()
    assert forget_backfilled(hub.world, CHAINS) == 0
    end_backfill(hub.world, of, agency="population-register")
    go_round(hub)
    assert forget_backfilled(hub.world, CHAINS) == 1
    assert hub.rows("SELECT count(*) FROM backfill_person") == [(0,)]
    assert list_backfills(hub.world)[0]["done"] == 1

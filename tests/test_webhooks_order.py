"""Webhooks in order, past no refusal, no withdrawal and no stop, and none held up by another's receiver."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from hub import failpoints
from hub.core.errors import HubError
from hub.exchange.acknowledge import Acknowledgement, acknowledge
from hub.exchange.endpoints import Reach
from hub.exchange.webhooks import register, show
from hub.store.deliveries import QueueState
from tests.interleaving import doing_at
from tests.webhook_world import AGENCY, BY_CONSENT, Machine, Message, Post, Say, agree, machine, tell
from tests.world import birth, link_family, town, until

pytestmark = pytest.mark.engines


@pytest.fixture
def to() -> Iterator[Machine]:
    with machine() as running:
        yield running


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path / "hub")
    yield made
    made.close()


# In order, and one bad one holds up nobody else.


def test_one_persons_deliveries_are_posted_one_after_the_other_in_their_order(post: Post, to: Machine) -> None:
    """The next begins when the one before it was taken, whatever the number of connections."""
    post.prove(to)
    under_way, most = [0], [0]

    def slowly(message: Message) -> Say:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])

        def done() -> None:
            under_way[0] -= 1

        return agree(message)._replace(before=done)

    to.answers = [slowly] * 100
    post.born(*[str(n) for n in range(20)])
    post.post(rounds=3)
    numbers = [one["number"] for one in to.deliveries]
    assert (numbers, most[0]) == (list(range(1, 21)), 1)


def test_a_delivery_that_is_refused_holds_up_its_person_only(post: Post, to: Machine) -> None:
    """Everybody else's go on; when it is taken, the later ones of its person follow in order."""
    post.prove(to)
    post.born("1", "2", child="C-1")
    post.born("3", child="C-2")
    refused: set[str] = set()

    def picky(message: Message) -> Say:
        document = message.document
        if document["subject"] == "FB-C-1" and not refused:
            refused.add(document["id"])
            return Say(422)
        return Say()

    to.answers = [picky] * 3
    post.post(rounds=3)
    assert [one["subject"] for one in to.deliveries].count("FB-C-1") == 1
    assert [one["subject"] for one in to.deliveries].count("FB-C-2") == 1
    assert post.state() == "active"
    assert show(post.hub.webhooks, AGENCY)["retrying"] == 2
    post.born("4", child="C-1")
    post.born("5", child="C-2")
    post.post(rounds=3)
    assert [one["subject"] for one in to.deliveries].count("FB-C-1") == 1
    assert [one["subject"] for one in to.deliveries].count("FB-C-2") == 2
    post.clock.pass_by(7)
    post.post(rounds=3)
    mine = [one["number"] for one in to.deliveries if one["subject"] == "FB-C-1"]
    assert mine == [mine[0], *sorted(set(mine))]
    assert len(mine) == 4


def test_what_waits_for_a_later_try_can_be_pulled_now(post: Post, to: Machine) -> None:
    """A pull does not have to wait for the webhook's own pauses."""
    post.prove(to)
    post.born("1", "2")
    tell(to, Say(422))
    post.post()
    pulled = post.pulled()
    assert [one["number"] for one in pulled] == [1, 2]
    items = [Acknowledgement(one["number"], one["id"]) for one in pulled]
    assert acknowledge(post.hub.world, AGENCY, items).acknowledged == 2
    post.born("3")
    post.clock.pass_by(7)
    post.post()
    assert [one["number"] for one in to.deliveries] == [1, 3]


def test_after_a_restart_nothing_passes_what_was_not_taken_before_it(post: Post, to: Machine) -> None:
    """What waits is found in the queue again: the sender's memory ends with its process."""
    post.prove(to)
    post.born("1", child="C-1")
    post.born("2", child="C-2")
    to.answers = [lambda message: Say(422 if message.document["subject"] == "FB-C-1" else 200)] * 2
    post.post()
    assert post.state() == "active"
    post.restart()
    post.born("3", child="C-1")
    post.born("4", child="C-2")
    post.post(rounds=2)
    seen = [(one["subject"], one["number"]) for one in to.deliveries]
    (first,) = [number for subject, number in seen if subject == "FB-C-1"]
    assert len(seen) == 3
    post.clock.pass_by(70)
    post.post(rounds=2)
    mine = [one["number"] for one in to.deliveries if one["subject"] == "FB-C-1"]
    assert mine == [first, first, mine[-1]]
    assert mine[-1] > first


def test_a_page_that_was_chosen_before_an_earlier_one_was_due_again_does_not_pass_it(post: Post, to: Machine) -> None:
    """It falls due between the hand-out and the first byte: the earlier one is not in the page, and goes first."""
    post.prove(to)
    post.born("1", child="C-1")
    post.born("2", child="C-2")
    to.answers = [lambda message: Say(422 if message.document["subject"] == "FB-C-1" else 200)] * 2
    post.post()
    post.born("3", child="C-1")
    with post.hub.store.read() as tx:
        (due_us,) = tx.rows("SELECT max(due_us) FROM queue WHERE state = ?", (QueueState.OPENED.value,))[0]
    post.clock.pass_by((due_us - post.clock()) / 1_000_000 - 0.5)
    with doing_at("handout.committed", lambda: post.clock.pass_by(1)):
        post.post()
    post.post(rounds=3)
    mine = [one["number"] for one in to.deliveries if one["subject"] == "FB-C-1"]
    assert mine == [mine[0], mine[0], mine[-1]]
    assert mine[-1] > mine[0]


class Crash(Exception):
    """The process ends here."""


def test_killed_between_the_answer_and_the_acknowledgement_the_same_comes_again(post: Post, to: Machine) -> None:
    """Same id, same number, once more; a receiver that keeps repeats away handles it once."""

    def crash() -> None:
        raise Crash

    post.prove(to)
    post.born("1")
    failpoints.arm("webhook.posted", crash)
    try:
        with pytest.raises(Crash):
            post.post()
    finally:
        failpoints.disarm()
    post.restart()
    post.clock.pass_by(61)
    post.post()
    first, again = to.deliveries
    assert (first["id"], first["number"]) == (again["id"], again["number"])
    assert post.pulled() == []


# Never past a no.


def test_a_withdrawal_between_a_try_and_its_retry_stops_the_retry(post: Post, to: Machine) -> None:
    """It is handed out again, so it is decided again: what comes is a stop under the same number, and no data."""
    post.prove(to, BY_CONSENT)
    principal, done = post.moved("1")
    tell(to, Say(503))
    post.post(BY_CONSENT)
    (first,) = to.deliveries
    post.withdraw(principal, done)
    post.clock.pass_by(7)
    post.post(BY_CONSENT, rounds=4)
    later = to.deliveries[1:]
    assert {one["kind"] for one in later} == {"stop"}
    assert (first["number"], {"stops": first["id"]}) in [(one["number"], one["data"]) for one in later]


def test_bytes_that_would_begin_too_late_after_the_commit_are_not_sent(post: Post, to: Machine) -> None:
    """The one that took long is posted; what stands behind it is handed out and decided again first."""
    post.prove(to, BY_CONSENT)
    principal, done = post.moved("1", "2")
    withdrawn: list[bool] = []

    def slow_and_withdrawn() -> None:
        post.clock.pass_by(3)
        post.withdraw(principal, done)
        withdrawn.append(True)

    tell(to, Say(before=slow_and_withdrawn))
    post.post(BY_CONSENT)
    assert (len(to.deliveries), withdrawn, post.state(BY_CONSENT)) == (1, [True], "active")
    post.post(BY_CONSENT, rounds=4)
    assert {one["kind"] for one in to.deliveries[1:]} == {"stop"}


def test_while_releases_are_stopped_nothing_is_posted(post: Post, to: Machine) -> None:
    """And the endpoint is not to blame; afterwards it goes on."""
    post.prove(to)
    post.born("1")
    post.hub.stop_releases(True)
    post.post(rounds=2)
    assert (to.deliveries, post.state()) == ([], "active")
    post.hub.stop_releases(False)
    post.post()
    assert len(to.deliveries) == 1


def test_an_address_that_led_elsewhere_since_it_was_proven_gets_nothing(post: Post, to: Machine) -> None:
    """Each new connection resolves and checks anew; the reason says so."""
    post.prove(to)
    post.born("1")
    object.__setattr__(post.hub.webhooks, "reach", Reach())
    post.post()
    assert (to.deliveries, post.reason()) == ([], "webhook-url")


# On threads, with others.


def waiting(release: Event, reached: Event | None = None) -> Callable[[], None]:
    """Make what waits until the test is over."""

    def wait() -> None:
        if reached is not None:
            reached.set()
        release.wait(20)

    return wait


def test_a_receiver_that_hangs_delays_itself_only(tmp_path: Path) -> None:
    """The other agency's delivery arrives meanwhile; the hanging one is given up after its time, and can be pulled."""
    release = Event()
    with machine() as quick, machine() as hanging, town(tmp_path, webhook_answer_s=1) as place:
        hanging.answers = [lambda _message: Say(before=waiting(release))] * 9
        link_family(place)
        assert place.agency(AGENCY).set_webhook(hanging.url)["state"] == "active"
        assert place.agency("health-insurance").set_webhook(quick.url)["state"] == "active"
        began_s = monotonic()
        place.agency("civil-registry").publish([birth("1")])
        assert until(lambda: quick.deliveries, bool)
        assert monotonic() - began_s < 1.0
        assert until(lambda: place.agency(AGENCY).webhook()["state"], lambda state: state == "failing") == "failing"
        assert [one.kind for one in place.pull(AGENCY)] == ["data"]
        release.set()


def test_the_door_of_the_pull_gives_what_the_webhook_has_put_off(tmp_path: Path) -> None:
    """Over HTTP: what its receiver refused is there at once, and once acknowledged it is posted no more."""
    with machine() as to, town(tmp_path) as place:
        tell(to, Say(422))
        link_family(place)
        place.agency(AGENCY).set_webhook(to.url)
        place.agency("civil-registry").publish([birth("1")])
        assert until(lambda: place.agency(AGENCY).webhook()["retrying"], lambda count: count == 1) == 1
        (pulled,) = place.pull(AGENCY)
        assert place.agency(AGENCY).acknowledge([pulled]).acknowledged == 1
        assert len(to.deliveries) == 1


def test_a_stop_by_name_stops_the_webhooks_of_that_name_alone(post: Post, to: Machine) -> None:
    """What is stopped for another agency, or under another agreement, keeps nothing of this one's back."""
    post.prove(to)
    post.born("1")
    post.hub.stop_releases(True, scope="agency", code="tax")
    post.hub.stop_releases(True, scope="agreement", code="AGR-2")
    post.post()
    assert len(to.deliveries) == 1
    post.born("2")
    post.hub.stop_releases(True, scope="agency", code=AGENCY)
    post.post()
    assert len(to.deliveries) == 1
    post.hub.stop_releases(False, scope="agency", code=AGENCY)
    post.post()
    assert len(to.deliveries) == 2


def test_a_hub_that_stops_does_not_wait_for_a_receiver_that_hangs(tmp_path: Path) -> None:
    """The connection is cut, and what was on it comes again after the start."""
    release, reached = Event(), Event()
    with machine() as hanging:
        hanging.answers = [lambda _message: Say(before=waiting(release, reached))]
        with town(tmp_path, handout_redeliver_s=1) as place:
            link_family(place)
            place.agency(AGENCY).set_webhook(hanging.url)
            place.agency("civil-registry").publish([birth("1")])
            assert reached.wait(5)
            began_s = monotonic()
        assert monotonic() - began_s < 4.0
        release.set()
        with town(tmp_path, handout_redeliver_s=1):
            assert len(until(lambda: hanging.deliveries, lambda found: len(found) > 1)) > 1
        first, again = hanging.deliveries[:2]
        assert (first["id"], first["number"]) == (again["id"], again["number"])


def test_a_refused_url_is_told_with_what_and_remedy_and_changes_nothing(post: Post, to: Machine) -> None:
    """The endpoint that works goes on."""
    post.prove(to)
    with pytest.raises(HubError) as caught:
        register(post.hub.webhooks, AGENCY, "http://10.0.0.1/")
    assert (caught.value.code, caught.value.where, bool(caught.value.remedy)) == ("webhook-url", "/url", True)
    assert (show(post.hub.webhooks, AGENCY)["url"], post.state()) == (to.url, "active")

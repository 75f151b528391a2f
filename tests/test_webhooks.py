"""Webhooks: posted to endpoints that proved themselves, in order, again and again until taken, and never past a no."""

import threading
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from agency_adapters.webhook import verify
from hub.core.errors import HubError
from hub.exchange.webhook_proof import prove
from hub.exchange.webhooks import pause_us, remove, rotate, show, wished_s
from tests.webhook_world import AGENCY, BY_CONSENT, Machine, Message, Post, Say, agree, machine, tell

DAY_S = 86_400


@pytest.fixture
def to() -> Iterator[Machine]:
    with machine() as running:
        yield running


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path / "hub")
    yield made
    made.close()


# Proven first.


def test_an_endpoint_is_active_once_it_repeated_the_challenge_and_gets_what_was_waiting(
    post: Post, to: Machine
) -> None:
    """The message is a CloudEvent as a pull gives it, named by the delivery's id, and acknowledged by the answer."""
    post.born("1")
    assert post.prove(to)["state"] == "active"
    assert to.deliveries == []
    post.post()
    (document,) = to.deliveries
    assert (document["kind"], document["type"], document["subject"]) == ("data", "civil.birth.registered", "FB-C-1")
    assert to.messages[-1].headers["webhook-id"] == document["id"]
    assert to.messages[-1].headers["content-type"] == "application/cloudevents+json"
    assert post.pulled() == []
    assert post.rows("SELECT count(*) FROM handout WHERE acked_us IS NULL") == [(0,)]
    assert post.acts() == ["webhook.registered", "webhook.proven"]


NOT_PROVEN = {
    "challenge": Say(body=b'{"challenge": "of-somebody-else"}'),
    "html": Say(headers={"content-type": "text/html; charset=utf-8"}, body=b"<html>Please sign in</html>"),
    "redirect": Say(307, {"location": "/elsewhere"}),
    "http-404": Say(404),
    "http-500": Say(500),
    "gone": Say(410),
    "cut": Say(cut=True),
}


def test_an_endpoint_that_does_not_repeat_the_challenge_never_gets_a_delivery(post: Post, to: Machine) -> None:
    """It stays unproven, with the reason; its deliveries wait for a pull; once it does repeat it they are posted."""
    post.born("1")
    for reason, say in NOT_PROVEN.items():
        to.challenge = lambda _message, say=say: say  # type: ignore[misc]  # bound one by one
        said = post.prove(to)
        assert (said["state"], said["reason"]) == ("unproven", reason)
        assert said["detail"]
        post.post()
    assert to.deliveries == []
    to.challenge = agree
    assert prove(post.hub.webhooks, AGENCY)["state"] == "active"
    post.post()
    assert len(to.deliveries) == 1


def test_an_answer_that_is_no_challenge_proves_nothing(post: Post, to: Machine) -> None:
    """Whatever it is: it is looked at, never trusted."""
    for body in (b"[]", b"null", b"not JSON", b'{"challenge": 7}', b""):
        to.challenge = lambda _message, body=body: Say(body=body)  # type: ignore[misc]  # bound one by one
        assert post.prove(to)["reason"] == "challenge", body


def test_each_proof_asks_with_a_challenge_of_its_own(post: Post, to: Machine) -> None:
    """An answer that was overheard is good for nothing later."""
    to.challenge = lambda _message: Say(500)
    post.prove(to)
    prove(post.hub.webhooks, AGENCY)
    first, second = (one.document["data"]["challenge"] for one in to.messages)
    assert first != second
    assert len(first) >= 43  # 32 random bytes


def test_another_address_has_to_prove_itself_anew_and_the_same_one_does_not(post: Post, to: Machine) -> None:
    """Until it has, nothing is posted to either."""
    post.prove(to)
    post.prove(to)
    assert len(to.messages) == 1
    with machine() as other:
        other.challenge = lambda _message: Say(500)
        assert post.prove(other)["state"] == "unproven"
        post.born("1")
        post.post(rounds=2)
        assert to.deliveries == other.deliveries == []


def test_a_proof_that_took_long_does_not_prove_the_address_that_was_registered_meanwhile(
    post: Post, to: Machine
) -> None:
    """What the first one answers says nothing of the second."""
    began, go_on = Event(), Event()

    def slow(message: Message) -> Say:
        began.set()
        go_on.wait(5)
        return agree(message)

    to.challenge = slow
    proving = threading.Thread(target=post.prove, args=(to,))
    proving.start()
    began.wait(5)
    with machine() as other:
        with pytest.raises(HubError) as caught:
            post.prove(other)
        go_on.set()
        proving.join()
        assert caught.value.code == "webhook-proving"
        assert (show(post.hub.webhooks, AGENCY)["url"], post.state()) == (other.url, "unproven")


def test_a_webhook_that_was_removed_gets_nothing_more(post: Post, to: Machine) -> None:
    """Its deliveries can be pulled; a second removal says that there is none."""
    post.prove(to)
    post.born("1")
    remove(post.hub.webhooks, AGENCY)
    post.post()
    assert to.deliveries == []
    assert len(post.pulled()) == 1
    with pytest.raises(HubError, match="no webhook"):
        remove(post.hub.webhooks, AGENCY)
    assert post.acts()[-1] == "webhook.removed"


# Signed.


def keys_of(post: Post) -> list[str]:
    return [one["public_key"] for one in show(post.hub.webhooks, AGENCY)["keys"]]


def test_every_message_is_signed_the_challenge_too(post: Post, to: Machine) -> None:
    """With the key that the API shows."""
    post.prove(to)
    post.born("1")
    post.post()
    for message in to.messages:
        verify(message.headers, message.body, keys_of(post), now_us=post.clock())


def test_while_keys_rotate_both_sign_and_after_a_day_only_the_new_one(post: Post, to: Machine) -> None:
    """A receiver that knows the old key and one that knows the new one both verify; a second rotation is refused."""
    post.prove(to)
    (old,) = keys_of(post)
    new = rotate(post.hub.webhooks, AGENCY)["public_key"]
    with pytest.raises(HubError) as caught:
        rotate(post.hub.webhooks, AGENCY)
    assert caught.value.code == "webhook-key-fresh"
    post.born("1")
    post.post()
    message = to.messages[-1]
    assert message.headers["webhook-signature"].count("v1a,") == 2
    for key in (old, new):
        verify(message.headers, message.body, [key], now_us=post.clock())
    post.clock.pass_by(DAY_S + 1)
    post.born("2")
    post.post()
    message = to.messages[-1]
    assert message.headers["webhook-signature"].count("v1a,") == 1
    verify(message.headers, message.body, [new], now_us=post.clock())
    assert keys_of(post) == [new]
    assert post.acts()[-1] == "webhook.key.rotated"


def test_agencies_have_keys_of_their_own(post: Post, to: Machine) -> None:
    """What one agency could show of a message is no proof to another."""
    post.prove(to)
    post.prove(to, BY_CONSENT)
    mine, theirs = (show(post.hub.webhooks, code)["keys"][0]["public_key"] for code in (AGENCY, BY_CONSENT))
    assert mine != theirs


# Again, until taken.

OF_THE_ENDPOINT = {
    "http-503": Say(503),
    "http-404": Say(404),
    "redirect": Say(302, {"location": "http://127.0.0.1:1/"}),
    "html": Say(headers={"content-type": "text/html"}, body=b"<html>Please sign in</html>"),
    "cut": Say(cut=True),
}


def test_a_failing_endpoint_is_tried_again_later_with_the_same_id_and_number(post: Post, to: Machine) -> None:
    """A page in HTML with 200 takes nothing, a redirect is not followed; nothing is acknowledged by any of them."""
    post.prove(to)
    for reason, say in OF_THE_ENDPOINT.items():
        post.born(reason)
        before = len(to.deliveries)
        tell(to, say)
        post.post(rounds=2)
        assert (post.state(), post.reason()) == ("failing", reason)
        assert len(to.deliveries) == before + 1
        assert post.rows("SELECT count(*) FROM handout WHERE acked_us IS NULL") == [(1,)]
        post.clock.pass_by(7)
        post.post()
        first, again = to.deliveries[before:]
        assert (first["id"], first["number"]) == (again["id"], again["number"])
        assert post.state() == "active"
    assert post.pulled() == []


def test_an_endpoint_that_cannot_be_reached_is_failing_and_its_deliveries_can_be_pulled(post: Post) -> None:
    """At once, not only after the hub's own time for repeats."""
    with machine() as to:
        post.prove(to)
    post.born("1")
    post.post()
    assert (post.state(), post.reason()) == ("failing", "refused")
    assert [one["kind"] for one in post.pulled()] == ["data"]


def test_pauses_grow_from_five_seconds_to_four_hours_and_are_spread(post: Post, to: Machine) -> None:
    """Some 25 tries in three days; what the receiver asks for counts, but not for ever."""
    plain = [pause_us(n, jitter=1.0) // 1_000_000 for n in range(1, 12)]
    assert plain == [5, 15, 45, 135, 405, 1_215, 3_645, 10_935, 14_400, 14_400, 14_400]
    assert (pause_us(1, jitter=0.75), pause_us(1, jitter=1.25)) == (3_750_000, 6_250_000)
    assert pause_us(1, jitter=1.0, wish_s=60) == 60_000_000
    assert pause_us(9, jitter=1.0, wish_s=60) == 14_400_000_000
    assert pause_us(1, jitter=1.0, wish_s=10**9) == DAY_S * 1_000_000


def test_a_retry_after_is_read_as_seconds_and_as_a_date_and_nonsense_is_none() -> None:
    """RFC 9110 has both."""
    assert wished_s("120", 0) == 120
    assert wished_s("Thu, 01 Jan 1970 00:02:00 GMT", 0) == 120
    assert [wished_s(text, 0) for text in ("", "soon", "-5", "Thu, 01 Jan 1960 00:00:00 GMT")] == [0, 0, 0, 0]


def test_a_receiver_that_asks_for_time_is_given_it(post: Post, to: Machine) -> None:
    """429 and 503 with Retry-After: nothing is posted before."""
    post.prove(to)
    post.born("1")
    tell(to, Say(429, {"retry-after": "600"}))
    post.post()
    post.clock.pass_by(599)
    post.post()
    assert len(to.deliveries) == 1
    post.clock.pass_by(2)
    post.post()
    assert len(to.deliveries) == 2


def test_410_disables_at_once_and_a_notice_in_the_feed_says_why(post: Post, to: Machine) -> None:
    """By pull, for nothing is posted any more; the delivery is there too; registered again it starts anew."""
    post.prove(to)
    post.born("1")
    tell(to, Say(410))
    post.post(rounds=2)
    assert (post.state(), len(to.deliveries)) == ("disabled", 1)
    data, notice = post.pulled()
    assert data["kind"] == "data"
    assert (notice["kind"], notice["data"]["type"], notice["data"]["reason"]) == ("notice", "webhook.disabled", "gone")
    assert post.acts()[-1] == "webhook.disabled"
    assert post.prove(to)["state"] == "active"


def test_three_days_of_nothing_but_failures_disable_and_one_success_in_between_does_not(
    post: Post, to: Machine
) -> None:
    """The three days are counted from the first failure after the last success."""
    post.prove(to)
    post.born("1")
    to.answers = [lambda _message: Say(503)] * 100
    for _ in range(12):
        post.post()
        post.clock.pass_by(4 * 3_600 * 1.25)
    assert post.state() == "failing"
    to.answers.clear()
    post.post()
    assert post.state() == "active"
    post.born("2")
    to.answers = [lambda _message: Say(503)] * 100
    began_us = post.clock()
    while post.state() != "disabled":
        assert post.clock() - began_us < 3.5 * DAY_S * 1_000_000
        post.post()
        post.clock.pass_by(4 * 3_600 * 1.25)
    assert post.clock() - began_us >= 3 * DAY_S * 1_000_000
    assert post.pulled()[-1]["data"]["type"] == "webhook.disabled"


def test_one_failure_last_month_and_one_today_disable_nothing(post: Post, to: Machine) -> None:
    """Nothing was tried in between, so nothing failed for three days."""
    post.prove(to)
    post.born("1")
    tell(to, Say(503), Say(503))
    post.post()
    post.clock.pass_by(30 * DAY_S)
    post.post()
    assert post.state() == "failing"

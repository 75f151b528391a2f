"""An erasure meets a webhook that is about to post: forced on the real code, in each order, and raced at random.

Once an erasure has returned, no bytes of that person begin to leave by a webhook. What had begun before is named: its
recipient is told to delete it.
"""

import random
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Lock
from time import monotonic, sleep

import pytest

from hub.exchange.endpoints import Endpoint
from hub.exchange.erase import Erased, erase_person, eraser
from hub.exchange.post import Limits, Line, Unanswered
from hub.failpoints import arm, disarm
from tests.interleaving import Doing, doing_at, paused
from tests.racing import Rival
from tests.webhook_world import BY_CONSENT, Machine, Post, Say, machine, tell

ROUNDS, EVENTS, ANSWER_S = 30, 20, 0.002  # so that a page takes long enough to be met in its middle
STEP_S, WIDTH_S = 0.002, 0.012  # how the head start moves, and by how much it is scattered


@pytest.fixture
def to() -> Iterator[Machine]:
    with machine() as running:
        yield running


@pytest.fixture
def post(tmp_path: Path, to: Machine) -> Iterator[Post]:
    made = Post(tmp_path / "hub")
    made.prove(to, BY_CONSENT)
    yield made
    disarm()
    made.close()


def erase(post: Post, person: int) -> Erased:
    return erase_person(eraser(post.hub), person, reason="request")


def kinds(to: Machine) -> list[str]:
    return [str(one["kind"]) for one in to.deliveries]


def test_what_was_opened_for_a_webhook_does_not_begin_to_leave_after_an_erasure(post: Post, to: Machine) -> None:
    """Its connection stood, its body was signed: not a byte goes. The recipient is told to delete it."""
    principal, _ = post.moved("1")
    with doing_at("post.ready", lambda: said.append(erase(post, principal.person))):
        said: list[Erased] = []
        post.post(BY_CONSENT)
    assert to.deliveries == []
    assert said[0].told == {BY_CONSENT: 1}
    post.post(BY_CONSENT, rounds=4)
    assert "data" not in kinds(to)
    assert "delete" in kinds(to)
    assert post.state(BY_CONSENT) == "active"  # the endpoint is not to blame


def test_behind_what_was_on_its_way_nothing_follows_after_an_erasure(post: Post, to: Machine) -> None:
    """The first of a page had begun and is named; the second stood opened behind it, and does not begin."""
    principal, _ = post.moved("1", "2")
    said: list[Erased] = []
    tell(to, Say(before=lambda: said.append(erase(post, principal.person))))
    post.post(BY_CONSENT)
    (first,) = to.deliveries
    assert said[0].told == {BY_CONSENT: 2}
    post.post(BY_CONSENT, rounds=4)
    assert kinds(to).count("data") == 1
    told = [one["data"] for one in to.deliveries if one["kind"] == "delete"]
    assert first["id"] in str(told)


def test_an_erasure_does_not_return_between_the_last_look_and_the_first_byte(post: Post, to: Machine) -> None:
    """It waits for that moment, which waits for nobody; what began is there when it returns."""
    principal, _ = post.moved("1")
    with paused("post.begins") as beginning:
        posting = Doing(lambda: post.post(BY_CONSENT))
        beginning.reached()
        erasing = Doing(lambda: erase(post, principal.person))
        assert not erasing.returned()
        beginning.go()
        assert erasing.result().told == {BY_CONSENT: 1}
    posting.result()
    assert kinds(to) == ["data"]


def test_others_are_posted_while_somebody_is_erased(post: Post, to: Machine) -> None:
    """Only what holds something of that person stays behind."""
    principal, _ = post.moved("1", name="A")
    post.moved("2", name="B")
    lanes, said = Lock(), list[Erased]()

    def stand_and_erase() -> None:
        with lanes:  # both connections stand here until it is done
            said.extend([] if said else [erase(post, principal.person)])

    arm("post.ready", stand_and_erase)
    post.post(BY_CONSENT)
    assert kinds(to) == ["data"]


def test_no_bytes_begin_after_an_erasure_that_raced_them(post: Post, to: Machine) -> None:
    """Of a page of several, posted one after the other: those that began are there and named, and none follows."""
    rng, rival, ends = random.Random(20_261_125), Rival(), Counter[str]()
    begun: list[int] = []
    ahead_s = 0.0
    for number in range(ROUNDS):
        principal, _ = post.moved(*[f"{number}-{at}" for at in range(EVENTS)], name=f"N-{number}")
        then, said = list[int](), list[Erased]()
        begun.clear()

        def erasing(person: int = principal.person, then: list[int] = then, said: list[Erased] = said) -> None:
            said.append(erase(post, person))
            then.append(len(begun))

        tell(to, *[Say(before=lambda: sleep(ANSWER_S))] * EVENTS)
        arm("post.begun", lambda: begun.append(1))
        rival.against(lambda: post.post(BY_CONSENT), erasing, ahead_s=ahead_s + rng.uniform(-WIDTH_S, WIDTH_S))
        disarm("post.begun")
        post.post(BY_CONSENT, rounds=2)
        came = then[0]
        assert len(begun) == came, f"round {number}: {len(begun) - came} began after the erasure had returned"
        assert [one["kind"] for one in to.deliveries].count("data") == came, f"round {number}"
        assert not came or said[0].told == {BY_CONSENT: EVENTS}, f"round {number}"
        to.messages.clear()
        to.answers.clear()
        ends["none" if not came else "all" if came == EVENTS else "some"] += 1
        ahead_s += STEP_S if came > EVENTS / 2 else -STEP_S
    rival.close()
    print(dict(ends))
    assert ends["some"], ends  # else it met only pages that had begun whole, or not at all


def test_first_bytes_wait_for_no_receiver() -> None:
    """An erasure waits for them, and so would everybody: where a connection takes none at once it is given up."""
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:  # it answers the phone, and never listens
        port = deaf.getsockname()[1]
        endpoint = Endpoint("http", "127.0.0.1", port, "/hub", f"127.0.0.1:{port}")
        tls = ssl.create_default_context()
        line = Line("http://deaf", endpoint, ["127.0.0.1"], tls=tls, limits=Limits(answer_s=3.0))
        raw = line._socket
        raw.settimeout(0)
        with suppress(BlockingIOError):
            while True:
                raw.send(b"x" * 65_536)
        raw.settimeout(3.0)
        began_s = monotonic()
        with pytest.raises(Unanswered) as refused:
            line.post([], "application/json", b"{}")
    assert (refused.value.reason, monotonic() - began_s < 1.0) == ("cut", True)

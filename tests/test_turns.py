"""Two processes of one hub hand out: pulls get different pages, senders share persons, a pull frees what was put off.

Both are within this test's process, over one database, with nothing in memory shared; their threads stand still.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import pytest

from hub import failpoints
from hub.exchange.bell import ThreadEar
from hub.exchange.handout import hand_out
from hub.exchange.turns import Turn
from hub.exchange.webhook_proof import proofs_wanted, prove, prove_for
from hub.exchange.webhooks import show
from hub.store.leases import Lease, LeaseLost, renew, take, taking
from hub.workers.leases import Alone
from hub.workers.webhook_sender import Sender
from hub.workers.webhooks import Line, WebhookWorkers
from hub.workers.worker import Worker
from tests import stores
from tests.webhook_world import AGENCY, Machine, Post, Say, agree, machine, tell
from tests.world import until

LONG_US = 60_000_000


@pytest.fixture
def to() -> Iterator[Machine]:
    with machine() as running:
        yield running


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Post, Post]]:
    """Open two processes' worth of a hub over one database."""
    stores.server()
    shared: dict[str, Any] = {
        "store_dsn": stores.dsn_of(tmp_path / "hub.sqlite"),
        "key_file": tmp_path / "root.key",
        "clock_off_max_s": 10**9,  # tests bring their own clocks
    }
    shared |= {"store_idle_ms": stores.PATIENT_MS}
    one = Post(tmp_path / "one", settings=shared)
    two = Post(tmp_path / "two", settings=shared | {"only": ("handout",)})
    yield one, two
    two.close()
    one.close()
    stores.drop_all()


def lease_of(post: Post, owner: str, name: str, *, lease_us: int = LONG_US) -> Lease:
    found = post.hub.store.write(lambda tx: take(tx, name, owner, lease_us=lease_us), fences=taking(name))
    assert found is not None
    return found


def sender(post: Post, turn: Callable[[], Turn | None]) -> Sender:
    return Sender(
        post.hub.webhooks, AGENCY, bell=post.hub.bell, metrics=post.hub.metrics, connections=3, turn=turn
    )  # fmt: skip


@contextmanager
def ended(*senders: Sender) -> Iterator[None]:
    try:
        yield
    finally:
        for one in senders:
            one.halt()
            one.close()


def rounds(one: Sender, post: Post, count: int = 1) -> None:
    for _ in range(count):
        post.hub.bell.ring_here(0)
        one.step(Event())


def people(post: Post, count: int, each: int = 1) -> None:
    """Have something happen to so many, one after another and round about."""
    for at in range(each):
        for number in range(count):
            post.born(f"{number}-{at}", child=f"C-{number}")


# Pulls.


def test_two_processes_that_pull_for_one_agency_get_different_pages(pair: tuple[Post, Post]) -> None:
    """Nothing twice, nothing left, and the running numbers are without a gap."""
    people(pair[0], 40)
    pages: list[list[int]] = []

    def pull(post: Post) -> None:
        while page := hand_out(post.hub.world, AGENCY, 3).opened:
            pages.append([one.number for one in page])

    threads = [Thread(target=pull, args=(post,)) for post in pair for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for page in pages for number in page) == list(range(1, 41))
    assert len(pages) > 2


# Senders.


def test_senders_of_two_shards_divide_the_persons_and_keep_each_ones_order(
    pair: tuple[Post, Post], to: Machine
) -> None:
    """Each posts its own people's only; together all, once."""
    one, two = pair
    one.prove(to)
    people(one, 8, each=3)
    turns = [Turn(shard, 2, lease_of(one, f"{shard}", f"webhook/{AGENCY}/2/{shard}")) for shard in range(2)]
    first, second = sender(one, lambda: turns[0]), sender(two, lambda: turns[1])
    with ended(first, second):
        rounds(first, one, 3)
        of_first = [document["subject"] for document in to.deliveries]
        rounds(second, two, 3)
    of_second = [document["subject"] for document in to.deliveries[len(of_first) :]]
    assert of_first
    assert of_second
    assert set(of_first).isdisjoint(of_second)
    assert len(to.deliveries) == 24
    for subject in {*of_first, *of_second}:
        numbers = [document["number"] for document in to.deliveries if document["subject"] == subject]
        assert numbers == sorted(set(numbers))


def test_a_sender_whose_lease_another_has_opens_nothing(pair: tuple[Post, Post], to: Machine) -> None:
    """It believes in it still, as a process does that was stopped and goes on: its transaction is refused."""
    one, two = pair
    one.prove(to)
    people(one, 2)
    name = f"webhook/{AGENCY}/1/0"
    former = Turn(lease=lease_of(one, "asleep", name, lease_us=0))
    lease_of(two, "awake", name)
    late = sender(one, lambda: former)
    with ended(late), pytest.raises(LeaseLost):
        rounds(late, one)
    assert to.deliveries == []
    assert one.rows("SELECT count(*) FROM queue WHERE state = 3") == [(0,)]


def test_a_lease_that_is_taken_between_the_choice_and_the_commit_opens_nothing(pair: tuple[Post, Post]) -> None:
    """The choice was made while it was the sender's; the transaction looks again."""
    one, two = pair
    people(one, 2)
    name = f"webhook/{AGENCY}/1/0"
    turn = Turn(lease=lease_of(one, "asleep", name, lease_us=0))

    def taken_over() -> None:
        failpoints.disarm()
        lease_of(two, "awake", name)

    failpoints.arm("store.queued", taken_over)  # what is chosen is chosen; nothing has begun to be written
    try:
        with pytest.raises(LeaseLost):
            hand_out(one.hub.world, AGENCY, 10, turn)
    finally:
        failpoints.disarm()
    assert one.rows("SELECT count(*) FROM handout") == [(0,)]


def test_a_sender_that_sleeps_between_the_hand_out_and_the_first_byte_sends_nothing(
    pair: tuple[Post, Post], to: Machine
) -> None:
    """It asks at the very moment before the byte; who took over sends it, under the same id and number, in order."""
    one, two = pair
    one.prove(to)
    people(one, 1, each=2)
    name = f"webhook/{AGENCY}/1/0"
    turns: list[Turn | None] = [Turn(lease=lease_of(one, "asleep", name, lease_us=0))]
    successor: list[Turn] = []

    def sleeps() -> None:
        failpoints.disarm()
        turns[0] = None  # its own clock says so when it wakes up
        successor.append(Turn(lease=lease_of(two, "awake", name)))

    late = sender(one, lambda: turns[0])
    failpoints.arm("post.ready", sleeps)
    try:
        rounds(late, one)
    finally:
        failpoints.disarm()
    assert to.deliveries == []
    opened = one.rows("SELECT number FROM queue WHERE state = 3 ORDER BY number")
    awake = sender(two, lambda: successor[0])
    with ended(late, awake):
        two.clock.pass_by(61)
        rounds(awake, two, 3)
    assert [document["number"] for document in to.deliveries] == [number for (number,) in opened] == [1, 2]


def test_what_the_former_sender_put_on_its_way_is_not_passed_and_keeps_its_id(
    pair: tuple[Post, Post], to: Machine
) -> None:
    """It got no answer before it fell asleep: that person's later ones wait until it has come again."""
    one, two = pair
    one.prove(to)
    people(one, 1)
    name, asleep = f"webhook/{AGENCY}/1/0", list[Turn | None]()
    asleep.append(Turn(lease=lease_of(one, "asleep", name, lease_us=0)))
    awake: list[Turn] = []

    def taken_over() -> None:
        asleep[0] = None
        awake.append(Turn(lease=lease_of(two, "awake", name)))

    tell(to, Say(before=taken_over, cut=True))
    former = sender(one, lambda: asleep[0])
    rounds(former, one)
    one.born("later", child="C-0")
    one.born("other", child="C-9")
    latter = sender(two, lambda: awake[0])
    with ended(former, latter):
        rounds(latter, two, 2)
        assert [document["subject"] for document in to.deliveries] == ["FB-C-0", "FB-C-9"]
        two.clock.pass_by(61)
        rounds(latter, two, 3)
    mine = [(document["number"], document["id"]) for document in to.deliveries if document["subject"] == "FB-C-0"]
    assert mine[0] == mine[1]
    assert [number for number, _ in mine] == [1, 1, mine[2][0]]


# What one has put off.


def test_what_one_process_has_put_off_a_pull_at_another_gets_at_once(pair: tuple[Post, Post], to: Machine) -> None:
    """And the sender no longer waits for it: what comes later goes on when the pull has acknowledged."""
    one, two = pair
    one.prove(to)
    people(one, 1, each=2)
    tell(to, Say(422))
    one.post()
    assert show(two.hub.webhooks, AGENCY)["retrying"] == 2
    assert [document["number"] for document in two.pulled()] == [1, 2]
    assert show(one.hub.webhooks, AGENCY)["retrying"] == 0
    assert two.pulled() == []  # it was given them, and has a while to acknowledge


# Proofs.


def test_a_process_that_may_not_call_agencies_has_another_prove_the_endpoint(
    pair: tuple[Post, Post], to: Machine
) -> None:
    """Who registers is answered with what came of it."""
    one, two = pair
    answers: list[dict[str, Any]] = []
    asking = Thread(target=lambda: answers.append(two.prove(to)))
    asking.start()
    (wanted,) = until(lambda: proofs_wanted(one.hub.webhooks), bool)
    assert to.messages == []
    prove_for(one.hub.webhooks, wanted)
    asking.join()
    assert answers[0]["state"] == "active"
    assert proofs_wanted(one.hub.webhooks) == []
    prove_for(one.hub.webhooks, wanted)  # somebody else had begun: nothing is posted
    assert len(to.messages) == 1


def test_a_refused_proof_says_why_wherever_it_was_posted(pair: tuple[Post, Post], to: Machine) -> None:
    """And is tried again when the agency asks for it, in either process."""
    one, two = pair
    to.challenge = lambda _message: Say(body=b"{}")
    asking = Thread(target=two.prove, args=(to,))
    asking.start()
    prove_for(one.hub.webhooks, until(lambda: proofs_wanted(one.hub.webhooks), bool)[0])
    asking.join()
    said = show(two.hub.webhooks, AGENCY)
    assert (said["state"], said["reason"]) == ("unproven", "challenge")
    to.challenge = agree
    assert prove(one.hub.webhooks, AGENCY)["state"] == "active"


# Threads.


def test_a_ring_in_one_process_is_heard_in_the_other_within_milliseconds(pair: tuple[Post, Post]) -> None:
    """For the recipient that it is for; what it costs is printed."""
    one, two = pair
    for post in pair:
        for worker in post.hub.threads.wires:
            worker.start()
    mine, others = ThreadEar(), ThreadEar()
    two.hub.bell.attend(7, mine)
    two.hub.bell.attend(8, others)

    def rung() -> bool:
        one.hub.bell.ring(7)
        return mine.wait(0.1)

    assert until(rung, bool)
    took = []
    for _ in range(50):
        sleep(0.01)
        mine.wait(0)
        began_s = monotonic()
        one.hub.bell.ring(7)
        assert mine.wait(2)
        took.append(monotonic() - began_s)
    print(f"ring to ring: median {sorted(took)[25] * 1000:.1f} ms, worst {max(took) * 1000:.1f} ms")
    assert sorted(took)[25] < 0.2
    assert not others.wait(0)
    one.hub.bell.ring_all()
    assert others.wait(2)


def test_two_processes_share_the_senders_and_one_that_ends_leaves_them_to_the_other(
    tmp_path: Path, to: Machine
) -> None:
    """With the threads running: every shard has one sender, and what is published afterwards arrives once."""
    stores.server()
    given: dict[str, Any] = {
        "store_dsn": stores.dsn_of(tmp_path / "hub.sqlite"),
        "key_file": tmp_path / "root.key",
        "clock_off_max_s": 10**9,  # tests bring their own clocks
    }
    given |= {"lease_s": 2, "webhook_shards": 2}
    one = Post(tmp_path / "one", settings=given)
    two = Post(tmp_path / "two", settings=given | {"only": ("webhooks",)})
    try:
        one.prove(to)
        one.hub.start()
        two.hub.start()
        senders: list[WebhookWorkers] = [one.hub.threads.webhooks, two.hub.threads.webhooks]
        assert until(lambda: [lines(each) for each in senders], lambda found: found == [1, 1]) == [1, 1]
        for number in range(6):
            one.born(str(number), child=f"C-{number}")
        assert len(until(lambda: to.deliveries, lambda found: len(found) >= 6)) == 6
        two.close()
        assert until(lambda: lines(one.hub.threads.webhooks), lambda found: found == 2) == 2
        for number in range(6):
            one.born(f"{number}-again", child=f"C-{number}")
        assert len(until(lambda: to.deliveries, lambda found: len(found) >= 12)) == 12
        assert len({document["id"] for document in to.deliveries}) == 12
    finally:
        one.close()
        stores.drop_all()


class Noted(Alone):
    """Has everything, and notes what is done with it in the end."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []

    def done_with(self, name: str) -> None:
        self.ends.append(("given up", name))

    def let_run_out(self, name: str) -> None:
        self.ends.append(("runs out", name))


def test_a_sender_that_does_not_end_keeps_its_lease_no_longer_than_it_lasts(pair: tuple[Post, Post]) -> None:
    """It may be in a look-up of a name that nobody cuts off: another process goes on meanwhile, but not beside it."""
    one, _ = pair
    noted, goes_on = Noted(), Event()
    workers = WebhookWorkers(
        one.hub.webhooks, bell=one.hub.bell, metrics=one.hub.metrics, connections=1, log=one.hub.log, shared=noted
    )  # fmt: skip
    for shard, step in enumerate((lambda _stop: 0.01, lambda _stop: float(goes_on.wait(30)))):
        worker = Worker(f"webhook-{shard}", step, log=one.hub.log)
        workers._running[Line(AGENCY, shard)] = sender(one, lambda: None), worker
        worker.start()
    try:
        assert workers._end(Line(AGENCY, 0))
        assert not workers._end(Line(AGENCY, 1))
    finally:
        goes_on.set()
    assert noted.ends == [("given up", f"webhook/{AGENCY}/1/0"), ("runs out", f"webhook/{AGENCY}/1/1")]


def lines(workers: WebhookWorkers) -> int:
    return len(workers._running)


def test_a_lease_that_ran_out_and_was_renewed_is_the_same_one(pair: tuple[Post, Post]) -> None:
    """What was chosen under it before may be committed: nobody else had a turn in between."""
    one, _ = pair
    people(one, 1)
    lease = lease_of(one, "a", f"webhook/{AGENCY}/1/0", lease_us=0)
    one.hub.store.write(lambda tx: renew(tx, [lease], lease_us=LONG_US))
    assert len(hand_out(one.hub.world, AGENCY, 5, Turn(lease=lease)).opened) == 1

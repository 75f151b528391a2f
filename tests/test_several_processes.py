"""A hub as several real processes (`hub serve --only`) keeps its promises: killed, doubled, stopped and woken.

PostgreSQL, Kafka and OPA are real, and so are the processes. What is in memory of one process cannot be in another's.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import pytest

from agency_adapters.results import Delivery
from tests.parts_world import LEASE_S, House, Running, house, longer, status_of
from tests.webhook_world import Machine, Say, machine

PULLER, POSTED = "health-insurance", "family-benefits"


@pytest.fixture
def to() -> Iterator[Machine]:
    with machine() as running:
        yield running


def test_an_event_goes_through_every_part_and_each_says_how_it_is(tmp_path: Path, to: Machine) -> None:
    """Published at the web's, decided at the gate's over OPA, posted by the webhooks', pulled at the hand-out's."""
    with house(tmp_path, policy="server") as place:
        web, gate, handout, webhooks, retention = place.run("web", "gate", "handout", "webhooks", "retention")
        place.families(1)
        assert place.agency(POSTED).set_webhook(to.url)["state"] == "active"
        waiting = Waiting(place, PULLER)
        began_s = monotonic()
        place.decided(place.born("1"))
        (got,) = waiting.answer()
        print(f"published at one process, pulled at another after {(waiting.at_s - began_s) * 1000:.0f} ms")
        assert got.kind == "data"
        (posted,) = longer(lambda: to.deliveries, bool)
        assert posted["subject"] == "FB-C-0"
        for one in (web, gate, handout, webhooks, retention):
            assert longer(one.troubles, lambda said: not said) == [], one.parts
        for one in (gate, webhooks, retention):
            assert not one.door
        found = status_of(handout)
        assert sorted(process["parts"][0] for process in found["processes"]) == [
            "gate", "handout", "retention", "web", "webhooks",
        ]  # fmt: skip
        assert (found["troubles"], found["parts"]) == ([], ["handout"])
        assert "runs gate" in gate.command("status").stdout
        elsewhere = webhooks.command("person", "erase", "family-benefits", "--reason", "request", "--yes")
        assert elsewhere.returncode == 1
        second = gate.command("serve")
        assert (second.returncode, "another process of the hub runs in this data directory" in second.stderr) == (
            1, True,
        )  # fmt: skip


class Waiting:
    """A long poll in a thread of its own."""

    def __init__(self, place: House, code: str) -> None:
        self._client, self._found = place.agency(code), list[Delivery]()
        self._client.pull()  # signed in, and nothing is there
        self.at_s = 0.0
        self._thread = Thread(target=self._pull)
        self._thread.start()
        sleep(0.5)

    def _pull(self) -> None:
        self._found += self._client.pull(wait_s=25).deliveries
        self.at_s = monotonic()

    def answer(self) -> list[Delivery]:
        self._thread.join()
        return self._found


class Publishing:
    """Somebody who publishes births of a few children, one after the other, until told to stop."""

    def __init__(self, place: House, people: int) -> None:
        self._place, self._people, self._end = place, people, Event()
        self.tokens: list[str] = []
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._end.wait(0.05):
            self.tokens += self._place.born(f"{number}", child=number % self._people)
            number += 1

    def stop(self) -> int:
        self._end.set()
        self._thread.join()
        return len(self.tokens)


def in_order(to: Machine) -> None:
    """Each person's deliveries came in order, repeats where they stood; what came twice came under the same id."""
    ids: dict[int, str] = {}
    numbers: dict[str, list[int]] = {}
    for one in to.deliveries:
        assert ids.setdefault(one["number"], one["id"]) == one["id"]
        numbers.setdefault(one["subject"], []).append(one["number"])
    for subject, found in numbers.items():
        assert found == sorted(found), subject


def test_each_part_is_killed_and_started_again_and_nothing_is_lost_or_doubled(tmp_path: Path, to: Machine) -> None:
    """While somebody publishes, somebody pulls, and somebody is posted to."""
    with house(tmp_path) as place:
        running = dict(
            zip(
                ("web", "gate", "handout", "webhooks"),
                place.run("web", "gate", "handout", "webhooks", "retention"),
                strict=False,
            )
        )
        place.families(3)
        place.agency(POSTED).set_webhook(to.url)
        publishing = Publishing(place, 3)
        for part, one in running.items():
            sleep(0.5)
            one.kill()
            began_s = monotonic()
            place.run(part)
            print(f"{part}: killed, and another took requests after {monotonic() - began_s:.1f} s")
        sent = publishing.stop()
        place.decided(publishing.tokens)
        pulled = place.pulled(PULLER, sent, within_s=60)
        assert len(pulled) == sent
        longer(lambda: len({one["id"] for one in to.deliveries}), lambda got: got >= sent, 60)
        assert len({one["id"] for one in to.deliveries}) == sent
        in_order(to)
        sleep(1)
        assert place.agency(PULLER).pull().deliveries == ()


def test_two_of_each_share_the_work(tmp_path: Path, to: Machine) -> None:
    """Every event is decided once, pulled once, posted once, in order; both gates and both senders have done some."""
    with house(tmp_path, HUB_WEBHOOK_SHARDS="2") as place:
        place.run("web,retention", "web", "gate", "gate", "handout", "handout", "webhooks", "webhooks")
        place.families(8)
        place.agency(POSTED).set_webhook(to.url)
        tokens = [token for at in range(5) for child in range(8) for token in place.born(f"{at}-{child}", child=child)]
        place.decided(tokens)
        pulled = place.pulled(PULLER, len(tokens))
        assert sorted(one.number for one in pulled) == list(range(1, len(tokens) + 1))
        longer(lambda: len(to.deliveries), lambda got: got >= len(tokens))
        assert Counter(one["id"] for one in to.deliveries).most_common(1)[0][1] == 1
        assert len(to.deliveries) == len(tokens)
        in_order(to)
        leases = [one.log.read_text().count('"lease.taken"') for one in place.processes if one.parts == "webhooks"]
        assert min(leases) >= 1


def test_a_webhooks_process_that_is_stopped_past_its_lease_sends_nothing_when_it_wakes(
    tmp_path: Path, to: Machine
) -> None:
    """Another takes over within the lease; order per person is kept, and what comes twice has the same id."""
    with house(tmp_path) as place:
        *_, first = place.run("web,handout", "gate", "retention", "webhooks")
        place.families(3)
        place.agency(POSTED).set_webhook(to.url)
        place.decided(place.born("before", child=0))
        longer(lambda: to.deliveries, bool)
        (second,) = place.run("webhooks")
        publishing = Publishing(place, 3)
        holder = longer(lambda: sending(place, [first, second]), bool)[0]
        other = second if holder is first else first
        to.answers = [lambda _message: Say(before=holder.pause)]  # in the middle of an answer
        longer(lambda: other.log.read_text().count("lease.taken"), bool)
        began_s = monotonic()
        seen = len(to.deliveries)
        longer(lambda: len(to.deliveries), lambda got: got > seen)
        print(f"the other process sends {monotonic() - began_s:.1f} s after it was seen to have taken over")
        sent = publishing.stop()
        place.decided(publishing.tokens)
        longer(lambda: len({one["id"] for one in to.deliveries}), lambda got: got >= sent + 1, 60)
        settled = len(to.deliveries)
        holder.resume()
        sleep(2 * LEASE_S)
        assert len(to.deliveries) == settled
        assert len({one["id"] for one in to.deliveries}) == sent + 1
        in_order(to)
        assert holder.alive


def sending(place: House, some: list[Running]) -> list[Running]:
    """Return those that have taken a webhook's lease and not lost it."""
    del place
    return [
        one for one in some
        if (said := one.log.read_text()).count('"lease.taken"') > said.count('"lease.lost"')
    ]  # fmt: skip


def test_of_two_gates_one_killed_or_stopped_leaves_its_partitions_to_the_other(tmp_path: Path) -> None:
    """Each event is decided once; the one that was stopped past its session and woken decides nothing late."""
    with house(tmp_path) as place:
        _, first, second = place.run("web,handout,retention", "gate", "gate")
        place.families(4)
        publishing = Publishing(place, 4)
        sleep(2)
        first.kill()
        place.run("gate")
        sleep(1)
        second.pause()
        tokens = list(publishing.tokens)
        place.decided(tokens, within_s=60)  # the other two's sessions go on; the stopped one's partitions move
        second.resume()
        sleep(1)
        sent = publishing.stop()
        place.decided(publishing.tokens, within_s=60)
        pulled = place.pulled(PULLER, sent, within_s=60)
        assert len(pulled) == sent
        assert sorted(one.number for one in pulled) == list(range(1, sent + 1))

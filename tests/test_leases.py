"""Leases: one process at a time, by the database's clock; who slept past its time is told so in its own transaction."""

import io
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from time import sleep

import pytest

from hub.clock import system_clock
from hub.logs import open_log
from hub.parts import ALL, Part
from hub.store.engine import Fences, Store
from hub.store.leases import Lease, LeaseLost, check, lease_key, release, renew, take, taking
from hub.store.workers import beat, leave, processes
from hub.workers.leases import Leases
from tests.stores import on_postgres, open_store
from tests.world import until

pytestmark = pytest.mark.engines

LONG_US, OVER_US = 60_000_000, 0
NAME = "webhook/tax/1/0"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "hub.sqlite", synchronous="OFF")
    yield opened
    opened.close()


def taken(store: Store, owner: str, name: str = NAME, *, lease_us: int = LONG_US) -> Lease | None:
    return store.write(lambda tx: take(tx, name, owner, lease_us=lease_us), fences=taking(name))


def refuse(store: Store, lease: Lease) -> None:
    with pytest.raises(LeaseLost):
        store.write(lambda tx: check(tx, lease), fences=Fences(relies=[lease_key(lease.name)]))


def test_what_one_process_has_no_other_takes(store: Store) -> None:
    """Not even its owner a second time; what is about something else is free."""
    first = taken(store, "a")
    assert first is not None
    assert taken(store, "b") is None
    assert taken(store, "a") is None
    assert taken(store, "b", "webhook/health/1/0") is not None
    store.write(lambda tx: check(tx, first))


def test_one_that_ran_out_goes_to_another_and_its_former_owner_finds_out(store: Store) -> None:
    """The epoch grows with each taking, so that the same owner's former lease counts no more either."""
    first = taken(store, "a", lease_us=OVER_US)
    second = taken(store, "b", lease_us=OVER_US)
    again = taken(store, "a")
    assert first is not None
    assert second is not None
    assert again is not None
    assert (first.epoch, second.epoch, again.epoch) == (1, 2, 3)
    refuse(store, first)
    refuse(store, second)
    store.write(lambda tx: check(tx, again))


def test_one_that_ran_out_and_that_nobody_took_is_still_its_owners(store: Store) -> None:
    """It is renewed, and then nobody else gets it; one that was taken is not."""
    mine, lost = taken(store, "a", lease_us=OVER_US), taken(store, "a", "files/tax", lease_us=OVER_US)
    assert mine is not None
    assert lost is not None
    taken(store, "b", "files/tax")
    assert store.write(lambda tx: renew(tx, [mine, lost], lease_us=LONG_US)) == {mine}
    assert taken(store, "b") is None


def test_one_that_is_given_up_is_free_at_once(store: Store) -> None:
    """Only by its owner."""
    mine = taken(store, "a")
    assert mine is not None
    store.write(lambda tx: release(tx, [mine._replace(owner="b")]))
    assert taken(store, "b") is None
    store.write(lambda tx: release(tx, [mine]))
    assert taken(store, "b") is not None


def test_shards_of_another_number_wait_until_the_former_ones_are_over(store: Store) -> None:
    """One person would stand in two of them; and who slept under the former number finds out as well."""
    former = taken(store, "a", "webhook/tax/1/0")
    assert former is not None
    assert taken(store, "b", "webhook/tax/2/1") is None
    assert taken(store, "b", "webhook/taxes/2/1") is not None
    store.write(lambda tx: renew(tx, [former], lease_us=OVER_US))
    assert taken(store, "b", "webhook/tax/2/1") is not None
    refuse(store, former)


def test_a_taking_waits_for_whoever_relies_on_the_lease(store: Store) -> None:
    """What commits under it commits before it is another's: there is no moment in between."""
    mine, order = taken(store, "a", lease_us=OVER_US), list[str]()
    assert mine is not None
    begun, go_on = Event(), Event()

    def relying() -> None:
        def transaction(tx: object) -> None:
            begun.set()
            go_on.wait(5)
            order.append("committed")

        store.write(transaction, fences=Fences(relies=[lease_key(NAME)]))

    def taker() -> None:
        assert taken(store, "b") is not None
        order.append("taken")

    threads = [Thread(target=relying), Thread(target=taker)]
    threads[0].start()
    assert begun.wait(5)
    threads[1].start()
    sleep(0.2)
    assert order == []
    go_on.set()
    for thread in threads:
        thread.join()
    assert order == ["committed", "taken"]


def test_a_process_is_on_the_list_as_long_as_it_says_so(store: Store) -> None:
    """With its parts; who leaves is taken off, who says nothing falls silent by the store's own clock."""
    store.write(lambda tx: beat(tx, "a", "one/1", frozenset([Part.WEB, Part.GATE])))
    store.write(lambda tx: beat(tx, "b", "two/2", ALL))
    store.write(lambda tx: tx.run("UPDATE worker SET heard_us = heard_us - 11000000 WHERE id = 'b'"))
    with store.read() as tx:
        found = processes(tx)
    assert [(one.name, one.parts, one.alive) for one in found] == [
        ("one/1", {Part.WEB, Part.GATE}, True), ("two/2", ALL, False),
    ]  # fmt: skip
    store.write(lambda tx: leave(tx, "a"))
    store.write(lambda tx: tx.run("UPDATE worker SET heard_us = heard_us - 600000000"))
    store.write(lambda tx: beat(tx, "c", "three/3", ALL))
    with store.read() as tx:
        assert [one.name for one in processes(tx)] == ["three/3"]


# What a process holds.


def keeper(store: Store, lease_s: float = 3.0) -> Leases:
    log = open_log(clock=system_clock, stream=io.StringIO())
    return Leases(store, frozenset([Part.WEBHOOKS]), lease_s=lease_s, log=log)


NAMES = [f"webhook/{code}/1/0" for code in ("a", "b", "c")]


def mine(one: Leases) -> set[str]:
    return {name for name in NAMES if one.is_mine(name)}


def test_two_processes_share_what_there_is_and_one_that_ends_leaves_it_to_the_other(store: Store) -> None:
    """A newcomer gets its share once the other has given it up; nothing is ever held by both."""
    first, second = keeper(store), keeper(store)
    first.want("webhook", NAMES)
    first.start()
    assert mine(first) == set(NAMES)
    second.want("webhook", NAMES)
    second.start()
    until(lambda: mine(first), lambda found: len(found) == 2)
    assert mine(second) == set()
    (beyond,) = set(NAMES) - mine(first)
    first.done_with(beyond)
    assert until(lambda: mine(second), bool) == {beyond}
    assert first.stop(5)
    assert until(lambda: mine(second), lambda found: len(found) == 3) == set(NAMES)
    assert second.stop(5)
    with store.read() as tx:
        assert processes(tx) == []


def test_a_process_that_slept_past_its_lease_begins_nothing_more(store: Store) -> None:
    """It knows by its own clock, before it has heard from anybody; and it gets back what nobody took."""
    asleep = keeper(store, lease_s=2.0)
    asleep.want("webhook", NAMES)
    asleep._keep()  # and its thread does not run
    assert mine(asleep) == set(NAMES)
    sleep(2.0)
    assert mine(asleep) == set()
    asleep._keep()
    assert mine(asleep) == set(NAMES)


def test_what_another_took_meanwhile_is_not_believed_in_any_more(store: Store) -> None:
    asleep = keeper(store, lease_s=2.0)
    asleep.want("webhook", NAMES[:1])
    asleep._keep()
    turn = asleep.turn(NAMES[0])
    assert turn is not None
    sleep(2.1)
    assert taken(store, "somebody else", NAMES[0]) is not None
    asleep._keep()
    assert mine(asleep) == set()
    with pytest.raises(LeaseLost):
        store.write(turn.check)


def test_what_a_process_does_not_want_any_more_it_is_to_give_up(store: Store) -> None:
    one = keeper(store)
    one.want("webhook", NAMES)
    one._keep()
    one.want("webhook", NAMES[:1])
    one._keep()
    assert mine(one) == {NAMES[0]}
    assert taken(store, "b", NAMES[1]) is None  # what works under it has not ended yet
    one.done_with(NAMES[1])
    assert taken(store, "b", NAMES[1]) is not None


def test_one_whose_work_does_not_end_runs_out_and_goes_to_another(store: Store) -> None:
    """Until then nobody else has it, and this process begins nothing under it; it is renewed no more."""
    stuck = keeper(store, lease_s=2.0)
    stuck.want("webhook", NAMES[:1])
    stuck._keep()
    stuck.want("webhook", [])
    stuck.let_run_out(NAMES[0])
    assert mine(stuck) == set()
    assert taken(store, "b", NAMES[0]) is None
    sleep(1.2)
    stuck._keep()
    sleep(1.0)
    assert taken(store, "b", NAMES[0]) is not None


def test_the_clock_is_the_databases(store: Store) -> None:
    """Within a second of this machine's, for both run on it."""
    with store.read() as tx:
        assert abs(tx.clock_us() - system_clock()) < 1_000_000
    assert on_postgres() or store.path is not None

"""The wrapping key is rotated in one process while others seal, stand still or know nothing of it: nothing is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.identity.day_keys import US_PER_DAY
from hub.identity.keys import make_key_file
from hub.identity.people import NewLink, link, person_of
from hub.identity.ring import open_ring
from hub.operations.steered import rotate_root_of
from hub.store.engine import Fences
from hub.store.postgres import PgStore
from hub.store.wrapped import rotation_of
from tests import stores
from tests.interleaving import Doing, doing_at, paused
from tests.two_processes import Two, piece, process, rotate, to_the_end, two, unreadable
from tests.webhook_world import Post


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Two]:
    with two(tmp_path) as made:
        yield made


def linked(post: Post, name: str) -> int:
    """Have a person come about in this process; returns them."""
    assert link(post.hub.register, "population-register", [NewLink("population-register", name, f"R-{name}", 3)])
    with post.hub.store.read() as tx:
        person = person_of(tx, post.hub.keys, "population-register", name)
    assert person is not None
    return person


def refusal(of: object) -> str:
    """Return the code that a call is refused by."""
    assert callable(of)
    with pytest.raises(HubError) as refused:
        of()
    return refused.value.code


def test_who_does_not_know_the_present_key_writes_nothing_and_knows_it_at_the_next_try(both: Two) -> None:
    """What it was about to write is refused before its work runs; nobody had told it."""
    former = both.other.hub.wrapping.present
    rotate(both.one.hub)
    ran: list[int] = []
    assert refusal(lambda: both.other.hub.store.write(lambda _tx: ran.append(1))) == "keys-changed"
    assert ran == []
    person = linked(both.other, "A")
    assert both.other.hub.wrapping.present == both.one.hub.wrapping.present != former
    assert both.one.hub.open_keys.of([person])


def test_a_write_that_names_its_fences_is_refused_as_well(both: Two) -> None:
    """Those are nearly all of the writes there are."""
    rotate(both.one.hub)
    assert refusal(lambda: both.other.hub.store.write(lambda _tx: 1, fences=Fences())) == "keys-changed"
    rotate_to_another = both.other.hub.store.submit(lambda _tx: 1, fences=Fences())  # and now it knows
    assert rotate_to_another.result() == 1


def test_who_heard_of_the_beginning_and_not_of_the_end_writes_nothing(both: Two) -> None:
    """It would go on sealing under the present key; but what it sealed before that is of a key that is destroyed."""
    rotate(both.one.hub)
    both.other.hub.news.hear()
    to_the_end(both.one)
    held = both.other.hub.wrapping.number
    assert refusal(lambda: linked(both.other, "A")) == "keys-changed"
    assert both.other.hub.wrapping.number == both.one.hub.wrapping.number == held + 1
    linked(both.other, "A")


def test_what_a_process_sealed_before_the_rotation_and_writes_after_its_end_is_not_lost(both: Two) -> None:
    """It stood still between the two, longer than any pause that the rotation makes, and had not heard of anything."""
    agency, day = _agency(both.other), both.clock() // US_PER_DAY + 1
    with paused("store.queued") as stalled:
        making = Doing(lambda: both.other.hub.day_keys.prepare([agency], day * US_PER_DAY))
        stalled.reached()
        rotate(both.one.hub)
        to_the_end(both.one)
        stalled.go()
        assert refusal(making.result) == "keys-changed"
    both.other.hub.day_keys.prepare([agency], day * US_PER_DAY)
    assert both.one.hub.day_keys.of(agency, day) is not None
    assert unreadable(both.one.hub) == unreadable(both.other.hub) == []


def test_nor_where_another_thread_of_it_has_learnt_the_new_key_meanwhile(both: Two) -> None:
    """The process may write again, but not what was sealed under a key that is destroyed."""
    agency, day = _agency(both.other), both.clock() // US_PER_DAY + 1
    with paused("store.queued") as stalled:
        making = Doing(lambda: both.other.hub.day_keys.prepare([agency], day * US_PER_DAY))
        stalled.reached()
        rotate(both.one.hub)
        to_the_end(both.one)
        both.other.hub.news.hear()
        linked(both.other, "A")
        stalled.go()
        assert refusal(making.result) == "keys-changed"
    assert unreadable(both.one.hub) == unreadable(both.other.hub) == []


def test_what_was_sealed_a_moment_before_the_rotation_is_stored_under_the_present_key(both: Two) -> None:
    """While both keys open, nobody has to do it again: it is sealed anew in the transaction."""
    agency, day = _agency(both.one), both.clock() // US_PER_DAY + 1
    with paused("store.queued") as stalled:
        making = Doing(lambda: both.one.hub.day_keys.prepare([agency], day * US_PER_DAY))
        stalled.reached()
        rotate(both.one.hub)
        while piece(both.one.hub):
            pass
        stalled.go()
        making.result()
    both.one.hub.wrapping.take(both.one.hub.wrapping.present, None, both.one.hub.wrapping.number + 1)
    assert unreadable(both.one.hub) == []


def test_who_never_wrote_reads_what_another_sealed_under_the_new_key(both: Two) -> None:
    """It finds that neither of its keys opens it, and reads them anew."""
    rotate(both.one.hub)
    to_the_end(both.one)
    person = linked(both.one, "A")
    assert both.other.hub.open_keys.of([person])


def test_the_process_that_rotates_does_not_refuse_itself(both: Two) -> None:
    """Another of its threads begins a write after the commit and before the key is in memory: it waits."""
    writing: list[Doing[int]] = []

    def write() -> None:
        writing.append(Doing(lambda: both.one.hub.store.write(lambda _tx: 7)))
        assert not writing[0].returned()

    with doing_at("wrapping.stored", write):
        rotate(both.one.hub)
    assert writing[0].result() == 7
    with doing_at("wrapping.destroyed", write):
        writing.clear()
        to_the_end(both.one)
    assert writing[0].result() == 7


def test_two_processes_that_wrap_anew_side_by_side_count_no_piece_twice(both: Two) -> None:
    """One stands between its look and its piece while the other goes on: what it saw is of no use any more."""
    for name in ("A", "B"):
        linked(both.one, name)
    rotate(both.one.hub)
    both.other.hub.news.hear()
    with paused("wrapping.looked") as looked:
        slow = Doing(lambda: piece(both.other.hub))
        looked.reached()
        for _ in range(3):
            piece(both.one.hub)
        with both.one.hub.store.read() as tx:
            before = rotation_of(tx)
        looked.go()
        assert slow.result()
    with both.one.hub.store.read() as tx:
        assert rotation_of(tx) == before
    to_the_end(both.other)
    both.one.hub.news.hear()
    assert both.one.hub.wrapping.former is None
    assert unreadable(both.one.hub) == unreadable(both.other.hub) == []


def test_either_process_may_rotate_next(both: Two) -> None:
    """Each time under the key of then, whoever made it; what was there before the first still opens at the end."""
    person = linked(both.one, "A")
    for post in (both.one, both.other, both.one):
        post.hub.news.hear()
        rotate(post.hub)
        to_the_end(post)
    both.other.hub.news.hear()
    assert both.other.hub.wrapping.present == both.one.hub.wrapping.present
    assert both.other.hub.open_keys.of([person]).keys() == both.one.hub.open_keys.of([person]).keys() == {person}
    assert unreadable(both.one.hub) == unreadable(both.other.hub) == []


def test_who_runs_with_the_former_root_fails_closed_once_a_key_is_made_that_it_cannot_open(
    both: Two, tmp_path: Path
) -> None:
    """The former file starts nothing any more; who runs with it goes on until the wrapping key is another."""
    make_key_file(tmp_path / "next.key")
    rotate_root_of(both.one.hub, tmp_path / "next.key")
    process(tmp_path, "third", both.clock).close()  # until a start with the new file either of them opens
    moved = process(tmp_path, "moved", both.clock, key_file=tmp_path / "next.key")
    try:
        assert refusal(lambda: process(tmp_path, "late", both.clock)) == "key-file-wrong"
        linked(both.other, "A")  # no secret has changed
        rotate(moved.hub)
        for _ in range(2):
            assert refusal(lambda: linked(both.other, "B")) == "keys-unknown"
        assert "present keys" in refused_words(both.other)
        linked(moved, "B")
        assert unreadable(moved.hub) == []
    finally:
        moved.close()


def test_two_first_starts_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    """Both find nothing and derive the same; the second one finds what the first has stored."""
    stores.server()
    root, dsn = b"r" * 32, stores.dsn_of(tmp_path / "hub.sqlite")
    first, second = PgStore(dsn), PgStore(dsn)
    try:
        with paused("store.queued") as stalled:
            opening = Doing(lambda: open_ring(first, root, lambda: 1))
            stalled.reached()
            ring = open_ring(second, root, lambda: 2)
            stalled.go()
            assert opening.result() == ring
        assert open_ring(first, root, lambda: 3) == ring
    finally:
        first.close()
        second.close()
        stores.drop_all()


def refused_words(post: Post) -> str:
    with pytest.raises(HubError) as refused:
        post.hub.news.hear()
    return refused.value.what


def _agency(post: Post) -> int:
    return post.hub.approved().agencies["population-register"].number

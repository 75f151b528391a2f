"""Open what a hand-out released, after its commit: the last step of every way out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hub.exchange.feed import Opened, cloud_event
from hub.exchange.world import World
from hub.identity.keys import Wrapping

BYTES_FRESH_S = 2  # between the commit of a hand-out and its first byte; a withdrawal in between was told of it
ELSEWHERE_S = BYTES_FRESH_S + 1  # after a commit no process begins bytes, nor opens by a key, of what was before it
BELIEVED_S = 2.5  # how long keys in memory count without a look at who was erased: shorter than the above


class Leaving(NamedTuple):
    """One delivery that may leave, and what its recipient gets."""

    opened: Opened
    event: dict[str, Any]


def open_all(world: World, opened: Sequence[Opened], wrapping: Wrapping) -> list[Leaving]:
    """Return each delivery with what its recipient gets. One whose person was erased since is left out: no key."""
    persons = sorted({part.person for one in opened for part in one.parts})
    keys = world.open_keys.of(persons)
    left = list(opened)
    if len(keys) < len(persons):
        left = [one for one in left if persons_in(one) <= keys.keys()]
    events = []
    for one in left:
        world.way.give()
        events.append(Leaving(one, cloud_event(one, keys, wrapping)))
    return events


def is_fresh(committed_us: int, now_us: int) -> bool:
    """Say whether bytes of a hand-out may still begin; later they are dropped, and come again."""
    return now_us - committed_us <= BYTES_FRESH_S * 1_000_000


def persons_in(one: Opened) -> set[int]:
    """Return whose data a delivery holds as it leaves."""
    return {part.person for part, fields in zip(one.parts, one.fields, strict=True) if fields}

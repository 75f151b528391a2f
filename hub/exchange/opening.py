"""Open a committed page into what the recipient reads, for ways out that are no answer to a request."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hub.exchange.feed import Opened, cloud_event
from hub.exchange.world import World
from hub.identity.keys import OpenKey
from hub.store.deliveries import Part


class Leaving(NamedTuple):
    """One delivery that may leave, and its cloud event."""

    opened: Opened
    event: dict[str, Any]


def open_page(world: World, wrapping: OpenKey, page: Sequence[Opened]) -> list[Leaving]:
    """Open each. Call it after the hand-out's commit. What is about somebody erased since is left out."""
    keys = world.open_keys.of(sorted({part.person for one in page for part in one.parts}))
    leaving = []
    for one in page:
        world.way.give()
        if all(part.person in keys for part in _used(one)):
            leaving.append(Leaving(one, cloud_event(one, keys, wrapping)))
    return leaving


def _used(one: Opened) -> list[Part]:
    return [part for part, fields in zip(one.parts, one.fields, strict=True) if fields]

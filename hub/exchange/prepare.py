"""Prepare a batch of events: which of them can be decided now, in which order, and what becomes of the others.

No I/O: everything it relies on comes in as facts, and comes out again as rows. The gate runs it before its transaction,
and again inside it when the facts have changed meanwhile. Ids are counted from 0 here and moved to their place there.
"""

from collections.abc import Callable, Sequence

from hub.core.errors import HubError
from hub.exchange.dead_letters import FORM, class_of
from hub.exchange.decide_event import decide_event
from hub.exchange.intake import POISON, Taken
from hub.exchange.prepared import Bench, Known, Prepared, nonces
from hub.exchange.rulings import Rulings
from hub.exchange.standing import Horizon
from hub.exchange.world import World


def prepare(
    world: World,
    batch: Sequence[Taken],
    known: Known,
    rulings: Rulings,
    *,
    give_way: Callable[[], None] = lambda: None,
) -> Prepared:
    """Decide every event of the batch on the facts given. Repeats are dropped, unlinked events parked in order.

    `give_way` is called between two events, where others may go first: outside a transaction.

    Under a catalogue that is not in force any more nothing is: it may not know who hears of an event now.
    """
    if known.rules.superseded(world.catalogue.digest):
        return Prepared(outdated=True)
    horizon = Horizon(world.clock(), world.zone)
    known = known._replace(
        aims=known.aims._replace(asks=dict(known.aims.asks))
    )  # an answered one is closed to the next
    scopes = {choice.scope for person in known.persons.values() for choice in person.choices.values()}
    field_sets = world.field_sets.of(scopes)
    bench = Bench(world, known, horizon, field_sets, rulings, nonces(), {}, {})
    out = Prepared()
    seen = dict(known.seen)
    here = {event.waiting for event in batch if event.waiting}
    elsewhere = {chain: min(set(ids) - here, default=0) for chain, ids in known.waiting.items()}
    ahead = {chain: first for chain, first in elsewhere.items() if first}  # the oldest that is not in this batch
    parked: set[tuple[bytes, int]] = set()
    for event in batch:
        give_way()
        if not event.waiting:
            earlier = seen.get(event.event)
            if earlier is not None:
                if earlier == event.content:
                    out.repeats += 1
                else:
                    out.conflicts.append(event)
                continue
            seen[event.event] = event.content
            out.seen.append((event.event, event.content))
        unlinked = _unlinked(event, known)
        chain = (event.subject, event.dataset.number)
        overtakes = chain in ahead and not 0 < event.waiting < ahead[chain]
        if unlinked is not None or chain in parked or overtakes:
            parked.add(chain)
            _park(event, unlinked, out)
            continue
        if not _decided(bench, event, out):
            parked.add(chain)
            continue
        if event.waiting:
            out.settled.append(event.waiting)
    for ruled in {id(one): one for one in out.ruled}.values():  # few: the same value for all events alike
        out.interned.update(ruled.interned)
    out.until_us = horizon.until_us
    return out


def _park(event: Taken, unlinked: bytes | None, out: Prepared) -> None:
    """Let an event wait for the id that is not linked, or where that is None for its turn."""
    if unlinked == POISON:
        out.letters.append((event.event, FORM))
        out.poisoned += 1
    if not event.waiting:
        out.parked.append((event, unlinked or event.subject))
    elif unlinked is not None:
        out.moved.append((event.waiting, unlinked))


def _decided(bench: Bench, event: Taken, out: Prepared) -> bool:
    """Decide one event; where that raises, take its rows back and park it: it stops its own chain and nobody else's."""
    before = out.sizes()
    try:
        decide_event(bench, event, out)
    except HubError:
        raise  # an engine is down: the whole batch waits on the bus
    except Exception as error:  # noqa: BLE001 - a defect met by one event must not hold up every other person's
        out.take_back(before)
        out.letters.append((event.event, class_of(error)))
        out.poisoned += 1
        if event.waiting:
            out.moved.append((event.waiting, POISON))
        else:
            out.parked.append((event, POISON))
        return False
    return True


def _unlinked(event: Taken, known: Known) -> bytes | None:
    """Return the hash of the first id that nobody has linked, or that is disputed; None when every person is known."""
    for local in event.locals:
        link = known.links.get(local)
        if link is None or link.disputed:
            return local
    return None

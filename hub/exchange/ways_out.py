"""What every way out needs in the store: acts on record, notices to the agency, and deliveries given back unsent."""

from collections.abc import Collection, Mapping, Sequence

from hub.core.leaf import LeafKind
from hub.exchange.notices import put_notice
from hub.exchange.turns import WHOLE, Turn
from hub.exchange.world import World
from hub.identity.keys import keyed
from hub.store.audit import Salt, add_act
from hub.store.deliveries import QueueState
from hub.store.engine import Fences, Tx, marks
from hub.store.facts import RECIPIENT_LOCK
from hub.store.outside import Act
from hub.store.postponed import any_postponed, put_off, settled, take_all

OUTSIDE = ("webhook.registered", "webhook.removed")


def note_act(tx: Tx, salt: Salt, said: Mapping[str, object], *, now_us: int) -> int:
    """Write an act's audit row; returns its id. The detail is in the clear: it is about an agency, and names nobody."""
    if said["act"] in OUTSIDE:  # a backup must not post to where an agency is no more
        tx.outside.note(Act("webhook", str(said["agency"]), now_us))
    return add_act(tx, LeafKind.WAY_OUT, said, at_us=now_us, salt=salt)


def tell_agency(world: World, tx: Tx, agency: str, text: Mapping[str, object], *, audit: int, now_us: int) -> None:
    """Lay a notice into an agency's feed. It is named by the audit row of what it tells."""
    recipient = world.catalogue.agencies[agency].number
    public = keyed(world.keys.delivery, "notice", str(audit), agency)
    put_notice(world, tx, text, public, recipient, audit=audit, now_us=now_us)


def give_back(
    world: World, recipient: int, due_us: Mapping[int, int], *, taken: Collection[int] = (), turn: Turn = WHOLE
) -> None:
    """Let deliveries that were opened and not sent, or not taken, come again at the given instants, by their numbers.

    They stay opened: what was decided is on record, keeps its number, and is decided again when it comes. Those with
    an instant other than 0 are noted as put off, for a pull; those in `taken` no longer are. Raises LeaseLost.
    """
    at: dict[int, list[int]] = {}
    for number, moment_us in due_us.items():
        at.setdefault(moment_us, []).append(number)
    at_once = {*taken, *at.get(0, ())}

    def transaction(tx: Tx) -> None:
        turn.check(tx)
        for moment_us, numbers in at.items():
            _come_again(tx, recipient, numbers, moment_us)
        settled(tx, recipient, at_once)
        put_off(tx, recipient, due_us.keys() - at_once)

    fences = Fences(relies=turn.relies(), changes=[(RECIPIENT_LOCK, recipient)])
    world.store.write(transaction, group=True, rows=len(due_us), fences=fences)


def let_pull(world: World, agency: str) -> None:
    """Let a pull have at once what waits for a later try of the webhook, whichever process has put it off."""
    recipient = world.catalogue.agencies[agency].number
    with world.store.read() as tx:
        if not any_postponed(tx, recipient):
            return

    def transaction(tx: Tx) -> None:
        if numbers := take_all(tx, recipient):
            _come_again(tx, recipient, numbers, 0)

    world.store.write(transaction, group=True, fences=Fences(changes=[(RECIPIENT_LOCK, recipient)]))


def _come_again(tx: Tx, recipient: int, numbers: Sequence[int], at_us: int) -> None:
    tx.run(
        "UPDATE queue SET due_us = ? WHERE recipient = ? AND state = ? AND delivery IN"
        f" (SELECT delivery FROM handout WHERE recipient = ? AND number IN ({marks(len(numbers))}))",
        (at_us, recipient, QueueState.OPENED.value, recipient, *numbers),
    )


def opened_until(world: World, recipient: int, turn: Turn = WHOLE) -> list[tuple[int, int, int]]:
    """List (person, number, due) of what was opened, is not acknowledged and not due: nothing of it may be passed."""
    share, values = turn.narrowing("person")
    with world.store.read() as tx:
        return [
            (person, number, due_us)
            for person, number, due_us in tx.rows(
                f"SELECT person, number, due_us FROM queue WHERE recipient = ? AND state = ? AND due_us > ?{share}",
                (recipient, QueueState.OPENED.value, world.clock(), *values),
            )
        ]


def is_due(world: World, recipient: int, turn: Turn = WHOLE) -> bool:
    """Look, without a transaction, whether a hand-out might find anything."""
    share, values = turn.narrowing("person")
    found = f"SELECT 1 FROM queue WHERE recipient = ? AND state = ?{share}"
    ready, later = ((recipient, one.value, *values) for one in (QueueState.READY, QueueState.LATER))
    opened = (recipient, QueueState.OPENED.value, *values, world.clock())
    with world.store.read() as tx:
        return bool(
            tx.rows(f"{found} UNION ALL {found} UNION ALL {found} AND due_us <= ? LIMIT 1", (*ready, *later, *opened))
        )

"""What every way out needs in the store: acts on record, notices to the agency, and deliveries given back unsent."""

from collections.abc import Mapping

from hub.core.leaf import LeafKind
from hub.exchange.notices import put_notice
from hub.exchange.world import World
from hub.identity.keys import keyed
from hub.store.audit import Salt, add_act
from hub.store.deliveries import QueueState
from hub.store.engine import Fences, Tx, marks
from hub.store.facts import RECIPIENT_LOCK


def note_act(tx: Tx, salt: Salt, said: Mapping[str, object], *, now_us: int) -> int:
    """Write an act's audit row; returns its id. The detail is in the clear: it is about an agency, and names nobody."""
    return add_act(tx, LeafKind.WAY_OUT, said, at_us=now_us, salt=salt)


def tell_agency(world: World, tx: Tx, agency: str, text: Mapping[str, object], *, audit: int, now_us: int) -> None:
    """Lay a notice into an agency's feed. It is named by the audit row of what it tells."""
    recipient = world.catalogue.agencies[agency].number
    public = keyed(world.keys.delivery, "notice", str(audit), agency)
    put_notice(world, tx, text, public, recipient, audit=audit, now_us=now_us)


def give_back(world: World, recipient: int, due_us: Mapping[int, int]) -> None:
    """Let deliveries that were opened and not sent, or not taken, come again at the given instants, by their numbers.

    They stay opened: what was decided is on record, keeps its number, and is decided again when it comes.
    """
    at: dict[int, list[int]] = {}
    for number, moment_us in due_us.items():
        at.setdefault(moment_us, []).append(number)

    def transaction(tx: Tx) -> None:
        for moment_us, numbers in at.items():
            tx.run(
                "UPDATE queue SET due_us = ? WHERE recipient = ? AND state = ? AND delivery IN"
                f" (SELECT delivery FROM handout WHERE recipient = ? AND number IN ({marks(len(numbers))}))",
                (moment_us, recipient, QueueState.OPENED.value, recipient, *numbers),
            )

    world.store.write(transaction, group=True, rows=len(due_us), fences=Fences(changes=[(RECIPIENT_LOCK, recipient)]))


def opened_until(world: World, recipient: int) -> list[tuple[int, int, int]]:
    """List (person, number, due) of what was opened, is not acknowledged and not due: nothing of it may be passed."""
    with world.store.read() as tx:
        return [
            (person, number, due_us)
            for person, number, due_us in tx.rows(
                "SELECT person, number, due_us FROM queue WHERE recipient = ? AND state = ? AND due_us > ?",
                (recipient, QueueState.OPENED.value, world.clock()),
            )
        ]


def is_due(world: World, recipient: int) -> bool:
    """Look, without a transaction, whether a hand-out might find anything."""
    with world.store.read() as tx:
        return bool(
            tx.rows(
                "SELECT 1 FROM queue WHERE recipient = ? AND state = ? UNION ALL"
                " SELECT 1 FROM queue WHERE recipient = ? AND state = ? UNION ALL"
                " SELECT 1 FROM queue WHERE recipient = ? AND state = ? AND due_us <= ? LIMIT 1",
                (
                    recipient,
                    QueueState.READY.value,
                    recipient,
                    QueueState.LATER.value,
                    recipient,
                    QueueState.OPENED.value,
                    world.clock(),
                ),
            )
        )

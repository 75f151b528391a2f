"""What webhooks could not deliver and will try again later: a pull may have it at once, whatever process it meets.

A row of what was settled otherwise meanwhile does no harm: only what is opened still is given back.
"""

from collections.abc import Collection

from hub.store.deliveries import QueueState
from hub.store.engine import Tx, marks


def put_off(tx: Tx, recipient: int, numbers: Collection[int]) -> None:
    """Note that these will be tried again later."""
    tx.insert("postponed(recipient, number)", [(recipient, one) for one in sorted(numbers)], or_ignore=True)


def settled(tx: Tx, recipient: int, numbers: Collection[int]) -> None:
    """Forget these: they were taken, or come again at once."""
    if numbers:
        tx.run(
            f"DELETE FROM postponed WHERE recipient = ? AND number IN ({marks(len(numbers))})",
            (recipient, *sorted(numbers)),
        )


def postponed(tx: Tx, recipient: int) -> list[tuple[int, int]]:
    """List (number, person) of what waits for a later try."""
    return [
        (number, person)
        for number, person in tx.rows(
            "SELECT p.number, q.person FROM postponed p JOIN handout h ON h.recipient = p.recipient"
            " AND h.number = p.number JOIN queue q ON q.recipient = p.recipient AND q.delivery = h.delivery"
            " WHERE p.recipient = ? AND q.state = ? ORDER BY p.number",
            (recipient, QueueState.OPENED.value),
        )
    ]


def any_postponed(tx: Tx, recipient: int) -> bool:
    return tx.one("SELECT 1 FROM postponed WHERE recipient = ? LIMIT 1", (recipient,)) is not None


def take_all(tx: Tx, recipient: int) -> list[int]:
    """Empty the list; returns the numbers that were on it."""
    numbers = [number for (number,) in tx.rows("SELECT number FROM postponed WHERE recipient = ?", (recipient,))]
    if numbers:
        tx.run("DELETE FROM postponed WHERE recipient = ?", (recipient,))
    return numbers

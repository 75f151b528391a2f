"""What one process of a hub changes and the others keep in memory: a number per topic, in the store they share.

Whoever changes such a thing adds one to its topic's number, in the same transaction. Whoever keeps it compares numbers,
and reads anew what has another one than it had. A number says that something changed, never what.
"""

from enum import IntEnum

from hub.store.engine import Tx


class Topic(IntEnum):
    """What processes keep in memory. Numbers are stored: none is ever given to another topic."""

    CATALOGUE = 1  # the catalogue in force, and the policy revision
    AGENCY_KEYS = 2  # what agencies sign in with
    TOKEN_KEYS = 3  # what access tokens are signed with
    WRAPPING = 4  # the wrapping key: read at the begin of every write (`hub/store/postgres.py`)
    ERASED = 5  # persons whose keys are destroyed
    SEALING_KEYS = 6  # what payloads are sealed to
    DAY_KEYS = 7  # publishers' keys of days, when they are destroyed


def tell(tx: Tx, topic: Topic) -> int:
    """Say that something of this topic changes with this transaction; returns the number that it has then."""
    rows = tx.rows(
        "INSERT INTO news(topic, number) VALUES (?, 1) ON CONFLICT(topic) DO UPDATE SET number = news.number + 1"
        " RETURNING number",
        (topic.value,),
    )
    return int(rows[0][0])


def numbers(tx: Tx) -> dict[Topic, int]:
    """Return every topic's number; 0 where nothing of it ever changed."""
    told: dict[int, int] = dict(tx.rows("SELECT topic, number FROM news"))
    return {topic: told.get(topic.value, 0) for topic in Topic}


def number_of(tx: Tx, topic: Topic) -> int:
    row = tx.one("SELECT number FROM news WHERE topic = ?", (topic.value,))
    return int(row[0]) if row else 0

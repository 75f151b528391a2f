"""Forget asks that ended long ago: about whom, for what, how it ended.

What somebody may still name stays as a bare row, state FORGOTTEN: a provider has seen its id, and its asker may send
its own id again, which must not stand for another question under a name that the provider has dealt with. What no
provider ever saw is deleted, and so is a person's own, whose id is random.

An answered ask under a request that is good for one answer stays whole while its grant runs: it is what says that the
grant is used. A correction of an answer needs no ask, for the answer's own delivery says what was asked for.
"""

from collections.abc import Collection, Sequence

from hub.store.aims import AskState
from hub.store.asks import THE_PERSON
from hub.store.deliveries import QueueState
from hub.store.engine import Tx, marks
from hub.store.facts import CHOICE_STATES

ENDS_A_GRANT = tuple(CHOICE_STATES.index(name) for name in ("withdrawn", "expired", "terminated", "invalidated"))
STATES = ",".join(str(state.value) for state in QueueState)


def _over(freely: Collection[int]) -> str:
    """Say which they are, by (after which id, closed before when, *freely); `freely`: see `next_over`."""
    return (
        f"FROM ask a WHERE a.id > ? AND a.state BETWEEN {AskState.ANSWERED.value} AND {AskState.EXPIRED.value}"
        " AND a.closed_us < ? AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.recipient = a.provider"
        f" AND q.state IN ({STATES}) AND q.delivery = a.question)"
        f" AND NOT (a.state = {AskState.ANSWERED.value} AND a.subscription NOT IN ({marks(len(freely))})"
        " AND EXISTS (SELECT 1 FROM choice c WHERE c.person = a.person AND c.recipient = a.asker"
        f" AND c.stretch = a.stretch AND c.state NOT IN ({','.join(map(str, ENDS_A_GRANT))})))"
    )


def left_to_forget(tx: Tx, before_us: int, freely: Collection[int]) -> int:
    """Count asks that were closed before a moment and can be forgotten."""
    row = tx.one(f"SELECT count(*) {_over(freely)}", (0, before_us, *sorted(freely)))
    return int(row[0]) if row else 0


def next_over(tx: Tx, before_us: int, freely: Collection[int], *, after: int, limit: int) -> list[int]:
    """Find up to `limit` of them behind an id. `freely`: subscriptions that may be asked on any number of times."""
    sql = f"SELECT a.id {_over(freely)} ORDER BY a.id LIMIT ?"
    return [row[0] for row in tx.rows(sql, (after, before_us, *sorted(freely), limit))]


def forget(tx: Tx, ids: Sequence[int], before_us: int, freely: Collection[int]) -> int:
    """Forget those of them that are still over; returns how many."""
    sql = f"SELECT a.id {_over(freely)} AND a.id IN ({marks(len(ids))})"
    over = [row[0] for row in tx.rows(sql, (0, before_us, *sorted(freely), *ids))]
    if not over:
        return 0
    which = f"id IN ({marks(len(over))})"
    tx.run(f"DELETE FROM ask WHERE {which} AND (question = 0 OR asker = {THE_PERSON})", over)
    tx.run(
        f"UPDATE ask SET state = {AskState.FORGOTTEN.value}, provider = 0, dataset = 0, subscription = 0, person = 0,"
        " fields = 0, asks = 0, question = 0, stretch = 0, asked_us = 0, deadline_us = 0, closed_us = 0,"
        f" reasons = NULL, tags = x'', answer = NULL WHERE {which}",
        over,
    )
    return len(over)


def is_forgotten(tx: Tx, public: bytes) -> bool:
    """Say whether an ask of this id was there, and is forgotten."""
    return tx.one("SELECT 1 FROM ask WHERE public = ? AND state = ?", (public, AskState.FORGOTTEN.value)) is not None

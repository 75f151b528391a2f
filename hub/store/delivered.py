"""Empty what was delivered long ago: the payload goes, the row stays.

`delivery` is insert-only but for this. A correction finds a recipient by the row's id, and a person's history names the
fields from `parts`; neither needs the bytes. Deleting the row would break both, and destroying a key would need one per
delivery from the beginning: so the bytes are overwritten (`secure_delete`), a piece at a time.
Ids grow with time, so what is old enough ends at one id, found by halving.
"""

from hub.store.deliveries import QueueState
from hub.store.engine import Store, Tx, marks
from hub.store.operations import fact, put_fact

EMPTIED = "delivered_emptied"  # every delivery up to this id is empty
STATES = tuple(state.value for state in QueueState)
_LEFT = (
    "FROM delivery d WHERE d.id > ? AND d.id <= ? AND length(d.payload) > 0 AND NOT EXISTS (SELECT 1 FROM queue q"
    f" WHERE q.recipient = d.recipient AND q.state IN ({','.join(map(str, STATES))}) AND q.delivery = d.id)"
)


def left_to_empty(tx: Tx, before_us: int) -> int:
    """Count deliveries decided before a moment that stand on no queue and still hold their payload."""
    row = tx.one(f"SELECT count(*) {_LEFT}", (_emptied(tx), _last_before(tx, before_us)))
    return int(row[0]) if row else 0


def next_to_empty(store: Store, before_us: int, limit: int) -> list[int]:
    """Find up to `limit` of them, oldest first, beside everybody else's work."""
    with store.read() as tx:
        values = (_emptied(tx), _last_before(tx, before_us), limit)
        return [row[0] for row in tx.rows(f"SELECT d.id {_LEFT} ORDER BY d.id LIMIT ?", values)]


def empty(tx: Tx, ids: list[int]) -> int:
    """Overwrite the payloads of those that still stand on no queue; returns how many."""
    first, last = min(ids) - 1, max(ids)
    left = [row[0] for row in tx.rows(f"SELECT d.id {_LEFT} AND d.id IN ({marks(len(ids))})", (first, last, *ids))]
    return tx.run(f"UPDATE delivery SET payload = x'' WHERE id IN ({marks(len(left))})", left) if left else 0


def note_emptied(tx: Tx, before_us: int) -> None:
    """Remember where the first one stands that is not empty, so that the next run begins there."""
    last = _last_before(tx, before_us)
    row = tx.one("SELECT min(id) FROM delivery WHERE id > ? AND id <= ? AND length(payload) > 0", (_emptied(tx), last))
    assert row is not None
    put_fact(tx, EMPTIED, str(last if row[0] is None else row[0] - 1))


def _emptied(tx: Tx) -> int:
    return int(fact(tx, EMPTIED) or 0)


def _last_before(tx: Tx, before_us: int) -> int:
    """Return the last delivery that was decided before a moment; 0 where none was."""
    row = tx.one("SELECT coalesce(max(id), 0) FROM delivery")
    assert row is not None
    low, high = 0, int(row[0])  # all up to `low` are older; none above `high` is
    while low < high:
        middle = (low + high + 1) // 2
        found = tx.one(
            "SELECT a.at_us FROM delivery d JOIN audit a ON a.id = d.audit WHERE d.id <= ? ORDER BY d.id DESC LIMIT 1",
            (middle,),
        )
        if found is None or found[0] < before_us:
            low = middle
        else:
            high = middle - 1
    return low

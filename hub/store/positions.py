"""How far each partition is decided. It moves only from where its owner read it; else there is a newer owner."""

from collections.abc import Sequence

from hub.ports import Owned
from hub.store.engine import Tx


class Superseded(Exception):
    """Zero rows matched: another owner, or another commit, was first. The transaction rolls back; nothing is lost."""


def advance(tx: Tx, owned: Sequence[Owned]) -> None:
    """Move positions inside the decision's transaction. Raises Superseded where owner epoch or old offset differ.

    In one statement for as many partitions as a batch comes from: few texts, and one wait.
    """
    if not owned:
        return
    each = ["partition = ? AND epoch = ? AND next = ?"] * len(owned)
    at = [value for part in owned for value in (part.partition, part.epoch, part.first)]
    moves = " ".join(["WHEN ? THEN ?"] * len(owned))
    to = [value for part in owned for value in (part.partition, part.next)]
    moved = tx.run(f"UPDATE position SET next = CASE partition {moves} END WHERE {' OR '.join(each)}", [*to, *at])
    if moved != len(owned):
        raise Superseded(", ".join(part.partition for part in owned))


def own(tx: Tx, partition: str) -> tuple[int, int]:
    """Take a partition over: raise its epoch, so that a former owner's commit matches no row. Returns (epoch, next)."""
    tx.run(
        "INSERT INTO position(partition, epoch, next) VALUES (?, 1, 0)"
        " ON CONFLICT(partition) DO UPDATE SET epoch = position.epoch + 1",
        (partition,),
    )
    row = tx.one("SELECT epoch, next FROM position WHERE partition = ?", (partition,))
    assert row is not None
    return row[0], row[1]

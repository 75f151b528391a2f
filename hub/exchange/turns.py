"""Whose turn it is: the share of a recipient's deliveries that one sender hands out, and the lease that says so.

Persons are shared out by their internal id, so one person's deliveries have one sender and stay in order. A pull has no
turn: it takes what there is, and the recipient's lock keeps two of them apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hub.store.engine import Key, Tx
from hub.store.leases import Lease, check, lease_key


class Turn(NamedTuple):
    """One sender's share. Without a lease nobody else can send: the hub is one process."""

    shard: int = 0
    shards: int = 1
    lease: Lease | None = None

    def narrowing(self, column: str) -> tuple[str, Sequence[int]]:
        """Return what a query is narrowed by to persons of this share, and its values; nothing for the whole."""
        if self.shards == 1:
            return "", ()
        return f" AND {column} % ? = ?", (self.shards, self.shard)

    def relies(self) -> Sequence[Key]:
        """Name the fence that keeps the lease where it is until the commit."""
        return () if self.lease is None else (lease_key(self.lease.name),)

    def check(self, tx: Tx) -> None:
        """Make sure in a transaction that it still is this sender's turn. Raises LeaseLost."""
        if self.lease is not None:
            check(tx, self.lease)


WHOLE = Turn()

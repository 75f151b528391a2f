"""Leases: what one process alone may do now. Whoever was silent for too long loses it, and can tell.

Instants are the database's clock's, so clocks of several machines need not agree. A lease has an epoch that grows with
each taking. Who works under one looks in its own transaction whether it is still theirs (`check`), under a fence that
excludes a taking until the commit: what a former owner begins after the taking commits nothing, however long it slept.
Names are `kind`, `kind/subject`, or `kind/subject/shards/shard`; the fence is the subject's.
"""

from collections.abc import Collection
from hashlib import blake2b
from typing import NamedTuple

from hub.core.errors import HubError, Kind
from hub.store.engine import Fences, Key, Tx
from hub.store.facts import LEASE_LOCK

AFTER = "0"  # the character after "/": what lies between the two begins with "/"


class Lease(NamedTuple):
    """One that was taken. It is the owner's as long as the row says so."""

    name: str
    owner: str
    epoch: int


class LeaseLost(HubError):
    """Another process does this now. The transaction rolls back; nothing is lost, for the other one goes on."""

    def __init__(self) -> None:
        super().__init__(
            Kind.CONFLICT, "another process does this now", remedy="Nothing is to be done.", code="lease-lost"
        )


def lease_key(name: str) -> Key:
    """Name the fence of a lease: the same for all shards of one subject, however many there are."""
    subject = "/".join(name.split("/")[:2])
    return LEASE_LOCK, int.from_bytes(blake2b(subject.encode(), digest_size=7).digest())


def taking(name: str) -> Fences:
    """Name what a taking changes: nothing of the subject is handed out meanwhile."""
    return Fences(changes=[lease_key(name)])


def take(tx: Tx, name: str, owner: str, *, lease_us: int) -> Lease | None:
    """Take a lease that nobody has, or that its owner let run out; None where somebody has it. Under `taking`.

    A subject that is divided by another number of shards is taken as long as one of those shards is: one person would
    stand in two. What has run out of that division is ended, so that its former owner notices too.
    """
    now_us = tx.clock_us()
    others = _other_divisions(tx, name)
    if any(until_us > now_us for _, until_us in others):
        return None
    for other, _ in others:
        tx.run("UPDATE lease SET owner = '', epoch = epoch + 1 WHERE name = ? AND owner <> ''", (other,))
    done = tx.run(
        "INSERT INTO lease(name, owner, epoch, until_us) VALUES (?, ?, 1, ?)"
        " ON CONFLICT(name) DO UPDATE SET owner = excluded.owner, epoch = lease.epoch + 1,"
        " until_us = excluded.until_us WHERE lease.until_us <= ?",
        (name, owner, now_us + lease_us, now_us),
    )
    if not done:
        return None
    row = tx.one("SELECT epoch FROM lease WHERE name = ?", (name,))
    assert row is not None
    return Lease(name, owner, row[0])


def renew(tx: Tx, leases: Collection[Lease], *, lease_us: int) -> set[Lease]:
    """Keep these for as long again; returns those that are still their owner's: nobody took one that ran out, too."""
    kept = set()
    until_us = tx.clock_us() + lease_us
    for one in sorted(leases):
        if tx.run("UPDATE lease SET until_us = ? WHERE name = ? AND owner = ? AND epoch = ?", (until_us, *one)):
            kept.add(one)
    return kept


def release(tx: Tx, leases: Collection[Lease]) -> None:
    """Give them up, so that nobody has to wait."""
    for one in sorted(leases):
        tx.run("UPDATE lease SET owner = '', until_us = 0 WHERE name = ? AND owner = ? AND epoch = ?", one)


def check(tx: Tx, lease: Lease) -> None:
    """Make sure that it is still its owner's, in a transaction that relies on its `lease_key`. Raises LeaseLost."""
    if tx.one("SELECT 1 FROM lease WHERE name = ? AND owner = ? AND epoch = ?", lease) is None:
        raise LeaseLost


def live(tx: Tx) -> set[str]:
    """Name those that somebody has now: nobody need try to take them."""
    return {str(name) for (name,) in tx.rows("SELECT name FROM lease WHERE until_us > ?", (tx.clock_us(),))}


def _other_divisions(tx: Tx, name: str) -> list[tuple[str, int]]:
    """List (name, until) of the shards that the same subject has where it is divided by another number."""
    parts = name.split("/")
    if len(parts) < len(("kind", "subject", "shards", "shard")):
        return []
    subject, mine = "/".join(parts[:2]), "/".join(parts[:3]) + "/"
    rows = tx.rows("SELECT name, until_us FROM lease WHERE name > ? AND name < ?", (subject + "/", subject + AFTER))
    return [(other, until_us) for other, until_us in rows if not other.startswith(mine)]

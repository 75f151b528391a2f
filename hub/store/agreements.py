"""Suspend, resume and end an agreement: facts of the store, under the agreement's fence, effective when they return.

They are not part of the policy revision: a new version of the catalogue leaves a suspension as it is. Queues are left
alone; every hand-out decides again under the same fence, and cancels or holds what the agreement no longer carries.
"""

import os
from collections.abc import Callable

from hub.core.errors import HubError, Kind
from hub.core.leaf import NONCE_BYTES, LeafKind, canonical, commitment, leaf
from hub.ports import Clock
from hub.store.audit import add_audit
from hub.store.engine import Lane, Store, Tx
from hub.store.facts import AGREEMENT_FENCE, raise_fence

Salt = Callable[[bytes], bytes]
"""Makes the salt of an audit row's commitment from the row's nonce; the hub's own leaf key stands behind it."""

MOVES = {  # an ended agreement stays ended: what comes after it is a new one, with signatures of its own
    "suspend": (frozenset({"in_force"}), "suspended"),
    "resume": (frozenset({"suspended"}), "in_force"),
    "end": (frozenset({"in_force", "suspended", "unsigned"}), "ended"),
}


def suspend(store: Store, number: int, *, clock: Clock, salt: Salt) -> int:
    """Stop every release under an agreement; returns the audit row. Once this has returned, none commits any more.

    Raises HubError: NOT_FOUND where no such agreement was approved, CONFLICT where it is not in force.
    """
    return _move(store, number, "suspend", clock, salt)


def resume(store: Store, number: int, *, clock: Clock, salt: Salt) -> int:
    """Let a suspended agreement go on. What was refused meanwhile stays refused. Raises like `suspend`."""
    return _move(store, number, "resume", clock, salt)


def end(store: Store, number: int, *, clock: Clock, salt: Salt) -> int:
    """End an agreement for good. Raises like `suspend`."""
    return _move(store, number, "end", clock, salt)


def phase_of(tx: Tx, number: int) -> str:
    """Name an agreement's phase; "" where none of this number was approved."""
    row = tx.one("SELECT phase FROM agreement_state WHERE number = ?", (number,))
    return "" if row is None else str(row[0])


def _move(store: Store, number: int, act: str, clock: Clock, salt: Salt) -> int:
    def transaction(tx: Tx) -> int:
        phase, (before, after) = phase_of(tx, number), MOVES[act]
        if not phase:
            raise HubError(
                Kind.NOT_FOUND, "no such agreement", remedy="See `hub catalogue check`.", code="agreement-unknown"
            )
        if phase not in before:
            raise HubError(
                Kind.CONFLICT,
                f"the agreement is {phase.replace('_', ' ')}; {act} is not possible",
                remedy="Nothing was changed.",
                code="agreement-phase",
            )
        epoch, now_us = raise_fence(tx, AGREEMENT_FENCE, number), clock()
        tx.run("UPDATE agreement_state SET phase = ?, since_us = ? WHERE number = ?", (after, now_us, number))
        return _record(tx, {"act": act, "agreement": number, "from": phase, "to": after}, epoch, now_us, salt)

    return store.write(transaction, lane=Lane.URGENT)


def _record(tx: Tx, said: dict[str, object], epoch: int, now_us: int, salt: Salt) -> int:
    """Write the act's audit row. Its detail is in the clear: it is about an agreement, and names no person."""
    nonce, body = os.urandom(NONCE_BYTES), canonical(said)
    row_leaf = leaf(LeafKind.SUSPENSION, at_us=now_us, nonce=nonce, commitments=[commitment(salt(nonce), b"", body)])
    fences = canonical({"agreements": {str(said["agreement"]): epoch}})
    return add_audit(tx, LeafKind.SUSPENSION, at_us=now_us, leaf=row_leaf, detail=body, fences=fences)

"""Suspend, resume and end an agreement: facts of the store, under the agreement's fence, effective when they return.

They are not part of the policy revision: a new version of the catalogue leaves a suspension as it is. Queues are left
alone; every hand-out decides again under the same fence, and cancels or holds what the agreement no longer carries.

An agreement's phase follows from three facts: it was ended, or somebody keeps it suspended, or both sides have signed
it as it stands (`hub/store/signatures.py`). A suspension is theirs who made it: of either side, of both, or the
operator's; it is in force again when none is left. A whole agency is suspended by the operator alone.
"""

from collections.abc import Mapping

from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.ports import Clock
from hub.store.audit import Salt, add_act
from hub.store.engine import Lane, Store, Tx
from hub.store.facts import AGENCY_FENCE, AGREEMENT_FENCE, raise_fence
from hub.store.outside import Act

OPERATOR = 0  # stands where an agency's number would: agencies are numbered from 1
ACTS = ("suspend", "resume", "end")


def suspend(store: Store, number: int, *, clock: Clock, salt: Salt, by: int = OPERATOR) -> int:
    """Stop every release under an agreement; returns the audit row. Once this has returned, none commits any more.

    Raises HubError: NOT_FOUND where no such agreement was approved, CONFLICT where it ended, or `by` suspended it.
    """
    return _move(store, number, "suspend", clock, salt, by)


def resume(store: Store, number: int, *, clock: Clock, salt: Salt, by: int = OPERATOR) -> int:
    """Take the suspension back that `by` made. What was refused meanwhile stays refused.

    Raises like `suspend`, and CONFLICT where `by` made none.
    """
    return _move(store, number, "resume", clock, salt, by)


def end(store: Store, number: int, *, clock: Clock, salt: Salt, by: int = OPERATOR) -> int:
    """End an agreement for good; after it comes a new one, with signatures of its own. Raises like `suspend`."""
    return _move(store, number, "end", clock, salt, by)


def suspend_agency(store: Store, number: int, *, clock: Clock, salt: Salt) -> int:
    """Stop every release from and to an agency, like `suspend`. Raises HubError(CONFLICT) where it is suspended."""
    return _move_agency(store, number, 1, clock, salt)


def resume_agency(store: Store, number: int, *, clock: Clock, salt: Salt) -> int:
    """Let an agency take part again. Raises HubError(CONFLICT) where it is not suspended."""
    return _move_agency(store, number, 0, clock, salt)


def phase_of(tx: Tx, number: int) -> str:
    """Name an agreement's phase; "" where none of this number was approved."""
    row = tx.one("SELECT phase FROM agreement_state WHERE number = ?", (number,))
    return "" if row is None else str(row[0])


def suspended_by(tx: Tx, number: int) -> dict[int, int]:
    """Read who keeps an agreement suspended, and since when."""
    return dict(
        tx.rows("SELECT agency, since_us FROM agreement_suspension WHERE agreement = ? ORDER BY since_us", (number,))
    )


def settle(tx: Tx, number: int, *, signed: bool, now_us: int) -> tuple[str, str]:
    """Say whether both sides have signed an agreement as it stands; returns its phase before and after.

    An ended one stays ended. The caller has raised the fence where the two differ, and writes the audit row.
    """
    before = phase_of(tx, number)
    if before == "ended":
        return before, before
    after = "suspended" if suspended_by(tx, number) else "in_force" if signed else "unsigned"
    tx.run(
        "INSERT INTO agreement_state(number, phase, since_us, signed) VALUES (?, ?, ?, ?) ON CONFLICT(number) DO UPDATE"
        " SET since_us = CASE WHEN agreement_state.phase = excluded.phase THEN agreement_state.since_us"
        " ELSE excluded.since_us END, phase = excluded.phase, signed = excluded.signed",
        (number, after, now_us, int(signed)),
    )
    return before, after


def record(
    tx: Tx, kind: LeafKind, said: Mapping[str, object], fences: Mapping[str, object], now_us: int, salt: Salt
) -> int:
    """Write an act's audit row. Its detail is in the clear: it is about agreements and keys, and names no person."""
    return add_act(tx, kind, said, at_us=now_us, salt=salt, fences=fences)


def _move(store: Store, number: int, act: str, clock: Clock, salt: Salt, by: int) -> int:
    def transaction(tx: Tx) -> int:
        phase, standing = phase_of(tx, number), suspended_by(tx, number)
        _refuse(act, phase, standing, by)
        epoch, now_us = raise_fence(tx, AGREEMENT_FENCE, number), clock()
        if act != "resume":
            tx.outside.note(Act("agreement", str(number), now_us))
        if act == "end":
            tx.run("UPDATE agreement_state SET phase = 'ended', since_us = ? WHERE number = ?", (now_us, number))
            after = "ended"
        else:
            if act == "suspend":
                tx.insert("agreement_suspension(agreement, agency, since_us)", [(number, by, now_us)])
            else:
                tx.run("DELETE FROM agreement_suspension WHERE agreement = ? AND agency = ?", (number, by))
            _, after = settle(tx, number, signed=_is_signed(tx, number), now_us=now_us)
        said = {"act": act, "agreement": number, "by": by, "from": phase, "to": after}
        return record(tx, LeafKind.SUSPENSION, said, {"agreements": {str(number): epoch}}, now_us, salt)

    return store.write(transaction, lane=Lane.URGENT)


def _refuse(act: str, phase: str, standing: Mapping[int, int], by: int) -> None:
    """Refuse what is not possible, in words. Raises HubError NOT_FOUND, CONFLICT."""
    if not phase:
        raise HubError(
            Kind.NOT_FOUND, "no such agreement", remedy="See `hub catalogue check`.", code="agreement-unknown"
        )
    if phase == "ended":
        raise _conflict(f"the agreement is ended; {act} is not possible", "agreement-phase")
    if act == "suspend" and by in standing:
        raise _conflict("the agreement is suspended by the same side already", "agreement-phase")
    if act == "resume" and not standing:
        raise _conflict(f"the agreement is {phase.replace('_', ' ')}; resume is not possible", "agreement-phase")
    if act == "resume" and by not in standing:
        raise _conflict("the agreement was suspended by somebody else, who alone can resume it", "suspension-not-yours")


def _is_signed(tx: Tx, number: int) -> bool:
    return tx.one("SELECT 1 FROM agreement_state WHERE number = ? AND signed = 1", (number,)) is not None


def _move_agency(store: Store, number: int, suspended: int, clock: Clock, salt: Salt) -> int:
    def transaction(tx: Tx) -> int:
        row = tx.one("SELECT suspended FROM agency_state WHERE number = ?", (number,))
        if (row is not None and row[0] == 1) == bool(suspended):
            already = "is suspended already" if suspended else "is not suspended"
            raise _conflict(f"the agency {already}", "agency-phase")
        epoch, now_us = raise_fence(tx, AGENCY_FENCE, number), clock()
        if suspended:
            tx.outside.note(Act("agency", str(number), now_us))
        tx.run(
            "INSERT INTO agency_state(number, suspended, since_us) VALUES (?, ?, ?) ON CONFLICT(number) DO UPDATE"
            " SET suspended = excluded.suspended, since_us = excluded.since_us",
            (number, suspended, now_us),
        )
        said = {"act": "suspend" if suspended else "resume", "agency": number, "by": OPERATOR}
        return record(tx, LeafKind.SUSPENSION, said, {"agencies": {str(number): epoch}}, now_us, salt)

    return store.write(transaction, lane=Lane.URGENT)


def _conflict(what: str, code: str) -> HubError:
    return HubError(Kind.CONFLICT, what, remedy="Nothing was changed.", code=code)

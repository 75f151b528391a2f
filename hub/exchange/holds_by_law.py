"""Legal holds: while one stands, a person is not erased. Each has a number; it is never shown with the person."""

import re
from typing import Any

from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.exchange.feed import rfc3339
from hub.exchange.world import World
from hub.identity.acts import write_audit
from hub.identity.keys import OpenKey, open_key, unwrap_person
from hub.identity.people import person_of
from hub.store.engine import Tx
from hub.store.legal_holds import HoldRow, add_hold, end_hold, hold_by_number, holds_now

REASONS = ("court-order", "legal-claim", "audit", "public-interest")  # GDPR 17(3)(b), (d), (e)
REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ./_-]{0,63}")  # a file's number, not a sentence with somebody's name
LONGEST_US = 10 * 366 * 86_400_000_000  # ten years: what is needed longer is said again


def hold(world: World, *, agency: str, local_id: str, reference: str, reason: str, until_us: int) -> dict[str, Any]:
    """Forbid the erasure of whom an agency calls `local_id`, until then.

    Raises HubError: NOT_FOUND (nobody is linked), GONE (erased already), INVALID (reason, reference or end).
    """
    _check(world, reference, reason, until_us)

    def transaction(tx: Tx) -> HoldRow:
        person = person_of(tx, world.keys, agency, local_id)
        if person is None:
            raise HubError(
                Kind.NOT_FOUND,
                "nobody is linked to this agency under this id",
                remedy="Use the agency's code and its own id of the person.",
                code="person-unknown",
            )
        now_us, key = world.clock(), _key(world, tx, person)
        number = add_hold(tx, person=person, reference=reference, reason=reason, from_us=now_us, until_us=until_us)
        row = HoldRow(number, person, reference, reason, now_us, until_us)
        _record(tx, key, row, "held", now_us)
        return row

    return _shown(world.store.write(transaction))


def unhold(world: World, number: int) -> dict[str, Any]:
    """Lift a hold now. Raises HubError(NOT_FOUND) where none of this number stands."""

    def transaction(tx: Tx) -> HoldRow:
        row, now_us = hold_by_number(tx, number), world.clock()
        if row is None or row.until_us <= now_us:
            raise HubError(
                Kind.NOT_FOUND,
                "no hold of this number stands",
                where=f"hold {number}",
                remedy="`hub person holds` lists those that do.",
                code="hold-unknown",
            )
        end_hold(tx, number, now_us)
        _record(tx, _key(world, tx, row.person), row, "lifted", now_us)
        return row._replace(until_us=now_us)

    return _shown(world.store.write(transaction))


def holds(world: World) -> list[dict[str, Any]]:
    """List what stands, oldest first."""
    with world.store.read() as tx:
        return [_shown(row) for row in holds_now(tx, world.clock())]


def _check(world: World, reference: str, reason: str, until_us: int) -> None:
    now_us = world.clock()
    if reason not in REASONS:
        raise _refused("reason", "this is no reason for a hold", f"Name one of {', '.join(REASONS)}.")
    if not REFERENCE.fullmatch(reference):
        what = "a reference is the order's own number: letters, digits and . / _ -, up to 64"
        raise _refused("reference", what, "Name the file it stands in; no person.")
    if not now_us < until_us <= now_us + LONGEST_US:
        raise _refused("until", "a hold ends, at a day from tomorrow to ten years from now", "Name its last day.")


def _refused(where: str, what: str, remedy: str) -> HubError:
    return HubError(Kind.INVALID, what, where=where, remedy=remedy, code="hold-refused")


def _key(world: World, tx: Tx, person: int) -> OpenKey:
    row = tx.one("SELECT key FROM person WHERE id = ?", (person,))
    if row is None or row[0] is None:
        raise HubError(
            Kind.GONE, "this person was erased", remedy="There is nothing left to hold.", code="person-erased"
        )
    return open_key(unwrap_person(world.keys.wrapping, person, row[0]))


def _record(tx: Tx, key: OpenKey, row: HoldRow, act: str, now_us: int) -> None:
    detail = {"act": act, "hold": row.number, "reason": row.reason, "reference": row.reference}
    write_audit(tx, key, row.person, LeafKind.LEGAL_HOLD, detail, at_us=now_us)


def _shown(row: HoldRow) -> dict[str, Any]:
    return {
        "number": row.number,
        "reference": row.reference,
        "reason": row.reason,
        "from": rfc3339(row.from_us),
        "until": rfc3339(row.until_us),
    }

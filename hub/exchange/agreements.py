"""Agreements as their parties and the operator meet them: propose, read, sign, suspend, resume, end.

An agreement's way: it is proposed, each side's officer signs the same terms, the catalogue with it is applied, and it
is in force at once; the version before stays in force until then. Signed after it was applied, it is in force with the
second signature. Who is no party to an agreement is told that there is none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from hub.core.agreement import Catalogue
from hub.core.agreement_digest import SIDES, Terms, terms_of
from hub.core.catalogue import refuse_rewrites, to_document
from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.identity.officers import Detached, day_and_time, is_weak, read_detached, signs
from hub.ports import Clock
from hub.store import agreements as phases
from hub.store.audit import Salt
from hub.store.engine import Lane, Store, Tx
from hub.store.facts import AGREEMENT_FENCE, raise_fence
from hub.store.signatures import (
    OfficerRow,
    SignatureRow,
    TermsRow,
    add_signature,
    all_terms,
    fully_signed,
    keep_terms,
    officers_of_kid,
    open_for_signature,
    proposed_now,
    signed_by,
)
from hub.way import Way

MOVES = {"suspend": phases.suspend, "resume": phases.resume, "end": phases.end}


@dataclass(frozen=True, slots=True)
class AgreementDesk:
    """What the acts need. `approved` returns the catalogue in force; `ring` wakes who waits for deliveries."""

    store: Store
    approved: Callable[[], Catalogue]
    clock: Clock
    salt: Salt
    ring: Callable[[], None]
    way: Way = field(default_factory=Way)


class Signing(NamedTuple):
    """What one signature did. `in_force`: with it the agreement is."""

    code: str
    version: int
    digest: str
    side: str
    phase: str  # of the agreement with these terms: "proposed" where the catalogue in force has others
    audit: int


def propose(desk: AgreementDesk, proposed: Catalogue, codes: Sequence[str]) -> list[dict[str, Any]]:
    """Open agreements of a catalogue that is not in force yet for signature; their former proposals are closed.

    Raises HubError INVALID (an approved version would be rewritten), NOT_FOUND, CONFLICT (one is ended).
    """
    refuse_rewrites(desk.approved(), proposed)
    document = to_document(proposed)
    missing = [code for code in codes if code not in document["agreements"]]
    if missing:
        raise HubError(
            Kind.NOT_FOUND,
            f"the files have no agreement {', '.join(missing)}",
            remedy="Codes are the names of the files in agreements/, like AGR-12.",
            code="agreement-unknown",
        )
    terms = [terms_of(document, code) for code in codes]

    def transaction(tx: Tx) -> None:
        now_us = desk.clock()
        for one in terms:
            if phases.phase_of(tx, document["agreements"][one.code]["number"]) == "ended":
                raise HubError(
                    Kind.CONFLICT,
                    f"{one.code} is ended, and an ended agreement stays ended",
                    where=one.code,
                    remedy="Propose a new one, with its own code.",
                    code="agreement-phase",
                )
        keep_terms(tx, terms, now_us)
        for one in terms:
            open_for_signature(tx, one, now_us)
        said = {"act": "propose", "agreements": {one.code: one.digest for one in terms}}
        phases.record(tx, LeafKind.SIGNATURE, said, {}, now_us, desk.salt)

    desk.store.write(transaction)
    return [{"code": one.code, "version": one.version, "digest": one.digest} for one in terms]


def sign(desk: AgreementDesk, code: str, jws: str, *, agency: str = "") -> Signing:
    """Take one side's signature over the terms that are in force, or proposed last.

    1. the signature has the form it must have      2. the agreement is the caller's own (`agency` "": the operator's)
    3. the key is an officer's of that side, counts now, and nobody else can sign under it
    4. it was made over exactly these terms
    5. that side has not signed them before
    With the second signature over the approved terms the agreement is in force when this returns.
    Raises HubError INVALID, NOT_FOUND, FORBIDDEN, CONFLICT; then nothing was changed.
    """
    detached, approved = read_detached(jws), desk.approved()  # 1.
    current = terms_of(to_document(approved), code) if code in approved.agreements else None

    def transaction(tx: Tx) -> Signing:
        return sign_in(tx, desk, code, current, detached, jws.strip(), agency=agency)

    signing = desk.store.write(transaction, lane=Lane.URGENT)
    if signing.phase == "in_force":
        desk.ring()
    return signing


def sign_in(
    tx: Tx, desk: AgreementDesk, code: str, current: Terms | None, detached: Detached, jws: str, *, agency: str = ""
) -> Signing:
    """Do steps 2 to 5 of `sign` in an open transaction. `current`: its terms in the approved catalogue."""
    now_us, rows = desk.clock(), all_terms(tx, code)
    proposed = proposed_now(rows, current)
    wanted = ([current] if current else []) + ([proposed.terms()] if proposed else [])
    own = [one for one in wanted if not agency or agency in (one.provider, one.recipient)]
    if not own:  # 2.
        raise unknown()
    officer = _officer(tx, detached.kid, {agency} if agency else {one.agency(side) for one in own for side in SIDES})
    _refuse_ended(officer, now_us)  # 3.
    _refuse_weak(officer)
    terms = next((one for one in own if _signs(detached, one, officer)), None)  # 4.
    if terms is None:
        raise _other_terms(own, [row for row in rows if signs(detached, row.document.encode(), officer)])
    side = "provider" if officer.agency == terms.provider else "recipient"
    if side in signed_by(tx, terms.digest):  # 5.
        raise HubError(
            Kind.CONFLICT,
            f"the {side} has signed {code} v{terms.version} already; one signature of each side is all it takes",
            remedy="Nothing was changed.",
            code="signature-there",
        )
    keep_terms(tx, [terms], 0)  # of an agreement that was approved before terms were kept, and never proposed
    add_signature(tx, SignatureRow(terms.digest, side, officer.agency, officer.kid, jws, now_us))
    phase, fences = _count_it(tx, terms, current, now_us)
    said = {"act": "sign", "agency": officer.agency, "code": code, "digest": terms.digest, "kid": officer.kid}
    audit = phases.record(tx, LeafKind.SIGNATURE, {**said, "side": side, "to": phase}, fences, now_us, desk.salt)
    return Signing(code, terms.version, terms.digest, side, phase, audit)


def _count_it(tx: Tx, terms: Terms, current: Terms | None, now_us: int) -> tuple[str, dict[str, Any]]:
    """Put the agreement in force where both sides have signed its terms; returns the phase, and fences raised."""
    if current is None or terms.digest != current.digest:
        return "proposed", {}
    number = orjson.loads(terms.payload)["agreement"]["number"]
    if not fully_signed(tx, terms.digest):
        return phases.phase_of(tx, number), {}
    fences = {"agreements": {str(number): raise_fence(tx, AGREEMENT_FENCE, number)}}
    return phases.settle(tx, number, signed=True, now_us=now_us)[1], fences


def _signs(detached: Detached, terms: Terms, officer: OfficerRow) -> bool:
    return officer.agency in (terms.provider, terms.recipient) and signs(detached, terms.payload, officer)


def _refuse_ended(officer: OfficerRow, now_us: int) -> None:
    if not officer.from_us <= now_us < officer.until_us:
        raise HubError(
            Kind.FORBIDDEN,
            f"the key ended on {day_and_time(officer.until_us)}; what it signs since then does not count",
            where="/jws",
            remedy="Have an officer in office sign, with a key that is registered and not ended.",
            code="officer-key-ended",
        )


def _refuse_weak(officer: OfficerRow) -> None:
    if is_weak(officer):
        raise HubError(
            Kind.FORBIDDEN,
            "anybody can sign under this key: it is a point of small order, and nothing signed with it counts",
            where="/jws",
            remedy="Make a new key with `hub-agency officer new`; the hub's operator ends this one and registers that.",
            code="officer-key-weak",
        )


def move(desk: AgreementDesk, code: str, act: str, *, agency: str = "") -> dict[str, Any]:
    """Suspend, resume or end an agreement for one side, or for the operator where `agency` is "".

    Once a suspension has returned, no hand-out under the agreement commits any more. Raises HubError NOT_FOUND where it
    is not the agency's, CONFLICT where the phase does not permit it or the suspension is another's.
    """
    catalogue = desk.approved()
    one = catalogue.agreements.get(code)
    if one is None or (agency and agency not in (one.provider, one.recipient)):
        raise unknown()
    by = catalogue.agencies[agency].number if agency else phases.OPERATOR
    with desk.way.first():
        audit = MOVES[act](desk.store, one.number, clock=desk.clock, salt=desk.salt, by=by)
    desk.ring()
    with desk.store.read() as tx:
        return {"code": code, "phase": phases.phase_of(tx, one.number), "audit": audit}


def move_agency(desk: AgreementDesk, agency: str, act: str) -> dict[str, Any]:
    """Suspend an agency whole, or let it take part again. Raises HubError NOT_FOUND, CONFLICT."""
    one = desk.approved().agencies.get(agency)
    if one is None:
        raise HubError(
            Kind.NOT_FOUND,
            "the catalogue in force has no agency of this code",
            where="agency",
            remedy="Codes stand in agencies.yaml.",
            code="agency-unknown",
        )
    moving = phases.suspend_agency if act == "suspend" else phases.resume_agency
    with desk.way.first():
        audit = moving(desk.store, one.number, clock=desk.clock, salt=desk.salt)
    desk.ring()
    return {"agency": agency, "suspended": act == "suspend", "audit": audit}


def unknown() -> HubError:
    return HubError(
        Kind.NOT_FOUND,
        "there is no such agreement, or it is not yours",
        remedy="GET /v1/agreements lists an agency's own; `hub agreement list` all.",
        code="agreement-unknown",
    )


def _officer(tx: Tx, kid: str, parties: set[str]) -> OfficerRow:
    """Find whose key this is among the parties. Raises HubError(FORBIDDEN); a third agency's officer is nobody here."""
    found = officers_of_kid(tx, kid)
    for agency in sorted(parties):
        if agency in found:
            return found[agency]
    raise HubError(
        Kind.FORBIDDEN,
        f"no officer of {' or '.join(sorted(parties))} has a registered key of this kid",
        where="/jws",
        remedy="The hub's operator registers an officer's public key with `hub officer add`.",
        code="officer-unknown",
    )


def _other_terms(wanted: Sequence[Terms], signed: Sequence[TermsRow]) -> HubError:
    asked = " or ".join(f"{one.code} v{one.version}, digest {one.digest}" for one in wanted)
    if signed:
        was = f"it was made over v{signed[0].version}, digest {signed[0].digest}"
        what = f"The signature is over other terms: {was}; open for signature is {asked}."
    else:
        what = f"The signature does not fit the terms that are open for signature: {asked}."
    remedy = "Fetch the terms again, read them, and sign these."
    return HubError(Kind.INVALID, what, where="/jws", remedy=remedy, code="signature-other-terms")

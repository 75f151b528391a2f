"""Agreements as their parties and the operator meet them: propose, read, sign, suspend, resume, end.

An agreement's way: it is proposed, each side's officer signs the same terms, the catalogue with it is applied, and it
is in force at once; the version before stays in force until then. Signed after it was applied, it is in force with the
second signature. Who is no party to an agreement is told that there is none.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from hub.core.agreement import Catalogue
from hub.core.agreement_digest import SIDES, Terms, terms_of
from hub.core.catalogue import refuse_rewrites, to_document
from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.exchange.feed import rfc3339
from hub.identity.officers import Detached, day_and_time, read_detached, signs
from hub.ports import Clock
from hub.store import agreements as phases
from hub.store.engine import Lane, Store, Tx
from hub.store.facts import AGREEMENT_FENCE, RuleFacts, raise_fence, read_rules, rules_of
from hub.store.signatures import (
    OfficerRow,
    SignatureRow,
    TermsRow,
    add_signature,
    all_signatures,
    all_terms,
    fully_signed,
    keep_terms,
    officers,
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
    salt: phases.Salt
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


def agreements_of(desk: AgreementDesk, agency: str = "") -> list[dict[str, Any]]:
    """List the agreements of an agency, or all for the operator: phase, digests, who signed, who suspended."""
    return [_entry(one) for one in _standing(desk) if not agency or agency in one.parties]


def signed_digests(desk: AgreementDesk) -> list[str]:
    """List the digests that both sides have signed."""
    with desk.store.read() as tx:
        return sorted(digest for digest, found in all_signatures(tx).items() if len(found) == len(SIDES))


def agreement_of(desk: AgreementDesk, code: str, agency: str = "") -> dict[str, Any]:
    """Return one agreement with its terms, as approved and as proposed. Raises HubError(NOT_FOUND)."""
    for one in _standing(desk, code):
        if not agency or agency in one.parties:
            catalogue = desk.approved()
            about = {
                name: {"titles": dict(catalogue.agencies[name].titles), "contact": catalogue.agencies[name].contact}
                for name in sorted(one.parties)
                if name in catalogue.agencies
            }
            terms = {
                which: {
                    "digest": row.digest,
                    "terms": orjson.loads(row.document),
                    "datasets": orjson.loads(row.datasets),
                }
                for which, row in (("approved", one.approved), ("proposed", one.proposed))
                if row is not None
            }
            return {**_entry(one), "agencies": about, "documents": terms}
    raise unknown()


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
    3. the key is an officer's of that side, and counts now      4. it was made over exactly these terms
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


class _One(NamedTuple):
    """One agreement code with all that stands about it."""

    code: str
    approved: TermsRow | None
    proposed: TermsRow | None  # None where the terms proposed last are those approved
    phase: str
    since_us: int
    signed: bool  # by both sides as it stands, or agreed before signatures were kept
    suspended: tuple[tuple[str, int], ...]
    signatures: dict[str, list[SignatureRow]]
    officers: dict[tuple[str, str], OfficerRow]

    @property
    def parties(self) -> set[str]:
        rows = [row.terms() for row in (self.approved, self.proposed) if row is not None]
        return {agency for one in rows for agency in (one.provider, one.recipient)}


def _standing(desk: AgreementDesk, code: str = "") -> Iterator[_One]:
    """Gather every agreement that is approved or proposed, by code."""
    catalogue, now_us = desk.approved(), desk.clock()
    document = to_document(catalogue)
    with desk.store.read() as tx:
        rules, rows, signatures = rules_of(read_rules(tx)), all_terms(tx, code), all_signatures(tx)
        state = {
            row[0]: (row[1], row[2] == 1) for row in tx.rows("SELECT number, since_us, signed FROM agreement_state")
        }
        keys = {(row.agency, row.kid): row for row in officers(tx)}
        standing = {one.number: phases.suspended_by(tx, one.number) for one in catalogue.agreements.values()}
    names = {one.number: one.code for one in catalogue.agencies.values()} | {phases.OPERATOR: "operator"}
    by_code: dict[str, list[TermsRow]] = {one: [] for one in catalogue.agreements if not code or one == code}
    for row in rows:
        by_code.setdefault(row.code, []).append(row)
    for name, found in sorted(by_code.items(), key=_in_order):
        one = catalogue.agreements.get(name)
        terms = terms_of(document, name) if one is not None else None
        current = None
        if terms is not None:  # where it was approved before terms were kept, they are not there yet
            current = next((row for row in found if row.digest == terms.digest), _row(terms))
        proposed = proposed_now(found, terms)
        number = one.number if one is not None else 0
        suspended = tuple((names.get(by, "?"), at_us) for by, at_us in standing.get(number, {}).items())
        phase = _phase(catalogue, name, rules, now_us)
        yield _One(name, current, proposed, phase, *state.get(number, (0, False)), suspended, signatures, keys)


def _in_order(item: tuple[str, object]) -> tuple[int, str]:
    number = item[0].rpartition("-")[2]
    return (int(number) if number.isdigit() else 0, item[0])


def _row(terms: Terms) -> TermsRow:
    datasets = orjson.dumps(terms.datasets, option=orjson.OPT_SORT_KEYS).decode()
    return TermsRow(terms.digest, terms.code, terms.version, terms.payload.decode(), datasets, 0)


def _phase(catalogue: Catalogue, code: str, rules: RuleFacts, now_us: int) -> str:
    """Name the phase as decisions see it at this moment; "proposed" where the catalogue in force has no such one."""
    one = catalogue.agreements.get(code)
    if one is None:
        return "proposed"
    if now_us < one.valid_from_us:
        return "not_yet"
    if now_us >= one.valid_until_us:
        return "ended"
    numbers = (catalogue.agencies[one.provider].number, catalogue.agencies[one.recipient].number)
    return rules.phase(one.number, *numbers)


def _entry(one: _One) -> dict[str, Any]:
    """Write one agreement's standing for whoever asks."""
    terms = (one.approved or one.proposed or _nothing()).terms()
    entry: dict[str, Any] = {
        "code": one.code,
        "provider": terms.provider,
        "recipient": terms.recipient,
        "phase": one.phase,
        "since": rfc3339(one.since_us) if one.since_us else "",
        "signed": one.signed,
        "suspended_by": [{"by": by, "since": rfc3339(at_us)} for by, at_us in one.suspended],
    }
    if one.approved is not None:
        entry["approved"] = _signed(one, one.approved)
    if one.proposed is not None:
        entry["proposed"] = _signed(one, one.proposed) | {"since": rfc3339(one.proposed.proposed_us)}
    return entry


def _signed(one: _One, row: TermsRow) -> dict[str, Any]:
    signatures = one.signatures.get(row.digest, [])
    there = {signature.side for signature in signatures}
    return {
        "version": row.version,
        "digest": row.digest,
        "signatures": [
            {
                "side": signature.side,
                "agency": signature.agency,
                "kid": signature.kid,
                "name": one.officers[signature.agency, signature.kid].name,
                "office": one.officers[signature.agency, signature.kid].office,
                "at": rfc3339(signature.signed_us),
                "jws": signature.jws,
            }
            for signature in signatures
        ],
        "missing": [side for side in SIDES if side not in there],
    }


def _nothing() -> TermsRow:
    raise AssertionError("an agreement is listed because there are terms of it")

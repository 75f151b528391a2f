"""How agreements stand, for whoever may ask: an agency's own, or all of them for the operator."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from hub.core.agreement import Catalogue
from hub.core.agreement_digest import SIDES, Terms, terms_of
from hub.core.catalogue import to_document
from hub.exchange.agreements import AgreementDesk, unknown
from hub.exchange.feed import rfc3339
from hub.store.agreements import OPERATOR, suspended_by
from hub.store.facts import RuleFacts, read_rules, rules_of
from hub.store.signatures import OfficerRow, SignatureRow, TermsRow, all_signatures, all_terms, officers, proposed_now


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
        standing = {one.number: suspended_by(tx, one.number) for one in catalogue.agreements.values()}
    names = {one.number: one.code for one in catalogue.agencies.values()} | {OPERATOR: "operator"}
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

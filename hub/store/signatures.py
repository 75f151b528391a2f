"""What agreements' signatures rest on, as stored: terms that were proposed or approved, officers' keys, signatures.

None of it is ever deleted: years later it can still be shown who signed what, and that the key counted on that day.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from hub.core.agreement_digest import SIDES, Document, Terms
from hub.core.leaf import canonical
from hub.store.engine import Tx
from hub.store.outside import Act

OFFICER_COLUMNS = "agency, kid, name, office, jwk, from_us, until_us"
TERMS_COLUMNS = "digest, code, version, document, datasets, proposed_us"
SIGNATURE_COLUMNS = "digest, side, agency, kid, jws, signed_us"


class OfficerRow(NamedTuple):
    """One officer's public key: a JWK as text, counting from `from_us` until just before `until_us`."""

    agency: str
    kid: str
    name: str
    office: str
    jwk: str
    from_us: int
    until_us: int


class TermsRow(NamedTuple):
    """Terms as they were proposed or approved. `document` is the text whose UTF-8 bytes are signed."""

    digest: str
    code: str
    version: int
    document: str
    datasets: str
    proposed_us: int

    def terms(self) -> Terms:
        document = orjson.loads(self.document)
        datasets: dict[str, Document] = orjson.loads(self.datasets)
        agreement = document["agreement"]
        payload = self.document.encode()
        return Terms(
            self.code, self.version, agreement["provider"], agreement["recipient"], payload, self.digest, datasets
        )


class SignatureRow(NamedTuple):
    digest: str
    side: str
    agency: str
    kid: str
    jws: str
    signed_us: int


def keep_terms(tx: Tx, terms: Iterable[Terms], now_us: int) -> None:
    """Write terms down; those that are there already are left as they are. `now_us` 0: they were never proposed."""
    known = {digest for (digest,) in tx.rows("SELECT digest FROM agreement_proposal")}
    rows = [
        (
            one.digest,
            one.code,
            one.version,
            one.payload.decode(),
            canonical(one.datasets).decode(),
            _after(tx, one.code, now_us),
        )
        for one in terms
        if one.digest not in known
    ]
    tx.insert(f"agreement_proposal({TERMS_COLUMNS})", rows)


def open_for_signature(tx: Tx, terms: Terms, now_us: int) -> None:
    """Make these terms the ones of their agreement that were proposed last."""
    proposed_us = _after(tx, terms.code, now_us)
    tx.run("UPDATE agreement_proposal SET proposed_us = ? WHERE digest = ?", (proposed_us, terms.digest))


def _after(tx: Tx, code: str, now_us: int) -> int:
    """Return the present, or a moment later than any proposal of this agreement: their order has no ties."""
    if not now_us:
        return 0
    row = tx.one("SELECT coalesce(max(proposed_us), 0) + 1 FROM agreement_proposal WHERE code = ?", (code,))
    return max(now_us, int(row[0])) if row is not None else now_us


def all_terms(tx: Tx, code: str = "") -> list[TermsRow]:
    """Read all terms ever proposed or approved, of one agreement where `code` is given; the latest proposed last."""
    where, given = (" WHERE code = ?", (code,)) if code else ("", ())
    rows = tx.rows(f"SELECT {TERMS_COLUMNS} FROM agreement_proposal{where} ORDER BY code, proposed_us", given)
    return [TermsRow._make(row) for row in rows]


def proposed_now(rows: Sequence[TermsRow], current: Terms | None) -> TermsRow | None:
    """Return the terms that are open besides the approved ones: proposed last, and not older than what is approved."""
    if current is None:
        return rows[-1] if rows else None
    known = next((row.proposed_us for row in rows if row.digest == current.digest), 0)
    later = [row for row in rows if row.digest != current.digest]
    return next((row for row in reversed(later) if row.version > current.version or row.proposed_us > known), None)


def all_signatures(tx: Tx) -> dict[str, list[SignatureRow]]:
    """Read every signature, by the digest that it is over."""
    found: dict[str, list[SignatureRow]] = {}
    for row in tx.rows(f"SELECT {SIGNATURE_COLUMNS} FROM agreement_signature ORDER BY digest, side"):
        found.setdefault(row[0], []).append(SignatureRow._make(row))
    return found


def signed_by(tx: Tx, digest: str) -> dict[str, SignatureRow]:
    """Read the signatures over a digest, by side."""
    rows = tx.rows(f"SELECT {SIGNATURE_COLUMNS} FROM agreement_signature WHERE digest = ?", (digest,))
    return {row[1]: SignatureRow._make(row) for row in rows}


def fully_signed(tx: Tx, digest: str) -> bool:
    """Say whether both sides have signed exactly these terms."""
    return signed_by(tx, digest).keys() == set(SIDES)


def add_signature(tx: Tx, row: SignatureRow) -> None:
    """Insert it; the primary key lets each side sign once."""
    tx.insert(f"agreement_signature({SIGNATURE_COLUMNS})", [row])


def officers(tx: Tx) -> list[OfficerRow]:
    rows = tx.rows(f"SELECT {OFFICER_COLUMNS} FROM officer_key ORDER BY agency, from_us, kid")
    return [OfficerRow._make(row) for row in rows]


def officers_of_kid(tx: Tx, kid: str) -> Mapping[str, OfficerRow]:
    """Find the keys of this kid, by agency."""
    rows = tx.rows(f"SELECT {OFFICER_COLUMNS} FROM officer_key WHERE kid = ?", (kid,))
    return {row[0]: OfficerRow._make(row) for row in rows}


def add_officer(tx: Tx, row: OfficerRow) -> bool:
    """Register a key; False where the agency has one of this kid already: nothing registered is ever replaced."""
    return bool(tx.insert(f"officer_key({OFFICER_COLUMNS})", [row], or_ignore=True))


def end_officer(tx: Tx, agency: str, kid: str, now_us: int) -> bool:
    """Let a key sign nothing from now on; False where the agency has none of this kid that still counts."""
    tx.outside.note(Act("officer-key", f"{agency}/{kid}", now_us))
    return bool(
        tx.run(
            "UPDATE officer_key SET until_us = ? WHERE agency = ? AND kid = ? AND until_us > ?",
            (now_us, agency, kid, now_us),
        )
    )

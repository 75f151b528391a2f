"""Officers' keys: registered and ended by the hub's operator, kept for ever; and invented officers for invented lands.

A demo and a developer's hub have nobody who signs, so at their first start `appoint` makes an officer for each agency
and lets them propose and sign through the same doors. Production never does; the composition root sees to it.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from joserfc.jwk import OKPKey

from hub.core.agreement import Catalogue
from hub.core.agreement_digest import SIDES, terms_of
from hub.core.catalogue import compose, to_document
from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.exchange.agreements import AgreementDesk, sign_in
from hub.exchange.feed import rfc3339
from hub.identity.officers import officer_row, read_detached, same_key, sign_detached
from hub.settings import OFFICERS
from hub.store.agency_keys import FOR_EVER_US
from hub.store.agreements import record
from hub.store.engine import Tx
from hub.store.signatures import add_officer, end_officer, keep_terms, officers, open_for_signature, signed_by

EMPTY = compose(agencies=(), datasets=(), purposes=(), agreements=(), lines=())  # of a store without any approval
INVENTED = ("Invented Officer", "made by this hub for itself")


def add(desk: AgreementDesk, agency: str, jwk: Mapping[str, Any], *, name: str, office: str) -> dict[str, Any]:
    """Register an officer's public key from now on. Raises HubError NOT_FOUND, INVALID, CONFLICT."""
    if agency not in desk.approved().agencies:
        raise HubError(
            Kind.NOT_FOUND,
            "the catalogue in force has no agency of this code",
            where="agency",
            remedy="Codes stand in agencies.yaml; `hub catalogue apply` puts a new one in force.",
            code="agency-unknown",
        )
    return desk.store.write(lambda tx: add_in(tx, desk, agency, jwk, name=name, office=office))


def add_in(
    tx: Tx, desk: AgreementDesk, agency: str, jwk: Mapping[str, Any], *, name: str, office: str
) -> dict[str, Any]:
    """Register a key in a transaction that is open already.

    No key is registered twice: what one side signed would be a signature of the other side too, and all read it.
    """
    now_us = desk.clock()
    row = officer_row(agency, jwk, name=name, office=office, now_us=now_us)
    if any(same_key(one, row) and one[:2] != row[:2] for one in officers(tx)):
        raise HubError(
            Kind.CONFLICT,
            "this key is registered already, under another agency or another kid",
            where="x",
            remedy="One key stands for one officer: make a new one with `hub-agency officer new`.",
            code="officer-key-shared",
        )
    if not add_officer(tx, row):
        raise HubError(
            Kind.CONFLICT,
            "an officer of this agency has a key of this kid already, and keys are kept as they were registered",
            where="kid",
            remedy="Make a new key with `hub-agency officer new`; end the former one with `hub officer end`.",
            code="officer-key-there",
        )
    record(tx, LeafKind.SIGNATURE, {"act": "officer-add", "agency": agency, "kid": row.kid}, {}, now_us, desk.salt)
    return {"agency": agency, "kid": row.kid}


def end(desk: AgreementDesk, agency: str, kid: str) -> dict[str, Any]:
    """Let an officer's key sign nothing from now on; what it signed stays signed. Raises HubError(NOT_FOUND)."""

    def transaction(tx: Tx) -> None:
        now_us = desk.clock()
        if not end_officer(tx, agency, kid, now_us):
            raise HubError(
                Kind.NOT_FOUND,
                "the agency has no officer's key of this kid that still counts",
                where="kid",
                remedy="`hub officer list` has them all.",
                code="officer-unknown",
            )
        record(tx, LeafKind.SIGNATURE, {"act": "officer-end", "agency": agency, "kid": kid}, {}, now_us, desk.salt)

    desk.store.write(transaction)
    return {"agency": agency, "kid": kid}


def listed(desk: AgreementDesk) -> list[dict[str, Any]]:
    """List every key ever registered, with when it counts."""
    with desk.store.read() as tx:
        return [
            {
                "agency": row.agency,
                "kid": row.kid,
                "name": row.name,
                "office": row.office,
                "from": rfc3339(row.from_us),
                "until": rfc3339(row.until_us) if row.until_us != FOR_EVER_US else "",
            }
            for row in officers(tx)
        ]


def appoint(
    desk: AgreementDesk, catalogue: Catalogue, *, keys: Mapping[str, OKPKey] | None = None
) -> dict[str, OKPKey]:
    """Sign a catalogue's agreements for both sides of each, with `keys` and with new officers for agencies without one.

    What a side has signed already is left alone. Returns everybody's private keys.
    """
    document, approved = to_document(catalogue), to_document(desk.approved())
    terms = [terms_of(document, code) for code in catalogue.agreements]
    current = {code: terms_of(approved, code) for code in approved["agreements"]}
    held = dict(keys or {})

    def transaction(tx: Tx) -> None:
        now_us = desk.clock()
        for agency in sorted({one.agency(side) for one in terms for side in SIDES} - held.keys()):
            held[agency] = key = OKPKey.generate_key("Ed25519", auto_kid=False)
            jwk = {**key.as_dict(private=False), "kid": key.thumbprint()}
            add_in(tx, desk, agency, jwk, name=INVENTED[0], office=INVENTED[1])
        keep_terms(tx, terms, now_us)
        for one in terms:
            for side in SIDES:
                if side not in signed_by(tx, one.digest):
                    open_for_signature(tx, one, now_us)
                    key = held[one.agency(side)]
                    jws = sign_detached(one.payload, key, kid=key.thumbprint())
                    sign_in(tx, desk, one.code, current.get(one.code), read_detached(jws), jws)

    desk.store.write(transaction)
    return held


def invent_officers(desk: AgreementDesk, catalogue: Catalogue, data_dir: Path) -> None:
    """Sign the first catalogue of a store in which nothing is approved yet, and keep the keys in the data directory."""
    keys, directory = appoint(replace(desk, approved=lambda: EMPTY), catalogue), data_dir / OFFICERS
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for agency, key in keys.items():
        descriptor = os.open(directory / f"{agency}.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.as_pem(private=True))


def invented_keys(data_dir: Path) -> dict[str, OKPKey]:
    """Read the invented officers' keys."""
    return {path.stem: OKPKey.import_key(path.read_bytes()) for path in sorted((data_dir / OFFICERS).glob("*.key"))}

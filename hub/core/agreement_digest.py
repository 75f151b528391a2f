"""What two officers sign: an agreement's terms as canonical JSON, and the digest that names exactly these bytes.

The terms hold the agreement as the catalogue writes it (parties, fields, validity, look-back, law), every purpose it
serves word for word, and of each dataset that it grants the version and the SHA-256 of its document with the schema in
it. So whatever of these changes makes another digest, and asks for new signatures. `tests/vectors/` has examples.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import rfc8785

Document = dict[str, Any]
FORM = 1  # of the terms below; another layout is another number, and what was signed before stays as it was
SIDES = ("provider", "recipient")


class Terms(NamedTuple):
    """One agreement's terms. `payload` is what is signed (RFC 8785), `digest` its SHA-256 in hexadecimal."""

    code: str
    version: int
    provider: str
    recipient: str
    payload: bytes
    digest: str
    datasets: Mapping[str, Document]  # the documents that the hashes in the terms are of

    def agency(self, side: str) -> str:
        return self.provider if side == "provider" else self.recipient


def terms_of(catalogue: Mapping[str, Any], code: str) -> Terms:
    """Take one agreement's terms out of a catalogue's document (`hub.core.catalogue.to_document`).

    Raises KeyError where the document lacks the agreement, or a part that it names.
    """
    agreement = catalogue["agreements"][code]
    datasets = {name: catalogue["datasets"][name] for name in sorted(agreement["ceiling"])}
    terms = {
        "agreement": agreement,
        "datasets": {
            name: {"sha256": sha256(rfc8785.dumps(document)).hexdigest(), "version": document["version"]}
            for name, document in datasets.items()
        },
        "form": FORM,
        "purposes": {purpose: catalogue["purposes"][purpose] for purpose in agreement["purposes"]},
    }
    payload = rfc8785.dumps(terms)
    return Terms(
        code,
        agreement["version"],
        agreement["provider"],
        agreement["recipient"],
        payload,
        sha256(payload).hexdigest(),
        datasets,
    )


def catalogue_of(terms: Mapping[str, Any], datasets: Mapping[str, Document]) -> Document:
    """Return the part of a catalogue that terms are about, as its document: to compare it with another."""
    agreement = terms["agreement"]
    return {
        "agencies": {},
        "datasets": dict(datasets),
        "purposes": terms["purposes"],
        "agreements": {agreement["code"]: agreement} if agreement else {},
    }

"""What every engine is given beside the rules: the catalogue's papers, the must-deny entries, and their revision."""

import hashlib
from collections.abc import Mapping
from typing import Any

from hub.core.agreement import Catalogue, Dataset
from hub.policy.compiled import Compiled


def revision_of(compiled: Compiled, catalogue: Catalogue) -> str:
    """Name policy and catalogue: "sha256:" and the hex digest over every source, the module and the catalogue."""
    named = f"{compiled.digest}\n{catalogue.digest}\n".encode()
    return f"sha256:{hashlib.sha256(named).hexdigest()}"


def data_of(compiled: Compiled, catalogue: Catalogue) -> dict[str, Any]:
    """Make the whole `data` document: {"revision", "must_deny": [entry], "catalogue": see `policy_data`}."""
    return {
        "revision": revision_of(compiled, catalogue),
        "must_deny": compiled.must_deny,
        "catalogue": policy_data(catalogue),
    }


def policy_data(catalogue: Catalogue) -> dict[str, Any]:
    """Turn the catalogue into the document the Rego reads as `data.catalogue`.

    {"datasets": {name: {"provider", "fields": {name: {"special"}}}}, a derived field being as special as its base,
     "purposes": {code: {"basis", "assurance", "law", "wanted": {dataset: [field]}}},
     "agreements": {code: {"version", "provider", "recipient", "purposes": [code], "ceiling": {dataset: [field]}}}}
    """
    return {
        "datasets": {
            name: {"provider": dataset.provider, "fields": _fields(dataset)}
            for name, dataset in catalogue.datasets.items()
        },
        "purposes": {
            code: {
                "basis": purpose.basis.value,
                "assurance": purpose.assurance,
                "law": purpose.law,
                "wanted": _sorted({name: wanted.fields for name, wanted in purpose.wanted.items()}),
            }
            for code, purpose in catalogue.purposes.items()
        },
        "agreements": {
            code: {
                "version": agreement.version,
                "provider": agreement.provider,
                "recipient": agreement.recipient,
                "purposes": sorted(agreement.purposes),
                "ceiling": _sorted(agreement.ceiling),
            }
            for code, agreement in catalogue.agreements.items()
        },
    }


def _fields(dataset: Dataset) -> dict[str, dict[str, bool]]:
    own = {name: {"special": field.special} for name, field in dataset.fields.items()}
    return own | {name: own.get(derived.base, {"special": True}) for name, derived in dataset.derived.items()}


def _sorted(sets: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
    return {name: sorted(fields) for name, fields in sets.items()}

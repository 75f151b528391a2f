"""The decision table of tests/vectors/decisions.json as values: its catalogue, its subscriptions and its rows."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from hub.core.agreement import Agreement, Basis, Catalogue, Dataset, Field, Purpose, Subscription, Wanted
from hub.core.decide import AgreementState, Standing
from hub.core.event import DerivedField

ROOT = Path(__file__).resolve().parent.parent
COMPILED = ROOT / "policies" / "compiled"
TABLE: Mapping[str, Any] = json.loads((ROOT / "tests" / "vectors" / "decisions.json").read_bytes())["decision_table"]


class Case(NamedTuple):
    """One row, ready for `decide`."""

    subscription: Subscription
    agreement: AgreementState
    standings: tuple[Standing, ...]
    present: tuple[frozenset[str], ...]


def catalogue() -> Catalogue:
    """Build the table's catalogue; its papers are partly wrong on purpose, so no checker has seen it."""
    document = TABLE["catalogue"]
    datasets = {name: _dataset(name, number, said) for number, (name, said) in enumerate(document["datasets"].items())}
    purposes = {code: _purpose(code, number, said) for number, (code, said) in enumerate(document["purposes"].items())}
    agreements = {
        code: _agreement(code, number, said) for number, (code, said) in enumerate(document["agreements"].items())
    }
    return Catalogue("table", {}, datasets, purposes, agreements, {})


def subscriptions(of: Catalogue) -> dict[str, Subscription]:
    return {
        key: _subscription(
            number, of.agreements[at["agreement"]], of.purposes[at["purpose"]], of.datasets[at["dataset"]]
        )
        for number, (key, at) in enumerate(TABLE["subscriptions"].items())
    }


def case(given: Mapping[str, Any], known: Mapping[str, Subscription]) -> Case:
    """Read a row's `given`. What it says of agreement, version, purpose and basis is how the gate holds them."""
    base = known[given["subscription"]]
    agreement = replace(
        base.agreement,
        code=given.get("agreement", base.agreement.code),
        version=given.get("version", base.agreement.version),
    )
    purpose = replace(
        base.purpose,
        code=given.get("purpose", base.purpose.code),
        basis=Basis(given.get("basis", base.purpose.basis)),
    )
    return Case(
        replace(base, agreement=agreement, purpose=purpose),
        AgreementState(given.get("phase", "in_force")),
        tuple(_standing(person) for person in given["persons"]),
        tuple(frozenset(person["present"]) for person in given["persons"]),
    )


def _standing(person: Mapping[str, Any]) -> Standing:
    consented = person["consented"]
    return Standing(
        person["role"],
        person["state"],
        None if consented is None else frozenset(consented),
        person["assurance"],
        age=person.get("age", "ok"),
        erased=person.get("erased", False),
        kept=person.get("kept", True),
    )


def _dataset(name: str, number: int, said: Mapping[str, Any]) -> Dataset:
    fields = {
        field: Field(field, {}, about["role"], special=about["special"])
        for field, about in said["fields"].items()
        if "derived" not in about
    }
    derived = {
        field: DerivedField(field, about["derived"]["base"], about["derived"]["function"])
        for field, about in said["fields"].items()
        if "derived" in about
    }
    return Dataset(name, 1, number, said["provider"], {}, said["subject_role"], fields, derived, {})


def _purpose(code: str, number: int, said: Mapping[str, Any]) -> Purpose:
    wanted = {
        dataset: Wanted(dataset, required, frozenset(said["wanted"][dataset]) - required)
        for dataset, required in ((name, frozenset(fields)) for name, fields in said["required"].items())
    }
    basis = Basis(said["basis"])
    return Purpose(code, 1, number, basis, {}, {}, {}, wanted, 365, said["assurance"], law=said["law"])


def _agreement(code: str, number: int, said: Mapping[str, Any]) -> Agreement:
    ceiling = {dataset: frozenset(fields) for dataset, fields in said["ceiling"].items()}
    always = (0, 1 << 62)
    parties = (said["provider"], said["recipient"], tuple(said["purposes"]))
    return Agreement(
        code, said["version"], number, *parties, ceiling, *always, said["look_back_days"], "", "2030-01-01"
    )


def _subscription(number: int, agreement: Agreement, purpose: Purpose, dataset: Dataset) -> Subscription:
    wanted = purpose.wanted[dataset.name]
    schema = dataset.fields.keys() | dataset.derived.keys()
    allowed = agreement.ceiling[dataset.name] & wanted.fields & schema
    return Subscription(number, agreement, purpose, dataset, allowed, wanted.required)

"""The catalogue as one JSON document and back: how approved versions are stored, and what the digest is taken over.

{"agencies": {code: {...}}, "datasets": {name: {...}}, "purposes": {code: {...}}, "agreements": {code: {...}}}; all
but agencies have a "version". Sets are sorted lists; fields are lists, for their order is the order of mentions.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import rfc8785

from hub.core.agreement import Agency, Agreement, Basis, Catalogue, Dataset, Field, Purpose, Subscription, Wanted
from hub.core.errors import HubError, Kind
from hub.core.event import DerivedField

Document = dict[str, Any]


class Line(NamedTuple):
    """One subscription of an agreement by names."""

    number: int
    agreement: str
    purpose: str
    dataset: str


def compose(
    *,
    agencies: Iterable[Agency],
    datasets: Iterable[Dataset],
    purposes: Iterable[Purpose],
    agreements: Iterable[Agreement],
    lines: Iterable[Line],
) -> Catalogue:
    """Index the parts and intersect what each subscription may have. The parts are taken to be checked.

    Raises: KeyError where a line or agreement names a part that is not there.
    """
    by_name = {dataset.name: dataset for dataset in datasets}
    by_purpose = {purpose.code: purpose for purpose in purposes}
    by_agreement = {agreement.code: agreement for agreement in agreements}
    subscriptions: dict[int, Subscription] = {}
    by_dataset: dict[str, list[Subscription]] = {name: [] for name in by_name}
    for line in sorted(lines):
        agreement, purpose, dataset = by_agreement[line.agreement], by_purpose[line.purpose], by_name[line.dataset]
        wanted = purpose.wanted[dataset.name]
        allowed = agreement.ceiling[dataset.name] & wanted.fields & {*dataset.fields, *dataset.derived}
        subscription = Subscription(line.number, agreement, purpose, dataset, allowed, wanted.required)
        subscriptions[line.number] = subscription
        by_dataset[dataset.name].append(subscription)
    catalogue = Catalogue(
        digest="",
        agencies={agency.code: agency for agency in agencies},
        datasets=by_name,
        purposes=by_purpose,
        agreements=by_agreement,
        subscriptions=subscriptions,
        by_dataset={name: tuple(found) for name, found in by_dataset.items()},
    )
    return replace(catalogue, digest=hashlib.sha256(rfc8785.dumps(to_document(catalogue))).hexdigest())


def to_document(catalogue: Catalogue) -> Document:
    """Write the catalogue as JSON values; whatever differs here is another catalogue."""
    agreements = {code: _plain(agreement) for code, agreement in catalogue.agreements.items()}
    for document in agreements.values():
        document["subscriptions"] = []
    for number, subscription in sorted(catalogue.subscriptions.items()):
        line = {"number": number, "purpose": subscription.purpose.code, "dataset": subscription.dataset.name}
        agreements[subscription.agreement.code]["subscriptions"].append(line)
    return {
        "agencies": {code: _agency_document(agency) for code, agency in catalogue.agencies.items()},
        "datasets": {name: _dataset(dataset) for name, dataset in catalogue.datasets.items()},
        "purposes": {code: _plain(purpose) for code, purpose in catalogue.purposes.items()},
        "agreements": agreements,
    }


def from_document(document: Mapping[str, Any]) -> Catalogue:
    """Read what `to_document` wrote; the same content has the same digest.

    Raises: HubError(STARTUP) where the parts are not of this form or name others that are not there.
    """
    try:
        papers = document["agreements"].values()
        return compose(
            agencies=[_agency(part) for part in document["agencies"].values()],
            datasets=[_read_dataset(part) for part in document["datasets"].values()],
            purposes=[_purpose(part) for part in document["purposes"].values()],
            agreements=[_agreement(part) for part in papers],
            lines=[
                Line(line["number"], part["code"], line["purpose"], line["dataset"])
                for part in papers
                for line in part["subscriptions"]
            ],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise HubError(
            Kind.STARTUP,
            "The stored catalogue is not one that this version of the hub wrote.",
            where=str(cause),
            remedy="Apply the catalogue's files again with `hub catalogue apply`.",
            code="catalogue-unreadable",
        ) from cause


def _plain(value: Any) -> Any:
    """Write a frozen value of dataclasses, mappings, sets and tuples as JSON values."""
    return _json(asdict(value))


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [_json(inner) for inner in value]
    return value


def _agency_document(agency: Agency) -> Document:
    """Leave an absent contact or address out: what was approved before there were any keeps its digest."""
    return {name: value for name, value in _plain(agency).items() if name not in ("contact", "address") or value}


def _dataset(dataset: Dataset) -> Document:
    document: Document = _plain(dataset)
    document["fields"] = list(document["fields"].values())
    document["derived"] = list(document["derived"].values())
    return document


def _agency(part: Mapping[str, Any]) -> Agency:
    return Agency(**{**part, "rights": frozenset(part["rights"])})


def _read_dataset(part: Mapping[str, Any]) -> Dataset:
    fields = {field["name"]: Field(**field) for field in part["fields"]}
    derived = {field["name"]: DerivedField(**{**field, "bounds": tuple(field["bounds"])}) for field in part["derived"]}
    return Dataset(**{**part, "fields": fields, "derived": derived})


def _purpose(part: Mapping[str, Any]) -> Purpose:
    wanted = {
        name: Wanted(name, frozenset(fields["required"]), frozenset(fields["optional"]))
        for name, fields in part["wanted"].items()
    }
    not_used_for = {language: tuple(texts) for language, texts in part["not_used_for"].items()}
    roles = frozenset(part["age_roles"])
    taken = {"basis": Basis(part["basis"]), "wanted": wanted, "not_used_for": not_used_for, "age_roles": roles}
    return Purpose(**{**part, **taken})


def _agreement(part: Mapping[str, Any]) -> Agreement:
    ceiling = {dataset: frozenset(fields) for dataset, fields in part["ceiling"].items()}
    taken = {"ceiling": ceiling, "purposes": tuple(part["purposes"])}
    return Agreement(**{name: value for name, value in {**part, **taken}.items() if name != "subscriptions"})

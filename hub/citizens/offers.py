"""What is put before a person, in their language: who would get which items from whom, what for, and what not.

The words come from the catalogue; where it no longer knows a name, the name itself stands there.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import NamedTuple

from consent.notice import Notice
from consent.terms import Pair, Terms
from hub.core.agreement import Catalogue, Dataset, Purpose
from hub.core.leaf import canonical

US_PER_DAY = 86_400_000_000
Pairs = Collection[tuple[str, bool]]
"""Fields of one dataset: (name, required)."""


class Titles(NamedTuple):
    """The catalogue's words in one language."""

    catalogue: Catalogue
    language: str

    def agency(self, code: str) -> str:
        agency = self.catalogue.agencies.get(code)
        return agency.titles.get(self.language, code) if agency else code

    def purpose(self, code: str) -> str:
        purpose = self.catalogue.purposes.get(code)
        return purpose.titles.get(self.language, code) if purpose else code

    def dataset(self, name: str) -> str:
        dataset = self.catalogue.datasets.get(name)
        return dataset.titles.get(self.language, name) if dataset else name

    def field(self, dataset: str, name: str) -> str:
        return self.fields(dataset, (name,))[name]

    def fields(self, dataset: str, names: Iterable[str]) -> dict[str, str]:
        known = self.catalogue.datasets.get(dataset)
        return {name: _field_titles(known, name).get(self.language, name) for name in names}


@dataclass(frozen=True, slots=True)
class Named:
    """A field by its name and its title."""

    field: str
    title: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A field that would go. `required`: without it nothing of its dataset goes. `special`: GDPR article 9."""

    field: str
    title: str
    required: bool
    special: bool


@dataclass(frozen=True, slots=True)
class Share:
    """One dataset of an offer: who gives it, what of it would go, and what of it they do not get."""

    dataset: str
    title: str
    provider: str
    provider_title: str
    items: tuple[Asked, ...]
    withheld: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """A use of a person's data, whole: everything they need to decide about it. Holds nothing of the person."""

    recipient: str
    recipient_title: str
    purpose: str
    purpose_title: str
    basis: str
    law: str  # the article; empty where the person is asked
    benefit: str
    not_used_for: tuple[str, ...]
    shares: tuple[Share, ...]
    days: int  # how long a consent would last at most; for a law, how long the recipient keeps the data
    refusal: (
        str  # code of what a no means: refusal.consent | refusal.explicit_request | refusal.objection | refusal.none
    )


def offer_of(titles: Titles, terms: Terms) -> Offer:
    """Word what a consent is asked to cover."""
    wanted: dict[tuple[str, str], list[tuple[str, bool]]] = {}
    for item in terms.items:
        wanted.setdefault((item.dataset, item.provider), []).append((item.field, item.required))
    shares = [_share(titles, dataset, provider, fields) for (dataset, provider), fields in sorted(wanted.items())]
    return _offer(titles, terms.recipient, terms.purpose, shares, terms.duration_us // US_PER_DAY)


def offer_by_law(
    titles: Titles, recipient: str, purpose: Purpose, lines: Iterable[tuple[Dataset, str, Pairs]]
) -> Offer:
    """Word what a law lets a recipient have. `lines`: dataset, provider, and its (field, required) pairs."""
    shares = [_share(titles, dataset.name, provider, fields) for dataset, provider, fields in lines]
    return _offer(titles, recipient, purpose.code, shares, purpose.retention_days)


def notice_of(offer: Offer, *, version: int, language: str) -> tuple[Notice, bytes]:
    """Name the text that is shown, and return it: the offer's words as canonical JSON, nothing of them the person's."""
    text = canonical(asdict(offer))
    return Notice(version, language, sha256(text).digest()), text


def given_of(offer: Offer, items: Collection[Pair]) -> Offer:
    """Leave in an offer what was given of it; the rest is withheld like everything else of the dataset."""
    shares = []
    for share in offer.shares:
        kept = tuple(one for one in share.items if (share.dataset, one.field) in items)
        left_out = tuple(Named(one.field, one.title) for one in share.items if one not in kept)
        if kept:
            shares.append(replace(share, items=kept, withheld=left_out + share.withheld))
    return replace(offer, shares=tuple(shares))


def _offer(titles: Titles, recipient: str, code: str, shares: list[Share], days: int) -> Offer:
    purpose = titles.catalogue.purposes.get(code)
    basis = purpose.basis.value if purpose else ""
    return Offer(
        recipient,
        titles.agency(recipient),
        code,
        titles.purpose(code),
        basis,
        purpose.law if purpose else "",
        purpose.benefit.get(titles.language, "") if purpose else "",
        purpose.not_used_for.get(titles.language, ()) if purpose else (),
        tuple(shares),
        days,
        REFUSALS.get(basis, "refusal.consent"),
    )


REFUSALS: Mapping[str, str] = {
    "consent": "refusal.consent",
    "explicit_request": "refusal.explicit_request",
    "law_with_objection": "refusal.objection",
    "law": "refusal.none",
    "vital_interest": "refusal.none",
}


def _share(titles: Titles, name: str, provider: str, fields: Pairs) -> Share:
    dataset = titles.catalogue.datasets.get(name)
    going = {field for field, _ in fields}
    asked = tuple(
        Asked(field, titles.field(name, field), required, _special(dataset, field))
        for field, required in sorted(fields)
    )
    rest = sorted(set(dataset.fields) - going) if dataset else ()
    withheld = tuple(Named(field, titles.field(name, field)) for field in rest)
    return Share(name, titles.dataset(name), provider, titles.agency(provider), asked, withheld)


def _field_titles(dataset: Dataset | None, name: str) -> Mapping[str, str]:
    if dataset is None:
        return {}
    if name in dataset.fields:
        return dataset.fields[name].titles
    derived = dataset.derived.get(name)
    return (derived.titles or {}) if derived else {}


def _special(dataset: Dataset | None, name: str) -> bool:
    """A derived field is as special as its base."""
    if dataset is None:
        return True
    derived = dataset.derived.get(name)
    field = dataset.fields.get(derived.base if derived else name)
    return field is None or field.special

"""What is asked of a person: who wants which fields from whom, what for, for how long, and what good it does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consent.canonical import Json, canonical, check_ints, check_texts, sha256
from consent.errors import Code, ConsentError

MAX_ITEMS = 500  # nobody can read more; the largest purpose of the catalogue asks for fewer than twenty
MAX_DURATION_US = 100 * 366 * 86_400 * 1_000_000  # a hundred years: longer than a life is a mistake, not a term

Pair = tuple[str, str]
"""(dataset, field): what is given or not. `field` may be a derived one, such as `dob_month`."""


@dataclass(frozen=True, slots=True)
class Item:
    """One field asked for. `required`: without it the recipient can do nothing with this dataset."""

    dataset: str
    field: str
    required: bool
    provider: str

    @property
    def pair(self) -> Pair:
        return (self.dataset, self.field)


@dataclass(frozen=True, slots=True)
class Terms:
    """The question put to a person, without the person: the same terms may be asked of many. Order never matters.

    `duration_us` is the longest a consent may last from the moment it is given. Raises `ConsentError(VALUE)`.
    """

    recipient: str
    purpose: str
    items: frozenset[Item]
    duration_us: int
    benefits: frozenset[str]  # ids of the benefit texts

    def __post_init__(self) -> None:
        check_texts(recipient=self.recipient, purpose=self.purpose)
        check_ints(low=1, high=MAX_DURATION_US, duration_us=self.duration_us)
        if not 0 < len(self.items) <= MAX_ITEMS:
            raise ConsentError(Code.VALUE, f"terms ask for 1 to {MAX_ITEMS} items")
        if len(self.pairs) != len(self.items):
            raise ConsentError(Code.VALUE, "terms ask for one field of one dataset twice")
        for item in self.items:
            check_texts(dataset=item.dataset, field=item.field, provider=item.provider)
            if type(item.required) is not bool:
                raise ConsentError(Code.VALUE, "required must be true or false")
        for benefit in self.benefits:
            check_texts(benefit=benefit)

    @property
    def pairs(self) -> frozenset[Pair]:
        """Everything asked for: what a consent without any narrowing gives."""
        return frozenset(item.pair for item in self.items)

    @property
    def required(self) -> frozenset[Pair]:
        return frozenset(item.pair for item in self.items if item.required)

    @property
    def digest(self) -> bytes:
        """SHA-256 over the canonical bytes: names exactly these terms, 32 bytes."""
        return sha256(canonical({"kind": "consent-terms", "v": 1, **self.as_json()}))

    def as_json(self) -> dict[str, Json]:
        ordered = sorted(self.items, key=lambda item: item.pair)
        return {
            "recipient": self.recipient,
            "purpose": self.purpose,
            "items": [
                {"dataset": one.dataset, "field": one.field, "required": one.required, "provider": one.provider}
                for one in ordered
            ],
            "duration_us": self.duration_us,
            "benefits": [*sorted(self.benefits)],
        }


def terms_from_json(said: Mapping[str, Any]) -> Terms:
    """Read what `as_json` wrote. Raises `ConsentError`, `KeyError` or `TypeError` when it is something else."""
    return Terms(
        recipient=said["recipient"],
        purpose=said["purpose"],
        items=frozenset(Item(**item) for item in said["items"]),
        duration_us=said["duration_us"],
        benefits=frozenset(said["benefits"]),
    )


def named(pairs: frozenset[Pair]) -> tuple[str, ...]:
    """Name fields as errors and pages do: "dataset/field", sorted."""
    return tuple(sorted(f"{dataset}/{field}" for dataset, field in pairs))


def check_choice(terms: Terms, chosen: frozenset[Pair]) -> None:
    """Raise `ConsentError` unless `chosen` is a choice somebody could make of these terms.

    A whole dataset may be left out; of a dataset that stays, its required fields must stay, or nothing of it could
    ever be released and the person would be shown a consent that does nothing.
    """
    if unknown := chosen - terms.pairs:
        raise ConsentError(
            Code.UNKNOWN_FIELD,
            f"{terms.purpose} of {terms.recipient} never asked for {', '.join(named(unknown))}",
            remedy=f"Choose among: {', '.join(named(terms.pairs))}.",
            items=named(unknown),
        )
    if not chosen:
        raise ConsentError(
            Code.NOTHING_LEFT,
            "an empty choice gives nothing",
            remedy="Refuse or withdraw instead.",
            items=named(terms.required),
        )
    datasets = {dataset for dataset, _ in chosen}
    missing = frozenset(pair for pair in terms.required - chosen if pair[0] in datasets)
    if missing:
        raise ConsentError(
            Code.REQUIRED_MISSING,
            f"without {', '.join(named(missing))} nothing else of the same dataset can be released",
            remedy="Keep the required fields, or leave out the whole dataset.",
            items=named(missing),
        )

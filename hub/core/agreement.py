"""What agencies, datasets, purposes and agreements say: the approved catalogue as frozen values.

A *subscription* is one line of an agreement: this recipient hears of this dataset for this purpose. It is what the
gate matches events against; it keeps its identity when the agreement gets a new version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

from hub.core.event import DerivedField


class Basis(StrEnum):
    """Legal basis of a purpose; decides whether the person is asked, may object, or is only told."""

    CONSENT = "consent"
    LAW = "law"
    LAW_WITH_OBJECTION = "law_with_objection"
    EXPLICIT_REQUEST = "explicit_request"
    VITAL_INTEREST = "vital_interest"

    @property
    def needs_consent(self) -> bool:
        return self in (Basis.CONSENT, Basis.EXPLICIT_REQUEST)


@dataclass(frozen=True, slots=True)
class Agency:
    """An organisation that publishes or subscribes. `code` is its stable name, as in `civil-registry`."""

    code: str
    number: int  # small integer of the store, stable for ever; the hot tables use it
    titles: Mapping[str, str]  # per language
    rights: frozenset[str] = frozenset()  # of "publish", "subscribe", "link"
    contact: str = ""  # whom to call about its agreements; printed on them
    address: str = ""  # postal; in the records of consents to it (ISO/IEC TS 27560:2023 6.3.6)


@dataclass(frozen=True, slots=True)
class Field:
    """One top-level property of a dataset, and whose data it is."""

    name: str
    titles: Mapping[str, str]
    role: str  # the role of the person it is about: "child", "parent", ...
    classification: str = "ordinary"  # ordinary | sensitive
    special: bool = False  # special category, GDPR article 9
    names: str = ""  # "person_ref" or "identifier" where the value names someone; rewritten pairwise or refused
    many: bool = False  # an array whose elements are each about one person of `role`
    element_ref: str = ""  # for an array of objects: the property of the element that is the person_ref


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity: its shape is worked out once and remembered
class Dataset:
    """An event type with its schema. `name` is the CloudEvents `type`."""

    name: str
    version: int
    number: int
    provider: str
    titles: Mapping[str, str]
    subject_role: str  # the role of the CloudEvents `subject`
    fields: Mapping[str, Field]
    derived: Mapping[str, DerivedField]  # name of the derived field -> how; the base field stays withheld
    schema: Mapping[str, object]  # JSON Schema 2020-12 of `data`
    rhythm_days: int = 0  # declared longest silence; 0: none declared


@dataclass(frozen=True, slots=True)
class Wanted:
    """The smallest field set of a purpose for one dataset."""

    dataset: str
    required: frozenset[str]
    optional: frozenset[str] = frozenset()

    @property
    def fields(self) -> frozenset[str]:
        return self.required | self.optional


@dataclass(frozen=True, slots=True)
class Purpose:
    code: str  # "FAM-ALLOW"
    version: int
    number: int
    basis: Basis
    titles: Mapping[str, str]
    benefit: Mapping[str, str]
    not_used_for: Mapping[str, tuple[str, ...]]
    wanted: Mapping[str, Wanted]  # by dataset
    retention_days: int
    assurance: int  # 1, 2, 3 = P1, P2, P3 (UK GPG 45 low, medium, high)
    law: str = ""  # article, named where the basis is law
    age_roles: frozenset[str] = frozenset()  # whose age is limited, a role per dataset at most; none: no age limit
    age_from_years: int = 0  # half-open: from <= age < below, in whole years in the legal time zone
    age_below_years: int = 0  # 0: no upper limit


@dataclass(frozen=True, slots=True)
class Agreement:
    code: str  # "AGR-12"
    version: int
    number: int  # of the code, the same for every version
    provider: str
    recipient: str
    purposes: tuple[str, ...]
    ceiling: Mapping[str, frozenset[str]]  # dataset -> the widest fields it may ever grant
    valid_from_us: int
    valid_until_us: int  # half-open
    look_back_days: int
    law: str
    review_on: str  # ISO date


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity: it is a key in hot look-ups
class Subscription:
    """One (agreement, purpose, dataset): everything `decide` needs of the catalogue, ready to intersect."""

    number: int  # stable for (agreement code, purpose code, dataset name), never for a version
    agreement: Agreement
    purpose: Purpose
    dataset: Dataset
    allowed: frozenset[str]  # ceiling & wanted & (schema | derived): the allow-list that no policy can widen
    required: frozenset[str]
    asks: str = ""  # "with_case" | "without_case" where the recipient asked; "" where it only hears of events

    @property
    def recipient(self) -> str:
        return self.agreement.recipient


@lru_cache(maxsize=4096)  # few: by approved subscription and what is asked of it; so its identity stays the same
def for_ask(subscription: Subscription, fields: frozenset[str], *, with_case: bool) -> Subscription:
    """Narrow a subscription to what one ask wants: no other field, nothing held for later."""
    return replace(
        without_look_back(subscription),
        allowed=subscription.allowed & fields,
        required=subscription.required & fields,
        asks="with_case" if with_case else "without_case",
    )


@lru_cache(maxsize=4096)
def without_look_back(subscription: Subscription) -> Subscription:
    """Return the subscription under which nothing is held: what may not go now does not go."""
    return replace(subscription, agreement=replace(subscription.agreement, look_back_days=0))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every approved version in force, indexed. `digest` names exactly this content (SHA-256 over canonical JSON)."""

    digest: str
    agencies: Mapping[str, Agency]
    datasets: Mapping[str, Dataset]
    purposes: Mapping[str, Purpose]
    agreements: Mapping[str, Agreement]
    subscriptions: Mapping[int, Subscription]
    by_dataset: Mapping[str, tuple[Subscription, ...]] = field(default_factory=dict)

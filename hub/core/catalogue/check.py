"""What only two parts of the catalogue together can get wrong. Parts that could not be read are not judged again."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from hub.core.agreement import Agency, Basis, Dataset, Purpose
from hub.core.catalogue.check_dataset import check_dataset
from hub.core.catalogue.read import Paper
from hub.core.catalogue.sheet import Marked, did_you_mean, listed
from hub.core.errors import Item

ARTICLE = re.compile(r"(\b(article|section|art\.)|§)\s*\d", re.IGNORECASE)
Value = TypeVar("Value")
BOTH_SIGN = "Remove it, or propose a new version; both officers must sign."


class Drafts(NamedTuple):
    """Everything that was read, by name."""

    agencies: Mapping[str, Marked[Agency]]
    datasets: Mapping[str, Marked[Dataset]]
    purposes: Mapping[str, Marked[Purpose]]
    agreements: Mapping[str, Marked[Paper]]


class Named(NamedTuple):
    """How a thing is called, and where that stands."""

    name: str
    where: str
    titles: Mapping[str, str]


def check(drafts: Drafts) -> list[Item]:
    """Collect every finding: names and numbers, then each dataset, purpose and agreement against the others."""
    findings = [*_names_and_numbers(drafts)]
    for dataset in _sound(drafts.datasets):
        findings += _provider(drafts, dataset.value.name, dataset.value.provider, dataset.where("provider"))
        findings += check_dataset(dataset)
        called = [
            Named(field.name, dataset.where(kind, field.name), field.titles or {})
            for kind, fields in (("fields", dataset.value.fields), ("derived", dataset.value.derived))
            for field in fields.values()
        ]
        findings += _two_names(called)
    for purpose in _sound(drafts.purposes):
        findings += _purpose(drafts, purpose)
    granted: dict[tuple[str, str, str], str] = {}
    for paper in _sound(drafts.agreements):
        findings += _parties(drafts, paper)
        findings += _ceiling(drafts, paper)
        for code in paper.value.agreement.purposes:
            findings += _grant(drafts, paper, code)
        findings += _lines(paper, granted)
    return findings


def _sound(drafts: Mapping[str, Marked[Value]]) -> list[Marked[Value]]:
    return [draft for draft in drafts.values() if draft.sound]


def _unknown(what: str, name: str, known: Iterable[str], where: str) -> Item:
    remedy = did_you_mean(name, known) or f"Known are {listed(known)}."
    return Item(f"{what} {name}, which the catalogue does not have", where, remedy)


def _names_and_numbers(drafts: Drafts) -> list[Item]:
    kinds: tuple[list[Named], ...] = (
        [Named(name, draft.where("titles"), draft.value.titles) for name, draft in drafts.agencies.items()],
        [Named(name, draft.where("titles"), draft.value.titles) for name, draft in drafts.datasets.items()],
        [Named(name, draft.where("titles"), draft.value.titles) for name, draft in drafts.purposes.items()],
        [Named(name, draft.where("code"), {}) for name, draft in drafts.agreements.items()],
    )
    findings = [item for kind in kinds for item in _two_names(kind)]
    numbered = (
        [(name, draft.value.number, draft.where("number")) for name, draft in drafts.agencies.items()],
        [(name, draft.value.number, draft.where("number")) for name, draft in drafts.datasets.items()],
        [(name, draft.value.number, draft.where("number")) for name, draft in drafts.purposes.items()],
        [(name, draft.value.agreement.number, draft.where("number")) for name, draft in drafts.agreements.items()],
        [
            (f"{line.purpose} of {line.dataset} in {name}", line.number, draft.where("subscriptions"))
            for name, draft in drafts.agreements.items()
            for line in draft.value.lines
        ],
    )
    for kind in numbered:
        findings += _numbers(kind)
    return findings


def _numbers(numbered: list[tuple[str, int, str]]) -> list[Item]:
    """Find numbers given twice: rows of the store would speak of two things."""
    owner: dict[int, str] = {}
    findings = []
    for name, number, where in numbered:
        if owner.setdefault(number, name) != name:
            remedy = f"Take {max(owner) + 1}; a number is never used again."
            findings.append(Item(f"{name} has the number {number}, which is {owner[number]}'s", where, remedy))
    return findings


def _two_names(things: list[Named]) -> list[Item]:
    """Find things that differ in spelling only, or are called the same in some language."""
    findings = []
    seen: dict[tuple[str, str], str] = {}
    for thing in things:
        spelled = ("spelling", re.sub(r"[^a-z0-9]", "", thing.name.lower()))
        called = [(language, title.casefold()) for language, title in thing.titles.items() if title]
        for how, word in (spelled, *called):
            other = seen.setdefault((how, word), thing.name)
            if other != thing.name:
                same = "differ in spelling only" if how == "spelling" else f"have the same title in {how}"
                what = f"{thing.name} and {other} {same}: two names for one thing"
                findings.append(Item(what, thing.where, "Keep one, or say how they differ."))
    return findings


def _provider(drafts: Drafts, what: str, code: str, where: str) -> list[Item]:
    provider = drafts.agencies.get(code)
    if provider is None:
        return [_unknown(f"{what} is provided by", code, drafts.agencies, where)]
    if provider.sound and "publish" not in provider.value.rights:
        return [Item(f"{what} is provided by {code}, which has not the right to publish", where)]
    return []


def _purpose(drafts: Drafts, draft: Marked[Purpose]) -> list[Item]:
    """Check that a purpose names its law where it relies on one, and wants and limits only what there is."""
    purpose, findings = draft.value, []
    if purpose.basis in (Basis.LAW, Basis.LAW_WITH_OBJECTION) and not ARTICLE.search(purpose.law):
        what = f"{purpose.code} relies on a law and names no article of it"
        where = draft.where("law") if purpose.law else draft.where("basis")
        findings.append(Item(what, where, "Add law, as in law: Child Benefits Act 2024, article 7."))
    if not purpose.wanted:
        findings.append(Item(f"{purpose.code} wants nothing of any dataset", draft.where("wanted")))
    roles: set[str] = set()
    for name, wanted in purpose.wanted.items():
        dataset = drafts.datasets.get(name)
        if dataset is None:
            findings.append(_unknown(f"{purpose.code} wants", name, drafts.datasets, draft.where("wanted", name)))
            continue
        findings += _fields(purpose.code, "wants", wanted.fields, dataset, draft.where("wanted", name))
        there = {dataset.value.subject_role, *(field.role for field in dataset.value.fields.values())}
        roles |= there
        if purpose.age_roles and dataset.sound and not purpose.age_roles & there:
            what = f"{purpose.code} limits the age of {listed(purpose.age_roles)}, and {name} is about {listed(there)}"
            findings.append(Item(what, draft.where("age", "roles"), "Add the role whose age counts there."))
    for role in sorted(purpose.age_roles - roles) if roles else ():
        remedy = did_you_mean(role, roles) or f"Its datasets are about {listed(roles)}."
        what = f"{purpose.code} limits the age of {role}, whom none of its datasets is about"
        findings.append(Item(what, draft.where("age", "roles"), remedy))
    return findings


def _fields(who: str, verb: str, names: Iterable[str], dataset: Marked[Dataset], where: str) -> list[Item]:
    """Find fields that the dataset lacks."""
    if not dataset.sound:
        return []
    there = [*dataset.value.fields, *dataset.value.derived]
    return [
        Item(
            f"{who} {verb} {name} of {dataset.value.name}, which has no such field",
            where,
            did_you_mean(name, there) or f"It has {listed(there)}.",
        )
        for name in sorted(names)
        if name not in there
    ]


def _parties(drafts: Drafts, draft: Marked[Paper]) -> list[Item]:
    agreement = draft.value.agreement
    findings = _provider(drafts, agreement.code, agreement.provider, draft.where("provider"))
    recipient, where = drafts.agencies.get(agreement.recipient), draft.where("recipient")
    if recipient is None:
        findings.append(_unknown(f"{agreement.code} is for", agreement.recipient, drafts.agencies, where))
    elif recipient.sound and "subscribe" not in recipient.value.rights:
        what = f"{agreement.code} is for {agreement.recipient}, which has not the right to subscribe"
        findings.append(Item(what, where))
    if agreement.provider == agreement.recipient:
        findings.append(Item(f"{agreement.code} is of {agreement.provider} with itself", where))
    return findings


def _ceiling(drafts: Drafts, draft: Marked[Paper]) -> list[Item]:
    """Check that the ceiling is of the provider's own datasets, and not above what its purposes need."""
    agreement, findings = draft.value.agreement, []
    purposes = [drafts.purposes[code] for code in agreement.purposes if code in drafts.purposes]
    for name, ceiling in agreement.ceiling.items():
        dataset, where = drafts.datasets.get(name), draft.where("ceiling", name)
        if dataset is None:
            findings.append(_unknown(f"{agreement.code} grants", name, drafts.datasets, where))
            continue
        findings += _fields(f"{agreement.code} v{agreement.version}", "grants", ceiling, dataset, where)
        if dataset.sound and dataset.value.provider != agreement.provider:
            what = (
                f"{agreement.code} is of {agreement.provider} and grants {name}, which is of {dataset.value.provider}"
            )
            findings.append(Item(what, where, "An agency grants its own datasets only."))
        needed = {
            field for purpose in purposes if name in purpose.value.wanted for field in purpose.value.wanted[name].fields
        }
        for field in sorted(ceiling - needed) if all(purpose.sound for purpose in purposes) else ():
            what = (
                f"{agreement.code} v{agreement.version} grants {field} of {name}, which none of its purposes needs."
                f" Needed: {listed(needed)}."
            )
            findings.append(Item(what, where, "Remove it from the ceiling."))
    return findings


def _grant(drafts: Drafts, draft: Marked[Paper], code: str) -> list[Item]:
    """Check one purpose of an agreement: it exists, is served, and wants nothing above the ceiling."""
    agreement, purpose = draft.value.agreement, drafts.purposes.get(code)
    if purpose is None:
        return [_unknown(f"{agreement.code} serves", code, drafts.purposes, draft.where("purposes"))]
    if not purpose.sound:
        return []
    served = [name for name in agreement.ceiling if name in purpose.value.wanted]
    if not served:
        what = f"{agreement.code} serves {code} and grants no dataset that it wants"
        return [Item(what, draft.where("purposes"), f"It wants {listed(purpose.value.wanted)}.")]
    findings = []
    listed_lines = {(line.purpose, line.dataset) for line in draft.value.lines}
    for name in served:
        ceiling = agreement.ceiling[name]
        for field in sorted(purpose.value.wanted[name].fields - ceiling):
            what = (
                f"{agreement.code} v{agreement.version} does not grant {field} for {code}. Granted: {listed(ceiling)}."
            )
            findings.append(Item(what, purpose.where("wanted", name), BOTH_SIGN))
        if (code, name) not in listed_lines:
            what = f"{agreement.code} grants {name} for {code} and lists no subscription for it"
            findings.append(Item(what, draft.where("subscriptions"), "Add one with a number of its own."))
    return findings


def _lines(draft: Marked[Paper], granted: dict[tuple[str, str, str], str]) -> list[Item]:
    """Check the listed subscriptions: each within the agreement, and nothing granted by two agreements."""
    agreement, findings = draft.value.agreement, []
    where = draft.where("subscriptions")
    seen: set[tuple[str, str]] = set()
    for line in draft.value.lines:
        pair = (line.purpose, line.dataset)
        if line.purpose not in agreement.purposes or line.dataset not in agreement.ceiling:
            what = f"{agreement.code} lists a subscription for {line.purpose} of {line.dataset} and does not grant it"
            findings.append(Item(what, where, "Remove it, or correct its names."))
        other = granted.setdefault((agreement.recipient, *pair), agreement.code)
        if pair in seen or other != agreement.code:
            what = f"{agreement.code} and {other} both let {agreement.recipient} have {line.dataset} for {line.purpose}"
            findings.append(Item(what, where, "Two names for one thing: keep one."))
        seen.add(pair)
    return findings

"""What would change between the approved catalogue and a proposed one, in words that two officers can sign."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hub.core.agreement import Catalogue
from hub.core.catalogue.document import Document, to_document
from hub.core.catalogue.sheet import day_text
from hub.core.errors import HubError, Item, Kind

Direction = Literal["widened", "narrowed", "new", "ended", "changed"]
NOUNS = {"agencies": "agency", "datasets": "dataset", "purposes": "purpose", "agreements": "agreement"}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. Widened: somebody may hear more, longer or with less certainty of who is who; narrowed: less."""

    kind: Direction
    noun: str  # agency | dataset | purpose | agreement
    code: str
    version: int  # of the proposed one, of the approved one where it has ended; 0 for an agency
    what: str


def difference(approved: Catalogue, proposed: Catalogue) -> tuple[Change, ...]:
    """Name every difference: agencies, datasets, purposes, agreements, each by code, widened before narrowed."""
    before, after = to_document(approved), to_document(proposed)
    changes: list[Change] = []
    for kind, noun in NOUNS.items():
        for code in sorted(before[kind].keys() | after[kind].keys()):
            old, new = before[kind].get(code), after[kind].get(code)
            version = (new or old).get("version", 0)
            changes += [Change(way, noun, code, version, what) for way, what in _compare(kind, old, new)]
    return tuple(changes)


def refuse_rewrites(approved: Catalogue, proposed: Catalogue) -> None:
    """Hold the proposed catalogue to what was approved: an approved version never says something else afterwards.

    Raises: HubError(INVALID) with an item for each version rewritten or gone back, and each number moved or reused.
    """
    before, after = to_document(approved), to_document(proposed)
    items: list[Item] = []
    for kind, noun in NOUNS.items():
        items += _rewritten(noun, before[kind], after[kind])
        items += _renumbered(_numbers(before[kind].values()), _numbers(after[kind].values()))
    items += _renumbered(_lines(approved), _lines(proposed))
    if items:
        raise HubError(
            Kind.INVALID,
            items[0].what if len(items) == 1 else f"{len(items)} approved versions or numbers would be rewritten.",
            where=items[0].where,
            remedy=items[0].remedy if len(items) == 1 else "Raise the versions; both officers must sign the new ones.",
            code="version-rewritten",
            items=tuple(items),
        )


def _compare(kind: str, old: Document | None, new: Document | None) -> list[tuple[Direction, str]]:
    if old is None or new is None:
        return [("new", "is new")] if old is None else [("ended", "is there no more")]
    if old == new:
        return []
    widened: list[str] = []
    narrowed: list[str] = []
    known = COMPARE[kind](old, new, widened, narrowed)
    other = sorted(key for key in new.keys() | old.keys() if key not in known and old.get(key) != new.get(key))
    found: list[tuple[Direction, str]] = [("widened", what) for what in widened]
    found += [("narrowed", what) for what in narrowed]
    if other or not found:
        found.append(("changed", "says something else under " + (", ".join(other) or "version")))
    return found


def _sets(what: str, old: Iterable[str], new: Iterable[str], widened: list[str], narrowed: list[str]) -> None:
    more, less = sorted({*new} - {*old}), sorted({*old} - {*new})
    if more:
        widened.append(f"{what}: {', '.join(more)} added")
    if less:
        narrowed.append(f"{what}: {', '.join(less)} removed")


def _amount(
    what: str, old: int, new: int, more: list[str], less: list[str], *, show: Callable[[int], str] = str
) -> None:
    """Note an amount that grew under `more`, one that shrank under `less`."""
    if old != new:
        (more if new > old else less).append(f"{what}: {show(old)} -> {show(new)}")


def _agency(old: Document, new: Document, widened: list[str], narrowed: list[str]) -> frozenset[str]:
    _sets("rights", old["rights"], new["rights"], widened, narrowed)
    return frozenset({"rights"})


def _dataset(_old: Document, _new: Document, _widened: list[str], _narrowed: list[str]) -> frozenset[str]:
    """Nothing here widens or narrows a release: a new field stays unreleased until an agreement names it."""
    return frozenset({"version"})


def _purpose(old: Document, new: Document, widened: list[str], narrowed: list[str]) -> frozenset[str]:
    for dataset in sorted(old["wanted"].keys() | new["wanted"].keys()):
        _sets(f"wants of {dataset}", _wanted(old, dataset), _wanted(new, dataset), widened, narrowed)
    _amount("retention_days", old["retention_days"], new["retention_days"], widened, narrowed)
    # more certainty of who is who reaches fewer
    _amount("assurance", old["assurance"], new["assurance"], narrowed, widened, show=lambda level: f"P{level}")
    required = {name: wanted["required"] for name, wanted in old["wanted"].items()}
    if required == {name: wanted["required"] for name, wanted in new["wanted"].items()}:
        return frozenset({"version", "retention_days", "assurance", "wanted"})
    return frozenset({"version", "retention_days", "assurance"})


def _wanted(purpose: Document, dataset: str) -> list[str]:
    wanted = purpose["wanted"].get(dataset, {"required": [], "optional": []})
    return [*wanted["required"], *wanted["optional"]]


def _agreement(old: Document, new: Document, widened: list[str], narrowed: list[str]) -> frozenset[str]:
    _sets("purposes", old["purposes"], new["purposes"], widened, narrowed)
    for dataset in sorted(old["ceiling"].keys() | new["ceiling"].keys()):
        before, after = old["ceiling"].get(dataset, []), new["ceiling"].get(dataset, [])
        _sets(f"grants of {dataset}", before, after, widened, narrowed)
    _amount("look_back_days", old["look_back_days"], new["look_back_days"], widened, narrowed)
    _amount("valid_until", old["valid_until_us"], new["valid_until_us"], widened, narrowed, show=day_text)
    _amount("valid_from", old["valid_from_us"], new["valid_from_us"], narrowed, widened, show=day_text)
    told = {"version", "purposes", "ceiling", "look_back_days", "valid_until_us", "valid_from_us", "subscriptions"}
    return frozenset(told)


COMPARE: Mapping[str, Callable[[Document, Document, list[str], list[str]], frozenset[str]]] = {
    "agencies": _agency,
    "datasets": _dataset,
    "purposes": _purpose,
    "agreements": _agreement,
}


def _rewritten(noun: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Item]:
    items = []
    for code in sorted(before.keys() & after.keys()):
        old, new = before[code], after[code]
        label = f"{code} v{old['version']}" if noun != "agency" else code
        if noun == "agency" or old == new:
            continue
        if new["version"] == old["version"]:
            items.append(
                Item(f"{label} was approved and says something else; raise the version", label, "Raise the version.")
            )
        elif new["version"] < old["version"]:
            what = f"{code} v{new['version']} is older than {label}, which was approved"
            items.append(Item(what, label, f"Make it version {old['version'] + 1}."))
    return items


def _numbers(parts: Iterable[Document]) -> dict[str, int]:
    return {part.get("code") or part["name"]: part["number"] for part in parts}


def _lines(catalogue: Catalogue) -> dict[str, int]:
    return {
        f"{line.purpose.code} of {line.dataset.name} in {line.agreement.code}": number
        for number, line in catalogue.subscriptions.items()
    }


def _renumbered(before: Mapping[str, int], after: Mapping[str, int]) -> list[Item]:
    """Find numbers that moved: rows of the store hold them, and would speak of something else."""
    owner = {number: name for name, number in before.items()}
    items = []
    for name, number in after.items():
        if before.get(name, number) != number:
            items.append(
                Item(f"{name} was approved with the number {before[name]}, not {number}", name, "Give it back.")
            )
        elif owner.get(number, name) != name:
            what = f"{name} has the number {number}, which was approved for {owner[number]}"
            items.append(Item(what, name, f"Take {max(*before.values(), *after.values()) + 1}."))
    return items

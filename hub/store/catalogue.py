"""Approved catalogues in the store: each part's versions as documents, and which of them are in force together.

A version is one row of `catalogue_version`, never changed. What is in force is itself such a row: kind "catalogue",
whose document names one version of every part; the fact `catalogue_digest` says which of these counts now.
Agencies carry no version of their own; each change of one is numbered here.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from hub.core.agreement import Catalogue, Dataset
from hub.core.agreement_digest import Terms, terms_of
from hub.core.catalogue import Change, difference, from_document, refuse_rewrites, to_document
from hub.core.errors import HubError, Item, Kind
from hub.core.leaf import LeafKind, canonical
from hub.ports import Clock
from hub.store.agreements import settle
from hub.store.audit import Salt, add_act
from hub.store.engine import Lane, Store, Tx
from hub.store.facts import AGENCY_FENCE, AGREEMENT_FENCE, POLICY_FENCE, raise_fence
from hub.store.news import Topic, tell
from hub.store.outside import CATALOGUE, Act
from hub.store.signatures import fully_signed, keep_terms

Document = dict[str, Any]
KINDS = ("agencies", "datasets", "purposes", "agreements")
WHOLE = "catalogue"
NOTHING: Document = {kind: {} for kind in KINDS}


class Approved(NamedTuple):
    """The catalogue in force, every approved version of every dataset, and the policy revision that goes with it."""

    catalogue: Catalogue
    datasets: Mapping[tuple[str, int], Dataset]
    revision: str  # "" where nothing was ever approved


class Applied(NamedTuple):
    """What an approval did. `audit` is 0 where everything stood as proposed already."""

    digest: str
    revision: str
    changes: tuple[Change, ...]
    audit: int
    unsigned: tuple[str, ...] = ()  # agreements that wait for a signature: nothing is released under them


class _Stored(NamedTuple):
    """Every version ever approved, by (kind, code), oldest first."""

    versions: Mapping[tuple[str, str], list[tuple[int, str, Document]]]  # version, digest, document
    in_force: Document
    digest: str
    revision: str


def load_approved(store: Store) -> Approved:
    """Read what is approved. An empty store has an empty catalogue, under which nothing is ever released."""
    with store.read() as tx:
        return approved_within(tx)


def approved_within(tx: Tx) -> Approved:
    """The same, where a snapshot is open already."""
    stored = _read(tx)
    catalogue = from_document(stored.in_force)
    datasets = dict(_older_datasets(stored))
    datasets.update({(one.name, one.version): one for one in catalogue.datasets.values()})
    return Approved(catalogue, datasets, stored.revision)


def apply(
    store: Store,
    clock: Clock,
    proposed: Catalogue,
    *,
    revision: str,
    salt: Salt,
    expected: str | None = None,
) -> Applied:
    """Approve a catalogue: what it says is in force when this returns, and nothing decided under the former commits.

    In one transaction, in the fast lane:
    1. nothing approved is rewritten, no number reused     2. the fences of policy, changed agreements and agencies
    3. new versions, the agreements' standing, the facts     4. the audit row
    An agreement is in force where both sides have signed its terms exactly as they are now; else it waits, unsigned.
    `revision` is the policy's under `proposed`; `salt` derives one from a nonce; `expected` is the digest that whoever
    approves has compared with. Raises HubError: INVALID (a rewrite), CONFLICT (another one was applied meanwhile).
    """
    return store.write(
        lambda tx: _apply(tx, clock(), proposed, revision, salt, expected), lane=Lane.URGENT, patient=True
    )


def _apply(tx: Tx, now_us: int, proposed: Catalogue, revision: str, salt: Salt, expected: str | None) -> Applied:
    stored = _read(tx)
    approved = from_document(stored.in_force)
    if expected is not None and expected != approved.digest:
        raise HubError(
            Kind.CONFLICT,
            "another catalogue was approved meanwhile",
            remedy="Look at the difference again.",
            code="catalogue-moved",
        )
    changes = difference(approved, proposed)
    if not changes and revision == stored.revision and stored.digest:
        return Applied(proposed.digest, revision, (), 0, _unsigned(tx, to_document(proposed)))
    refuse_rewrites(approved, proposed)  # 1.
    after = to_document(proposed)
    _refuse_reuse(stored, after)
    moved = _moved(stored.in_force, after)
    fences = _raise_fences(tx, stored.in_force, after, moved)  # 2.
    _write_versions(tx, stored, after, proposed.digest, now_us)  # 3.
    _write_standing(tx, stored.in_force, after, moved, now_us)
    tx.outside.note(Act(CATALOGUE, proposed.digest, now_us))
    for name, value in (("catalogue_digest", proposed.digest), ("policy_revision", revision)):
        tx.run(
            "INSERT INTO fact(name, value) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
            (name, value),
        )
    tell(tx, Topic.CATALOGUE)
    audit = _audit(tx, changes, proposed.digest, revision, fences, salt, now_us)  # 4.
    return Applied(proposed.digest, revision, changes, audit, _unsigned(tx, after))


def _read(tx: Tx) -> _Stored:
    versions: dict[tuple[str, str], list[tuple[int, str, Document]]] = {}
    for kind, code, version, digest, document in tx.rows(
        "SELECT kind, code, version, digest, document FROM catalogue_version ORDER BY kind, code, version"
    ):
        versions.setdefault((kind, code), []).append((version, digest, orjson.loads(document)))
    facts: dict[str, str] = dict(tx.rows("SELECT name, value FROM fact"))
    digest = facts.get("catalogue_digest", "")
    in_force: Document = NOTHING
    for _, of, manifest in versions.get((WHOLE, WHOLE), ()):
        if of == digest:
            in_force = {
                kind: {code: _version(versions, kind, code, version) for code, version in manifest[kind].items()}
                for kind in KINDS
            }
    return _Stored(versions, in_force, digest, facts.get("policy_revision", ""))


def _version(
    versions: Mapping[tuple[str, str], list[tuple[int, str, Document]]], kind: str, code: str, version: int
) -> Document:
    return next(document for number, _, document in versions[kind, code] if number == version)


def _older_datasets(stored: _Stored) -> Iterator[tuple[tuple[str, int], Dataset]]:
    """Read every approved version of every dataset: events of an older one may still be on their way."""
    for (kind, name), versions in stored.versions.items():
        if kind == "datasets":
            for version, _, document in versions:
                yield (name, version), from_document(NOTHING | {"datasets": {name: document}}).datasets[name]


def _refuse_reuse(stored: _Stored, after: Document) -> None:
    """Hold the proposal to versions and numbers that were approved once and are not in force any more."""
    items: list[Item] = []
    numbers: dict[tuple[str, int], str] = {}
    for (kind, _), versions in stored.versions.items():
        for _, _, document in versions:
            if kind in KINDS:
                numbers |= _numbers(kind, document)
    items += [
        Item(f"{code} was ended, and an ended agreement stays ended", code, "Propose a new one, with its own code.")
        for code in after["agreements"].keys() - stored.in_force["agreements"].keys()
        if ("agreements", code) in stored.versions
    ]
    for kind in KINDS:
        for code, document in after[kind].items():
            for version, digest, _ in stored.versions.get((kind, code), ()):
                if kind != "agencies" and version == document["version"] and digest != _digest(document):
                    items.append(
                        Item(f"{code} v{version} was approved and says something else", code, "Raise the version.")
                    )
            items += [
                Item(f"the number {number} was approved for {numbers[of, number]}", name, "Take a new number.")
                for (of, number), name in _numbers(kind, document).items()
                if numbers.get((of, number), name) != name
            ]
    if items:
        raise HubError(
            Kind.INVALID,
            items[0].what if len(items) == 1 else f"{len(items)} approved versions or numbers would be rewritten.",
            where=items[0].where,
            remedy="Raise the versions; numbers are never used twice.",
            code="version-rewritten",
            items=tuple(items),
        )


def _numbers(kind: str, document: Document) -> dict[tuple[str, int], str]:
    """Name what each number of a part stands for."""
    code = document.get("code") or document["name"]
    lines = {
        ("subscriptions", line["number"]): f"{line['purpose']} of {line['dataset']} in {code}"
        for line in document.get("subscriptions", ())
    }
    return {(kind, document["number"]): code, **lines}


def _moved(before: Document, after: Document) -> tuple[Terms, ...]:
    """Return the terms of every agreement that are other ones now, be it by a purpose or a schema that they name."""
    found = [terms_of(after, code) for code in after["agreements"]]
    return tuple(
        one for one in found if one.code not in before["agreements"] or terms_of(before, one.code).digest != one.digest
    )


def _raise_fences(tx: Tx, before: Document, after: Document, moved: tuple[Terms, ...]) -> dict[str, dict[str, int]]:
    """Take the fences of everything that changes; returns the new epochs, as the audit row keeps them."""
    changed = {
        kind: {
            (after[kind].get(code) or before[kind][code])["number"]
            for code in before[kind].keys() | after[kind].keys()
            if before[kind].get(code) != after[kind].get(code)
        }
        for kind in ("agencies", "agreements")
    }
    changed["agreements"] |= {after["agreements"][one.code]["number"] for one in moved}
    return {
        "agencies": {str(one): raise_fence(tx, AGENCY_FENCE, one) for one in sorted(changed["agencies"])},
        "agreements": {str(one): raise_fence(tx, AGREEMENT_FENCE, one) for one in sorted(changed["agreements"])},
        "policy": {"0": raise_fence(tx, POLICY_FENCE, 0)},
    }


def _write_versions(tx: Tx, stored: _Stored, after: Document, digest: str, now_us: int) -> None:
    rows: list[tuple[str, str, int, str, str, int]] = []
    manifest: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
    for kind in KINDS:
        for code, document in after[kind].items():
            known = stored.versions.get((kind, code), [])
            there = next((version for version, of, _ in known if of == _digest(document)), None)
            if there is None:
                there = document.get("version") or len(known) + 1
                rows.append((kind, code, there, _digest(document), canonical(document).decode(), now_us))
            manifest[kind][code] = there
    known = stored.versions.get((WHOLE, WHOLE), [])
    if not any(of == digest for _, of, _ in known):
        rows.append((WHOLE, WHOLE, len(known) + 1, digest, canonical(manifest).decode(), now_us))
    tx.insert("catalogue_version(kind, code, version, digest, document, approved_us)", rows)


def _write_standing(tx: Tx, before: Document, after: Document, moved: tuple[Terms, ...], now_us: int) -> None:
    """Put in force what both sides have signed, and end what the catalogue has no more; a suspension outlives both."""
    keep_terms(tx, moved, now_us)
    for one in moved:
        settle(tx, after["agreements"][one.code]["number"], signed=fully_signed(tx, one.digest), now_us=now_us)
    for code in sorted(before["agreements"].keys() - after["agreements"].keys()):
        number = before["agreements"][code]["number"]
        tx.run("UPDATE agreement_state SET phase = 'ended', since_us = ? WHERE number = ?", (now_us, number))


def _unsigned(tx: Tx, after: Document) -> tuple[str, ...]:
    waiting = {
        number for (number,) in tx.rows("SELECT number FROM agreement_state WHERE signed = 0 AND phase <> 'ended'")
    }
    return tuple(code for code, document in sorted(after["agreements"].items()) if document["number"] in waiting)


def _audit(
    tx: Tx,
    changes: tuple[Change, ...],
    digest: str,
    revision: str,
    fences: dict[str, dict[str, int]],
    salt: Salt,
    now_us: int,
) -> int:
    """Write the approval's row. Its detail is in the clear: a catalogue is public and names nobody."""
    said = {
        "catalogue": digest,
        "changes": [
            {"code": one.code, "kind": one.kind, "noun": one.noun, "version": one.version, "what": one.what}
            for one in changes
        ],
        "revision": revision,
    }
    return add_act(tx, LeafKind.CATALOGUE, said, at_us=now_us, salt=salt, fences=fences)


def _digest(document: Document) -> str:
    return sha256(canonical(document)).hexdigest()

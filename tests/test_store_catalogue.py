"""Approving a catalogue: one transaction with its fences and its audit row; what was approved once never changes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from hub.catalogue_files import load
from hub.core.agreement import Catalogue
from hub.core.catalogue import from_document, to_document
from hub.core.errors import HubError
from hub.core.leaf import LeafKind
from hub.exchange.agreements import AgreementDesk
from hub.exchange.officers import EMPTY, appoint
from hub.store.agreements import suspend
from hub.store.catalogue import Applied, apply, load_approved
from hub.store.engine import Store
from hub.store.facts import AGREEMENT_FENCE, POLICY_FENCE, read_rules, rules_of
from tests.stores import open_store

pytestmark = pytest.mark.engines

CATALOGUE = Path(__file__).resolve().parents[1] / "policies" / "catalogue"
NOW_US = 1_800_000_000_000_000


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load(CATALOGUE)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "hub.sqlite", synchronous="OFF")
    yield opened
    opened.close()


def approve(store: Store, proposed: Catalogue, revision: str = "sha256:r1", expected: str | None = None) -> Applied:
    """Sign all of it for both sides of each agreement, and approve it."""
    appoint(AgreementDesk(store, lambda: EMPTY, lambda: NOW_US, salt, lambda: None), proposed)
    return approve_only(store, proposed, revision, expected)


def approve_only(
    store: Store, proposed: Catalogue, revision: str = "sha256:r1", expected: str | None = None
) -> Applied:
    return apply(store, lambda: NOW_US, proposed, revision=revision, salt=salt, expected=expected)


def salt(nonce: bytes) -> bytes:
    return nonce + b"salt"


def changed(catalogue: Catalogue, kind: str, code: str, **members: object) -> Catalogue:
    """Return the catalogue with one part changed, as a reviewed file would."""
    document = to_document(catalogue)
    document[kind][code] |= members
    return from_document(document)


def without(catalogue: Catalogue, agreement: str) -> Catalogue:
    document = to_document(catalogue)
    del document["agreements"][agreement]
    return from_document(document)


def epoch(store: Store, kind: int, subject: int) -> int:
    with store.read() as tx:
        return rules_of(read_rules(tx)).epochs.get((kind, subject), 0)


def phase(store: Store, number: int) -> str:
    with store.read() as tx:
        return rules_of(read_rules(tx)).phases.get(number, "")


def test_an_empty_store_has_an_empty_catalogue(store: Store) -> None:
    """Nothing is approved, so there is nothing to subscribe to and no revision to decide under."""
    approved = load_approved(store)
    assert (approved.revision, dict(approved.catalogue.subscriptions), dict(approved.datasets)) == ("", {}, {})


def test_what_is_approved_is_read_back_as_it_was_proposed(store: Store, shipped: Catalogue) -> None:
    """The same digest, every agreement in force, and the dataset in force is the very one that its version names."""
    applied = approve(store, shipped)
    approved = load_approved(store)
    assert approved.catalogue.digest == applied.digest == shipped.digest
    assert approved.revision == "sha256:r1"
    assert {phase(store, one.number) for one in shipped.agreements.values()} == {"in_force"}
    birth = approved.catalogue.datasets["civil.birth.registered"]
    assert approved.datasets["civil.birth.registered", 1] is birth
    with store.read() as tx:
        row = tx.one("SELECT kind, detail FROM audit WHERE id = ?", (applied.audit,))
    assert row is not None
    assert row[0] == LeafKind.CATALOGUE
    assert orjson.loads(row[1])["catalogue"] == shipped.digest


def test_approving_the_same_again_changes_nothing_and_a_new_policy_is_an_approval(
    store: Store, shipped: Catalogue
) -> None:
    """No fence, no row; but another policy under the same catalogue is a change of its own, with its audit row."""
    approve(store, shipped)
    before = epoch(store, POLICY_FENCE, 0)
    assert approve(store, shipped).audit == 0
    assert epoch(store, POLICY_FENCE, 0) == before
    assert approve(store, shipped, "sha256:r2").audit > 0
    assert load_approved(store).revision == "sha256:r2"
    assert epoch(store, POLICY_FENCE, 0) == before + 1


def test_a_new_version_takes_the_fence_of_what_it_changes_and_of_nothing_else(store: Store, shipped: Catalogue) -> None:
    """The changed agreement's epoch moves and its neighbour's does not; its standing stays as it was."""
    approve(store, shipped)
    suspend(store, 1, clock=lambda: NOW_US, salt=salt)
    before = [epoch(store, AGREEMENT_FENCE, number) for number in (1, 2)]
    applied = approve(store, changed(shipped, "agreements", "AGR-1", version=2, look_back_days=7))
    assert [(one.kind, one.code, one.version) for one in applied.changes] == [("widened", "AGR-1", 2)]
    assert [epoch(store, AGREEMENT_FENCE, number) for number in (1, 2)] == [before[0] + 1, before[1]]
    assert phase(store, 1) == "suspended"


def test_an_older_version_of_a_dataset_stays_known(store: Store, shipped: Catalogue) -> None:
    """Events of version 1 may still be on their way when version 2 is approved."""
    approve(store, shipped)
    approve(store, changed(shipped, "datasets", "civil.birth.registered", version=2, rhythm_days=9))
    approved = load_approved(store)
    assert approved.catalogue.datasets["civil.birth.registered"].version == 2
    assert approved.datasets["civil.birth.registered", 1].rhythm_days == 7


def test_an_approved_version_is_never_rewritten(store: Store, shipped: Catalogue) -> None:
    """Neither while it is in force nor after a later one took its place; nothing is written when it is tried."""
    approve(store, shipped)
    rewritten = changed(shipped, "purposes", "FAM-ALLOW", retention_days=1)
    later = changed(shipped, "purposes", "FAM-ALLOW", version=2)
    for proposed in (rewritten, later, changed(rewritten, "agencies", "tax", rights=["publish"])):
        if proposed is later:
            approve(store, later)
            continue
        with pytest.raises(HubError) as refused:
            approve(store, proposed)
        assert refused.value.code == "version-rewritten"
    assert load_approved(store).catalogue.digest == later.digest


def test_an_agreement_that_is_gone_is_ended_and_neither_it_nor_its_numbers_come_back(
    store: Store, shipped: Catalogue
) -> None:
    """Rows of the store hold the numbers, and would speak of something else."""
    approve(store, shipped)
    approve(store, without(shipped, "AGR-1"))
    assert phase(store, 1) == "ended"
    with pytest.raises(HubError, match="AGR-1 was ended"):
        approve(store, shipped)
    document = to_document(shipped)
    document["agreements"]["AGR-99"] = {**document["agreements"].pop("AGR-1"), "code": "AGR-99"}
    with pytest.raises(HubError) as refused:
        approve(store, from_document(document))
    assert refused.value.code == "version-rewritten"
    assert any("the number 1 was approved for AGR-1" in item.what for item in refused.value.items)


def test_whoever_compared_with_another_catalogue_approves_nothing(store: Store, shipped: Catalogue) -> None:
    """Two officers at two terminals: the second one sees that the first was faster."""
    empty = load_approved(store).catalogue.digest
    approve(store, shipped, expected=empty)
    with pytest.raises(HubError) as refused:
        approve(store, replace(shipped), expected=empty)
    assert refused.value.code == "catalogue-moved"


def test_a_new_version_that_nobody_signed_waits_and_so_does_what_a_schema_or_a_purpose_changed(
    store: Store, shipped: Catalogue
) -> None:
    """What both sides signed was another text; the agreements beside it stay in force, and signing puts it in force."""
    approve(store, shipped)
    for number, kind, code in ((1, "agreements", "AGR-1"), (3, "purposes", "KINDER-START")):
        proposed = changed(load_approved(store).catalogue, kind, code, version=2)
        before = epoch(store, AGREEMENT_FENCE, number)
        applied = approve_only(store, proposed)
        assert (phase(store, number), phase(store, 2)) == ("unsigned", "in_force")
        assert applied.unsigned == (f"AGR-{number}",)
        assert epoch(store, AGREEMENT_FENCE, number) == before + 1
        desk = AgreementDesk(store, lambda: proposed, lambda: NOW_US, salt, lambda: None)  # noqa: B023 - used at once
        appoint(desk, proposed)
        assert phase(store, number) == "in_force"
        assert epoch(store, AGREEMENT_FENCE, number) == before + 2
    proposed = changed(load_approved(store).catalogue, "datasets", "civil.birth.registered", version=2, rhythm_days=9)
    assert "AGR-1" in approve_only(store, proposed).unsigned
    assert phase(store, 1) == "unsigned"

"""The committed policy: built from its sources, refused when it is not, and believed only word for word."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.build_policies import build, check_sources, find_opa
from hub.core.errors import HubError, Kind
from hub.core.question import Question, Verdict
from hub.policy.answers import believed
from hub.policy.compiled import read_compiled, source_digests
from hub.policy.embedded import EmbeddedPolicy
from hub.policy.papers import policy_data
from tests.decision_vectors import COMPILED, catalogue

POLICIES = COMPILED.parent
MUST_DENY: list[dict[str, Any]] = json.loads((POLICIES / "must_deny.json").read_bytes())["must_deny"]


@pytest.fixture
def opa() -> str:
    """The OPA binary. Without one the tests that build are skipped, or fail where HUB_REQUIRE_OPA=1 demands it."""
    found = find_opa()
    if found is None:
        required = os.environ.get("HUB_REQUIRE_OPA") == "1"
        absent = "no OPA binary in OPA, .tools/bin or PATH: `make policies` installs it"
        (pytest.fail if required else pytest.skip)(absent)
    return found


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the policies and their compiled module, to be spoilt."""
    copy = tmp_path / "policies"
    shutil.copytree(POLICIES, copy)
    return copy


def test_the_committed_module_is_what_its_sources_build(opa: str) -> None:
    """Built again, twice, from the sources of this checkout: the same bytes and the same record."""
    record = json.loads((COMPILED / "digests.json").read_bytes())
    for _ in range(2):
        wasm, built = build(opa, POLICIES)
        assert wasm == (COMPILED / "policy.wasm").read_bytes()
        assert built == record


def test_the_policy_is_formatted_strict_tested_and_covered(opa: str) -> None:
    """`opa fmt`, `opa check --strict` and `opa test` with its coverage have no complaint; one would end this test."""
    check_sources(opa, POLICIES)


@pytest.mark.parametrize("name", ["grant.rego", "must_deny.json"])
def test_a_source_changed_after_the_build_stops_the_start(copied: Path, name: str) -> None:
    """The hub says which source differs and what to run, and does not run the old module."""
    source = copied / name
    source.write_bytes(source.read_bytes() + b"\n")
    assert _refusal(copied).items[0].where == name


def test_a_source_added_after_the_build_stops_the_start(copied: Path) -> None:
    """A rule that was written but not compiled is not silently left out."""
    (copied / "extra.rego").write_text("package hub.extra\n")
    assert "extra.rego" in _refusal(copied).what


def test_a_source_taken_away_after_the_build_stops_the_start(copied: Path) -> None:
    """A rule that was taken out but still runs is noticed as well."""
    (copied / "standing.rego").unlink()
    assert "standing.rego" in _refusal(copied).what


def test_another_module_than_the_recorded_one_stops_the_start(copied: Path) -> None:
    """One changed byte of the module is enough."""
    module = copied / "compiled" / "policy.wasm"
    module.write_bytes(module.read_bytes()[:-1] + b"\x00")
    assert "policy.wasm" in _refusal(copied).what


@pytest.mark.parametrize("name", ["policy.wasm", "digests.json"])
def test_a_module_that_was_never_built_stops_the_start(copied: Path, name: str) -> None:
    """Absent is no different from stale: a remedy, not a stack trace."""
    (copied / "compiled" / name).unlink()
    assert name in _refusal(copied).where


def test_the_tests_of_the_policy_are_no_part_of_it(copied: Path) -> None:
    """Changing a test changes neither the digest nor the start."""
    with (copied / "grant_test.rego").open("a") as test:
        test.write("\n")
    assert source_digests(copied) == source_digests(POLICIES)
    assert read_compiled(copied / "compiled").digest == read_compiled(COMPILED).digest


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"verdicts": []},
        {"revision": "r1", "verdicts": []},
        {"revision": "r0", "verdicts": [{"fields": [], "reasons": []}]},
        {"revision": "r1", "verdicts": [{"fields": [], "reasons": []}], "more": 1},
        {"revision": "r1", "verdicts": [{"fields": [], "reasons": []}] * 2},
        {"revision": "r1", "verdicts": {"0": {"fields": [], "reasons": []}}},
        {"revision": "r1", "verdicts": [None]},
        {"revision": "r1", "verdicts": [{"fields": []}]},
        {"revision": "r1", "verdicts": [{"fields": [], "reasons": [], "allow": True}]},
        {"revision": "r1", "verdicts": [{"fields": None, "reasons": []}]},
        {"revision": "r1", "verdicts": [{"fields": "dob", "reasons": []}]},
        {"revision": "r1", "verdicts": [{"fields": [1], "reasons": []}]},
        {"revision": "r1", "verdicts": [{"fields": [], "reasons": [""]}]},
        {"revision": "r1", "verdicts": [{"fields": ["dob", "dob"], "reasons": []}]},
    ],
    ids=str,
)
def test_an_odd_answer_of_an_engine_is_neither_yes_nor_no(answer: object) -> None:
    """Undefined, of another revision, too short, too long or of another shape: an exception, and the event waits."""
    with pytest.raises(HubError) as told:
        believed(answer, count=1, revision="r1")
    assert told.value.kind is Kind.UNAVAILABLE


def test_a_plain_answer_is_believed() -> None:
    """Fields and reasons come out as sets, under the revision asked for."""
    answer = {"revision": "r1", "verdicts": [{"fields": ["dob"], "reasons": ["consent.none"]}]}
    assert believed(answer, count=1, revision="r1") == [Verdict("r1", frozenset({"dob"}), frozenset({"consent.none"}))]


def test_the_policy_is_told_nothing_of_people() -> None:
    """A question has exactly these keys, and the catalogue document holds papers only."""
    assert Question._fields == ("agreement", "version", "purpose", "dataset", "basis", "state", "assurance", "asks")
    assert policy_data(catalogue()).keys() == {"datasets", "purposes", "agreements"}


def test_a_derived_field_is_as_special_as_its_base() -> None:
    """The band of a value says something of the value, so the same category protects it."""
    fields = policy_data(catalogue())["datasets"]["civil.birth.registered"]["fields"]
    assert fields["dob_month"] == {"special": False}
    assert fields["birth_weight"] == {"special": True}


HEAD = re.compile(r"^(?!package|import|default)([a-z_]+)\b[^\n]*?(?::=|\bif\b)", re.MULTILINE)


def _rules() -> Iterator[tuple[str, str, str]]:
    """Give file, name and the comment above of each clause of each rule."""
    for path in sorted(POLICIES.glob("*.rego")):
        text = path.read_text(encoding="utf-8")
        for found in HEAD.finditer(text) if not path.stem.endswith("_test") else ():
            above = text[: found.start()].rpartition("\n\n")[2]
            yield path.name, found[1], above


def test_every_rule_of_the_policy_says_what_it_is_for() -> None:
    """METADATA with a title stands above its first clause; the later clauses are of the same rule."""
    first = {(file, name): above for file, name, above in reversed(list(_rules()))}
    assert len(first) > 20
    assert [rule for rule, above in first.items() if "# METADATA" not in above or "# title: " not in above] == []


def test_every_ground_of_a_refusal_cites_its_source() -> None:
    """Above each clause that gives a reason of its own stands the article that it rests on."""
    grounds = {("grant.rego", "refused"), ("standing.rego", "consent"), ("standing.rego", "objection")}
    grounds |= {("standing.rego", "assurance"), ("must_deny.rego", "special"), ("must_deny.rego", "reasons")}
    cited = [(file, name) for file, name, above in _rules() if "#   citation: " in above]
    assert grounds <= set(cited)
    assert cited.count(("grant.rego", "refused")) == sum(name == "refused" for _, name, _ in _rules())


def test_must_deny_entries_have_no_key_that_the_policy_does_not_read() -> None:
    """A misspelt `fields` would forbid a whole dataset, a misspelt `recipients` would forbid too much as well."""
    told = {"code", "title", "citation", "scenario", "datasets"}
    narrowing = {"fields", "purposes", "purposes_except", "recipients", "recipients_except"}
    for entry in MUST_DENY:
        assert told <= entry.keys() <= told | narrowing, entry["code"]


@pytest.mark.parametrize("entry", MUST_DENY, ids=lambda entry: str(entry["code"]))
def test_every_must_deny_entry_bites(entry: dict[str, Any]) -> None:
    """Some row of the decision table is refused for it: an entry that matches nothing protects nobody."""
    vectors = json.loads((POLICIES.parent / "tests" / "vectors" / "decisions.json").read_bytes())
    assert any(entry["code"] in row["expect"].get("reasons", []) for row in vectors["decision_table"]["rows"])


def _refusal(policies_dir: Path) -> HubError:
    with pytest.raises(HubError) as told:
        EmbeddedPolicy(catalogue(), policies_dir / "compiled")
    assert told.value.kind is Kind.STARTUP
    assert "make policies" in told.value.remedy
    return told.value

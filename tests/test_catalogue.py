"""The catalogue's files: every fault is found and pointed at, and what loads clean grants no more than was written."""

# long: one test a finding, in the order in which the checker looks
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hub.catalogue_files import check, load
from hub.core.agreement import Catalogue, Wanted
from hub.core.catalogue import difference, from_document, refuse_rewrites, to_document
from hub.core.errors import HubError, Kind

SHIPPED = Path(__file__).parent.parent / "policies" / "catalogue"

AGENCIES = """\
register:
  number: 1
  titles: {en: Register, ru: Регистр, ar: السجل, zh: 登记处}
  rights: [publish]
benefits:
  number: 2
  titles: {en: Benefits, ru: Пособия, ar: الإعانات, zh: 津贴局}
  rights: [subscribe]
"""
BIRTH = """\
name: birth
version: 1
number: 1
provider: register
titles: {en: Birth, ru: Рождение, ar: ولادة, zh: 出生}
subject_role: child
required: [child_id, dob]
fields:
  child_id:
    titles: {en: The child, ru: Ребёнок, ar: الطفل, zh: 孩子}
    role: child
    classification: ordinary
    special: false
    names: person_ref
    schema: {type: string}
  dob:
    titles: {en: Date of birth, ru: Дата рождения, ar: تاريخ الميلاد, zh: 出生日期}
    role: child
    classification: ordinary
    special: false
    schema: {type: string, format: date}
  birth_weight:
    titles: {en: Birth weight, ru: Вес, ar: الوزن, zh: 体重}
    role: child
    classification: sensitive
    special: true
    schema: {type: integer}
  parent_ids:
    titles: {en: The parents, ru: Родители, ar: الوالدان, zh: 父母}
    role: parent
    classification: ordinary
    special: false
    names: person_ref
    many: true
    schema: {type: array, items: {type: string}}
  parents:
    titles: {en: Parents with names, ru: Родители с именами, ar: الوالدان والأسماء, zh: 父母姓名}
    role: parent
    classification: ordinary
    special: false
    many: true
    element_ref: id
    schema:
      type: array
      items: {type: object, additionalProperties: false, required: [id], properties: {id: {type: string}}}
derived:
  dob_month:
    titles: {en: Month of birth, ru: Месяц рождения, ar: شهر الميلاد, zh: 出生月份}
    from: dob
    function: month
"""
FAM_ALLOW = """\
code: FAM-ALLOW
version: 1
number: 1
basis: law
law: Child Benefits Act, article 7
assurance: P2
retention_days: 30
age: {roles: [child], below_years: 6}
titles: {en: Allowance, ru: Пособие, ar: إعانة, zh: 津贴}
benefit: {en: Paid early., ru: Раньше., ar: مبكرًا., zh: 提前发放。}
not_used_for: {en: [ads], ru: [реклама], ar: [الإعلان], zh: [广告]}
wanted:
  birth:
    required: [child_id, dob]
    optional: [dob_month]
"""
AGR_12 = """\
code: AGR-12
version: 3
number: 12
provider: register
recipient: benefits
law: Registers Act, article 2
valid_from: 2024-01-01
valid_until: 2030-01-01
review_on: 2026-01-01
look_back_days: 30
purposes: [FAM-ALLOW]
ceiling:
  birth: [child_id, dob, dob_month]
subscriptions:
  - {number: 1, purpose: FAM-ALLOW, dataset: birth}
"""
FILES = {
    "agencies.yaml": AGENCIES,
    "datasets/birth.yaml": BIRTH,
    "purposes/FAM-ALLOW.yaml": FAM_ALLOW,
    "agreements/AGR-12.yaml": AGR_12,
}
A, D, P, G = FILES
SECOND = {"AGR-12": "AGR-13", "number: 12": "number: 13", "{number: 1,": "{number: 2,"}

Edit = tuple[str, str, str]


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    """Load what is in the repository, once."""
    return load(SHIPPED)


def write(directory: Path, *edits: Edit, extra: dict[str, str] | None = None) -> Path:
    """Write the small catalogue with (file, old, new) applied, and further files as they are."""
    files = FILES | (extra or {})
    for file, old, new in edits:
        assert old in files[file], f"the edit of {file} would change nothing"
        files = files | {file: files[file].replace(old, new, 1)}
    for file, text in files.items():
        path = directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        text = text.replace(old, new)
    return text


FAULTS = yaml.safe_load((Path(__file__).parent / "vectors" / "catalogue_faults.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_at_its_line(name: str, tmp_path: Path) -> None:
    """One wrong word gives a finding that says what is wrong, at which file and line, and what to do."""
    fault = FAULTS[name]
    items = check(write(tmp_path, (fault["file"], fault["old"], fault["new"])))
    found = [item for item in items if fault["finds"] in item.what]
    assert found, [item.what for item in items]
    assert fault.get("remedy", "") in found[0].remedy
    file, _, number = found[0].where.rpartition(":")
    text = Path(file).read_text(encoding="utf-8")
    assert "\n".join(text.splitlines()[int(number) - 1 :]).startswith(fault.get("at", ""))


def test_the_small_catalogue_is_clean(tmp_path: Path) -> None:
    """Without an edit nothing is found, so each finding above comes from its edit."""
    assert check(write(tmp_path)) == ()


def test_a_field_above_the_agreement_names_what_is_granted_and_who_must_sign(tmp_path: Path) -> None:
    """The officer reads what the agreement does grant, and the two ways out."""
    items = check(write(tmp_path, (P, "optional: [dob_month]", "optional: [dob_month, birth_weight]")))
    assert [(item.what, item.remedy) for item in items] == [
        (
            "AGR-12 v3 does not grant birth_weight for FAM-ALLOW. Granted: child_id, dob, dob_month.",
            "Remove it, or propose a new version; both officers must sign.",
        )
    ]
    assert items[0].where.endswith("purposes/FAM-ALLOW.yaml:13")


def test_another_agencys_dataset_cannot_be_granted(tmp_path: Path) -> None:
    """An agreement of one agency over the data of another is refused at the line of its ceiling."""
    edits = ((A, "[subscribe]", "[subscribe, publish]"), (D, "provider: register", "provider: benefits"))
    items = check(write(tmp_path, *edits))
    assert [item.what for item in items] == ["AGR-12 is of register and grants birth, which is of benefits"]


def test_two_agreements_cannot_grant_the_same_thing(tmp_path: Path) -> None:
    """The same dataset for the same purpose to the same recipient under two codes is one thing with two names."""
    second = {"agreements/AGR-13.yaml": changed(AGR_12, *SECOND.items())}
    items = check(write(tmp_path, extra=second))
    assert [item.what for item in items] == ["AGR-13 and AGR-12 both let benefits have birth for FAM-ALLOW"]


def test_a_subscription_number_cannot_be_used_twice(tmp_path: Path) -> None:
    """Rows of the store name a subscription by its number alone."""
    second = {"agreements/AGR-13.yaml": changed(AGR_12, ("AGR-12", "AGR-13"), ("number: 12", "number: 13"))}
    assert any(
        "has the number 1, which is FAM-ALLOW of birth in AGR-12's" in item.what
        for item in check(write(tmp_path, extra=second))
    )


def test_a_purpose_that_an_agreement_cannot_serve_is_found(tmp_path: Path) -> None:
    """An agreement that grants no dataset of its purpose would look signed and deliver nothing."""
    other = changed(
        BIRTH,
        ("name: birth", "name: death"),
        ("number: 1", "number: 2"),
        ("Birth, ru: Рождение, ar: ولادة, zh: 出生}", "Death, ru: Смерть, ar: وفاة, zh: 死亡}"),
    )
    edits = ((G, "  birth: [child_id, dob, dob_month]", "  death: [dob]"),)
    items = check(write(tmp_path, *edits, extra={"datasets/death.yaml": other}))
    assert "AGR-12 serves FAM-ALLOW and grants no dataset that it wants" in [item.what for item in items]


@pytest.mark.parametrize("stray", ["notes.txt", "datasets/birth.yml", "purposes/FAM-ALLOW.yaml~"])
def test_a_file_that_would_not_be_read_is_found(stray: str, tmp_path: Path) -> None:
    """Somebody believes that it counts."""
    items = check(write(tmp_path, extra={stray: "x"}))
    assert len(items) == 1
    assert items[0].where.endswith(stray)


def test_a_missing_directory_is_a_finding_and_no_crash(tmp_path: Path) -> None:
    """Every part that is missing is named."""
    items = check(tmp_path / "nowhere")
    assert len(items) == 4
    assert all("nowhere" in item.where for item in items)


def test_loading_refuses_with_every_finding_at_once(tmp_path: Path) -> None:
    """The hub does not start on a catalogue with faults, and says all of them."""
    directory = write(tmp_path, (P, "basis: law", "basis: lawn"), (G, "2030-01-01", "2023-01-01"))
    with pytest.raises(HubError) as refused:
        load(directory)
    assert refused.value.kind is Kind.STARTUP
    assert len(refused.value.items) == 2
    assert refused.value.items == check(directory)


def test_the_shipped_catalogue_has_no_finding() -> None:
    """What is in the repository is what the checks allow."""
    assert check(SHIPPED) == ()


def test_every_shipped_schema_is_valid_and_closed(shipped: Catalogue) -> None:
    """A field that nobody reviewed cannot be published."""
    for dataset in shipped.datasets.values():
        schema = dict(dataset.schema)
        jsonschema_rs.meta.validate(schema)
        assert schema["additionalProperties"] is False
        assert jsonschema_rs.validator_for(schema).is_valid({"unnamed": 1}) is False


def test_kindergarten_gets_one_field_from_each_register(shipped: Catalogue) -> None:
    """The municipality learns the month from one register and its own code from the other, of children under six."""
    purpose = shipped.purposes["KINDER-PLACE"]
    lines = [line for line in shipped.subscriptions.values() if line.purpose is purpose]
    assert {line.dataset.name: line.allowed for line in lines} == {
        "civil.birth.registered": {"dob_month"},
        "pop.residence": {"municipality_code"},
    }
    assert {line.recipient for line in lines} == {"lindum"}
    assert purpose.age_roles == {"child", "resident"}
    assert purpose.age_below_years == 6


NEVER = {
    "civil.birth.registered": {"birth_weight", "hospital", "names", "sex", "place", "multiple_birth"},
    "pop.residence": {"address", "since"},
    "payroll.annual": {"payslips", "employers"},
    "health.fitness": {"diagnosis_codes", "lab_results", "clinic"},
    "pop.address.changed": {"household_members", "old_address"},
    "health.disability": {"record", "degree_percent"},
    "ins.cover": {"claims"},
    "pop.guardian": {"custody_file"},
    "border.match": {"image", "template"},
    "tax.income": {"total"},
    "pay.account": {"iban"},
}


@pytest.mark.parametrize("dataset", NEVER)
def test_what_exists_only_to_stay_at_home_is_in_no_subscription(shipped: Catalogue, dataset: str) -> None:
    """These fields are in the schema, and no agreement grants them to anyone."""
    assert NEVER[dataset] <= shipped.datasets[dataset].fields.keys()
    assert all(not NEVER[dataset] & line.allowed for line in shipped.by_dataset[dataset])


def test_a_subscription_is_never_wider_than_agreement_purpose_or_dataset(shipped: Catalogue) -> None:
    """The allow-list of every shipped subscription is within all three, and holds what the purpose requires."""
    for line in shipped.subscriptions.values():
        wanted = line.purpose.wanted[line.dataset.name]
        there = {*line.dataset.fields, *line.dataset.derived}
        assert line.required <= line.allowed <= line.agreement.ceiling[line.dataset.name] & wanted.fields & there


NAMES = st.frozensets(st.sampled_from(["child_id", "dob", "dob_month", "birth_weight", "parent_ids", "no_such_field"]))


@given(ceiling=NAMES, required=NAMES, optional=NAMES)
def test_whatever_was_stored_a_subscription_stays_within_all_three(
    shipped: Catalogue, ceiling: frozenset[str], required: frozenset[str], optional: frozenset[str]
) -> None:
    """Composing intersects again, so not even a damaged store widens what may be released."""
    document = to_document(shipped)
    document["agreements"] = {"AGR-1": document["agreements"]["AGR-1"]}
    document["agreements"]["AGR-1"]["ceiling"]["civil.birth.registered"] = sorted(ceiling)
    wanted = {"required": sorted(required), "optional": sorted(optional)}
    document["purposes"]["FAM-ALLOW"]["wanted"]["civil.birth.registered"] = wanted
    line = from_document(document).subscriptions[1]
    assert line.allowed == ceiling & (required | optional) & {*line.dataset.fields, *line.dataset.derived}
    assert line.required == required


def test_a_stored_catalogue_loads_again_to_the_same_digest(shipped: Catalogue) -> None:
    """Through JSON text and back nothing is lost: the same document, digest and order of fields."""
    document = to_document(shipped)
    again = from_document(json.loads(json.dumps(document, sort_keys=True)))
    assert again.digest == shipped.digest
    assert to_document(again) == document
    for name, dataset in again.datasets.items():
        assert list(dataset.fields) == list(shipped.datasets[name].fields)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_digest_is_the_same_in_every_process(seed: str, shipped: Catalogue) -> None:
    """Python orders sets anew in each process; two machines must still name the same content alike."""
    program = f"import pathlib, hub.catalogue_files as f; print(f.load(pathlib.Path({str(SHIPPED)!r})).digest)"
    run = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(SHIPPED.parent.parent)}
    assert (
        subprocess.run(run, env=environment, capture_output=True, check=True, text=True).stdout.strip()
        == shipped.digest
    )


def test_any_other_content_has_another_digest(tmp_path: Path) -> None:
    """One look-back day more is another catalogue."""
    first = load(write(tmp_path / "a"))
    second = load(write(tmp_path / "b", (G, "look_back_days: 30", "look_back_days: 31")))
    assert first.digest != second.digest
    assert first.digest == load(tmp_path / "a").digest


@pytest.mark.parametrize("damage", [{}, {"agencies": []}, {"agreements": {"AGR-12": {}}}])
def test_a_damaged_stored_catalogue_is_refused(shipped: Catalogue, damage: dict[str, object]) -> None:
    """What this version did not write stops the start with a remedy instead of a traceback."""
    document = {**to_document(shipped), **damage} if damage else {}
    with pytest.raises(HubError) as refused:
        from_document(document)
    assert refused.value.kind is Kind.STARTUP


WANT_AND_GRANT_MORE = [(G, "dob_month]", "dob_month, birth_weight]"), (P, "[dob_month]", "[dob_month, birth_weight]")]
WANT_AND_GRANT_LESS = [(G, ", dob_month]", "]"), (P, "    optional: [dob_month]\n", "")]
CHANGES: dict[str, tuple[list[Edit], list[tuple[str, str, str]]]] = {
    "more fields": (
        WANT_AND_GRANT_MORE,
        [
            ("widened", "FAM-ALLOW", "wants of birth: birth_weight added"),
            ("widened", "AGR-12", "grants of birth: birth_weight added"),
        ],
    ),
    "fewer fields": (
        WANT_AND_GRANT_LESS,
        [
            ("narrowed", "FAM-ALLOW", "wants of birth: dob_month removed"),
            ("narrowed", "AGR-12", "grants of birth: dob_month removed"),
        ],
    ),
    "look back further": ([(G, "days: 30", "days: 60")], [("widened", "AGR-12", "look_back_days: 30 -> 60")]),
    "end sooner": (
        [(G, "2030-01-01", "2029-01-01")],
        [("narrowed", "AGR-12", "valid_until: 2030-01-01 -> 2029-01-01")],
    ),
    "begin later": (
        [(G, "2024-01-01", "2025-01-01")],
        [("narrowed", "AGR-12", "valid_from: 2024-01-01 -> 2025-01-01")],
    ),
    "another law": ([(G, "article 2", "article 3")], [("changed", "AGR-12", "says something else under law")]),
    "require less": (
        [(P, "[child_id, dob]\n    optional: [dob", "[child_id]\n    optional: [dob, dob")],
        [("changed", "FAM-ALLOW", "says something else under wanted")],
    ),
    "keep longer": ([(P, "days: 30", "days: 60")], [("widened", "FAM-ALLOW", "retention_days: 30 -> 60")]),
    "be less sure": ([(P, "P2", "P1")], [("widened", "FAM-ALLOW", "assurance: P2 -> P1")]),
    "another basis": (
        [(P, "basis: law", "basis: consent")],
        [("changed", "FAM-ALLOW", "says something else under basis")],
    ),
    "a right more": ([(A, "[publish]", "[publish, link]")], [("widened", "register", "rights: link added")]),
    "less special": (
        [(D, "special: true", "special: false")],
        [("changed", "birth", "says something else under fields")],
    ),
    "version alone": ([(G, "version: 3", "version: 4")], [("changed", "AGR-12", "says something else under version")]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_named_by_its_direction(name: str, tmp_path: Path) -> None:
    """Officers see at once whether somebody would hear more, longer, or with less certainty of who is who."""
    edits, expected = CHANGES[name]
    approved, proposed = load(write(tmp_path / "a")), load(write(tmp_path / "b", *edits))
    assert [(change.kind, change.code, change.what) for change in difference(approved, proposed)] == expected


def test_what_is_new_and_what_ended_is_said(shipped: Catalogue, tmp_path: Path) -> None:
    """A purpose with its agreement that was not there before is new; seen from the other side it ended."""
    small = load(write(tmp_path))
    there, back = difference(small, shipped), difference(shipped, small)
    assert ("new", "purpose", "KINDER-PLACE") in [(change.kind, change.noun, change.code) for change in there]
    assert ("ended", "agreement", "AGR-31") in [(change.kind, change.noun, change.code) for change in back]
    assert difference(shipped, shipped) == ()


def test_a_field_added_to_a_dataset_widens_nothing(tmp_path: Path) -> None:
    """A new field is unreleased until an agreement names it."""
    field = BIRTH[BIRTH.index("  birth_weight") : BIRTH.index("  parent_ids")]
    length = changed(
        field,
        ("birth_weight", "length"),
        ("Birth weight, ru: Вес, ar: الوزن, zh: 体重", "Length, ru: Рост, ar: الطول, zh: 身长"),
    )
    proposed = load(
        write(tmp_path / "b", (D, "  parent_ids", length + "  parent_ids"), (D, "version: 1", "version: 2"))
    )
    approved = load(write(tmp_path / "a"))
    assert [(change.kind, change.code) for change in difference(approved, proposed)] == [("changed", "birth")]
    assert proposed.subscriptions[1].allowed == approved.subscriptions[1].allowed


@pytest.mark.parametrize(
    ("edits", "what"),
    [
        ([(G, "article 2", "article 3")], "AGR-12 v3 was approved and says something else; raise the version"),
        ([(P, "P2", "P1")], "FAM-ALLOW v1 was approved and says something else; raise the version"),
        ([(D, "special: true", "special: false")], "birth v1 was approved and says something else; raise the version"),
        ([(G, "version: 3", "version: 2")], "AGR-12 v2 is older than AGR-12 v3, which was approved"),
        ([(A, "number: 2", "number: 7")], "benefits was approved with the number 2, not 7"),
        (
            [(G, "{number: 1,", "{number: 9,"), (G, "version: 3", "version: 4")],
            "FAM-ALLOW of birth in AGR-12 was approved with the number 1, not 9",
        ),
    ],
)
def test_an_approved_version_never_says_something_else(edits: list[Edit], what: str, tmp_path: Path) -> None:
    """Content and numbers of what was signed stay; only a raised version may differ."""
    approved, proposed = load(write(tmp_path / "a")), load(write(tmp_path / "b", *edits))
    with pytest.raises(HubError) as refused:
        refuse_rewrites(approved, proposed)
    assert what in [item.what for item in refused.value.items]


def test_a_number_of_something_that_ended_is_not_given_to_another(tmp_path: Path) -> None:
    """Old rows would speak of the new one."""
    proposed = load(
        write(tmp_path / "b", (A, "benefits:", "pensions:"), (G, "recipient: benefits", "recipient: pensions"))
    )
    with pytest.raises(HubError) as refused:
        refuse_rewrites(load(write(tmp_path / "a")), proposed)
    assert "pensions has the number 2, which was approved for benefits" in [item.what for item in refused.value.items]


@pytest.mark.parametrize(
    "edit", [lambda text: text, lambda text: text.replace("version: 3", "version: 4").replace("article 2", "article 3")]
)
def test_the_same_or_a_raised_version_may_be_proposed(edit: Callable[[str], str], tmp_path: Path) -> None:
    """Nothing changed, or changed under a new version: both are fine."""
    proposed = load(write(tmp_path / "b", (G, AGR_12, edit(AGR_12))))
    refuse_rewrites(load(write(tmp_path / "a")), proposed)


def test_optional_fields_count_as_wanted() -> None:
    """The smallest set of a purpose is what it requires and what it would also take."""
    wanted = Wanted("birth", frozenset({"dob"}))
    assert replace(wanted, optional=frozenset({"sex"})).fields == {"dob", "sex"}

"""A FHIR R4 Bulk Data export becomes CloudEvents, line by line, and nothing of it is lost silently."""

import gzip
import json
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from agency_adapters.errors import AgencyError
from agency_adapters.fhir import DATASETS, Mapped, Skipped, read_export
from agency_adapters.ndjson import MAX_LINE_BYTES, Broken

SYNTHEA = Path(__file__).resolve().parents[2] / "shared" / "data" / "synthea-r4"
REFERENCE = date(2019, 6, 1)
PUBLISHERS = {
    "pop.person": "population-register",
    "civil.birth.registered": "civil-registry",
    "health.condition": "health-ministry",
    "health.immunisation": "health-ministry",
}
CHILD = {
    "resourceType": "Patient",
    "id": "kid-1",
    "name": [{"use": "nickname", "given": ["Bo"]}, {"use": "official", "family": "Quill", "given": ["Boris", "A."]}],
    "gender": "male",
    "birthDate": "2018-02-03",
    "multipleBirthInteger": 2,
    "address": [{"line": ["1 Elm Row"], "city": "Lindum", "postalCode": "00017"}],
    "identifier": [
        {"type": {"coding": [{"code": "SS"}]}, "value": "999-00-0001"},
        {"system": "https://example.test", "value": "untyped"},
    ],
    "extension": [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
            "valueAddress": {"city": "Riverside"},
        }
    ],
}
CONDITION = {
    "resourceType": "Condition",
    "id": "c-1",
    "code": {"coding": [{"system": "http://snomed.info/sct", "code": "73211009", "display": "Diabetes"}]},
    "subject": {"reference": "Patient/kid-1"},
    "onsetDateTime": "2018-12-31T23:30:00-05:00",
}
VACCINATION = {
    "resourceType": "Immunization",
    "id": "i-1",
    "status": "completed",
    "vaccineCode": {"coding": [{"code": "140"}], "text": "Influenza"},
    "patient": {"reference": "https://fhir.example/Patient/kid-1/_history/2"},
    "occurrenceDateTime": "2019-01-02",
}

Outcome = Mapped | Skipped | Broken


def export(directory: Path, *resources: dict[str, Any] | str, name: str = "all.ndjson") -> Path:
    """Write resources, or lines as they are, into one file of an export."""
    lines = [each if isinstance(each, str) else json.dumps(each) for each in resources]
    (directory / name).write_text("".join(line + "\n" for line in lines))
    return directory


def read(directory: Path, *, id_key: bytes = b"", reference: date = REFERENCE) -> list[Outcome]:
    return list(read_export(directory, publishers=PUBLISHERS, reference=reference, id_key=id_key))


def events(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    return [event for outcome in outcomes if isinstance(outcome, Mapped) for event in outcome.events]


@pytest.fixture(scope="module")
def synthea() -> list[Outcome]:
    if not SYNTHEA.is_dir():
        pytest.skip(f"the Synthea sample is not at {SYNTHEA}")
    return read(SYNTHEA)


def test_every_line_of_the_synthea_export_becomes_its_events(synthea: list[Outcome]) -> None:
    """120 patients, 790 conditions and 1,445 immunisations; 21 of the patients were under 18 on 1 June 2019."""
    assert Counter(event["type"] for event in events(synthea)) == {
        "pop.person": 120,
        "civil.birth.registered": 21,
        "health.condition": 790,
        "health.immunisation": 1445,
    }
    assert all(isinstance(outcome, Mapped) for outcome in synthea)


def test_ids_are_unique_and_repeat_when_the_export_is_read_again(synthea: list[Outcome]) -> None:
    """The hub drops what was published before, because it comes under the same id."""
    ids = [(event["source"], event["id"]) for event in events(synthea)]
    assert len(set(ids)) == len(ids)
    assert ids == [(event["source"], event["id"]) for event in events(read(SYNTHEA))]


def test_every_event_is_about_a_patient_of_the_export_and_of_its_own_agency(synthea: list[Outcome]) -> None:
    """References by urn:uuid lead to the patients; each dataset is published by the agency that it belongs to."""
    persons = {event["subject"] for event in events(synthea) if event["type"] == "pop.person"}
    assert {event["subject"] for event in events(synthea)} == persons
    assert {(event["type"], event["source"]) for event in events(synthea)} == {
        (dataset, f"urn:agency:{agency}") for dataset, agency in PUBLISHERS.items()
    }


@pytest.fixture(scope="module")
def catalogue() -> dict[str, jsonschema_rs.Draft202012Validator]:
    """Make a strict validator of each dataset from the catalogue's own files."""
    directory = Path(__file__).resolve().parents[1] / "policies" / "catalogue" / "datasets"
    validators = {}
    for name in DATASETS:
        dataset = yaml.safe_load((directory / f"{name}.yaml").read_text(encoding="utf-8"))
        schema = {
            "type": "object",
            "required": dataset["required"],
            "properties": {field: each["schema"] for field, each in dataset["fields"].items()},
            "additionalProperties": False,
        }
        validators[name] = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        assert dataset["provider"] == PUBLISHERS[name]
    return validators


def test_every_event_of_the_synthea_export_is_as_the_catalogue_says(
    synthea: list[Outcome], catalogue: dict[str, jsonschema_rs.Draft202012Validator]
) -> None:
    """No field that the dataset lacks, none that it requires missing, each of its type and form."""
    wrong = [
        (event["type"], e.message)
        for event in events(synthea)
        for e in catalogue[event["type"]].iter_errors(event["data"])
    ]
    assert wrong == []


def test_unusual_records_are_as_the_catalogue_says_too(
    tmp_path: Path, catalogue: dict[str, jsonschema_rs.Draft202012Validator]
) -> None:
    """Texts beyond a dataset's limit and codes it does not know are left out and named; the rest of the event goes."""
    coding = {"coding": [{"code": "1", "display": "d" * 201}]}
    outcomes = read(export(tmp_path, CHILD | {"gender": "?"}, CONDITION | {"code": coding}, VACCINATION))
    assert [(o.left_out if isinstance(o, Mapped) else o) for o in outcomes] == [
        ("Patient.gender", "Patient.identifier"),
        ("health.condition/display",),
        (),
    ]
    assert all(catalogue[event["type"]].is_valid(event["data"]) for event in events(outcomes))
    assert len(events(outcomes)) == 4


def test_a_child_is_a_person_and_a_birth(tmp_path: Path) -> None:
    """Patient maps to both datasets under 18, with the official name, the birth place and the typed identifiers."""
    [outcome] = read(export(tmp_path, CHILD))
    assert isinstance(outcome, Mapped)
    person, birth = outcome.events
    assert person["data"] == {
        "person_id": "kid-1",
        "names": "Boris A. Quill",
        "sex": "male",
        "dob": "2018-02-03",
        "address": "1 Elm Row, 00017, Lindum",
        "municipality": "Lindum",
        "social_security": "999-00-0001",
    }
    assert birth["data"] == {
        "child_id": "kid-1",
        "dob": "2018-02-03",
        "sex": "male",
        "place": "Riverside",
        "names": "Boris A. Quill",
        "multiple_birth": True,
    }
    assert (birth["subject"], birth["time"], birth["source"]) == (
        "kid-1",
        "2018-02-03T00:00:00Z",
        "urn:agency:civil-registry",
    )
    assert outcome.left_out == ("Patient.identifier",)


def test_a_condition_keeps_its_day_and_its_time_goes_to_utc(tmp_path: Path) -> None:
    """The day of onset is the one written down at the place; the event's time is an instant."""
    [event] = events(read(export(tmp_path, CONDITION)))
    assert event["time"] == "2019-01-01T04:30:00Z"
    assert event["data"] == {
        "patient_id": "kid-1",
        "code": "73211009",
        "system": "http://snomed.info/sct",
        "display": "Diabetes",
        "onset_on": "2018-12-31",
    }


def test_an_immunisation_that_was_not_done_says_so(tmp_path: Path) -> None:
    """`status` goes along, and an absolute reference with a version leads to the patient."""
    [event] = events(read(export(tmp_path, VACCINATION | {"status": "not-done"})))
    assert event["data"] == {
        "patient_id": "kid-1",
        "vaccine_code": "140",
        "display": "Influenza",
        "occurred_on": "2019-01-02",
        "status": "not-done",
    }


@pytest.mark.parametrize(
    ("born", "is_minor"),
    [("2001-06-02", True), ("2001-06-01", False), ("2019-06-01", True), ("2019-06-02", False), ("1990-01-01", False)],
)
def test_under_eighteen_is_counted_to_the_day(tmp_path: Path, *, born: str, is_minor: bool) -> None:
    """On the 18th birthday nobody is under 18 any more; who is not born yet has no birth registered."""
    datasets = [event["type"] for event in events(read(export(tmp_path, CHILD | {"birthDate": born})))]
    assert datasets == ["pop.person"] + ["civil.birth.registered"] * is_minor


def test_a_child_of_a_leap_day_comes_of_age_on_the_first_of_march(tmp_path: Path) -> None:
    """29 February 2000 plus 18 years is no day of the calendar; the day before March still counts as under 18."""
    export(tmp_path, CHILD | {"birthDate": "2000-02-29"})
    assert len(events(read(tmp_path, reference=date(2018, 2, 28)))) == 2
    assert len(events(read(tmp_path, reference=date(2018, 3, 1)))) == 1


def test_an_agency_reads_only_what_it_publishes(tmp_path: Path) -> None:
    """Datasets without a publisher give no event, and their lines are counted as skipped."""
    export(tmp_path, CHILD, CONDITION)
    only_births = {"civil.birth.registered": "civil-registry"}
    outcomes = list(read_export(tmp_path, publishers=only_births, reference=REFERENCE))
    assert [event["type"] for event in events(outcomes)] == ["civil.birth.registered"]
    assert [type(outcome) for outcome in outcomes] == [Mapped, Skipped]


BROKEN = [
    ('{"resourceType": "Patient", "id": "canary-7",', "not JSON: Expecting property name enclosed in double quotes"),
    ('["canary-7"]', "not a JSON object"),
    ('{"id": "canary-7"}', "resourceType is missing"),
    (json.dumps(CHILD | {"id": "canary 7"}), "Patient.id is not a FHIR id"),
    (json.dumps(CHILD | {"birthDate": "1987-07"}), "Patient.birthDate is not a full date"),
    (json.dumps(CHILD | {"birthDate": "1987-02-30"}), "Patient.birthDate is not a full date"),
    (json.dumps(CHILD | {"meta": {"lastUpdated": "0001-01-01T00:00:00+14:00"}}), "Patient.meta.lastUpdated"),
    (json.dumps(CONDITION | {"subject": {"reference": "Group/canary-7"}}), "Condition.subject.reference"),
    (json.dumps(CONDITION | {"code": {"text": "canary-7"}}), "Condition.code has no coding"),
    (json.dumps(CONDITION | {"onsetDateTime": "1987"}), "Condition.recordedDate is not a full date"),
    (json.dumps(VACCINATION | {"occurrenceDateTime": None, "occurrenceString": "canary-7"}), "occurrenceDateTime"),
    (json.dumps(VACCINATION | {"status": 7}), "Immunization.status is none of"),
    ('{"resourceType": "Patient", "weight": NaN}', "not JSON"),
    ("[" * 100_000, "nested too deep"),
]


@pytest.mark.parametrize(("line", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_a_broken_line_is_named_without_its_values_and_the_rest_goes_on(
    tmp_path: Path, *, line: str, reason: str
) -> None:
    """FILE:LINE and the reason are told; neither values nor ids of the line are; the next line is read."""
    before, broken, after = read(export(tmp_path, CHILD, line, CONDITION))
    assert isinstance(before, Mapped)
    assert isinstance(after, Mapped)
    assert isinstance(broken, Broken)
    assert broken.where == "all.ndjson:2"
    assert reason in broken.reason
    assert "canary" not in broken.reason
    assert "1987" not in broken.reason


@pytest.mark.parametrize(
    "resource",
    [
        CHILD | {"active": False},
        CONDITION | {"verificationStatus": {"coding": [{"code": "entered-in-error"}]}},
        VACCINATION | {"status": "entered-in-error"},
        {"resourceType": "Observation", "id": "o-1"},
    ],
)
def test_a_record_that_does_not_hold_is_skipped_with_the_reason(tmp_path: Path, resource: dict[str, Any]) -> None:
    """What the record itself takes back, and types that no dataset is made of, publish nothing and are counted."""
    [outcome] = read(export(tmp_path, resource))
    assert isinstance(outcome, Skipped)
    assert outcome.reason


def test_an_onset_that_is_no_date_is_reported_as_left_out(tmp_path: Path) -> None:
    """An age at onset has no place in the dataset: the condition goes, and the element is named."""
    condition = {name: value for name, value in CONDITION.items() if name != "onsetDateTime"}
    [outcome] = read(export(tmp_path, condition | {"onsetAge": {"value": 3}, "recordedDate": "2019-03-04"}))
    assert isinstance(outcome, Mapped)
    assert outcome.left_out == ("Condition.onset[x]",)
    assert outcome.events[0]["data"]["recorded_on"] == "2019-03-04"


def test_gzipped_files_are_read_and_a_damaged_one_is_reported(tmp_path: Path) -> None:
    """The good lines before the damage count, the damage is named, and the next file is read."""
    whole = gzip.compress("\n".join(json.dumps(CHILD | {"id": f"kid-{n}"}) for n in range(2000)).encode())
    (tmp_path / "a.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    export(tmp_path, CONDITION, name="b.ndjson")
    outcomes = read(tmp_path)
    [broken] = [outcome for outcome in outcomes if isinstance(outcome, Broken)]
    assert broken.where.startswith("a.ndjson.gz:")
    assert "damaged" in broken.reason
    assert outcomes[-1].where == "b.ndjson:1"
    (tmp_path / "a.ndjson.gz").write_bytes(whole)
    assert len(events(read(tmp_path))) == 4001


def test_a_line_beyond_the_limit_is_refused_and_the_next_is_read(tmp_path: Path) -> None:
    """Memory holds one line, and that has a limit."""
    broken, mapped = read(export(tmp_path, "x" * (2 * MAX_LINE_BYTES + 5), CONDITION))
    assert isinstance(broken, Broken)
    assert isinstance(mapped, Mapped)
    assert mapped.where == "all.ndjson:2"


def test_a_new_version_is_a_new_event_and_a_new_key_gives_other_ids(tmp_path: Path) -> None:
    """The id follows versionId, else lastUpdated, else the content; the key makes ids that others cannot work out."""

    def ids(resource: dict[str, Any], id_key: bytes = b"") -> list[str]:
        return [event["id"] for event in events(read(export(tmp_path, resource), id_key=id_key))]

    first, second = CHILD | {"meta": {"versionId": "1"}}, CHILD | {"meta": {"versionId": "2"}}
    different = [ids(CHILD), ids(CHILD | {"gender": "other"}), ids(first), ids(second), ids(first, b"k" * 32)]
    assert len({event_id for each in different for event_id in each}) == 10
    assert ids(first) == ids(first | {"gender": "other"})
    assert all("kid-1" not in event_id for each in different for event_id in each)


def test_a_directory_without_an_export_is_an_error(tmp_path: Path) -> None:
    """Nothing to read is not the same as nothing to publish."""
    with pytest.raises(AgencyError, match=r"no \*\.ndjson"):
        read(tmp_path)


def test_the_four_datasets_are_the_ones_documented() -> None:
    """The README names what an export becomes."""
    readme = (Path(__file__).resolve().parents[1] / "agency_adapters" / "README.md").read_text()
    assert all(f"`{dataset}`" in readme for dataset in DATASETS)

"""Read a FHIR R4 Bulk Data export and make CloudEvents of it. Every line gives one outcome; nothing is lost silently.

| resource (its R4 section) | dataset | of |
|---|---|---|
| Patient (8.1) | `pop.person` | the person |
| Patient under 18 at the reference date | `civil.birth.registered` | the child; R4's Patient names no parents |
| Condition (9.2) | `health.condition` | `Condition.subject` |
| Immunization (11.1) | `health.immunisation` | `Immunization.patient` |
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from agency_adapters import fhir_elements as r4
from agency_adapters.ndjson import Broken, Resource, read_directory

DATASETS = ("pop.person", "civil.birth.registered", "health.condition", "health.immunisation")
MAPPING = "1"  # part of every event id: raise it when the same resource is mapped to other content
ADULT_YEARS = 18
TEXT_CHARS = 200  # the datasets' limit for a text: better the rest of the event than none of it
SEXES = ("female", "male", "other", "unknown")  # valueset-administrative-gender
STATUSES = ("completed", "not-done")  # valueset-immunization-status, without entered-in-error

_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")  # datatypes.html#id


@dataclass(frozen=True, slots=True)
class Mapped:
    """A line and the events made of it. `left_out` names elements that the dataset has no exact place for."""

    where: str
    events: tuple[dict[str, Any], ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that is right, and nothing is to be published of it."""

    where: str
    reason: str


def read_export(
    directory: Path, *, publishers: Mapping[str, str], reference: date, id_key: bytes = b""
) -> Iterator[Mapped | Skipped | Broken]:
    """Yield one outcome per line of the export, one line in memory at a time.

    `publishers` maps each wanted dataset to the agency that publishes it: an agency asks for its own only.
    `reference` is the day on which "under 18" is counted. `id_key` (up to 64 bytes, kept by the agency) makes event ids
    that nobody else can work out from a patient's id; the same key repeats the same ids.
    Raises `AgencyError` when the directory holds no export.
    """
    for line in read_directory(directory):
        match line:
            case Broken():
                yield line
            case Resource(where=where, content=resource):
                try:
                    yield _mapped(where, resource, publishers=publishers, reference=reference, id_key=id_key)
                except r4.Unusable as error:
                    yield Broken(where, str(error))


def _mapped(
    where: str, resource: dict[str, Any], *, publishers: Mapping[str, str], reference: date, id_key: bytes
) -> Mapped | Skipped:
    kind = resource.get("resourceType")
    if not isinstance(kind, str):
        raise r4.Unusable("resourceType is missing")
    mapping = _MAPPINGS.get(kind)
    if mapping is None:
        return Skipped(where, "a resource type that no dataset is made of")
    if not _ID.fullmatch(r4.text(resource, "id") or ""):
        raise r4.Unusable(f"{kind}.id is not a FHIR id")
    withdrawn = _withdrawn(kind, resource)
    if withdrawn:
        return Skipped(where, withdrawn)
    left_out: list[str] = []
    facts = [fact for fact in mapping(resource, reference, left_out) if fact.dataset in publishers]
    if not facts:
        return Skipped(where, "a dataset that this publisher does not publish")
    left_out += [f"{fact.dataset}/{name}" for fact in facts for name in fact.data if not _fits(fact.data[name])]
    events = tuple(_event(fact, resource, publishers[fact.dataset], id_key) for fact in facts)
    return Mapped(where, events, tuple(left_out))


@dataclass(frozen=True, slots=True)
class _Fact:
    dataset: str
    subject: str
    time: str
    data: dict[str, Any]


def _event(fact: _Fact, resource: dict[str, Any], publisher: str, id_key: bytes) -> dict[str, Any]:
    """Dress a fact as a CloudEvent (1.0, JSON format). Elements that are absent are left out of `data`, not null."""
    return {
        "specversion": "1.0",
        "id": _event_id(fact.dataset, resource, id_key),
        "source": f"urn:agency:{publisher}",
        "type": fact.dataset,
        "subject": fact.subject,
        "time": fact.time,
        "datacontenttype": "application/json",
        "data": {name: value for name, value in fact.data.items() if value is not None and _fits(value)},
    }


def _fits(value: Any) -> bool:
    return not isinstance(value, str) or len(value) <= TEXT_CHARS


def _event_id(dataset: str, resource: dict[str, Any], id_key: bytes) -> str:
    """Name one version of one resource: 32 hex digits, the same at every reading.

    A server that keeps no versions (http.html#versions) leaves `meta.versionId` out; then the time of the last change
    counts, and without it the content itself, so that a corrected resource is a new event and a repeated one is not.
    """
    version = r4.meta(resource, "versionId") or r4.meta(resource, "lastUpdated")
    if version is None:
        version = hashlib.sha256(json.dumps(resource, sort_keys=True).encode()).hexdigest()
    name = "\n".join((MAPPING, dataset, resource["resourceType"], resource["id"], version))
    return hashlib.blake2b(name.encode(), key=id_key, digest_size=16).hexdigest()


def _withdrawn(kind: str, resource: dict[str, Any]) -> str:
    """Say why the record itself tells readers not to rely on it; empty when it does not.

    R4: Patient.active (8.1.2), Condition.verificationStatus (9.2.2) and Immunization.status (11.1.2) are modifiers.
    """
    if kind == "Patient" and resource.get("active") is False:
        return "Patient.active is false"
    if kind == "Condition" and r4.code_of(resource.get("verificationStatus")) in ("entered-in-error", "refuted"):
        return "Condition.verificationStatus says that it does not hold"
    if kind == "Immunization" and resource.get("status") == "entered-in-error":
        return "Immunization.status is entered-in-error"
    return ""


def _patient(patient: dict[str, Any], reference: date, left_out: list[str]) -> Iterator[_Fact]:
    """Map Patient (R4 8.1): `pop.person` always, `civil.birth.registered` for who is under 18 at `reference`.

    Photographs, telecoms, languages, marital status, death and the mother's maiden name are not asked for.
    """
    born = r4.full_date(patient, "Patient", "birthDate")
    changed = r4.meta(patient, "lastUpdated")
    names, sex = r4.names(patient), r4.text(patient, "gender")
    if sex is not None and sex not in SEXES:
        sex = None
        left_out.append("Patient.gender")
    person = {
        "person_id": patient["id"],
        "names": names,
        "sex": sex,
        "dob": born,
        "address": r4.address_line(patient),
        "municipality": r4.text(r4.first(patient, "address"), "city"),
        **r4.identifiers(patient, left_out),
    }
    yield _Fact("pop.person", patient["id"], r4.instant(changed or born, "Patient.meta.lastUpdated"), person)
    if _is_minor(date.fromisoformat(born), reference):
        birth = {
            "child_id": patient["id"],
            "dob": born,
            "sex": sex,
            "place": r4.birth_place(patient),
            "names": names,
            "multiple_birth": r4.multiple_birth(patient),
        }
        yield _Fact("civil.birth.registered", patient["id"], r4.instant(born, "Patient.birthDate"), birth)


def _condition(condition: dict[str, Any], _reference: date, left_out: list[str]) -> Iterator[_Fact]:
    """Map Condition (R4 9.2). Of `onset[x]` a dateTime or a Period's start; ages, ranges and texts are left out."""
    subject = r4.patient_id(condition, "Condition", "subject")
    coding = r4.coding_of(condition, "Condition", "code")
    onset = r4.text(condition, "onsetDateTime") or r4.text(condition.get("onsetPeriod"), "start")
    recorded = condition.get("recordedDate")
    onset_on, recorded_on = r4.day(onset), r4.day(recorded)
    if onset_on is None and any(name.startswith("onset") for name in condition):
        left_out.append("Condition.onset[x]")
    if recorded_on is None and recorded is not None:
        left_out.append("Condition.recordedDate")
    when = next((value for value in (recorded, onset, r4.meta(condition, "lastUpdated")) if r4.day(value)), None)
    data = {
        "patient_id": subject,
        "code": coding["code"],
        "system": r4.text(coding, "system"),
        "display": r4.text(coding, "display") or r4.text(condition.get("code"), "text"),
        "onset_on": onset_on,
        "recorded_on": recorded_on,
        "clinical_status": r4.code_of(condition.get("clinicalStatus")),
    }
    yield _Fact("health.condition", subject, r4.instant(when, "Condition.recordedDate"), data)


def _immunization(immunization: dict[str, Any], _reference: date, _left_out: list[str]) -> Iterator[_Fact]:
    """Map Immunization (R4 11.1). `status` goes along: `not-done` is a fact too, and not a vaccination."""
    subject = r4.patient_id(immunization, "Immunization", "patient")
    coding = r4.coding_of(immunization, "Immunization", "vaccineCode")
    occurred = immunization.get("occurrenceDateTime")
    status = r4.text(immunization, "status")
    if status not in STATUSES:
        raise r4.Unusable(f"Immunization.status is none of {', '.join(STATUSES)}")
    data = {
        "patient_id": subject,
        "vaccine_code": coding["code"],
        "display": r4.text(coding, "display") or r4.text(immunization.get("vaccineCode"), "text"),
        "occurred_on": r4.day(occurred),
        "status": status,
    }
    yield _Fact("health.immunisation", subject, r4.instant(occurred, "Immunization.occurrenceDateTime"), data)


_MAPPINGS: Mapping[str, Callable[[dict[str, Any], date, list[str]], Iterator[_Fact]]] = {
    "Patient": _patient,
    "Condition": _condition,
    "Immunization": _immunization,
}


def _is_minor(born: date, reference: date) -> bool:
    """Tell whether someone born then is born and not yet 18 at `reference`; a leap day's child turns 18 on 1 March."""
    comes_of_age = (born.year + ADULT_YEARS, born.month, born.day)
    return born <= reference and (reference.year, reference.month, reference.day) < comes_of_age

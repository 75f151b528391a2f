"""Read the data types of FHIR R4 (hl7.org/fhir/R4, datatypes.html) out of decoded JSON, trusting nothing of its shape.

An element that is absent or of another type than R4 says is None, or `Unusable` where the mapping cannot do without.
"""

import re
from datetime import UTC, datetime
from typing import Any

_IDENTIFIERS = {"MR": "medical_record", "SS": "social_security", "DL": "driving_licence", "PPN": "passport"}  # v2-0203
_BIRTH_PLACE = "http://hl7.org/fhir/StructureDefinition/patient-birthPlace"
# datatypes.html#dateTime, full dates only
_DATE_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?")
_REFERENCE = re.compile(
    r"(?:urn:uuid:|(?:.*/)?Patient/)([A-Za-z0-9.\-]{1,64})(?:/_history/.+)?"
)  # references.html#literal


class Unusable(Exception):
    """The resource breaks a rule of R4 that the mapping needs. The text names the element, never its value."""


def names(patient: dict[str, Any]) -> str | None:
    """Give the official HumanName (datatypes.html#HumanName), else the first: its text, else given and family."""
    found = [name for name in items(patient, "name") if isinstance(name, dict)]
    name = next((name for name in found if name.get("use") == "official"), found[0] if found else {})
    parts = [*items(name, "given"), name.get("family")]
    return text(name, "text") or " ".join(part for part in parts if isinstance(part, str)) or None


def address_line(patient: dict[str, Any]) -> str | None:
    """Give the first Address (datatypes.html#Address) as one line: its text, else lines, postal code and city."""
    address = first(patient, "address")
    parts = [*items(address, "line"), address.get("postalCode"), address.get("city")]
    return text(address, "text") or ", ".join(part for part in parts if isinstance(part, str)) or None


def identifiers(patient: dict[str, Any], left_out: list[str]) -> dict[str, str]:
    """Pick the identifiers whose type (v2-0203) the dataset has a field for, the first of each; name the others."""
    found: dict[str, str] = {}
    for identifier in items(patient, "identifier"):
        field = _IDENTIFIERS.get(code_of(identifier.get("type")) or "") if isinstance(identifier, dict) else None
        value = text(identifier, "value")
        if field is None or field in found or value is None:
            left_out.append("Patient.identifier")
        else:
            found[field] = value
    return found


def birth_place(patient: dict[str, Any]) -> str | None:
    """Read the city of the standard extension `patient-birthPlace`."""
    for extension in items(patient, "extension"):
        if isinstance(extension, dict) and extension.get("url") == _BIRTH_PLACE:
            return text(extension.get("valueAddress"), "city")
    return None


def multiple_birth(patient: dict[str, Any]) -> bool | None:
    """Read `multipleBirth[x]`: a Boolean, or an integer that counts the birth order of one of several."""
    told = patient.get("multipleBirthBoolean", patient.get("multipleBirthInteger"))
    return (told is True or told > 0) if isinstance(told, bool | int) else None


def coding_of(resource: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    """Return the first Coding (datatypes.html#Coding) with a code; a text alone is no code to rely on."""
    concept = resource.get(name)
    for coding in items(concept if isinstance(concept, dict) else {}, "coding"):
        if isinstance(coding, dict) and text(coding, "code"):
            return coding
    raise Unusable(f"{kind}.{name} has no coding with a code")


def code_of(concept: Any) -> str | None:
    """Return the first code of a CodeableConcept (datatypes.html#CodeableConcept)."""
    for coding in items(concept if isinstance(concept, dict) else {}, "coding"):
        if text(coding, "code"):
            return text(coding, "code")
    return None


def patient_id(resource: dict[str, Any], kind: str, name: str) -> str:
    """Read a literal Reference (references.html#literal) to a Patient: relative, absolute, or urn:uuid (Synthea)."""
    found = _REFERENCE.fullmatch(text(resource.get(name), "reference") or "")
    if found is None:
        raise Unusable(f"{kind}.{name}.reference names no Patient")
    return found[1]


def full_date(resource: dict[str, Any], kind: str, name: str) -> str:
    """Read a `date` that has all three parts; R4 allows `YYYY` and `YYYY-MM` as well."""
    found = day(resource.get(name))
    if found is None or found != resource[name]:
        raise Unusable(f"{kind}.{name} is not a full date (YYYY-MM-DD)")
    return found


def meta(resource: dict[str, Any], name: str) -> str | None:
    """Read an element of `Resource.meta` (resource.html#Meta)."""
    return text(resource.get("meta"), name)


def day(value: Any) -> str | None:
    """Return the day of a full `date` or `dateTime` as it was written down there; None for a partial or a wrong one."""
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        return None
    try:
        datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return value[:10]


def instant(value: Any, element: str) -> str:
    """Return a full `date` (its first moment in UTC) or `dateTime` as RFC 3339 in UTC."""
    if day(value) is None:
        raise Unusable(f"{element} is not a full date or time")
    moment = datetime.fromisoformat(value)
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.isoformat().replace("+00:00", "Z")


def items(holder: Any, name: str) -> list[Any]:
    """Return a list element, or an empty list."""
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, list) else []


def first(holder: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the first object of a list element, or an empty one."""
    return next((item for item in items(holder, name) if isinstance(item, dict)), {})


def text(holder: Any, name: str) -> str | None:
    """Return a string element that is not empty."""
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, str) and found else None

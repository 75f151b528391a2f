"""What the fields of one dataset can get wrong together: whose they are, what names somebody, what is derived."""

from collections.abc import Mapping
from typing import Any

from hub.core.agreement import Dataset, Field
from hub.core.catalogue.sheet import Marked, did_you_mean, listed
from hub.core.errors import Item
from hub.core.event import DerivedField

BASE_TYPES = {"month": ("string",), "year": ("string",), "band": ("number", "integer"), "count": ("array",)}


def check_dataset(draft: Marked[Dataset]) -> list[Item]:
    """Collect the findings of one dataset, in the order of its fields."""
    dataset = draft.value
    findings = []
    for field in dataset.fields.values():
        where = draft.where("fields", field.name)
        for what, remedy in (*_marks(field, _schema(dataset, field.name)), *_role(dataset, field)):
            findings.append(Item(f"{field.name} of {dataset.name} {what}", where, remedy))
    same: dict[tuple[object, ...], str] = {}
    for derived in dataset.derived.values():
        where = draft.where("derived", derived.name)
        for what, remedy in _derived(dataset, derived):
            findings.append(Item(f"{derived.name} of {dataset.name} {what}", where, remedy))
        other = same.setdefault((derived.base, derived.function, derived.bounds), derived.name)
        if other != derived.name:
            what = (
                f"{derived.name} and {other} are both the {derived.function} of {derived.base}: two names for one thing"
            )
            findings.append(Item(what, where, "Keep one."))
    return findings


def _schema(dataset: Dataset, name: str) -> Mapping[str, Any]:
    properties = dataset.schema["properties"]
    found = properties.get(name) if isinstance(properties, dict) else None
    return found if isinstance(found, dict) else {}


def _marks(field: Field, schema: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Check that what names somebody can be found and rewritten."""
    faults = []
    items = schema.get("items")
    element: Mapping[str, Any] = items if isinstance(items, dict) else {}
    if field.many and not (field.names == "person_ref" or field.element_ref):
        faults.append(("is about many persons and does not say which", "Add names: person_ref, or element_ref."))
    if field.element_ref and (not field.many or field.names):
        faults.append(("has an element_ref", "element_ref goes with many: true, and without names."))
    if field.element_ref and element.get("properties", {}).get(field.element_ref, {}).get("type") != "string":
        remedy = did_you_mean(field.element_ref, element.get("properties", {}))
        faults.append((f"has no text {field.element_ref} in its elements", remedy))
    elif field.element_ref and field.element_ref not in element.get("required", ()):
        faults.append((f"has elements that may lack {field.element_ref}", f"Require {field.element_ref} in them."))
    if field.many and schema.get("type") != "array":
        faults.append(("is about many persons and is no array", "Its schema needs type: array."))
    if field.names and (element if field.many else schema).get("type") != "string":
        faults.append(
            (f"is a {field.names} and no text, so it could not be rewritten", "Its schema needs type: string.")
        )
    return faults


def _role(dataset: Dataset, field: Field) -> list[tuple[str, str]]:
    """Check that there is exactly one person whose choice decides on the field, or on each element of it."""
    refs = [other for other in dataset.fields.values() if other.names == "person_ref" or other.element_ref]
    named = [other for other in refs if other.role == field.role]
    roles = {dataset.subject_role, *(other.role for other in refs)}
    if field.role not in roles:
        remedy = (
            did_you_mean(field.role, roles) or f"Add a person_ref with role {field.role}; roles are {listed(roles)}."
        )
        return [(f"is about a {field.role}, and no field says who that is", remedy)]
    if field not in named and any(other.many for other in named):
        return [(f"is about a {field.role}, of whom there can be many", "Make it an array with an element_ref.")]
    if field in named and not field.many and any(other is not field and not other.many for other in named):
        return [
            (f"is not the only field that names the {field.role}", "Keep one, or give the other a role of its own.")
        ]
    return []


def _derived(dataset: Dataset, derived: DerivedField) -> list[tuple[str, str]]:
    base = dataset.fields.get(derived.base)
    if derived.name in dataset.fields:
        return [("is a field already", "Give the derived field a name of its own.")]
    if base is None:
        remedy = did_you_mean(derived.base, dataset.fields) or f"It has {listed(dataset.fields)}."
        return [(f"is derived from {derived.base}, which the dataset has not", remedy)]
    faults = []
    kind = _schema(dataset, derived.base).get("type")
    if derived.function in BASE_TYPES and (kind not in BASE_TYPES[derived.function] or (base.names and not base.many)):
        faults.append((f"cannot be the {derived.function} of {derived.base}", f"That is of type {kind}."))
    bounds = list(derived.bounds)
    if (derived.function == "band") != bool(bounds) or bounds != sorted(set(bounds)):
        faults.append(("has wrong bounds", "A band has ascending lower limits, the other functions have none."))
    return faults

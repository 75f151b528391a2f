"""A subscription's own schema: of the dataset's the fields that may ever reach this recipient, as it gets them.

What names somebody is rewritten for each recipient, and elements about people who may not be named are left out; so
limits that speak of the publisher's own values, or of how many elements there are at least, do not hold here.
"""

from collections.abc import Mapping
from typing import Any

from hub.core.agreement import Dataset, Field, Subscription
from hub.core.derived import schema_of

PERSON = {"type": "string", "minLength": 1, "maxLength": 512}  # the recipient's own id of a person, or its pseudonym
ALIAS = {"type": "string", "pattern": r"^i[0-9]+\.[A-Za-z0-9_-]{22}$"}  # hub/identity/pseudonyms.py


def reduced_schema(subscription: Subscription) -> dict[str, Any]:
    """Say in JSON Schema what `data` of a delivery looks like: nothing else is ever in it, and the required always."""
    dataset = subscription.dataset
    return {
        "type": "object",
        "title": titles_of(dataset, "").get("en", dataset.name),
        "additionalProperties": False,
        "required": sorted(subscription.required),
        "properties": {name: _field(dataset, name) for name in sorted(subscription.allowed)},
    }


def titles_of(dataset: Dataset, name: str) -> Mapping[str, str]:
    """Return the titles of a field, derived ones too, per language; of "" the dataset's own."""
    if not name:
        return dataset.titles
    if name in dataset.fields:
        return dataset.fields[name].titles
    return dataset.derived[name].titles or {}


def _field(dataset: Dataset, name: str) -> dict[str, Any]:
    titles = dict(titles_of(dataset, name))
    worded = {"title": titles.get("en", name), "x-titles": titles}
    if name in dataset.derived:
        derived = dataset.derived[name]
        return {**schema_of(derived.function), **worded}
    properties: Any = dataset.schema["properties"]
    return {**_as_received(dataset.fields[name], properties[name]), **worded}


def _as_received(field: Field, schema: Mapping[str, Any]) -> dict[str, Any]:
    if field.many:
        lasting = {name: value for name, value in schema.items() if name not in ("minItems", "uniqueItems")}
        return {**lasting, "items": _element(field, schema.get("items", {}))}
    return _element(field, schema)


def _element(field: Field, schema: Mapping[str, Any]) -> dict[str, Any]:
    if field.names == "identifier":
        return dict(ALIAS)
    if field.names == "person_ref":
        return dict(PERSON)
    if field.element_ref:
        return {**schema, "properties": {**schema.get("properties", {}), field.element_ref: dict(PERSON)}}
    return dict(schema)

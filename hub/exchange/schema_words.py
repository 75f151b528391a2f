"""Say in words what of an event's data breaks its schema: every error at once, where, what is wanted, never the value.

An unknown property's name came from outside too and might hold personal data ("Jane Doe": true), so it is repeated only
where it looks like a name that a programmer chose.
"""

import re
from collections.abc import Iterable

import jsonschema_rs

from hub.core.errors import Item

PLAIN_NAME = re.compile(r"[a-z_]{1,40}")
ITEMS = 100  # of one event; beyond that the count says enough
LISTED = 12  # options of an enum that are spelled out
UNSAID = "value not repeated here"
KINDS = jsonschema_rs.ValidationErrorKind
TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
FORMATS = {
    "date": "YYYY-MM-DD",
    "date-time": "a time such as 2026-01-31T09:30:00Z (RFC 3339)",
    "time": "a time of day such as 09:30:00Z (RFC 3339)",
    "duration": "a duration such as P1Y6M (ISO 8601)",
    "email": "an e-mail address",
    "uri": "an absolute URI",
    "uuid": "a UUID",
}
BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "of length {} or more",
    "maxLength": "of length {} or less",
    "minItems": "a list of {} or more elements",
    "maxItems": "a list of {} or fewer elements",
    "minProperties": "an object of {} or more properties",
    "maxProperties": "an object of {} or fewer properties",
}
OTHERS = {
    "anyOf": "in one of the forms that its schema permits",
    "oneOf": "in exactly one of the forms that its schema permits",
    "not": "of another form: its schema excludes this one",
    "contains": "a list with at least one element of the form that its schema names",
    "uniqueItems": "a list without repeated elements",
    "additionalItems": "a shorter list",
    "unevaluatedItems": "a shorter list",
    "false schema": "absent",
    "falseSchema": "absent",
    "propertyNames": "an object whose property names follow its schema",
    "contentEncoding": "in the encoding that its schema names",
    "contentMediaType": "of the media type that its schema names",
}


def schema_items(errors: Iterable[jsonschema_rs.ValidationError], prefix: str, *, schema: str) -> tuple[Item, ...]:
    """Word every error, in the order found. `prefix` is the JSON pointer of the validated value, such as "/data".

    `schema` names it for people: "civil.birth.registered v1". The rest above `ITEMS` is counted in a last item.
    """
    items = [item for error in errors for item in _items(error, prefix, schema)]
    if len(items) <= ITEMS:
        return tuple(items)
    more = Item(f"{len(items) - ITEMS} more errors are not listed ({schema})", prefix)
    return (*items[:ITEMS], more)


def _items(error: jsonschema_rs.ValidationError, prefix: str, schema: str) -> list[Item]:
    """Word one error; unknown properties are one item each."""
    kind, where = error.kind, prefix + _pointer(error)
    if isinstance(kind, KINDS.Required):
        where = f"{where}/{_escaped(kind.property)}"  # the name stands in the schema, not in the data
        return [Item(f"{where} is required ({schema})", where, "Add it.")]
    if isinstance(kind, KINDS.AdditionalProperties | KINDS.UnevaluatedProperties):
        names = kind.unexpected
        return [_unknown(name, number, len(names), where, schema) for number, name in enumerate(names, 1)]
    return [Item(f"{where or '/'} must be {_wanted(kind)} ({schema}); {UNSAID}", where)]


def _unknown(name: str, number: int, count: int, where: str, schema: str) -> Item:
    remedy = "Leave it out; only what the schema names may be sent."
    if PLAIN_NAME.fullmatch(name):
        return Item(f"{where}/{name} is not a field of {schema}", f"{where}/{name}", remedy)
    return Item(
        f"{where or '/'} has a property that is not a field of {schema}: number {number} of {count} such;"
        " its name is not repeated here",
        where,
        remedy,
    )


def _wanted(kind: jsonschema_rs.ValidationErrorKind) -> str:
    """Say what the schema wants. Everything used here stands in the schema, nothing in the data."""
    if isinstance(kind, KINDS.Type):
        names = sorted(kind.types, key=lambda name: name == "null")  # "or null" comes last
        return " or ".join(TYPES.get(name, name) for name in names)
    if isinstance(kind, KINDS.Format):
        return FORMATS.get(kind.format, f"of the format {kind.format}")
    if isinstance(kind, KINDS.Pattern):
        return f"of the pattern {kind.pattern}"
    if isinstance(kind, KINDS.Enum):
        listed = ", ".join(str(option) for option in kind.options[:LISTED])
        return f"one of {listed}" + (" and others" if len(kind.options) > LISTED else "")
    if isinstance(kind, KINDS.Constant):
        return f"{kind.expected_value}"
    if isinstance(kind, KINDS.MultipleOf):
        return f"a multiple of {kind.multiple_of}"
    if kind.name in BOUNDS:
        return BOUNDS[kind.name].format(kind.value)
    return OTHERS.get(kind.name, f"as its schema says by {kind.name}")


def _pointer(error: jsonschema_rs.ValidationError) -> str:
    """Write the place as a JSON pointer (RFC 6901). Names that the schema does not know are shown only when plain."""
    path = error.evaluation_path
    known = {path[at + 1] for at in range(len(path) - 1) if path[at] == "properties"}
    return "".join(
        f"/{_escaped(str(step))}" if isinstance(step, int) or step in known or PLAIN_NAME.fullmatch(step) else "/*"
        for step in error.instance_path
    )


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")

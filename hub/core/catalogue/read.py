"""From the marked mappings of the files to values: each file by itself, nothing looked up in another."""

import re
from typing import NamedTuple

import jsonschema_rs

from hub.core.agreement import Agency, Agreement, Basis, Dataset, Field, Purpose, Wanted
from hub.core.catalogue.sheet import Marked, Node, Sheet, did_you_mean, keys, listed, midnight_us
from hub.core.derived import FUNCTIONS
from hub.core.errors import Item
from hub.core.event import DerivedField

AGENCY_CODE = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"  # no dots: topics are in.<agency>.<dataset>
DATASET_NAME = r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*"
FIELD_NAME = r"[a-z][a-z0-9_]{0,47}"
PURPOSE_CODE = r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*"
AGREEMENT_CODE = r"AGR-[1-9][0-9]*"
RIGHTS = frozenset({"publish", "subscribe", "link"})
ASSURANCE = {"P1": 1, "P2": 2, "P3": 3}  # UK GPG 45 low, medium, high
DRAFT = "https://json-schema.org/draft/2020-12/schema"
# The part of JSON Schema that a field may use: nothing that looks elsewhere, so a reviewer sees the whole of it.
KEYWORDS = keys(
    "type format enum const pattern minLength maxLength minimum maximum exclusiveMinimum exclusiveMaximum "
    "multipleOf items minItems maxItems uniqueItems properties required additionalProperties description"
)


class Line(NamedTuple):
    """One subscription as an agreement lists it."""

    number: int
    purpose: str
    dataset: str


class Paper(NamedTuple):
    """An agreement and the subscriptions it lists."""

    agreement: Agreement
    lines: tuple[Line, ...]


def read_agencies(node: Node, findings: list[Item]) -> list[Marked[Agency]]:
    """Read agencies.yaml: a mapping from code to agency."""
    if not isinstance(node.content, dict):
        findings.append(Item("agencies.yaml must map each agency's code to what it is", node.where))
        return []
    return [_agency(code, entry, findings) for code, entry in node.content.items()]


def _agency(code: str, node: Node, findings: list[Item]) -> Marked[Agency]:
    sheet = Sheet(node, name=code, keys=keys("number titles rights contact address"), findings=findings)
    if not re.fullmatch(AGENCY_CODE, code):
        sheet.note(f'The agency code "{code}" has not the form it must have', remedy="Write it like civil-registry.")
    rights = sheet.words("rights")
    for right in rights:
        if right not in RIGHTS:
            remedy = did_you_mean(right, RIGHTS) or f"One of {listed(RIGHTS)}."
            sheet.note(f'{code} has the unknown right "{right}"', "rights", remedy=remedy)
    number = sheet.whole("number", least=1)
    contact, address = sheet.text("contact", default=""), sheet.text("address", default="")
    return sheet.marked(Agency(code, number, sheet.texts("titles"), frozenset(rights), contact, address))


def read_dataset(node: Node, findings: list[Item]) -> Marked[Dataset]:
    """Read one dataset. Its JSON Schema is put together from its fields, so it can name no property without marks."""
    known = keys("name version number provider titles subject_role rhythm_days required fields derived")
    sheet = Sheet(node, name=node.stem, keys=known, findings=findings)
    name = _code(sheet, "name", DATASET_NAME, "civil.birth.registered")
    fields = {key: _field(name, key, entry, findings) for key, entry in sheet.mapping("fields").items()}
    derived = {
        key: _derived(name, key, entry, findings) for key, entry in sheet.mapping("derived", optional=True).items()
    }
    required = sheet.words("required", optional=True)
    for key in required:
        if key not in fields:
            remedy = did_you_mean(key, fields) or f"It has {listed(fields)}."
            sheet.note(f"{name} requires {key} and has no such field", "required", remedy=remedy)
    schema: dict[str, object] = {
        "$schema": DRAFT,
        "type": "object",
        "additionalProperties": False,
        "required": sorted(required),
        "properties": {key: _schema_node(entry).plain() for key, entry in sheet.mapping("fields").items()},
    }
    return sheet.marked(
        Dataset(
            name=name,
            version=sheet.whole("version", least=1),
            number=sheet.whole("number", least=1),
            provider=sheet.text("provider"),
            titles=sheet.texts("titles"),
            subject_role=sheet.text("subject_role", pattern=FIELD_NAME, like="child"),
            fields=fields,
            derived=derived,
            schema=schema,
            rhythm_days=sheet.whole("rhythm_days", default=0),
        )
    )


def _field(dataset: str, name: str, node: Node, findings: list[Item]) -> Field:
    known = keys("titles role classification special names many element_ref schema")
    sheet = Sheet(node, name=f"{name} of {dataset}", keys=known, findings=findings)
    if not re.fullmatch(FIELD_NAME, name):
        sheet.note(
            f'The field name "{name}" of {dataset} has not the form it must have', remedy="Write it like birth_weight."
        )
    names = sheet.choice("names", ("person_ref", "identifier"), default="")
    if names == "person_ref" and not sheet.has("role"):
        what = f"{sheet.name} names a person and does not say in which role"
        sheet.note(what, "names", remedy="Add role, as in role: parent.")
    role = sheet.text("role", pattern=FIELD_NAME, like="child") if names != "person_ref" or sheet.has("role") else ""
    _check_schema(sheet)
    return Field(
        name=name,
        titles=sheet.texts("titles"),
        role=role,
        classification=sheet.choice("classification", ("ordinary", "sensitive")),
        special=sheet.flag("special"),
        names=names,
        many=sheet.flag("many") if sheet.has("many") else False,
        element_ref=sheet.text("element_ref", default=""),
    )


def _derived(dataset: str, name: str, node: Node, findings: list[Item]) -> DerivedField:
    sheet = Sheet(node, name=f"{name} of {dataset}", keys=keys("titles from function bounds"), findings=findings)
    if not re.fullmatch(FIELD_NAME, name):
        sheet.note(
            f'The field name "{name}" of {dataset} has not the form it must have', remedy="Write it like dob_month."
        )
    bounds = [element.plain() for element in sheet.elements("bounds", optional=True)]
    if not all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds):
        sheet.note(f"{sheet.name}: bounds must be numbers", "bounds")
        bounds = []
    return DerivedField(
        name=name,
        base=sheet.text("from"),
        function=sheet.choice("function", FUNCTIONS),
        bounds=tuple(bounds),
        titles=sheet.texts("titles"),
    )


def read_purpose(node: Node, findings: list[Item]) -> Marked[Purpose]:
    """Read one purpose."""
    known = keys("code version number basis law assurance retention_days age titles benefit not_used_for wanted")
    sheet = Sheet(node, name=node.stem, keys=known, findings=findings)
    code = _code(sheet, "code", PURPOSE_CODE, "FAM-ALLOW")
    basis = sheet.choice("basis", list(Basis))
    roles, age_from, age_below = _age(sheet, findings)
    return sheet.marked(
        Purpose(
            code=code,
            version=sheet.whole("version", least=1),
            number=sheet.whole("number", least=1),
            basis=Basis(basis) if basis in list(Basis) else Basis.CONSENT,
            titles=sheet.texts("titles"),
            benefit=sheet.texts("benefit"),
            not_used_for=sheet.lists_of_texts("not_used_for"),
            wanted={name: _wanted(code, name, entry, findings) for name, entry in sheet.mapping("wanted").items()},
            retention_days=sheet.whole("retention_days", least=1, most=36_525),
            assurance=ASSURANCE.get(sheet.choice("assurance", ASSURANCE), 0),
            law=sheet.text("law", default=""),
            age_roles=roles,
            age_from_years=age_from,
            age_below_years=age_below,
        )
    )


def _age(purpose: Sheet, findings: list[Item]) -> tuple[frozenset[str], int, int]:
    if not purpose.has("age"):
        return frozenset(), 0, 0
    known = keys("roles from_years below_years")
    sheet = Sheet(purpose.node_of("age"), name=f"The age limit of {purpose.name}", keys=known, findings=findings)
    age_from, below = sheet.whole("from_years", default=0, most=150), sheet.whole("below_years", default=0, most=150)
    if (below and below <= age_from) or not (below or age_from):
        sheet.note(f"{sheet.name} lets no age pass, or every age", remedy="from_years <= age < below_years.")
    return frozenset(sheet.words("roles")), age_from, below


def _wanted(purpose: str, dataset: str, node: Node, findings: list[Item]) -> Wanted:
    name = f"What {purpose} wants of {dataset}"
    sheet = Sheet(node, name=name, keys=keys("required optional"), findings=findings)
    required, optional = frozenset(sheet.words("required")), frozenset(sheet.words("optional", optional=True))
    if not required:
        sheet.note(f"{name} requires no field", "required", remedy="Name what the purpose cannot do without.")
    for field in sorted(required & optional):
        sheet.note(f"{name} calls {field} both required and optional", "optional", remedy="Remove one.")
    return Wanted(dataset, required, optional)


def read_agreement(node: Node, findings: list[Item]) -> Marked[Paper]:
    """Read one agreement. Its days begin at midnight UTC; on the day `valid_until` it is valid no more."""
    known = keys(
        "code version number provider recipient law valid_from valid_until review_on look_back_days purposes "
        "ceiling subscriptions"
    )
    sheet = Sheet(node, name=node.stem, keys=known, findings=findings)
    code = _code(sheet, "code", AGREEMENT_CODE, "AGR-12")
    start, end, review = sheet.day("valid_from"), sheet.day("valid_until"), sheet.day("review_on")
    if sheet.sound and start >= end:
        sheet.note(f"{code} ends before it begins", "valid_until", remedy="valid_until must be after valid_from.")
    elif sheet.sound and not start <= review <= end:
        sheet.note(
            f"{code} is reviewed outside its validity", "review_on", remedy=f"Review it between {start} and {end}."
        )
    ceiling = sheet.mapping("ceiling")
    ceilings = Sheet(sheet.node_of("ceiling"), name=f"The ceiling of {code}", keys=ceiling, findings=findings)
    agreement = Agreement(
        code=code,
        version=sheet.whole("version", least=1),
        number=sheet.whole("number", least=1),
        provider=sheet.text("provider"),
        recipient=sheet.text("recipient"),
        purposes=sheet.words("purposes"),
        ceiling={dataset: frozenset(ceilings.words(dataset)) for dataset in ceiling},
        valid_from_us=midnight_us(start),
        valid_until_us=midnight_us(end),
        look_back_days=sheet.whole("look_back_days", most=366),
        law=sheet.text("law"),
        review_on=review.isoformat(),
    )
    lines = tuple(_line(code, entry, findings) for entry in sheet.elements("subscriptions"))
    return sheet.marked(Paper(agreement, lines))


def _line(agreement: str, node: Node, findings: list[Item]) -> Line:
    known = keys("number purpose dataset")
    sheet = Sheet(node, name=f"A subscription of {agreement}", keys=known, findings=findings)
    return Line(sheet.whole("number", least=1), sheet.text("purpose"), sheet.text("dataset"))


def _code(sheet: Sheet, key: str, pattern: str, like: str) -> str:
    """Take the name of a thing; its file has the same one, or there would be two names for it."""
    code = sheet.text(key, pattern=pattern, like=like)
    if code and code != sheet.node.stem:
        remedy = f"Name the file {code}.yaml, or the {key} {sheet.node.stem}."
        sheet.note(f"{sheet.node.stem}.yaml holds {code}: two names for one thing", key, remedy=remedy)
    return code or sheet.node.stem


def _schema_node(field: Node) -> Node:
    entry = field.content.get("schema") if isinstance(field.content, dict) else None
    return entry if isinstance(entry, Node) else Node({}, field.file, field.line)


def _check_schema(field: Sheet) -> None:
    """Check the schema of one field: known words only, closed objects, and valid as JSON Schema 2020-12."""
    field.mapping("schema")
    schema = _schema_node(field.node)
    _check_words(field, schema)
    plain = schema.plain()
    try:
        jsonschema_rs.meta.validate({"$schema": DRAFT, **(plain if isinstance(plain, dict) else {})})
    except jsonschema_rs.ValidationError as error:
        place = "/".join(str(step) for step in error.instance_path)
        field.note(f"{field.name}: not a JSON Schema at {place or 'its top'}: {error.message}", "schema")


def _check_words(field: Sheet, schema: Node) -> None:
    words = schema.content if isinstance(schema.content, dict) else {}
    for word in words:
        if word not in KEYWORDS:
            remedy = did_you_mean(word, KEYWORDS) or f"Known are {listed(KEYWORDS)}."
            field.note(f'{field.name}: its schema has the unknown word "{word}"', "schema", remedy=remedy)
    plain = schema.plain()
    if words and not {"type", "enum", "const"} & words.keys():
        field.note(f"{field.name}: its schema lets any type pass", "schema", remedy="Add type.")
    if isinstance(plain, dict) and plain.get("type") == "object" and plain.get("additionalProperties") is not False:
        remedy = "Add additionalProperties: false."
        field.note(f"{field.name}: its schema lets unnamed properties pass", "schema", remedy=remedy)
    properties = words["properties"].content if "properties" in words else {}
    inner = list(properties.values()) if isinstance(properties, dict) else []
    for part in [*inner, *([words["items"]] if "items" in words else [])]:
        _check_words(field, part)

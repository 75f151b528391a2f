"""Split an event's data by the person it is about, keep the smallest part, and put the parts together again.

The way of the data through the hub: `mentions` names the persons, `fields_by_person` gives each their own part (derived
fields computed), `minimise` cuts each part to what was decided, `merge` makes one object of what is left and `rewrite`
replaces everything that names somebody. A field or element that is about nobody we can name goes nowhere.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hub.core.agreement import Dataset, Field
from hub.core.derived import FUNCTIONS, Bounds, Derive
from hub.core.event import Mention

Fields = dict[str, Any]
NamePerson = Callable[[str, str], str | None]
"""(role, the publisher's local id) -> what the recipient may call this person; None: nothing, it is left out."""
NameThing = Callable[[str, str], str | None]
"""(field, the publisher's identifier) -> what the recipient may see in its place; None: nothing, it is left out."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """One derived field, looked up once. Of a `many` base it is about the event's subject and names nobody."""

    name: str
    base: str
    role: str
    compute: Derive
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a dataset what splitting needs, worked out once."""

    subject_role: str
    fields: Mapping[str, Field]
    refs: tuple[Field, ...]  # fields whose value, or elements, name a person
    own: frozenset[str]  # fields of the event's subject that need no look inside
    own_ref: str  # the one field that repeats the event's subject, "" where there is none
    derivations: tuple[Derivation, ...]
    own_derivations: tuple[tuple[str, str, Derive, Bounds], ...]  # the same as bare tuples, for the quick way
    naming: tuple[Field, ...]  # fields that `rewrite` has to look at


@lru_cache(maxsize=4096)  # keyed by the dataset's identity; far more versions than any catalogue keeps in force
def shape(dataset: Dataset) -> Shape:
    """Work out the shape of a dataset. Cheap to call again."""
    fields = dataset.fields
    refs = tuple(f for f in fields.values() if f.names == "person_ref" or f.element_ref)
    derivations = []
    for derived in dataset.derived.values():
        base = fields[derived.base]
        role = dataset.subject_role if base.many else base.role
        derivations.append(Derivation(derived.name, derived.base, role, FUNCTIONS[derived.function], derived.bounds))
    own_refs = [f.name for f in refs if f.role == dataset.subject_role and not f.many]
    quick = len(own_refs) <= 1 and all(d.role == dataset.subject_role for d in derivations)
    own = frozenset(f.name for f in fields.values() if f.role == dataset.subject_role and not f.many)
    return Shape(
        subject_role=dataset.subject_role,
        fields=fields,
        refs=refs,
        own=own if quick else frozenset(),
        own_ref=own_refs[0] if quick and own_refs else "",
        derivations=tuple(derivations),
        own_derivations=tuple((d.name, d.base, d.compute, d.bounds) for d in derivations),
        naming=tuple(f for f in fields.values() if f.names or f.element_ref),
    )


def mentions(dataset: Dataset, event_subject: str, data: Mapping[str, Any]) -> tuple[Mention, ...]:
    """Name the persons an event is about: its subject first, then in the schema's order, each once per role."""
    form, subject = shape(dataset), Mention(dataset.subject_role, event_subject)
    if len(form.refs) == 1 and form.own_ref and data.get(form.own_ref, event_subject) == event_subject:
        return (subject,)  # as most events are: the one field that could name somebody repeats the subject
    return _all_persons(form.refs, subject, data)


def misnamed(dataset: Dataset, event_subject: str, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the fields that should repeat the event's subject and say somebody else: an error of the publisher's."""
    form = shape(dataset)
    own = (field for field in form.refs if field.role == form.subject_role and not field.many)
    return tuple(field.name for field in own if field.name in data and _id(field, data[field.name]) != event_subject)


def references(dataset: Dataset, data: Mapping[str, Any]) -> tuple[Mention, ...]:
    """Name the persons whose ids stand in `data`, so that what a recipient calls them can be looked up at once."""
    return _all_persons(shape(dataset).refs, None, data)


def fields_by_person(dataset: Dataset, data: Mapping[str, Any], persons: Sequence[Mention]) -> tuple[Fields, ...]:
    """Give each of `persons` the fields, the elements of arrays and the derived fields that are about them.

    A plain field belongs to the only person of its role; where the event names several of that role, to nobody.
    `persons` are those of `mentions`, in that order: the event's subject is the first.
    """
    form = shape(dataset)
    if len(persons) == 1 and data.keys() <= form.own:
        subject = persons[0]
        if not form.own_ref or data.get(form.own_ref, subject.local_id) == subject.local_id:
            part = dict(data)
            for name, base, compute, bounds in form.own_derivations:
                value = compute(data.get(base), bounds)
                if value is not None:
                    part[name] = value
            return (part,)
    return _split(form, data, persons)


def minimise(fields: Mapping[str, Any], allowed: Collection[str]) -> Fields:
    """Keep what is allowed. The allow-list decides; nothing is ever added."""
    return {name: value for name, value in fields.items() if name in allowed}


def merge(parts: Iterable[Mapping[str, Any]]) -> Fields:
    """Put the parts of several persons into one `data` again, in the order given; their arrays follow one another."""
    whole: Fields = {}
    for part in parts:
        for name, value in part.items():
            known = whole.get(name)
            if isinstance(known, list) and isinstance(value, list):
                whole[name] = known + value
            elif name not in whole:  # only `many` fields stand in several parts
                whole[name] = value
    return whole


def rewrite(
    dataset: Dataset, data: Mapping[str, Any], person: NamePerson, *, identifier: NameThing | None = None
) -> Fields:
    """Replace every id of a person, and every identifier, by what the recipient may see; leave out the rest.

    Identifiers are left out altogether unless `identifier` is given. What is not text, where text should name
    somebody, is left out as well: it cannot be rewritten, so it must not travel.
    """
    out = dict(data)
    for field in shape(dataset).naming:
        value = out.get(field.name)
        if value is None:
            out.pop(field.name, None)
            continue
        renamed = _renamed(field, value, person, identifier)
        if renamed is None:
            del out[field.name]
        else:
            out[field.name] = renamed
    return out


def without_person(dataset: Dataset, data: Mapping[str, Any], gone: Mention) -> Fields:
    """Leave out everything that is about one person of an event, in one role: what names them, and their own fields.

    A plain field of their role goes too where several persons have it: it was nobody's, and might be theirs.
    """
    out: Fields = {}
    for name, value in data.items():
        field = shape(dataset).fields.get(name)
        if field is None or field.role != gone.role:
            out[name] = value
        elif field.many and isinstance(value, list):
            if left := [element for element in value if _id(field, element) != gone.local_id]:
                out[name] = left
        elif (field.names == "person_ref" or field.element_ref) and _id(field, value) != gone.local_id:
            out[name] = value
    return out


def _all_persons(refs: tuple[Field, ...], subject: Mention | None, data: Mapping[str, Any]) -> tuple[Mention, ...]:
    first = () if subject is None else (subject,)
    if not refs:
        return first
    seen = {(subject.role, subject.local_id) for subject in first}
    found = list(first)
    for field in refs:
        value = data.get(field.name)
        if value is None:
            continue
        for local_id in _ids(field, value):
            if local_id is not None and (field.role, local_id) not in seen:
                seen.add((field.role, local_id))
                found.append(Mention(field.role, local_id))
    return tuple(found)


def _ids(field: Field, value: object) -> list[str | None]:
    """List the local ids in a field's value, one per element where it is `many`; None where there is none."""
    if not field.many:
        return [_id(field, value)]
    return [_id(field, element) for element in value] if isinstance(value, list) else []


def _id(field: Field, element: object) -> str | None:
    if field.element_ref:
        element = element.get(field.element_ref) if isinstance(element, dict) else None
    return element if isinstance(element, str) and element else None


def _split(form: Shape, data: Mapping[str, Any], persons: Sequence[Mention]) -> tuple[Fields, ...]:
    """Do what `fields_by_person` says for any number of persons and roles."""
    parts: tuple[Fields, ...] = tuple({} for _ in persons)
    by_person = {(person.role, person.local_id): part for person, part in zip(persons, parts, strict=True)}
    by_role: dict[str, Fields | None] = {}  # None: several persons, so a plain field of the role is nobody's
    for person, part in zip(persons, parts, strict=True):
        by_role[person.role] = None if person.role in by_role else part
    for name, value in data.items():
        field = form.fields.get(name)
        if field is None:
            continue
        if field.many:
            _share_out(field, value, by_person)
            continue
        named = field.names == "person_ref" or field.element_ref
        owner = by_person.get((field.role, _id(field, value) or "")) if named else by_role.get(field.role)
        if owner is not None:
            owner[name] = value
    for derivation in form.derivations:
        owner = by_role.get(derivation.role)
        value = derivation.compute(data.get(derivation.base), derivation.bounds)
        if owner is not None and value is not None:
            owner[derivation.name] = value
    return parts


def _share_out(field: Field, value: object, by_person: Mapping[tuple[str, str], Fields]) -> None:
    """Add each element of an array to the part of the person it is about."""
    if not isinstance(value, list):
        return
    for element in value:
        owner = by_person.get((field.role, _id(field, element) or ""))
        if owner is not None:
            owner.setdefault(field.name, []).append(element)


def _renamed(field: Field, value: object, person: NamePerson, identifier: NameThing | None) -> object:
    """Give the value with its names replaced; None where nothing of it may stay."""
    if not field.many:
        return _renamed_element(field, value, person, identifier)
    if not isinstance(value, list):
        return None
    renamed = (_renamed_element(field, element, person, identifier) for element in value)
    return [element for element in renamed if element is not None] or None


def _renamed_element(field: Field, element: object, person: NamePerson, identifier: NameThing | None) -> object:
    if field.names == "identifier":
        return identifier(field.name, element) if identifier is not None and isinstance(element, str) else None
    local_id = _id(field, element)
    name = person(field.role, local_id) if local_id is not None else None
    if name is None or not isinstance(element, dict):
        return name
    return {**element, field.element_ref: name}

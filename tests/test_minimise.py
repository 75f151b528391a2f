"""Splitting an event by person, cutting it to what was decided, putting it together: nothing finds another way out."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.agreement import Dataset, Field
from hub.core.event import DerivedField, Mention
from hub.core.minimise import Fields, fields_by_person, mentions, merge, minimise, misnamed, references, rewrite


def dataset_of(*fields: Field, subject_role: str = "child", derived: tuple[DerivedField, ...] = ()) -> Dataset:
    """Build a dataset with these fields and no schema: splitting looks at the marks only."""
    return Dataset(
        name="civil.birth.registered",
        version=1,
        number=1,
        provider="civil-registry",
        titles={"en": "Birth"},
        subject_role=subject_role,
        fields={field.name: field for field in fields},
        derived={field.name: field for field in derived},
        schema={},
    )


BIRTH = dataset_of(
    Field("child_id", {}, "child", names="person_ref"),
    Field("dob", {}, "child"),
    Field("hospital", {}, "child"),
    Field("parent_ids", {}, "parent", names="person_ref", many=True),
    Field("parents", {}, "parent", many=True, element_ref="id"),
    Field("file_number", {}, "child", names="identifier"),
    derived=(
        DerivedField("dob_month", "dob", "month"),
        DerivedField("parents_count", "parent_ids", "count"),
        DerivedField("born_in_hospital", "hospital", "exists"),
    ),
)
CHILD, ANN, BEN = Mention("child", "c1"), Mention("parent", "ann"), Mention("parent", "ben")

LOCAL_IDS = st.sampled_from(["ann", "ben", "cem", "dua"])
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "child_id": st.just("c1"),
        "dob": st.sampled_from(["2026-11-02", "2020-02-29"]),
        "hospital": st.sampled_from(["North", ""]),
        "parent_ids": st.lists(LOCAL_IDS, min_size=1, max_size=4),
        "parents": st.lists(
            st.fixed_dictionaries({"id": LOCAL_IDS, "name": st.text(max_size=3)}), min_size=1, max_size=4
        ),
        "file_number": st.just("F-77"),
    },
)
FIELD_SETS = st.frozensets(st.sampled_from([*BIRTH.fields, *BIRTH.derived]))


def pieces(data: Fields) -> Iterator[tuple[str, str]]:
    """List what a recipient learns as (field, piece): an array of several persons counts element by element."""
    for name, value in data.items():
        field = BIRTH.fields.get(name)
        if field is not None and field.many:
            yield from ((name, str(element)) for element in value)
        else:
            yield name, str(value)


def about(name: str, element: Any) -> Mention:
    """Name the person that a piece of the event is about."""
    field = BIRTH.fields.get(name)
    if field is None or not field.many:
        return CHILD
    return Mention("parent", element["id"] if field.element_ref else element)


def test_the_subject_comes_first_and_everybody_once_per_role() -> None:
    """Order is that of the schema and of the event, so that the same event names the same persons again."""
    data = {"parents": [{"id": "cem"}, {"id": "ann"}], "parent_ids": ["ben", "ann", "ben"], "child_id": "c1"}
    assert mentions(BIRTH, "c1", data) == (CHILD, BEN, ANN, Mention("parent", "cem"))


def test_one_person_in_two_roles_is_mentioned_in_both() -> None:
    """Rights differ by role, so a role is part of who somebody is to an event."""
    assert mentions(BIRTH, "ann", {"parent_ids": ["ann"]}) == (Mention("child", "ann"), ANN)


def test_each_person_gets_own_elements_and_the_subject_the_rest() -> None:
    """The child's fields and what is derived of them are the child's; each parent has own elements only."""
    data = {
        "child_id": "c1",
        "dob": "2026-11-02",
        "parent_ids": ["ann", "ben"],
        "parents": [{"id": "ben", "name": "B"}],
    }
    parts = fields_by_person(BIRTH, data, mentions(BIRTH, "c1", data))
    assert parts == (
        {"child_id": "c1", "dob": "2026-11-02", "dob_month": "2026-11", "parents_count": 2, "born_in_hospital": False},
        {"parent_ids": ["ann"]},
        {"parent_ids": ["ben"], "parents": [{"id": "ben", "name": "B"}]},
    )


def test_a_field_whose_person_nobody_named_goes_nowhere() -> None:
    """Without a guardian's id there is nobody to ask about the guardian's phone, so it is in no part."""
    dataset = dataset_of(Field("dob", {}, "child"), Field("phone", {}, "guardian"))
    data = {"dob": "2026-11-02", "phone": "555"}
    assert fields_by_person(dataset, data, mentions(dataset, "c1", data)) == ({"dob": "2026-11-02"},)


def test_a_plain_field_of_a_role_that_several_have_goes_nowhere() -> None:
    """One of two parents cannot release a field that might be the other's."""
    dataset = dataset_of(
        Field("parent_ids", {}, "parent", names="person_ref", many=True), Field("address", {}, "parent")
    )
    data = {"parent_ids": ["ann", "ben"], "address": "12 Low Road"}
    parts = fields_by_person(dataset, data, mentions(dataset, "c1", data))
    assert parts == ({}, {"parent_ids": ["ann"]}, {"parent_ids": ["ben"]})


def test_an_id_that_contradicts_the_subject_releases_nothing_of_either() -> None:
    """Data of a child filed under another child belongs to neither, and publishing can say which field is wrong."""
    data = {"child_id": "c2", "dob": "2026-11-02"}
    parts = fields_by_person(BIRTH, data, mentions(BIRTH, "c1", data))
    assert all("dob" not in part and "dob_month" not in part for part in parts)
    assert misnamed(BIRTH, "c1", data) == ("child_id",)
    assert misnamed(BIRTH, "c2", data) == ()


@pytest.mark.parametrize("value", ["ann", 7, {"id": "ann"}, [7, None, {}, ""]])
def test_malformed_references_name_nobody_and_do_not_raise(value: object) -> None:
    """What the schema should have refused is dropped here too, not guessed at."""
    data = {"parent_ids": value, "parents": value}
    parts = fields_by_person(BIRTH, data, mentions(BIRTH, "c1", data))
    assert all("parent_ids" not in part and "parents" not in part for part in parts)


@given(EVENTS)
def test_the_parts_together_are_the_event(data: Fields) -> None:
    """Splitting loses nothing that is about a person who can be named, and invents nothing but derived fields."""
    parts = fields_by_person(BIRTH, data, mentions(BIRTH, "c1", data))
    whole = {name: value for name, value in merge(parts).items() if name not in BIRTH.derived}
    assert Counter(pieces(whole)) == Counter(pieces(data))


@given(EVENTS)
def test_no_piece_stands_in_two_parts(data: Fields) -> None:
    """Each piece of an event is about one person, so one person's choice decides it."""
    parts = fields_by_person(BIRTH, data, mentions(BIRTH, "c1", data))
    assert sum((Counter(pieces(part)) for part in parts), Counter()) == Counter(pieces(merge(parts)))


@given(EVENTS, st.lists(FIELD_SETS, min_size=6, max_size=6))
def test_nobody_receives_a_field_that_any_one_party_withheld(data: Fields, released: list[frozenset[str]]) -> None:
    """Whatever each person's allowed fields are, the merged data holds no piece its person did not release."""
    persons = mentions(BIRTH, "c1", data)
    allowed = dict(zip(persons, released, strict=False))
    parts = fields_by_person(BIRTH, data, persons)
    out = merge(minimise(part, allowed[person]) for person, part in zip(persons, parts, strict=True))
    for name, value in out.items():
        field = BIRTH.fields.get(name)
        for element in value if field is not None and field.many else [value]:
            assert name in allowed[about(name, element)]


@given(EVENTS, FIELD_SETS, FIELD_SETS)
def test_a_further_restriction_never_adds_a_field(data: Fields, first: frozenset[str], second: frozenset[str]) -> None:
    """Cutting twice leaves what both allow, in any order."""
    once = minimise(data, first)
    assert minimise(once, second) == minimise(minimise(data, second), first) == minimise(data, first & second)


@given(EVENTS)
def test_splitting_and_merging_leave_the_event_untouched(data: Fields) -> None:
    """The same event is split for several subscriptions, so nobody may write into it."""
    before = repr(data)
    persons = mentions(BIRTH, "c1", data)
    merge(fields_by_person(BIRTH, data, persons))
    rewrite(BIRTH, data, lambda _role, _local_id: None)
    assert repr(data) == before


@given(EVENTS)
def test_after_rewriting_no_id_of_the_publisher_is_left(data: Fields) -> None:
    """Every reference is renamed by role and id; identifiers are gone."""
    out = rewrite(BIRTH, data, lambda role, local_id: f"p1.{role}.{local_id}")
    assert {mention.local_id for mention in references(BIRTH, out)} == {
        f"p1.{mention.role}.{mention.local_id}" for mention in references(BIRTH, data)
    }
    assert "file_number" not in out
    assert {name: value for name, value in out.items() if name in ("dob", "hospital")} == {
        name: value for name, value in data.items() if name in ("dob", "hospital")
    }


def test_a_person_without_a_name_for_the_recipient_is_left_out() -> None:
    """An element goes, an emptied array goes, and so does a field of one person."""
    data = {
        "child_id": "c1",
        "parent_ids": ["ann", "ben"],
        "parents": [{"id": "ann", "name": "A"}],
        "dob": "2026-11-02",
    }
    names = {("parent", "ben"): "B-1"}
    assert rewrite(BIRTH, data, lambda role, local_id: names.get((role, local_id))) == {
        "parent_ids": ["B-1"],
        "dob": "2026-11-02",
    }


def test_an_element_keeps_its_other_properties_when_its_person_is_renamed() -> None:
    """Only the reference in it is replaced."""
    out = rewrite(BIRTH, {"parents": [{"id": "ann", "name": "A"}]}, lambda _role, _local_id: "P-9")
    assert out == {"parents": [{"id": "P-9", "name": "A"}]}


def test_identifiers_travel_only_under_a_name_made_for_the_recipient() -> None:
    """Without a mapping for identifiers they are removed; with one they are replaced."""
    data = {"file_number": "F-77", "dob": "2026-11-02"}
    assert rewrite(BIRTH, data, lambda _role, _local_id: None) == {"dob": "2026-11-02"}
    renamed = rewrite(BIRTH, data, lambda _role, _local_id: None, identifier=lambda field, _value: f"i1.{field}")
    assert renamed == {"file_number": "i1.file_number", "dob": "2026-11-02"}


@pytest.mark.parametrize("value", [7, None, {"no": "id"}, ["x", 7], True])
def test_a_reference_that_is_not_text_does_not_travel(value: object) -> None:
    """It cannot be rewritten, so it is left out rather than passed through."""
    out = rewrite(
        BIRTH,
        {"child_id": value, "file_number": value},
        lambda _role, _local_id: "P",
        identifier=lambda _field, _value: "I",
    )
    assert out == {}

"""A mapping that cannot work says what is wrong, where, and what to do, and nothing is published by it."""

import traceback
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from agency_adapters.errors import AgencyError
from agency_adapters.rules import Rule
from agency_adapters.sql.database import open_database
from agency_adapters.sql.draft import draft
from agency_adapters.sql.mapping import read_mapping
from agency_adapters.sql.rows import datasets_of
from agency_adapters.values import value_of
from tests.sql_world import DATASET, FIELDS, SNAPSHOT, TABLE, WATERMARK, Agency, agency

GOOD = WATERMARK + FIELDS
VISIT = datasets_of({"datasets": [dict(DATASET)]})["test.visit"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Agency]:
    """An agency with a table of visits, one row in it."""
    with agency(tmp_path) as there:
        there.run(TABLE)
        there.visit(1)
        yield there


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('key = "id"', 'key = "idd"', "table visits has no column idd. Did you mean id?"),
        ('day = "day"', 'day = "dag"', "table visits has no column dag. Did you mean day?"),
        ('table = "visits"', 'table = "visit"', "the database has no table visit"),
        ('table = "visits"', 'query = "select id, who from visits"', "the query has no column day"),
        ('table = "visits"', 'query = "selec"', "the database could not run the mapping's query"),
        ('table = "visits"\n', "", "table or query is missing"),
        ('day = "day"\n', "", "fields.day is missing: test.visit requires it"),
        ('day = "day"', 'day = "day"\ndy = "day"', "test.visit has no field dy. Did you mean day?"),
        ('day = "day"', 'day = {column = "day", as = "int"}', "fields.day is a date in test.visit, not a int"),
        ('day = "day"', "day = {constant = 7}", "fields.day is a date in test.visit; the constant is none"),
        ('day = "day"', 'day = {columns = ["day"]}', "fields.day is one value in test.visit"),
        ('day = "day"', 'day = {column = "day", as = "dat"}', "fields.day.as is one of"),
        ('day = "day"', 'day = {column = "day", constant = 1}', "fields.day needs exactly one of"),
        ('day = "day"', 'day = {column = "day", as = "lookup"}', "fields.day needs lookup"),
        ('day = "day"', "day = 7", "fields.day is a column's name, or"),
        ('key = "id"\n', "", "key is missing"),
        ('key = "id"', "key = 1", "key has the wrong type"),
        ('key = "id"', 'kay = "id"', "kay means nothing. Did you mean key?"),
        ('mode = "watermark"', 'mode = "watch"', "mode is one of outbox, watermark, snapshot"),
        ('changed = "changed"\n', "", "changed, the column that says when a row last changed"),
        ('mode = "watermark"', 'mode = "snapshot"', "deletions,"),
        ('key = "id"', 'key = "id"\ntime_zone = "Europe/Vienna"', "when clocks are set back"),
        ('key = "id"', 'key = "id"\ntime_zone = "Mars/Base"\noverlap_s = 9000', "time_zone is no time zone"),
        ('key = "id"', 'key = "id"\nchanged_unit = "h"', "changed_unit is one of"),
        ('key = "id"', 'dataset = "test.vist"\nkey = "id"', "test.vist is no dataset that this agency publishes. Did"),
        ('key = "id"', "key = ", "is not TOML"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(place: Agency, old: str, new: str, told: str) -> None:
    """What, where, and what to do instead; nothing is published."""
    with pytest.raises(AgencyError) as refused:
        place.publish(GOOD.replace(old, new))
    assert told in f"{refused.value.what} {refused.value.remedy}"
    assert refused.value.remedy
    assert place.hub.events == []


def test_everything_that_is_wrong_is_told_at_once(place: Agency) -> None:
    """Five mistakes are five lines, not five runs."""
    with pytest.raises(AgencyError) as refused:
        place.publish(SNAPSHOT.replace("snapshot", "snap").replace("id", "") + "[fields]\nday = 1\nx = {a = 1}\n")
    assert refused.value.what.count("\n  - ") >= 5


@pytest.mark.parametrize(
    ("form", "value", "made"),
    [
        ("str", "a ", "a"),
        ("str", 7, "7"),
        ("str", Decimal(7), "7"),
        ("str", 7.0, "7"),
        ("str", date(2026, 1, 2), "2026-01-02"),
        ("str", UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("str", b"a", None),
        ("str", True, None),
        ("int", "7", 7),
        ("int", 7.0, 7),
        ("int", Decimal(7), 7),
        ("int", 7.5, None),
        ("int", "x", None),
        ("int", True, None),
        ("number", "7.5", 7.5),
        ("number", Decimal("7.50"), 7.5),
        ("number", 7, 7),
        ("number", "NaN", None),
        ("bool", 1, True),
        ("bool", "f", False),
        ("bool", "Yes", True),
        ("bool", 0, False),
        ("bool", 2, None),
        ("date", "2026-01-02", "2026-01-02"),
        ("date", "2026-01-02 10:00:00", "2026-01-02"),
        ("date", 20260102.5, None),
        ("date", datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02"),
        ("date", date(2026, 1, 2), "2026-01-02"),
        ("date", "2.1.26", None),
        ("datetime", "2026-01-02 10:00:00", "2026-01-02T10:00:00Z"),
        ("datetime", "2026-01-02T10:00:00+02:00", "2026-01-02T08:00:00Z"),
        ("datetime", 1_769_853_600, "2026-01-31T10:00:00Z"),
        ("datetime", date(2026, 1, 2), "2026-01-02T00:00:00Z"),
        ("json", '["a"]', ["a"]),
        ("json", ["a"], ["a"]),
        ("json", "{", None),
        ("lookup", "F", "female"),
        ("lookup", 1, "male"),
        ("lookup", "X", None),
    ],
)
def test_values_become_what_the_field_wants_or_are_refused(form: str, value: Any, made: Any) -> None:
    """Whatever a driver gives; None stands for a refusal."""
    rule = Rule(("c",), form=form, lookup={"F": "female", "1": "male"})
    try:
        found = value_of(value, form, rule, UTC)
    except (ValueError, ArithmeticError):
        found = None
    assert (found, type(found)) == (made, type(made))


def test_old_ways_of_writing_are_read(place: Agency) -> None:
    """Dates by a format, codes by a lookup, a list of several columns, a constant, and '' for nothing."""
    place.run("create table old (nr integer, patient text, born text, s text, doctor text, nurse text, w text)")
    place.run("insert into old values (1, 'P-1', '31.01.2026', 'F', 'D-1', '', ' ')")
    fields = (
        '[fields]\nperson_id = "patient"\nday = {column = "born", as = "date", format = "%d.%m.%Y"}\n'
        'sex = {column = "s", as = "lookup", lookup = {F = "female"}}\nat_ids = {columns = ["doctor", "nurse"]}\n'
        'weight_g = "w"\nurgent = {constant = false}\n'
    )
    mapping = SNAPSHOT.replace("visits", "old").replace('"id"', '"nr"').replace('"who"', '"patient"')
    assert place.publish(f'{mapping}deletions = "ignore"\n{fields}')["published"] == 1
    (event,) = place.hub.events
    assert event["data"] == {
        "person_id": "P-1", "day": "2026-01-31", "sex": "female", "at_ids": ["D-1"], "urgent": False,
    }  # fmt: skip


def test_a_required_field_that_is_empty_refuses_its_row_only(place: Agency) -> None:
    """The others are published; the reason names field and column, and no value."""
    place.run("insert into visits values (2, 'P-2', null, 0, '2026-01-31 10:00:00')")
    counts = place.publish(GOOD)
    assert (counts["published"], counts["refused"]) == (1, 1)
    assert [one.reason for one in place.told] == ["day: column day is empty, and the field is required"]


def test_a_draft_matches_what_looks_alike_and_leaves_the_rest_to_a_person(place: Agency, tmp_path: Path) -> None:
    """By name and by title in any language; dates as they are written; codes by a letter; TODO for the rest."""
    place.run(
        "create table besuche (id integer primary key, PatientNo text, visit_day text, gender text, grams integer,"
        " shoe_size integer, created_at text, updated_at text)"
    )
    place.run(
        "insert into besuche values (1, 'P-1', '31.01.2026', 'M', 5, 40, '2026-01-31 10:00:00', '2026-02-01 10:00:00')"
    )
    engine = open_database(f"sqlite:///{place.database}")
    text = draft(engine, "besuche", VISIT, reference="env:VISITS")
    engine.dispose()
    path = tmp_path / "besuche.toml"
    path.write_text(text)
    plan = read_mapping(path)
    assert (plan.mode, plan.key, plan.subject, plan.time, plan.changed, plan.database) == (
        "watermark", ("id",), "PatientNo", "created_at", "updated_at", "env:VISITS",
    )  # fmt: skip
    assert plan.rules["person_id"].columns == ("PatientNo",)
    assert plan.rules["day"] == Rule(("visit_day",), form="date", format="%d.%m.%Y")
    assert plan.rules["sex"].lookup == {"M": "male"}
    assert "# TODO column shoe_size" in text
    assert "# TODO urgent (bool): no column looks like it" in text
    place.run("update besuche set updated_at = '2026-02-01 10:00:00'")
    assert place.publish(text.replace("env:VISITS", f"sqlite:///{place.database}"))["published"] == 1


def test_a_draft_of_a_table_that_is_not_there_names_those_that_are(place: Agency) -> None:
    """A typing mistake is told as one."""
    with pytest.raises(AgencyError) as refused:
        draft(
            open_database(f"sqlite:///{place.database}"),
            "visit",
            VISIT,
            reference="",
        )
    assert "Did you mean visits?" in refused.value.remedy


SECRET = "hunter2-very-secret"
URL = f"postgresql+psycopg://clerk:{SECRET}@db.example/registry"


@pytest.mark.parametrize(
    ("reference", "environment", "told"),
    [
        (URL, {}, "holds a password"),
        ("env:REGISTRY", {}, "the environment has no REGISTRY"),
        ("env:REGISTRY", {"REGISTRY": f"nonsense {SECRET}"}, "the database URL is none"),
        (
            "env:REGISTRY",
            {"REGISTRY": URL.replace("postgresql+psycopg", "oldbase")},
            "kind of database that is not known",
        ),
        ("file:/nowhere/url", {}, "cannot be read"),
        ("sqlite:////nowhere/agency.sqlite", {}, "there is no SQLite file"),
    ],
)
def test_a_database_that_cannot_be_opened_is_told_without_its_secrets(
    reference: str, environment: dict[str, str], told: str
) -> None:
    """Neither what is said nor what caused it holds the password."""
    with pytest.raises(AgencyError) as refused:
        open_database(reference, environment)
    assert told in refused.value.what
    assert refused.value.remedy
    assert SECRET not in f"{refused.value!r} {refused.value.remedy} {refused.value.__cause__!r}"


def test_a_driver_that_is_missing_is_named(tmp_path: Path) -> None:
    """SQLAlchemy has no drivers of its own; the remedy says what to install."""
    (tmp_path / "url").write_text(URL.replace("psycopg", "pg8000"))
    with pytest.raises(AgencyError, match="the database driver pg8000 is not installed") as refused:
        open_database(f"file:{tmp_path / 'url'}")
    assert SECRET not in str(refused.value)


def test_a_database_error_names_no_value(place: Agency) -> None:
    """A constraint that fails is told by its code: the driver's words would repeat the row."""
    from agency_adapters.sql.database import told

    engine = open_database(f"sqlite:///{place.database}")
    with (
        pytest.raises(AgencyError, match="could not insert: IntegrityError SQLITE_CONSTRAINT") as refused,
        told("insert"),
        engine.begin() as connection,
    ):
        connection.exec_driver_sql("insert into visits values (1, 'P-secret', '', 0, '')")
    engine.dispose()
    assert "P-secret" not in "".join(traceback.format_exception(refused.value, limit=0))

"""Tables that say nothing of what was published: what changed is found, nothing is lost or sent as new twice."""

import stat
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agency_adapters.errors import AgencyError
from agency_adapters.sql.differences import _back, mark_text, mark_value
from agency_adapters.sql.mapping import read_mapping
from tests.sql_world import FIELDS, SNAPSHOT, TABLE, WATERMARK, Agency, agency

BY_TIME = WATERMARK + FIELDS
BY_ALL = SNAPSHOT + 'deletions = "ignore"\n' + FIELDS
FAREWELL = 'dataset = "test.visit.gone"\nfields = {person_id = {from = "subject"}, day = {from = "noticed"}}\n'
BOTH = pytest.mark.parametrize("mapping", [BY_TIME, BY_ALL], ids=["watermark", "snapshot"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Agency]:
    """An agency with a table of visits."""
    with agency(tmp_path) as there:
        there.run(TABLE)
        yield there


@BOTH
def test_only_new_and_changed_rows_are_sent(place: Agency, mapping: str) -> None:
    """Two rows, then one more and one changed; a row that was only touched says nothing new."""
    place.visit(1)
    place.visit(2, day="2026-02-01")
    assert place.publish(mapping)["published"] == 2
    place.visit(1, day="2026-01-30", changed="2026-01-31 10:05:00")
    place.visit(3, day="2026-02-03", changed="2026-01-31 10:06:00")
    assert place.publish(mapping)["published"] == 2
    assert place.publish(mapping)["published"] == 0
    assert sorted(place.days()) == ["2026-01-30", "2026-01-31", "2026-02-01", "2026-02-03"]


def test_a_row_that_commits_late_inside_the_overlap_is_found(place: Agency) -> None:
    """Its time is nine minutes before the latest that was met; one of eleven minutes is beyond the ten agreed."""
    place.visit(1, changed="2026-01-31 10:20:00")
    assert place.publish(BY_TIME)["published"] == 1
    place.visit(2, changed="2026-01-31 10:11:00", day="2026-02-11")
    place.visit(3, changed="2026-01-31 10:09:00", day="2026-02-09")
    assert place.publish(BY_TIME)["published"] == 1
    assert place.days() == ["2026-01-31", "2026-02-11"]


def test_a_row_from_the_future_hides_nothing(place: Agency) -> None:
    """Somebody typed the year 2099: what changes in the meantime is still found."""
    place.visit(1, changed="2099-01-31 10:00:00")
    place.publish(BY_TIME)
    (now,) = place.run("select datetime('now')")[0]
    place.visit(2, changed=now, day="2026-02-02")
    assert place.publish(BY_TIME)["published"] == 1
    assert place.days() == ["2026-01-31", "2026-02-02"]


@BOTH
def test_a_row_that_changed_back_while_its_answer_was_lost_is_sent_again(place: Agency, mapping: str) -> None:
    """The hub has the change, nobody here knows; comparing with what was answered alone would leave it at that."""
    place.visit(1, day="2026-01-01", changed="2026-01-31 10:00:00")
    place.publish(mapping)
    place.visit(1, day="2026-01-02", changed="2026-01-31 10:01:00")
    place.hub.faults = ["", "cut"]
    with pytest.raises(AgencyError):
        place.publish(mapping)
    place.visit(1, day="2026-01-01", changed="2026-01-31 10:02:00")
    assert place.publish(mapping)["published"] == 1
    assert place.days() == ["2026-01-01", "2026-01-02", "2026-01-01"]


@BOTH
def test_a_row_whose_answer_was_lost_is_sent_again_under_its_id(place: Agency, mapping: str) -> None:
    """The same id, time and content: a repeat, which the hub drops."""
    place.visit(1)
    place.hub.faults = ["", "cut"]
    with pytest.raises(AgencyError):
        place.publish(mapping)
    assert place.publish(mapping)["published"] == 1
    first, again = place.hub.events
    assert first == again


def test_a_watermark_whose_memory_is_lost_repeats_the_same_ids(place: Agency) -> None:
    """The file beside the profile is gone: all rows are sent again, and are repeats to the hub."""
    for number in range(5):
        place.visit(number)
    place.publish(BY_TIME)
    (place.directory / "visits.sent").unlink()
    assert place.publish(BY_TIME)["published"] == 5
    assert len(place.events()) == 5


@BOTH
def test_a_refused_row_is_told_once_and_sent_again_when_asked_or_changed(place: Agency, mapping: str) -> None:
    """Sent again unchanged it would be refused again; the counts go on saying that it stands there."""
    place.visit(1, bad=1)
    place.visit(2, day="no day")
    assert place.publish(mapping)["refused"] == 2
    counts = place.publish(mapping)
    assert (counts["refused"], counts["still_refused"]) == (0, 2)
    assert place.publish(mapping, retry_refused=True)["refused"] == 2
    place.visit(1)
    assert place.publish(mapping)["published"] == 1
    assert "no day" not in str(place.told)


def test_rows_that_are_gone_are_published_as_the_mapping_says(place: Agency) -> None:
    """An event of another dataset, once; a row that comes back is new again."""
    mapping = SNAPSHOT + FIELDS + "[deletions]\n" + FAREWELL
    for number in (1, 2):
        place.visit(number, who=f"P-{number}")
    place.publish(mapping)
    place.run("delete from visits where id = 2")
    assert place.publish(mapping)["gone"] == 1
    assert place.publish(mapping)["gone"] == 0
    gone = place.hub.events[-1]
    assert (gone["type"], gone["subject"], gone["data"]["person_id"]) == ("test.visit.gone", "P-2", "P-2")
    place.visit(2, who="P-2")
    assert place.publish(mapping)["published"] == 1
    assert len(place.events()) == 4


def test_a_farewell_whose_answer_was_lost_is_repeated_under_its_id(place: Agency) -> None:
    """Nothing is said twice under two ids."""
    mapping = SNAPSHOT + FIELDS + "[deletions]\n" + FAREWELL
    place.visit(1)
    place.publish(mapping)
    place.run("delete from visits")
    place.hub.faults = ["", "cut"]
    with pytest.raises(AgencyError):
        place.publish(mapping)
    assert place.publish(mapping)["gone"] == 1
    assert (len(place.hub.events), len(place.events())) == (3, 2)


def test_rows_that_are_gone_can_be_ignored(place: Agency) -> None:
    """They are counted, nothing is published, and one that comes back is published anew."""
    place.visit(1)
    place.publish(BY_ALL)
    place.run("delete from visits")
    assert place.publish(BY_ALL)["gone"] == 1
    place.visit(1)
    assert place.publish(BY_ALL)["published"] == 1
    assert len(place.events()) == 2


def test_a_table_that_is_suddenly_empty_is_not_believed(place: Agency) -> None:
    """Eleven of eleven rows gone looks like the wrong database; --many-gone says that it is meant."""
    mapping = SNAPSHOT + FIELDS + "[deletions]\n" + FAREWELL
    for number in range(11):
        place.visit(number)
    place.publish(mapping)
    place.run("delete from visits")
    with pytest.raises(AgencyError, match="11 rows are gone at once"):
        place.publish(mapping)
    assert place.publish(mapping, many_gone=True)["gone"] == 11


def test_a_baseline_publishes_nothing_that_is_there_already(place: Agency) -> None:
    """An agency that starts today: only what changes from now on."""
    place.visit(1)
    assert place.publish(BY_ALL, baseline=True)["published"] == 0
    place.visit(2, day="2026-02-02")
    assert place.publish(BY_ALL)["published"] == 1
    assert place.days() == ["2026-02-02"]


def test_many_rows_are_read_page_by_page_by_several_columns(place: Agency) -> None:
    """1,100 rows under a key of two columns, many with one time: each comes once."""
    place.run("create table log (area text, no integer, who text, day text, changed text)")
    rows = [(f"A{number % 3}", number, "P-1", "2026-01-31", "2026-01-31 10:00:00") for number in range(1_100)]
    values = ", ".join(map(str, rows))
    place.run(f"insert into log values {values}")
    mapping = BY_TIME.replace('"visits"', '"log"').replace('key = "id"', 'key = ["area", "no"]')
    mapping = mapping.replace('bad = {column = "bad", as = "bool"}\n', "")
    assert place.publish(mapping)["published"] == 1_100
    assert len(place.events()) == 1_100


def test_a_key_that_two_rows_share_is_refused(place: Agency) -> None:
    """Between two pages one of them would be lost."""
    place.visit(1)
    place.visit(2)
    with pytest.raises(AgencyError, match="the same in two"):
        place.publish(BY_ALL.replace('key = "id"', 'key = "who"'))
    assert place.hub.events == []


def test_a_query_does_what_a_table_does(place: Agency) -> None:
    """Where a table holds more than is to be published."""
    place.visit(1)
    place.visit(2, bad=1)
    query = "query = \"select * from visits where bad = 0 and who <> 'a :b'\""
    assert place.publish(BY_ALL.replace('table = "visits"', query))["published"] == 1


def test_two_runs_of_one_mapping_at_once_are_refused(place: Agency) -> None:
    """The second would take the first one's rows for its own."""
    place.visit(1)
    with place.mapped(BY_ALL), pytest.raises(AgencyError, match="cannot be used now"):
        place.publish(BY_ALL)
    assert place.publish(BY_ALL)["published"] == 1


def test_a_memory_is_not_taken_for_another_mapping(place: Agency) -> None:
    """Two files of the same name in two folders: the second is refused before anything is sent."""
    place.visit(1)
    place.publish(BY_ALL)
    with pytest.raises(AgencyError, match="another mapping of the same name"):
        place.publish(BY_TIME)


def test_what_is_remembered_holds_no_content_and_is_for_its_owner_only(place: Agency) -> None:
    """Keys and keyed hashes; a day of somebody's visit is not in it."""
    place.visit(1, day="1923-04-05")
    place.publish(BY_ALL)
    path = place.directory / "visits.sent"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"1923-04-05" not in path.read_bytes()


NOW_US = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z


@pytest.mark.parametrize(
    ("value", "unit", "since"),
    [
        ("2026-01-31 10:00:00", "s", "2026-01-31 09:50:00"),
        ("2026-01-31 10:00:00.123", "s", "2026-01-31 09:50:00"),
        ("2026-01-31T10:00:00Z", "s", "2026-01-31T09:50:00"),
        ("2026-01-31", "s", "2026-01-30"),
        ("2099-01-31 10:00:00", "s", "2027-01-15 07:50:00"),
        (datetime(2026, 1, 31, 10), "s", datetime(2026, 1, 31, 9, 50)),  # noqa: DTZ001 - what a driver gives
        (date(2026, 1, 31), "s", date(2026, 1, 30)),
        (1_769_853_600, "s", 1_769_853_000),
        (1_769_853_600_000, "ms", 1_769_853_000_000),
        (Decimal(1_769_853_600), "s", Decimal(1_769_853_000)),
        (9_000_000_000, "s", 1_799_999_400),
    ],
)
def test_a_watermark_goes_back_in_the_form_of_its_column(tmp_path: Path, value: Any, unit: str, since: Any) -> None:
    """Ten minutes; what lies ahead counts as now; and it survives being written down."""
    path = tmp_path / "m.toml"
    path.write_text(f'database = "env:X"\ndataset = "d"\nchanged_unit = "{unit}"\n{BY_TIME}')
    assert _back(read_mapping(path), mark_value(mark_text(value)), NOW_US) == since


@pytest.mark.parametrize("value", ["yesterday", "2026-01-31T10:00:00+03:00"])
def test_a_watermark_that_does_not_sort_is_refused(place: Agency, value: str) -> None:
    """A word, or times with offsets: that is said before anything is sent."""
    place.visit(1, changed=value)
    with pytest.raises(AgencyError, match="changed"):
        place.publish(BY_TIME.replace('time = "changed"\n', ""))
    assert place.hub.events == []

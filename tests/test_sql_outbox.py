"""An outbox loses no row, whatever commits when, and says of each what became of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agency_adapters.errors import AgencyError
from agency_adapters.sql.database import open_database
from agency_adapters.sql.tables import create
from tests.sql_world import Agency, agency

OUTBOX = 'mode = "outbox"\ndataset = ""\n'
INSERT = "insert into hub_outbox (id, dataset, subject, happened_at, data) values (?, ?, ?, ?, ?)"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Agency]:
    """An agency whose database has hub_outbox."""
    with agency(tmp_path) as there:
        engine = open_database(f"sqlite:///{there.database}", create=True)
        create(engine, "outbox")
        engine.dispose()
        yield there


def happened(place: Agency, number: int, *, data: str = "", subject: str = "P-1", dataset: str = "test.visit") -> None:
    content = data or json.dumps({"person_id": subject, "day": f"2026-01-{number % 28 + 1:02d}"})
    place.run(INSERT, number, dataset, subject, "2026-01-31 09:30:00", content)


def test_a_lower_id_that_commits_late_is_found(place: Agency) -> None:
    """Ids are drawn before transactions commit: 2 becomes visible after 3 was published, and is still found."""
    happened(place, 1)
    happened(place, 3)
    assert place.publish(OUTBOX)["published"] == 2
    happened(place, 2)
    assert place.publish(OUTBOX)["published"] == 1
    assert place.days() == ["2026-01-02", "2026-01-04", "2026-01-03"]


def test_many_rows_go_in_several_pages_each_once(place: Agency) -> None:
    """700 rows are two pages, read while the one before travels."""
    values = ", ".join(f"({number}, 'test.visit', 'P-1', '2026-01-31 09:30:00', '{{}}')" for number in range(700))
    place.run(f"insert into hub_outbox (id, dataset, subject, happened_at, data) values {values}")
    assert place.publish(OUTBOX)["published"] == 700
    assert place.run("select count(*) from hub_outbox where state <> 'published'") == [(0,)]
    assert (len(place.hub.events), len(place.events())) == (700, 700)


def test_each_row_says_what_became_of_it(place: Agency) -> None:
    """Published with its token and id, or refused with a code; the others are not held up by it."""
    happened(place, 1)
    happened(place, 2, data='{"person_id": "P-1", "day": "2026-01-03", "bad": true}')
    happened(place, 3, data="{not json")
    happened(place, 4, dataset="pop.person")
    happened(place, 5, data="[1]")
    happened(place, 6)
    counts = place.publish(OUTBOX)
    assert (counts["read"], counts["published"], counts["refused"]) == (6, 2, 4)
    rows = place.run("select id, state, code, token is not null, published_at is not null from hub_outbox order by id")
    assert rows == [
        (1, "published", None, 1, 1),
        (2, "refused", "invalid", 0, 0),
        (3, "refused", "row-unfit", 0, 0),
        (4, "refused", "row-unfit", 0, 0),
        (5, "refused", "row-unfit", 0, 0),
        (6, "published", None, 1, 1),
    ]
    assert [one.row for one in place.told] == ["hub_outbox 3", "hub_outbox 4", "hub_outbox 5", "hub_outbox 2"]
    assert "P-1" not in str(place.told)


def test_refused_rows_are_sent_again_only_when_asked(place: Agency) -> None:
    """The same answer would come again; after a correction of the row --retry-refused renews it."""
    happened(place, 1, data="{not json")
    assert place.publish(OUTBOX)["refused"] == 1
    assert place.publish(OUTBOX)["read"] == 0
    place.run("update hub_outbox set data = ?", '{"person_id": "P-1", "day": "2026-01-02"}')
    assert place.publish(OUTBOX, retry_refused=True)["published"] == 1


def test_an_application_may_choose_the_id_and_say_what_a_row_corrects(place: Agency) -> None:
    """The event is published under that id; `corrects` names the id of the earlier one."""
    happened(place, 1)
    place.run("update hub_outbox set event_id = 'visit-1', corrects = 'visit-0'")
    place.publish(OUTBOX)
    (event,) = place.hub.events
    assert (event["id"], event["corrects"]) == ("visit-1", "visit-0")
    assert event["time"] == "2026-01-31T09:30:00Z"
    assert event["source"] == "urn:agency:lindum"


def test_what_was_answered_before_the_hub_went_down_is_marked(place: Agency) -> None:
    """Three requests, the second fails: twenty rows are marked, the others are published later, nothing twice."""
    for number in range(50):
        happened(place, number)
    place.hub.faults = ["", "", "503"]  # the first asks for the datasets
    with pytest.raises(AgencyError, match="20 of 50 events were answered"):
        place.publish(OUTBOX)
    assert place.run("select count(*) from hub_outbox where state = 'published'") == [(20,)]
    assert place.publish(OUTBOX)["published"] == 30
    assert len(place.hub.events) == 50


def test_rows_whose_answer_was_lost_are_sent_again_under_the_same_ids(place: Agency) -> None:
    """The hub has them and its answer never came: repeats, which it drops."""
    for number in range(5):
        happened(place, number)
    place.hub.faults = ["", "cut"]
    with pytest.raises(AgencyError):
        place.publish(OUTBOX)
    assert place.publish(OUTBOX)["published"] == 5
    assert (len(place.hub.events), len(place.events())) == (10, 5)

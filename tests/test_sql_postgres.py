"""The SQL adapters on PostgreSQL, where transactions really commit out of order."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from agency_adapters.errors import AgencyError
from agency_adapters.sql.inbox import receive
from agency_adapters.sql.tables import INBOX, OUTBOX, create
from tests.engines import needs_postgres
from tests.sql_world import FIELDS, SNAPSHOT, WATERMARK, Agency, agency

TABLE = """
create table visits (
    id uuid primary key default gen_random_uuid(), who char(8), day date, bad boolean default false,
    changed timestamptz default clock_timestamp()
)"""


@pytest.fixture
def url() -> Iterator[str]:
    """The address of an empty database, as SQLAlchemy reads it."""
    server, name = needs_postgres().address, f"agency_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"postgresql+psycopg://{server.removeprefix('postgresql://').rpartition('/')[0]}/{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name}")


@pytest.fixture
def database(url: str) -> Iterator[sa.Engine]:
    """An empty database, apart from our tables and one of the agency's."""
    engine = sa.create_engine(url)
    create(engine, "outbox")
    create(engine, "inbox")
    with engine.begin() as connection:
        connection.execute(sa.text(TABLE))
    yield engine
    engine.dispose()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Agency]:
    with agency(tmp_path) as there:
        yield there


def happened(day: str) -> sa.Insert:
    data = json.dumps({"person_id": "P-1", "day": day})
    return sa.insert(OUTBOX).values(
        dataset="test.visit", subject="P-1", happened_at=sa.text("timestamp '2026-01-31 09:30'"), data=data
    )


def test_a_lower_id_that_commits_late_is_published(place: Agency, database: sa.Engine, url: str) -> None:
    """Two transactions, the first one's commit after the second's rows were published."""
    mapping = f'mode = "outbox"\ndataset = ""\ndatabase = "{url}"\n'
    with database.begin() as late:
        late.execute(happened("2026-01-01"))
        with database.begin() as early:
            early.execute(happened("2026-01-02"))
        assert place.publish(mapping)["published"] == 1
    assert place.publish(mapping)["published"] == 1
    assert place.days() == ["2026-01-02", "2026-01-01"]
    with database.connect() as connection:
        assert connection.execute(sa.select(OUTBOX.c.state).distinct()).scalars().all() == ["published"]


@pytest.mark.parametrize("mode", [WATERMARK, SNAPSHOT + 'deletions = "ignore"\n'], ids=["watermark", "snapshot"])
def test_rows_with_the_types_of_the_database_are_published(
    place: Agency, database: sa.Engine, url: str, mode: str
) -> None:
    """uuid, padded char, date, boolean, time with zone; a late one inside the overlap; nothing twice."""
    mapping = f'database = "{url}"\n{mode}{FIELDS}'
    with database.begin() as late:
        late.execute(sa.text("insert into visits (who, day) values ('P-1', '2026-01-01')"))
        with database.begin() as early:
            early.execute(sa.text("insert into visits (who, day) values ('P-2', '2026-01-02')"))
        assert place.publish(mapping)["published"] == 1
    assert place.publish(mapping)["published"] == 1
    assert place.publish(mapping)["published"] == 0
    assert [one["subject"] for one in place.events()] == ["P-2", "P-1"]
    with pytest.raises(AgencyError, match="no column dag"):
        place.publish(mapping.replace('day = "day"', 'day = "dag"'))


def test_deliveries_are_inserted_once(place: Agency, database: sa.Engine) -> None:
    """And again, unacknowledged, without a second row."""
    place.hub.outbox = [{"id": "a" * 32, "number": 1, "kind": "data", "type": "t", "subject": "Пётр", "data": {"n": 1}}]
    assert receive(place.client, database)["received"] == 1
    place.hub.acknowledged.clear()
    assert receive(place.client, database)["repeated"] == 1
    with database.connect() as connection:
        assert connection.execute(sa.select(INBOX.c.subject, INBOX.c.data)).all() == [("Пётр", '{"n": 1}')]

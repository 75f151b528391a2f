"""When an event happened: RFC 3339 with an offset, and nothing else that looks like a time."""

from collections.abc import Iterator
from typing import Any

import pytest

from hub.core.errors import HubError, Kind
from hub.exchange.publish import PublishDesk, publish, read_event
from tests.protocol_world import opened


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishDesk]:
    with opened(tmp_path_factory.mktemp("hub")) as hub:
        yield hub.publishing


def event(time: str) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": "e-1", "source": "urn:agency:civil-registry", "type": "civil.birth.registered",
        "subject": "C", "time": time, "data": {"child_id": "C", "dob": "2026-10-20", "parent_ids": ["P"]},
    }  # fmt: skip


OTHER_FORMS = [
    "2026-W05-6T09:30:00Z",
    "20260131T093000+0100",
    "2026-01-31",
    "2026-01-31T09:30:00",
    "2026-01-31T09Z",
    "2026-01-31X09:30:00Z",
    "2026-02-30T09:30:00Z",
    "2026-01-31T25:00:00Z",
    "2026-01-31T09:30:00+01:00:01",
    "\u0662026-01-31T09:30:00Z",
]


@pytest.mark.parametrize("time", OTHER_FORMS)
def test_a_time_of_another_form_is_refused_where_it_stands(desk: PublishDesk, time: str) -> None:
    """ISO 8601 has many more forms, and every recipient would have to read them."""
    (outcome,) = publish(desk, "civil-registry", [event(time)], dry_run=True)
    assert isinstance(outcome, HubError)
    assert (outcome.kind, [item.where for item in outcome.items]) == (Kind.MALFORMED, ["/time"])


@pytest.mark.parametrize(
    ("time", "us"),
    [
        ("2026-01-31t09:30:00z", 1_769_851_800_000_000),
        ("2026-01-31T09:30:00.000001Z", 1_769_851_800_000_001),
        ("2026-01-31T15:00:00.123456789+05:30", 1_769_851_800_123_456),
    ],
)
def test_every_form_of_rfc_3339_is_read_to_the_microsecond(desk: PublishDesk, time: str, us: int) -> None:
    """Small letters, fractions of a second, an offset of half an hour."""
    read, _ = read_event(desk, "civil-registry", event(time), us)
    assert read.time_us == us

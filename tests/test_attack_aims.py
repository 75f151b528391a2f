"""Attacks with events that are for somebody: a correction is no way around what an ask was narrowed to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asks_world import BY_LAW, known, put, questions
from tests.protocol_checks import faults
from tests.protocol_world import Hub, opened

pytestmark = pytest.mark.engines


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        assert faults(one) == []


def test_a_correction_of_an_answer_holds_what_was_asked_for_and_no_more(hub: Hub) -> None:
    """Provider and asker together get nothing past the question that is on record for the person."""
    known(hub)
    asked = put(hub, fields=("expiry",))
    questions(hub)
    hub.publish("the-answer", "A", BY_LAW, aim={"answers": asked.row.public.hex()})
    hub.decide()
    hub.acknowledge(hub.pull(BY_LAW), BY_LAW)
    hub.publish("mended", "A", BY_LAW, aim={"corrects": "the-answer"}, expiry="2032-05-01")
    hub.decide()
    (correction,), _ = hub.drain(BY_LAW)
    assert (correction["kind"], correction["data"]) == ("correction", {"expiry": "2032-05-01"})


def test_a_correction_of_an_answer_in_the_same_batch_is_narrowed_as_well(hub: Hub) -> None:
    """The store has not seen the answer yet when the correction is decided."""
    known(hub)
    asked = put(hub, fields=("expiry",))
    questions(hub)
    hub.publish("the-answer", "A", BY_LAW, aim={"answers": asked.row.public.hex()})
    hub.publish("mended", "A", BY_LAW, aim={"corrects": "the-answer"}, expiry="2032-05-01")
    hub.decide()
    found, _ = hub.drain(BY_LAW)
    assert [one["data"] for one in found] == [{"expiry": "2031-05-01"}, {"expiry": "2032-05-01"}]


def test_a_correction_of_a_correction_of_an_answer_is_narrowed_as_well(hub: Hub) -> None:
    """However often it is mended, it stays what was asked for."""
    known(hub)
    asked = put(hub, fields=("expiry",))
    questions(hub)
    hub.publish("the-answer", "A", BY_LAW, aim={"answers": asked.row.public.hex()})
    hub.decide()
    hub.publish("mended", "A", BY_LAW, aim={"corrects": "the-answer"})
    hub.decide()
    hub.publish("again", "A", BY_LAW, aim={"corrects": "mended"}, expiry="2033-05-01")
    hub.decide()
    found, _ = hub.drain(BY_LAW)
    assert found[-1]["data"] == {"expiry": "2033-05-01"}


def test_a_correction_of_news_still_holds_all_that_is_agreed(hub: Hub) -> None:
    """Nobody asked for anything, so there is nothing to narrow it to."""
    known(hub)
    hub.publish("news", "A", BY_LAW)
    hub.decide()
    hub.publish("mended", "A", BY_LAW, aim={"corrects": "news"})
    hub.decide()
    news, correction = hub.drain(BY_LAW)[0]
    assert correction["data"].keys() == news["data"].keys() > {"expiry"}

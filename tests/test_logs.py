"""Logs and metrics hold ids, counts and durations only: what is personal finds no key, no value and no label."""

import io
import json
import logging
from typing import Any

import pytest

from hub.core.errors import HubError, Kind
from hub.logs import NAMES, NUMBERS, Log, open_log, take_over
from hub.metrics import OTHER, OUTCOMES, open_metrics, render

MOMENT_US = 1_790_000_000_123_456
PERSONAL = ("Aigul", "1990-04-01", "Riverside Street 7", "aigul@mail.example", "Айгуль", "+99999 12345")


def opened(*, level: str = "info", form: str = "json") -> tuple[Log, io.StringIO]:
    stream = io.StringIO()
    return open_log(clock=lambda: MOMENT_US, level=level, form=form, stream=stream), stream


def only_line(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_line_is_one_json_object_with_the_injected_time() -> None:
    """Time comes from the hub's clock; the facts stand beside it under their names."""
    log, stream = opened()
    log.info("gate.batch", events=200, took_ms=31.5, agency="civil-registry", dataset="civil.birth.registered")
    assert only_line(stream) == {
        "time": "2026-09-21T14:13:20.123456Z",
        "level": "info",
        "event": "gate.batch",
        "events": 200,
        "took_ms": 31.5,
        "agency": "civil-registry",
        "dataset": "civil.birth.registered",
    }


def test_a_key_that_is_not_in_the_closed_set_is_dropped_and_counted() -> None:
    """Nobody can add a personal field to a line by naming one."""
    log, stream = opened()
    log.info("gate.batch", local_id="P-17", person=12345, name="Aigul", events=1)
    line = only_line(stream)
    assert line["dropped"] == 3
    assert set(line) == {"time", "level", "event", "events", "dropped"}


@pytest.mark.parametrize("value", PERSONAL)
@pytest.mark.parametrize("key", sorted(NAMES))
def test_a_personal_value_under_an_allowed_key_is_dropped(key: str, value: str) -> None:
    """Text must look like the kind of name that its key holds; what people are called, or where they live, does not."""
    log, stream = opened()
    log.warning("gate.batch", **{key: value})
    assert value not in stream.getvalue()
    assert json.dumps(value) not in stream.getvalue()


@pytest.mark.parametrize("key", sorted(NUMBERS))
def test_a_number_is_a_number(key: str) -> None:
    """Text cannot travel under a count."""
    log, stream = opened()
    log.info("gate.batch", **{key: "Aigul"})
    assert "Aigul" not in stream.getvalue()


@pytest.mark.parametrize("event", ["published P-17", "linked.Aigul", "P17", "batch 7 done", ""])
def test_nothing_can_be_formatted_into_an_event_name(event: str) -> None:
    """A name with digits, capitals or spaces in it is a sentence, and sentences quote people."""
    log, stream = opened()
    log.info(event)
    assert only_line(stream)["event"] == "unnamed"


def test_an_exception_leaves_its_class_and_place_but_never_its_message() -> None:
    """Messages quote values; the class, the line and a HubError's code are enough to find the cause."""
    log, stream = opened()
    try:
        try:
            raise ValueError("no such date: 1990-04-31 of Aigul")
        except ValueError as cause:
            raise HubError(Kind.INVALID, "Aigul", code="wrong-date") from cause
    except HubError:
        log.exception("gate.failed")
    line = only_line(stream)
    assert (line["exception"], line["caused_by"], line["code"]) == ("HubError", "ValueError", "wrong-date")
    assert "test_logs:" in line["at"]
    assert "Aigul" not in stream.getvalue()


def test_a_library_is_heard_but_not_quoted() -> None:
    """Of another's log line, and of its exception, only where it came from is kept."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        log, stream = opened()
        take_over(log)
        logging.getLogger("somebodys.client").error("could not send %s", "Aigul")
        logging.getLogger("somebodys.client").info("not worth a line")
    finally:
        root.handlers[:], root.level = before, level
    line = only_line(stream)
    assert (line["event"], line["library"], line["level"]) == ("library.said", "somebodys.client", "error")
    assert "Aigul" not in stream.getvalue()


def test_what_is_below_the_level_is_not_written() -> None:
    """The operator says what is worth a line."""
    log, stream = opened(level="warning")
    log.info("gate.batch", events=1)
    assert stream.getvalue() == ""


def test_the_console_form_is_filtered_the_same_way() -> None:
    """Words for people pass the same closed set as JSON for machines."""
    log, stream = opened(form="console")
    log.info("gate.batch", events=3, name="Aigul")
    assert stream.getvalue() == "14:13:20.123 info    gate.batch               events=3 dropped=1\n"


def test_every_metric_stands_at_zero_from_the_first_scrape() -> None:
    """A rate over a series that appears later would miss its first step."""
    text = render(open_metrics(lambda: {"civil-registry", "lindum"})).decode()
    for outcome in OUTCOMES:
        assert f'hub_decisions_total{{outcome="{outcome}"}} 0.0' in text
    assert 'hub_events_published_total{agency="lindum"} 0.0' in text
    assert 'hub_withdraw_seconds_bucket{le="0.1"} 0.0' in text


def test_an_agency_that_the_catalogue_does_not_know_gets_no_label_of_its_own() -> None:
    """What a caller says it is called never becomes a label; the catalogue's codes do, also later ones."""
    codes = {"lindum"}
    metrics = open_metrics(lambda: codes)
    assert metrics.agency("lindum") == "lindum"
    assert metrics.agency("Aigul") == OTHER
    codes.add("school-board")
    assert metrics.agency("school-board") == "school-board"


def test_two_hubs_in_one_process_count_apart() -> None:
    """Metrics are made, not global: a test's second hub starts at zero."""
    one, other = open_metrics(set), open_metrics(set)
    one.decisions.labels("release").inc(5)
    assert 'hub_decisions_total{outcome="release"} 5.0' in render(one).decode()
    assert 'hub_decisions_total{outcome="release"} 0.0' in render(other).decode()

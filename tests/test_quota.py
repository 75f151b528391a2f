"""Quotas: an agency that sends too much is told when to come back, nobody else notices, and nothing was written."""

import ast
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.errors import HubError, Kind
from hub.web.quota import Quota, Quotas

SMALL = Quota(requests_per_s=2, requests_burst=4, events_per_s=10, events_burst=20)
HUB = Path(__file__).resolve().parents[1] / "hub"


class Watch:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def refusal(quotas: Quotas, agency: str, *, requests: int = 1, events: int = 0) -> HubError:
    with pytest.raises(HubError) as caught:
        quotas.take(agency, requests=requests, events=events)
    return caught.value


def test_a_burst_is_let_through_and_then_the_rate_holds() -> None:
    """Four at once, then two a second; the answer says after how many whole seconds it will pass."""
    watch = Watch()
    quotas = Quotas(SMALL, monotonic_s=watch)
    for _ in range(4):
        quotas.take("lindum")
    error = refusal(quotas, "lindum")
    assert (error.kind, error.code, error.retry_after_s) == (Kind.TOO_MANY, "quota-used-up", 1)
    watch.now_s += 1.0
    for _ in range(2):
        quotas.take("lindum")
    refusal(quotas, "lindum")


def test_events_are_counted_apart_from_requests_and_both_or_neither() -> None:
    """A batch that is refused for its events has used up no request."""
    watch = Watch()
    quotas = Quotas(SMALL, monotonic_s=watch)
    quotas.take("lindum", events=20)
    for _ in range(10):
        assert refusal(quotas, "lindum", events=15).retry_after_s == 2
    for _ in range(3):
        quotas.take("lindum")
    watch.now_s += 2.0
    quotas.take("lindum", events=15)


def test_a_batch_that_could_never_pass_is_too_large() -> None:
    """It is not told to wait: 413, with the most it may send."""
    error = refusal(Quotas(SMALL), "lindum", events=21)
    assert (error.kind, error.code, error.retry_after_s) == (Kind.TOO_LARGE, "batch-above-quota", 0)
    assert "at most 20 events" in error.remedy


def test_one_agency_does_not_use_up_anothers_quota() -> None:
    """Each has its own buckets; some have larger ones."""
    quotas = Quotas(SMALL, by_agency={"tax": Quota(requests_burst=100)}, monotonic_s=Watch())
    for _ in range(4):
        quotas.take("lindum")
    refusal(quotas, "lindum")
    quotas.take("vehicles")
    for _ in range(100):
        quotas.take("tax")


def test_threads_together_get_exactly_the_burst() -> None:
    """Counting is not lost between threads."""
    quotas, passed = Quotas(Quota(requests_burst=500, requests_per_s=1), monotonic_s=Watch()), []

    def press() -> None:
        for _ in range(200):
            try:
                quotas.take("lindum")
            except HubError:
                continue
            passed.append(1)

    threads = [threading.Thread(target=press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 500


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 20)), max_size=60))
def test_never_more_than_burst_and_rate_allow_and_retry_after_is_kept(steps: list[tuple[float, int]]) -> None:
    """Whatever comes when: what passed stays below burst + rate x time, and whoever waits as told gets through."""
    watch = Watch()
    quotas, passed, began_s = Quotas(SMALL, monotonic_s=watch), 0, watch.now_s
    for pause_s, events in steps:
        watch.now_s += pause_s
        try:
            quotas.take("lindum", events=events)
        except HubError as error:
            watch.now_s += error.retry_after_s
            quotas.take("lindum", events=events)
        passed += events
        assert passed <= SMALL.events_burst + SMALL.events_per_s * (watch.now_s - began_s) + 1e-6


def test_no_door_of_citizens_counts_quotas() -> None:
    """A withdrawal never waits behind an agency: nothing about citizens knows of quotas or of what counts them."""
    for path in [*(HUB / "citizens").rglob("*.py"), *(HUB / "web").glob("citizen*.py")]:
        imported = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
            for name in (node.module, *(alias.name for alias in node.names))
        }
        assert not imported & {"hub.web.quota", "hub.web.sign_in", "caller_with"}, path

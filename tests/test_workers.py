"""The hub's own threads: they go on through failures, follow the catalogue in force, and let go what is over."""

import asyncio
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import httpx
import orjson
import pytest

from hub.app import Hub, build
from hub.citizens.requests import ask
from hub.clock import system_clock
from hub.core.agreement import Catalogue
from hub.core.catalogue import from_document, to_document
from hub.core.errors import HubError, Kind
from hub.core.leaf import LeafKind
from hub.exchange.bell import Bell
from hub.exchange.gate import Gate
from hub.exchange.publish import Accepted, publish
from hub.identity.day_keys import LOCAL
from hub.identity.people import NewLink, link
from hub.logs import open_log
from hub.settings import Settings
from hub.workers.retention import Retention
from hub.workers.worker import Worker
from tests.stores import settings_of
from tests.world import agree, birth, link_family, town, until

pytestmark = pytest.mark.engines

DAY_US = 86_400_000_000


class Calendar:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_us = system_clock()

    def __call__(self) -> int:
        return self.now_us

    def pass_days(self, days: int) -> None:
        self.now_us += days * DAY_US


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def still(tmp_path: Path, calendar: Calendar) -> Iterator[Hub]:
    """Build a hub whose threads are not started: the test takes each step itself."""
    settings = Settings(mode="demo", data_dir=tmp_path, synchronous="OFF", **settings_of(tmp_path))
    hub = build(settings, clock=calendar, log=open_log(clock=calendar, stream=io.StringIO()))
    yield hub
    hub.close()


def sweep(hub: Hub) -> None:
    keep_days = hub.settings.intake_retention_days
    Retention(
        lambda: hub.world, lambda: hub.citizens, day_keys=hub.day_keys, drop_decided=hub.bus.drop_decided,
        keep_days=keep_days, log=hub.log,
    ).step(Event())  # fmt: skip


def put(hub: Hub, *events: dict[str, Any]) -> None:
    agency = events[0]["source"].removeprefix("urn:agency:")
    now = datetime.fromtimestamp(hub.clock() / 1e6, UTC).isoformat()
    outcomes = publish(hub.desk, agency, [{**event, "time": now} for event in events])
    assert all(isinstance(one, Accepted) for one in outcomes), outcomes


def decide(hub: Hub) -> None:
    gate = Gate(hub.world)
    gate.step(0)
    gate.finish()


def count(hub: Hub, sql: str, *values: Any) -> int:
    with hub.store.read() as tx:
        row = tx.one(f"SELECT count(*) FROM {sql}", values)
    assert row is not None
    return int(row[0])


def contract(number: str) -> dict[str, Any]:
    """Make an ended contract as the employment service publishes it."""
    data = {"worker_id": "E-1", "end_date": "2026-01-31", "reason_group": "redundancy", "insured_months": 40}
    return {
        "specversion": "1.0",
        "id": f"contract-{number}",
        "source": "urn:agency:employment-service",
        "type": "emp.contract",
        "subject": "E-1",
        "data": data,
    }


def test_records_that_are_decided_are_dropped_and_others_stay(still: Hub) -> None:
    """Nothing reads them again; what is not decided yet is not touched, and numbering goes on."""
    put(still, birth("1"), birth("2", child="C-2"))
    decide(still)
    put(still, birth("3", child="C-3"))
    sweep(still)
    assert count(still, "bus_record") == 1
    decide(still)
    sweep(still)
    assert (count(still, "bus_record"), count(still, "waiting")) == (0, 3)


def test_an_event_that_nobody_was_linked_to_in_time_expires_with_an_audit_row(still: Hub, calendar: Calendar) -> None:
    """Its sealed content goes, and the key it was sealed under; the row says which they were, by keyed hashes."""
    put(still, birth("1"))
    decide(still)
    calendar.pass_days(29)
    sweep(still)
    assert count(still, "waiting") == 1
    calendar.pass_days(1)
    sweep(still)
    assert (count(still, "waiting"), count(still, "waiting_key")) == (0, 0)
    assert count(still, "audit WHERE kind = ?", LeafKind.EXPIRY) == 1


def test_a_held_delivery_is_cancelled_when_no_grant_came_in_time(still: Hub, calendar: Calendar) -> None:
    """The look-back of its agreement is 30 days; the person finds the end of it in their history."""
    register = still.register
    link(register, "population-register", [NewLink("employment-service", "E-1", "R-1", 3)])
    put(still, contract("1"))
    decide(still)
    assert count(still, "queue WHERE state = 2") == 1
    histories = count(still, "history")
    calendar.pass_days(29)
    sweep(still)
    assert count(still, "queue WHERE state = 2") == 1
    calendar.pass_days(2)
    sweep(still)
    assert count(still, "queue") == 0
    assert count(still, "audit WHERE kind = ?", LeafKind.EXPIRY) == 1
    assert count(still, "history") == histories + 1


def test_a_question_that_nobody_answered_in_time_lapses_by_itself(still: Hub, calendar: Calendar) -> None:
    """The thread writes down what time has ended; nobody has to look at it first."""
    link(still.register, "population-register", [NewLink("lindum", "L-1", "R-1", 3)])
    ask(still.citizens, "lindum", subject="L-1", purpose="KINDER-PLACE")
    calendar.pass_days(29)
    sweep(still)
    assert count(still, "consent WHERE state = 'requested'") == 1
    calendar.pass_days(1)
    sweep(still)
    assert count(still, "consent WHERE state = 'lapsed'") == 1


def days_of(hub: Hub) -> list[int]:
    """The days that the local store has keys of."""
    return sorted({int(name.rpartition("/")[2]) for name in hub.local_store.names(LOCAL)})


def test_a_day_key_is_destroyed_after_a_week_and_what_it_sealed_is_unreadable(still: Hub, calendar: Calendar) -> None:
    """An event that nobody decided in all that time is recorded as unreadable, and holds nobody up."""
    put(still, birth("1"))
    (day, *_), of_then = days_of(still), "day_key WHERE key IS NOT NULL AND day <= ?"
    calendar.pass_days(6)
    sweep(still)
    assert count(still, of_then, day + 1) == 2  # the day's, and tomorrow's made ahead
    assert day + 1 in days_of(still)
    calendar.pass_days(2)
    sweep(still)
    assert count(still, of_then, day + 1) == 0
    assert min(days_of(still)) > day + 1  # nor does the local store hold one
    today = calendar.now_us // DAY_US
    assert {today, today + 1} <= set(days_of(still))  # what is sealed under next is made without being asked for
    decide(still)
    assert (count(still, "event_seen"), count(still, "audit WHERE kind = ?", LeafKind.EXPIRY)) == (0, 1)


def test_while_the_policy_is_down_events_wait_and_the_hub_says_so(tmp_path: Path) -> None:
    """Publishing goes on with 202; nothing is decided or lost; readiness names the reason until it is over."""
    with town(tmp_path) as place:
        link_family(place)
        place.hub.in_force.policy.close()
        token = place.agency("civil-registry").publish([birth()]).accepted[0].token
        unready = until(lambda: httpx.get(place.url + "/readyz"), lambda answer: answer.status_code == 503)
        assert unready.status_code == 503
        assert "policy-unavailable" in unready.json()["detail"]
        assert place.agency("civil-registry").status(token) == "accepted"
        assert "hub_policy_unavailable_total 0.0" not in httpx.get(place.url + "/metrics").text
        place.hub.approve(place.hub.approved())
        assert place.decided(token) == "handled"
        assert until(lambda: httpx.get(place.url + "/readyz").status_code, lambda status: status == 200) == 200
        assert '"event":"worker.waits","worker":"gate","code":"policy-unavailable"' in place.said.getvalue()


def amended(catalogue: Catalogue, code: str, **members: Any) -> Catalogue:
    document = to_document(catalogue)
    document["agreements"][code] |= members
    return from_document(document)


def test_a_catalogue_approved_while_the_hub_runs_counts_for_what_is_queued_already(tmp_path: Path) -> None:
    """A field that the new version takes back stays behind; what an ended agreement had queued is cancelled."""
    with town(tmp_path) as place:
        link_family(place)
        registry, benefits = place.agency("civil-registry"), place.agency("family-benefits")
        shipped = place.hub.approved()
        assert place.decided(registry.publish([birth("1")]).accepted[0].token) == "handled"
        ceiling = {"civil.birth.registered": ["child_id", "dob"]}
        agree(place.hub, amended(shipped, "AGR-1", version=2, ceiling=ceiling))
        assert place.decided(registry.publish([birth("2", dob="2026-02-01")]).accepted[0].token) == "handled"
        queued, later = benefits.pull().deliveries
        assert queued.document["data"].keys() == later.document["data"].keys() == {"child_id", "dob"}
        benefits.acknowledge([queued, later])
        assert place.decided(registry.publish([birth("3", dob="2026-02-02")]).accepted[0].token) == "handled"
        document = to_document(place.hub.approved())
        del document["agreements"]["AGR-1"]
        place.hub.approve(from_document(document))
        assert benefits.pull().deliveries == ()
        assert [one["code"] for one in benefits.agency()["agreements"]] == ["AGR-2"]


def test_a_worker_survives_what_nobody_expected_and_says_how_it_is(calendar: Calendar) -> None:
    """A defect is logged with its place and not its message, backed off from, and forgotten when a step goes well."""
    said, broken, steps = io.StringIO(), [True], [0]

    def step(_stop: Event) -> float:
        steps[0] += 1
        if broken[0]:
            raise ZeroDivisionError("of Jane Doe")
        return 0.001

    worker = Worker("sweeper", step, log=open_log(clock=calendar, stream=said))
    assert worker.trouble() == "the sweeper has not begun or has ended"
    worker.start()
    assert "failed for" in until(worker.trouble, bool)
    assert steps[0] < 20
    broken[0] = False
    assert until(worker.trouble, lambda words: words == "") == ""
    assert worker.stop(5)
    lines = [orjson.loads(line) for line in said.getvalue().splitlines()]
    failure = next(line for line in lines if line["event"] == "worker.failed")
    assert (failure["exception"], failure["level"]) == ("ZeroDivisionError", "error")
    assert "Jane" not in said.getvalue()
    assert lines[-1]["event"] == "worker.ended"


def test_an_expected_outcome_is_a_warning_with_its_code(calendar: Calendar) -> None:
    """An engine that is down is no defect: one line a try, with the code and no trace."""
    said, stepped = io.StringIO(), Event()

    def step(stop: Event) -> float:
        stop.set()
        stepped.set()
        raise HubError(Kind.UNAVAILABLE, "down", code="policy-unavailable")

    worker = Worker("gate", step, log=open_log(clock=calendar, stream=said))
    worker.start()
    assert stepped.wait(5)  # else it may be stopped before its first step
    assert worker.stop(5)
    assert '"level":"warning","event":"worker.waits","worker":"gate","code":"policy-unavailable"' in said.getvalue()


def test_the_bell_wakes_whom_it_is_rung_for_from_any_thread() -> None:
    """A ring between listening and waiting is kept; one for somebody else is not heard."""

    async def waiting() -> tuple[bool, bool, bool, float]:
        bell = Bell()
        with bell.listening(7) as ear:
            bell.ring(8)
            other = await ear.wait(0.05)
            bell.ring(7)
            kept = await ear.wait(0.05)
            began_s = monotonic()
            Thread(target=bell.ring_all).start()
            return other, kept, await ear.wait(5), monotonic() - began_s

    other, kept, woken, took_s = asyncio.run(waiting())
    assert (other, kept, woken) == (False, True, True)
    assert took_s < 1

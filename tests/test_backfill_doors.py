"""Backfill from door to door: asked for over HTTP, filled by the adapter through crashes and waits, and steered."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agency_adapters.backfill import Person, backfill
from agency_adapters.channel import Ask
from agency_adapters.errors import AgencyError, HubProblem
from agency_adapters.results import Delivery
from hub.citizens.choices import grant_unasked
from hub.clock import system_clock
from hub.exchange.feed import rfc3339
from hub.exchange.publish import BACKFILL_BACKLOG
from hub.identity.people import person_of
from hub.identity.principal import Principal
from tests.protocol_world import NOTICE
from tests.test_serve import command, environment, serving
from tests.world import Town, link, town, until

pytestmark = pytest.mark.engines

WISH = {"agreement": "AGR-4", "purpose": "KINDER-PLACE", "dataset": "pop.residence"}
PROVIDER, RECIPIENT = "population-register", "lindum"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Town]:
    with town(tmp_path / "hub") as running:
        yield running


def residence(local_id: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": f"{local_id}-{number}", "source": f"urn:agency:{PROVIDER}", "type": "pop.residence",
        "subject": local_id, "time": "2024-01-31T00:00:00Z",
        "data": {"resident": local_id, "municipality_code": f"{local_id}-{number}"}, **more,
    }  # fmt: skip


def people(place: Town, count: int) -> list[Person]:
    """Persons of the register under four years old who said yes, and two events of each."""
    ids = [f"R-{at}" for at in range(count)]
    links = [link(RECIPIENT, f"L-{local_id}", local_id, born="2024-01-01") for local_id in ids]
    assert {one["status"] for one in place.agency(PROVIDER).link(links)} <= {"linked", "known"}
    for local_id in ids:
        with place.hub.store.read() as tx:
            person = person_of(tx, place.hub.keys, PROVIDER, local_id)
        assert person is not None
        who = Principal(person, person, "self", 3, "session")
        grant_unasked(place.hub.citizens, who, recipient=RECIPIENT, purpose="KINDER-PLACE", items=None, notice=NOTICE)
    return [(local_id, [residence(local_id, 1), residence(local_id, 2)]) for local_id in ids]


def received(place: Town, count: int) -> list[Delivery]:
    """Pull until so many deliveries of data have come, and acknowledge them."""
    got: list[Delivery] = []

    def pull() -> list[Delivery]:
        page = place.pull(RECIPIENT)
        place.agency(RECIPIENT).acknowledge(page)
        got.extend(one for one in page if one.kind == "data")
        return got

    until(pull, lambda found: len(found) >= count)
    return got


def closed(place: Town) -> dict[str, Any]:
    """Wait until the one backfill is closed; pulling, for what it is about has to leave."""
    return dict(
        until(
            lambda: (place.pull(RECIPIENT), place.agency(RECIPIENT).backfills()[0])[1],
            lambda one: one["state"] == "closed",
        )
    )


def test_from_the_wish_to_the_end(place: Town) -> None:
    """The provider hears of it in its feed, fills it, and every person's events arrive in order, marked, once."""
    given = people(place, 6)
    opened = place.agency(RECIPIENT).open_backfill(**WISH)
    (told,) = until(lambda: place.pull(PROVIDER), bool)
    assert told.document["data"]["backfill"] == opened["id"]
    filled = backfill(place.agency(PROVIDER), str(opened["id"]), given)
    assert (filled.persons, filled.events, filled.refused) == (6, 12, ())
    got = received(place, 12)
    assert sorted(one.document["data"]["municipality_code"] for one in got) == sorted(
        f"{local_id}-{number}" for local_id, _ in given for number in (1, 2)
    )
    assert all(one.document["backfill"] is True for one in got)
    for local_id, _ in given:
        codes = [c for one in got if (c := one.document["data"]["municipality_code"]).startswith(f"{local_id}-")]
        assert codes == [f"{local_id}-1", f"{local_id}-2"]
    seen = closed(place)
    assert (seen["persons"], seen["done"]) == (6, 6)


class Killed(Exception):
    """The adapter's process ends here."""


def dying(given: list[Person], after: int) -> Iterator[Person]:
    yield from given[:after]
    raise Killed


def many(place: Town, persons: int, each: int) -> list[Person]:
    """Persons with so many events each that a request holds few of them."""
    return [
        (local_id, [residence(local_id, number) for number in range(each)]) for local_id, _ in people(place, persons)
    ]


def test_a_run_that_was_killed_goes_on_where_it_was(place: Town) -> None:
    """From the cursor that the hub keeps; what was sent after it comes again as repeats, and arrives once."""
    given = many(place, 8, 40)
    opened = str(place.agency(RECIPIENT).open_backfill(**WISH)["id"])
    with pytest.raises(Killed):
        backfill(place.agency(PROVIDER), opened, dying(given, 7), save_every=1)
    filled = backfill(place.agency(PROVIDER), opened, given)
    assert (filled.skipped, filled.persons) == (6, 2)
    assert len({one.id for one in received(place, 320)}) == 320
    assert closed(place)["done"] == 8


def test_other_persons_than_before_are_noticed(place: Town) -> None:
    """A cursor counts persons in their order; another order would leave some out."""
    given = many(place, 4, 60)
    opened = str(place.agency(RECIPIENT).open_backfill(**WISH)["id"])
    with pytest.raises(Killed):
        backfill(place.agency(PROVIDER), opened, dying(given, 3), save_every=1)
    for others in (given[::-1], given[:1]):
        with pytest.raises(AgencyError) as refused:
            backfill(place.agency(PROVIDER), opened, others)
        assert "not the persons" in refused.value.what


def test_while_the_hub_has_news_the_adapter_waits_and_loses_nothing(place: Town) -> None:
    """It is told to wait, sends the same again in the same order, and says how often."""
    given = people(place, 3)
    opened = str(place.agency(RECIPIENT).open_backfill(**WISH)["id"])
    backlog = [BACKFILL_BACKLOG + 1]
    now = place.hub.in_force
    place.hub.in_force = replace(now, desk=replace(now.desk, backlog=lambda: backlog[0]))
    with pytest.raises(HubProblem) as refused:
        place.agency(PROVIDER).channel.send(asking(residence("R-0", 9, backfill=opened)))
    assert (refused.value.problem.status, refused.value.problem.code) == (429, "backfill-waits")
    assert refused.value.problem.retry_after_s == 1

    def rest(_pause_s: float) -> None:
        backlog[0] = 0

    filled = backfill(place.agency(PROVIDER), opened, given, sleep=rest)
    assert (filled.waits, filled.events) == (1, 6)
    assert len(received(place, 6)) == 6


def test_the_desk_of_a_running_hub_knows_the_backlog_of_its_bus(place: Town) -> None:
    """It is asked at each publish; a desk of another catalogue knows it too."""
    assert place.hub.desk.backlog == place.hub.bus.backlog


def asking(event: dict[str, Any]) -> Ask:
    return Ask("POST", "/v1/events", body=json.dumps(event).encode(), media_type="application/cloudevents+json")


def test_an_event_that_is_refused_for_good_is_told_and_stops_nobody_else(place: Town) -> None:
    """Its own schema does not let it in; the others arrive, and the backfill ends."""
    given = people(place, 2)
    broken = {**given[0][1][0], "data": {"resident": "R-0", "municipality_code": 7}}
    opened = str(place.agency(RECIPIENT).open_backfill(**WISH)["id"])
    filled = backfill(place.agency(PROVIDER), opened, [("R-0", [broken, given[0][1][1]]), given[1]])
    assert [one.problem.code for one in filled.refused] == ["event-schema"]
    assert len(received(place, 3)) == 3


def test_the_commands_list_open_and_fill(place: Town, tmp_path: Path) -> None:
    """A file of events, one a line, grouped by subject; one that is not is refused before anything is sent."""
    given = people(place, 2)
    run = commands(place, tmp_path)
    opened = json.loads(run(RECIPIENT, "backfill", "open", *WISH.values()).stdout)
    file = tmp_path / "all.ndjson"
    lines = [json.dumps(event) for _, events in given for event in events]
    file.write_text("\n".join([lines[0], lines[2], lines[1]]), encoding="utf-8")
    mixed = run(PROVIDER, "backfill", "run", opened["id"], "--from", str(file))
    assert mixed.returncode == 1
    assert "all.ndjson:3 is about a person of earlier lines" in mixed.stderr
    file.write_text("\n".join(lines), encoding="utf-8")
    done = run(PROVIDER, "backfill", "run", opened["id"], "--from", str(file))
    assert json.loads(done.stdout) == {"persons": 2, "skipped": 0, "events": 4, "waits": 0, "refused": 0}
    assert len(received(place, 4)) == 4
    (listed,) = [json.loads(one) for one in run(PROVIDER, "backfill", "list").stdout.splitlines()]
    assert (listed["id"], listed["persons"], listed["done"]) == (opened["id"], 2, 2)


def commands(place: Town, directory: Path) -> Any:
    """Give `hub-agency` as two agencies run it, each with its profile."""
    environment = os.environ | {"XDG_CONFIG_HOME": str(directory / "config"), "COLUMNS": "200"}

    def ran(profile: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "agency_adapters", *arguments]
        more = [] if arguments[0] == "init" else ["--profile", profile]
        return subprocess.run(
            [*command, *more], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    for code in (PROVIDER, RECIPIENT):
        assert ran(code, "init", code, "--hub", place.url, "--demo").returncode == 0
    return ran


@pytest.mark.parametrize(
    ("body", "code"),
    [({"cursor": "x" * 257, "persons": 1}, "request-form"), ({"cursor": "x", "persons": -1}, "request-form")],
)
def test_a_cursor_that_is_too_long_is_refused(place: Town, body: dict[str, Any], code: str) -> None:
    """And a number of persons that is none."""
    opened = str(place.agency(RECIPIENT).open_backfill(**WISH)["id"])
    with pytest.raises(HubProblem) as refused:
        place.agency(PROVIDER).backfill_progress(opened, **body)
    assert refused.value.problem.code == code


def test_the_time_of_what_is_backfilled_is_when_it_happened(place: Town) -> None:
    """Old facts stay old facts."""
    ((local_id, events),) = people(place, 1)
    opened = str(place.agency(RECIPIENT).open_backfill(**WISH)["id"])
    backfill(place.agency(PROVIDER), opened, [(local_id, events[:1])])
    (one,) = received(place, 1)
    assert one.document["time"] == "2024-01-31T00:00:00Z" < rfc3339(system_clock())


def test_the_operator_lists_opens_and_ends_them(tmp_path: Path) -> None:
    """Over the socket of a running hub, and on its store when none runs."""
    environ = environment(tmp_path)
    with serving(environ, tmp_path):
        first = command(environ, tmp_path, "backfill", "open", *WISH.values()).stdout.split()[0]
        assert "open    0 persons" in command(environ, tmp_path, "backfill", "list").stdout
        again = command(environ, tmp_path, "backfill", "open", *WISH.values())
        assert (again.returncode, "is open already" in again.stderr) == (1, True)
    ended = command(environ, tmp_path, "backfill", "close", first)
    assert (ended.returncode, ended.stdout.split()[:2]) == (0, [first, "ending"])
    assert command(environ, tmp_path, "backfill", "close", "0" * 32).returncode == 1
    with serving(environ, tmp_path):
        listed = until(lambda: command(environ, tmp_path, "backfill", "list").stdout, lambda said: "closed" in said)
    assert f"{first}  closed" in listed

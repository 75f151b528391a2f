"""`hub status` while releases stand still: since when, why, what waits, how long that may go on, in one paragraph."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any

import pytest

from hub.app import Hub, build
from hub.bus.arrivals import Arrivals
from hub.clock import system_clock
from hub.commands.status import draw
from hub.logs import open_log
from hub.operations.standstill import Reason, Standstill, Waiting, Watch, full_s, sentence
from hub.ports import Behind
from hub.settings import Settings
from hub.stop_flag import Stop, stop
from tests.test_store_down import bring_back, lose_the_log
from tests.test_workers import put
from tests.world import birth, link_family, town, until

S = 1_000_000
DAY_S = 86_400
SINCE_US = int(datetime(2026, 11, 30, 2, 58, tzinfo=UTC).timestamp()) * S
NOW_US = SINCE_US + 400 * S
STANDS = Standstill(SINCE_US, "the policy server did not answer in time", 0)
WAITS = Waiting(12_408, 360, SINCE_US - S)
MIN_41 = 41 * 60


def said(**changed: Any) -> str:
    given = {"stands": STANDS, "waits": WAITS, "full_in_s": MIN_41, "obstacles": (), "now_us": NOW_US, **changed}
    return sentence(given.pop("stands"), given.pop("waits"), **given)


def test_the_paragraph_for_three_in_the_morning() -> None:
    """Word for word."""
    assert said() == (
        "Releases paused since 02:58 UTC: the policy server did not answer in time. Nothing released or lost."
        " 12,408 waiting, oldest 6 min; intake full in about 41 min. Restart is safe."
    )


TURNS: list[tuple[dict[str, Any], str]] = [
    (
        {"waits": Waiting(1, 5, SINCE_US + 62 * S)},
        "Nothing is lost; what had been decided before left until 02:59 UTC.",
    ),
    ({"waits": Waiting(1, 5, -1)}, " Nothing is lost. 1 waiting, oldest 5 s;"),
    ({"waits": Waiting(0, 0, 0)}, "Nothing is waiting; intake would be full in about 41 min."),
    ({"full_in_s": 6 * DAY_S}, "intake full in about 6 days."),
    ({"now_us": NOW_US + DAY_S * S}, "Releases paused since 2026-11-30 02:58 UTC:"),
    ({"stands": Standstill(0, "stopped by the operator", 0)}, "since an unknown moment: stopped by the operator."),
    (
        {"obstacles": [{"what": "the key file cannot be read", "remedy": ""}]},
        "Do not restart: the key file cannot be read.",
    ),
]


@pytest.mark.parametrize(("changed", "words"), TURNS)
def test_what_is_otherwise_is_said_otherwise(changed: dict[str, Any], words: str) -> None:
    """What left meanwhile is not hidden, and a restart that would be refused is not called safe."""
    assert words in said(**changed)


def test_intake_is_full_when_what_waits_is_too_old_or_the_disk_is_full(tmp_path: Path) -> None:
    """On Kafka by age alone; on this machine by what the disk has lost since the beginning, too."""
    here, days = Settings(mode="development", data_dir=tmp_path), 7 * DAY_S
    kafka = Settings(mode="development", data_dir=tmp_path, bus="kafka", kafka_bootstrap=("127.0.0.1:1",))
    began = Standstill(SINCE_US, "", 5_000)
    old = Behind(10, 600)
    assert full_s(kafka, began, old, 1_000, NOW_US) == days - 600
    assert full_s(here, began, old, 1_000, NOW_US) == 100  # 4,000 bytes in 400 s; 1,000 are left
    assert full_s(here, began, old, 6_000, NOW_US) == days - 600  # somebody made room
    assert full_s(here, began, old, 1_000, SINCE_US + S) == days - 600  # of one second nothing follows
    assert full_s(kafka, began, Behind(10, 8 * DAY_S), 1_000, NOW_US) == 0


def test_it_stands_still_since_the_first_look_that_found_a_reason(tmp_path: Path) -> None:
    """Another reason meanwhile changes why, and not since when; a reason that knows better says since when."""
    reasons: list[Reason] = []
    now = [NOW_US]
    watch = Watch(lambda: reasons, Settings(mode="development", data_dir=tmp_path), lambda: now[0])
    assert watch.look() is None
    reasons.append(Reason("first"))
    assert (begun := watch.look()) is not None
    assert (begun.since_us, begun.why) == (NOW_US, "first")
    now[0] += S
    reasons[:] = [Reason("second"), Reason("first")]
    assert (later := watch.look()) is not None
    assert (later.since_us, later.why) == (NOW_US, "second")
    reasons.clear()
    assert watch.look() is None
    reasons.append(Reason("stopped by the operator", SINCE_US))
    assert (stopped := watch.look()) is not None
    assert stopped.since_us == SINCE_US


def test_the_oldest_record_that_waits_has_an_age() -> None:
    """A note a second is enough; what is decided is forgotten."""
    arrivals = Arrivals()
    arrivals.note(1, 0)
    sleep(1.1)
    arrivals.note(1, 5)
    arrivals.note(1, 6)
    assert 1.0 < arrivals.age_s(1, 3) < 60.0
    assert arrivals.age_s(1, 7) < arrivals.age_s(1, 4)
    assert arrivals.age_s(2, 0) == 0.0


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub whose threads are not started."""
    settings = Settings(mode="demo", data_dir=tmp_path, synchronous="OFF")
    one = build(settings, log=open_log(clock=system_clock, stream=io.StringIO()))
    yield one
    one.close()


def test_a_running_hub_that_releases_says_nothing_of_it(tmp_path: Path) -> None:
    """While all is well there is no such paragraph; the operator's stop begins one, with its own moment."""
    with town(tmp_path) as place:
        assert until(place.hub.status, lambda found: found["standstill"] is None)["standstill"] is None
        stop(place.hub.stop_flag, Stop("all", "", SINCE_US, "a drill"))
        link_family(place)
        (accepted,) = place.agency("civil-registry").publish([birth()]).accepted
        assert place.decided(accepted.token) == "handled"
        found = place.hub.status()["standstill"]
        assert (found["since_us"], found["why"], found["waiting"]) == (SINCE_US, "stopped by the operator", 2)
        assert "2 waiting, oldest" in found["said"]  # deliveries of the one birth


def test_without_its_policy_server_it_says_so_and_counts_what_waits(tmp_path: Path) -> None:
    """In the words of the trouble; nothing was released, and a restart is safe."""
    with town(tmp_path, policy="server", opa_url="http://127.0.0.1:1") as place:
        link_family(place)
        place.agency("civil-registry").publish([birth("1"), birth("2", child="C-2")])
        found = until(lambda: place.hub.status()["standstill"], lambda one: one is not None and one["waiting"] == 2)
        assert found["said"].startswith("Releases paused since ")
        assert ": the policy server cannot be reached. Nothing released or lost. 2 waiting, oldest" in found["said"]
        assert found["said"].endswith("Restart is safe.")


def test_a_status_without_the_store_says_what_is_known(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Instead of failing where it is needed most."""
    put(hub, birth("1"))
    hub.bus.behind()
    log = lose_the_log(hub.store)
    found = hub.status()
    assert found["store"] == "away"
    assert "Releases paused since" in found["standstill"]["said"]
    assert ": the store cannot be " in found["standstill"]["said"]
    assert "; nothing was changed. Nothing is lost. 1 waiting, oldest" in found["standstill"]["said"]
    draw(found)
    page = capsys.readouterr().out
    assert page.startswith("Hub not ready, demo, process ")
    assert "PAUSED  Releases paused since" in page
    assert "NOT READY  the store cannot be " in page
    from hub.store.sqlite import SqliteStore

    assert isinstance(hub.store, SqliteStore)
    bring_back(hub.store, log)
    assert "store" not in hub.status()


def test_the_thread_notes_the_beginning_before_anybody_asks(hub: Hub) -> None:
    """And the log has both: that it stands still and that it goes on."""
    stream = io.StringIO()
    reasons = [Reason("x")]
    from hub.workers.standstill import standstill_worker

    watch = Watch(lambda: reasons, hub.settings, hub.clock)
    worker = standstill_worker(watch, open_log(clock=system_clock, stream=stream))
    worker._step(Event())
    reasons.clear()
    worker._step(Event())
    worker._step(Event())
    said = stream.getvalue()
    assert (said.count("releases.paused"), said.count("releases.go-on")) == (1, 1)

"""The demo tells the truth: its world fits the catalogue, its stories end as told, its figures are what came."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NoReturn

import httpx
import jsonschema_rs
import pytest

from deploy.engines import launch
from hub.catalogue_files import load
from hub.clock import system_clock
from hub.commands.demo import Standing
from hub.core.errors import HubError
from hub.demo.cast import REGISTER, Cast, read_cast
from hub.demo.country import Country
from hub.demo.host import ADDRESS, address_of, clear, free_port, hub_process
from hub.demo.run import open_country
from hub.demo.standing import STANDING, STORIES, publish_as
from hub.demo.stories import begin
from hub.demo.tally import Seen, Tally, telling
from hub.settings import DEMO_MARK, Settings
from tests.engines import missing

ROOT = Path(__file__).resolve().parents[1]
SYNTHEA = ROOT.parent / "shared" / "data" / "synthea-r4"
TODAY = date(2026, 3, 1)
STORIES_GIVE = {
    "refusals": 4, "holds": 0, "events": 16, "decisions": 30, "releases": 26, "asks": 10, "asks_refused": 4,
}  # fmt: skip
KEYS = {
    "events", "decisions", "releases", "refusals", "holds", "deliveries_acknowledged", "fields_released",
    "fields_withheld", "withdraw_ms", "seconds", "asks", "asks_refused",
}  # fmt: skip


@pytest.fixture(scope="module")
def cast() -> Cast:
    return read_cast(TODAY)


def environment(directory: Path, **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    return inherited | {"HUB_DATA_DIR": str(directory / "hub"), "HUB_PORT": "0", "COLUMNS": "100", **more}


def played(directory: Path, *words: str) -> str:
    """Run `hub demo` without a terminal; return what it wrote."""
    ran = subprocess.run(
        [sys.executable, "-m", "hub", "demo", *words],
        env=environment(directory), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


# Its world.


def test_every_event_of_the_demo_fits_its_dataset(cast: Cast) -> None:
    """Places filled in, as the publisher names people; a child stands in for the test persons."""
    catalogue = load(ROOT / "policies" / "catalogue")
    for happening in cast.happenings.values():
        dataset = catalogue.datasets[happening.dataset]
        data = cast.data_of(happening, dataset.provider, child="test-granted")
        jsonschema_rs.validate(dict(dataset.schema), data)
        assert "{" not in json.dumps(data).replace("{", "", 1).replace("}", "", 1), happening.name


def test_no_two_people_share_an_id_at_an_agency(cast: Cast) -> None:
    """Or the register would merge them, which it never does."""
    ids = [(agency, local_id) for one in cast.people.values() for agency, local_id in one.ids.items()]
    assert len(ids) == len(set(ids))


def test_a_day_that_not_every_year_has_is_no_trouble() -> None:
    """The demo can be played on 29 February."""
    assert read_cast(date(2028, 2, 29)).people["an"].born == date(2025, 2, 28)


def test_a_name_that_nobody_has_is_noticed(tmp_path: Path) -> None:
    """A typo in the demo's files stops it before anything starts."""
    for path in (ROOT / "deploy" / "demo").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        (tmp_path / path.name).write_text(text.replace("who: nora", "who: nobody"), encoding="utf-8")
    with pytest.raises(HubError, match="nobody"):
        read_cast(TODAY, tmp_path)


def test_every_test_person_has_a_name_on_the_command_line(cast: Cast) -> None:
    """And is one of the demo's people; every story's events are there."""
    assert {one.value for one in Standing} == set(STANDING)
    assert set(STANDING.values()) <= set(cast.people)
    assert {name for names in STORIES.values() for name in names} <= set(cast.happenings)
    assert REGISTER not in cast.people[STANDING["TEST-UNLINKED"]].ids


# What it counts.


def test_a_decision_that_several_persons_read_of_counts_once() -> None:
    """And a release that never went is a refusal: it was stopped at the hand-out."""
    tally = Tally(published={"c1": ("dob", "names")})
    for role in ("child", "parent"):
        tally.saw([Seen(7, "c1", "d", "lindum", "KINDER-PLACE", role, "release", (), handed=False)])
    tally.saw([Seen(7, "other", "d", "lindum", "KINDER-PLACE", "child", "release", (), handed=False)])
    counted = tally.report({}, seconds=1.0)
    assert set(counted) == KEYS
    assert (counted["decisions"], counted["refusals"], counted["fields_withheld"]) == (1, 1, 2)


def test_a_story_says_the_reason_that_began_it() -> None:
    """What only follows from it is left to `hub why`."""
    reasons = ("consent.none", "consent.refused", "nothing.left", "required.lost:dob_month")
    assert telling(reasons) == ("consent.refused",)
    assert telling(("nothing.left",)) == ("nothing.left",)
    assert telling(("consent.none", "required.lost:code")) == ("consent.none",)


# Its data directory.


def test_a_directory_that_is_not_a_demos_is_left_alone(tmp_path: Path) -> None:
    """Only what carries the demo's mark is emptied, and only while no hub runs on it."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(HubError, match="something else"):
        clear(tmp_path)
    assert (tmp_path / "thesis.txt").exists()
    (tmp_path / DEMO_MARK).touch()
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []
    clear(tmp_path / "not-there")


# Its stories.


def test_the_stories_end_as_they_should(tmp_path: Path) -> None:
    """Told without a terminal it ends by itself: who got what, who did not, and why, in words."""
    told = " ".join(played(tmp_path).replace("│", " ").split())
    for words in (
        "The person was asked and said no.",
        "The person has withdrawn the",  # the sentence goes on in the next line of its column
        "Consent has been asked for, and",
        "Already handed out before that moment: nothing.",
        "found 1 message instead: stop",
        "2 parents were reported, 1 went to the Family Benefits Office",
        "A child's birth weight never leaves the civil registry.",
        "A utility company never learns who else lives in the household.",
        "Nobody is asked about without an open case.",
        "Diagnoses and laboratory results stay with the doctor",
        "The Traffic Police does not accept it",
        "The Fund has its flag ✓",
        "Signs of arrears serve early help only, never debt collection.",
        "An's guardian and the visitor at the counter are one person: the card is printed",
        "each yes is for one question.",
    ):
        assert words in told, told
    withheld = ("Harbour", "H52.1", "I10", "speeding", "9999 0000", "2810", "-184", "MTR-55230", "broken arm", "HI-30")
    for secret in ("3410", "2980", "88 Harbour Road", "ZZ11INVENTED", "CR-99107", *withheld):
        assert secret not in told
    assert "Traceback" not in told


def test_the_figures_are_one_json_object(tmp_path: Path) -> None:
    """Nothing else is on standard output, and what must add up does. Nothing secret stays open to others."""
    counted = json.loads(played(tmp_path, "--json"))
    assert set(counted) == KEYS
    assert {name: counted[name] for name in STORIES_GIVE} == STORIES_GIVE
    assert counted["decisions"] == counted["releases"] + counted["refusals"] + counted["holds"]
    put = counted["asks"] - counted["asks_refused"]
    assert counted["deliveries_acknowledged"] == counted["releases"] + 2 + put  # and the two stops, and the questions
    assert 0 < counted["withdraw_ms"] < 5_000
    keys = sorted((tmp_path / "hub" / "demo-agencies").glob("*.key"))
    assert keys
    assert {path.stat().st_mode & 0o077 for path in keys} == {0}
    assert (tmp_path / "hub" / DEMO_MARK).exists()
    assert not (tmp_path / "hub" / ADDRESS).exists()


def test_over_real_engines_the_same_is_told_and_counted(tmp_path: Path) -> None:
    """PostgreSQL, Kafka and OPA change how long it takes and nothing else; they end with it."""
    embedded = json.loads(played(tmp_path / "embedded", "--json"))
    real = json.loads(played_real(tmp_path / "real"))
    times = {"seconds": 0.0, "withdraw_ms": 0.0}
    assert real | times == embedded | times
    assert running_engines(tmp_path / "real") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_ended_takes_its_engines_with_it(tmp_path: Path, number: int) -> None:
    """Told or killed: none of them runs on, and none listens any more."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "hub", "demo", "--json", "--engines", "real"],
        env=environment(tmp_path, HUB_PORT=str(port)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    until_s = time.monotonic() + 180
    while not listens(port) and time.monotonic() < until_s and process.poll() is None:
        time.sleep(0.02)
    if process.poll() is not None:
        refused(process.communicate()[1].decode())
    assert len(running_engines(tmp_path)) == 3
    process.send_signal(number)
    process.communicate()
    while (running_engines(tmp_path) or listens(port)) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert running_engines(tmp_path) == []
    assert not listens(port)


def test_an_engine_that_is_not_installed_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    """Before anything is started; and nothing that was started is left behind."""
    ran = subprocess.run(
        [sys.executable, "-m", "hub", "demo", "--json", "--engines", "real"],
        env=environment(tmp_path, PATH=str(tmp_path)), cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "missing" in ran.stderr
    assert "Install it: " in ran.stderr
    assert "Traceback" not in ran.stderr
    assert running_engines(tmp_path) == []


def played_real(directory: Path) -> str:
    """Run `hub demo --json` over real engines; skip, or fail, where one is not installed."""
    ran = subprocess.run(
        [sys.executable, "-m", "hub", "demo", "--json", "--engines", "real"],
        env=environment(directory), cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    if ran.returncode:
        refused(ran.stderr)
    return ran.stdout


def refused(said: str) -> NoReturn:
    if "Install it: " in said:
        missing(" ".join(said.split()))
    pytest.fail(said)


def running_engines(directory: Path) -> list[str]:
    """Name the engines that run over a demo's directory."""
    known = [launch.at(one) for one in (directory / "hub" / "engines").glob("*") if one.is_dir()]
    return [engine.name for engine in known if engine and engine.pid]


@pytest.mark.skipif(not SYNTHEA.is_dir(), reason="the FHIR export is not beside this checkout")
def test_an_export_that_nobody_here_wrote_is_played_over(tmp_path: Path) -> None:
    """Half of the people say yes; the other half's conditions and vaccinations go nowhere."""
    counted = json.loads(played(tmp_path, "--json", "--fhir", str(SYNTHEA), "--seed", "7"))
    assert set(counted) == KEYS
    assert counted["events"] > 120 + 790 + 1445
    assert counted["decisions"] == counted["releases"] + counted["refusals"] + counted["holds"]
    assert counted["releases"] > 500
    assert counted["refusals"] > 500
    assert counted["deliveries_acknowledged"] == counted["releases"] + 1
    assert counted["asks"] == 0


# Beside a running demo.


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Country]:
    """A hub process with the demo's people in it, before any story."""
    directory = tmp_path_factory.mktemp("demo") / "hub"
    given = Settings(mode="demo", data_dir=directory, port=free_port())
    settings = given.model_copy(update={"issuer": address_of(given)})
    with (
        hub_process(settings, address_of(settings)),
        open_country(address_of(settings), directory, system_clock) as place,
    ):
        begin(place, system_clock)
        yield place


def test_nobody_has_a_delivery_before_the_stories_begin(country: Country) -> None:
    """An objection's stop was taken out; asking and answering sends nothing else."""
    assert [country.collect(agency) for agency in ("lindum", "family-benefits", "utilities")] == [[], [], []]


def test_the_granted_test_person_gives_two_deliveries_of_one_field_each(country: Country) -> None:
    """Month of birth from one publisher, code of the municipality from the other."""
    outcomes = publish_as(country, "S1", "TEST-GRANTED")
    assert {state for _, state in outcomes} == {"handled"}
    deliveries = country.collect("lindum")
    assert sorted(name for one in deliveries for name in one.document["data"]) == ["dob_month", "municipality_code"]
    assert {one.subject for one in deliveries} == {"TEST-GRANTED"}


@pytest.mark.parametrize("standing", ["TEST-REFUSED", "TEST-EXPIRED"])
def test_the_refused_and_the_expired_test_person_give_nothing(country: Country, standing: str) -> None:
    """Handled all the same: an explicit no consumes the event."""
    if standing == "TEST-EXPIRED":
        time.sleep(2.1)  # its yes lasts two seconds
    assert {state for _, state in publish_as(country, "S1", standing)} == {"handled"}
    assert country.collect("lindum") == []


def test_the_unlinked_test_person_waits(country: Country) -> None:
    """Nobody knows whom the birth is about, so it is neither released nor refused."""
    assert dict(publish_as(country, "S1", "TEST-UNLINKED"))["civil.birth.registered"] == "waiting"
    assert country.collect("lindum") == []


def test_the_withdrawn_test_person_gives_a_stop_and_no_data(country: Country) -> None:
    """It can be played again: each time there is a new yes, taken back before anything was acknowledged."""
    for _ in range(2):
        assert {state for _, state in publish_as(country, "S1", "TEST-WITHDRAWN")} == {"handled"}
        assert [(one.kind, one.subject) for one in country.collect("lindum")] == [("stop", "TEST-WITHDRAWN")]


def test_the_poisonous_test_person_stops_nobody_but_itself(country: Country) -> None:
    """What is published about it fails, visibly; the granted one's next birth is decided all the same."""
    assert {state for _, state in publish_as(country, "S1", "TEST-POISON")[-2:]} == {"failed"}
    assert country.collect("lindum") == []
    assert {state for _, state in publish_as(country, "S1", "TEST-GRANTED")} == {"handled"}
    assert len(country.collect("lindum")) == 2


def test_a_second_demo_on_the_same_directory_is_refused(country: Country) -> None:
    """It would empty the first one's data under its feet."""
    with pytest.raises(HubError, match="already runs"):
        clear(country.data_dir)
    assert httpx.get(f"{country.address}/readyz").is_success


def test_a_demo_does_not_play_at_somebody_elses_hub(country: Country, tmp_path: Path) -> None:
    """Where its port is taken it stops, and says how to take another."""
    settings = Settings(mode="demo", data_dir=tmp_path / "other", port=int(country.address.rpartition(":")[2]))
    with pytest.raises(HubError, match="something else listens"), hub_process(settings, country.address):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent was killed")
def test_a_killed_demo_leaves_no_hub_behind(tmp_path: Path) -> None:
    """Even SIGKILL, which nobody can answer, takes the hub with it; its port is free again."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "hub", "demo", "--json", "--fhir", str(tmp_path)],
        env=environment(tmp_path, HUB_PORT=str(port)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until_s = time.monotonic() + 30
    while not listens(port) and time.monotonic() < until_s and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while listens(port) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not listens(port)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_without_a_running_demo_one_is_asked_for(tmp_path: Path) -> None:
    """`hub demo publish` says how to start one."""
    ran = subprocess.run(
        [sys.executable, "-m", "hub", "demo", "publish", "S1", "--as", "TEST-GRANTED"],
        env=environment(tmp_path), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "make demo" in ran.stderr

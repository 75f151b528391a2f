"""`hub stop-release`: what is stopped does not leave, whoever is up or down; the rest goes on, and nothing is lost."""

import json
import resource
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest

from agency_adapters.errors import HubProblem
from hub.app import Hub as Running
from hub.core.errors import HubError
from hub.core.leaf import LeafKind
from hub.failpoints import arm, disarm
from hub.stop_flag import NOTHING, STOP_FLAG, Stop, Stops, parse, read_stops, resume, stop
from tests.protocol_world import OBJECTION, Hub, Matter, opened
from tests.test_serve import HUB, command, environment, serving
from tests.world import PATIENCE_S, birth, link_family, town, until

pytestmark = pytest.mark.engines

BIRTH = Matter(  # another provider, to the same recipient, under another agreement: AGR-1 where OBJECTION is AGR-2
    "civil-registry", "civil.birth.registered", "family-benefits", "FAM-ALLOW", "child_id",
    {"dob": "2026-01-31", "parent_ids": ["P"], "hospital": "St Example", "birth_weight": 3400},
)  # fmt: skip
ALL, PAYMENTS = Stop("all", "", 1), Stop("agency", "payments", 1)
AGR_2, FAMILY = Stop("agreement", "AGR-2", 1), Stop("agency", "family-benefits", 1)


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    return tmp_path / STOP_FLAG


@pytest.fixture
def hub(tmp_path: Path, flag: Path) -> Iterator[Hub]:
    """An exchange that reads the flag, with one delivery of each of two providers ready for one recipient."""
    with opened(tmp_path) as one:
        one.world = replace(one.world, stopped=partial(read_stops, str(flag)))
        one.gate = type(one.gate)(one.world)
        one.link("P", BIRTH)
        for number, matter in enumerate((OBJECTION, BIRTH), 1):
            one.link("A", matter)
            one.publish(f"e-{number}", "A", matter)
            one.decide()
        yield one


def agreements(hub: Hub, limit: int = 500) -> list[str]:
    """Pull once as the recipient of both; name the agreements that something came under."""
    page = hub.pull(BIRTH, limit)
    return [one.subscription.agreement.code for one in page.opened if one.subscription is not None]


# The file.


def test_an_absent_file_stops_nothing(flag: Path) -> None:
    """And costs the hand-out one call."""
    assert read_stops(flag) == NOTHING
    assert not read_stops(flag)


GARBAGE = {
    "empty": b"",
    "blank": b" \n",
    "noise": bytes(range(256)),
    "not JSON": b"agency=tax\n",
    "a list": b"[]\n",
    "a key too few": b'{"code":"","scope":"all","since_us":1}\n',
    "a key too many": b'{"code":"","reason":"","scope":"all","since_us":1,"until_us":2}\n',
    "another scope": b'{"code":"x","reason":"","scope":"person","since_us":1}\n',
    "no code": b'{"code":"","reason":"","scope":"agency","since_us":1}\n',
    "a code of no agency": b'{"code":"a b","reason":"","scope":"agency","since_us":1}\n',
    "a moment in words": b'{"code":"","reason":"","scope":"all","since_us":"now"}\n',
    "torn": b'{"code":"tax","reason":"","scope":"agency","since_us":1}',
    "torn in the second line": b'{"code":"tax","reason":"","scope":"agency","since_us":1}\n{"code":"pay',
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_file_that_is_not_understood_stops_everything(flag: Path, content: bytes) -> None:
    """Whatever it was meant to say: one that may stop something is taken to stop all."""
    flag.write_bytes(content)
    assert read_stops(flag).everything
    assert read_stops(flag).unreadable


def test_a_file_that_cannot_be_read_stops_everything(flag: Path) -> None:
    """Here a folder stands in its place; the same goes for one of another user."""
    flag.mkdir()
    assert read_stops(flag).everything


def test_a_link_to_nothing_stops_everything(flag: Path) -> None:
    """Something is there, and nobody can say what it meant."""
    flag.symlink_to(flag.with_name("nowhere"))
    assert read_stops(flag).everything


def test_lines_come_and_go_by_name_and_the_general_stop_leaves_the_others(flag: Path) -> None:
    """Whoever lifts the general stop does not lift what somebody stopped by name, on purpose."""
    stop(flag, PAYMENTS)
    stop(flag, ALL._replace(reason="wrong field in AGR-2, see the log"))
    assert stop(flag, PAYMENTS._replace(since_us=9)).lines[0].since_us == 1
    assert read_stops(flag) == parse(flag.read_bytes())
    assert resume(flag, "all").lines == (PAYMENTS,)
    assert resume(flag, "agency", "tax").lines == (PAYMENTS,)
    assert resume(flag, "agency", "payments") == NOTHING
    assert not flag.exists()


def test_by_name_nothing_can_be_changed_in_a_file_that_is_not_understood(flag: Path) -> None:
    """It is left as it is, in force; to stop everything is done already, and to resume everything takes it away."""
    flag.write_bytes(b"?")
    with pytest.raises(HubError, match="everything is stopped already"):
        stop(flag, PAYMENTS)
    with pytest.raises(HubError, match="everything is stopped already"):
        resume(flag, "agency", "payments")
    assert stop(flag, ALL).unreadable
    assert flag.read_bytes() == b"?"
    assert resume(flag, "all") == NOTHING


def on_a_full_disk(path: Path) -> subprocess.CompletedProcess[str]:
    """Run `hub stop-release` where no file may grow by a byte."""
    return subprocess.run(
        [*HUB, "stop-release", *path.name.split("+")[1:]], env=environment(path), cwd=path.parent, text=True,
        capture_output=True, check=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )  # fmt: skip


def test_on_a_full_disk_everything_can_be_stopped_and_by_name_it_says_why_not(tmp_path: Path) -> None:
    """An empty file takes no room; and what was stopped before stays stopped."""
    whole, named = tmp_path / "data+--all", tmp_path / "data+--agency+tax"
    for folder in (whole, named):
        folder.mkdir()
    assert on_a_full_disk(whole).returncode == 0
    assert read_stops(whole / STOP_FLAG).everything
    refused = on_a_full_disk(named)
    assert refused.returncode == 1
    assert "the flag file cannot be changed (File too large)" in refused.stderr
    assert read_stops(named / STOP_FLAG) == NOTHING


def test_where_the_folder_cannot_be_written_it_says_so(tmp_path: Path) -> None:
    """And what to do then: the process that hands out can always be ended."""
    (tmp_path / "data").write_text("a file")
    said = command(environment(tmp_path / "data"), tmp_path, "stop-release", "--all")
    assert said.returncode == 1
    assert "end the hub's process" in said.stderr
    assert "Traceback" not in said.stderr


# The hand-out.


def test_a_stopped_agency_is_told_so_and_the_others_go_on(hub: Hub, flag: Path) -> None:
    """Its own pulls end in 503."""
    stop(flag, FAMILY)
    with pytest.raises(HubError, match="stopped by the operator") as refused:
        hub.pull(BIRTH)
    assert refused.value.code == "releases-stopped"
    resume(flag, "agency", "family-benefits")
    assert agreements(hub) == ["AGR-2", "AGR-1"]


@pytest.mark.parametrize("line", [PAYMENTS, AGR_2])
def test_what_is_under_a_stop_by_name_waits_in_its_place_and_the_rest_goes(hub: Hub, flag: Path, line: Stop) -> None:
    """From a stopped provider, or under a stopped agreement; afterwards it comes, once."""
    before = hub.states(BIRTH)
    stop(flag, line)
    assert agreements(hub) == ["AGR-1"]
    assert hub.states(BIRTH)[0] == before[0]
    assert agreements(hub) == []
    resume(flag, line.scope, line.code)
    assert agreements(hub) == ["AGR-2"]
    assert agreements(hub) == []


def test_nobody_waits_behind_what_is_stopped(hub: Hub, flag: Path) -> None:
    """Pages of one: the first in order is stopped, and the page goes to the next."""
    stop(flag, AGR_2)
    assert agreements(hub, limit=1) == ["AGR-1"]


def test_what_was_opened_and_not_acknowledged_does_not_come_again_meanwhile(hub: Hub, flag: Path) -> None:
    """It is due again after a minute, and waits like what was never opened."""
    assert len(agreements(hub)) == 2
    hub.pass_by(61)
    stop(flag, AGR_2)
    assert agreements(hub) == ["AGR-1"]


@pytest.mark.parametrize(("line", "leaves"), [(AGR_2, ["AGR-1"]), (ALL, None), (FAMILY, None)])
@pytest.mark.parametrize("point", ["handout.begun", "handout.decided"])
def test_a_stop_that_comes_between_the_choice_and_the_commit_counts(
    hub: Hub, flag: Path, line: Stop, leaves: list[str] | None, point: str
) -> None:
    """The file is read last: what was chosen before it was there is left out, or the whole page is refused."""
    arm(point, lambda: stopping(flag, line))
    try:
        if leaves is None:
            with pytest.raises(HubError, match="stopped by the operator"):
                hub.pull(BIRTH)
            assert hub.rows("SELECT count(*) FROM handout") == [(0,)]
        else:
            assert agreements(hub) == leaves
    finally:
        disarm()


def stopping(flag: Path, line: Stop) -> None:
    stop(flag, line)


def test_after_the_command_has_returned_no_hand_out_under_it_commits(tmp_path: Path) -> None:
    """A recipient pulls without a pause: the hand-out that is about to commit is waited for, the next is refused."""
    with town(tmp_path) as place:
        for number in range(20):
            link_family(place, child=f"C-{number}", parent=f"P-{number}")
            event = birth(str(number), child=f"C-{number}", parents=(f"P-{number}",))
            (said,) = place.agency("civil-registry").publish([event]).accepted
            place.decided(said.token)
        inside, go_on, returned = Event(), Event(), Event()

        def wait() -> None:
            inside.set()
            go_on.wait(PATIENCE_S)

        def pull() -> None:
            while not returned.is_set():
                attempt(lambda: place.agency("family-benefits").pull(limit=1))

        def stop_agency() -> None:
            place.hub.stop_releases(True, scope="agency", code="family-benefits")
            returned.set()

        place.agency("family-benefits")
        puller, stopper = Thread(target=pull), Thread(target=stop_agency)
        arm("handout.before_commit", wait)
        try:
            puller.start()
            assert inside.wait(PATIENCE_S)
            stopper.start()
            assert until(lambda: read_stops(tmp_path / STOP_FLAG).agencies, bool)
            assert not returned.is_set()
            go_on.set()
            assert returned.wait(PATIENCE_S)
            opened_then = count(place.hub, LeafKind.HANDOUT)
        finally:
            go_on.set()
            disarm()
            stopper.join()
            puller.join()
        for _ in range(3):
            assert attempt(lambda: place.agency("family-benefits").pull(limit=1)) == "releases-stopped"
        assert count(place.hub, LeafKind.HANDOUT) == opened_then


def attempt(act: Callable[[], object]) -> str:
    try:
        act()
    except HubProblem as error:
        return error.problem.code
    return ""


def count(hub: Running, kind: LeafKind) -> int:
    with hub.store.read() as tx:
        row = tx.one("SELECT count(*) FROM audit WHERE kind = ?", (kind.value,))
    assert row is not None
    return int(row[0])


# The command.


def test_it_works_with_no_hub_no_store_and_unsafe_settings_and_a_start_records_it(tmp_path: Path) -> None:
    """Production without a key would not even start; to stop is possible all the same. The next start records it."""
    data = tmp_path / "data"
    unsafe = environment(data, "production", HUB_DEV_SIGN_IN="true")
    said = command(unsafe, tmp_path, "stop-release", "--agreement", "AGR-2", "--reason", "wrong field")
    assert said.returncode == 0, said.stderr
    assert "Releases of agreement AGR-2 are stopped since" in said.stdout
    assert "wrong field" in command(unsafe, tmp_path, "stop-release", "--list").stdout
    with town(data) as place:
        assert place.hub.world.stopped().agreements == {"AGR-2"}
        assert count(place.hub, LeafKind.OPERATION) == 1
    with town(data) as place:
        assert count(place.hub, LeafKind.OPERATION) == 1
        place.hub.stop_releases(False, scope="agreement", code="AGR-2")
        assert count(place.hub, LeafKind.OPERATION) == 2


def test_where_the_settings_cannot_be_read_the_folder_is_enough(tmp_path: Path) -> None:
    """A typo in one setting must not stand between an operator and the stop."""
    broken = environment(tmp_path / "data", HUB_PORT="eighty")
    assert command(broken, tmp_path, "stop-release").returncode == 1
    said = command(broken, tmp_path, "stop-release", "--data-dir", str(tmp_path / "data"))
    assert said.returncode == 0, said.stderr
    assert read_stops(tmp_path / "data" / STOP_FLAG).everything


def test_a_running_hub_is_waited_for_and_a_code_that_nobody_has_is_refused(tmp_path: Path) -> None:
    """A misspelt name would stop nothing and look like a stop: it leaves no line and exit code 1."""
    environ = environment(tmp_path)
    with serving(environ, tmp_path):
        assert command(environ, tmp_path, "stop-release", "--agency", "lindum").returncode == 0
        wrong = command(environ, tmp_path, "stop-release", "--agency", "lindvm")
        assert (wrong.returncode, "no agency of this code" in wrong.stderr) == (1, True)
        assert read_stops(tmp_path / STOP_FLAG).agencies == {"lindum"}
        status = json.loads(command(environ, tmp_path, "status", "--json").stdout)
        assert status["releases_stopped"] is False
        both = command(environ, tmp_path, "stop-release", "--agency", "lindum", "--all")
        assert both.returncode == 2
        gone = command(environ, tmp_path, "stop-release", "--resume", "--agency", "lindum")
        assert gone.stdout == "Releases go on.\n"


def test_a_stop_that_nothing_reads_is_noticed(tmp_path: Path) -> None:
    """Planted: an exchange whose world does not look at the file hands out in spite of it."""
    with opened(tmp_path) as blind:
        blind.link("A", OBJECTION)
        blind.publish("e-1", "A", OBJECTION)
        blind.decide()
        stop(tmp_path / STOP_FLAG, ALL)
        assert blind.world.stopped() == Stops()
        assert len(blind.pull(OBJECTION).opened) == 1

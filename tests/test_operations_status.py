"""`hub status`: what stands still, why and since when; what ends; who is silent; and never a word about a person."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agency_adapters.keys import new_key, public_jwk
from hub.app import Hub, build
from hub.clock import system_clock
from hub.commands.status import draw
from hub.exchange.gate import Gate
from hub.exchange.intake import POISON
from hub.identity.keys import Keyring, secrets_of
from hub.identity.people import NewLink, link
from hub.logs import open_log
from hub.metrics import render
from hub.operations.key_list import SECRETS
from hub.operations.state import BACKLOG
from hub.settings import Settings
from hub.stop_flag import Stop, stop
from hub.store.agreements import suspend
from hub.store.operations import heard, last_heard
from tests.agency_world import CANARY
from tests.test_serve import command, environment, serving
from tests.test_workers import Calendar, decide, put
from tests.world import birth, link_family, town

MINUTE_US = 60_000_000


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def hub(tmp_path: Path, calendar: Calendar) -> Iterator[Hub]:
    """A hub whose threads are not started: the test takes each step itself."""
    settings = Settings(mode="demo", data_dir=tmp_path, synchronous="OFF")
    one = build(settings, clock=calendar, log=open_log(clock=calendar, stream=io.StringIO()))
    yield one
    one.close()


def problems(hub: Hub) -> list[str]:
    """Return what somebody should look at; each with a remedy, and nothing about the clock that the test moves."""
    found = hub.status()["problems"]
    assert all(one["remedy"] for one in found)
    return [one["what"] for one in found if "clock" not in one["what"]]


def test_a_hub_at_rest_needs_nobody_and_may_be_restarted(hub: Hub) -> None:
    """No problem, nothing paused, safe."""
    status = hub.status()
    assert (problems(hub), status["paused"], status["restart"]) == ([], [], {"safe": True, "because": []})


def test_what_is_stopped_and_what_its_parties_suspended_is_paused_since_when_and_why(hub: Hub) -> None:
    """An operator's stop is a problem with its remedy; what the parties decided is shown and is none."""
    stop(hub.stop_flag, Stop("agreement", "AGR-2", hub.clock(), "wrong field"))
    suspend(hub.store, 3, clock=hub.clock, salt=hub.act_salt)
    paused = {one["what"]: (one["why"], one["since_us"]) for one in hub.status()["paused"]}
    assert paused == {
        "agreement AGR-2 is stopped": ("wrong field", hub.clock()),
        "agreement AGR-3 is suspended": ("by its parties: suspended", hub.clock()),
    }
    (said,) = problems(hub)
    assert said.startswith("agreement AGR-2 is stopped since ")


def test_a_publisher_is_silent_when_its_declared_rhythm_has_passed_without_an_event(
    hub: Hub, calendar: Calendar
) -> None:
    """A week for births: on the day after it is told, with who and how long; an event ends it. Metrics say the same."""
    births = hub.approved().datasets["civil.birth.registered"]
    assert births.rhythm_days == 7
    put(hub, birth("1"))
    decide(hub)
    calendar.pass_days(7)
    assert not [one for one in problems(hub) if "civil.birth.registered" in one]
    calendar.now_us += MINUTE_US
    assert "civil-registry is silent about civil.birth.registered for 7 days; it declared 7 at most" in problems(hub)
    hub.measure()
    assert b'hub_silent_datasets{agency="civil-registry"} 1.0' in render(hub.metrics)
    put(hub, birth("2"))
    decide(hub)
    hub.measure()
    assert b'hub_silent_datasets{agency="civil-registry"} 0.0' in render(hub.metrics)


def test_one_that_was_never_heard_is_silent_from_its_approval_on(hub: Hub, calendar: Calendar) -> None:
    """Never having sent anything is the silence that matters most."""
    calendar.pass_days(8)
    assert "civil-registry is silent about civil.birth.registered for 8 days; it declared 7 at most" in problems(hub)


def test_an_upgraded_store_counts_silence_from_its_upgrade(hub: Hub, calendar: Calendar) -> None:
    """What was heard before that is not known, and is not held against anybody."""
    calendar.pass_days(20)
    with_fact = "INSERT INTO fact(name, value) VALUES ('heard_since_us', ?)"
    hub.store.write(lambda tx: tx.run(with_fact, (str(calendar.now_us),)))
    assert problems(hub) == []
    calendar.pass_days(8)
    assert any("civil.birth.registered for 8 days" in one for one in problems(hub))


def test_being_heard_is_noted_once_a_minute_and_follows_a_clock_that_was_set_back(hub: Hub) -> None:
    """A batch a second writes nothing new; waiting events that are looked at again are not heard again."""

    def at(now_us: int) -> int:
        hub.store.write(lambda tx: heard(tx, [1], now_us))
        with hub.store.read() as tx:
            return last_heard(tx)[1]

    assert [at(now_us * MINUTE_US) for now_us in (10, 11)] == [10 * MINUTE_US] * 2
    assert at(11 * MINUTE_US + 1) == 11 * MINUTE_US + 1
    assert at(5 * MINUTE_US) == 5 * MINUTE_US


def test_an_event_that_waits_and_is_decided_later_is_not_heard_anew(hub: Hub, calendar: Calendar) -> None:
    """Its publisher was heard when it came."""
    put(hub, birth("1"))
    decide(hub)
    with hub.store.read() as tx:
        before = last_heard(tx)
    assert list(before.values()) == [calendar.now_us]
    calendar.pass_days(1)
    people = [NewLink("civil-registry", one, f"R-{one}", 3, None) for one in ("C-1", "P-1")]
    assert set(link(hub.register, "population-register", people)) == {"linked"}
    revisited = Gate(hub.world).revisit()
    assert revisited is not None
    assert revisited.events == 1
    with hub.store.read() as tx:
        assert last_heard(tx) == before


def test_halted_persons_are_counted_and_not_named(hub: Hub) -> None:
    """By publisher and dataset: how many, since when, and what to do."""
    put(hub, birth("1", child=f"{CANARY}-1"), birth("2", child=f"{CANARY}-2"))
    decide(hub)
    hub.store.write(lambda tx: tx.run("UPDATE waiting SET local = ?", (POISON,)))
    (halted,) = hub.status()["halted"]
    assert (halted["publisher"], halted["dataset"], halted["chains"]) == ("civil-registry", "civil.birth.registered", 2)
    assert any(one.startswith("2 persons' events of civil-registry / civil.birth") for one in problems(hub))
    hub.measure()
    assert b"hub_halted_chains 2.0" in render(hub.metrics)
    assert CANARY not in json.dumps(hub.status())


def test_a_recipient_that_does_not_acknowledge_is_named_after_an_hour(tmp_path: Path) -> None:
    """With how many and how old the oldest is; before that it is only in the table."""
    ahead = [0]

    with town(tmp_path, clock=lambda: system_clock() + ahead[0]) as place:
        link_family(place)
        (said,) = place.agency("civil-registry").publish([birth()]).accepted
        place.decided(said.token)
        assert len(place.pull("family-benefits")) == 1
        (row,) = [one for one in place.hub.status()["recipients"] if one["agency"] == "family-benefits"]
        assert (row["opened"], row["oldest_s"] < 60) == (1, True)
        assert problems(place.hub) == []
        ahead[0] = 3 * 3_600 * 1_000_000
        assert problems(place.hub) == ["family-benefits has not acknowledged 1 deliveries, the oldest for 3 h"]
        assert any("the clock was moved by" in one["what"] for one in place.hub.status()["problems"])


def test_the_last_key_of_an_agency_that_ends_is_told_and_one_with_a_successor_is_not(
    hub: Hub, calendar: Calendar
) -> None:
    """When it has ended nobody signs in with it any more."""
    for code in ("tax", "lindum"):
        hub.add_agency_key(code, {**public_jwk(new_key()), "kid": f"{code}-1"})
    hub.add_agency_key("tax", {**public_jwk(new_key()), "kid": "tax-2"})
    for code in ("tax", "lindum"):
        hub.end_agency_key(code, f"{code}-1")
    assert problems(hub) == ["the last key of lindum has ended"]


def test_a_token_key_that_was_not_rotated_for_a_quarter_is_told(hub: Hub, calendar: Calendar) -> None:
    """A rotation ends it."""
    calendar.pass_days(101)
    hub.store.write(lambda tx: tx.run("INSERT INTO fact(name, value) VALUES ('heard_since_us', ?)", (str(2**61),)))
    assert problems(hub) == ["the token key is 101 days old"]
    hub.rotate_token_key()
    assert problems(hub) == []


def test_a_restart_is_not_safe_when_it_would_be_refused(hub: Hub) -> None:
    """The key file is gone while the process still has what it opened; nobody would notice until the restart."""
    hub.settings.key_path.unlink()
    restart = hub.status()["restart"]
    assert (restart["safe"], restart["because"][0]["what"]) == (False, "the key file cannot be read")


def test_every_secret_of_the_ring_is_on_the_list_of_keys_and_none_is_shown(hub: Hub) -> None:
    """Whoever adds a secret says what it is for, and how it is rotated or why not."""
    assert set(SECRETS) == set(Keyring.__dataclass_fields__)
    from hub.operations.steered import keys_of

    listed = json.dumps(keys_of(hub))
    for secret in secrets_of(hub.keys).values():
        assert secret.hex() not in listed
    assert all(one["rotate"] and one["for"] for one in keys_of(hub))


def test_a_page_for_three_in_the_morning(hub: Hub, capsys: pytest.CaptureFixture[str], calendar: Calendar) -> None:
    """What to do first stands at the top, each with one remedy; markup in an operator's reason is no markup."""
    stop(hub.stop_flag, Stop("all", "", hub.clock(), "see [bold]entry 7[/] of the log"))
    put(hub, birth("1"))
    decide(hub)
    hub.settings.key_path.unlink()
    draw(hub.status())
    page = capsys.readouterr().out.splitlines()
    assert page[0].startswith("Hub not ready, demo, process ")
    assert page[0].endswith("everything is stopped")
    assert any(line.startswith("LOOK AT  everything is stopped since ") for line in page)
    assert "Safe to restart: NO" in page
    assert any("(see [bold]entry 7[/] of the log)" in line for line in page)
    assert any("1 event of 1 person waiting for a link" in line for line in page)


def test_a_broken_set_up_is_told_by_both_commands(tmp_path: Path) -> None:
    """A running hub without its key file and with a garbled flag: status says what to do, doctor finds both."""
    environ = environment(tmp_path)
    with serving(environ, tmp_path) as running:
        (tmp_path / "hub.key").unlink()
        (tmp_path / "stop-release").write_bytes(b"\x00\x01")
        status = command(environ, tmp_path, "status")
        assert "everything is stopped since an unknown moment" in status.stdout
        assert "Safe to restart: NO" in status.stdout
        doctor = command(environ, tmp_path, "doctor")
        assert doctor.returncode == 1
        assert "FAIL  key file     the key file cannot be read" in doctor.stdout
        assert "FAIL  stop flag    the flag file's last line is torn" in doctor.stdout
        assert httpx.get(running.url + "/readyz").status_code == 200


def test_what_is_unsafe_since_the_start_locks_no_operator_out(tmp_path: Path) -> None:
    """A shell without the settings asks a running hub; where none runs the same shell is refused, with each reason."""
    environ = environment(tmp_path)
    shell = environ | {"HUB_MODE": "production"}
    with serving(environ, tmp_path):
        assert "Safe to restart" in command(shell, tmp_path, "status").stdout
    refused = command(shell, tmp_path, "status")
    assert refused.returncode == 1
    assert "refusing to start: unsafe in production" in refused.stderr


def test_agreements_that_wait_for_signatures_are_one_line(capsys: pytest.CaptureFixture[str], hub: Hub) -> None:
    """A first catalogue is unsigned as a whole; what somebody suspended still has a line of its own."""
    suspend(hub.store, 3, clock=hub.clock, salt=hub.act_salt)
    found = hub.status()
    (one,) = found["paused"]
    found["paused"] += [one | {"what": f"agreement AGR-{number} is unsigned"} for number in (8, 9)]
    draw(found)
    page = capsys.readouterr().out
    assert "Unsigned: 2 agreements are not in force yet" in page
    assert "agreement AGR-3 is suspended" in page
    assert "AGR-8" not in page


def test_a_backlog_is_a_problem_beyond_some_seconds_of_work(hub: Hub) -> None:
    """Planted: the bus counts one more than that."""
    from hub.operations.state import Around, status
    from hub.stop_flag import NOTHING

    def said(backlog: int) -> list[str]:
        around = Around(backlog, 0, hub.root, NOTHING, 0.0)
        found = status(hub.settings, hub.store, hub.approved(), around, hub.clock())
        return [one["what"] for one in found["problems"]]

    assert said(BACKLOG) == []
    assert said(BACKLOG + 1) == [f"{BACKLOG + 1} events are accepted and not decided"]

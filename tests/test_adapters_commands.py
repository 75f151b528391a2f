"""`hub-agency` as an agency runs it: a real process, its files, its output and its exit codes."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters_contract_hub import ContractHub, serving

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hub() -> Iterator[ContractHub]:
    with serving() as contract:
        yield contract


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `hub-agency` with a configuration directory of its own."""
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "config"), "COLUMNS": "200"}

    def ran(*arguments: str, said: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "agency_adapters", *arguments]
        return subprocess.run(
            command, env=environment | more, input=said, capture_output=True, text=True, timeout=60, check=False
        )

    return ran


@pytest.fixture
def lindum(hub: ContractHub, run: Run) -> ContractHub:
    """A hub at which the profile `lindum` is registered."""
    assert run("init", "lindum", "--hub", hub.issuer, "--demo").returncode == 0
    return hub


def files(tmp_path: Path) -> dict[str, int]:
    """Name the files of the configuration directory with their permissions."""
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "config" / "hub-agency").iterdir()}


def event(number: int, **data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": f"e{number}", "source": "urn:agency:lindum", "type": "t", "data": data}


def delivery(number: int, kind: str = "data") -> dict[str, Any]:
    return {"id": f"{number:032x}", "number": number, "kind": kind, "type": "t", "subject": "p", "data": {"n": number}}


def test_the_first_minutes_of_an_agency(hub: ContractHub, run: Run) -> None:
    """init registers at the demo, doctor passes six times, pull writes what is there, then nothing."""
    assert run("init", "lindum", "--hub", hub.issuer, "--demo").returncode == 0
    examined = run("doctor")
    assert (examined.returncode, examined.stdout.count("PASS"), examined.stdout.count("FAIL")) == (0, 6, 0)
    hub.outbox = [delivery(1), delivery(2, "recall")]
    pulled = run("pull")
    assert [json.loads(line)["data"] for line in pulled.stdout.splitlines()] == [{"n": 1}, {"n": 2}]
    assert hub.acknowledged == [delivery(1)["id"]]
    assert "kind 'recall'" in pulled.stderr
    hub.outbox.pop()
    assert run("pull").stdout == ""


@pytest.mark.usefixtures("lindum")
def test_a_profile_is_for_its_owner_only(run: Run, tmp_path: Path) -> None:
    """Files are made 0600; a key that others can read is refused with what to do."""
    assert files(tmp_path) == {"lindum.toml": 0o600, "lindum.key": 0o600, "last": 0o600}
    (tmp_path / "config" / "hub-agency" / "lindum.key").chmod(0o640)
    refused = run("pull")
    assert refused.returncode == 1
    assert "chmod 600" in refused.stderr
    examined = run("doctor")
    assert (examined.returncode, examined.stdout.count("FAIL")) == (1, 1)


def test_init_prints_the_public_key_and_nothing_of_the_private_one(hub: ContractHub, run: Run) -> None:
    """What is printed is what the hub is to register."""
    made = run("init", "tax", "--hub", hub.issuer)
    key = json.loads(made.stdout)
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "Ed25519", "sig")
    assert "d" not in key
    assert "PRIVATE" not in made.stdout + made.stderr


def test_init_again_keeps_the_key_unless_it_is_to_be_replaced(lindum: ContractHub, run: Run) -> None:
    """A registered key is not lost by a repeated command; another hub needs --replace."""
    first, again = lindum.keys["lindum"], run("init", "lindum", "--hub", lindum.issuer)
    assert json.loads(again.stdout)["x"] == first.as_dict()["x"]
    other = run("init", "lindum", "--hub", "https://other.example")
    assert (other.returncode, "--replace" in other.stderr) == (1, True)
    replaced = run("init", "lindum", "--hub", lindum.issuer, "--replace")
    assert json.loads(replaced.stdout)["x"] != first.as_dict()["x"]


def test_a_hub_that_is_no_demo_registers_no_key(hub: ContractHub, run: Run) -> None:
    """The route exists in the demo only, and its absence is told as that."""
    hub.is_demo = False
    refused = run("init", "lindum", "--hub", hub.issuer, "--demo")
    assert refused.returncode == 1
    assert "no demo" in refused.stderr


def test_without_a_name_the_last_initialised_profile_counts(lindum: ContractHub, run: Run) -> None:
    """With two profiles the later one is taken; --profile takes the other."""
    assert run("init", "tax", "--hub", lindum.issuer).returncode == 0
    unregistered = run("pull")
    assert unregistered.returncode == 1
    assert "assertion-unverified" in unregistered.stderr
    assert run("pull", "--profile", "lindum").returncode == 0


def test_a_new_demo_starts_with_nothing_handled(lindum: ContractHub, run: Run) -> None:
    """A demo's world begins anew and may give the same ids; registering again forgets the old ones."""
    lindum.outbox = [delivery(1)]
    assert run("pull").stdout
    lindum.acknowledged.clear()
    assert not run("pull").stdout
    lindum.acknowledged.clear()
    run("init", "lindum", "--hub", lindum.issuer, "--demo")
    assert run("pull").stdout


def test_looking_without_acknowledging_changes_nothing(lindum: ContractHub, run: Run) -> None:
    """--no-ack shows what waits; the next pull gets it."""
    lindum.outbox = [delivery(1)]
    assert run("pull", "--no-ack").stdout == run("pull").stdout != ""
    assert len(lindum.acknowledged) == 1


def test_nothing_is_acknowledged_whose_line_did_not_leave(lindum: ContractHub, tmp_path: Path) -> None:
    """The reader of the lines goes away after the first: the rest is not acknowledged, and comes again."""
    lindum.outbox = [delivery(n) | {"data": {"n": n, "text": "x" * 10_000}} for n in range(300)]
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    command = [sys.executable, "-m", "agency_adapters", "pull"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 1
    assert lindum.acknowledged == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here to stand for a full disk")
def test_nothing_is_acknowledged_on_a_full_disk(lindum: ContractHub, tmp_path: Path) -> None:
    """A line in a buffer has not left: a disk that is full after the fact costs no delivery."""
    lindum.outbox = [delivery(1)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment = buffered | {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    command = [sys.executable, "-m", "agency_adapters", "pull"]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, "No space left" in ran.stderr, "Traceback" in ran.stderr) == (1, True, False)
    assert lindum.acknowledged == []


@pytest.mark.parametrize("form", ["lines", "array", "stdin"])
def test_publish_writes_one_outcome_per_event(lindum: ContractHub, run: Run, tmp_path: Path, form: str) -> None:
    """A refused event makes the exit code 1 and is told apart from the accepted ones."""
    events = [event(1), event(2, bad=True), event(3)]
    text = json.dumps(events) if form == "array" else "\n".join(map(json.dumps, events))
    (tmp_path / "events.json").write_text(text)
    target = "-" if form == "stdin" else str(tmp_path / "events.json")
    published = run("publish", target, said=text)
    assert published.returncode == 1
    assert [json.loads(line)["status"] for line in published.stdout.splitlines()] == ["accepted", "refused", "accepted"]
    assert "2 accepted, 1 refused" in published.stderr
    assert [each["id"] for each in lindum.events] == ["e1", "e3"]


def test_a_dry_run_and_a_status(lindum: ContractHub, run: Run) -> None:
    """The check stores nothing; a token asks for the state."""
    assert run("publish", "-", "--dry-run", said=json.dumps(event(1))).returncode == 0
    assert lindum.events == []
    assert json.loads(run("status", "st1.e1").stdout) == {"state": "handled"}


@pytest.mark.usefixtures("lindum")
def test_a_broken_event_file_is_named_by_its_line(run: Run) -> None:
    """Nothing is sent of a file that cannot be read whole, and its values are not repeated."""
    refused = run("publish", "-", said=json.dumps(event(1)) + '\n{"id": "canary",\n')
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "stdin:2 is not JSON" in refused.stderr
    assert "canary" not in refused.stderr


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("agency,mine,level\ntax,7,2", "links.csv:1"),
        ("agency,local_id,mine,level\ntax,1,7,2\ntax,canary,7,P3", "links.csv:3"),
        ("agency,local_id,mine,level\ntax,1,canary", "links.csv:2"),
        ("agency,local_id,mine,level\ntax,,canary,2", "links.csv:2"),
    ],
)
def test_a_wrong_row_of_links_is_named_without_its_values(run: Run, tmp_path: Path, rows: str, told: str) -> None:
    """Links name people: a mistake is told by file and line alone, and nothing is sent."""
    (tmp_path / "links.csv").write_text(rows)
    refused = run("link", str(tmp_path / "links.csv"))
    assert refused.returncode == 1
    assert told in refused.stderr
    assert "canary" not in refused.stderr


def test_links_are_sent_as_the_hub_takes_them(lindum: ContractHub, run: Run, tmp_path: Path) -> None:
    """The level is a number, an empty birthday is left out."""
    (tmp_path / "l.csv").write_text("agency,local_id,mine,level,born\ntax,1,7,2,\ntax,2,8,3,2001-02-03\n")
    assert run("link", str(tmp_path / "l.csv")).returncode == 0
    assert lindum.links == [
        {"agency": "tax", "local_id": "1", "mine": "7", "level": 2},
        {"agency": "tax", "local_id": "2", "mine": "8", "level": 3, "born": "2001-02-03"},
    ]


@pytest.mark.parametrize(("command", "act"), [("unlink", "undo"), ("dispute", "dispute"), ("settle", "settle")])
def test_links_are_named_by_agency_and_id(
    lindum: ContractHub, run: Run, tmp_path: Path, command: str, act: str
) -> None:
    """One row for each; a file of other columns is refused before anything is sent."""
    (tmp_path / "l.csv").write_text("agency,local_id\ntax,1\ntax,2\n")
    assert run(command, str(tmp_path / "l.csv")).returncode == 0
    assert lindum.links == [{"act": act, "agency": "tax", "local_id": each} for each in ("1", "2")]
    (tmp_path / "wrong.csv").write_text("agency,local_id,mine\ntax,1,canary\n")
    refused = run(command, str(tmp_path / "wrong.csv"))
    assert (refused.returncode, "wrong.csv:1" in refused.stderr, "canary" in refused.stderr) == (1, True, False)
    assert len(lindum.links) == 2


def test_an_export_is_published_for_the_datasets_that_are_ones_own(
    lindum: ContractHub, run: Run, tmp_path: Path
) -> None:
    """Other datasets are skipped, a broken line is told and counted, and reading again repeats the ids."""
    lindum.datasets = [{"name": "health.immunisation"}]
    vaccination = {
        "resourceType": "Immunization",
        "id": "i-1",
        "status": "completed",
        "vaccineCode": {"coding": [{"code": "140"}]},
        "patient": {"reference": "Patient/p-1"},
        "occurrenceDateTime": "2019-01-02",
    }
    patient = {"resourceType": "Patient", "id": "p-1", "birthDate": "2001-01-01"}
    (tmp_path / "all.ndjson").write_text("\n".join((json.dumps(vaccination), json.dumps(patient), "{")))
    for _ in range(2):
        published = run("fhir", str(tmp_path), "--reference", "2019-06-01")
        assert published.returncode == 1
        assert "all.ndjson:3: not JSON" in published.stderr
        counts = json.loads(published.stdout)
        assert (counts["accepted"], counts["skipped_lines"], counts["broken_lines"]) == (1, 1, 1)
    first, second = lindum.events
    assert first == second
    assert (first["source"], first["subject"]) == ("urn:agency:lindum", "p-1")


def test_exit_codes_are_as_documented(run: Run) -> None:
    """1 a problem, 2 wrong usage, 3 no hub; each with words on standard error and without a stack trace."""
    told = [run("pull"), run("pull", "--limit", "0"), run("init", "x", "--hub", "https://127.0.0.1:9", "--demo")]
    assert [each.returncode for each in told] == [1, 2, 3]
    assert all(each.stderr and "Traceback" not in each.stderr for each in told)


@pytest.mark.usefixtures("lindum")
def test_a_hub_on_this_machine_is_reached_past_the_proxy(run: Run) -> None:
    """A proxy in the environment serves other hubs; the demo on loopback is reached directly."""
    assert run("doctor", HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9").returncode == 0


def test_the_client_loads_nothing_of_the_hub_and_its_frameworks() -> None:
    """An agency installs the client alone: importing all of it loads no module of these."""
    loads = (
        "import pkgutil, sys, importlib, agency_adapters\n"
        "for m in pkgutil.iter_modules(agency_adapters.__path__):\n"
        "    importlib.import_module(f'agency_adapters.{m.name}')\n"
        "print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    ran = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert "httpx" in loaded
    strangers = {"hub", "consent", "fastapi", "starlette", "sqlmodel", "sqlalchemy", "authlib", "pydantic", "structlog"}
    assert loaded & strangers == set()

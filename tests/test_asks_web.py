"""Asking and answering over HTTP, with the agencies' own client and command, and previews at the citizens' door."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from agency_adapters.__main__ import app
from agency_adapters.asks import Answered, Question, answer_asks, read_answers
from agency_adapters.errors import AgencyError, HubProblem
from agency_adapters.keys import public_jwk
from agency_adapters.profile import directory_of, read_profile
from agency_adapters.results import Delivery
from agency_adapters.seen import Seen
from tests.world import Town, link, town, until

pytestmark = pytest.mark.engines

LICENCE = {"categories": ["B"], "expiry": "2031-05-01", "number": "L-77", "penalties": ["none"]}
FITNESS = {"categories_fit": ["B"], "valid_until": "2031-05-01", "clinic": "North", "lab_results": ["secret"]}
POLICE, REGISTER, MINISTRY = "traffic-police", "licence-register", "health-ministry"


@pytest.fixture(scope="module")
def place(engine_set: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Run one hub for all tests of this file; each has its own people."""
    with town(tmp_path_factory.mktemp("hub"), quota_requests_burst=5_000, quota_requests_per_s=5_000) as running:
        yield running


def driver(place: Town, name: str) -> str:
    """Link somebody at the police, the licence register and the ministry; returns the police's id of them."""
    agencies = ((POLICE, "TP"), (REGISTER, "LR"), (MINISTRY, "HM"))
    links = [link(agency, f"{short}-{name}", f"R-{name}", born="1990-05-01") for agency, short in agencies]
    assert {one["status"] for one in place.agency("population-register").link(links)} == {"linked"}
    return f"TP-{name}"


def licences(question: Question) -> dict[str, Any] | None:
    """What the register's own system holds: of everybody but those it calls LR-nobody."""
    return None if question.subject == "LR-nobody" else {"driver_id": question.subject, **LICENCE}


def answering(place: Town, tmp_path: Path, code: str = REGISTER, lookup: Any = licences) -> list[Answered | Delivery]:
    with Seen(tmp_path / f"{code}.seen") as seen:
        return list(answer_asks(place.agency(code), seen, lookup, wait_s=5))


def test_a_question_is_answered_while_its_asker_waits(place: Town, tmp_path: Path) -> None:
    """Both sides wait; the answer is in the asker's feed when the ask is closed."""
    subject = driver(place, "1")
    provider = threading.Thread(target=answering, args=(place, tmp_path))
    provider.start()
    police = place.agency(POLICE)
    put = police.ask(subject, "LICENCE-CHECK", "police.licence", case="TP-CASE-1", fields=["expiry"])
    assert put["state"] == "asked"
    assert police.asked(put["id"], wait_s=10)["state"] == "answered"
    provider.join()
    (answer,) = place.pull(POLICE)
    assert (answer.document["ask"], answer.document["data"]) == (put["id"], {"expiry": "2031-05-01"})
    police.acknowledge([answer])
    assert place.pull(REGISTER) == ()


def test_a_provider_that_has_nothing_says_so(place: Town, tmp_path: Path) -> None:
    """And its asker reads it, in the state and in a notice."""
    subject = driver(place, "nobody")
    police = place.agency(POLICE)
    put = police.ask(subject, "LICENCE-CHECK", "police.licence", case="TP-CASE-2")
    (said,) = answering(place, tmp_path)
    assert isinstance(said, Answered)
    assert said.outcome == "no_answer"
    assert police.asked(put["id"])["state"] == "no_answer"
    (notice,) = place.pull(POLICE)
    assert notice.document["data"]["state"] == "no_answer"
    police.acknowledge([notice])


def test_a_client_that_does_not_answer_leaves_the_question_alone(place: Town, tmp_path: Path) -> None:
    """It is passed on, never acknowledged, and comes again to one that does."""
    subject = driver(place, "3")
    place.agency(POLICE).ask(subject, "LICENCE-CHECK", "police.licence", case="TP-CASE-3")
    with Seen(tmp_path / "seen") as seen:
        found = list(place.agency(REGISTER).deliveries(seen, wait_s=2))
        assert [one.kind for one in found] == ["ask"]
        assert not seen.has(found[0].id, "ask")
    rows = place.hub.store.read()
    with rows as tx:
        assert tx.rows("SELECT count(*) FROM queue q JOIN delivery d ON d.id = q.delivery WHERE d.kind = 7") == [(1,)]
        number = place.hub.world.catalogue.agencies[REGISTER].number
    place.hub.store.write(lambda tx: tx.run("DELETE FROM queue WHERE recipient = ?", (number,)))


def test_a_refusal_says_why_to_its_asker(place: Town) -> None:
    """No case: the policy's own words; not asked of anybody."""
    police = place.agency(POLICE)
    put = police.ask(driver(place, "4"), "LICENCE-CHECK", "police.licence", case="")
    assert (put["state"], "policy.ask_without_case" in put["reasons"]) == ("refused", True)


def test_what_goes_beyond_the_agreement_is_answered_field_by_field(place: Town) -> None:
    """422, with the name of each and what is agreed."""
    with pytest.raises(HubProblem) as refused:
        place.agency(POLICE).ask(
            driver(place, "5"), "LICENCE-CHECK", "police.licence", case="c", fields=["expiry", "penalties"]
        )
    assert (refused.value.problem.status, refused.value.problem.code) == (422, "ask-beyond-agreement")
    assert [item["where"] for item in refused.value.problem.items] == ["/fields/1"]


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"fields": "expiry"}, 422), ({"deadline": "tomorrow"}, 422), ({"subject": ""}, 422), ({"more": 1}, 422)],
)
def test_a_question_of_the_wrong_form_is_refused(place: Town, changed: dict[str, Any], status: int) -> None:
    """Nothing is guessed."""
    token = place.agency(POLICE).channel.access_token()
    body = {"subject": "x", "purpose": "LICENCE-CHECK", "dataset": "police.licence", "case": "c"} | changed
    answer = httpx.post(f"{place.url}/v1/asks", json=body, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == status
    assert "Traceback" not in answer.text


def test_the_person_reads_who_asked_for_what_under_which_case(place: Town, tmp_path: Path) -> None:
    """The question, that it reached the provider, and the answer: each an entry of their history."""
    subject = driver(place, "6")
    police = place.agency(POLICE)
    put = police.ask(
        subject, "LICENCE-CHECK", "police.licence", case="TP-CASE-6", actor="officer-12", fields=["expiry"]
    )
    answering(place, tmp_path)
    assert police.asked(put["id"], wait_s=5)["state"] == "answered"
    police.acknowledge(place.pull(POLICE))
    with citizen(place, "6") as http:
        entries = [one for one in http.get("/v1/me/history").json()["entries"] if one["kind"] in ("ask", "decision")]
    answer, question = entries
    assert (question["kind"], question["case"], question["actor"]) == ("ask", "TP-CASE-6", "officer-12")
    assert (question["recipient"], question["provider"], question["fields"]) == (POLICE, REGISTER, ["expiry"])
    assert [one["fields"] for one in question["handed_out"]] == [[]]
    assert (answer["kind"], answer["handed_out"][0]["fields"]) == ("decision", ["expiry"])


@contextmanager
def citizen(place: Town, name: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=place.url, trust_env=False) as http:
        signed = http.post("/dev/sign-in", json={"person": f"population-register:R-{name}"}).json()
        http.headers["x-csrf-token"] = signed["csrf"]
        yield http


def test_a_person_previews_what_would_go_and_what_would_not(place: Town, tmp_path: Path) -> None:
    """Before consenting: the values of what would go, the names of what stays; no agency hears of it."""
    driver(place, "7")
    with citizen(place, "7") as http:
        body = {"recipient": POLICE, "purpose": "LICENCE-RENEW", "dataset": "health.fitness"}
        put = http.post("/v1/me/asks", json=body)
        assert put.status_code == 201, put.text
        address = f"/v1/me/asks/{put.json()['id']}"
        assert put.json()["state"] == "asked"
        said = answering(place, tmp_path, MINISTRY, lambda question: {"driver_id": question.subject, **FITNESS})
        assert [one.outcome for one in said if isinstance(one, Answered)] == ["answered"]
        shown = until(lambda: http.get(address).json(), lambda one: one["state"] == "answered")
    going = {one["field"]: one.get("value") for one in shown["would_go"]}
    assert going == {"categories_fit": ["B"], "valid_until": "2031-05-01", "restrictions": None}
    assert {one["field"] for one in shown["would_stay"]} == {"driver_id", "clinic", "diagnosis_codes", "lab_results"}
    assert "secret" not in json.dumps(shown)
    assert place.pull(POLICE) == ()
    with citizen(place, "6") as other:
        assert other.get(address).status_code == 404


def test_answers_are_read_from_a_file_and_a_bad_line_is_named(tmp_path: Path) -> None:
    """The last line about somebody counts; without their values in the message."""
    file = tmp_path / "held.ndjson"
    file.write_text(
        '{"dataset": "d", "subject": "s", "data": {"a": 1}}\n\n{"dataset": "d", "subject": "s", "data": {"a": 2}}\n'
    )
    asked = Question("0" * 32, "s", "d", ("a",), "P", "x", "", "")
    assert read_answers(file)(asked) == {"a": 2}
    file.write_text('{"dataset": "d", "subject": "secret"}\n')
    with pytest.raises(AgencyError, match="line 1") as refused:
        read_answers(file)
    assert "secret" not in str(refused.value)


def test_both_commands_work_end_to_end(place: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ask`, `answer --from`, and the answer by `pull`."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    run = CliRunner()
    for code in (POLICE, REGISTER):
        assert run.invoke(app, ["init", code, "--hub", place.url]).exit_code == 0
        _, key = read_profile(directory_of({"XDG_CONFIG_HOME": str(tmp_path)}), code)
        place.hub.add_agency_key(code, public_jwk(key))
    subject = driver(place, "9")
    held = tmp_path / "held.ndjson"
    held.write_text(
        json.dumps({"dataset": "police.licence", "subject": "LR-9", "data": {"driver_id": "LR-9", **LICENCE}})
    )
    words = ["--purpose", "LICENCE-CHECK", "--dataset", "police.licence", "--case", "C-9", "--profile", POLICE]
    put = run.invoke(app, ["ask", subject, *words, "--field", "expiry"])
    assert put.exit_code == 0, put.output
    done = run.invoke(app, ["answer", "--from", str(held), "--profile", REGISTER, "--wait", "5"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[0])["outcome"] == "answered"
    pulled = run.invoke(app, ["pull", "--wait", "5", "--profile", POLICE])
    assert json.loads(pulled.stdout.splitlines()[0])["data"] == {"expiry": "2031-05-01"}

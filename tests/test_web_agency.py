"""From one agency to another over HTTP, with the agencies' own client: publish, gate, pull, acknowledge."""

import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import orjson
import pytest

from agency_adapters.errors import HubProblem
from hub import failpoints
from hub.clock import system_clock
from tests.world import Town, birth, link, link_family, town, until

pytestmark = pytest.mark.engines

BATCH, SINGLE = "application/cloudevents-batch+json", "application/cloudevents+json"


@pytest.fixture(scope="module")
def place(engine_set: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Run one hub for all tests of this file; each has its own people."""
    with town(tmp_path_factory.mktemp("hub"), quota_requests_burst=5_000, quota_requests_per_s=5_000) as running:
        yield running


def call(place: Town, code: str, method: str, path: str, **sent: Any) -> httpx.Response:
    """Send a request with the agency's token, as it is."""
    token = place.agency(code).channel.access_token()
    headers = {"authorization": f"Bearer {token}", **sent.pop("headers", {})}
    return httpx.request(method, place.url + path, headers=headers, **sent)


def post(place: Town, body: Any, kind: str, *, code: str = "civil-registry", query: str = "") -> httpx.Response:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return call(place, code, "POST", f"/v1/events{query}", content=content, headers={"content-type": kind})


def publish(place: Town, *events: dict[str, Any]) -> list[str]:
    """Publish, wait until each is decided, and return the states."""
    result = place.agency("civil-registry").publish(events)
    assert result.refused == ()
    return [place.decided(one.token) for one in result.accepted]


def empty(place: Town, code: str) -> None:
    place.agency(code).acknowledge(place.pull(code))


def test_a_birth_reaches_family_benefits_with_the_smallest_set_of_fields(place: Town) -> None:
    """By law nobody is asked: child, date of birth and parents arrive under the recipient's own names, no more."""
    link_family(place, child="C-1", parent="P-1")
    assert publish(place, birth("1", child="C-1", parents=("P-1",))) == ["handled"]
    (delivery,) = place.pull("family-benefits")
    assert (delivery.kind, delivery.type, delivery.subject) == ("data", "civil.birth.registered", "FB-C-1")
    assert delivery.document["purpose"] == "FAM-ALLOW"
    data = delivery.document["data"]
    assert data["child_id"] == "FB-C-1"
    assert data["dob"] == "2026-01-31"
    assert [name[:3] for name in data["parent_ids"]] == ["p1."]
    assert data.keys() == {"child_id", "dob", "parent_ids"}
    done = place.agency("family-benefits").acknowledge([delivery])
    again = place.agency("family-benefits").acknowledge([delivery])
    assert (done.acknowledged, done.already, again.acknowledged, again.already) == (1, 0, 0, 1)
    assert place.pull("family-benefits") == ()


def test_a_repeat_is_dropped_and_other_content_under_the_same_id_is_a_conflict(place: Town) -> None:
    """The first one counts; the publisher reads of the conflict in the status and in its own feed, without any data."""
    link_family(place, child="C-2", parent="P-2")
    event = birth("2", child="C-2", parents=("P-2",))
    registry = place.agency("civil-registry")
    assert publish(place, event, event) == ["handled", "handled"]
    assert len(place.pull("family-benefits")) == 1
    empty(place, "family-benefits")
    changed = {**event, "data": {**event["data"], "dob": "2026-02-01"}}
    token = registry.publish([changed]).accepted[0].token
    assert until(lambda: registry.status(token), lambda state: state == "conflict") == "conflict"
    assert place.pull("family-benefits") == ()
    (notice,) = until(lambda: place.pull("civil-registry"), bool)
    assert (notice.kind, notice.type) == ("notice", "hub.notice")
    assert notice.document["data"] == {"type": "event.conflict", "dataset": event["type"], "event": token}
    assert registry.acknowledge([notice]).acknowledged == 1


def test_an_event_waits_until_its_person_is_linked_and_the_later_one_waits_behind_it(place: Town) -> None:
    """Nothing is lost and nothing is passed: both arrive, in order, soon after the link, without being sent again."""
    assert publish(place, birth("3a", child="C-3"), birth("3b", child="C-3", dob="2026-01-30")) == ["waiting"] * 2
    assert place.pull("family-benefits") == ()
    began_s = monotonic()
    link_family(place, child="C-3", parent="P-1")
    arrived = place.pull("family-benefits", wait_s=5)
    assert monotonic() - began_s < 2
    assert [one.document["data"]["dob"] for one in arrived] == ["2026-01-31", "2026-01-30"]
    empty(place, "family-benefits")


def test_another_agencys_dataset_is_as_absent_as_one_that_does_not_exist(place: Town) -> None:
    """Whether a name exists is not to be learned here: the two answers are the same, byte for byte."""
    theirs = {**birth("4"), "type": "pop.residence"}
    nobodys = {**birth("4"), "type": "pop.nothing"}
    answers = [post(place, one, SINGLE) for one in (theirs, nobodys)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content
    assert answers[0].json()["type"].endswith("/dataset-unknown")


def test_one_bad_item_of_a_batch_is_named_and_the_others_arrive(place: Town) -> None:
    """The answer says which item, what is wrong without its value, and that only that one is to be sent again."""
    link_family(place, child="C-5", parent="P-1")
    events = [birth(f"5-{n}", child="C-5", parents=("P-1",)) for n in range(20)]
    events[17]["data"]["dob"] = "31.01.2026"
    answer = post(place, events, BATCH)
    body = answer.json()
    assert (answer.status_code, body["accepted"], body["refused"]) == (202, 19, 1)
    assert body["detail"] == (
        "Item 17: /data/dob must be YYYY-MM-DD (civil.birth.registered v1); value not repeated here. "
        "19 accepted, 1 refused. Resend only item 17."
    )
    assert [item["index"] for item in body["items"]] == list(range(20))
    refused = body["items"][17]
    assert (refused["status"], refused["id"]) == ("refused", "birth-5-17")
    assert refused["problem"]["type"].endswith("/event-schema")
    assert refused["problem"]["status"] == 422
    assert "31.01" not in answer.text
    for item in body["items"]:
        if "token" in item:
            assert place.decided(item["token"]) == "handled"
    empty(place, "family-benefits")


def test_a_batch_of_which_nothing_is_accepted_is_a_problem_with_every_item(place: Town) -> None:
    """All refused is 422, still with one item for each; a single event refused alone is its own problem."""
    bad = birth("6", sex="robot")
    answer = post(place, [bad, 7], BATCH)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [item["problem"]["status"] for item in answer.json()["items"]] == [422, 400]
    alone = post(place, bad, SINGLE)
    assert (alone.status_code, alone.json()["items"][0]["where"]) == (422, "/data/sex")
    assert post(place, [], BATCH).json() == {"accepted": 0, "refused": 0, "items": []}


def test_an_event_travels_in_binary_mode_as_well(place: Town) -> None:
    """Attributes as ce- headers, percent-encoded, and the data as body (CloudEvents HTTP binding 3.1) mean the same."""
    link_family(place, child="C-7 ü", parent="P-1")
    event = birth("7", child="C-7 ü", parents=("P-1",))
    names = ("specversion", "id", "source", "type", "time")
    headers = {f"ce-{name}": event[name] for name in names} | {"ce-subject": "C-7%20%C3%BC"}
    headers["content-type"] = "application/json; charset=utf-8"
    content = orjson.dumps(event["data"])
    answer = call(place, "civil-registry", "POST", "/v1/events", content=content, headers=headers)
    assert answer.status_code == 202
    assert place.decided(answer.json()["items"][0]["token"]) == "handled"
    assert [one.subject for one in place.pull("family-benefits")] == ["FB-C-7 ü"]
    empty(place, "family-benefits")


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", SINGLE, 400, "json-malformed"),
        (b"{}", BATCH, 400, "event-malformed"),
        (b"{}", SINGLE, 400, "event-malformed"),
        (b"{}", "application/json", 400, "event-content-type"),
        (b"[" + b"{}," * 500 + b"{}]", BATCH, 413, "items-too-many"),
    ],
)
def test_what_is_no_event_is_refused_with_a_problem(
    place: Town, body: bytes, kind: str, status: int, code: str
) -> None:
    """Each says what to send instead."""
    answer = post(place, body, kind)
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (status, code)
    assert answer.json()["remedy"]


def test_an_event_and_a_body_that_are_too_large_are_refused(place: Town) -> None:
    """An event has its own limit; a body is cut off at its limit even when it says no length."""
    large = post(place, birth("8", place="x" * 70_000), SINGLE)
    assert (large.status_code, large.json()["type"].rpartition("/")[2]) == (413, "event-too-large")
    pieces = (b" " * 1_000_000 for _ in range(20))
    headers = {"content-type": BATCH}
    cut = call(place, "civil-registry", "POST", "/v1/events", content=pieces, headers=headers)
    assert (cut.status_code, cut.json()["type"].rpartition("/")[2]) == (413, "body-too-large")


def test_a_dry_run_checks_everything_and_stores_nothing(place: Town) -> None:
    """It answers per item without tokens; the same event is new when it is sent in earnest."""
    link_family(place, child="C-9", parent="P-1")
    good, bad = birth("9", child="C-9", parents=("P-1",)), birth("9b", birth_weight=3)
    before = place.hub.store.commits
    answer = post(place, [good, bad], BATCH, query="?dry_run=true")
    assert (answer.status_code, answer.json()["accepted"], answer.json()["refused"]) == (200, 1, 1)
    assert "token" not in answer.json()["items"][0]
    assert place.hub.bus.backlog() == 0
    assert place.hub.store.commits - before <= 1  # the first event of a day makes its publisher's day key
    assert publish(place, good) == ["handled"]
    empty(place, "family-benefits")


def test_a_pull_that_waits_is_woken_by_the_gate(place: Town) -> None:
    """It answers within a fraction of a second of the publish, long before its own time is over."""
    link_family(place, child="C-10", parent="P-1")
    client = place.agency("family-benefits")
    client.channel.access_token()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append((client.pull(wait_s=10), monotonic())))
    thread.start()
    until(place.hub.bell.listeners, lambda count: count == 1)
    began_s = monotonic()
    place.agency("civil-registry").publish([birth("10", child="C-10", parents=("P-1",))])
    thread.join()
    page, arrived_s = found[0]
    assert len(page.deliveries) == 1
    assert arrived_s - began_s < 0.4  # less than the look that everybody takes every half second
    assert place.hub.bell.listeners() == 0
    client.acknowledge(page.deliveries)


def test_a_pull_waits_as_long_as_it_was_asked_to_and_no_longer(place: Town) -> None:
    """Nothing comes: it is empty, after its time."""
    began_s = monotonic()
    assert place.pull("vehicles", wait_s=1) == ()
    assert 0.9 < monotonic() - began_s < 2


def test_an_acknowledgement_of_what_was_never_handed_out_settles_nothing(place: Town) -> None:
    """One unknown number or id refuses the whole call, with an item for each; what was real comes again."""
    link_family(place, child="C-11", parent="P-1")
    publish(place, birth("11", child="C-11", parents=("P-1",)))
    (real,) = place.pull("family-benefits")
    items = [
        {"number": real.number, "id": real.id},
        {"number": real.number, "id": "0" * 32},
        {"number": 99_999, "id": real.id},
    ]
    path = "/v1/deliveries/acknowledgements"
    answer = call(place, "family-benefits", "POST", path, json={"acknowledgements": items})
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (404, "delivery-unknown")
    assert [item["where"] for item in answer.json()["items"]] == ["/acknowledgements/1", "/acknowledgements/2"]
    theirs = call(place, "lindum", "POST", path, json={"acknowledgements": items[:1]})
    assert theirs.status_code == 404
    assert place.agency("family-benefits").acknowledge([real]).acknowledged == 1


def test_an_acknowledgement_of_the_wrong_form_says_everything_that_is_wrong_with_it(place: Town) -> None:
    """Number and id are both required; values are not repeated."""
    body = {"acknowledgements": [{"id": "Jane"}, {"number": 0, "id": "0" * 32, "extra": 1}]}
    answer = call(place, "family-benefits", "POST", "/v1/deliveries/acknowledgements", json=body)
    assert answer.status_code == 422
    assert {item["where"] for item in answer.json()["items"]} == {
        "/acknowledgements/0/number",
        "/acknowledgements/0/id",
        "/acknowledgements/1/number",
        "/acknowledgements/1/extra",
    }
    assert "Jane" not in answer.text


def test_while_releases_are_stopped_nothing_is_handed_out_and_nothing_is_lost(place: Town) -> None:
    """The flag file alone stops every pull with 503; publishing goes on; afterwards it all comes."""
    link_family(place, child="C-12", parent="P-1")
    place.hub.stop_releases(True)
    assert publish(place, birth("12", child="C-12", parents=("P-1",))) == ["handled"]
    with pytest.raises(HubProblem) as refused:
        place.pull("family-benefits")
    assert (refused.value.problem.status, refused.value.problem.code) == (503, "releases-stopped")
    place.hub.stop_releases(False)
    assert len(place.pull("family-benefits")) == 1
    empty(place, "family-benefits")


def test_bytes_that_begin_long_after_the_commit_are_dropped_and_come_again(tmp_path: Path) -> None:
    """A withdrawal may have been answered in between; the delivery comes again by itself, under its number."""
    ahead_us = [0]
    with town(tmp_path, clock=lambda: system_clock() + ahead_us[0], handout_redeliver_s=1) as late:
        link_family(late)
        publish(late, birth())
        failpoints.arm("handout.committed", lambda: ahead_us.__setitem__(0, ahead_us[0] + 3_000_000))
        try:
            page = late.agency("family-benefits").pull()
        finally:
            failpoints.disarm("handout.committed")
        assert (page.deliveries, page.more) == ((), True)
        (again,) = until(lambda: late.pull("family-benefits"), bool)
        assert again.number == 1


def test_linking_answers_for_each_item_and_never_merges_two_people(place: Town) -> None:
    """Linked, known already, in conflict, or of the wrong form: each has its own answer, and no id is repeated."""
    register = place.agency("population-register")
    rows = [
        link("vehicles", "V-20", "R-20"),
        link("vehicles", "V-20", "R-20"),
        link("vehicles", "V-20", "R-21-other"),
        link("nobody", "V-21", "R-22"),
        {**link("vehicles", "V-23", "R-23"), "level": 7, "born": "yesterday"},
    ]
    register.link([link("utilities", "U-21", "R-21-other")])
    answers = register.link(rows)
    assert [answer["status"] for answer in answers] == ["linked", "known", "refused", "refused", "refused"]
    codes = [answer["problem"]["type"].rpartition("/")[2] for answer in answers if "problem" in answer]
    assert codes == ["link-conflict", "agency-unknown", "link-malformed"]
    assert "R-21" not in str(answers)
    assert [one["status"] for one in register.unlink([{"agency": "vehicles", "local_id": "V-20"}] * 2)] == [
        "undone",
        "refused",
    ]


def test_links_come_as_csv_too(place: Town) -> None:
    """The same columns; an empty date of birth is none; a line of other columns refuses the file."""
    lines = "agency,local_id,mine,level,born\r\nvehicles,V-30,R-30,2,1990-01-31\r\nvehicles,V-31,R-31,3,\r\n"
    headers = {"content-type": "text/csv; charset=utf-8"}
    answer = call(place, "population-register", "POST", "/v1/links", content=lines.encode(), headers=headers)
    assert (answer.status_code, answer.json()["linked"]) == (200, 2)
    wrong = call(place, "population-register", "POST", "/v1/links", content=b"who,what\na,b\n", headers=headers)
    assert (wrong.status_code, wrong.json()["type"].rpartition("/")[2]) == (400, "form-malformed")


def test_only_an_agency_with_the_right_links(place: Town) -> None:
    """The scope is not given to others, and without it the door is shut."""
    answer = call(place, "civil-registry", "POST", "/v1/links", json={"links": []})
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (403, "scope-missing")


def test_an_agency_reads_its_own_agreements_subscriptions_and_datasets(place: Town) -> None:
    """What it may hear, with the fields and which of them are required; what it publishes; and the hub's clock."""
    lindum = place.agency("lindum").agency()
    assert {one["code"] for one in lindum["agreements"]} == {"AGR-3", "AGR-4"}
    kinder = next(
        one for one in lindum["subscriptions"]
        if (one["purpose"], one["dataset"]) == ("KINDER-PLACE", "civil.birth.registered")
    )  # fmt: skip
    assert [field["name"] for field in kinder["fields"]] == ["dob_month"]
    assert lindum["datasets"] == []
    registry = place.agency("civil-registry").agency()
    assert {one["name"] for one in registry["datasets"]} == {"civil.birth.registered", "child.turned_3"}
    births = next(one for one in registry["datasets"] if one["name"] == "civil.birth.registered")
    assert [one["name"] for one in births["fields"] if one["subject"]] == ["child_id"]
    assert not {"dob_month"} & {one["name"] for one in births["fields"]}, "it is derived: nobody publishes it"
    assert abs(registry["time_us"] - system_clock()) < 5_000_000


def test_a_status_token_that_the_hub_never_gave_is_unknown(place: Town) -> None:
    """Neither a made-up one nor a spoilt one tells anything."""
    for token in ("st1.x", "nothing", "st1." + "A" * 43):
        with pytest.raises(HubProblem) as refused:
            place.agency("civil-registry").status(token)
        assert (refused.value.problem.status, refused.value.problem.code) == (404, "event-unknown")


def test_an_agency_that_floods_is_told_to_wait_and_others_are_not(tmp_path: Path) -> None:
    """Events count, not only requests; nothing of the refused batch is stored."""
    with town(tmp_path, quota_events_burst=10, quota_events_per_s=1) as small:
        events = [birth(str(n), child=f"C-{n}") for n in range(8)]
        assert post(small, events, BATCH).status_code == 202
        refused = post(small, events, BATCH)
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (429, "quota-used-up")
        assert int(refused.headers["retry-after"]) >= 1
        assert post(small, events * 2, BATCH).status_code == 413
        assert small.agency("population-register").link([link("vehicles", "V-1", "R-1")])[0]["status"] == "linked"


def test_a_restart_keeps_what_was_published_linked_opened_and_acknowledged(tmp_path: Path) -> None:
    """Keys, links, the waiting event, running numbers and the queue are as they were; nothing comes doubled."""
    event = birth("1")
    with town(tmp_path) as first:
        link_family(first)
        publish(first, event, birth("2", dob="2026-01-30"))
        publish(first, birth("3", child="C-later"))
        one, _two = first.pull("family-benefits")
        first.agency("family-benefits").acknowledge([one])
        registered = set(first.clients)
    with town(tmp_path, handout_redeliver_s=1) as second:
        assert second.hub.schema == "current"
        assert registered == {code for code in second.hub.approved().agencies if second.hub.agency_keys.of(code)}
        assert publish(second, event) == ["handled"]
        link_family(second, child="C-later")
        arrived = until(lambda: second.pull("family-benefits"), bool)
        assert [(each.number, each.document["data"]["dob"]) for each in arrived][-1] == (3, "2026-01-31")


def test_what_is_said_in_the_log_and_measured_names_no_person(place: Town) -> None:
    """Local ids and dates of birth are in no line of the log at its most talkative, and in no metric."""
    link_family(place, child="C-14", parent="P-1")
    token = post(place, birth("14", child="C-14", parents=("P-1",)), SINGLE).json()["items"][0]["token"]
    assert place.decided(token) == "handled"
    empty(place, "family-benefits")
    metrics = httpx.get(place.url + "/metrics").text
    for text in (place.said.getvalue(), metrics):
        assert text
        assert not [word for word in ("C-1", "P-1", "FB-", "R-C", "2026-01-31", "birth-") if word in text]
    assert 'hub_events_published_total{agency="civil-registry"}' in metrics
    assert float(metrics.split('hub_deliveries_total{agency="family-benefits",kind="data"} ')[1].split()[0]) >= 1

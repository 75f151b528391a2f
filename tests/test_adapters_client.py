"""An agency's client signs in, publishes, takes deliveries and loses nothing, against the hub's contract."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from agency_adapters.channel import Settings
from agency_adapters.client import HubClient
from agency_adapters.clock import system_clock
from agency_adapters.doctor import examine
from agency_adapters.errors import AgencyError, HubProblem, HubUnreachable
from agency_adapters.keys import new_key, public_jwk
from agency_adapters.results import Delivery, PublishStopped
from agency_adapters.retry import Backoff
from agency_adapters.seen import Seen
from tests.adapters_contract_hub import ContractHub, serving

QUICK = Backoff(attempts=4, first_s=0.01, cap_s=0.02)


@pytest.fixture
def hub() -> Iterator[ContractHub]:
    with serving() as contract:
        yield contract


@pytest.fixture
def hub_url(hub: ContractHub) -> str:
    return hub.issuer


@pytest.fixture
def key(hub: ContractHub) -> OKPKey:
    """Make the agency's key and have it registered."""
    key = new_key()
    hub.keys["lindum"] = OKPKey.import_key(public_jwk(key))
    return key


@pytest.fixture
def client(hub_url: str, key: OKPKey) -> Iterator[HubClient]:
    with HubClient(Settings(hub_url, "lindum", batch_events=20, backoff=QUICK), key) as connected:
        yield connected


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    with Seen(tmp_path / "lindum.seen") as store:
        yield store


def event(number: int, **data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": f"e{number}", "source": "urn:agency:lindum", "type": "t", "data": data}


def delivery(number: int, kind: str = "data") -> dict[str, Any]:
    return {"id": f"{number:032x}", "number": number, "kind": kind, "type": "t", "subject": "p", "data": {"n": number}}


def numbers(deliveries: Iterator[Delivery]) -> list[int]:
    return [int(each.document["data"]["n"]) for each in deliveries]


def test_publishing_splits_a_list_and_answers_for_every_event_in_order(client: HubClient, hub: ContractHub) -> None:
    """45 events travel as three batches; refused ones keep their place and their problem."""
    result = client.publish([event(n, bad=n == 30) for n in range(45)])
    assert [item.index for item in result.items] == list(range(45))
    assert [(item.index, item.id, item.problem.code) for item in result.refused] == [(30, "e30", "invalid")]
    assert result.accepted[0].token == "st1.e0"
    assert hub.asked == ["/v1/events"] * 3
    assert len(hub.jtis) == 1


def test_a_batch_of_which_nothing_was_accepted_still_says_why_for_each(client: HubClient) -> None:
    """The hub answers 422 with an item for each; a single event refused alone comes back as its problem."""
    assert [item.problem.what for item in client.publish([event(1, bad=True), event(2, bad=True)]).refused] == [
        "bad"
    ] * 2
    assert [item.problem.code for item in client.publish([event(3, bad=True)]).refused] == ["invalid"]


@pytest.mark.parametrize("fault", ["503", "429", "lost", "cut"])
def test_a_batch_is_sent_again_under_the_same_ids_and_nothing_else_is(
    client: HubClient, hub: ContractHub, fault: str
) -> None:
    """Refused for the moment, or done and the answer lost: only that batch is repeated, unchanged."""
    hub.faults = ["", fault]
    assert len(client.publish([event(n) for n in range(45)]).accepted) == 45
    assert hub.asked == ["/v1/events"] * 4
    assert {each["id"] for each in hub.events} == {f"e{n}" for n in range(45)}
    assert len(hub.events) == (65 if fault in ("lost", "cut") else 45)  # the hub drops repeats by their ids


def test_publishing_that_cannot_go_on_hands_over_what_was_answered(client: HubClient, hub: ContractHub) -> None:
    """After the last attempt the outcomes so far are in the exception, so that nobody has to guess."""
    hub.faults = ["", "503", "503", "503", "503"]
    with pytest.raises(PublishStopped, match="20 of 45 events were answered") as stopped:
        client.publish([event(n) for n in range(45)])
    assert [item.id for item in stopped.value.done.accepted] == [f"e{n}" for n in range(20)]


def test_a_batch_too_large_for_one_request_is_halved(hub: ContractHub, hub_url: str, key: OKPKey) -> None:
    """Down to the single event that is too large by itself; the others arrive."""
    with HubClient(Settings(hub_url, "lindum", batch_events=400), key) as wide:
        result = wide.publish([event(n, text="x" * (20_000 if n == 7 else 1)) for n in range(120)])
    assert [(item.id, item.problem.status) for item in result.refused] == [("e7", 413)]
    assert len(hub.events) == 119


def test_a_dry_run_stores_nothing(client: HubClient, hub: ContractHub) -> None:
    """The hub is asked to check only."""
    assert len(client.publish([event(1), event(2)], dry_run=True).accepted) == 2
    assert hub.events == []


def test_a_refused_token_is_renewed_once_and_each_assertion_is_new(client: HubClient, hub: ContractHub) -> None:
    """A hub that restarted knows the old token no more; a second 401 is told and not repeated for ever."""
    client.agency()
    hub.tokens.clear()
    assert client.status("st1.x") == "handled"
    assert len(hub.jtis) == 2
    hub.keys.clear()
    hub.tokens.clear()
    with pytest.raises(HubProblem) as refused:
        client.agency()
    assert refused.value.problem.code == "assertion-unverified"


def test_a_token_is_kept_until_shortly_before_its_end(hub: ContractHub, hub_url: str, key: OKPKey) -> None:
    """One token serves many requests, and is replaced while it still works."""
    now_us = [system_clock()]
    with HubClient(Settings(hub_url, "lindum"), key, clock=lambda: now_us[0]) as timed:
        timed.agency()
        now_us[0] += 269_000_000
        timed.agency()
        assert len(hub.jtis) == 1
        hub.clock_ahead_s = 271
        now_us[0] += 2_000_000
        timed.agency()
        assert len(hub.jtis) == 2


def test_deliveries_come_once_and_are_acknowledged_when_the_page_is_handled(
    client: HubClient, hub: ContractHub, seen: Seen
) -> None:
    """600 deliveries are two pages; the acknowledgement of a page follows its last delivery."""
    hub.outbox = [delivery(n) for n in range(600)]
    feed = client.deliveries(seen)
    assert numbers(feed) == list(range(600))
    assert len(hub.acknowledged) == 600
    assert numbers(client.deliveries(seen)) == []


def test_what_was_handled_is_not_handled_again_when_the_acknowledgement_was_lost(
    client: HubClient, hub: ContractHub, tmp_path: Path
) -> None:
    """A program that ends in the middle goes on where it was: repeats are acknowledged, not handled."""
    hub.outbox = [delivery(n) for n in range(5)]
    with Seen(tmp_path / "s") as seen:
        for each in client.deliveries(seen):
            if each.document["data"]["n"] == 3:
                break  # the fourth was yielded, and not said to be handled
    assert hub.acknowledged == []
    with Seen(tmp_path / "s") as seen:
        assert numbers(client.deliveries(seen)) == [3, 4]
    assert len(hub.acknowledged) == 5


def test_a_stop_under_the_id_of_its_data_is_no_repeat(client: HubClient, hub: ContractHub, seen: Seen) -> None:
    """Deduplication goes by id and kind, or a withdrawal could be taken for old news."""
    hub.outbox = [delivery(1)]
    assert [each.kind for each in client.deliveries(seen)] == ["data"]
    hub.outbox, hub.acknowledged = [delivery(1, "stop")], []
    assert [each.kind for each in client.deliveries(seen)] == ["stop"]


def test_an_unknown_kind_is_never_acknowledged_and_a_notice_is(client: HubClient, hub: ContractHub, seen: Seen) -> None:
    """A later kind of delivery waits for a later client; everything around it goes on."""
    hub.outbox = [delivery(1), delivery(2, "recall"), delivery(3, "notice"), delivery(4, "delete")]
    assert numbers(client.deliveries(seen)) == [1, 2, 3, 4]
    assert hub.acknowledged == [delivery(n)["id"] for n in (1, 3, 4)]
    assert numbers(client.deliveries(seen)) == [2]


def test_a_limit_ends_the_feed(client: HubClient, hub: ContractHub, seen: Seen) -> None:
    """No more than asked for is taken out, and the rest stays for the next time."""
    hub.outbox = [delivery(n) for n in range(5)]
    assert numbers(client.deliveries(seen, limit=2)) == [0, 1]
    assert len(hub.handed_out) == len(hub.acknowledged) == 2


def test_a_wait_longer_than_the_hub_allows_is_asked_for_in_parts(
    client: HubClient, hub: ContractHub, seen: Seen
) -> None:
    """70 seconds are polls of 30, 30 and 10; the contract's hub returns at once."""
    assert numbers(client.deliveries(seen, wait_s=70)) == []
    assert hub.asked == ["/v1/deliveries"] * 3


def test_acknowledging_what_was_never_handed_out_is_told(client: HubClient) -> None:
    """The hub's problem reaches the caller with its status and code."""
    with pytest.raises(HubProblem) as refused:
        client.acknowledge([Delivery("0" * 32, 1, "data", "t", "p", {})])
    assert (refused.value.problem.status, refused.value.problem.code) == (404, "not-found")


def test_acknowledgements_may_name_the_fields_used_and_say_what_was_known(client: HubClient, hub: ContractHub) -> None:
    """An acknowledgement sent twice is harmless."""
    hub.outbox = [delivery(1), delivery(2)]
    page = client.pull().deliveries
    assert client.acknowledge(page[:1], fields_used={page[0].id: ["dob"]}).acknowledged == 1
    again = client.acknowledge(page)
    assert (again.acknowledged, again.already) == (1, 1)


def test_links_go_in_pages_and_every_answer_names_its_row(client: HubClient, hub: ContractHub) -> None:
    """501 links are two requests; the second one's answer is number 500 of the list."""
    answers = client.link([{"agency": "tax", "local_id": str(n), "mine": str(n), "level": 2} for n in range(501)])
    assert [answer["index"] for answer in answers] == list(range(501))
    assert len(hub.links) == 501


def test_a_person_is_not_asked_for_consent_twice_by_a_broken_line(client: HubClient, hub: ContractHub) -> None:
    """It is repeated when the hub took nothing, not when nobody knows whether it did."""
    hub.faults = ["503"]
    assert client.request_consent("p1", "KINDER-PLACE") == "cr-1"
    for fault, expected in (("cut", HubUnreachable), ("lost", HubProblem)):
        hub.asked, hub.faults = [], [fault]
        with pytest.raises(expected):
            client.request_consent("p1", "KINDER-PLACE", deadline="2026-12-01T00:00:00Z")
        assert hub.asked == ["/v1/consent-requests"]


def test_a_hub_that_is_not_there_is_told_in_plain_words() -> None:
    """After its attempts the client says that there is no connection and what to check."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with (
        HubClient(Settings(f"http://127.0.0.1:{free}", "lindum", backoff=QUICK), new_key()) as client,
        pytest.raises(HubUnreachable, match="no connection to the hub") as unreachable,
    ):
        client.pull()
    assert "proxy" in unreachable.value.remedy


@pytest.mark.parametrize("address", ["http://hub.example", "ftp://hub.example", "hub.example", "https://u@hub.example"])
def test_an_address_that_is_none_or_unsafe_is_refused(address: str) -> None:
    """Plain http is for this machine; payloads and tokens never travel in the clear."""
    with pytest.raises(AgencyError):
        Settings(address, "lindum")


def test_pauses_grow_up_to_a_cap_and_are_spread() -> None:
    """The first attempt is at once; each pause is drawn from 0 up to its bound."""

    backoff = Backoff(attempts=6, first_s=1.0, cap_s=5.0)
    assert list(backoff.pauses_s(max)) == [0.0, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert list(backoff.pauses_s(min)) == [0.0] * 6


def test_the_doctor_passes_a_healthy_agency(client: HubClient) -> None:
    """Six steps, each PASS, none with a remedy."""
    findings = examine(client)
    assert [finding.step for finding in findings] == ["clock", "TLS", "key", "token", "agreements", "round trip"]
    assert all(finding.passed and not finding.remedy for finding in findings)


def test_the_doctor_tells_a_clock_from_an_unregistered_key(client: HubClient, hub: ContractHub) -> None:
    """Every failed step has one remedy; a wrong clock does not make the key look unknown, nor the other way round."""
    hub.clock_ahead_s = 600
    late = {finding.step: finding for finding in examine(client, clock=lambda: system_clock() - 600_000_000)}
    assert not late["clock"].passed
    assert "s behind the hub's" in late["clock"].what
    assert late["key"].passed
    assert not late["token"].passed
    hub.clock_ahead_s = 0
    hub.keys.clear()
    unknown = {finding.step: finding for finding in examine(client)}
    assert unknown["clock"].passed
    assert not unknown["key"].passed
    assert all(finding.remedy for finding in (*late.values(), *unknown.values()) if not finding.passed)

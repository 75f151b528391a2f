"""The pages of what is shared and of who got what: stopping, sharing less, objecting; reasons, filters, the table."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import pytest

from hub.citizens.inbox import open_requests
from hub.citizens.offers import Asked
from hub.core.errors import HubError, Kind
from hub.web.portal.sharing import left_of
from tests.citizen_world import BIRTH, DAY_US
from tests.portal_world import Broken, PortalTown, Reader, pages_of, state_of, words_of

pytestmark = pytest.mark.engines

ARABIC = "\u0627"


@pytest.fixture
def town(tmp_path: Path) -> Iterator[PortalTown]:
    town = PortalTown(tmp_path)
    yield town
    town.store.close()


@pytest.fixture
def names(town: PortalTown) -> dict[str, str]:
    return town.settle()


@pytest.fixture
def reader(town: PortalTown, names: dict[str, str]) -> Reader:
    """The child's own browser, signed in."""
    reader = Reader(town.app())
    reader.sign_in("child")
    return reader


# What is shared, and its end.


def test_the_list_says_what_rests_on_what(reader: Reader) -> None:
    """Consents with their end, uses by law with their article and what one can do about them."""
    page = reader.say("/my/sharing")
    assert "Stop sharing" in page
    assert "Child Benefits Act 2024, article 7" in page
    assert "Object to Family allowance by Family Benefits Office" in page


def test_stopping_says_before_what_stops_and_what_does_not(
    town: PortalTown, reader: Reader, names: dict[str, str]
) -> None:
    """Computed from what else rests on another basis; afterwards nothing is ambiguous, however often it is sent."""
    path = f"/my/sharing/{names['running']}/stop"
    page = reader.say(path)
    assert "Nothing else of yours is passed on to Lindum Utilities." in page
    first = reader.send(path)
    assert (first.status_code, first.headers["location"]) == (303, f"/my/sharing/{names['running']}?done=withdraw")
    assert reader.send(path).status_code == 303
    after = reader.say(first.headers["location"])
    assert "You stopped this. Nothing more is passed on to Lindum Utilities." in after
    assert "has until" in after
    assert state_of(town, names["running"]) == "withdrawn"
    assert reader.get(path).headers["location"] == f"/my/sharing/{names['running']}"


def test_what_else_goes_to_the_same_recipient_is_named(town: PortalTown, reader: Reader, names: dict[str, str]) -> None:
    """A second consent for the same office goes on when the first is stopped."""
    town.granted(town.person("child"), names["asked"])
    other = town.ask("lindum", "child", "KINDER-START")
    town.granted(town.person("child"), other)
    page = reader.say(f"/my/sharing/{names['asked']}/stop")
    assert "Invitation to start kindergarten:" in page


def test_a_recipients_confirmation_stands_on_the_page(town: PortalTown, reader: Reader, names: dict[str, str]) -> None:
    """Confirmed; else until when it is due, and afterwards that it is late."""
    assert "Lindum Municipality has confirmed that it knows you stopped this." in reader.say(pages_of(names)["stopped"])
    reader.send(f"/my/sharing/{names['running']}/stop")
    assert "has until 4 December 2026 to confirm it" in reader.say(pages_of(names)["running"])
    town.now_us += 31 * DAY_US
    reader.sign_in("child")
    assert "should have confirmed it by 4 December 2026" in reader.say(pages_of(names)["running"])


def test_pausing_and_going_on(town: PortalTown, reader: Reader, names: dict[str, str]) -> None:
    """Each leads back to the consent, and a second pause from an old page says how it stands."""
    path = f"/my/sharing/{names['running']}"
    reader.sign_in("child", assurance=3)  # to go on is to say yes: no weaker than the first time
    assert reader.send(path, ("act", "pause")).headers["location"] == f"{path}?done=pause"
    assert "It is paused." in reader.say(f"{path}?done=pause")
    assert reader.send(path, ("act", "pause")).status_code == 409
    assert reader.send(path, ("act", "resume")).headers["location"] == f"{path}?done=resume"
    assert "It is paused." not in reader.say(f"{path}?done=pause")
    assert state_of(town, names["running"]) == "given"


def test_a_consent_that_was_made_to_last_longer_says_so_everywhere(
    town: PortalTown, reader: Reader, names: dict[str, str]
) -> None:
    """On its own page, in the history and on the receipt: none of them says that there is nothing to see."""
    (running,) = reader.get("/v1/me/consents").json()["consents"]
    path, until = f"/my/sharing/{names['running']}", str(datetime.fromisoformat(running["until"]) + timedelta(hours=1))
    town.now_us += 3_600_000_000
    reader.sign_in("child", assurance=3)
    assert reader.post(f"/v1/me/consents/{names['running']}/extend", {"until": until}).status_code == 200
    assert "It lasts longer now." in reader.say(f"{path}?done=extend")
    assert "You let sharing with Lindum Utilities last longer" in reader.say(path)
    assert "You let sharing with Lindum Utilities last longer" in reader.say("/my/history")
    assert "shows nothing of you" not in reader.say("/my/history")


def test_sharing_less(town: PortalTown, reader: Reader, names: dict[str, str]) -> None:
    """What is ticked goes; nothing ticked, or nothing left, is said on the page and changes nothing."""
    town.granted(town.person("child"), names["asked"])
    path = f"/my/sharing/{names['asked']}"
    month, place = "civil.birth.registered/dob_month", "pop.residence/municipality_code"
    none = reader.send(path, ("act", "narrow"))
    assert (none.status_code, "Tick at least one thing." in words_of(none.text)) == (422, True)
    everything = reader.send(path, ("act", "narrow"), ("item", month), ("item", place))
    assert (everything.status_code, "Without what is needed" in words_of(everything.text)) == (422, True)
    assert reader.send(path, ("act", "narrow"), ("item", month)).headers["location"] == f"{path}?done=narrow"
    page = reader.say(f"{path}?done=narrow")
    assert "It is less now." in page
    assert "From Civil Registry to Lindum Municipality" not in page


def test_a_needed_item_takes_its_dataset_along_and_an_optional_one_goes_alone(
    reader: Reader, town: PortalTown, names: dict[str, str]
) -> None:
    """Of two datasets, one loses an optional item and the other its needed one."""
    who = town.principal(town.person("child"))
    (asked,) = (one for one in open_requests(town.desk, who, "en") if one.consent == names["asked"])
    first, second = asked.offer.shares
    more = replace(first, items=(*first.items, Asked("names", "Names", required=False, special=False)))
    offer = replace(asked.offer, shares=(more, second))
    month, place = (first.dataset, "dob_month"), (second.dataset, "municipality_code")
    assert left_of(offer, [f"{first.dataset}/names"]) == [month, place]
    assert left_of(offer, [f"{first.dataset}/dob_month"]) == [place]
    assert left_of(offer, []) == [month, (first.dataset, "names"), place]


def test_an_objection_is_made_shown_and_taken_back(reader: Reader) -> None:
    """Only where the law leaves that right."""
    path = "/my/objections/family-benefits:FAM-ALLOW"
    assert reader.send(path, ("act", "object")).headers["location"] == f"{path}?done=object"
    assert "Your objection is recorded." in reader.say(f"{path}?done=object")
    assert "You objected" in reader.say("/my/sharing")
    assert reader.send(path, ("act", "take-back")).status_code == 303
    assert "You objected" not in reader.say("/my/sharing")
    assert reader.get("/my/objections/health-insurance:CHILD-COVER").status_code == 404


def test_a_stop_that_fails_says_that_nothing_has_changed(
    town: PortalTown, reader: Reader, names: dict[str, str]
) -> None:
    """By name: what can still go to whom, what to do, and a reference that the log knows too."""

    def down(*_: object, **__: object) -> None:
        raise HubError(Kind.UNAVAILABLE, "the store does not answer")

    object.__setattr__(town.desk, "store", Broken(town.store, down))
    answered = reader.send(f"/my/sharing/{names['running']}/stop")
    page = words_of(answered.text)
    assert answered.status_code == 503
    assert "We could not stop this sharing" in page
    assert "Nothing has changed: Lindum Utilities can still receive new address and date of the move." in page
    assert re.search(r"reference [0-9a-f]{8}", page)
    assert state_of(town, names["running"]) == "given"


# Who got what.


def test_the_history_shows_releases_and_refusals_with_their_reason_and_law(reader: Reader) -> None:
    """And what the person did; each with a reference."""
    page = reader.say("/my/history")
    assert "Lindum Municipality received: month of birth" in page
    assert "Lindum Municipality received nothing of: birth registered" in page
    assert "Reason: The person has withdrawn the consent." in page
    assert "Nothing is left" not in page  # it follows from that
    assert "Basis: Child Benefits Act 2024, article 7" in page
    assert "You stopped sharing with Lindum Municipality: Kindergarten place" in page


def test_what_holds_nothing_of_oneself_is_told_as_that(town: PortalTown, reader: Reader) -> None:
    """A parent in a child's event: who gets the child's part alone gets nothing of the parent's."""
    town.publish("civil-registry", "civil.birth.registered", "child", BIRTH | {"parent_ids": ["civil-registry/parent"]})
    reader.sign_in("parent")
    page = reader.say("/my/history")
    assert "Nothing of yours is in what Health Insurance Fund gets of: birth registered" in page
    assert "may fetch: From" not in page


def test_the_history_can_be_narrowed_to_a_recipient_and_an_outcome(reader: Reader) -> None:
    """What is not known as a filter filters nothing."""
    refused = reader.say("/my/history?recipient=lindum&kind=refusal")
    assert "received nothing of" in refused
    assert "Lindum Municipality received: month of birth" not in refused
    assert "Family Benefits Office may fetch" not in refused
    assert reader.say("/my/history?recipient=nobody&kind=x&after=-1") == reader.say("/my/history")


def test_older_entries_are_a_page_away(town: PortalTown, reader: Reader) -> None:
    """Each entry on exactly one of them."""
    for _ in range(55):
        town.birth()
    first = reader.get("/my/history").text
    older = re.search(r'href="(\?after=\d+)"', first)
    assert older
    second = reader.get(f"/my/history{older[1]}").text
    seen = [set(re.findall(r"Reference: (\d+)", page)) for page in (first, second)]
    assert seen[0]
    assert seen[1]
    assert not seen[0] & seen[1]


def test_the_whole_history_can_be_taken_away_as_a_table(reader: Reader) -> None:
    """Every entry, with what stands on the page, in the reader's language."""
    answered = reader.get("/my/history.csv")
    assert answered.headers["content-type"] == "text/csv; charset=utf-8"
    rows = answered.text.splitlines()
    assert rows[0].endswith('"When","What happened","Reason","Reference"')
    assert any("received nothing of: birth registered" in row for row in rows)
    reader.http.cookies.set("hub_language", "ar", domain="hub.example")
    assert ARABIC in reader.get("/my/history.csv").text


def test_a_receipt_can_be_read_and_taken_away(reader: Reader, names: dict[str, str]) -> None:
    """The file holds the very bytes that the citizens' API gives."""
    page = reader.say(f"/my/receipts/{names['receipt']}")
    assert "You stopped sharing with Lindum Municipality: Kindergarten place" in page
    assert "Birth registered, Lindum Municipality, 2 November 2026, 09:00" in page
    file = reader.get(f"/my/receipts/{names['receipt']}/file")
    assert file.content == reader.get(f"/v1/me/receipts/{names['receipt']}/jws").content
    said = orjson.loads(urlsafe_b64decode(file.text.split(".")[1] + "=="))
    assert (said["id"], said["action"]) == (names["receipt"], "withdraw")
    assert "attachment" in file.headers["content-disposition"]

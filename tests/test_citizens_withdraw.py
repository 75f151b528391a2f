"""The revocation barrier as its person and its recipient see it: real store, gate and hand-out."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import orjson
import pytest

from consent.receipt import receipt_from_bytes
from hub.citizens.choices import pause_it
from hub.citizens.receipts import own_receipt
from hub.citizens.withdraw import withdraw_it
from hub.core.errors import HubError
from hub.exchange.world import Limits
from hub.identity.people import unlink
from tests.citizen_world import DAY_US, S, Town

pytestmark = pytest.mark.engines

HELP_DATA = {"end_date": "2026-10-31", "reason_group": "redundancy", "insured_months": 40}


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, limits=Limits(redeliver_us=60 * S))
    yield town
    town.store.close()


@pytest.fixture
def child(town: Town) -> tuple[int, str]:
    """A child whose month of birth Lindum may have."""
    person = town.person("child", "lindum", "civil-registry", "family-benefits", "payments")
    consent = town.ask("lindum", "child", "KINDER-PLACE")
    town.granted(person, consent)
    return person, consent


def test_what_was_decided_before_a_withdrawal_does_not_leave_after_it(town: Town, child: tuple[int, str]) -> None:
    """Between gate and hand-out it is cancelled; instead the recipient gets a stop, and acknowledges it."""
    person, consent = child
    town.birth()
    town.now_us += 5 * S
    done = withdraw_it(town.desk, town.principal(person), consent)
    assert (done.state, done.receipt.opened_before, done.receipt.moment_us) == ("withdrawn", (), town.now_us)
    assert done.recipient in town.rung
    (stop,) = town.pull("lindum")
    assert (stop["kind"], stop["type"], stop["purpose"], stop["subject"]) == (
        "stop", "hub.stop", "KINDER-PLACE", "lindum/child",
    )  # fmt: skip
    assert stop["data"] == {"consent": "withdrawn", "purpose": "KINDER-PLACE", "since_us": town.now_us}
    assert town.acknowledge("lindum", [stop]) == 1
    assert (town.pull("lindum"), town.queued("lindum")) == ([], [])


def test_a_recipient_that_knows_nobody_is_told_by_its_pseudonym(town: Town) -> None:
    """The stop names the person as their deliveries did."""
    person = town.person("worker", "social-fund", "employment-service")
    consent = town.ask("social-fund", "worker", "EARLY-HELP")
    town.granted(person, consent)
    unlink(town.register, agency="social-fund", local_id="social-fund/worker")
    town.publish("employment-service", "emp.contract", "worker", HELP_DATA)
    (delivery,) = town.pull("social-fund")
    withdraw_it(town.desk, town.principal(person), consent)
    (stop,) = town.pull("social-fund")
    assert stop["subject"] == delivery["subject"]
    assert stop["subject"].startswith("p1.")


def test_the_receipt_names_exactly_what_was_opened_under_the_stretch(town: Town, child: tuple[int, str]) -> None:
    """Not what another recipient got, not what only lay ready, not what an earlier stretch let go."""
    person, consent = child
    town.birth()
    (first,) = town.pull("lindum")
    withdraw_it(town.desk, town.principal(person), consent)
    (stop,) = town.pull("lindum")
    town.acknowledge("lindum", [first, stop])
    again = town.ask("lindum", "child", "KINDER-PLACE")
    town.granted(person, again)
    town.birth()
    town.now_us += S
    opened = [town.pull("lindum")[0], town.pull("family-benefits")[0]]
    opened_us = town.now_us
    town.birth()
    receipt = withdraw_it(town.desk, town.principal(person), again).receipt
    named = [(one.recipient, one.dataset, one.delivery, one.number, one.opened_us) for one in receipt.opened_before]
    mine = opened[0]
    assert named == [("lindum", "civil.birth.registered", mine["id"], mine["number"], opened_us)]


def test_another_purpose_of_the_same_recipient_is_another_matter(town: Town) -> None:
    """Two consents to Lindum, both in their first stretch: each receipt names its own deliveries."""
    person = town.person("child", "lindum", "civil-registry", born=date(2023, 10, 20))
    place, start = (town.ask("lindum", "child", purpose) for purpose in ("KINDER-PLACE", "KINDER-START"))
    town.granted(person, place)
    town.granted(person, start)
    town.birth()
    town.publish("civil-registry", "child.turned_3", "child", {"turned_on": "2026-10-20"})
    opened = {one["purpose"]: one["id"] for one in town.pull("lindum")}
    receipt = withdraw_it(town.desk, town.principal(person), start).receipt
    assert [one.delivery for one in receipt.opened_before] == [opened["KINDER-START"]]
    assert len(opened) == 2


def test_what_was_stopped_before_it_was_acknowledged_is_named_as_what_it_was(
    town: Town, child: tuple[int, str]
) -> None:
    """After a pause it came up again and was stopped under its number; the receipt names the delivery, not the stop."""
    person, consent = child
    town.birth()
    (delivery,) = town.pull("lindum")
    pause_it(town.desk, town.principal(person), consent)
    town.now_us += 61 * S
    assert town.pull("lindum") == []  # decided again, and cancelled
    (stop,) = town.pull("lindum")
    assert (stop["kind"], stop["number"]) == ("stop", delivery["number"])
    receipt = withdraw_it(town.desk, town.principal(person), consent).receipt
    assert [one.delivery for one in receipt.opened_before] == [delivery["id"]]


def test_a_second_withdrawal_gives_the_first_receipt(town: Town, child: tuple[int, str]) -> None:
    """Byte for byte, whenever it is asked for, and it does nothing again."""
    person, consent = child
    town.birth()
    town.pull("lindum")
    who = town.principal(person)
    first = withdraw_it(town.desk, who, consent)
    audits = town.rows("SELECT count(*) FROM audit")
    town.now_us += 400 * DAY_US
    second = withdraw_it(town.desk, who, consent)
    assert second == first
    assert len(first.receipt.opened_before) == 1
    assert town.rows("SELECT count(*) FROM audit") == audits
    kept = own_receipt(town.desk, who, first.receipt.id)
    assert (kept, receipt_from_bytes(kept)) == (first.receipt.canonical, first.receipt)


def test_what_was_never_given_or_is_over_cannot_be_withdrawn(town: Town, child: tuple[int, str]) -> None:
    """A question that is open, and a consent that has expired by itself."""
    person, consent = child
    who = town.principal(person)
    town.person("parent", "lindum")
    with pytest.raises(HubError) as refused:
        withdraw_it(town.desk, town.principal(town.person("parent")), town.ask("lindum", "parent", "KINDER-PLACE"))
    assert refused.value.code == "consent-illegal-transition"
    town.now_us += 3_000 * DAY_US
    with pytest.raises(HubError) as refused:
        withdraw_it(town.desk, who, consent)
    assert refused.value.code == "consent-illegal-transition"


def test_a_receipt_lies_sealed_and_is_its_persons_own(town: Town, child: tuple[int, str]) -> None:
    """The store's row tells nothing without the person's key, and nobody else is given it."""
    person, consent = child
    receipt = withdraw_it(town.desk, town.principal(person), consent).receipt
    ((sealed,),) = town.rows("SELECT sealed FROM receipt WHERE id = ?", (receipt.id,))
    assert consent.encode() not in sealed
    other = town.principal(town.person("other", "lindum"))
    with pytest.raises(HubError) as refused:
        own_receipt(town.desk, other, receipt.id)
    assert refused.value.code == "entry-unknown"
    assert orjson.loads(own_receipt(town.desk, town.principal(person), receipt.id))["record"] == consent

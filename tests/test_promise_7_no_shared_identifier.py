"""Promise 7: no identifier is shared between agencies.

Persons, events and deliveries are named per recipient; `person_ref` and `identifier` inside payloads are rewritten
pairwise or left out. Timing and free content are outside this promise. The join of everything that agencies got is in
test_no_shared_identifier.py; here is what it rests on.
"""

from pathlib import Path

import pytest

from hub.core.minimise import rewrite
from hub.identity.keys import keyring
from hub.identity.pseudonyms import alias, pseudonym
from hub.store.deliveries import public_id
from tests.protocol_world import opened, shipped

pytestmark = pytest.mark.engines(whole=True)

KEYS = keyring(b"r" * 32)
PERSON = 1234567890123


def test_a_person_has_another_name_at_each_agency() -> None:
    """The same each time, and none leads to another."""
    names = [pseudonym(KEYS.pseudonym, code, PERSON) for code in shipped()[0].agencies]
    assert len(set(names)) == len(names)
    assert names == [pseudonym(KEYS.pseudonym, code, PERSON) for code in shipped()[0].agencies]
    assert not any(str(PERSON) in name for name in names)


def test_an_identifier_has_another_alias_at_each_agency_and_in_each_field() -> None:
    """What two agencies hold of one passport cannot be matched."""
    aliases = {
        alias(KEYS.pseudonym, code, field, "S99942380")
        for code in shipped()[0].agencies
        for field in ("passport", "driving_licence")
    }
    assert len(aliases) == 2 * len(shipped()[0].agencies)


def test_an_event_has_another_delivery_id_at_each_recipient() -> None:
    """Ids of one event's deliveries have nothing in common."""
    ids = {public_id(KEYS.delivery, b"e" * 16, subscription) for subscription in range(100)}
    assert len(ids) == 100


def test_what_names_nobody_the_recipient_may_know_is_left_out() -> None:
    """A reference without a name, and an identifier without an alias, do not travel."""
    dataset = shipped()[0].datasets["pop.person"]
    data = {"person_id": "P-1", "passport": "S99942380", "municipality": "Lindum"}
    assert rewrite(dataset, data, lambda role, local_id: None) == {"municipality": "Lindum"}


def test_a_recipient_sees_its_own_name_and_not_the_publishers(tmp_path: Path) -> None:
    """Where it is linked its own id, else a pseudonym; never what the publisher calls the person."""
    with opened(tmp_path) as hub:
        hub.grant(hub.link("A-of-the-register"))
        hub.publish("1", "A-of-the-register")
        hub.decide()
        (event,) = hub.drain()[0]
    assert event["subject"].startswith("p1.")
    assert "A-of-the-register" not in str(event)

"""An agency's key that leaked, or has a successor, is ended by the operator and signs nobody in from then on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import OKPKey

from agency_adapters.channel import Settings as Line
from agency_adapters.client import HubClient
from agency_adapters.errors import HubProblem
from agency_adapters.keys import new_key, public_jwk
from hub.core.errors import HubError
from hub.identity.agency_keys import KEYS_PER_AGENCY
from tests.world import ONCE, Town, town


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Town]:
    with town(tmp_path) as one:
        yield one


def signs_in(place: Town, key: OKPKey) -> bool:
    """Say whether the key gets a token; where not, the answer is the one that an unknown key gets."""
    with HubClient(Line(place.url, "tax", backoff=ONCE), key) as client:
        try:
            client.channel.access_token()
        except HubProblem as refused:
            if refused.problem.code != "assertion-unverified":
                raise
            return False
        return True


def test_an_ended_key_signs_nobody_in_and_its_successor_does(place: Town) -> None:
    """From the moment the operator is answered; an ended key is like one that never was."""
    old, new = new_key(), new_key()
    for key in (old, new):
        place.hub.add_agency_key("tax", public_jwk(key))
    assert signs_in(place, old)
    place.hub.end_agency_key("tax", public_jwk(old)["kid"])
    assert (signs_in(place, old), signs_in(place, new)) == (False, True)


def test_an_ended_key_stays_ended_after_a_restart(tmp_path: Path) -> None:
    """It is written down before the operator is answered."""
    key = new_key()
    with town(tmp_path) as place:
        place.hub.add_agency_key("tax", public_jwk(key))
        place.hub.end_agency_key("tax", public_jwk(key)["kid"])
    with town(tmp_path) as place:
        assert not signs_in(place, key)


def test_a_key_that_there_is_not_is_answered_with_those_that_there_are(place: Town) -> None:
    """A kid with a typo ends nothing, neither does one of another agency, nor an ended one again."""
    key = new_key()
    kid = public_jwk(key)["kid"]
    place.hub.add_agency_key("tax", public_jwk(key))
    for agency, named in (("tax", kid + "x"), ("lindum", kid)):
        with pytest.raises(HubError) as refused:
            place.hub.end_agency_key(agency, named)
        assert refused.value.code == "key-unknown"
        assert (kid in refused.value.remedy) == (agency == "tax")
    assert signs_in(place, key)
    place.hub.end_agency_key("tax", kid)
    with pytest.raises(HubError):
        place.hub.end_agency_key("tax", kid)


def test_ended_keys_make_room_before_those_that_count(place: Town) -> None:
    """An agency that ended all its newer keys still signs in with its first, when one more comes."""
    first = new_key()
    place.hub.add_agency_key("tax", public_jwk(first))
    for _ in range(KEYS_PER_AGENCY - 1):
        kid = place.hub.add_agency_key("tax", public_jwk(new_key()))["kid"]
        place.hub.end_agency_key("tax", kid)
    place.hub.add_agency_key("tax", public_jwk(new_key()))
    assert signs_in(place, first)

"""The hub's own key for access tokens rotates: nobody notices, and the former key goes when its tokens are over."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from hub.app import Hub, build
from hub.identity.token_keys import KEPT_S, TOKEN_LIFE_S
from hub.logs import open_log
from hub.settings import Settings
from hub.web.apps import admin_app, public_app
from tests.doors import client_of

S = 1_000_000
NOW_US = 1_800_000_000 * S


@dataclass
class House:
    """A hub with both its doors, and a clock that the test moves."""

    hub: Hub
    now: list[int]

    def token(self) -> str:
        return self.hub.agency_tokens.issue("tax", "").token

    def call(self, token: str) -> int:
        answer = client_of(public_app(self.hub)).get("/v1/agency", headers={"authorization": f"Bearer {token}"})
        return answer.status_code

    def rotate(self) -> httpx.Response:
        return client_of(admin_app(self.hub)).post("/token-keys")

    def listed(self) -> list[str]:
        return [key["kid"] for key in client_of(public_app(self.hub)).get("/.well-known/jwks.json").json()["keys"]]


@contextmanager
def opened(directory: Path, now: list[int]) -> Iterator[House]:
    with Path("/dev/null").open("w") as nowhere:
        log = open_log(clock=lambda: now[0], stream=nowhere)
        settings = Settings(mode="development", data_dir=directory, synchronous="OFF")
        hub = build(settings, clock=lambda: now[0], log=log)
        try:
            yield House(hub, now)
        finally:
            hub.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path, [NOW_US]) as one:
        yield one


def kid_of(token: str) -> str:
    head = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


def test_a_token_from_before_a_rotation_is_good_until_it_expires(house: House) -> None:
    """Also where the hub has not met it before: the former key verifies as long as a token that it signed lasts."""
    tokens = [house.token(), house.token()]
    house.now[0] += S
    assert house.rotate().status_code == 200
    assert house.call(tokens[0]) == 200
    house.now[0] = NOW_US + TOKEN_LIFE_S * S - 1
    assert [house.call(token) for token in tokens] == [200, 200]
    house.now[0] += 1
    assert [house.call(token) for token in tokens] == [401, 401]


def test_new_tokens_carry_the_new_kid_and_are_good(house: House) -> None:
    """The answer to the operator names the key that signs from now on."""
    before = kid_of(house.token())
    rotated = house.rotate().json()
    token = house.token()
    assert rotated == {"kid": kid_of(token), "former": before, "kept_s": KEPT_S}
    assert kid_of(token) != before
    assert house.call(token) == 200


def test_the_published_set_lists_the_key_before_it_signs_and_the_former_one_while_it_counts(house: House) -> None:
    """Whoever keeps the set for five minutes never meets a token whose key is not in it."""
    first, second = house.listed()
    assert kid_of(house.token()) == first
    house.rotate()
    assert kid_of(house.token()) == second
    signing, following, former = house.listed()
    assert (signing, former) == (second, first)
    house.now[0] += KEPT_S * S
    assert house.listed() == [second, following]


def test_a_key_that_is_no_longer_listed_is_refused(house: House) -> None:
    """A token that its former key signed, however long it would last."""
    former, tokens = house.hub.agency_tokens.keys_at(house.now[0]), house.hub.agency_tokens
    house.rotate()
    house.now[0] += KEPT_S * S
    stolen = replace(tokens, keys_at=lambda _now_us: former).issue("tax", "").token
    assert former.signing.thumbprint() not in house.listed()
    assert (house.call(house.token()), house.call(stolen)) == (200, 401)


def test_a_rotation_survives_a_restart(tmp_path: Path) -> None:
    """The number is in the store: the same key signs, the former one counts for what is left of its time, then goes."""
    now = [NOW_US]
    with opened(tmp_path, now) as house:
        old = house.token()
        house.rotate()
        listed, new = house.listed(), house.token()
    with opened(tmp_path, now) as house:
        assert house.listed() == listed
        assert kid_of(house.token()) == listed[0]
        assert (house.call(old), house.call(new)) == (200, 200)
        now[0] += KEPT_S * S
        assert house.listed() == listed[:2]


def test_a_second_rotation_waits_until_the_former_key_is_gone(house: House) -> None:
    """Else the tokens of the one before would be locked out; the operator is told how long to wait."""
    house.rotate()
    listed = house.listed()
    again = house.rotate()
    assert (again.status_code, again.json()["type"].rpartition("/")[2]) == (409, "token-key-fresh")
    assert str(KEPT_S) in again.json()["remedy"]
    assert house.listed() == listed
    house.now[0] += KEPT_S * S
    assert house.rotate().status_code == 200


def test_a_clock_that_was_set_back_keeps_nobody_from_rotating(house: House) -> None:
    """The last rotation then lies ahead; its keys go on, and the next ones come."""
    house.rotate()
    house.now[0] -= 86_400 * S
    assert house.call(house.token()) == 200
    assert house.rotate().status_code == 200

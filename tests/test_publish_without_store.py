"""The main database is down: agencies sign in and publish all the same, on Kafka, and the gate decides it later."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import httpx
import pytest
from cryptography.exceptions import InvalidTag
from joserfc import jwk

from hub.app import Hub, build
from hub.bus.kafka_access import access_of
from hub.bus.kafka_plan import wanted_of
from hub.bus.kafka_topics import carry_out, plan_now
from hub.core.errors import HubError, Kind
from hub.exchange.gate import Gate
from hub.exchange.intake import open_record
from hub.identity.day_keys import LOCAL, US_PER_DAY, DayKeys
from hub.identity.people import NewLink, link
from hub.identity.token_keys import TOKEN_LIFE_S
from hub.ports import Record
from hub.settings import Settings
from hub.web.apps import public_app
from hub.web.sign_in import ASSERTION_TYPE
from tests.agency_world import sign
from tests.doors import client_of
from tests.engines import needs_kafka, topic_prefix
from tests.world import birth

S = 1_000_000
START_US = 1_800_000_000 * S  # 08:00:00 UTC
WAIT_S = 10.0


@dataclass
class House:
    """A hub on Kafka whose threads do not run, one agency with its key, and a store that can be taken away."""

    hub: Hub
    private: jwk.Key
    monkeypatch: pytest.MonkeyPatch
    now: list[int]

    def lose_store(self) -> None:
        def gone(*_: object, **__: object) -> None:
            raise HubError(Kind.UNAVAILABLE, "the store is away", code="store-unavailable")

        for name in ("read", "write", "submit"):
            self.monkeypatch.setattr(self.hub.store, name, gone)

    def bring_back(self) -> None:
        self.monkeypatch.undo()

    def pass_s(self, seconds: int) -> None:
        self.now[0] += seconds * S

    def sign_in(self) -> str:
        at = self.now[0] // S
        claims = {
            "iss": "civil-registry",
            "sub": "civil-registry",
            "aud": self.hub.settings.issuer,
            "iat": at,
            "exp": at + 60,
            "jti": secrets.token_hex(8),
        }
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": sign(claims, self.private),
        }
        answer = client_of(public_app(self.hub)).post("/oauth/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def publish(self, token: str, event_id: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/cloudevents+json"}
        event = birth(event_id) | {"time": "2027-01-15T07:00:00Z"}
        return client_of(public_app(self.hub)).post("/v1/events", json=event, headers=headers)

    def decided(self) -> int:
        with self.hub.store.read() as tx:
            return int(tx.rows("SELECT count(*) FROM event_seen")[0][0])


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    settings = Settings(
        mode="development", data_dir=tmp_path, synchronous="OFF", bus="kafka",
        kafka_bootstrap=(needs_kafka().address,), kafka_security="PLAINTEXT", kafka_topic_prefix=topic_prefix(),
        kafka_partitions=1, kafka_replication=1, kafka_min_insync=1,
    )  # fmt: skip
    now = [START_US]
    hub = build(settings, clock=lambda: now[0])
    try:
        wanted = wanted_of(settings, hub.approved())
        carry_out(access_of(settings), wanted, plan_now(access_of(settings), wanted).document()["digest"])
        private = jwk.OKPKey.generate_key("Ed25519")
        hub.add_agency_key("civil-registry", {**private.as_dict(private=False), "kid": "k1"})
        link(hub.register, "population-register", [NewLink("civil-registry", "C-1", "R-1", 2)])
        yield House(hub, private, monkeypatch, now)
    finally:
        monkeypatch.undo()
        hub.close()


def test_publishing_goes_on_without_the_store_for_longer_than_a_token_lives(house: House) -> None:
    """A new token is given, each event is answered 202 and lies on Kafka; when the store is back the gate decides."""
    hub = house.hub
    hub.day_keys.prepare([one.number for one in hub.approved().agencies.values()], hub.clock())
    first = house.sign_in()
    assert house.publish(first, "before").status_code == 202
    house.lose_store()
    assert house.publish(first, "during").status_code == 202
    house.pass_s(2 * TOKEN_LIFE_S)
    assert house.publish(first, "expired").json()["type"].endswith("token-expired")
    second = house.sign_in()
    assert house.publish(second, "after").status_code == 202
    name = "in.civil-registry." + birth("x")["type"]
    assert sum(hub.bus.ends(name).values()) == 3
    with pytest.raises(HubError):
        Gate(hub.world).step(2.0)
    house.bring_back()
    gate = Gate(hub.world)
    for _ in range(20):
        gate.step(1.0)
        if house.decided() == 3:
            break
    assert house.decided() == 3


def test_the_day_after_tomorrow_it_says_what_is_missing(house: House) -> None:
    """Tomorrow's key is there beforehand; after that 503 with the reason, until the store is back."""
    hub = house.hub
    assert house.publish(house.sign_in(), "today").status_code == 202
    house.lose_store()
    house.pass_s(86_400)
    assert house.publish(house.sign_in(), "tomorrow").status_code == 202
    house.pass_s(86_400)
    answer = house.publish(house.sign_in(), "later")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (503, "day-key-missing")
    assert int(answer.headers["retry-after"]) > 0
    house.bring_back()
    assert house.publish(house.sign_in(), "later").status_code == 202
    assert hub.bus.backlog() == 3


def test_a_publisher_that_was_silent_for_days_has_its_key_too(house: House) -> None:
    """The retention worker makes today's and tomorrow's for all who may publish, each day."""
    sweep(house.hub)
    house.pass_s(86_400)
    sweep(house.hub)
    house.lose_store()
    house.pass_s(86_400)
    assert house.publish(house.sign_in(), "first").status_code == 202


def test_day_keys_outlive_the_process_in_the_local_store(house: House) -> None:
    """Wrapped as the store has them, and of no use without the wrapping key."""
    hub = house.hub
    number = hub.approved().agencies["civil-registry"].number
    day, _ = hub.day_keys.for_publish(number, hub.clock())
    house.lose_store()
    anew = DayKeys(hub.store, hub.keys, hub.local_store)
    assert anew.for_publish(number, hub.clock())[0] == day
    kept = hub.local_store.get(f"{LOCAL}{number}/{day}")
    assert kept is not None
    with pytest.raises(InvalidTag):
        hub.keys.wrapping.unseal(kept, b"another place")


def test_what_a_restored_store_has_forgotten_is_still_read_from_the_bus(house: House) -> None:
    """Its backup is older than the day's key; the bus was not restored with it, and the next key is the same."""
    hub = house.hub
    number = hub.approved().agencies["civil-registry"].number
    house.publish(house.sign_in(), "before")
    (polled,) = hub.bus.poll(10, WAIT_S).records
    hub.store.write(lambda tx: tx.run("DELETE FROM day_key"))
    anew = DayKeys(hub.store, hub.keys, hub.local_store)
    assert readable(polled.record, number, anew)
    anew.for_publish(number, hub.clock())
    assert readable(polled.record, number, DayKeys(hub.store, hub.keys))


def test_a_day_key_that_is_destroyed_is_gone_from_the_local_store(house: House) -> None:
    """Also for a hub that starts afterwards, and from the bytes of the file."""
    hub = house.hub
    number = hub.approved().agencies["civil-registry"].number
    day, _ = hub.day_keys.for_publish(number, hub.clock())
    kept = hub.local_store.get(f"{LOCAL}{number}/{day}")
    hub.day_keys.destroy_before(day + 1)
    anew = DayKeys(hub.store, hub.keys, hub.local_store)
    assert anew.of(number, day) is None
    assert [int(name.rpartition("/")[2]) for name in hub.local_store.names(LOCAL)] == [day + 1]
    assert kept is not None
    files = [path.read_bytes() for path in hub.settings.data_dir.glob("edge.sqlite*")]
    assert files
    assert not any(kept in content for content in files)
    assert day == hub.clock() // US_PER_DAY


def sweep(hub: Hub) -> None:
    """Let the retention worker make one round."""
    hub.threads.retention._step(Event())


def readable(record: Record, number: int, keys: DayKeys) -> bool:
    return open_record(record, lambda _, day: keys.of(number, day)) is not None

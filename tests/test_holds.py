"""A held delivery has a key of its own, destroyed with the hold: what nobody said yes to in time stays shut."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from hub.citizens.choices import pause_it, say_no
from hub.citizens.withdraw import withdraw_it
from hub.exchange.expiry import expire_held
from hub.exchange.publish import Accepted, publish
from hub.exchange.world import Limits
from hub.identity.keys import secrets_of, unseal, unwrap_person
from hub.identity.people import NewLink, link, local_of, unlink
from hub.store.deliveries import unpack_parts
from hub.store.sqlite import SqliteStore
from tests.citizen_world import DAY_US, S, Town
from tests.stateful_world import Exchange

pytestmark = pytest.mark.engines

HELP = ("social-fund", "worker", "EARLY-HELP")
CONTRACT = {"end_date": "2026-10-31", "reason_group": "redundancy", "insured_months": 40}
LOOK_BACK_US = 30 * DAY_US


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, limits=Limits(redeliver_us=60 * S))
    yield town
    town.store.close()


@pytest.fixture
def worker(town: Town) -> int:
    """Return a person of whom one event is held, and another's of whom nothing is."""
    person = town.person("worker", "social-fund", "employment-service")
    contract(town)
    assert town.queued("social-fund") == [2]
    return person


def contract(town: Town) -> None:
    town.publish("employment-service", "emp.contract", "worker", CONTRACT)


def keys_left(town: Town) -> list[bytes]:
    """Return every key that can be had of the root and the database: derived, wrapped, and sealed for a person."""
    derived = list(secrets_of(town.keys).values())
    wrapping = town.keys.wrapping
    persons = [
        unwrap_person(wrapping, person, key)
        for person, key in town.rows("SELECT id, key FROM person WHERE key IS NOT NULL")
    ]
    days = [
        wrapping.unseal(key, b"day" + agency.to_bytes(4) + day.to_bytes(4))
        for agency, day, key in town.rows("SELECT agency, day, key FROM day_key WHERE key IS NOT NULL")
    ]
    rows = town.rows("SELECT h.part, h.sealed, d.public FROM hold_key h JOIN delivery d ON d.id = h.delivery")
    own = [
        plain
        for part, sealed, public in rows
        for key in persons
        if (plain := opened(key, sealed, b"hold" + public + part.to_bytes(4))) is not None
    ]
    return derived + persons + days + own


def opened(key: bytes, sealed: bytes, bound: bytes) -> bytes | None:
    try:
        return unseal(key, sealed, bound)
    except InvalidTag:
        return None


def readable(town: Town) -> int:
    """Count the parts of payloads of data in the database that some key which is left opens."""
    keys, found = keys_left(town), 0
    for public, packed, payload in town.rows("SELECT public, parts, payload FROM delivery WHERE kind = 1"):
        at = 0
        for part in unpack_parts(packed):
            size = abs(part.sealed_bytes)
            found += any(opened(key, payload[at : at + size], public) is not None for key in keys)
            at += size
    return found


def hold_keys(town: Town) -> int:
    return int(town.rows("SELECT count(*) FROM hold_key")[0][0])


@pytest.mark.embedded_only  # reads the file; PostgreSQL keeps old rows until VACUUM
def test_when_a_hold_is_over_no_key_that_is_left_opens_what_was_held(town: Town, worker: int) -> None:
    """The payload stays where it was written and is of no use to anybody, whatever else they hold."""
    assert readable(town) == 1
    (sealed,) = town.rows("SELECT sealed FROM hold_key")[0]
    town.now_us += LOOK_BACK_US
    assert expire_held(town.world) == 1
    assert town.rows("SELECT count(*) FROM delivery WHERE length(payload) > 0") == [(1,)]
    assert (readable(town), hold_keys(town)) == (0, 0)
    assert isinstance(town.store, SqliteStore)
    connection = town.store.connect()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert sealed not in town.store.path.read_bytes()  # deleted is overwritten here, not only unlinked


def test_the_persons_key_alone_does_not_open_what_is_held(town: Town, worker: int) -> None:
    """Else the own key would protect nothing."""
    (key,) = town.rows("SELECT key FROM person WHERE id = ?", (worker,))[0]
    public, payload = town.rows("SELECT public, payload FROM delivery")[0]
    assert opened(unwrap_person(town.keys.wrapping, worker, key), payload, public) is None


def test_what_a_yes_released_keeps_its_key_and_comes_again(town: Town, worker: int) -> None:
    """Held, let go, pulled, and pulled again unacknowledged: the same data each time."""
    town.granted(worker, town.ask(*HELP))
    (first,) = town.pull("social-fund")
    town.now_us += 61 * S
    (again,) = town.pull("social-fund")
    assert first == again
    assert first["data"]["insured_months"] == 40
    assert town.acknowledge("social-fund", [again]) == 1
    town.now_us += LOOK_BACK_US
    assert expire_held(town.world) == 0
    assert hold_keys(town) == 1


def test_a_release_has_no_key_of_its_own(town: Town) -> None:
    """The many that go at once are sealed for their person as ever, and cost no row."""
    person = town.person("worker", "social-fund", "employment-service")
    town.granted(person, town.ask(*HELP))
    contract(town)
    assert (town.queued("social-fund"), hold_keys(town), readable(town)) == ([1], 0, 1)


def test_what_was_let_go_and_is_held_again_is_destroyed_with_the_hold(town: Town, worker: int) -> None:
    """Held, opened under a yes, paused before it was acknowledged: what the recipient may have stays, this does not."""
    consent = town.ask(*HELP)
    town.granted(worker, consent)
    assert len(town.pull("social-fund")) == 1
    pause_it(town.desk, town.principal(worker), consent)
    town.now_us += 61 * S
    assert town.pull("social-fund") == []
    assert town.queued("social-fund") == [2]
    town.now_us += LOOK_BACK_US
    assert expire_held(town.world) == 1
    assert (readable(town), hold_keys(town)) == (0, 0)


def test_a_refusal_at_the_hand_out_destroys_the_key_of_what_was_held(town: Town, worker: int) -> None:
    """Let go by a yes that was taken back, and then an explicit no: the delivery is cancelled, and nobody needs it."""
    consent = town.ask(*HELP)
    town.granted(worker, consent)
    withdraw_it(town.desk, town.principal(worker), consent)
    say_no(town.desk, town.principal(worker), town.ask(*HELP))
    assert [one["kind"] for one in town.pull("social-fund")] == ["stop"]
    town.pull("social-fund")  # the first met a question that the policy had not been asked yet
    assert (town.queued("social-fund"), readable(town), hold_keys(town)) == ([3], 0, 0)


def test_an_unlink_destroys_the_key_of_what_rested_on_the_link(town: Town, worker: int) -> None:
    """What is taken off the queues with a link will never go."""
    unlink(town.register, agency="employment-service", local_id="employment-service/worker")
    assert (town.queued("social-fund"), readable(town), hold_keys(town)) == ([], 0, 0)


def test_an_unlink_of_somebody_else_destroys_nothing(town: Town, worker: int) -> None:
    """Only what is cancelled loses its key."""
    town.person("other", "employment-service")
    unlink(town.register, agency="employment-service", local_id="employment-service/other")
    assert readable(town) == 1


def test_erasure_shuts_what_is_held(town: Town, worker: int) -> None:
    """The own key is sealed for the person: where theirs is gone, so is this one."""
    town.store.write(lambda tx: tx.run("UPDATE person SET erased_us = 1, key = NULL WHERE id = ?", (worker,)))
    assert (readable(town), hold_keys(town)) == (0, 1)
    town.now_us += LOOK_BACK_US
    expire_held(town.world)
    assert hold_keys(town) == 0


def test_an_event_that_meets_a_defect_after_it_was_held_for_one_leaves_no_key_behind(tmp_path: Path) -> None:
    """Its rows are taken back, its keys among them: the next event of the batch gets its own, and opens with it."""
    exchange = Exchange(tmp_path)
    for person in ("1", "2"):
        for agency in ("clinic", "fund", "tax"):
            link(exchange.register, "linker", [NewLink(agency, f"{agency}-{person}", f"linker-{person}", 3)])
    spoilt = local_of(exchange.keys, "tax", "tax-1")
    exchange.store.write(
        lambda tx: tx.run(
            f"UPDATE link SET sealed = x'{'00' * 40}' WHERE local = ?",
            (spoilt,),
        )
    )
    for person in ("1", "2"):
        data = {"patient_id": f"clinic-{person}", "serial": person, "detail": "d", "number": f"N-{person}"}
        envelope = {
            "specversion": "1.0", "id": f"e{person}", "source": "urn:agency:clinic", "type": "care",
            "subject": f"clinic-{person}", "time": "2027-01-15T00:00:00Z", "data": data,
        }  # fmt: skip
        (outcome,) = publish(exchange.publishing, "clinic", [envelope])
        assert isinstance(outcome, Accepted), outcome
    exchange.gate.step(0.0)
    counts = exchange.gate.finish()
    assert counts is not None
    assert counts.poisoned == 1
    held = exchange.rows("SELECT delivery FROM queue WHERE state = 2")
    assert exchange.rows("SELECT delivery FROM hold_key") == held
    exchange.store.close()

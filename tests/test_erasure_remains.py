"""Erase, then search: the files, every sealed value and every key that is left hold nothing readable of them."""

import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from threading import Event, Semaphore

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.exchange.erase_rest import finish_erasures
from hub.failpoints import arm, disarm
from hub.identity.keys import open_key, secrets_of, unwrap_person
from hub.identity.people import NewLink, dispute, link
from tests.canaries import Canary, Index
from tests.interleaving import Doing
from tests.protocol_world import CONSENT, LINKER, LOOK_BACK, Hub, opened
from tests.racing import Rival

pytestmark = pytest.mark.engines

PLACES = (  # table, sealed column: everything in the store that is sealed for a person or waits for one
    ("person", "born"), ("link", "sealed"), ("consent_event", "sealed"), ("receipt", "sealed"), ("waiting", "sealed"),
    ("audit", "detail"), ("delivery", "payload"), ("hold_key", "sealed"), ("person", "key"), ("waiting_key", "key"),
)  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path / "house") as one:
        yield one
        disarm()


def lived(hub: Hub, local_id: str, municipality: str = "M-7") -> int:
    """Let a person leave something in every place: names, consents, receipts, deliveries held and opened, an event."""
    person = hub.link(local_id)
    link(hub.register, LINKER, [NewLink(LOOK_BACK.publisher, local_id, f"R-{local_id}", 3, date(2023, 5, 1))])
    consent = hub.grant(person)
    held = hub.grant(person, LOOK_BACK)
    hub.pause(person, held)
    hub.publish(f"{local_id}-held", local_id, LOOK_BACK)
    hub.publish(f"{local_id}-1", local_id, municipality_code=municipality)
    hub.decide()
    hub.acknowledge(hub.pull())
    hub.withdraw(person, consent)
    dispute(hub.register, agency=CONSENT.publisher, local_id=local_id)
    hub.publish(f"{local_id}-waits", local_id, municipality_code=municipality)
    hub.decide()
    return person


def sealed_values(hub: Hub) -> Iterator[tuple[str, bytes]]:
    for table, column in PLACES:
        for (value,) in hub.rows(f"SELECT {column} FROM {table} WHERE length({column}) > 28"):
            yield f"{table}.{column}", bytes(value)


def files(hub: Hub) -> bytes:
    """Read everything that lies in the data directory: store, write-ahead log, shared memory, ledger."""
    return b"\0".join(path.read_bytes() for path in sorted(hub.directory.iterdir()) if path.is_file())


@pytest.mark.embedded_only  # reads the files; PostgreSQL keeps old rows until VACUUM
def test_after_an_erasure_no_file_holds_anything_readable_of_the_person(hub: Hub) -> None:
    """Their ids, what was published of them, and their wrapped key: neither in the store nor in its log."""
    person = lived(hub, "CANARY-LOCAL-4471", "M-CANARY-7731")
    ((wrapped,),) = hub.rows("SELECT key FROM person WHERE id = ?", (person,))
    index = Index([Canary("id", 1, "CANARY-LOCAL-4471"), Canary("id", 1, "R-CANARY-LOCAL-4471"),
                   Canary("field", 1, "M-CANARY-7731")])  # fmt: skip
    assert wrapped in files(hub)
    assert hub.erase(person).log_cut
    remains = files(hub)
    assert index.found_in(remains) == []
    assert wrapped not in remains


def test_no_key_that_is_left_opens_anything_of_an_erased_person(hub: Hub) -> None:
    """Every sealed value of the store is tried under every key that can be had of the root and the store."""
    person, other = lived(hub, "A"), lived(hub, "B")
    ((wrapped,),) = hub.rows("SELECT key FROM person WHERE id = ?", (person,))
    gone = open_key(unwrap_person(hub.keys.wrapping, person, wrapped))
    before = bound_places(hub, person)
    assert sum(opens(gone.aead, *one) for one in before) >= 5
    hub.erase(person)
    left = [AESGCM(key) for key in (*secrets_of(hub.keys).values(), *keys_left(hub))]
    assert len(left) > len(secrets_of(hub.keys).values())
    assert not any(opens(key, *one) for key in left for one in before)
    assert hub.open_keys.of([person, other]).keys() == {other}


def keys_left(hub: Hub) -> list[bytes]:
    wrapping = hub.keys.wrapping
    persons = hub.rows("SELECT id, key FROM person WHERE key IS NOT NULL")
    waiting = hub.rows("SELECT subject, key FROM waiting_key")
    return [unwrap_person(wrapping, person, key) for person, key in persons] + [
        wrapping.unseal(key, b"waiting" + subject) for subject, key in waiting
    ]


def bound_places(hub: Hub, person: int) -> list[tuple[bytes, bytes]]:
    """Return (sealed, what it is bound to) of what was sealed for a person: deliveries, birth, names, receipts."""
    found = [(payload, public) for payload, public in hub.rows(
        "SELECT payload, public FROM delivery WHERE kind = 1 AND instr(parts, ?) > 0", (person.to_bytes(8, "little"),)
    )]  # fmt: skip
    found += [(b, b"born" + person.to_bytes(8)) for (b,) in hub.rows("SELECT born FROM person WHERE id = ?", (person,))]
    found += [
        (sealed, b"link" + agency.to_bytes(4) + person.to_bytes(8))
        for sealed, agency in hub.rows("SELECT sealed, agency FROM link WHERE person = ?", (person,))
    ]
    found += [
        (sealed, b"receipt" + receipt.encode())
        for sealed, receipt in hub.rows("SELECT sealed, id FROM receipt WHERE person = ?", (person,))
    ]
    return found


def opens(key: AESGCM, sealed: bytes, bound: bytes) -> bool:
    try:
        key.decrypt(sealed[:12], sealed[12:], bound)
    except InvalidTag:
        return False
    return True


def test_a_crowded_store_keeps_no_copy_of_a_destroyed_key(hub: Hub) -> None:
    """Pages are split and filled again as people come and go; a key must not survive in what was left over."""
    rows = [NewLink(CONSENT.publisher, f"K-{at}", f"R-{at}", 2, date(2023, 5, 1)) for at in range(600)]
    assert set(link(hub.register, LINKER, rows)) == {"linked"}
    chosen = hub.rows("SELECT id, key FROM person ORDER BY id")[::40]
    for person, _ in chosen:
        hub.erase(person)
    remains = files(hub)
    assert [person for person, key in chosen if key in remains] == []


@pytest.mark.embedded_only  # SQLite's log
def test_while_a_reader_holds_the_log_the_answer_says_so_and_the_worker_cuts_it(hub: Hub) -> None:
    """Nothing is claimed that is not so."""
    person = hub.link("A")
    ((wrapped,),) = hub.rows("SELECT key FROM person WHERE id = ?", (person,))
    reading, leave = threading.Event(), threading.Event()

    def read() -> None:
        with hub.store.read() as tx:
            tx.rows("SELECT count(*) FROM person")
            reading.set()
            leave.wait(30)

    reader = threading.Thread(target=read)
    reader.start()
    reading.wait(30)
    assert not hub.erase(person).log_cut
    leave.set()
    reader.join()
    while finish_erasures(hub.world):
        pass
    assert wrapped not in files(hub)
    assert hub.erase(person).log_cut


@pytest.mark.embedded_only  # the fast lane; PostgreSQL's locks are fair
def test_a_hand_out_that_chose_before_an_erasure_decides_anew_after_it(tmp_path: Path) -> None:
    """Both wait for the writer, the erasure in the fast lane: what the hand-out had chosen does not leave."""
    with opened(tmp_path) as hub:
        person = hub.link("A")
        hub.grant(person)
        hub.publish("one")
        hub.decide()
        release, queued = Event(), Semaphore(0)
        hub.store.submit(lambda _tx: release.wait(5.0))
        arm("store.queued", queued.release)
        try:
            handing = Doing(hub.pull)
            assert queued.acquire(timeout=5.0)
            erasing = Doing(lambda: hub.erase(person))
            assert queued.acquire(timeout=5.0)
            release.set()
            erasing.result()
            assert handing.result().opened == ()
        finally:
            disarm()
            release.set()


def test_once_an_erasure_has_returned_no_hand_out_of_the_person_commits(tmp_path: Path) -> None:
    """Raced two hundred times, either first: what left before is named to the recipient, and nothing leaves after."""
    firsts = set()
    with opened(tmp_path) as hub:
        rival = Rival()
        for number in range(200):
            who = f"K-{number}"
            person = hub.link(who)
            hub.grant(person)
            hub.publish(f"e{number}", who)
            hub.decide()
            data: list[str] = []
            ahead_s = ((number % 20) - 10) / 4_000
            rival.against(lambda: data.extend(handed_of(hub)), lambda: hub.erase(person), ahead_s=ahead_s)  # noqa: B023 - run at once
            late = hub.drain()[0]
            assert [event for event in late if event["kind"] == "data"] == []
            named = [one for event in late if event["kind"] == "delete" for one in event["data"]["deletes"]]
            assert sorted(named) == sorted(data), number
            firsts.add(bool(data))
            hub.pass_by(3600)
            while (page := hub.pull()).opened:
                hub.acknowledge(page)
        rival.close()
    assert firsts == {True, False}


def handed_of(hub: Hub) -> list[str]:
    return [one.public.hex() for one in hub.pull().opened if one.kind == 1]

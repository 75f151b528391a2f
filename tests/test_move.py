"""From SQLite to PostgreSQL: whatever a hub has promised on the one it keeps on the other."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger, LargeBinary, String
from sqlmodel import SQLModel

from agency_adapters.channel import Settings as Line
from agency_adapters.client import HubClient
from agency_adapters.keys import new_key, public_jwk
from consent.receipt import receipt_from_bytes
from hub.citizens.history import history
from hub.citizens.receipts import own_receipt
from hub.clock import system_clock
from hub.core.errors import HubError
from hub.exchange.status import event_of, event_state
from hub.operations.move import Journey, move
from hub.settings import Settings
from hub.store import tables
from hub.store.engine import IDS, Row, Tx
from hub.store.sqlite import SqliteStore
from hub.web.why import explain
from tests import stores
from tests.asks_world import questions
from tests.backfill_world import opened as backfill_opened
from tests.move_world import ROOT_KEY, Lived, afterwards, content, content_there, lived_in, moved
from tests.promise_hub import REDELIVER_S, reasons_of_all
from tests.protocol_world import LOOK_BACK, OBJECTION, Hub, principal
from tests.world import ONCE, birth, link_family, town, until

MOST, MOST_OF_FOUR_BYTES = 2**63 - 1, 2**31 - 1
AWKWARD_TEXT = ("", "'\"\\N\t\n\r{},%s$1", "ünïcode \u0416 \u202e \U0001f9ec", "x" * 20_000)
AWKWARD_BYTES = (b"", b"\x00\xff\\x00\n", bytes(range(256)), b"\x00" * 20_000)


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[Lived]:
    stores.server()
    yield lived_in(tmp_path / "hub")
    stores.drop_all()


@pytest.fixture
def hub(lived: Lived) -> Iterator[Hub]:
    """The hub after the move."""
    moved(lived)
    with afterwards(lived) as there:
        yield there


def said_of(hub: Hub, person: int) -> tuple[Any, Any]:
    """What a person and the operator are told about what was decided."""
    return history(hub.desk, principal(person)).entries, explain(hub.world, token="", last=50)


def test_every_row_of_every_table_is_as_it_was(lived: Lived) -> None:
    """Audit rows to the byte, ids, positions, wrapped keys: nothing is made anew, nothing is left behind."""
    before = content(lived)
    done = moved(lived)
    there = content_there(lived)
    assert there == before
    assert done.rows == sum(map(len, before.values()))
    lived_with = {"ask", "audit", "backfill", "bus_record", "choice", "consent_event", "delivery", "erasure", "handout",
                  "hold_key", "hub_key", "position", "queue", "receipt", "waiting", "waiting_key"}  # fmt: skip
    assert {name for name in lived_with if not there[name]} == set()


def test_the_most_awkward_values_of_every_column_arrive(tmp_path: Path) -> None:
    """Nothing, the largest numbers, every byte, quotes and marks of either engine, long values, in all tables."""
    stores.server()
    lived = lived_in(tmp_path / "hub")
    store = SqliteStore(lived.path)
    assert tables.Fence.metadata is SQLModel.metadata
    for table in SQLModel.metadata.sorted_tables:
        if table.name == "hub_key":  # of another root than the key file's: that is refused
            continue
        rows = [tuple(awkward(column, at) for column in table.columns) for at in range(len(AWKWARD_TEXT))]
        into = f"{table.name}({', '.join(column.name for column in table.columns)})"
        assert store.write(partial(inserted, into, rows)) == len(rows)
    store.close()
    before = content(lived)
    moved(lived)
    assert content_there(lived) == before
    stores.drop_all()


def inserted(into: str, rows: list[Row], tx: Tx) -> int:
    return tx.insert(into, rows)


def awkward(column: Any, at: int) -> Any:
    """Make the `at`th value of a column, one that no other row of its table has where it is part of a key."""
    unique = column.primary_key or column.unique
    if isinstance(column.type, LargeBinary):
        return bytes([at]) + AWKWARD_BYTES[at] if unique else None if column.nullable and at == 0 else AWKWARD_BYTES[at]
    if isinstance(column.type, String):
        return f"{at}{AWKWARD_TEXT[at][:200]}" if unique else AWKWARD_TEXT[at]
    if column.nullable and at == 0:
        return None
    return (MOST if isinstance(column.type, BigInteger) else MOST_OF_FOUR_BYTES) - at


def test_what_was_opened_comes_again_under_its_id_and_number(lived: Lived, hub: Hub) -> None:
    """And what comes next has the next number."""
    assert not hub.pull().opened
    lived.clock.pass_by(REDELIVER_S)
    again = hub.pull()
    assert {one.number: one.public.hex() for one in again.opened} == lived.opened
    assert [event["data"]["municipality_code"] for event in hub.read(again) if event["kind"] == "data"] == ["M-7"]
    hub.acknowledge(again)
    hub.decide()  # of what lay on the bus
    assert [one.number for one in hub.pull().opened] == [max(lived.opened) + 1]


def test_an_acknowledgement_from_before_settles_what_it_names(lived: Lived, hub: Hub) -> None:
    lived.clock.pass_by(REDELIVER_S)
    page = hub.pull()
    assert hub.acknowledge(page).acknowledged == len(lived.opened)
    assert hub.acknowledge(page).already == len(lived.opened)
    lived.clock.pass_by(REDELIVER_S)
    assert not hub.pull().opened


def test_an_event_that_was_published_before_is_a_repeat(lived: Lived, hub: Hub) -> None:
    """The same content under the same id goes to nobody again; other content is a conflict."""
    hub.decide()
    data = "SELECT count(*) FROM delivery WHERE kind = 1"
    before = hub.rows(data)
    hub.publish("acknowledged-1", "acknowledged")
    assert hub.decide().repeats == 1
    hub.publish("acknowledged-1", "acknowledged", municipality_code="M-8")
    assert hub.decide().conflicts == 1
    assert hub.rows(data) == before


def test_who_had_withdrawn_has_withdrawn(lived: Lived, hub: Hub) -> None:
    """And the receipt for it is the same, byte for byte, and names an event of the consent's chain."""
    person = lived.persons["withdrawn"]
    said = receipt_from_bytes(own_receipt(hub.desk, principal(person), lived.receipt))
    assert said.record == lived.consent
    assert [one.number for one in said.opened_before]
    (head,) = hub.rows("SELECT head FROM consent WHERE public = ?", (lived.consent,))
    assert said.event == head[0]
    hub.publish("withdrawn-2", "withdrawn")
    assert hub.decide().refusals >= 1
    assert "consent.withdrawn" in reasons_of_all(hub)
    hub.grant(person)  # the chain goes on
    hub.publish("withdrawn-3", "withdrawn")
    hub.decide()
    assert person in {part.person for one in hub.pull().opened for part in one.parts}


def test_a_grant_lets_go_what_was_held_before(lived: Lived, hub: Hub) -> None:
    assert not hub.pull(LOOK_BACK).opened
    hub.grant(lived.persons["held"], LOOK_BACK)
    (event,) = hub.read(hub.pull(LOOK_BACK))
    assert event["data"]["at_risk"] is True


def test_what_waited_for_a_link_goes_on_when_it_is_made(lived: Lived, hub: Hub) -> None:
    """Its publisher's token from before still says how it is."""
    event = event_of(hub.keys, lived.token)
    assert event_state(hub.store, event) == "waiting"
    hub.decide()  # of what lay on the bus
    hub.grant(hub.link("stranger"))
    assert hub.gate.revisit() is not None
    assert event_state(hub.store, event) == "handled"


def test_who_was_erased_stays_erased(lived: Lived, hub: Hub) -> None:
    """Store and ledger agree, and nothing of theirs can be opened."""
    person = lived.persons["erased"]
    assert hub.rows("SELECT key, erased_us IS NULL FROM person WHERE id = ?", (person,)) == [(None, False)]
    assert person in hub.ledger.erased
    hub.publish("erased-2", "erased")
    assert hub.decide().releases == 1  # of what lay on the bus about somebody else


def test_a_question_and_a_backfill_of_before_go_on(hub: Hub) -> None:
    (question,) = questions(hub)
    assert question["kind"] == "ask"
    with pytest.raises(HubError) as caught:
        backfill_opened(hub, OBJECTION)
    assert caught.value.code == "backfill-open"


def test_citizen_and_operator_are_told_the_same_as_before(lived: Lived) -> None:
    """History and `hub why`, which open what was sealed before."""
    before = Hub(lived.directory, clock=lived.clock, root=ROOT_KEY)
    told = {person: said_of(before, person) for name, person in lived.persons.items() if name != "erased"}
    before.close()
    assert any(entries for entries, _ in told.values())
    moved(lived)
    with afterwards(lived) as hub:
        assert {person: said_of(hub, person) for person in told} == told


def drawn(table: str, tx: Tx) -> int:
    return tx.draw(table)


def test_ids_go_on_after_the_largest(lived: Lived, hub: Hub) -> None:
    """Those that the hub draws, and those that the database gives."""
    for table, column in IDS.items():
        (largest,) = hub.rows(f"SELECT coalesce(max({column}), 0) FROM {table}")
        first = hub.store.write(partial(drawn, table))  # audit rows' and deliveries' begin anew each day
        assert first == largest[0] + 1 if table not in ("audit", "delivery") else first > largest[0], table
    (waiting,) = hub.rows("SELECT max(id) FROM waiting")
    hub.publish("stranger-2", "stranger")
    hub.decide()
    assert hub.rows("SELECT max(id) FROM waiting") == [(waiting[0] + 1,)]


def test_an_agency_goes_on_with_the_key_that_it_registered_before(tmp_path: Path) -> None:
    """A whole hub over HTTP, stopped, moved and started: what it pulls again has the same ids, then it acknowledges."""
    stores.server()
    key = new_key()
    with town(tmp_path, handout_redeliver_s=1) as place:
        link_family(place)
        place.hub.add_agency_key("family-benefits", public_jwk(key))
        token = place.agency("civil-registry").publish([birth()]).accepted[0].token
        assert place.decided(token) == "handled"
        with HubClient(Line(place.url, "family-benefits", backoff=ONCE), key) as client:
            before = client.pull(wait_s=1).deliveries
    assert before
    settings = Settings(mode="demo", data_dir=tmp_path)
    to, owner = stores.dsn_of(tmp_path / "hub.sqlite"), stores.owner_dsn_of(tmp_path / "hub.sqlite")
    move(Journey(settings, to, owner, "embedded", system_clock, lambda _: None))
    with town(tmp_path, store_dsn=to, store_idle_ms=stores.PATIENT_MS, handout_redeliver_s=1) as place:
        with HubClient(Line(place.url, "family-benefits", backoff=ONCE), key) as client:
            again = until(lambda: client.pull(wait_s=1).deliveries, bool)
            assert [(one.number, one.id) for one in again] == [(one.number, one.id) for one in before]
            client.acknowledge(again)
        assert place.decided(token) == "handled"
        assert place.hub.status()["troubles"] == []
    stores.drop_all()

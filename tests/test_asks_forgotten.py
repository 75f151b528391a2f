"""An ask that ended long ago is forgotten, and nothing becomes possible again by it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.core.errors import HubError
from hub.exchange.asked import expire_asks, find_ask, no_answer
from hub.exchange.own_asks import ask_for_oneself, own_ask
from hub.operations.retention import Kept, classes, forgetting, once_a_day
from hub.settings import Settings
from hub.store.aims import AskState
from tests.asks_world import BY_CONSENT, BY_LAW, BY_REQUEST, answered, known, put, questions, state
from tests.protocol_checks import faults
from tests.protocol_world import Hub, Matter, opened

DAY_S = 86_400
KEPT_DAYS = 90


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path) as one:
        yield one
        assert faults(one) == []


def kept(hub: Hub) -> Kept:
    settings = Settings(mode="demo", data_dir=hub.directory, delivered_days=KEPT_DAYS)
    return Kept(
        settings, hub.store, hub.world, hub.day_keys, lambda: 0, lambda _: 0, hub.clock, lambda nonce: nonce[:16]
    )


def over(hub: Hub) -> int:
    return next(one.over() for one in classes(kept(hub)) if one.name == "asks")


def forget(hub: Hub) -> int:
    return forgetting(lambda: kept(hub))()


def finished(hub: Hub, name: str = "A", matter: Matter = BY_LAW, **more: Any) -> str:
    """Put an ask, have it answered, and let both sides acknowledge; returns its id."""
    asked = put(hub, name, matter, **more)
    provider = matter._replace(recipient=matter.publisher)
    hub.acknowledge(hub.pull(provider), provider)
    answered(hub, asked, name, matter)
    hub.acknowledge(hub.pull(matter), matter)
    return asked.row.public.hex()


def test_what_was_asked_about_whom_is_forgotten_when_its_time_is_over(hub: Hub) -> None:
    """Not a day before; then nothing is left in the row but its id, and for both sides there is no such ask."""
    known(hub)
    ask = finished(hub)
    hub.pass_by(KEPT_DAYS * DAY_S)
    assert (over(hub), forget(hub)) == (0, 0)
    hub.pass_by(1)
    assert (over(hub), forget(hub), over(hub)) == (1, 1, 0)
    (row,) = hub.rows("SELECT * FROM ask")
    asker = hub.catalogue.agencies[BY_LAW.recipient].number
    left = [value for value in row[2:] if value not in (0, None, b"")]
    assert (row[1].hex(), left) == (ask, [asker, AskState.FORGOTTEN])
    for agency in (BY_LAW.recipient, BY_LAW.publisher):
        with pytest.raises(HubError) as unknown:
            find_ask(hub.world, agency, ask)
        assert unknown.value.code == "ask-unknown"
    (detail,) = hub.rows("SELECT detail FROM audit ORDER BY id DESC LIMIT 1")
    assert b'"asks"' in detail[0]


def test_a_late_answer_to_a_forgotten_ask_is_one_to_an_unknown_ask(hub: Hub) -> None:
    """It reaches nobody, and its provider is told so in the same words; saying that there is none as well."""
    known(hub)
    asked = put(hub)
    hub.pass_by(2 * DAY_S)
    expire_asks(hub.world)
    questions(hub)
    hub.pass_by(KEPT_DAYS * DAY_S + 1)
    assert forget(hub) == 1
    answered(hub, asked)
    assert [one for one in hub.drain(BY_LAW)[0] if one["kind"] != "notice"] == []
    (notice,) = questions(hub)
    assert (notice["data"]["type"], notice["data"]["reason"]) == ("event.refused", "ask.unknown")
    with pytest.raises(HubError) as unknown:
        no_answer(hub.world, BY_LAW.publisher, asked.row.public.hex())
    assert unknown.value.code == "ask-unknown"


def test_a_correction_of_an_answer_reaches_its_asker_though_the_ask_is_forgotten(hub: Hub) -> None:
    """Who got what is wrong hears of it, with what was asked for and no more."""
    known(hub)
    ask = finished(hub, fields=("categories",))
    hub.pass_by(KEPT_DAYS * DAY_S + 1)
    assert forget(hub) == 1
    event = f"answer-{ask[:6]}-0"  # as `answered` names it
    hub.publish("mended", "A", BY_LAW, aim={"corrects": event}, categories=["C"])
    hub.decide()
    ((correction,), _) = hub.drain(BY_LAW)
    assert (correction["kind"], correction["data"]) == ("correction", {"categories": ["C"]})


def test_a_used_grant_stays_used_however_long_ago(hub: Hub) -> None:
    """An explicit request is for one answer: its ask is kept until the person ends the grant, and then forgotten."""
    person = known(hub, "A", BY_REQUEST)
    consent = hub.grant(person, BY_REQUEST)
    finished(hub, "A", BY_REQUEST)
    for _ in range(3):
        hub.pass_by(KEPT_DAYS * DAY_S + 1)
        assert forget(hub) == 0
    assert "ask.grant_used" in put(hub, "A", BY_REQUEST).row.reasons
    hub.withdraw(person, consent)
    assert forget(hub) == 1


def test_a_paused_grant_is_as_used_as_before_once_it_is_resumed(hub: Hub) -> None:
    """A pause keeps the stretch, and with it the ask that was answered under it."""
    person = known(hub, "A", BY_REQUEST)
    consent = hub.grant(person, BY_REQUEST)
    finished(hub, "A", BY_REQUEST)
    hub.pause(person, consent)
    hub.pass_by(KEPT_DAYS * DAY_S + 1)
    assert forget(hub) == 0
    hub.resume(person, consent)
    assert "ask.grant_used" in put(hub, "A", BY_REQUEST).row.reasons


def test_under_a_consent_that_serves_any_number_an_answered_ask_is_forgotten(hub: Hub) -> None:
    """It keeps nothing from being asked again, so it need not be there."""
    hub.grant(known(hub, "A", BY_CONSENT), BY_CONSENT)
    finished(hub, "A", BY_CONSENT)
    hub.pass_by(KEPT_DAYS * DAY_S + 1)
    assert forget(hub) == 1


def test_an_id_whose_ask_is_forgotten_never_stands_for_another_question(hub: Hub) -> None:
    """Its provider has dealt with that name, and would take the new question for the old one."""
    known(hub)
    finished(hub, id="visit-7")
    hub.pass_by(KEPT_DAYS * DAY_S + 1)
    assert forget(hub) == 1
    with pytest.raises(HubError) as refused:
        put(hub, id="visit-7")
    assert refused.value.code == "ask-repeated"
    assert put(hub, id="visit-8").row.word == "asked"


def test_what_no_provider_saw_and_what_a_person_asked_are_deleted(hub: Hub) -> None:
    """Nobody can name it again, or it may well be asked anew."""
    person = known(hub)
    assert put(hub, case="", id="no-case").row.word == "refused"
    asked = ask_for_oneself(
        hub.world, person, recipient=BY_LAW.recipient, purpose=BY_LAW.purpose, dataset=BY_LAW.dataset
    )
    answered(hub, asked)
    questions(hub)
    provider = BY_LAW._replace(recipient=BY_LAW.publisher)
    hub.pass_by(61)
    hub.acknowledge(hub.pull(provider), provider)
    hub.pass_by(KEPT_DAYS * DAY_S + 1)
    assert forget(hub) == 2
    assert hub.rows("SELECT 1 FROM ask") == []
    with pytest.raises(HubError) as unknown:
        own_ask(hub.world, person, asked.row.public.hex())
    assert unknown.value.code == "entry-unknown"
    assert put(hub, id="no-case").row.word == "asked"


def test_an_open_ask_and_one_whose_question_is_not_acknowledged_stay(hub: Hub) -> None:
    """However old they are: somebody still works on them."""
    known(hub)
    put(hub)
    asked = put(hub)
    questions(hub)
    answered(hub, asked)
    hub.pass_by(KEPT_DAYS * DAY_S + 1)
    assert (over(hub), forget(hub)) == (0, 0)
    assert state(hub, asked).word == "answered"


def test_many_are_forgotten_piece_by_piece_once_a_day(hub: Hub) -> None:
    """Also behind one that has to stay; on the same day nobody looks again."""
    hub.grant(known(hub, "A", BY_REQUEST), BY_REQUEST)
    finished(hub, "A", BY_REQUEST)
    columns = "asker, provider, dataset, subscription, person, fields, asks, question, state, stretch, asked_us,"
    copy = f"{columns} deadline_us, closed_us, reasons, tags, answer"
    for number in range(450):
        values = (number.to_bytes(16), int(AskState.EXPIRED))
        sql = f"INSERT INTO ask(public, {copy}) SELECT ?, {copy.replace(' state,', ' ?,')} FROM ask WHERE id = 1"
        hub.store.write(lambda tx, sql=sql, values=values: tx.run(sql, values))  # type: ignore[misc]  # bound one by one
    hub.pass_by(KEPT_DAYS * DAY_S + 1)
    step = once_a_day(hub.clock, forgetting(lambda: kept(hub)))
    assert [step() for _ in range(4)] == [200, 200, 50, 0]
    assert over(hub) == 0
    assert hub.rows("SELECT count(*) FROM ask WHERE state <> ?", (AskState.FORGOTTEN,)) == [(1,)]

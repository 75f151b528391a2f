"""A session that ends mid-form loses no choices; what is kept is for one person, one form, once, for half an hour."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.core.errors import HubError, Kind
from hub.identity.kept_forms import (
    FORM_BYTES,
    KEPT_US,
    OF_ONE_PERSON,
    SHOWN_US,
    forget_forms,
    give_back,
    keep,
    shown_to,
    ticket,
)
from tests.citizen_world import Town
from tests.sign_in_world import HIGH, LOW, Browser, Place, a_place, a_provider, query, user

ADA, BEN, FORM = 17, 18, "narrow:consent-1"
FIELDS = [("item", "dob"), ("item", "names"), ("until", "2027-01-01"), ("note", "да, نعم")]


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    town.store.close()


def kept(town: Town, person: int = ADA) -> str:
    shown = ticket(town.keys, person=person, form=FORM, now_us=town.now_us)
    return keep(town.store, town.keys, shown, form=FORM, fields=FIELDS, now_us=town.now_us)


def back(town: Town, token: str, *, person: int = ADA, form: str = FORM) -> list[tuple[str, str]]:
    return give_back(town.store, town.keys, token, person=person, form=form, now_us=town.now_us)


def test_what_was_kept_comes_back_once_to_the_same_person_on_the_same_form(town: Town) -> None:
    """In its order, each field as often as it was there."""
    token = kept(town)
    assert back(town, token, person=BEN) == []
    assert back(town, token, form="narrow:consent-2") == []
    assert back(town, token + "x") == []
    assert back(town, "") == []
    assert back(town, token) == FIELDS
    assert back(town, token) == []


def test_after_half_an_hour_it_is_gone(town: Town) -> None:
    """Nothing is given back any more; then the row goes too."""
    token = kept(town)
    town.now_us += KEPT_US - 1
    assert forget_forms(town.store, town.now_us, 10) == 0
    town.now_us += 1
    assert back(town, token) == []
    assert forget_forms(town.store, town.now_us, 10) == 1
    assert town.rows("SELECT 1 FROM kept_form") == []


def test_the_store_alone_does_not_open_it(town: Town) -> None:
    """It is sealed under a token of which only a keyed hash is stored."""
    token = kept(town)
    ((stored, sealed),) = town.rows("SELECT token, sealed FROM kept_form")
    assert token.encode() not in stored + sealed
    assert b"names" not in sealed


def test_without_a_good_ticket_nothing_is_kept(town: Town) -> None:
    """None, another form's, an altered one, one of yesterday: nobody fills the store who was shown no form."""
    good = ticket(town.keys, person=ADA, form=FORM, now_us=town.now_us)
    other = ticket(town.keys, person=ADA, form="other", now_us=town.now_us)
    for wrong in ("", "x", other, good[:-4] + "AAAA", "x" * 5_000):
        with pytest.raises(HubError) as caught:
            keep(town.store, town.keys, wrong, form=FORM, fields=FIELDS, now_us=town.now_us)
        assert (caught.value.kind, caught.value.code) == (Kind.FORBIDDEN, "form-ticket")
    assert shown_to(town.keys, good, form=FORM, now_us=town.now_us + SHOWN_US - 1) == ADA
    assert shown_to(town.keys, good, form=FORM, now_us=town.now_us + SHOWN_US) is None
    assert town.rows("SELECT 1 FROM kept_form") == []


def test_of_somebody_who_was_erased_nothing_is_kept(town: Town) -> None:
    """Their page may still stand open in a browser, with a good ticket."""
    person = town.person("ada", "lindum")
    assert kept(town, person)
    town.store.write(lambda tx: tx.run("UPDATE person SET erased_us = 1, key = NULL WHERE id = ?", (person,)))
    town.store.write(lambda tx: tx.run("DELETE FROM kept_form WHERE person = ?", (person,)))
    with pytest.raises(HubError) as caught:
        kept(town, person)
    assert caught.value.code == "form-ticket"
    assert town.rows("SELECT 1 FROM kept_form") == []


def test_one_person_does_not_fill_the_store(town: Town) -> None:
    """An older form makes room; a longer one than any of ours is refused."""
    tokens = []
    for _ in range(OF_ONE_PERSON + 2):
        town.now_us += 1
        tokens.append(kept(town))
    kept(town, BEN)
    assert town.rows("SELECT count(*) FROM kept_form WHERE person = ?", (ADA,)) == [(OF_ONE_PERSON,)]
    assert [bool(back(town, token)) for token in tokens] == [False, False] + [True] * OF_ONE_PERSON
    shown = ticket(town.keys, person=ADA, form=FORM, now_us=town.now_us)
    with pytest.raises(HubError) as caught:
        keep(town.store, town.keys, shown, form=FORM, fields=[("x", "y" * FORM_BYTES)], now_us=town.now_us)
    assert caught.value.kind is Kind.TOO_LARGE


# Over HTTP, with the sign-in in between.


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as one, a_provider(one, user("ada"), user("ben")) as provider:
        one.use(provider.issuer)
        for name in ("ada", "ben"):
            one.town.person(name, "lindum")
        yield one


CHOSEN = [("item", "dob"), ("item", "names")]


def go_on(answered_text: str) -> str:
    """Return the address of the one link on a page."""
    from html import unescape

    return unescape(answered_text.partition('<a href="')[2].partition('"')[0])


def test_a_session_that_ends_in_the_midst_of_a_form_loses_no_choice(place: Place) -> None:
    """The page says so, leads to the sign-in, and that to the form as it was filled in; only sending it acts."""
    with Browser(place) as browser:
        browser.sign_in("ada")
        form = browser.inputs()
        place.town.store.write(lambda tx: tx.run("DELETE FROM session"))  # as an operator, or eight hours, would
        answered = browser.send([*form, *CHOSEN])
        assert (answered.status_code, place.chosen) == (401, [])
        assert "Your session has ended" in answered.text
        signed = browser.sign_in("ada", path=go_on(answered.text))
        assert signed.status_code == 303
        shown = browser.inputs(signed.headers["location"])
        assert [one for one in shown if one[0] == "item"] == CHOSEN
        assert [one[0] for one in shown].count("csrf") == 1
        assert place.chosen == []
        assert browser.send(shown).status_code == 204
        assert place.chosen == [CHOSEN]


def test_somebody_else_who_signs_in_at_the_same_computer_sees_nothing_of_it(place: Place) -> None:
    """It stays for the person it is of."""
    with Browser(place) as browser:
        browser.sign_in("ada")
        form = browser.inputs()
        place.town.store.write(lambda tx: tx.run("DELETE FROM session"))
        leads = go_on(browser.send([*form, *CHOSEN]).text)
        signed = browser.sign_in("ben", path=leads)
        assert "item" not in [one[0] for one in browser.inputs(signed.headers["location"])]
        signed = browser.sign_in("ada", path=leads)
        assert "item" in [one[0] for one in browser.inputs(signed.headers["location"])]


def test_a_form_that_was_open_while_one_signed_in_anew_is_shown_again(place: Place) -> None:
    """In another window the session was renewed: the form's token is of before, its ticket is still this person's."""
    with Browser(place) as browser:
        browser.sign_in("ada")
        form = browser.inputs()
        browser.sign_in("ada")
        answered = browser.send([*form, *CHOSEN])
        assert (answered.status_code, "signed in anew" in answered.text) == (409, True)
        again = browser.inputs(go_on(answered.text))
        assert browser.send(again).status_code == 204
        assert place.chosen == [CHOSEN]


def test_a_form_without_the_sessions_token_is_refused_whatever_else_it_brings(place: Place) -> None:
    """CSRF: no token, another's token with another's ticket: nothing is done, and nothing kept."""
    with Browser(place) as browser, Browser(place) as attacker:
        browser.sign_in("ada")
        attacker.sign_in("ben")
        theirs, mine = dict(attacker.inputs()), dict(browser.inputs())
        for wrong in ({}, theirs, {"ticket": theirs["ticket"]}, {"csrf": theirs["csrf"]}, {"csrf": mine["csrf"][:-1]}):
            assert browser.send([*wrong.items(), *CHOSEN]).status_code == 403
    assert (place.chosen, place.town.rows("SELECT 1 FROM kept_form")) == ([], [])


def test_a_purpose_that_wants_more_keeps_the_form_while_one_steps_up(place: Place) -> None:
    """What is missing, how to get it, and everything as it was filled in afterwards."""
    with Browser(place) as browser:
        browser.sign_in("ada", acr=LOW)
        answered = browser.send([*browser.inputs(), *CHOSEN], least=3)
        assert (answered.status_code, "needs a sign-in of assurance P3" in answered.text) == (403, True)
        leads = go_on(answered.text)
        assert query(browser.begin(leads))["acr_values"] == HIGH
        signed = browser.sign_in("ada", path=leads, acr=HIGH)
        assert browser.send(browser.inputs(signed.headers["location"]), least=3).status_code == 204
        assert place.chosen == [CHOSEN]


def test_erasing_a_person_takes_their_kept_forms_codes_and_accounts_along(place: Place) -> None:
    """Nothing that would lead to them, or that they had filled in, stays; other people's does."""
    from hub.exchange.erase import Eraser, erase
    from hub.identity.ledger import open_ledger
    from hub.identity.one_time_codes import issue

    town = place.town
    with Browser(place) as browser:
        for name in ("ada", "ben"):
            browser.sign_in(name)
            form = browser.inputs()
            issue(town.store, town.keys, person=town.person(name), aim="counter:1", now_us=town.now_us)
            town.store.write(lambda tx: tx.run("DELETE FROM session"))
            browser.send([*form, *CHOSEN])
    ledger = open_ledger(town.directory / "hub.key", town.keys.erasure)
    erase(Eraser(town.world, ledger, 7, 30), agency="lindum", local_id="lindum/ada", reason="request")
    for table in ("account", "one_time_code", "kept_form"):
        assert town.rows(f"SELECT count(*) FROM {table}") == [(1,)], table

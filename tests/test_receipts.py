"""Every act on a consent leaves its person a signed receipt: given, changed, ended by themselves or by time alone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI

from consent.canonical import canonical
from consent.receipt import Receipt
from hub.citizens.choices import extend_it, grant, grant_unasked, narrow_it, pause_it, resume_it, say_no
from hub.citizens.desk import key_of, record_of
from hub.citizens.endings import end_overdue
from hub.citizens.objections import object_to, take_back
from hub.citizens.receipts import own_receipt, own_receipt_signed, receipts_of_consent, status_of
from hub.citizens.withdraw import withdraw_it
from hub.core.errors import HubError
from hub.identity.keys import seal_with
from hub.identity.receipt_keys import AHEAD, public_keys, receipt_key, rotate_receipt_key
from hub.identity.receipts import Fault, NotBelieved, read_keys, verify_receipt
from hub.store.consents import add_receipt, consent_by_public, sealed_events
from hub.store.engine import Tx
from tests.citizen_world import DAY_US, Browser, Town, code_of

pytestmark = pytest.mark.engines

KINDER = ("lindum", "child", "KINDER-PLACE")
CARE = ("health-region", "patient", "CARE-PLAN")
KEYS = "/.well-known/consent-receipt-keys.json"


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    town.store.close()


def asked(town: Town, matter: tuple[str, str, str] = KINDER) -> tuple[int, str]:
    agency, name, purpose = matter
    providers = {one.agreement.provider for one in town.catalogue.subscriptions.values() if one.purpose.code == purpose}
    person = town.person(name, agency, *providers - {"population-register"})
    return person, town.ask(agency, name, purpose)


def published(town: Town) -> bytes:
    with town.store.read() as tx:
        return orjson.dumps(public_keys(tx, town.keys.receipt))


def receipts(town: Town, person: int, consent: str) -> list[dict[str, Any]]:
    """Verify every receipt of a record by the published keys; return what they say, oldest first."""
    who, keys = town.principal(person), read_keys(published(town))
    heads = receipts_of_consent(town.desk, who, consent)
    return [dict(verify_receipt(own_receipt_signed(town.desk, who, one.receipt), keys).said) for one in heads]


def chain(town: Town, person: int, consent: str) -> list[str]:
    """Return the hashes of a record's events."""
    with town.store.read() as tx:
        row = consent_by_public(tx, consent)
        assert row is not None
        record_of(tx, key_of(town.desk, person), row)
        return [bytes(hash_).hex() for _, hash_ in sealed_events(tx, row.number)]


# Issued


def test_every_act_of_a_life_leaves_a_signed_receipt_of_its_own_event(town: Town) -> None:
    """Given, narrowed, paused, resumed, prolonged, withdrawn: each names its event's hash and what is left in force."""
    person, consent = asked(town, CARE)
    who, until_us = town.principal(person), town.now_us + 100 * DAY_US
    grant(town.desk, who, consent, items=None, until_us=until_us, notice=town.notice(who, consent))
    left = [("health.condition", "code"), ("health.condition", "clinical_status")]
    acts: list[Callable[[], object]] = [
        lambda: narrow_it(town.desk, who, consent, items=left),
        lambda: pause_it(town.desk, who, consent),
        lambda: resume_it(town.desk, who, consent),
        lambda: extend_it(town.desk, who, consent, until_us=until_us + DAY_US),
        lambda: withdraw_it(town.desk, who, consent),
    ]
    for act in acts:
        town.now_us += 1_000_000
        act()
    said = receipts(town, person, consent)
    assert [one["action"] for one in said] == ["grant", "narrow", "pause", "resume", "extend", "withdraw"]
    assert [one["state"] for one in said] == ["given", "given", "paused", "given", "given", "withdrawn"]
    assert [one["event"] for one in said] == chain(town, person, consent)[1:]
    assert [len(one["scope"]["items"]) for one in said] == [len(said[0]["scope"]["items"])] + [2] * 5
    assert [one["scope"]["until_us"] - until_us for one in said] == [0, 0, 0, 0, DAY_US, DAY_US]
    assert {one["issuer"] for one in said} == {town.desk.issuer}
    assert [one["status"] for one in said] == [f"{town.desk.issuer}/v1/receipts/{one['id']}/status" for one in said]


def test_time_alone_leaves_a_receipt_as_the_person_would_have(town: Town) -> None:
    """Of the instant at which the time was over, however late it is written."""
    person, consent = asked(town)
    until_us = town.granted(person, consent).receipt.scope.until_us  # type: ignore[union-attr]  # issued, so it has one
    town.now_us = until_us + 40 * DAY_US
    assert end_overdue(town.desk).broken == 0
    (_, last) = receipts(town, person, consent)
    assert (last["action"], last["state"], last["moment_us"]) == ("expire", "expired", until_us)
    assert last["event"] == chain(town, person, consent)[-1]


def test_a_question_that_nobody_answered_and_one_refused_leave_a_receipt(town: Town) -> None:
    person, consent = asked(town)
    town.now_us += 31 * DAY_US
    end_overdue(town.desk)
    (lapsed,) = receipts(town, person, consent)
    assert (lapsed["action"], lapsed["state"], lapsed["scope"]["items"]) == ("lapse", "lapsed", [])
    again = town.ask(*KINDER)
    say_no(town.desk, town.principal(person), again)
    (refused,) = receipts(town, person, again)
    assert (refused["action"], refused["state"], refused["scope"]["notice"]) == ("refuse", "refused", {})


def test_a_consent_that_another_takes_over_leaves_a_receipt_of_its_end(town: Town) -> None:
    person, consent = asked(town)
    who = town.principal(person)
    first = grant_unasked(
        town.desk, who, recipient="lindum", purpose="KINDER-PLACE", items=None, notice=town.notice(who, consent)
    )
    town.now_us += 1_000_000
    town.granted(person, consent)
    (_, ended) = receipts(town, person, first.consent)
    assert (ended["action"], ended["state"]) == ("renew", "renewed")
    assert ended["event"] == chain(town, person, first.consent)[-1]


def test_objections_leave_signed_receipts_too(town: Town) -> None:
    person = town.person("child", "family-benefits", "civil-registry")
    who, keys = town.principal(person), read_keys(published(town))
    first = orjson.loads(object_to(town.desk, who, recipient="family-benefits", purpose="FAM-ALLOW"))
    back = orjson.loads(take_back(town.desk, who, "family-benefits:FAM-ALLOW"))
    for said in (first, back):
        good = verify_receipt(own_receipt_signed(town.desk, who, said["id"]), keys)
        assert canonical(good.said) == canonical(said)
    assert status_of(town.desk, first["id"]).state == "changed"
    assert status_of(town.desk, back["id"]).state == "none"


def test_a_prolonged_consent_lasts_longer_and_no_longer_than_was_asked(town: Town) -> None:
    person, consent = asked(town)
    who, until_us = town.principal(person), town.now_us + 10 * DAY_US
    grant(town.desk, who, consent, items=None, until_us=until_us, notice=town.notice(who, consent))
    for wrong_us, code in ((until_us, "consent-not-longer"), (until_us + 9_999 * DAY_US, "consent-until-too-long")):
        with pytest.raises(HubError) as refused:
            extend_it(town.desk, who, consent, until_us=wrong_us)
        assert refused.value.code == code
    extend_it(town.desk, who, consent, until_us=until_us + 10 * DAY_US)
    town.now_us = until_us + DAY_US
    town.birth()
    assert len(town.pull("lindum")) == 1


# Kept


def test_a_receipt_is_the_same_bytes_whenever_it_is_asked_for(town: Town) -> None:
    """Also when the key was rotated meanwhile, and the former key still verifies it, for ever."""
    person, consent = asked(town)
    who, receipt = town.principal(person), town.granted(person, consent).receipt
    first = own_receipt_signed(town.desk, who, receipt.id)
    kid = verify_receipt(first, read_keys(published(town))).kid
    for _ in range(5):
        rotate_receipt_key(town.store, town.keys, town.clock)
        town.now_us += 400 * DAY_US
    assert own_receipt_signed(town.desk, who, receipt.id) == first
    assert verify_receipt(first, read_keys(published(town))).kid == kid == receipt_key(town.keys.receipt, 1).kid
    assert own_receipt(town.desk, who, receipt.id) == receipt.canonical


def test_a_rotation_changes_who_signs_and_says_so_in_the_log(town: Town) -> None:
    """The next keys were published already; what they sign verifies with a set from before the rotation."""
    before, audits = published(town), town.rows("SELECT count(*) FROM audit")[0][0]
    done = rotate_receipt_key(town.store, town.keys, town.clock)
    assert (done.former, done.kid) == tuple(receipt_key(town.keys.receipt, number).kid for number in (1, 2))
    assert done.published == len(read_keys(published(town))) == 2 + AHEAD
    assert town.rows("SELECT count(*) FROM audit")[0][0] == audits + 1
    person, consent = asked(town)
    receipt = town.granted(person, consent).receipt
    signed = own_receipt_signed(town.desk, town.principal(person), receipt.id)
    assert verify_receipt(signed, read_keys(before)).kid == done.kid


def test_another_hubs_keys_verify_nothing_of_this_one(town: Town) -> None:
    person, consent = asked(town)
    signed = own_receipt_signed(town.desk, town.principal(person), town.granted(person, consent).receipt.id)
    with town.store.read() as tx:
        theirs = read_keys(orjson.dumps(public_keys(tx, b"t" * 32)))
    with pytest.raises(NotBelieved) as refused:
        verify_receipt(signed, theirs)
    assert refused.value.fault is Fault.KEY_UNKNOWN


def test_one_that_was_kept_before_receipts_were_signed_is_signed_when_asked_for(town: Town) -> None:
    """With the first key, whichever signs now: so it is the same each time."""
    person, consent = asked(town)
    old = Receipt("old-1", consent, "grant", town_state(town, person, consent), 1, town.now_us, bytes(32))

    def keep(tx: Tx) -> None:
        sealed = seal_with(key_of(town.desk, person), old.canonical, b"receiptold-1")
        add_receipt(tx, receipt="old-1", consent=1, kind="grant", at_us=town.now_us, person=person, sealed=sealed)

    town.store.write(keep)
    who = town.principal(person)
    first = own_receipt_signed(town.desk, who, "old-1")
    rotate_receipt_key(town.store, town.keys, town.clock)
    assert own_receipt_signed(town.desk, who, "old-1") == first
    good = verify_receipt(first, read_keys(published(town)))
    assert (canonical(good.said), good.said["v"]) == (old.canonical, 1)
    assert own_receipt(town.desk, who, "old-1") == old.canonical


def town_state(town: Town, person: int, consent: str) -> Any:
    return town.granted(person, consent).receipt.state


# At the door


def signed_in(town: Town, app: FastAPI, name: str) -> Browser:
    browser = Browser(app)
    browser.sign_in(name, assurance=3)
    return browser


def test_a_person_downloads_the_receipt_and_verifies_it_with_what_anybody_may_read(town: Town) -> None:
    person, consent = asked(town)
    receipt = town.granted(person, consent).receipt
    app = town.app()
    mine, stranger = signed_in(town, app, "child"), Browser(app)
    answered = mine.get(f"/v1/me/receipts/{receipt.id}/jws")
    assert (answered.status_code, answered.headers["content-type"]) == (200, "application/jose")
    assert answered.headers["cache-control"] == "no-store"
    keys = stranger.get(KEYS)
    assert (keys.status_code, keys.headers["content-type"]) == (200, "application/jwk-set+json")
    assert verify_receipt(answered.content, read_keys(keys.content)).said["id"] == receipt.id
    assert [one for one in keys.json()["keys"] if "d" in one] == []  # RFC 8037 section 2: the private half
    (listed,) = mine.get(f"/v1/me/consents/{consent}/receipts").json()["receipts"]
    assert (listed["receipt"], listed["action"]) == (receipt.id, "grant")
    assert mine.get(listed["signed"]).content == answered.content


def test_the_status_address_says_what_became_of_it_and_nothing_else(town: Town) -> None:
    """To whoever holds the receipt, without an account; by the clock, not by when an end was written down."""
    person, consent = asked(town)
    receipt = town.granted(person, consent).receipt
    anybody, path = Browser(town.app()), f"/v1/receipts/{receipt.id}/status"
    said = anybody.get(path).json()
    assert (said.keys(), said["state"]) == ({"receipt", "state", "until", "as_of"}, "given")
    pause_it(town.desk, town.principal(person), consent)
    assert anybody.get(path).json()["state"] == "paused"
    resume_it(town.desk, town.principal(person), consent)
    assert receipt.scope is not None
    town.now_us = receipt.scope.until_us
    said = anybody.get(path).json()
    assert (said["state"], "until" in said) == ("expired", False)
    end_overdue(town.desk)
    assert anybody.get(path).json()["state"] == "expired"
    assert code_of(anybody.get("/v1/receipts/AAAAAAAAAAAAAAAAAAAA/status")) == "entry-unknown"


def test_the_record_is_exported_in_three_forms_and_in_the_readers_language(town: Town) -> None:
    """JSON-LD and plain JSON in their canonical form, and a page; contacts and addresses are the catalogue's."""
    person, consent = asked(town, CARE)
    town.granted(person, consent)
    mine = signed_in(town, town.app(), "patient")
    ld, plain = (mine.get(f"/v1/me/consents/{consent}/record.{form}") for form in ("jsonld", "json"))
    assert (ld.headers["content-type"], plain.headers["content-type"]) == ("application/ld+json", "application/json")
    for answered in (ld, plain):
        assert canonical(answered.json()) == answered.content
    record = ld.json()
    assert record["dct:conformsTo"].endswith("#record-eu-gdpr")
    controller = next(one for one in record["dpv:hasEntity"] if "dpv:DataController" in one["@type"])
    agency = town.catalogue.agencies["health-region"]
    assert (controller["dpv:hasContact"], controller["dpv:hasAddress"]) == (agency.contact, agency.address)
    assert agency.address
    authority = record["dpv:hasEntity"][-1]
    assert authority["dpv:hasName"]["@value"] == "Data Protection Authority"
    assert plain.json()["subject"] == mine.get("/v1/me").json()["person"]
    assert plain.json()["events"][-1]["hash"] == receipts(town, person, consent)[-1]["event"]
    special = [one for one in plain.json()["items"] if one["special"]]
    assert {one["@type"] for process in record["dpv:hasProcess"] for one in process["dpv:hasPersonalData"]} >= {
        "dpv:SpecialCategoryPersonalData" for _ in special
    }
    for language, word in (("en", "Record of your consent"), ("ru", "Запись"), ("ar", "سجل"), ("zh", "同意记录")):
        page = mine.get(f"/v1/me/consents/{consent}/record.html", **{"accept-language": language})
        assert (page.status_code, page.headers["content-language"]) == (200, language)
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert word in page.text
        assert agency.titles[language] in page.text


def test_what_is_somebody_elses_is_not_there(town: Town) -> None:
    """Receipts, lists and every export answer 404 to another person and 401 to nobody."""
    person, consent = asked(town)
    receipt = town.granted(person, consent).receipt
    town.person("other", "lindum")
    app = town.app()
    other, nobody = signed_in(town, app, "other"), Browser(app)
    paths = [f"/v1/me/receipts/{receipt.id}/jws", f"/v1/me/consents/{consent}/receipts"]
    paths += [f"/v1/me/consents/{consent}/record.{form}" for form in ("jsonld", "json", "html")]
    for path in paths:
        assert (other.get(path).status_code, code_of(other.get(path))) == (404, "entry-unknown"), path
        assert nobody.get(path).status_code == 401, path


def test_a_person_prolongs_at_the_door(town: Town) -> None:
    person, consent = asked(town)
    who = town.principal(person)
    until_us = town.now_us + 10 * DAY_US
    grant(town.desk, who, consent, items=None, until_us=until_us, notice=town.notice(who, consent))
    mine = signed_in(town, town.app(), "child")
    done = mine.post(f"/v1/me/consents/{consent}/extend", {"until": "2026-12-24T09:00:00Z"})
    assert (done.status_code, done.json()["action"], done.json()["state"]) == (200, "extend", "given")
    (given,) = mine.get("/v1/me/consents").json()["consents"]
    assert given["until"] == "2026-12-24T09:00:00.000000Z"
    assert code_of(mine.post(f"/v1/me/consents/{consent}/extend", {"until": "2026-12-01T09:00:00Z"})) == (
        "consent-not-longer"
    )


def test_an_erased_persons_receipts_answer_nobody(town: Town) -> None:
    """Not even with a state."""
    person, consent = asked(town)
    receipt = town.granted(person, consent).receipt
    town.store.write(lambda tx: tx.run("UPDATE person SET key = NULL, erased_us = 1 WHERE id = ?", (person,)))
    with pytest.raises(HubError) as refused:
        status_of(town.desk, receipt.id)
    assert refused.value.code == "entry-unknown"

"""A consent's record leaves as JSON-LD (ISO/IEC TS 27560:2023 in the DPV profile), as plain JSON, and as a page."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pyld import jsonld as pyld

from consent.canonical import canonical
from consent.chain import Event
from consent.dpv import CONTEXT, RECORD, STATES, prefixed
from consent.errors import Code, ConsentError
from consent.jsonld import digest_uri, jsonld
from consent.page import codes, moment, page
from consent.particulars import Field, Particulars, Party
from consent.plain import plain
from consent.record import Record, expire, extend, narrow, pause, resume
from consent.states import State
from deploy.compile_locales import compile_mo, read_po
from hub.web.words import LANGUAGES, LOCALES, RIGHT_TO_LEFT, words
from tests.consent_examples import (
    DAY_US,
    DOB_MONTH,
    GUARDIAN,
    MUNICIPALITY_CODE,
    NOON_US,
    SELF,
    SEX,
    SYSTEM,
    Kept,
    agreed,
    in_state,
)

VECTORS = Path(__file__).parent / "vectors"
DPV = "https://w3id.org/dpv"
SCRIPTS = {"en": "LATIN", "ru": "CYRILLIC", "ar": "ARABIC", "zh": "CJK"}
GIVEN_ONCE = [one for one in State if one not in (State.NONE, State.REQUESTED, State.REFUSED, State.LAPSED)]

BESIDE = Particulars(
    issuer="https://hub.example",
    subject="p-4711",
    language="en",
    purpose="Kindergarten place",
    benefit="A place is kept for your child.",
    not_used_for=("school selection",),
    retention_days=2190,
    jurisdiction="EU",
    parties={
        "lindum": Party("lindum", "Lindum Municipality", "dpo@lindum.example", "1 Market Square, Lindum"),
        "civil-registry": Party("civil-registry", "Civil Registry", "dpo@civil.example", "2 Book Street, Capital"),
        "population-register": Party("population-register", "Population Register", "dpo@pop.example", "3 Book Street"),
    },
    authority=Party("authority", "Data Protection Authority", "help@authority.example", "4 Court Street, Capital"),
    datasets={"civil.birth.registered": "Birth", "pop.residence": "Residence"},
    fields={
        DOB_MONTH: Field("Month of birth"),
        SEX: Field("Sex", special=True),
        MUNICIPALITY_CODE: Field("Municipality"),
    },
)


def life() -> Kept:
    """A consent from its question to its end in time: given, narrowed, paused by a guardian, resumed, prolonged."""
    kept = agreed()
    steps: list[Callable[[Record], tuple[Record, Event]]] = [
        lambda record: narrow(record, items=[DOB_MONTH, MUNICIPALITY_CODE], by=SELF, at_us=NOON_US + DAY_US),
        lambda record: pause(record, by=GUARDIAN, at_us=NOON_US + 2 * DAY_US),
        lambda record: resume(record, by=SELF, at_us=NOON_US + 3 * DAY_US),
        lambda record: extend(record, until_us=NOON_US + 360 * DAY_US, by=SELF, at_us=NOON_US + 4 * DAY_US),
        lambda record: expire(record, by=SYSTEM, at_us=NOON_US + 400 * DAY_US),
    ]
    for step in steps:
        kept = kept.then(step(kept.record))
    return kept


def ld(kept: Kept) -> dict[str, Any]:
    return json.loads(canonical(jsonld(kept.record, kept.events, BESIDE)))  # type: ignore[no-any-return]  # decoded JSON


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# JSON-LD


def required() -> list[tuple[str, str, str]]:
    """(field, where, term) of tests/vectors/consent_record_fields.txt."""
    lines = (VECTORS / "consent_record_fields.txt").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if not line.startswith("#")]
    return [(field, where, term) for field, _who, where, term in rows]


def nodes(record: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Return every node of a kind; each of them has to say what its kind must."""
    processes = listed(record.get("dpv:hasProcess", []))
    return {
        "record": [record],
        "notice": listed(record.get("dpv:hasNotice", {})),
        "process": processes,
        "data": [one for process in processes for one in listed(process.get("dpv:hasPersonalData", []))],
        "entity": listed(record.get("dpv:hasEntity", [])),
        "event": listed(record.get("dpv:hasConsentStatus", [])),
    }[where]


def lacking(record: dict[str, Any]) -> list[str]:
    """Name each mandatory field that some node lacks, or has without anything in it."""
    return [
        f"{field}: {where} without {term}"
        for field, where, term in required()
        for node in nodes(record, where)
        if node.get(term) in (None, "", [], {})
    ]


@pytest.mark.parametrize("state", GIVEN_ONCE)
def test_a_consent_in_every_state_says_all_that_27560_and_the_gdpr_ask(state: State) -> None:
    record = ld(in_state(state))
    assert lacking(record) == []
    assert record["dct:conformsTo"] == RECORD


@pytest.mark.parametrize(("field", "where", "term"), required())
def test_each_mandatory_field_is_missed_where_it_is_gone(field: str, where: str, term: str) -> None:
    """The list can fail, line by line."""
    record = ld(life())
    del nodes(record, where)[-1][term]
    assert f"{field}: {where} without {term}" in lacking(record)


def test_both_halves_of_a_storage_condition_are_there() -> None:
    """27560 asks for the place and the duration; DPV has one property for both."""
    for process in nodes(ld(life()), "process"):
        kinds = {one["@type"] for one in process["dpv:hasStorageCondition"]}
        assert kinds == {"dpv:StorageLocation", "dpv:StorageDuration"}


def terms_of(value: Any) -> Iterator[str]:
    """Yield every IRI of an expanded document: properties, types, and values that are IRIs."""
    for one in listed(value):
        if isinstance(one, dict):
            for name, inner in one.items():
                yield from () if name.startswith("@") else (name,)
                yield from listed(inner) if name in ("@type", "@id") else terms_of(inner)


def known_terms() -> set[str]:
    lines = (VECTORS / "dpv_terms.txt").read_text(encoding="utf-8").splitlines()
    return {line.split()[0] for line in lines if not line.startswith("#")}


def used() -> set[str]:
    """Expand records in every state by the published processor, without a network, and collect DPV's terms."""
    stories = [life(), *(in_state(state) for state in State if state is not State.NONE)]
    return {
        term for kept in stories for term in terms_of(pyld.expand(ld(kept), OFFLINE)) if term.startswith((DPV, "dpv:"))
    }


def no_network(url: str, _options: object) -> None:
    raise AssertionError(f"the record asks for {url}")


OFFLINE = {"documentLoader": no_network}


def test_every_term_is_one_that_the_vocabulary_has() -> None:
    assert used() - known_terms() == set()


def test_no_term_stands_in_the_list_that_no_record_uses() -> None:
    assert known_terms() - used() - {f"{DPV}#SensitivePersonalData"} == set()


def test_a_term_that_the_vocabulary_has_not_is_noticed() -> None:
    record = ld(life())
    record["dpv:hasHorse"] = "dpv:Horse"
    assert f"{DPV}#hasHorse" in set(terms_of(pyld.expand(record, OFFLINE))) - known_terms()


def test_every_member_has_a_meaning_outside_this_house() -> None:
    """Expansion drops what the context does not define; nothing is dropped, and no value is a relative address."""
    record = ld(life())
    (expanded,) = pyld.expand(record, OFFLINE)
    assert {prefixed(name) for name in record if not name.startswith("@")} == expanded.keys() - {"@id", "@type"}
    assert [iri for iri in terms_of(expanded) if ":" not in iri] == []


def test_the_context_writes_every_prefix_out() -> None:
    assert prefixed("eu-gdpr:A7-3") == "https://w3id.org/dpv/legal/eu/gdpr#A7-3"
    assert set(STATES) == set(State) - {State.NONE}
    assert all(name in CONTEXT for name in ("dpv", "eu-gdpr", "loc", "dct", "prov"))


def test_the_events_name_one_another_by_their_hashes_and_the_record_names_the_last() -> None:
    kept = life()
    record = ld(kept)
    events = record["dpv:hasConsentStatus"]
    assert [one["@id"] for one in events] == [digest_uri(event.hash) for event in kept.events]
    assert [one.get("prov:wasInformedBy") for one in events] == [None, *(one["@id"] for one in events[:-1])]
    assert record["dct:provenance"]["dct:identifier"] == events[-1]["@id"] == digest_uri(kept.record.head)
    assert digest_uri(bytes(32)) == f"ni:///sha-256;{'A' * 43}"


def test_each_event_says_what_it_did_by_whom_and_until_when() -> None:
    events = ld(life())["dpv:hasConsentStatus"]
    assert [(one["dct:type"], one["@type"]) for one in events] == [
        ("request", "dpv:ConsentRequested"),
        ("give", "dpv:ConsentGiven"),
        ("narrow", "dpv:ConsentGiven"),
        ("pause", "dpv:ConsentStatusInvalidForProcessing"),
        ("resume", "dpv:ConsentGiven"),
        ("extend", "dpv:RenewedConsentGiven"),
        ("expire", "dpv:ConsentExpired"),
    ]
    by = [one["dpv:isIndicatedBy"] for one in events]
    assert by[0] == {"@id": "urn:agency:lindum"}
    assert (by[1], by[3]) == ({"@id": "urn:person:p-4711"}, {"@type": "dpv:GuardianOfDataSubject"})
    assert events[-1]["dpv:hasDuration"] == {"@type": "dpv:EndlessDuration"}
    until = {"@type": "xsd:dateTime", "@value": "2026-12-27T12:00:00.000000Z"}
    assert events[-2]["dpv:hasDuration"] == {"@type": "dpv:UntilTimeDuration", "rdf:value": until}


def test_special_categories_rest_on_explicit_consent_and_say_so() -> None:
    birth, residence = nodes(ld(agreed()), "process")
    assert birth["dpv:hasLegalBasis"] == ["eu-gdpr:A6-1-a", "eu-gdpr:A9-2-a"]
    assert residence["dpv:hasLegalBasis"] == ["eu-gdpr:A6-1-a"]
    kinds = {one["dct:identifier"]: one["@type"] for one in birth["dpv:hasPersonalData"]}
    assert kinds["civil.birth.registered/sex"] == "dpv:SpecialCategoryPersonalData"


def test_what_was_taken_back_is_not_among_the_data() -> None:
    items = {one["dct:identifier"] for one in nodes(ld(life()), "data")}
    assert items == {"civil.birth.registered/dob_month", "pop.residence/municipality_code"}


def test_a_question_that_was_never_given_claims_no_conformity() -> None:
    """There is no notice that was agreed to, which 27560 asks for; everything else is said."""
    record = ld(in_state(State.REFUSED))
    assert "dct:conformsTo" not in record
    assert record["dpv:hasConsentStatus"][-1]["@type"] == "dpv:ConsentRefused"


def test_lineage_goes_both_ways() -> None:
    kept = in_state(State.RENEWED)
    assert ld(kept)["dct:isReplacedBy"] == f"https://hub.example/v1/me/consents/{kept.record.successor}"


# Plain JSON and both


@pytest.mark.parametrize("state", [one for one in State if one is not State.NONE])
def test_no_export_names_a_person_an_actor_or_a_session_as_the_store_does(state: State) -> None:
    """The event's own bytes hold them, and stay sealed."""
    kept = in_state(state)
    exported = canonical(jsonld(kept.record, kept.events, BESIDE)) + canonical(
        plain(kept.record, kept.events, BESIDE, now_us=NOON_US)
    )
    said = kept.events[-1].said.by
    secrets = {str(SELF.person), str(GUARDIAN.actor), SELF.session, GUARDIAN.session, str(said.person)}
    assert [one for one in secrets if one.encode() in exported] == []


def test_plain_json_says_the_same_in_names_of_this_house() -> None:
    kept = life()
    said = json.loads(canonical(plain(kept.record, kept.events, BESIDE, now_us=NOON_US + 500 * DAY_US)))
    assert (said["state"], said["ended"], said["until"]) == ("expired", said["until"], "2026-12-27T12:00:00.000000Z")
    assert [one["hash"] for one in said["events"]] == [event.hash.hex() for event in kept.events]
    assert [one["prev"] for one in said["events"][1:]] == [event.hash.hex() for event in kept.events[:-1]]
    assert said["chain"]["head"] == kept.record.head.hex()
    assert {(one["field"], one["required"], one["given"]) for one in said["items"]} == {
        ("dob_month", True, True),
        ("municipality_code", True, True),
    }
    assert said["notice"] == kept.record.notice.as_json() if kept.record.notice else False


def test_time_ends_what_nobody_has_written_down_yet() -> None:
    """The plain record stands where the clock says; its end is the instant that it was given until."""
    kept = agreed()
    said = plain(kept.record, kept.events, BESIDE, now_us=kept.record.until_us)
    assert (said["state"], said["ended"]) == ("expired", said["until"])


EXPORTS = {
    "ld": lambda record, events: jsonld(record, events, BESIDE),
    "plain": lambda record, events: plain(record, events, BESIDE, now_us=NOON_US),
}


@pytest.mark.parametrize("export", [*EXPORTS])
def test_a_broken_chain_is_exported_by_nobody(export: str) -> None:
    kept = agreed()
    broken = [*kept.events[:-1], Event(kept.events[-1].canonical + b" ", kept.events[-1].hash)]
    with pytest.raises(ConsentError) as raised:
        EXPORTS[export](kept.record, broken)
    assert raised.value.code is Code.CHAIN


# The page


class Reader(HTMLParser):
    """Collects what a page says, and fails on what it must not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "style", "img", "link", "iframe"), tag
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("style", "src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())


def page_of(kept: Kept, language: str, **changed: Any) -> str:
    said = {**plain(kept.record, kept.events, BESIDE, now_us=NOON_US), **changed}
    return page(said, lambda code: words(code, language), language=language, right_to_left=language in RIGHT_TO_LEFT)


def read(text: str) -> list[str]:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader.texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_tells_the_whole_record_in_each_language(language: str) -> None:
    kept = life()
    text = page_of(kept, language)
    said = read(text)
    assert f'lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}"' in text
    for expected in ("Lindum Municipality", "Birth: Month of birth", "4 Court Street", kept.record.head.hex()):
        assert any(expected in one for one in said), expected
    for event in kept.events:
        assert event.hash.hex() in said
        assert words(f"record.action.{event.said.action}", language) in said
    assert not [one for one in said if one.startswith("record.")]


@pytest.mark.parametrize("state", [one for one in State if one is not State.NONE])
def test_every_state_has_a_page(state: State) -> None:
    assert words(f"record.state.{state}", "en") in read(page_of(in_state(state), "en"))


def test_what_a_title_holds_stays_text() -> None:
    purpose = {"code": "X", "title": "<script>alert(1)</script>", "benefit": "", "not_used_for": []}
    text = page_of(agreed(), "en", purpose=purpose)
    assert "<script" not in text
    assert any("<script>alert(1)</script>" in one for one in read(text))


def test_a_moment_is_read_to_the_minute_in_utc() -> None:
    assert moment("2026-11-02T09:05:59.999999Z") == "2026-11-02 09:05 UTC"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_of_the_page_has_words_and_no_words_are_left_over(language: str) -> None:
    written = read_po((LOCALES / language / "LC_MESSAGES" / "records.po").read_text(encoding="utf-8"))
    assert written.keys() - {""} == codes()
    assert (LOCALES / language / "LC_MESSAGES" / "records.mo").read_bytes() == compile_mo(written)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_of_the_page_are_in_the_languages_own_script(language: str) -> None:
    for code in codes():
        letters = [letter for letter in words(code, language) if letter.isalpha()]
        assert letters, code
        assert all(unicodedata.name(letter).startswith(SCRIPTS[language]) for letter in letters), code


def test_no_word_of_the_page_serves_two_codes_of_a_kind() -> None:
    """Who reads a state, an act or a capacity can tell which it was."""
    for language in LANGUAGES:
        for kind in ("record.state.", "record.action.", "record.by."):
            texts = [words(code, language) for code in codes() if code.startswith(kind)]
            assert len(set(texts)) == len(texts), (language, kind)


def test_no_page_shows_a_direction_by_a_glyph() -> None:
    assert not re.search("[←→↔⇒➔]", "".join(page_of(life(), language) for language in LANGUAGES))

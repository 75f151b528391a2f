"""The citizens' door over HTTP: sign-in, session, token; inbox, choices, receipts, history; all of it one's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.compile_locales import compile_mo, read_po
from hub.citizens.offers import REFUSALS
from hub.web.words import LANGUAGES, LOCALES, words
from tests import agency_world
from tests.citizen_world import DAY_US, Browser, Town, code_of

pytestmark = pytest.mark.engines

MONTH = {"dataset": "civil.birth.registered", "field": "dob_month"}
TOWN_CODE = {"dataset": "pop.residence", "field": "municipality_code"}


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    town.store.close()


@pytest.fixture
def child(town: Town) -> Browser:
    """A child's guardian at the browser, signed in for the child, with the kindergarten's question in the inbox."""
    town.person("child", "lindum", "civil-registry", "family-benefits")
    town.person("parent", "civil-registry")
    town.ask("lindum", "child", "KINDER-PLACE")
    browser = Browser(town.app())
    browser.sign_in("parent", **{"for": "population-register:R-child"})
    return browser


def asked(browser: Browser) -> str:
    """Return the id of the one open request."""
    (request,) = browser.get("/v1/me/inbox").json()["requests"]
    return str(request["consent"])


# Signing in.


def test_who_is_signed_in_is_named_by_nothing_that_means_anything_elsewhere(child: Browser) -> None:
    """A guardian acts for the child; neither is named as the store or an agency names them."""
    me = child.get("/v1/me").json()
    assert (me["capacity"], me["assurance"], me["csrf"]) == ("guardian", 2, child.csrf)
    assert me["person"].startswith("p1.")
    assert me["actor"] not in (me["person"], "population-register:R-parent")


def test_the_cookie_is_kept_from_scripts_other_sites_and_bare_http(town: Town) -> None:
    """HttpOnly, for the whole site; Secure wherever there is TLS, and so called that no neighbour can set it."""
    town.person("child", "lindum")
    cookie = Browser(town.app()).sign_in("child").headers["set-cookie"]
    assert cookie.startswith("__Host-hub_session=")
    assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure", "Max-Age=28800"} <= set(cookie.split("; "))
    bare = Browser(town.app(), base_url="http://127.0.0.1").sign_in("child").headers["set-cookie"]
    assert bare.startswith("hub_session=")
    assert "Secure" not in bare


def test_over_tls_a_cookie_of_the_bare_name_is_not_looked_at(town: Town) -> None:
    """A neighbouring host could have set it; the prefixed one it could not."""
    town.person("child", "lindum")
    browser = Browser(town.app())
    browser.sign_in("child")
    value = browser.http.cookies["__Host-hub_session"]
    browser.http.cookies.clear()
    browser.http.cookies.set("hub_session", value, domain="hub.example")
    assert code_of(browser.get("/v1/me")) == "session-missing"


def test_signing_in_always_makes_a_new_session_and_ends_the_one_that_came_along(town: Town) -> None:
    """A cookie planted before the sign-in is worth nothing after it (session fixation)."""
    town.person("child", "lindum")
    browser, thief = Browser(town.app()), Browser(town.app())
    browser.http.cookies.set("__Host-hub_session", "planted", domain="hub.example")
    first = browser.sign_in("child").headers["set-cookie"]
    assert "planted" not in first
    thief.http.cookies.set("__Host-hub_session", first.partition("=")[2].partition(";")[0], domain="hub.example")
    assert thief.get("/v1/me").status_code == 200
    browser.http.cookies.clear()
    browser.http.cookies.set("__Host-hub_session", first.partition("=")[2].partition(";")[0], domain="hub.example")
    second = browser.sign_in("child").headers["set-cookie"]
    assert second != first
    assert code_of(thief.get("/v1/me")) == "session-ended"


def test_only_a_hash_of_the_cookie_is_stored(town: Town, child: Browser) -> None:
    """Who reads the store can use no session."""
    cookie = child.http.cookies["__Host-hub_session"]
    ((token, principal, csrf, _),) = town.rows("SELECT token, principal, csrf, expires_us FROM session")
    assert cookie.encode() not in token + csrf + principal.encode()
    assert child.csrf.encode() not in csrf


def test_a_session_ends_by_time_and_by_signing_out(town: Town, child: Browser) -> None:
    """After eight hours, used or not; and at once when told so."""
    town.now_us += 8 * 3_600_000_000 - 1
    assert child.get("/v1/me").status_code == 200
    town.now_us += 1
    assert code_of(child.get("/v1/me")) == "session-ended"
    child.sign_in("child")
    assert child.post("/v1/me/sign-out").status_code == 204
    assert code_of(child.get("/v1/me")) == "session-missing"
    assert town.rows("SELECT count(*) FROM session") == [(0,)]


def test_without_a_session_there_is_nothing_to_see(town: Town) -> None:
    """Every address of /v1/me answers 401, whatever it is called with."""
    stranger = Browser(town.app())
    for path in ("/v1/me", "/v1/me/inbox", "/v1/me/consents", "/v1/me/history", "/v1/me/receipts/x"):
        answered = stranger.get(path)
        assert (answered.status_code, code_of(answered)) == (401, "session-missing")
    for path in ("grant", "refuse", "pause", "resume", "withdraw"):
        assert code_of(stranger.post(f"/v1/me/consents/x/{path}")) == "session-missing"
    stranger.http.cookies.set("__Host-hub_session", "x" * 5_000, domain="hub.example")
    assert code_of(stranger.get("/v1/me")) == "session-ended"


def test_a_change_without_the_sessions_token_is_refused(town: Town, child: Browser) -> None:
    """403 for none, a wrong one, and another session's; nothing has changed."""
    consent = asked(child)
    other = Browser(town.app())
    other.sign_in("child")
    mine = child.csrf
    changes: list[tuple[str, str, Any]] = [
        ("POST", f"/v1/me/consents/{consent}/{act}", {"items": [MONTH]} if act == "narrow" else None)
        for act in ("grant", "refuse", "pause", "resume", "narrow", "withdraw")
    ]
    changes.append(("POST", "/v1/me/objections", {"recipient": "family-benefits", "purpose": "FAM-ALLOW"}))
    changes.append(("DELETE", "/v1/me/objections/family-benefits:FAM-ALLOW", None))
    changes.append(("POST", "/v1/me/consents", {"recipient": "lindum", "purpose": "KINDER-PLACE"}))
    changes.append(("POST", "/v1/me/sign-out", None))
    for method, path, body in changes:
        for token in (b"", b"0" * 32, "é".encode(), other.csrf.encode()):
            headers = [(b"x-csrf-token", token)] if token else []
            answered = child.http.request(method, path, json=body, headers=headers)
            assert (answered.status_code, code_of(answered)) == (403, "csrf-missing"), (method, path)
    assert asked(child) == consent
    child.csrf = mine
    assert child.post(f"/v1/me/consents/{consent}/refuse").status_code == 200


def test_the_sign_in_without_proof_exists_only_where_settings_say_so(town: Town) -> None:
    """Elsewhere there is nothing at its address; where it is, it knows linked people only."""
    town.person("child", "lindum")
    assert Browser(town.app(dev_sign_in=False)).sign_in("child").status_code == 404
    answered = Browser(town.app()).sign_in("nobody")
    assert (answered.status_code, code_of(answered), answered.json()["where"]) == (404, "person-unknown", "/person")
    assert "nobody" not in answered.text.replace("nobody is linked", "").replace("Nobody is linked", "")


# The inbox and the answer.


def test_the_inbox_holds_everything_needed_to_decide(town: Town, child: Browser) -> None:
    """Who gets, who gives, which items, which not, why, for how long, what a no means."""
    answered = child.get("/v1/me/inbox", **{"accept-language": "de;q=0.9, en;q=0.5"})
    (request,) = answered.json()["requests"]
    offer = request["offer"]
    assert (offer["recipient_title"], offer["purpose_title"]) == ("Lindum Municipality", "Kindergarten place")
    assert offer["benefit"] == "A kindergarten place is kept for your child."
    assert offer["not_used_for"] == ["school selection", "checking your taxes"]
    (birth, residence) = offer["shares"]
    assert birth["provider_title"] == "Civil Registry"
    assert birth["items"] == [{"field": "dob_month", "title": "Month of birth", "required": True, "special": False}]
    assert {"field": "dob", "title": "Date of birth"} in birth["withheld"]
    assert {"field": "birth_weight", "title": "Birth weight in grams"} in birth["withheld"]
    assert {"field": "address", "title": "Address"} in residence["withheld"]
    assert (request["deadline"], offer["days"]) == ("2026-12-02T09:00:00.000000Z", 2190)
    assert (request["actions"], request["assurance"]) == (["grant", "refuse"], 1)
    assert "counter" in request["if_you_say_no"]
    assert answered.headers["content-language"] == "en"
    assert answered.headers["cache-control"] == "no-store"


def test_a_question_that_nobody_answered_in_time_leaves_the_inbox(town: Town, child: Browser) -> None:
    """It has lapsed at its deadline, whether or not anybody wrote that down, and can be answered no more."""
    consent = asked(child)
    town.now_us += 30 * DAY_US
    child.sign_in("parent", **{"for": "population-register:R-child"})
    assert child.get("/v1/me/inbox").json() == {"requests": []}
    (ended,) = child.get("/v1/me/consents").json()["ended"]
    assert (ended["consent"], ended["state"], ended["ended"]) == (consent, "lapsed", "2026-12-02T09:00:00.000000Z")
    assert code_of(child.post(f"/v1/me/consents/{consent}/grant")) == "consent-illegal-transition"


@pytest.mark.parametrize(
    ("accepted", "title"),
    [("ru", "Место в детском саду"), ("ar-EG, en;q=0.1", "مكان في الروضة"), ("zh-Hans-CN;q=0.3", "幼儿园学位")],
)
def test_the_inbox_speaks_the_language_asked_for(child: Browser, accepted: str, title: str) -> None:
    """From the catalogue, with what a no means in the same language."""
    (request,) = child.get("/v1/me/inbox", **{"accept-language": accepted}).json()["requests"]
    assert request["offer"]["purpose_title"] == title
    assert "counter" not in request["if_you_say_no"]


def test_a_yes_is_answered_with_a_receipt_and_moves_the_request_to_the_consents(town: Town, child: Browser) -> None:
    """The words that were shown are kept under the hash that the inbox gave, and the guardian is on record."""
    (request,) = child.get("/v1/me/inbox").json()["requests"]
    answered = child.post(f"/v1/me/consents/{request['consent']}/grant")
    receipt = answered.json()
    assert (answered.status_code, receipt["state"], receipt["consent"]) == (200, "given", request["consent"])
    assert receipt["moment"] == "2026-11-02T09:00:00.000000Z"
    assert child.get("/v1/me/inbox").json() == {"requests": []}
    (given,) = child.get("/v1/me/consents").json()["consents"]
    assert (given["state"], given["actions"]) == ("given", ["extend", "narrow", "pause", "withdraw"])
    assert given["receipts"] == [receipt["receipt"]]
    assert child.get(f"/v1/me/receipts/{receipt['receipt']}").json() == receipt
    number = int(request["notice"][:16], 16) >> 1
    assert town.rows("SELECT count(*) FROM interned WHERE id = ?", (number,)) == [(1,)]


def test_a_yes_can_leave_out_a_whole_dataset_and_end_earlier(town: Town, child: Browser) -> None:
    """What was left out stands among what they do not get."""
    consent = asked(child)
    body = {"items": [TOWN_CODE], "until": "2027-01-01T01:00:00+01:00"}
    assert child.post(f"/v1/me/consents/{consent}/grant", body).status_code == 200
    (given,) = child.get("/v1/me/consents").json()["consents"]
    assert given["until"] == "2027-01-01T00:00:00.000000Z"
    assert [share["dataset"] for share in given["offer"]["shares"]] == ["pop.residence"]
    town.now_us += 70 * DAY_US
    child.sign_in("parent", **{"for": "population-register:R-child"})
    (ended,) = child.get("/v1/me/consents").json()["ended"]
    assert (ended["state"], ended["ended"], ended["actions"]) == ("expired", "2027-01-01T00:00:00.000000Z", [])


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"items": [{"dataset": "civil.birth.registered", "field": "birth_weight"}]}, 422, "consent-unknown-field"),
        ({"items": []}, 422, "consent-nothing-left"),
        ({"until": "2026-11-02T09:00:00Z"}, 422, "consent-until-past"),
        ({"until": "2126-11-02T09:00:00Z"}, 422, "consent-until-too-long"),
        ({"until": "2027-01-01T00:00:00"}, 422, "request-form"),
        ({"itens": [MONTH]}, 422, "request-form"),
        ({"items": [{"dataset": "Doe"}]}, 422, "request-form"),
    ],
)
def test_a_yes_that_cannot_be_is_refused_and_changes_nothing(
    child: Browser, body: dict[str, Any], status: int, code: str
) -> None:
    """With a remedy, and without repeating what was sent."""
    consent = asked(child)
    answered = child.post(f"/v1/me/consents/{consent}/grant", body)
    assert (answered.status_code, code_of(answered)) == (status, code)
    assert "Doe" not in answered.text
    assert asked(child) == consent


def test_a_withdrawal_is_the_same_whenever_it_is_repeated(town: Town, child: Browser) -> None:
    """200 each time, the first receipt each time, with what had been opened just before."""
    consent = asked(child)
    child.post(f"/v1/me/consents/{consent}/grant")
    town.birth()
    (delivery,) = town.pull("lindum")
    first = child.post(f"/v1/me/consents/{consent}/withdraw")
    assert first.status_code == 200
    assert first.json()["opened_before"] == [
        {
            "recipient": "lindum",
            "dataset": "civil.birth.registered",
            "delivery": delivery["id"],
            "number": 1,
            "opened": "2026-11-02T09:00:00.000000Z",
        }
    ]
    town.now_us += 5
    second = child.post(f"/v1/me/consents/{consent}/withdraw")
    assert (second.status_code, second.json()) == (200, first.json())
    (ended,) = child.get("/v1/me/consents").json()["ended"]
    assert (ended["state"], ended["in_words"]) == ("withdrawn", words("consent.withdrawn", "en"))


def test_pause_resume_and_narrow_answer_with_receipts(town: Town, child: Browser) -> None:
    """Each is its own act with its own receipt; from a paused consent other things are possible."""
    consent = asked(child)
    child.post(f"/v1/me/consents/{consent}/grant")
    assert child.post(f"/v1/me/consents/{consent}/pause").json()["state"] == "paused"
    (paused,) = child.get("/v1/me/consents").json()["consents"]
    assert paused["actions"] == ["narrow", "resume", "withdraw"]
    assert code_of(child.post(f"/v1/me/consents/{consent}/pause")) == "consent-illegal-transition"
    assert child.post(f"/v1/me/consents/{consent}/resume").json()["state"] == "given"
    narrowed = child.post(f"/v1/me/consents/{consent}/narrow", {"items": [MONTH]})
    assert (narrowed.status_code, narrowed.json()["action"]) == (200, "narrow")


def test_a_yes_may_be_said_unasked(child: Browser) -> None:
    """To a purpose that needs consent; to nothing else."""
    body = {"recipient": "utilities", "purpose": "UTILITY-MOVE"}
    answered = child.post("/v1/me/consents", body)
    assert (answered.status_code, answered.json()["state"]) == (201, "given")
    law = {"recipient": "family-benefits", "purpose": "FAM-ALLOW"}
    assert code_of(child.post("/v1/me/consents", law)) == "purpose-not-asked"


def test_an_objection_is_recorded_shown_and_taken_back(child: Browser) -> None:
    """The uses by law say in words whether one may object."""
    use = {"recipient": "family-benefits", "purpose": "FAM-ALLOW"}
    receipt = child.post("/v1/me/objections", use).json()
    assert (receipt["state"], receipt["objection"]) == ("objected", "family-benefits:FAM-ALLOW")
    assert child.post("/v1/me/objections", use).json() == receipt
    shown = {one["objection"]: one for one in child.get("/v1/me/consents").json()["by_law"]}
    allowance = shown[receipt["objection"]]
    assert (allowance["objected"], allowance["in_words"]) == (True, words("refusal.objection", "en"))
    back = child.delete(f"/v1/me/objections/{receipt['objection']}")
    assert (back.status_code, back.json()["state"]) == (200, "none")


def test_the_history_says_in_words_who_got_what_and_who_was_refused(town: Town, child: Browser) -> None:
    """Titles and reasons in the language asked for; no internal number of a person or session anywhere."""
    town.birth()
    town.pull("family-benefits")
    answered = child.get("/v1/me/history", **{"accept-language": "ru"})
    entries = answered.json()["entries"]
    decided = {one["purpose"]: one for one in entries if one["kind"] == "decision"}
    allowed, refused = decided["FAM-ALLOW"], decided["KINDER-PLACE"]
    assert (allowed["outcome"], allowed["fields"]) == ("release", ["child_id", "dob"])
    assert allowed["handed_out"][0]["opened"] == "2026-11-02T09:00:00.000000Z"
    assert allowed["handed_out"][0]["acknowledged"] is None
    assert allowed["titles"]["birth_weight"] == "Вес при рождении в граммах"
    assert words("consent.requested", "ru") in refused["in_words"]
    assert refused["recipient_title"] == "Муниципалитет Линдум"
    assert (answered.json()["after"], answered.headers["content-language"]) == (None, "ru")
    assert not [one for one in entries if "session" in one or "event" in one]
    for (person,) in town.rows("SELECT id FROM person"):
        assert str(person) not in answered.text


def test_what_is_somebody_elses_is_not_there(town: Town, child: Browser) -> None:
    """Their consent and their receipt answer as if they did not exist."""
    consent = asked(child)
    receipt = child.post(f"/v1/me/consents/{consent}/grant").json()["receipt"]
    other = Browser(town.app())
    other.sign_in("parent")
    for act in ("grant", "refuse", "pause", "resume", "withdraw"):
        answered = other.post(f"/v1/me/consents/{consent}/{act}")
        assert (answered.status_code, code_of(answered)) == (404, "entry-unknown")
    assert code_of(other.get(f"/v1/me/receipts/{receipt}")) == "entry-unknown"
    assert other.get("/v1/me/consents").json()["consents"] == []


# Agencies ask.


def test_an_agency_asks_with_its_token_and_only_once(town: Town, tmp_path: Path) -> None:
    """201 with the request's id, then a conflict; without the scope, nothing."""
    town.person("child", "lindum", "civil-registry")
    agency = agency_world.World(tmp_path)
    app = town.app(agency_tokens=agency.tokens, quotas=agency.app.state.hub.quotas)
    app.state.hub.clock = lambda: agency.now_us
    browser = Browser(app)
    token = {"authorization": f"Bearer {agency.token('consent-requests:write')}"}
    body = {"subject": "lindum/child", "purpose": "KINDER-PLACE"}
    first = browser.http.post("/v1/consent-requests", json=body, headers=token)
    assert first.status_code == 201
    assert code_of(browser.http.post("/v1/consent-requests", json=body, headers=token)) == "request-open"
    late = {**body, "deadline": "2020-01-01T00:00:00Z"}
    assert code_of(browser.http.post("/v1/consent-requests", json=late, headers=token)) == "request-open"
    other = {"authorization": f"Bearer {agency.token('events:write')}"}
    assert code_of(browser.http.post("/v1/consent-requests", json=body, headers=other)) == "scope-missing"
    assert code_of(browser.http.post("/v1/consent-requests", json=body)) == "token-missing"
    browser.sign_in("child")
    assert asked(browser) == first.json()["id"]


# Words.


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_meaning_of_a_no_has_its_words(language: str) -> None:
    """In each language, compiled as written, and none left over."""
    folder = LOCALES / language / "LC_MESSAGES"
    written = read_po((folder / "citizens.po").read_text(encoding="utf-8"))
    assert written.keys() - {""} == set(REFUSALS.values())
    assert (folder / "citizens.mo").read_bytes() == compile_mo(written)
    assert len({words(code, language) for code in REFUSALS.values()}) == len(set(REFUSALS.values()))

"""Signing in at a provider, over real HTTP on both sides: the whole way, and each way of going wrong."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

from hub.demo.provider import Provider
from hub.identity.people import dispute, settle, unlink
from tests.citizen_world import REGISTER
from tests.sign_in_world import HIGH, LOW, SUBSTANTIAL, Browser, Place, a_place, a_provider, query, user


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as one:
        for name in ("ada", "ben"):
            one.town.person(name, "lindum")
        yield one


@pytest.fixture
def provider(place: Place) -> Iterator[Provider]:
    users = [user("ada"), user("ben"), user("stranger"), user("nameless", claim="")]
    with a_provider(place, *users) as one:
        place.use(one.issuer)
        yield one


@pytest.fixture
def browser(place: Place, provider: Provider) -> Iterator[Browser]:
    with Browser(place) as one:
        yield one


def sessions(place: Place) -> int:
    ((count,),) = place.town.rows("SELECT count(*) FROM session")
    return int(count)


def test_a_person_signs_in_at_the_provider_and_is_who_the_register_says(place: Place, browser: Browser) -> None:
    """Away with PKCE, state, nonce and levels, back to the page that was wanted, in a session as sure as that."""
    asked = query(browser.begin("/sign-in?back=/v1/me"))
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["acr_values"].split() == [LOW, SUBSTANTIAL, HIGH]
    assert len({asked[name] for name in ("state", "nonce", "code_challenge")}) == 3
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    answered = browser.sign_in("ada", path="/sign-in?back=/v1/me")
    assert (answered.status_code, answered.headers["location"]) == (303, "/v1/me")
    me = browser.me()
    assert (me["capacity"], me["assurance"]) == ("self", 2)
    assert "hub_sign_in" not in browser.http.cookies
    with Browser(place) as another:
        another.sign_in("ben")
        assert another.me()["person"] != me["person"]


def test_nothing_of_a_sign_in_can_be_read_from_the_cookie_or_the_store(place: Place, browser: Browser) -> None:
    """State, nonce and verifier travel sealed; of an account there is a keyed hash."""
    asked = query(browser.begin())
    pending = browser.http.cookies["hub_sign_in"]
    assert asked["state"] not in pending
    assert asked["nonce"] not in pending
    browser.sign_in("ada")
    stored = repr(place.town.rows("SELECT * FROM account")) + repr(place.town.rows("SELECT * FROM session"))
    assert not [one for one in ("sub-ada", "R-ada", browser.cookie()) if one in stored]


@pytest.mark.parametrize(
    "back", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "x", "/a b"]
)
def test_a_link_to_a_sign_in_leads_nobody_away(browser: Browser, back: str) -> None:
    """Only a path of the hub's own is gone back to."""
    answered = browser.sign_in("ada", path="/sign-in?" + urlencode({"back": back}))
    assert answered.headers["location"] == "/"


def test_a_code_works_once(place: Place, browser: Browser) -> None:
    """Replayed with everything that belonged to it, cookie too, it signs nobody in."""
    address = browser.approved("ada")
    pending = browser.http.cookies["hub_sign_in"]
    assert browser.get(address).status_code == 303
    with Browser(place) as thief:
        thief.http.cookies.set("hub_sign_in", pending)
        answered = thief.get(address)
        assert answered.status_code == 401
        assert "You were not signed in" in answered.text
        assert not thief.cookie()


@pytest.mark.parametrize("spoilt", ["state", "missing", "cookie", "none"])
def test_a_sign_in_that_this_browser_did_not_begin_is_refused(place: Place, browser: Browser, spoilt: str) -> None:
    """Another state, none, another browser's cookie, or none: nobody is signed in with what an attacker sends."""
    address = browser.approved("ada")
    if spoilt == "state":
        address = address.replace(query(address)["state"], "x" * 43)
    if spoilt == "missing":
        address = address.replace("state=", "other=")
    if spoilt == "cookie":
        with Browser(place) as other:
            other.begin()
            browser.http.cookies.set("hub_sign_in", other.http.cookies["hub_sign_in"], domain="127.0.0.1", path="/")
    if spoilt == "none":
        browser.http.cookies.clear()
    answered = browser.get(address)
    assert answered.status_code == 401
    assert "not begun in this browser" in answered.text
    assert sessions(place) == 0


def test_a_nonce_of_another_sign_in_is_refused(place: Place, browser: Browser, provider: Provider) -> None:
    """An attacker who slips in a code of a sign-in of their own, under the victim's state, is noticed by its nonce."""
    theirs = query(browser.approved("ben"))
    ((code, grant),) = provider._codes.items()
    with Browser(place) as victim:
        asked = query(victim.begin())
        # the attacker's code as if it had been got with the victim's challenge: PKCE alone would let it pass
        provider._codes[code] = replace(grant, code_challenge=asked["code_challenge"])
        back = urlencode({"code": theirs["code"], "state": asked["state"], "iss": provider.issuer})
        answered = victim.get("/sign-in/back?" + back)
        assert (answered.status_code, "its nonce" in answered.text) == (401, True)
    assert sessions(place) == 0


def test_a_code_of_another_sign_in_is_refused_by_its_challenge(
    place: Place, browser: Browser, provider: Provider
) -> None:
    """PKCE: a stolen code is worth nothing to who does not have the verifier."""
    theirs = query(browser.approved("ben"))
    with Browser(place) as victim:
        asked = query(victim.begin())
        back = urlencode({"code": theirs["code"], "state": asked["state"], "iss": provider.issuer})
        assert victim.get("/sign-in/back?" + back).status_code == 401
    assert sessions(place) == 0


@pytest.mark.parametrize("issuer", ["https://other.example", None])
def test_an_answer_of_another_provider_is_refused(place: Place, browser: Browser, issuer: str | None) -> None:
    """RFC 9207: who announces to say who answers has to, and has to be who was asked."""
    given = query(browser.approved("ada"))
    given.pop("iss")
    answered = browser.get("/sign-in/back?" + urlencode(given | ({"iss": issuer} if issuer else {})))
    assert (answered.status_code, "another provider" in answered.text) == (401, True)
    assert sessions(place) == 0


def test_signing_in_makes_a_new_session_and_ends_the_one_that_came_along(place: Place, browser: Browser) -> None:
    """Session fixation: a cookie planted before is worth nothing after, and so is the one of before a step up."""
    browser.http.cookies.set("hub_session", "planted", domain="127.0.0.1", path="/")
    browser.sign_in("ada")
    first = browser.cookie()
    assert first != "planted"
    browser.sign_in("ada")
    assert browser.cookie() != first
    with Browser(place) as thief:
        thief.http.cookies.set("hub_session", first)
        assert thief.get("/v1/me").status_code == 401
    assert sessions(place) == 1


def test_a_purpose_that_wants_more_sends_to_a_stronger_sign_in(place: Place, browser: Browser) -> None:
    """Step-up: only what is worth enough is asked for; less is refused and leaves the session that there was."""
    browser.sign_in("ada", acr=LOW)
    before = browser.cookie()
    assert browser.me()["assurance"] == 1
    assert query(browser.begin("/sign-in?least=3"))["acr_values"] == HIGH
    weak = browser.sign_in("ada", path="/sign-in?least=3", acr=SUBSTANTIAL)
    assert (weak.status_code, "P3 is needed here" in weak.text) == (403, True)
    assert (browser.cookie(), browser.me()["assurance"]) == (before, 1)
    assert browser.sign_in("ada", path="/sign-in?least=3&back=/v1/me", acr=HIGH).status_code == 303
    assert browser.me()["assurance"] == 3
    assert browser.cookie() != before


def test_who_is_not_sure_enough_for_anything_is_not_let_in(place: Place, browser: Browser, provider: Provider) -> None:
    """The least assurance is a setting; an `acr` that no setting knows is worth nothing."""
    place.use(provider.issuer, least=2)
    assert browser.sign_in("ada", acr=LOW).status_code == 403
    desk = place.use(provider.issuer)
    desk.provider.party = desk.provider.party._replace(levels={"another": 3})
    assert browser.sign_in("ada", acr=HIGH).status_code == 403
    assert sessions(place) == 0


@pytest.mark.parametrize("name", ["stranger", "nameless"])
def test_whom_the_register_does_not_know_is_not_let_in(place: Place, browser: Browser, name: str) -> None:
    """The provider vouches for them; but nobody is linked under its claim, or it makes none."""
    answered = browser.sign_in(name)
    assert (answered.status_code, "does not know who you are" in answered.text) == (403, True)
    assert (sessions(place), place.town.rows("SELECT 1 FROM account")) == (0, [])


def test_a_link_that_is_doubted_or_undone_ends_the_sessions_that_rest_on_it(place: Place, browser: Browser) -> None:
    """Somebody else may have been signed in as this person; others stay, and a settled link is good again."""
    with Browser(place) as other:
        other.sign_in("ben")
        browser.sign_in("ada")
        dispute(place.town.register, agency=REGISTER, local_id="R-ada")
        assert browser.get("/v1/me").status_code == 401
        assert browser.sign_in("ada").status_code == 403
        settle(place.town.register, agency=REGISTER, local_id="R-ada")
        assert browser.sign_in("ada").status_code == 303
        unlink(place.town.register, agency=REGISTER, local_id="R-ada")
        assert browser.get("/v1/me").status_code == 401
        assert browser.sign_in("ada").status_code == 403
        assert other.get("/v1/me").status_code == 200


def test_who_stops_at_the_provider_is_told_that_nothing_happened(place: Place, browser: Browser) -> None:
    """access_denied comes back as a page of ours."""
    stopped = browser.at_provider(browser.begin("/sign-in?back=/choose%3Fkept%3Dx&least=2"), "ada", stop="1")
    answered = browser.get(stopped.headers["location"])
    assert (answered.status_code, "You stopped signing in" in answered.text) == (401, True)
    assert 'href="/sign-in?back=%2Fchoose%3Fkept%3Dx&amp;least=2"' in answered.text  # and nothing that was kept is lost


def test_a_sign_in_takes_ten_minutes_at_most(place: Place, browser: Browser) -> None:
    """The cookie that it began with is worth nothing afterwards."""
    address = browser.approved("ada", path="/sign-in?back=/choose")
    place.town.now_us += 600_000_001
    late = browser.get(address)
    assert (late.status_code, 'href="/sign-in?back=%2Fchoose"' in late.text) == (401, True)


def test_signing_out_is_a_form_with_the_sessions_token(place: Place, browser: Browser) -> None:
    """CSRF: without it, or with another's, nothing happens; with it this session ends and no other."""
    with Browser(place) as telephone:
        telephone.sign_in("ada")
        browser.sign_in("ada")
        csrf = browser.me()["csrf"]
        for wrong in ({}, {"csrf": "0" * 32}, {"csrf": telephone.me()["csrf"]}):
            assert browser.http.post("/sign-out", data=wrong or {"x": ""}).status_code == 403
            assert browser.http.post("/sign-out/everywhere", data=wrong or {"x": ""}).status_code == 403
        assert browser.get("/v1/me").status_code == 200
        out = browser.http.post("/sign-out", data={"csrf": csrf})
        assert (out.status_code, out.headers["location"]) == (303, "/signed-out")
        assert not browser.cookie()
        assert telephone.get("/v1/me").status_code == 200


def test_signing_out_everywhere_ends_all_of_ones_own_sessions_and_nobody_elses(place: Place, browser: Browser) -> None:
    """Also one that a hub of before wrote, which did not say who began it."""
    with Browser(place) as telephone, Browser(place) as other:
        for one, name in ((browser, "ada"), (telephone, "ada"), (other, "ben")):
            one.sign_in(name)
        place.town.store.write(
            lambda tx: tx.run(
                "UPDATE session SET actor = NULL WHERE expires_us IN (SELECT min(expires_us) FROM session)"
            )
        )
        answered = telephone.http.post("/sign-out/everywhere", data={"csrf": telephone.me()["csrf"]})
        assert answered.status_code == 303
        assert browser.get("/v1/me").status_code == 401
        assert telephone.get("/v1/me").status_code == 401
        assert other.get("/v1/me").status_code == 200


def test_pages_are_told_to_browsers_as_strictly_as_can_be(place: Place, browser: Browser) -> None:
    """Nothing from elsewhere, no script in the page, in nobody's frame, kept by no cache. JSON has no need of it."""
    shown = browser.get("/sign-in/back")
    assert shown.status_code == 401
    policy = shown.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "form-action 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert "unsafe" not in shown.headers["content-security-policy"]
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert shown.headers["cache-control"] == "no-store"
    assert "content-security-policy" not in browser.http.get("/v1/me", headers={"accept": "*/*"}).headers

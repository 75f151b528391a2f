"""The citizens' pages without a browser: what stands on them, who may see them, and what a form can and cannot do."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.web.portal.failures import safe_next
from hub.web.portal.visit import FORM_BYTES
from tests.portal_world import Broken, PortalTown, Reader, pages_of, state_of, words_of


@pytest.fixture
def town(tmp_path: Path) -> Iterator[PortalTown]:
    town = PortalTown(tmp_path)
    yield town
    town.store.close()


@pytest.fixture
def names(town: PortalTown) -> dict[str, str]:
    return town.settle()


@pytest.fixture
def reader(town: PortalTown, names: dict[str, str]) -> Reader:
    """The child's own browser, signed in."""
    reader = Reader(town.app())
    reader.sign_in("child")
    return reader


# Who sees what.


def test_nobody_sees_a_page_without_having_signed_in(town: PortalTown, names: dict[str, str]) -> None:
    """Every page leads to the sign-in, and back to itself afterwards."""
    stranger = Reader(town.app())
    for path in pages_of(names).values():
        if path != "/dev/sign-in":
            answered = stranger.get(path)
            assert (answered.status_code, answered.headers["location"].partition("?")[0]) == (303, "/dev/sign-in"), path
    led = stranger.get("/my/history").headers["location"]
    assert 'name="next" value="/my/history"' in stranger.get(led).text


def test_somebody_elses_pages_look_as_if_they_were_not_there(town: PortalTown, names: dict[str, str]) -> None:
    """A question, a consent, its end and a receipt of another person: 404, the same page as for nothing at all."""
    town.person("other", "lindum", "civil-registry")
    other = Reader(town.app())
    other.sign_in("other")
    nothing = words_of(other.get("/my/nothing-is-here").text)
    for page in ("request", "running", "stopped", "stop", "receipt"):
        path = pages_of(names)[page].partition("?")[0]
        answered = other.get(path)
        assert (answered.status_code, words_of(answered.text)) == (404, nothing), page
    for path in (f"/my/requests/{names['asked']}", f"/my/sharing/{names['running']}/stop"):
        assert other.send(path, ("answer", "yes")).status_code == 404
    assert (state_of(town, names["asked"]), state_of(town, names["running"])) == ("requested", "given")


def test_every_page_may_run_and_load_nothing_but_its_own(reader: Reader, names: dict[str, str]) -> None:
    """No inline script or style, nothing from elsewhere, in nobody's frame, kept by no cache."""
    for name, path in pages_of(names).items():
        answered = reader.get(path)
        assert answered.status_code == (404 if name == "missing" else 200), name
        policy = answered.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answered.headers["cache-control"] == "no-store"
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:|https?://", answered.text), (
            name
        )


def test_every_form_carries_the_sessions_token(reader: Reader, names: dict[str, str]) -> None:
    """Each form that changes something, on every page; one that only looks does not."""
    for name, path in pages_of(names).items():
        if name == "people":
            continue
        for form in re.findall(r"<form.*?</form>", reader.get(path).text, re.DOTALL):
            assert (f'name="csrf" value="{reader.csrf}"' in form) == ('method="post"' in form), name


def test_a_form_without_the_token_changes_nothing(town: PortalTown, reader: Reader, names: dict[str, str]) -> None:
    """None, a wrong one, and one that another site's page has sent: 403, and a page that says what to do."""
    paths = [
        f"/my/requests/{names['asked']}",
        f"/my/sharing/{names['running']}",
        f"/my/sharing/{names['running']}/stop",
    ]
    paths += ["/my/objections/family-benefits:FAM-ALLOW", "/my/settings", "/my/sign-out"]
    before = town.rows("SELECT count(*) FROM audit")
    for path in paths:
        for token in ("", "0" * 32):
            answered = reader.send(path, ("answer", "no"), ("act", "pause"), csrf=token)
            assert answered.status_code == 403, path
            assert "Nothing was changed" in words_of(answered.text)
        foreign = reader.http.post(path, data={"csrf": reader.csrf}, headers={"sec-fetch-site": "cross-site"})
        assert foreign.status_code == 403, path
    assert town.rows("SELECT count(*) FROM audit") == before
    assert reader.get("/my").status_code == 200


def test_an_address_that_nobody_made_is_a_page_however_deep(reader: Reader, names: dict[str, str]) -> None:
    """Below the pages as beside them: 404, with the way on."""
    for path in ("/my/", "/my/a/b", f"/my/sharing/{names['running']}/stop/it", "/my/receipts/a/b/c"):
        answered = reader.get(path)
        assert (answered.status_code, answered.headers["content-type"]) == (404, "text/html; charset=utf-8"), path
        assert "This page is not here" in words_of(answered.text)


def test_a_failure_that_nobody_foresaw_is_a_page_and_does_not_claim_that_nothing_happened(
    town: PortalTown, reader: Reader, names: dict[str, str]
) -> None:
    """500 with a reference; nobody knows how far it came, so it says where to look and not that it was not done."""

    def bug(*_: object, **__: object) -> None:
        raise RuntimeError("committed, and then")

    object.__setattr__(town.desk, "store", Broken(town.store, bug))
    path = f"/my/sharing/{names['running']}/stop"
    answered = reader.send(path)
    page = words_of(answered.text)
    assert (answered.status_code, answered.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert re.search(r"may have been done all the same.* knows this failure as [0-9a-f]{8}", page)
    assert "Nothing" not in page
    assert "committed" not in page
    assert f'href="{path}"' in answered.text


def test_nobody_waits_for_a_stop_that_will_be_refused(town: PortalTown, reader: Reader, names: dict[str, str]) -> None:
    """Without a session, or with another's token, a request goes before nobody; with its own it does."""
    path, act = f"/my/sharing/{names['running']}/stop", f"/v1/me/consents/{names['running']}/withdraw"
    stranger = Reader(town.app())
    assert stranger.send(path, csrf="0" * 32).status_code == 401
    assert stranger.http.post(act, headers={"cookie": "__Host-hub_session=x", "x-csrf-token": "0"}).status_code == 401
    assert reader.send(path, csrf="0" * 32).status_code == 403
    assert town.world.way.portion(90) == 90
    assert reader.send(path).status_code == 303
    assert town.world.way.portion(90) == 30


# The question.


def test_the_first_forty_words_say_who_what_until_when_and_what_a_no_means(
    reader: Reader, names: dict[str, str]
) -> None:
    """Recipient, every item, the end, the effect of No: before anything else on the page."""
    page = reader.get(f"/my/requests/{names['asked']}").text
    first = " ".join(words_of(page[page.index("<main") :]).split()[:40])
    for part in ("Lindum Municipality", "month of birth", "code of the municipality", "Until 2 November 2032"):
        assert part in first
    assert "If you say no, nothing is passed on, and you can still apply at the counter." in first


def test_nothing_is_ticked_beforehand_and_the_two_buttons_differ_in_their_words_only(
    town: PortalTown, reader: Reader, names: dict[str, str]
) -> None:
    """Every box is empty, and yes has nothing that no has not."""
    for page in ("request", "running"):
        assert " checked" not in reader.get(pages_of(names)[page]).text
    page = reader.get(pages_of(names)["request"]).text
    yes, no = (re.search(rf'<button[^>]*value="{value}"[^>]*>', page) for value in ("yes", "no"))
    assert yes
    assert no
    assert yes[0].replace('"yes"', '"no"') == no[0]


def notice(reader: Reader, path: str) -> tuple[str, str]:
    found = re.search(r'name="notice" value="([0-9a-f]{64})"', reader.get(path).text)
    assert found
    return ("notice", found[1])


def test_a_yes_leads_to_the_consent_and_loading_it_again_sends_nothing(
    town: PortalTown, reader: Reader, names: dict[str, str]
) -> None:
    """303 to the consent's page, which says what was done; the record holds the words that were shown."""
    path = f"/my/requests/{names['asked']}"
    answered = reader.send(path, notice(reader, path), ("answer", "yes"))
    assert (answered.status_code, answered.headers["location"]) == (303, f"/my/sharing/{names['asked']}?done=grant")
    page = reader.say(answered.headers["location"])
    assert "You said yes. From now on Lindum Municipality can receive what is listed here." in page
    assert state_of(town, names["asked"]) == "given"
    acts = town.rows("SELECT count(*) FROM audit")
    reader.get(answered.headers["location"])
    assert town.rows("SELECT count(*) FROM audit") == acts


def test_a_no_takes_as_many_steps_as_a_yes(town: PortalTown, reader: Reader, names: dict[str, str]) -> None:
    """One form, one button; it needs not even the words that were shown."""
    answered = reader.send(f"/my/requests/{names['asked']}", ("answer", "no"))
    assert (answered.status_code, answered.headers["location"]) == (303, f"/my/sharing/{names['asked']}?done=refuse")
    assert "Nothing is passed on to Lindum Municipality." in reader.say(answered.headers["location"])
    assert state_of(town, names["asked"]) == "refused"


def test_a_yes_to_other_words_than_those_of_now_changes_nothing(
    town: PortalTown, reader: Reader, names: dict[str, str]
) -> None:
    """Nor does a form without an answer."""
    path = f"/my/requests/{names['asked']}"
    other = reader.send(path, ("notice", "0" * 64), ("answer", "yes"))
    assert (other.status_code, "Something has changed meanwhile" in words_of(other.text)) == (422, True)
    none = reader.send(path, notice(reader, path))
    assert (none.status_code, "Choose yes or no." in words_of(none.text)) == (422, True)
    assert state_of(town, names["asked"]) == "requested"


def test_a_form_that_was_answered_elsewhere_says_what_happened_meanwhile(
    town: PortalTown, reader: Reader, names: dict[str, str]
) -> None:
    """409, with the state of now and the way to it; the page of the question itself leads there."""
    path = f"/my/requests/{names['asked']}"
    shown = notice(reader, path)
    reader.send(path, ("answer", "no"))
    late = reader.send(path, shown, ("answer", "yes"))
    assert late.status_code == 409
    assert "Something has changed meanwhile" in words_of(late.text)
    assert "Refused" in words_of(late.text)
    assert f'href="/my/sharing/{names["asked"]}"' in late.text
    assert reader.get(path).headers["location"] == f"/my/sharing/{names['asked']}"
    assert state_of(town, names["asked"]) == "refused"


def test_a_sign_in_that_is_too_weak_is_told_before_and_after(town: PortalTown, names: dict[str, str]) -> None:
    """The question says that a yes needs more; a yes all the same says it again, and nothing has changed."""
    weak = Reader(town.app())
    weak.sign_in("child", assurance=0)
    path = f"/my/requests/{names['asked']}"
    assert "you need a stronger sign-in" in weak.say(path)
    answered = weak.send(path, notice(weak, path), ("answer", "yes"))
    assert (answered.status_code, "A stronger sign-in is needed" in words_of(answered.text)) == (403, True)
    assert state_of(town, names["asked"]) == "requested"
    assert weak.send(path, ("answer", "no")).status_code == 303


# Language, settings, the way in and out.


def test_choosing_a_language_keeps_the_page(reader: Reader) -> None:
    """The switch leads back to the same page with the same filter, and the choice lasts."""
    led = reader.get("/my/history?recipient=lindum&language=ar")
    assert (led.status_code, led.headers["location"]) == (303, "/my/history?recipient=lindum")
    page = reader.get("/my/history").text
    assert '<html lang="ar" dir="rtl"' in page
    assert "portal.rtl.css" in page
    assert reader.get("/my?language=xx").status_code == 200
    assert reader.send("/my/settings", ("language", "ru")).headers["location"] == "/my/settings?done=settings"
    assert '<html lang="ru" dir="ltr"' in reader.get("/my").text


def test_the_browsers_own_language_is_taken_where_none_was_chosen(reader: Reader) -> None:
    """As the API does."""
    assert '<html lang="zh"' in reader.get("/my", **{"accept-language": "zh-CN"}).text


def test_signing_out_ends_the_session_and_leads_to_no_sign_in(reader: Reader) -> None:
    """To a page that says so: a provider that still knows the person would sign them in again unasked.

    Nor may a form's answer lead to another site: `form-action 'self'` makes a browser stop there and show nothing.
    """
    answered = reader.send("/my/sign-out")
    assert (answered.status_code, answered.headers["location"]) == (303, "/signed-out")
    assert reader.get("/my").status_code == 303
    shown = reader.get("/signed-out")
    assert (shown.status_code, "You are signed out" in words_of(shown.text)) == (200, True)
    assert reader.send("/my/sign-out").headers["location"] == "/signed-out"


def test_the_sign_in_without_proof_is_there_only_where_settings_say_so(town: PortalTown, names: dict[str, str]) -> None:
    """Elsewhere neither its page nor its form exists."""
    there = Reader(town.app())
    signed = there.send(
        "/dev/sign-in/form", ("person", "population-register:R-parent"), ("for", "population-register:R-child")
    )
    assert (signed.status_code, signed.headers["location"]) == (303, "/my")
    assert "You are acting for a person you are responsible for." in there.say("/my")
    assert there.send("/dev/sign-in/form", ("person", "nobody:1")).status_code == 404
    assert there.get("/dev/sign-in/form").headers["location"] == "/dev/sign-in"
    elsewhere = Reader(town.app(dev_sign_in=False))
    assert elsewhere.get("/dev/sign-in").status_code in (404, 405)
    assert elsewhere.send("/dev/sign-in/form", ("person", "population-register:R-child")).status_code == 404


@pytest.mark.parametrize(
    ("given", "there"),
    [
        ("/my/history", "/my/history"),
        ("/my", "/my"),
        ("//elsewhere.example/my", "/my"),
        ("https://elsewhere.example/my", "/my"),
        ("/\\elsewhere.example", "/my"),
        ("/mystery", "/my"),
        ("/v1/me", "/my"),
    ],
)
def test_signing_in_leads_to_pages_of_ours_only(given: str, there: str) -> None:
    """Wherever the address says to go."""
    assert safe_next(given) == there


def test_a_form_that_is_too_long_is_refused(reader: Reader) -> None:
    """Before all of it has arrived."""
    body = b"csrf=" + b"x" * FORM_BYTES
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert reader.http.post("/my/settings", content=body, headers=headers).status_code == 413

"""The citizens' forms when a session ends, is renewed or too weak: it is said, nothing is done, no choice is lost."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.portal_world import PortalTown, Reader, state_of, words_of

EVERY_FORM = ("requests/{asked}", "sharing/{running}", "sharing/{running}/stop", "settings")
ITEM = re.compile(r'name="item"[^>]*?value="([^"]+)"')


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


def form_of(page: str, path: str) -> list[tuple[str, str]]:
    """Return the hidden fields of the first form on a page that goes to this address, but for the session's token."""
    form = page[page.index(f'action="{path}"') :].partition("</form>")[0]
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form)
    return [one for one in hidden if one[0] != "csrf"]


def way_on(answered: httpx.Response) -> str:
    """Return the address of the one link that a page's text ends with."""
    return unescape(re.findall(r'<p class="govuk-body"><a class="govuk-link" href="([^"]+)"', answered.text)[-1])


def query(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def end_sessions(town: PortalTown) -> None:
    town.store.write(lambda tx: tx.run("DELETE FROM session"))  # as eight hours would


def ticked(page: str) -> list[str]:
    return [ITEM.search(one)[1] for one in re.findall(r"<input[^>]*checkbox[^>]*>", page) if " checked" in one]  # type: ignore[index]  # each has a value


def test_a_form_that_outlives_its_session_is_never_taken_away_without_a_word(
    town: PortalTown, reader: Reader, names: dict[str, str]
) -> None:
    """401 with a page: a browser would stop at an answer that leads to the provider, and show nothing at all."""
    end_sessions(town)
    for one in EVERY_FORM:
        path = "/my/" + one.format(**names)
        answered = reader.send(path, ("answer", "no"), ("act", "pause"))
        assert (answered.status_code, answered.headers["content-type"]) == (401, "text/html; charset=utf-8"), path
        assert "Your session has ended Nothing was changed." in words_of(answered.text), path
        assert query(way_on(answered))["next"] == path
    assert (state_of(town, names["asked"]), state_of(town, names["running"])) == ("requested", "given")


def test_what_was_chosen_is_there_again_after_signing_in(
    town: PortalTown, reader: Reader, names: dict[str, str]
) -> None:
    """Ticked as it was, not sent; once, and for nobody else."""
    town.granted(town.person("child"), names["asked"])
    path, item = f"/my/sharing/{names['asked']}", "civil.birth.registered/dob_month"
    shown = reader.get(path).text
    end_sessions(town)
    answered = reader.send(path, *form_of(shown, path), ("item", item))
    assert (answered.status_code, "What you chose is kept" in words_of(answered.text)) == (401, True)
    there = query(way_on(answered))["next"]
    other = Reader(town.app())
    other.sign_in("parent")
    assert other.get(there).status_code == 404
    led = reader.get(there)
    assert query(led.headers["location"])["next"] == there  # signing in from the page itself loses it no more
    reader.sign_in("child")
    again = reader.get(there).text
    assert (ticked(again), "This is what you had chosen. It was not sent yet" in words_of(again)) == ([item], True)
    assert ticked(reader.get(there).text) == []
    assert reader.send(path, *form_of(again, path), ("item", item)).headers["location"] == f"{path}?done=narrow"


def test_a_form_of_ones_former_session_is_kept_and_shown_again(
    town: PortalTown, reader: Reader, names: dict[str, str]
) -> None:
    """Signed in anew in another window: 409, a link to the form as it was; without its ticket it is refused."""
    path = f"/my/sharing/{names['running']}"
    shown, before = reader.get(path).text, reader.csrf
    item = ITEM.findall(shown)[0]
    reader.sign_in("child")
    answered = reader.send(path, *form_of(shown, path), ("item", item), csrf=before)
    assert (answered.status_code, "signed in anew" in words_of(answered.text)) == (409, True)
    assert ticked(reader.get(way_on(answered)).text) == [item]
    assert reader.send(path, ("act", "pause"), csrf=before).status_code == 403
    reader.sign_in("parent")
    assert reader.send(path, *form_of(shown, path), ("item", item), csrf=before).status_code == 403
    assert state_of(town, names["running"]) == "given"


def test_who_is_not_sure_enough_is_led_to_a_stronger_sign_in_and_back_to_the_answer(
    town: PortalTown, names: dict[str, str]
) -> None:
    """Before and after sending: the link asks for what the purpose wants, and a yes is kept until then."""
    weak = Reader(town.app(sign_in=SimpleNamespace()))
    weak.sign_in("child", assurance=0)
    path = f"/my/requests/{names['asked']}"
    shown = weak.get(path).text
    before = re.search(r'href="(/sign-in\?[^"]+)"', shown)
    assert before is not None
    wanted = query(unescape(before[1]))
    assert (wanted["back"], int(wanted["least"]) > 0) == (path, True)
    answered = weak.send(path, *form_of(shown, path), ("answer", "yes"))
    assert (answered.status_code, "what you chose is kept" in words_of(answered.text)) == (403, True)
    led = query(way_on(answered))
    assert led["least"] == wanted["least"]
    weak.sign_in("child", assurance=3)
    again = weak.get(led["back"])
    assert "This is what you had chosen" in words_of(again.text)
    assert state_of(town, names["asked"]) == "requested"
    assert weak.send(path, *form_of(again.text, path), ("answer", "yes")).status_code == 303
    assert state_of(town, names["asked"]) == "given"


def test_a_form_that_is_shown_again_for_a_mistake_keeps_what_was_ticked(reader: Reader, names: dict[str, str]) -> None:
    """As when everything was to be taken out."""
    path = f"/my/sharing/{names['running']}"
    shown = reader.get(path).text
    items = ITEM.findall(shown)
    answered = reader.send(path, *form_of(shown, path), *(("item", one) for one in items))
    assert (answered.status_code, ticked(answered.text)) == (422, items)

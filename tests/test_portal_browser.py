"""The citizens' pages in a real browser: for everybody, in every language, on a phone and a desktop, by keyboard."""

from collections.abc import Iterator
from pathlib import Path

import playwright.sync_api as playwright
import pytest

from hub.web.words import LANGUAGES
from tests.browser import DESKTOP, PHONE, chromium, faults, needs_browser
from tests.portal_world import PortalTown, pages_of, portal, signed_in
from tests.test_portal_texts import ARROWS, QUOTES

MOST_BYTES = 150_000  # transferred for one page, with everything it loads, by somebody who has nothing of it yet
SIZES = (PHONE, DESKTOP)


@pytest.fixture(scope="module")
def window() -> Iterator[playwright.Browser]:
    needs_browser()
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """One town, served for everything that only looks: its address, and its pages by name."""
    needs_browser()
    town = PortalTown(tmp_path_factory.mktemp("settled"))
    pages = pages_of(town.settle())
    with portal(town) as address:
        yield address, pages
    town.store.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[str, dict[str, str], PortalTown]]:
    """A town of the test's own, to change things in: its address, its consents by name."""
    town = PortalTown(tmp_path)
    names = town.settle()
    with portal(town) as address:
        yield address, names, town
    town.store.close()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES, ids=("phone", "desktop"))
def test_every_page_is_for_everybody(
    window: playwright.Browser, settled: tuple[str, dict[str, str]], language: str, size: tuple[int, int]
) -> None:
    """axe finds nothing (WCAG 2.2 AA and best practice); nothing is wider than the screen; nothing points; no error."""
    address, pages = settled
    with signed_in(window, address, language, width=size[0], height=size[1]) as page:
        errors: list[str] = []
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        for name, path in pages.items():
            page.goto(address + path)
            assert faults(page) == [], name
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
            assert page.locator("html").get_attribute("lang") == language
            shown = page.locator("body").inner_text()
            assert not ARROWS.search(shown.translate(QUOTES)), name
            assert [one for one in errors if "404" not in one or name != "missing"] == [], name
            errors.clear()


def test_axe_finds_what_is_wrong(window: playwright.Browser, settled: tuple[str, dict[str, str]]) -> None:
    """The check above can fail: a button without a name, and grey on grey, are both found."""
    with signed_in(window, settled[0], "en", width=1280) as page:
        page.evaluate("document.querySelector('main').append(document.createElement('button'))")
        assert any(one.startswith("button-name") for one in faults(page))


@pytest.mark.parametrize("language", ["en", "ar"])
def test_at_twice_the_size_nothing_needs_scrolling_sideways(
    window: playwright.Browser, settled: tuple[str, dict[str, str]], language: str
) -> None:
    """200 % zoom halves the window that a page sees (WCAG 1.4.4), 400 % of 1280 leaves 320 (1.4.10)."""
    address, pages = settled
    for width in (PHONE[0] // 2 + 125, 640, 320):
        with signed_in(window, address, language, width=width) as page:
            for name, path in pages.items():
                page.goto(address + path)
                assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (name, width)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_weighs_more_than_it_may(
    window: playwright.Browser, settled: tuple[str, dict[str, str]], language: str
) -> None:
    """Everything that goes over the wire for a first visit, headers and all."""
    address, pages = settled
    with signed_in(window, address, language, width=1280) as page:
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        moved: list[float] = []
        session.on("Network.loadingFinished", lambda said: moved.append(said["encodedDataLength"]))
        for name, path in pages.items():
            moved.clear()
            page.goto(address + path, wait_until="networkidle")
            assert len(moved) >= 4, (name, "the style sheet and the scripts are counted too")
            assert 0 < sum(moved) <= MOST_BYTES, (name, sum(moved))


def test_every_link_and_button_on_a_page_has_a_name_of_its_own(
    window: playwright.Browser, settled: tuple[str, dict[str, str]]
) -> None:
    """Whoever goes from one to the next without seeing the page knows which is which; one place has one name."""
    address, pages = settled
    for language in LANGUAGES:
        with signed_in(window, address, language, width=1280) as page:
            for name, path in pages.items():
                page.goto(address + path)
                named: list[list[str]] = page.evaluate(
                    "[...document.querySelectorAll('a[href], button')].filter(one => one.checkVisibility())"
                    ".map(one => [one.textContent.replace(/\\s+/g, ' ').trim(), one.href || 'button'])"
                )
                places: dict[str, set[str]] = {}
                for text, place in named:
                    places.setdefault(text, set()).add(place)
                assert {text: to for text, to in places.items() if len(to) > 1} == {}, (name, language)
                buttons = [text for text, place in named if place == "button"]
                assert len(set(buttons)) == len(buttons), (name, language)


@pytest.mark.parametrize("scripts", [True, False], ids=("scripts", "no scripts"))
def test_a_sharing_is_stopped_in_two_clicks_from_the_list(
    window: playwright.Browser, own: tuple[str, dict[str, str], PortalTown], scripts: bool
) -> None:
    """One to see what it means, one to do it; then the page says so. With JavaScript and without."""
    address, names, town = own
    with signed_in(window, address, "en", width=PHONE[0], scripts=scripts) as page:
        page.goto(f"{address}/my/sharing")
        page.get_by_role("link", name="Stop sharing new address and date of the move with Lindum Utilities").click()
        page.get_by_role("button", name="Stop sharing new address and date of the move with Lindum Utilities").click()
        assert "You stopped this." in page.locator("main").inner_text()
        page.reload()
        assert "Stopped by you" in page.locator("main").inner_text()
    assert town.rows("SELECT state FROM consent WHERE public = ?", (names["running"],)) == [("withdrawn",)]


@pytest.mark.parametrize("answer", ["Yes, share with Lindum Municipality", "No, do not share with Lindum Municipality"])
def test_a_question_is_answered_without_scripts_and_with_the_keyboard_alone(
    window: playwright.Browser, own: tuple[str, dict[str, str], PortalTown], answer: str
) -> None:
    """From the home page by Tab and Enter; what has the focus shows it; refusing takes as many keys as allowing."""
    address, names, town = own
    with signed_in(window, address, "en", width=1280, scripts=False) as page:
        tab_to(page, "Answer Lindum Municipality: Kindergarten place")
        page.keyboard.press("Enter")
        page.wait_for_url("**/my/requests/*")
        tab_to(page, answer)
        page.keyboard.press("Enter")
        page.wait_for_url("**/my/sharing/*")
    (state,) = town.rows("SELECT state FROM consent WHERE public = ?", (names["asked"],))[0]
    assert state == ("given" if answer.startswith("Yes") else "refused")


def tab_to(page: playwright.Page, name: str) -> None:
    """Press Tab until the focus is on what is called so. Each stop on the way shows that it has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.count() == 1
        if focused.inner_text().strip() == name:
            style = focused.evaluate(
                "one => { const s = getComputedStyle(one); return [s.backgroundColor, s.outlineStyle] }"
            )
            assert style[0] == "rgb(255, 221, 0)" or style[1] != "none", style
            return
    raise AssertionError(f"the keyboard does not reach: {name}")


def test_the_keyboard_skips_to_what_the_page_is_about(
    window: playwright.Browser, settled: tuple[str, dict[str, str]]
) -> None:
    """The first Tab shows the way past the navigation."""
    with signed_in(window, settled[0], "en", width=1280) as page:
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "Skip to main content"
        assert page.locator(":focus").is_visible()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES, ids=("phone", "desktop"))
def test_yes_and_no_are_equal_in_size_and_contrast(
    window: playwright.Browser, settled: tuple[str, dict[str, str]], language: str, size: tuple[int, int]
) -> None:
    """To the pixel, in every language: no answer is the one that is meant to be given."""
    address, pages = settled
    with signed_in(window, address, language, width=size[0], height=size[1]) as page:
        page.goto(address + pages["request"])
        yes, no = (page.locator(f"button[value={value}]") for value in ("yes", "no"))
        boxes = [one.bounding_box() for one in (yes, no)]
        assert boxes[0]
        assert boxes[1]
        assert (boxes[0]["width"], boxes[0]["height"]) == (boxes[1]["width"], boxes[1]["height"])
        seen = "['color', 'backgroundColor', 'fontSize', 'fontWeight', 'boxShadow', 'borderColor']"
        look = f"one => {seen}.map(name => getComputedStyle(one)[name])"
        assert yes.evaluate(look) == no.evaluate(look)


def test_arabic_runs_from_the_right(window: playwright.Browser, settled: tuple[str, dict[str, str]]) -> None:
    """Its text, and its style sheet too: the name is on the right, the languages on the left."""
    with signed_in(window, settled[0], "ar", width=1280) as page:
        name, languages = (page.locator(one).bounding_box() for one in (".portal-header__name", ".portal-languages"))
        assert name
        assert languages
        assert name["x"] > languages["x"]
        assert page.locator("html").get_attribute("dir") == "rtl"
        back = page.goto(settled[0] + settled[1]["request"])
        assert back
        box = page.locator(".govuk-back-link").bounding_box()
        assert box
        assert box["x"] > 640


def test_the_language_switch_keeps_the_page(window: playwright.Browser, settled: tuple[str, dict[str, str]]) -> None:
    """By a click on the language's own name."""
    address, pages = settled
    with signed_in(window, address, "en", width=1280) as page:
        page.goto(f"{address}{pages['history']}?recipient=lindum")
        page.get_by_role("link", name="Русский").click()
        assert page.url == f"{address}{pages['history']}?recipient=lindum"
        assert page.locator("html").get_attribute("lang") == "ru"

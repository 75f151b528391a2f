"""The pages' words: every text in every language, in its own script, and none that no page says."""

import ast
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from babel.messages.pofile import read_po as babel_po
from jinja2 import Environment, nodes

from consent.states import Action, State
from deploy.compile_locales import compile_mo, read_po
from hub.web.portal.texts import NAMES, Texts
from hub.web.portal.wording import ACTS, KINDS
from hub.web.words import LANGUAGES, LOCALES
from tests.test_reason_words import SCRIPTS

WEB = Path(__file__).resolve().parents[1] / "hub" / "web"
CODE = re.compile(
    r"(?:frame|home|request|flow|sharing|state|consent|step|stop|object|done|act|history|receipt|settings|help|error|people)\.[a-z_-]+"
)
# What is put together when a page is made, by what it is put together from.
COMPOSED = {f"state.{state}" for state in State if state is not State.NONE}
COMPOSED |= {f"step.{action}" for action in Action}
COMPOSED |= {f"act.{act}" for act in ACTS}
COMPOSED |= {f"done.{act}" for act in ACTS - {"request", "lapse", "expire", "renew", "supersede"}}
COMPOSED |= {f"history.{kind}" for kind in KINDS}
COMPOSED |= {f"consent.{act}{what}" for act in ("pause", "resume") for what in ("", "_hint")}
PLACE = re.compile(r"\{[a-z_]*\}")
FOREIGN = {"history.download": "CSV"}  # the form of a file has one name everywhere
ARROWS = re.compile("[←-⇿⟰-⟿⤀-⥿⬀-⯿»«›‹▶◀►◄➔-➾]|->|<-|=>")
QUOTES = str.maketrans("", "", "«»")  # Russian quotation marks point nowhere


@cache
def po(language: str) -> dict[str, str]:
    return read_po((LOCALES / language / "LC_MESSAGES" / "portal.po").read_text(encoding="utf-8"))


def in_python() -> Iterator[str]:
    for path in (WEB / "portal").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
                yield node.value


def in_templates() -> Iterator[str]:
    for path in (WEB / "templates" / "portal").glob("*.html"):
        for node in Environment(autoescape=True).parse(path.read_text(encoding="utf-8")).find_all(nodes.Const):
            if isinstance(node.value, str) and CODE.fullmatch(node.value):
                yield node.value


def said() -> set[str]:
    """Collect every code that a page can say."""
    files = {f"{path.stem}.html" for path in (WEB / "templates" / "portal").glob("*.html")}
    return ({*in_python(), *in_templates()} | COMPOSED) - files


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_there_in_every_language_and_none_is_left_over(language: str) -> None:
    """Each file holds exactly the codes that templates and pages name."""
    assert sorted(po(language).keys() - {""}) == sorted(said())


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_in_the_languages_own_script(language: str) -> None:
    """Apart from what fills its named places."""
    for code, text in po(language).items():
        letters = [one for one in PLACE.sub("", text).replace(FOREIGN.get(code, "\0"), "") if one.isalpha()]
        assert code == "" or letters, code
        assert code == "" or all(unicodedata.name(one).startswith(SCRIPTS[language]) for one in letters), code


def test_no_text_is_the_same_in_two_languages() -> None:
    """Nothing was left untranslated."""
    for code in po("en").keys() - {""}:
        texts = [po(language)[code] for language in LANGUAGES]
        assert len(set(texts)) == len(texts), code


def test_named_places_are_the_same_in_every_language() -> None:
    """A translation can neither lose a recipient nor name what is not given."""
    for code in po("en").keys() - {""}:
        places = [sorted(set(PLACE.findall(po(language)[code]))) for language in LANGUAGES]
        assert all(one == places[0] for one in places), code


def test_no_text_points_with_a_glyph() -> None:
    """From whom to whom is said in words: an arrow means the opposite in a text that runs the other way."""
    for language in LANGUAGES:
        assert [code for code, text in po(language).items() if ARROWS.search(text.translate(QUOTES))] == []
    assert ARROWS.search("Registry → Lindum")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_texts_are_the_written_ones(language: str) -> None:
    """And Babel, which knows gettext's format whole, reads the same from the file."""
    folder = LOCALES / language / "LC_MESSAGES"
    assert (folder / "portal.mo").read_bytes() == compile_mo(po(language))
    with (folder / "portal.po").open("rb") as file:
        read = babel_po(file, locale=language)
    assert {one.id: one.string for one in read if one.id} == {code: text for code, text in po(language).items() if code}


def test_a_code_without_words_is_a_defect_that_shows() -> None:
    """No page shows a code in place of a text."""
    with pytest.raises(KeyError, match=r"home\.of_tomorrow"):
        Texts("en", ZoneInfo("UTC")).say("home.of_tomorrow")


def test_what_fills_a_place_is_escaped_and_does_not_reorder_arabic() -> None:
    """A name is text, whatever it holds, and stands between isolates where the text runs the other way."""
    english, arabic = (Texts(one, ZoneInfo("UTC")) for one in ("en", "ar"))
    assert "&lt;b&gt;" in english.say("done.refuse", recipient="<b>")
    assert "<b>" in english.plain("done.refuse", recipient="<b>")
    assert "\u2068Lindum\u2069" in arabic.say("done.refuse", recipient="Lindum")


def test_days_and_lists_are_written_as_each_language_does() -> None:
    """In the legal time zone: an hour before midnight in UTC is the next day in Tashkent."""
    late_us = 1_793_574_000_000_000  # 2026-11-01T23:00:00Z
    days = {language: Texts(language, ZoneInfo("Asia/Tashkent")).day(late_us) for language in LANGUAGES}
    assert days["en"] == "2 November 2026"
    assert days["zh"] == "2026年11月2日"
    assert "ноября" in days["ru"]
    assert "نوفمبر" in days["ar"]
    assert (
        Texts("en", ZoneInfo("UTC")).listed(["Month of birth", "IBAN", "Address"]) == "month of birth, IBAN and address"
    )
    assert set(NAMES) == set(LANGUAGES)

"""Every reason that can be given is said in plain words, in every language of the portal."""

import ast
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from consent.states import State
from deploy.compile_locales import compile_mo, read_po
from hub.web.words import LANGUAGES, LOCALES, words
from tests.decision_vectors import ROOT, TABLE

KINDS = (
    "agreement",
    "person",
    "consent",
    "objection",
    "assurance",
    "age",
    "required",
    "nothing",
    "policy",
    "verdict",
    "link",
    "ask",
    "backfill",
    "correction",
)
CODE = re.compile(rf"(?:{'|'.join(KINDS)})\.[a-z_]+")
QUOTED = re.compile(f'"({CODE.pattern})"')
PHASES = ("unsigned", "not_yet", "ended", "suspended", "agency_suspended")
SCRIPTS = {"en": "LATIN", "ru": "CYRILLIC", "ar": "ARABIC", "zh": "CJK"}


def codes_in_python(path: Path) -> Iterator[str]:
    """Find the reason codes that a module spells out, whole or as the beginning of `required.lost:FIELD`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            code = node.value.partition(":")[0]
            if CODE.fullmatch(code):
                yield code


def codes() -> set[str]:
    """Collect from the sources every code that `decide`, the policy, the gate and the hand-out can give."""
    found = {f"consent.{state}" for state in State if state is not State.GIVEN}
    found |= {f"agreement.{phase}" for phase in PHASES}
    found |= {f"{kind}.{which}" for kind, which in (("age", "outside"), ("age", "unknown"))}
    found |= {f"required.{how}" for how in ("lost", "absent")}
    found.add(
        "link.missing"
    )  # no decision, so nothing spells it out: it is the state of an event that waits for a link
    deciding = [ROOT / "hub" / "core" / "decide.py"]
    for folder in ("exchange", "workers"):
        deciding += sorted((ROOT / "hub" / folder).glob("*.py"))
    for path in deciding:
        found |= set(codes_in_python(path))
    for path in (ROOT / "policies").glob("*.rego"):
        if not path.name.endswith("_test.rego"):
            found |= set(QUOTED.findall(path.read_text(encoding="utf-8")))
    must_deny = json.loads((ROOT / "policies" / "must_deny.json").read_bytes())["must_deny"]
    return found | {entry["code"] for entry in must_deny}


CODES = sorted(codes())


def po(language: str) -> dict[str, str]:
    return read_po((LOCALES / language / "LC_MESSAGES" / "reasons.po").read_text(encoding="utf-8"))


def test_the_collection_sees_every_source() -> None:
    """One code that only `decide`, only the Rego, only the must-deny file and only the states give is among them."""
    assert {
        "consent.new_stretch",
        "verdict.outdated",
        "policy.version_mismatch",
        "policy.birth_weight_never_released",
        "consent.lapsed",
    } <= set(CODES)


def test_every_reason_in_the_decision_table_is_collected() -> None:
    """No row names a code that the collection from the sources missed."""
    named = {reason.partition(":")[0] for row in TABLE["rows"] for reason in row["expect"].get("reasons", [])}
    assert named <= set(CODES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_has_words_and_no_words_are_left_over(language: str) -> None:
    """The file of each language holds exactly the codes that can be given."""
    assert sorted(po(language).keys() - {""}) == CODES


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_in_the_languages_own_script(language: str) -> None:
    """Apart from a parameter, every letter of a text belongs to the script of its language."""
    for code in CODES:
        letters = [letter for letter in words(code, language).replace("{field}", "") if letter.isalpha()]
        assert letters, code
        assert all(unicodedata.name(letter).startswith(SCRIPTS[language]) for letter in letters), code


def test_no_text_serves_two_reasons_or_two_languages() -> None:
    """Each text says its own thing: who reads it can tell which reason it was."""
    texts = [words(code, language) for code in CODES for language in LANGUAGES]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_words_are_the_written_ones(language: str) -> None:
    """The committed .mo is what its .po compiles to."""
    compiled = (LOCALES / language / "LC_MESSAGES" / "reasons.mo").read_bytes()
    assert compiled == compile_mo(po(language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_field_is_named_in_its_place(language: str) -> None:
    """The parameter after the colon is named by its title where one is given, else by its name; no brace stays."""
    for code in ("required.lost:dob", "required.absent:dob"):
        plain = words(code, language)
        titled = words(code, language, titles={"dob": "Day of birth", "names": "Names"})
        assert "dob" in plain
        assert "Day of birth" in titled
        assert "{" not in plain + titled


def test_a_latin_name_does_not_reorder_arabic_text() -> None:
    """It stands between Unicode isolates."""
    assert "\u2068dob\u2069" in words("required.lost:dob", "ar")


def test_only_parameters_that_are_filled_stand_in_the_texts() -> None:
    """`{field}` stands in the texts of codes that carry a field, in every language, and in no other text."""
    for language in LANGUAGES:
        for code, text in po(language).items():
            expected = ["{field}"] if code.startswith("required.") else []
            assert re.findall(r"\{[^}]*\}", text) == expected, (language, code)


def test_a_language_we_do_not_speak_is_answered_in_english() -> None:
    """Nobody is left without a reason."""
    assert words("consent.none", "fr") == words("consent.none", "en")


def test_an_unknown_code_says_itself() -> None:
    """A code of a newer hub is shown as it is, not hidden and not an error."""
    assert words("policy.of_tomorrow", "ru") == "policy.of_tomorrow"


def test_a_translation_that_cannot_be_read_is_pointed_at() -> None:
    """The line is named, and a code written twice as well."""
    with pytest.raises(ValueError, match="line 2"):
        read_po('msgid "a.b"\nmsgstr without quotes\n')
    with pytest.raises(ValueError, match="twice"):
        read_po('msgid "a.b"\nmsgstr "x"\nmsgid "a.b"\nmsgstr "y"\n')

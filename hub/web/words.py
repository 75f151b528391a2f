"""Codes in words for the person they concern: gettext, msgid = the code, four languages.

The domain `reasons` says why something was not released, `citizens` what the citizens' own door says, `records` what
the page of a consent's record does.

A code may carry a parameter after a colon (`required.lost:dob`); its text then has the named place `{field}`.
"""

import gettext
from collections.abc import Mapping
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "ru", "ar", "zh")
DOMAINS = ("reasons", "citizens", "records")
LOCALES = Path(__file__).resolve().parent / "locales"
RIGHT_TO_LEFT = frozenset({"ar"})
FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"  # Unicode 6.3: a Latin name does not reorder the text around it


def words(code: str, language: str, *, titles: Mapping[str, str] | None = None) -> str:
    """Say a code in `language`, or in English where that is not one of ours. A code unknown to us says itself.

    `titles` may give the fields' titles in that language by name; a field without one is called by its name.
    """
    known = language if language in LANGUAGES else LANGUAGES[0]
    msgid, _, field = code.partition(":")
    text = _texts(known).gettext(msgid)
    if not field:
        return text
    title = (titles or {}).get(field, field)
    return text.replace("{field}", f"{FIRST_STRONG_ISOLATE}{title}{POP_ISOLATE}" if known in RIGHT_TO_LEFT else title)


@cache  # twelve small files, the same for the life of the process
def _texts(language: str) -> gettext.NullTranslations:
    first, *others = (gettext.translation(domain, LOCALES, languages=[language]) for domain in DOMAINS)
    for one in others:
        first.add_fallback(one)
    return first

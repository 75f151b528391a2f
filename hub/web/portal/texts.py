"""What the pages say: gettext (domain `portal`, msgid = code); moments, days and lists as a language writes them."""

import gettext
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from markupsafe import Markup

from hub.web.words import FIRST_STRONG_ISOLATE, LOCALES, POP_ISOLATE, RIGHT_TO_LEFT

if TYPE_CHECKING:
    from babel import Locale

DOMAIN = "portal"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = {"en": "English", "ru": "Русский", "ar": "العربية", "zh": "中文"}  # each as its speakers call it
DAYS = {"zh": "y年M月d日"}  # CLDR patterns, where day, month and year would be the wrong order
COMMAS = {"ar": "،", "zh": ""}  # between a day and its time
COLONS = {"zh": "："}
LOCALE = {"en": "en_GB", "zh": "zh_Hans"}
LOWERED = frozenset({"en", "ru"})  # where a title loses its capital inside a sentence


@dataclass(frozen=True, slots=True)
class Texts:
    """The words of one language, and its way with days in the legal time zone."""

    language: str
    zone: ZoneInfo

    @property
    def direction(self) -> str:
        return "rtl" if self.language in RIGHT_TO_LEFT else "ltr"

    def say(self, code: str, **named: object) -> Markup:
        """Say a code, its named places filled: text in them is escaped. Raises KeyError for a code without words."""
        text = _translations(self.language).gettext(code)
        if text == code:
            raise KeyError(code)
        words = Markup(text)  # noqa: S704 - the catalogue's own text; what fills its places is escaped by `format`
        return words.format(**{name: self._isolated(one) for name, one in named.items()})

    def plain(self, code: str, **named: object) -> str:
        """The same for a place that knows no markup, as a cell of a table file."""
        return self.say(code, **named).unescape()

    def day(self, time_us: int) -> str:
        """Write a day, as in "2 November 2026"."""
        from babel.dates import format_date  # here and below: the first page loads it, not every start of a hub

        return format_date(self._local(time_us).date(), self._day, locale=_locale(self.language))

    def moment(self, time_us: int) -> str:
        """Write a day with its time, to the minute."""
        from babel.dates import format_datetime

        local, pattern = self._local(time_us), f"{self._day}{COMMAS.get(self.language, ',')} HH:mm"
        return format_datetime(local, pattern, tzinfo=self.zone, locale=_locale(self.language))

    def listed(self, titles: Iterable[str]) -> str:
        """Join titles as one says it: a, b and c."""
        from babel.lists import format_list

        return format_list([self.inside(one) for one in titles], locale=_locale(self.language))

    def list_alone(self, titles: Iterable[str]) -> str:
        """The same where it stands alone, so that it begins as a sentence does."""
        listed = self.listed(titles)
        return listed[:1].upper() + listed[1:]

    def labelled(self, label: object, text: object) -> Markup:
        """Put a label before a text, with the colon that the language has."""
        return Markup("{}{}{}").format(label, COLONS.get(self.language, ": "), text)

    def inside(self, title: str) -> str:
        """Write a title as it stands inside a sentence; what begins with an abbreviation keeps it."""
        lowered = self.language in LOWERED and not title[1:2].isupper()
        return title[:1].lower() + title[1:] if lowered else title

    @property
    def _day(self) -> str:
        return DAYS.get(self.language, "d MMMM y")

    def _local(self, time_us: int) -> datetime:
        return (EPOCH + timedelta(microseconds=time_us)).astimezone(self.zone)

    def _isolated(self, value: object) -> object:
        """Keep a name of the other direction from reordering the text around it."""
        if self.direction == "ltr":
            return value
        return Markup("{}{}{}").format(FIRST_STRONG_ISOLATE, value, POP_ISOLATE)


@cache  # four small files, the same for the life of the process
def _translations(language: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALES, languages=[language])


@cache
def _locale(language: str) -> "Locale":
    from babel import Locale

    return Locale.parse(LOCALE.get(language, language))

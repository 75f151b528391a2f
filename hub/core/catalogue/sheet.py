"""Reading one mapping of a catalogue file: every value checked as it is taken, every fault noted at its line.

A fault never stops the reading, so that one run names them all; what could not be read comes back as a harmless value.
"""

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Generic, NamedTuple, TypeVar

from hub.core.errors import Item

LANGUAGES = {"en": "LATIN", "ru": "CYRILLIC", "ar": "ARABIC", "zh": "CJK"}  # and the script its letters are named by
ONE_LINE_CHARS = 200  # titles and the like; a sentence of benefit fits
US_PER_DAY = 86_400_000_000
EPOCH = date(1970, 1, 1).toordinal()

Texts = dict[str, str]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Node:
    """One parsed value and where it stands: a scalar, a tuple of nodes, or a mapping of nodes at their keys' lines."""

    content: Any
    file: str
    line: int  # from 1

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def stem(self) -> str:
        return self.file.rsplit("/", 1)[-1].rsplit(".", 1)[0]

    def plain(self) -> Any:
        """Return the value without its marks."""
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.content.items()}
        if isinstance(self.content, tuple):
            return [node.plain() for node in self.content]
        return self.content


class Sources(NamedTuple):
    """The parsed files of a catalogue. `agencies` is one mapping of all; the others are one file each."""

    agencies: Node
    datasets: tuple[Node, ...]
    purposes: tuple[Node, ...]
    agreements: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Marked(Generic[Value]):
    """A value read from a file. Where `sound` is False it has findings already and is only known by its name."""

    value: Value
    node: Node
    sound: bool

    def where(self, *path: str) -> str:
        """Say at which line the innermost part of `path` stands that there is."""
        node = self.node
        for key in path:
            if not isinstance(node.content, dict) or key not in node.content:
                break
            node = node.content[key]
        return node.where


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Suggest the known word that was likely meant; nothing where none is close."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]}?" if close else ""


def keys(names: str) -> frozenset[str]:
    """Give the words of a line as a set, so that long sets of names read as a line."""
    return frozenset(names.split())


def listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "nothing"


class Sheet:
    """One mapping being read. `name` is how findings speak of it: "FAM-ALLOW", "dob of civil.birth.registered"."""

    def __init__(self, node: Node, *, name: str, keys: Collection[str], findings: list[Item]) -> None:
        self.node, self.name = node, name
        self._findings, self._before = findings, len(findings)
        self._entries: Mapping[str, Node] = node.content if isinstance(node.content, dict) else {}
        if not isinstance(node.content, dict):
            self.note(f"{name} must be a mapping", remedy=f"Its keys are {listed(keys)}.")
        for key, entry in self._entries.items():
            if key not in keys:
                remedy = did_you_mean(key, keys) or f"Known keys are {listed(keys)}."
                findings.append(Item(f'{name} has the unknown key "{key}"', entry.where, remedy))

    @property
    def sound(self) -> bool:
        """Nothing was found since this sheet was opened."""
        return len(self._findings) == self._before

    def note(self, what: str, key: str = "", *, remedy: str = "") -> None:
        self._findings.append(Item(what, self._entries.get(key, self.node).where, remedy))

    def marked(self, value: Value) -> Marked[Value]:
        return Marked(value, self.node, self.sound)

    def has(self, key: str) -> bool:
        return key in self._entries

    def text(self, key: str, *, default: str | None = None, pattern: str = "", like: str = "") -> str:
        """Take a text; `pattern` must match all of it and `like` shows one that does."""
        value = self._take(key, default)
        if value is None or (default is not None and value == default):
            return value or ""
        if not isinstance(value, str) or not value.strip():
            self.note(f"{self.name}: {key} must be a text", key)
            return ""
        if pattern and not re.fullmatch(pattern, value):
            self.note(
                f'{self.name}: {key} "{value}" has not the form it must have', key, remedy=f"Write it like {like}."
            )
        return value

    def choice(self, key: str, options: Collection[str], *, default: str | None = None) -> str:
        value = self.text(key, default=default)
        if value and value not in options:
            remedy = did_you_mean(value, options) or f"One of {listed(options)}."
            self.note(f'{self.name}: {key} cannot be "{value}"', key, remedy=remedy)
        return value

    def whole(self, key: str, *, default: int | None = None, least: int = 0, most: int = 2**31 - 1) -> int:
        value = self._take(key, default)
        if value is None:
            return least
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.note(f"{self.name}: {key} must be a whole number from {least} to {most}", key)
            return least
        return value

    def flag(self, key: str) -> bool:
        value = self._take(key, None)
        if value is not None and not isinstance(value, bool):
            self.note(f"{self.name}: {key} must be true or false", key)
        return value is True

    def day(self, key: str) -> date:
        value = self._take(key, None)
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        if value is not None:
            self.note(f"{self.name}: {key} must be a date", key, remedy="Write it like 2027-01-31.")
        return date(1970, 1, 1)

    def words(self, key: str, *, optional: bool = False) -> tuple[str, ...]:
        """Take a list of texts, none of them twice."""
        found = [node.plain() for node in self.elements(key, optional=optional)]
        if not all(isinstance(word, str) and word for word in found):
            self.note(f"{self.name}: {key} must be a list of texts", key)
            return ()
        for word in sorted({word for word in found if found.count(word) > 1}):
            self.note(f"{self.name}: {key} names {word} twice", key, remedy="Remove one.")
        return tuple(found)

    def elements(self, key: str, *, optional: bool = False) -> tuple[Node, ...]:
        value = self._take(key, () if optional else None)
        if value is not None and not isinstance(value, tuple):
            self.note(f"{self.name}: {key} must be a list", key)
        return value if isinstance(value, tuple) else ()

    def mapping(self, key: str, *, optional: bool = False) -> Mapping[str, Node]:
        value = self._take(key, {} if optional else None)
        if value is not None and not isinstance(value, dict):
            self.note(f"{self.name}: {key} must be a mapping", key)
        return value if isinstance(value, dict) else {}

    def node_of(self, key: str) -> Node:
        return self._entries.get(key, self.node)

    def texts(self, key: str) -> Texts:
        """Take one text per language, each written in its own script: a copied English text is a missing one."""
        found = self._languages(key)
        return {language: self._sentence(key, language, node) for language, node in found.items()}

    def lists_of_texts(self, key: str) -> dict[str, tuple[str, ...]]:
        """Take a list of texts per language, the same number in each."""
        out: dict[str, tuple[str, ...]] = {}
        for language, node in self._languages(key).items():
            elements = node.content if isinstance(node.content, tuple) else ()
            if not elements:
                self._findings.append(Item(f"{self.name}: {key} in {language} must be a list of texts", node.where))
            out[language] = tuple(self._sentence(key, language, element) for element in elements)
        if len({len(texts) for texts in out.values()}) > 1:
            self.note(f"{self.name}: {key} says more in one language than in another", key)
        return out

    def _take(self, key: str, default: object) -> Any:
        if key in self._entries:
            content = self._entries[key].content
            if content is not None:
                return content
        elif default is not None:
            return default
        self.note(f"{self.name} says nothing under {key}", key, remedy=f"Add {key}.")
        return None

    def _languages(self, key: str) -> Mapping[str, Node]:
        found = self.mapping(key)
        missing = [language for language in LANGUAGES if language not in found]
        if found and missing:
            self.note(f"{self.name}: {key} is missing in {listed(missing)}", key, remedy="Translate it.")
        for language in found.keys() - LANGUAGES.keys():
            self.note(
                f'{self.name}: {key} has the unknown language "{language}"', key, remedy=f"Known: {listed(LANGUAGES)}."
            )
        return {language: node for language, node in found.items() if language in LANGUAGES}

    def _sentence(self, key: str, language: str, node: Node) -> str:
        text = node.content
        if not isinstance(text, str) or not text.strip() or len(text) > ONE_LINE_CHARS:
            what = f"{self.name}: {key} in {language} must be a text of 1 to {ONE_LINE_CHARS} characters"
            self._findings.append(Item(what, node.where))
            return ""
        if not any(unicodedata.name(letter, "").startswith(LANGUAGES[language]) for letter in text):
            what = f"{self.name}: {key} in {language} is not written in that language"
            self._findings.append(Item(what, node.where, "Translate it."))
        return text.strip()


def midnight_us(day: date) -> int:
    """Return the first instant of a day, UTC."""
    return (day.toordinal() - EPOCH) * US_PER_DAY


def day_text(instant_us: int) -> str:
    """Return the day of an instant, as the files write it."""
    return date.fromordinal(EPOCH + instant_us // US_PER_DAY).isoformat()

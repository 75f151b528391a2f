"""What compose file and chart have in common: settings and commands of the hub that they name, and what is pending."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from typer.main import get_command

from hub.__main__ import app
from hub.settings import NOT_SETTINGS, PREFIX, Settings

# Named by the manifests, and not in this checkout yet: empty when the engines are in. A test says when that is so.
PENDING_SETTINGS: set[str] = set()
PENDING_COMMANDS: set[str] = set()

EXACT = re.compile(r"[a-z0-9./-]+(:[0-9]+)?[a-z0-9./-]*:v?\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?(@sha256:[0-9a-f]{64})?")
SECRET_NAME = re.compile(r"(?i)(password|passwd|secret|token|private.?key|credential)")
SECRET_VALUE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|\b[0-9a-f]{32,}\b|://[^/@\s]+:[^/@\s]+@")


def settings() -> set[str]:
    return {PREFIX + name.upper() for name in Settings.model_fields} | NOT_SETTINGS


def commands() -> set[str]:
    """Every command of the hub as it stands behind `hub`, and with each of its options behind it."""

    def walk(command: Any, path: str) -> Iterator[str]:
        yield path
        for parameter in command.params:
            yield from (f"{path} {option}" for option in parameter.opts if option.startswith("--"))
        for name, child in (getattr(command, "commands", None) or {}).items():
            yield from walk(child, f"{path} {name}".strip())

    return set(walk(get_command(app), ""))


def unknown_settings(names: Iterable[str]) -> list[str]:
    ours = [name for name in names if name.startswith(PREFIX)]
    return sorted(set(ours) - settings() - PENDING_SETTINGS)


def unknown_command(words: list[str]) -> list[str]:
    """Say which part of a command line the hub does not know: `serve --only web` is `serve`, and its option."""
    plain = [word for word in words if not word.startswith("--")]
    known = commands() | PENDING_COMMANDS
    name = next((" ".join(plain[:count]) for count in (2, 1) if " ".join(plain[:count]) in known), "")
    if not name:
        return [" ".join(words)]
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    return [f"{name} {one}" for one in options if f"{name} {one}" not in known and name not in PENDING_COMMANDS]


def leaks(document: Any, at: str = "") -> Iterator[str]:
    """Find what looks like a secret's value anywhere in a document; yields where, never what."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaks(value, f"{at}/{key}")
    elif isinstance(document, list):
        for place, value in enumerate(document):
            yield from leaks(value, f"{at}/{place}")
    elif isinstance(document, str) and SECRET_VALUE.search(document):
        yield at

"""Which text a person had before their eyes when saying yes: its version, its language, and its hash."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consent.canonical import Json, check_ints, check_texts, sha256
from consent.errors import Code, ConsentError

SHA256_BYTES = 32


@dataclass(frozen=True, slots=True)
class Notice:
    """The notice as shown (ISO/IEC TS 27560 "privacy notice"). The text itself is kept elsewhere, under this hash."""

    version: int
    language: str  # BCP 47: "en", "ru", "ar", "zh"
    sha256: bytes  # of the text as shown, UTF-8

    def __post_init__(self) -> None:
        check_ints(low=1, version=self.version)
        check_texts(language=self.language)
        if len(self.sha256) != SHA256_BYTES:
            raise ConsentError(Code.VALUE, "a notice is named by a SHA-256, 32 bytes")

    def as_json(self) -> dict[str, Json]:
        return {"version": self.version, "language": self.language, "sha256": self.sha256.hex()}


def shown(text: str, *, version: int, language: str) -> Notice:
    """Name the text that was shown."""
    return Notice(version, language, sha256(text.encode()))


def notice_from_json(said: Mapping[str, Any]) -> Notice:
    """Read what `as_json` wrote. Raises `ConsentError`, `KeyError`, `TypeError` or `ValueError` otherwise."""
    return Notice(said["version"], said["language"], bytes.fromhex(said["sha256"]))

"""Find values of real-shaped people where none may be: in the clear, encoded or hashed, in any bytes.

A finding names the kind of value, whose it is by place in the export, and the encoding; never the value.
"""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

SYNTHEA = Path(__file__).resolve().parents[2] / "shared" / "data" / "synthea-r4"
WINDOW = 8  # bytes that a pattern is looked up by; a shorter one would be met by chance


class Canary(NamedTuple):
    """One value of one person. `kind`: id, MR, SS, DL, PPN, name, telecom."""

    kind: str
    patient: int
    value: str


def canaries(lines: Iterable[str]) -> Iterator[Canary]:
    """Read every identifier, name and telecom out of `Patient.ndjson`."""
    for at, line in enumerate(lines, 1):
        patient = json.loads(line)
        yield Canary("id", at, patient["id"])
        for identifier in patient["identifier"]:
            codes = identifier.get("type", {}).get("coding", [{}])
            yield Canary(codes[0].get("code", "other"), at, identifier["value"])
        for name in patient["name"]:
            yield Canary("name", at, " ".join([*name["given"], name["family"]]))
            yield Canary("name", at, " ".join([name["family"], *name["given"]]))
        yield from (Canary("telecom", at, telecom["value"]) for telecom in patient.get("telecom", ()))


def encodings(value: str) -> Iterator[tuple[str, bytes]]:
    """Yield (how, bytes) for every way in which a value might stand somewhere."""
    for case, text in {"as is": value, "lower": value.lower(), "upper": value.upper()}.items():
        raw = text.encode()
        digest = sha256(raw).digest()
        yield case, raw
        yield f"{case}, hashed", digest
        for what, content in ((case, raw), (f"{case}, hashed", digest)):
            yield f"{what}, hex", content.hex().encode()
            yield f"{what}, HEX", content.hex().upper().encode()
            for shift, encode in product(range(3), (b64encode, urlsafe_b64encode)):
                whole = encode(bytes(shift) + content).rstrip(b"=")
                certain = whole[(shift * 8 + 5) // 6 : (shift + len(content)) * 8 // 6]  # what neighbours cannot change
                yield f"{what}, base64", certain


class Index:
    """All patterns by their first bytes."""

    def __init__(self, values: Iterable[Canary]) -> None:
        self._by_window: dict[bytes, list[tuple[bytes, str]]] = {}
        self.patterns = 0
        for one in values:
            for how, pattern in encodings(one.value):
                if len(pattern) >= WINDOW:
                    label = f"{one.kind} of patient {one.patient}, {how}"
                    self._by_window.setdefault(pattern[:WINDOW], []).append((pattern, label))
                    self.patterns += 1

    def found_in(self, content: bytes) -> list[str]:
        """Name every canary that stands in `content`."""
        met = {content[at : at + WINDOW] for at in range(len(content) - WINDOW + 1)} & self._by_window.keys()
        return sorted(label for window in met for pattern, label in self._by_window[window] if pattern in content)

    def found_in_files(self, directory: Path) -> Mapping[str, list[str]]:
        """Search every file under a directory; keeps those where something was found."""
        found = {path.name: self.found_in(path.read_bytes()) for path in directory.rglob("*") if path.is_file()}
        return {name: labels for name, labels in found.items() if labels}


def text_of(documents: Iterable[Any]) -> bytes:
    return "\n".join(json.dumps(one, ensure_ascii=False) for one in documents).encode()

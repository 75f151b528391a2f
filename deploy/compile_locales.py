"""Compile every `hub/web/locales/*/LC_MESSAGES/*.po` to the .mo beside it, as the standard library's gettext reads it.

    python deploy/compile_locales.py            compile and write
    python deploy/compile_locales.py --check    change nothing; exit 1 when a .mo is not what its .po compiles to

Understands what these files use: comments, msgid and msgstr with continued strings. No contexts, no plurals.
"""

import argparse
import ast
import struct
import sys
from pathlib import Path

LOCALES = Path(__file__).resolve().parent.parent / "hub" / "web" / "locales"
MO_MAGIC = 0x950412DE  # GNU gettext manual, "The Format of GNU MO Files"
HEADER_BYTES = 7 * 4


def read_po(text: str) -> dict[str, str]:
    """Read msgid -> msgstr; the header stands under "". Raises ValueError naming the line that is not understood."""
    messages: dict[str, str] = {}
    msgid, part = "", ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        keyword, _, quoted = ("", "", line) if line.startswith('"') else line.partition(" ")
        if keyword not in ("", "msgid", "msgstr") or not quoted.startswith('"') or not quoted.endswith('"'):
            raise ValueError(f"line {number}: not understood")
        value: str = ast.literal_eval(quoted)  # a .po string is quoted and escaped as a Python string is
        part = keyword or part
        if keyword == "msgid":
            msgid = ""
        if part == "msgid":
            msgid += value
        elif keyword == "msgstr" and msgid in messages:
            raise ValueError(f"line {number}: {msgid} is there twice")
        else:
            messages[msgid] = messages.get(msgid, "") + value
    return messages


def compile_mo(messages: dict[str, str]) -> bytes:
    """Write the MO format: header, two tables of (length, offset), then all ids and all texts, sorted by id."""
    pairs = sorted((msgid.encode(), text.encode()) for msgid, text in messages.items())
    ids_at, texts_at = HEADER_BYTES, HEADER_BYTES + 8 * len(pairs)
    body_at = texts_at + 8 * len(pairs)
    tables, body = b"", b""
    for strings in ([msgid for msgid, _ in pairs], [text for _, text in pairs]):
        for string in strings:
            tables += struct.pack("<II", len(string), body_at + len(body))
            body += string + b"\0"
    return struct.pack("<7I", MO_MAGIC, 0, len(pairs), ids_at, texts_at, 0, body_at) + tables + body


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile the reason texts.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a .mo differs from its .po")
    only_check = parser.parse_args().check
    for source in sorted(LOCALES.glob("*/LC_MESSAGES/*.po")):
        compiled = compile_mo(read_po(source.read_text(encoding="utf-8")))
        target = source.with_suffix(".mo")
        if not only_check:
            target.write_bytes(compiled)
        elif not target.is_file() or target.read_bytes() != compiled:
            sys.exit(f"{target.relative_to(LOCALES)} is not what its .po says: run python deploy/compile_locales.py")


if __name__ == "__main__":
    main()

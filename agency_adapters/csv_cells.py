"""Read what the hub's CSV escapes for spreadsheets: text that would be a formula begins with an apostrophe there."""

import unicodedata

_SIGNS = frozenset("=+-@\N{MINUS SIGN}")
_BREAKS = frozenset("\t\r\n")
_HIDDEN = frozenset({"Cc", "Cf", "Zs"})  # categories of what does not show: a spreadsheet looks past it


def unescaped(text: str) -> str:
    """Take away the apostrophe that was put in front of a formula, and no other."""
    return text[1:] if text.startswith("'") and _is_formula(text.lstrip("'")) else text


def _is_formula(text: str) -> bool:
    if not text or text[0].isalnum():
        return False
    if text[0] in _BREAKS:
        return True
    for character in text:
        if unicodedata.category(character) not in _HIDDEN:
            return bool(_SIGNS.intersection(unicodedata.normalize("NFKC", character)[:1]))
    return False

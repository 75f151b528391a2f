"""CSV that a spreadsheet opens without running anything in it, and that a program reads back exactly."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.exchange.csv_cells import cell, escaped, is_formula, line, unescaped

FORMULAS = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|'/c calc'!A0", '=HYPERLINK("http://x","y")',
    "＝1+1", "＋1", "－1", "＠SUM(A1)", "﹦1", "﹢1", "﹣1", "﹫x", "−1",
    " =1", "  +1", "\u00a0=1", "\u200b=1", "\ufeff=1", "\x00=1", "\u3000=1", "\u2060-1", "\u202e=1",
]  # fmt: skip
HARMLESS = ["", "a=1", "1-2", "M-7", "'t Hooft", "'", "0", "€1", "ä@b", "2026-11-02", "O'Neil", "(=1)", "#REF", " a"]


@pytest.mark.parametrize("text", FORMULAS, ids=[repr(text) for text in FORMULAS])
def test_text_that_a_spreadsheet_would_run_begins_with_an_apostrophe(text: str) -> None:
    """Signs that do not look like signs count, and so does what does not show in front of one."""
    assert cell(text) == "'" + text


@pytest.mark.parametrize("text", HARMLESS, ids=[repr(text) for text in HARMLESS])
def test_other_text_stays_as_it_is(text: str) -> None:
    """A name may begin with an apostrophe and mean it."""
    assert cell(text) == text


VALUES = [
    (-5, "-5"), (-1.5, "-1.5"), (0, "0"), (True, "true"), (False, "false"), (None, ""),
    (["=1"], '["=1"]'), ({"a": -1}, '{"a":-1}'), (2**53 - 1, "9007199254740991"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_numbers_keep_their_sign_and_nested_values_are_json(value: object, text: str) -> None:
    """A negative number is a number; what has parts is JSON text, which begins with a bracket."""
    assert cell(value) == text


@given(st.text())
def test_what_was_escaped_is_read_back_exactly(text: str) -> None:
    """Whatever it is, apostrophes and all."""
    assert unescaped(escaped(text)) == text
    assert not is_formula(escaped(text))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_a_row_is_read_back_cell_by_cell(texts: list[str]) -> None:
    """Quotes, commas and line ends in a cell move nothing: every cell is quoted."""
    read = list(csv.reader(io.StringIO(line(texts).decode(), newline=""), strict=True))
    assert [[unescaped(one) for one in row] for row in read] == [texts]
    assert line(texts).startswith(b'"')
    assert line(texts).endswith(b'"\r\n')

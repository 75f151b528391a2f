"""The mechanism behind `make mutants`: a few edits that must be noticed, and one table that points at what exists."""

import ast
from pathlib import Path

import pytest

from deploy.mutants import ROOT, Edit, Mutant, judge, mutants, without

FEW = ("no second decision", "grant revives", "repeats not dropped")


def test_a_protection_taken_out_is_noticed() -> None:
    """Three edits, each on a copy of the source: the test named for it is green before and red after."""
    chosen = [mutant for mutant in mutants() if mutant.name in FEW]
    assert len(chosen) == len(FEW)
    assert judge(chosen, processes=1) == {}


def test_a_mutant_that_nobody_notices_is_reported() -> None:
    """An edit that changes nothing survives, and is said to."""
    edit = Edit("hub/core/decide.py", "    if standing.erased:\n", "    if bool(standing.erased):\n")
    harmless = Mutant("harmless", "", "tests/test_model_records.py::test_repeats_not_dropped", (edit,))
    assert judge([harmless], processes=1) == {"harmless": "survived"}


def test_an_edit_that_fits_no_longer_is_reported(tmp_path: Path) -> None:
    """An edit whose old text stands nowhere, or twice, is a fault of the table, not a noticed mutant."""
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n", encoding="utf-8")
    for old in ("y = 1\n", "x = 1\n"):
        with pytest.raises(ValueError, match="places"), without(tmp_path, Mutant("", "", "", (Edit("a.py", old, ""),))):
            pass
    assert (tmp_path / "a.py").read_text(encoding="utf-8") == "x = 1\nx = 1\n"


def test_every_edit_fits_the_present_source() -> None:
    """Each old text stands exactly once in its file, and each named test exists: the table does not rust."""
    for mutant in mutants():
        for edit in mutant.edits:
            text = (ROOT / edit.file).read_text(encoding="utf-8")
            assert text.count(edit.old) == 1, f"{mutant.name}: {edit.file}"
        file, _, name = mutant.test.partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not name or name in names, mutant.test


def test_every_row_of_the_model_has_a_test_and_a_mutant() -> None:
    """Each protection of the release protocol that has a counterexample is in the table."""
    known = {mutant.name for mutant in mutants()}
    assert known >= set(ROWS)


ROWS = (
    "facts before fence", "facts before fence, gate", "no second decision", "no fence at hand-out",
    "no fence, the receipt", "no fence at gate", "no policy fence", "row locks, objection", "row locks, first grant",
    "position set blindly", "ack before commit", "repeats not dropped", "id with version", "sequence cursor",
    "no recipient lock", "new number each time", "bytes before commit", "audit row apart", "held after newer",
    "any ready row", "undefined is a no", "return before commit", "receipt before fence", "erase beside hand-out",
    "erase leaves no mark", "waiting is overtaken", "link wakes by itself", "grant revives",
    "position without owner epoch", "position without old offset", "held moved by a later job",
    "held does not block newer", "erase without the fence", "bytes after the return", "a number never seen",
)  # fmt: skip

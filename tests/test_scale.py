"""deploy/SCALE.md: every derived figure follows from the tables above it, and the text says the same figures."""

import ast
import math
import operator
import re
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[1] / "deploy" / "SCALE.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \|$", re.MULTILINE)
KINDS = {"measured", "assumed"}
SAID = re.compile(r"(\d[\d.,]*)( million)?(?: [\w/]+){0,3} \(`([a-z_]+)`\)")
DIGITS = 2  # significant ones: the assumptions have no more
LONGEST_LINES = 250
FUNCTIONS: dict[str, Callable[..., float]] = {"ceil": math.ceil, "log2": math.log2, "min": min, "max": max}
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def tables() -> tuple[dict[str, float], dict[str, tuple[float, str]]]:
    """Return what is given by name, and what is derived with its formula, in the page's order."""
    given: dict[str, float] = {}
    derived: dict[str, tuple[float, str]] = {}
    for name, rest in ROW.findall(PAGE):
        cells = [cell.strip() for cell in rest.split("|")]
        assert name not in given, name
        assert name not in derived, name
        if len(cells) >= 4:
            assert cells[2] in KINDS, name
            given[name] = float(cells[0])
        else:
            derived[name] = float(cells[0]), cells[2]
    return given, derived


def value_of(node: ast.expr, known: dict[str, float]) -> float:
    """Compute a formula: numbers, names, + - * / ** and a few functions. Anything else is no formula."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return known[name]
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](value_of(left, known), value_of(right, known))
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name](*[value_of(one, known) for one in args])
    raise AssertionError(f"no formula: {ast.unparse(node)}")


def computed() -> dict[str, float]:
    """Return all that is given, and all that follows, computed from what is given alone."""
    given, derived = tables()
    known, left = dict(given), dict(derived)
    while left:
        ready = [name for name, (_, formula) in left.items() if names_in(formula) <= known.keys()]
        assert ready, f"a circle, or a name that is nowhere: {sorted(left)}"
        for name in ready:
            known[name] = value_of(ast.parse(left.pop(name)[1], mode="eval").body, known)
    return known


def names_in(formula: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(formula)) if isinstance(node, ast.Name)} - FUNCTIONS.keys()


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


@pytest.mark.parametrize("name", tables()[1])
def test_a_derived_figure_is_what_its_formula_gives(name: str) -> None:
    """To two digits. Replace what is measured, and this says what else has to change, and to what."""
    assert tables()[1][name][0] == rounded(computed()[name])


def test_the_text_says_the_tables_figures() -> None:
    """Wherever a figure stands before a name in brackets."""
    known, found = computed(), SAID.findall(PAGE)
    assert len(found) >= 12
    for number, million, name in found:
        said = float(number.replace(",", "")) * (1e6 if million else 1)
        assert said == rounded(known[name]), (name, said, known[name])


def test_every_name_in_the_text_is_a_figure_or_a_thing_of_the_hub() -> None:
    """A figure that is spoken of and stands nowhere would be a promise."""
    known = computed()
    outside = {"event_seen", "handout", "handout_person", "replication"}
    named = {name for name in re.findall(r"`([a-z]+(?:_[a-z]+)*)`", PAGE) if "_" in name} - outside
    assert named <= known.keys()


def test_every_assumption_is_used() -> None:
    """What no formula and no sentence needs is no assumption."""
    given, derived = tables()
    used = set().union(*[names_in(formula) for _, formula in derived.values()])
    spoken = {name for name in given if PAGE.count(f"`{name}`") > 1}
    assert given.keys() <= used | spoken


def test_it_stays_a_page_that_somebody_reads() -> None:
    assert len(PAGE.splitlines()) <= LONGEST_LINES

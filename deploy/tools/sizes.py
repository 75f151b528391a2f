"""List modules and functions that grew beyond the house's measure; exit 1 where one passed the limit unexplained.

A function's own lines count, without those of functions inside it. A module or function may pass the limit with a
comment that says why: `# long: REASON` on the `def` line, or for a module on a line of its own.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MODULE_LINES, MODULE_LIMIT = 300, 400
FUNCTION_LINES, FUNCTION_LIMIT = 40, 60
FOLDERS = ("hub", "consent", "agency_adapters", "tests", "deploy")
EXPLAINED = re.compile(r"# long: \S.{10,}")

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Long(NamedTuple):
    where: str  # "path" or "path:line name"
    lines: int
    refused: bool  # beyond the limit, and nobody said why


def long_ones(root: Path) -> list[Long]:
    """List everything beyond the measure under `root`, longest first."""
    files = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    found = [long for path in files for long in _long_in(path, path.relative_to(root).as_posix())]
    return sorted(found, key=lambda long: -long.lines)


def _long_in(path: Path, name: str) -> Iterator[Long]:
    source = path.read_text(encoding="utf-8")
    text = source.splitlines()
    if len(text) > MODULE_LINES:
        explained = any(EXPLAINED.match(line) for line in text)
        yield Long(name, len(text), len(text) > MODULE_LIMIT and not explained)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function) and (lines := own_lines(node)) > FUNCTION_LINES:
            explained = EXPLAINED.search(text[node.lineno - 1]) is not None
            yield Long(f"{name}:{node.lineno} {node.name}", lines, lines > FUNCTION_LIMIT and not explained)


def own_lines(function: Function) -> int:
    """Count a function's lines without those of the functions directly inside it."""
    inner = [node for node in ast.walk(function) if isinstance(node, Function) and node is not function]
    taken = {line for node in inner for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    return len(set(range(function.lineno, (function.end_lineno or function.lineno) + 1)) - taken)


def main() -> int:
    found = long_ones(Path(__file__).resolve().parents[2])
    for long in found:
        print(f"{'too long' if long.refused else 'long'}: {long.where}: {long.lines} lines")
    return int(any(long.refused for long in found))


if __name__ == "__main__":
    sys.exit(main())

"""Show each promise's tests with the sets of engines side by side.

    python deploy/promises.py                run them and print the table; exit 1 where one failed
    python deploy/promises.py --junit FILE   print it from what `pytest --junitxml FILE` wrote; of every other file
                                             that ran on more than one set, one line

Without an engine its column says `skipped`; with ENGINES=required in the environment such a test fails.
"""

import argparse
import ast
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[1]
SETS = {
    "sqlite": "SQLite",
    "postgres": "PostgreSQL",
    "postgres+kafka+opa": "+ Kafka + OPA",
}  # see tests/stores.py
WHOLE = "postgres+kafka+opa"
SERVED = {"kafka", "server"}  # so the suites of the ports call the engine that is none of the embedded ones
PROMISES = "test_promise_"
PORTS = ("test_port_bus", "test_port_policy")
TEST_WIDTH, CELL_WIDTH = 82, 15

Cells = dict[str, Counter[str]]  # by set of engines: how many `passed`, `failed`, `skipped`
Results = dict[str, dict[str, Cells]]  # by module and test


def read(junit: str) -> Results:
    """Read what pytest wrote: by module and test, and by the set that its parameters name. Others ran on SQLite."""
    found: Results = {}
    for case in ET.fromstring(junit).iter("testcase"):  # noqa: S314 - written by our own pytest just now
        module = case.get("classname", "").rpartition(".")[2]
        name, _, parameters = case.get("name", "").rstrip("]").partition("[")
        outcomes = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcome = "failed" if outcomes - {"skipped"} else "skipped" if outcomes else "passed"
        cells = found.setdefault(module, {}).setdefault(name, {})
        cells.setdefault(set_of(parameters), Counter())[outcome] += 1
    return found


def set_of(parameters: str) -> str:
    """Say which set a test ran on, by the parameters in its name."""
    said = set(parameters.split("-"))
    if said & SERVED:
        return WHOLE
    return next((one for one in reversed(SETS) if one in said), "sqlite")


def cell(counted: Counter[str] | None) -> str:
    """Say in a word how a test did on one set; how many there were where its parameters made several."""
    if not counted:
        return "-"
    total = counted.total()
    if counted["failed"]:
        return f"FAILED {counted['failed']} of {total}" if total > 1 else "FAILED"
    word = "skipped" if counted["skipped"] == total else "passed"
    return f"{word} {counted[word]}" if total > 1 else word


def title_of(module: str) -> str:
    """Return the first sentence of a test file's docstring."""
    tree = ast.parse((ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or module).split("\n\n")[0].replace("\n", " ")


def table(results: Results) -> Iterator[str]:
    """Write the table: each promise with its tests, each port with its own, then the other files, a line each."""
    yield _row("", {name: Counter() for name in SETS}, SETS)
    named = [module for module in sorted(results) if module.startswith(PROMISES) or module in PORTS]
    for module in named:
        yield f"\n{title_of(module)}"
        for test, cells in results[module].items():
            yield _row("  " + test.removeprefix("test_").replace("_", " "), cells)
    others = {module: _summed(tests) for module, tests in results.items() if module not in named}
    several = {module: cells for module, cells in sorted(others.items()) if len(cells) > 1}
    if several:
        yield "\nOther files on more than one set"
        yield from (_row(f"  {module}.py", cells) for module, cells in several.items())


def failed(results: Results) -> int:
    return sum(
        counted["failed"] for tests in results.values() for cells in tests.values() for counted in cells.values()
    )


def _row(first: str, cells: Mapping[str, Counter[str]], words: Mapping[str, str] | None = None) -> str:
    said = (words[name] if words else cell(cells.get(name)) for name in SETS)
    shown = first if len(first) <= TEST_WIDTH else first[: TEST_WIDTH - 3] + "..."
    return f"{shown:{TEST_WIDTH}} " + "".join(f"{one:{CELL_WIDTH}}" for one in said).rstrip()


def _summed(tests: Mapping[str, Cells]) -> Cells:
    found: Cells = {}
    for cells in tests.values():
        for name, counted in cells.items():
            found.setdefault(name, Counter()).update(counted)
    return found


def run() -> str:
    """Run the promises' and the ports' tests; return what pytest wrote of them."""
    files = [*sorted((ROOT / "tests").glob(f"{PROMISES}*.py")), *(ROOT / "tests" / f"{name}.py" for name in PORTS)]
    with tempfile.TemporaryDirectory(prefix="promises-") as place:
        report = Path(place) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *map(str, files)]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not report.exists():
            raise SystemExit(ran.stdout + ran.stderr)
        return report.read_text(encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--junit", type=Path, metavar="FILE")
    given = parser.parse_args().junit
    results = read(given.read_text(encoding="utf-8") if given else run())
    print("\n".join(table(results)))
    return int(bool(failed(results)))


if __name__ == "__main__":
    sys.exit(main())

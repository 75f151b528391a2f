"""Take one protection out of a copy of the source at a time, and see the test that is named for it go red.

    python deploy/mutants.py                    every mutant of deploy/mutations/*.toml; exit 1 when one survives
    python deploy/mutants.py --only "grant revives" --only ...

First every named test runs on the unchanged copy and must be green. A mutant marked `spare` is one of two protections
that back each other up: without it the test must stay green.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[1]
TABLES = Path(__file__).resolve().parent / "mutations"
TOOLS = ".tools"
UNCHANGED = "unchanged"  # among what is wrong, in place of a mutant's name
GREEN, RED = 0, 1  # pytest's exit codes; any other means that no test was run
TIMEOUT_S = 180.0  # for each test: some wait for what a mutant never does
COPIED = ("hub", "consent", "agency_adapters", "policies", "tests", "deploy", "pyproject.toml", "README.md", "Makefile")


@dataclass(frozen=True)
class Edit:
    """Replace the one place in `file` where `old` stands."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    name: str
    protects: str  # what the edit takes away, as a sentence
    test: str  # the test that must notice
    edits: tuple[Edit, ...]
    spare: bool = False


def mutants(tables: Path = TABLES) -> list[Mutant]:
    """Read every table, in the order of their names."""
    found = []
    for path in sorted(tables.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
            edits = tuple(Edit(**edit) for edit in entry.pop("edit"))
            found.append(Mutant(**entry, edits=edits))
    return found


def copied(to: Path) -> Path:
    """Copy every tracked file, or without git what the tests need; what `make` installed is shared by a link."""
    if (ROOT / TOOLS).is_dir():
        (to / TOOLS).symlink_to((ROOT / TOOLS).resolve())
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, to / name)
        return to
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, to / name)
    return to


@contextmanager
def without(copy: Path, mutant: Mutant) -> Iterator[None]:
    """Apply a mutant's edits to a copy, and take them back. Raises ValueError where `old` is not there exactly once."""
    before: dict[Path, str] = {}
    try:
        for edit in mutant.edits:
            path = copy / edit.file
            text = path.read_text(encoding="utf-8")
            before.setdefault(path, text)
            if text.count(edit.old) != 1:
                raise ValueError(f"{mutant.name}: {text.count(edit.old)} places in {edit.file} read: {edit.old!r}")
            path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
        yield
    finally:
        for path, text in before.items():
            path.write_text(text, encoding="utf-8")


def run(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests on a copy. Returns pytest's exit code and the end of what it said."""
    # No bytecode: an edit within the same second and of the same length would not be noticed.
    # A copy has no .tools; what is installed there is found by the path.
    path = f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
    most_s = TIMEOUT_S * len(tests)
    try:
        ran = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=most_s, check=False)
    except subprocess.TimeoutExpired:
        return RED, f"no end after {most_s:.0f} s"
    return ran.returncode, "\n".join((ran.stdout + ran.stderr).splitlines()[-15:])


def verdict_of(copy: Path, mutant: Mutant) -> str:
    """Say what became of a mutant: "" as expected, else what is wrong."""
    try:
        with without(copy, mutant):
            code, said = run(copy, [mutant.test])
    except ValueError as error:
        return str(error)
    if code not in (GREEN, RED):
        return f"no test was run: {said}"
    if mutant.spare:
        return "" if code == GREEN else f"the other protection did not suffice: {said}"
    return "" if code == RED else "survived"


def judge(chosen: Sequence[Mutant], processes: int) -> dict[str, str]:
    """Run all, `processes` at a time, each on a copy of its own. Returns what is wrong by name."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        copies: Queue[Path] = Queue()
        for number in range(processes):
            (place := Path(directory) / str(number)).mkdir()
            copies.put(copied(place))
        unmutated = copies.get()
        began_s = time.perf_counter()
        code, said = run(unmutated, sorted({mutant.test for mutant in chosen}))
        copies.put(unmutated)
        print(f"unchanged: {'green' if code == GREEN else said} ({time.perf_counter() - began_s:.0f} s)", flush=True)
        if code != GREEN:
            return {UNCHANGED: "a named test is red without any edit"}

        def one(mutant: Mutant) -> str:
            copy, began_s = copies.get(), time.perf_counter()
            try:
                wrong = verdict_of(copy, mutant)
            finally:
                copies.put(copy)
            expected = "stays green" if mutant.spare else "red"
            print(f"{wrong or expected:12} {time.perf_counter() - began_s:5.1f} s  {mutant.name}", flush=True)
            return wrong

        with ThreadPoolExecutor(processes) as pool:
            wrongs = list(pool.map(one, chosen))
    return {mutant.name: wrong for mutant, wrong in zip(chosen, wrongs, strict=True) if wrong}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="one mutant; may be repeated")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    chosen = [mutant for mutant in mutants() if not options.only or mutant.name in options.only]
    unknown = sorted(set(options.only) - {mutant.name for mutant in chosen})
    if unknown:
        parser.error(f"no mutant is called {', '.join(unknown)}")
    began_s = time.perf_counter()
    wrong = judge(chosen, options.processes)
    if UNCHANGED in wrong:  # a table would say of each that it was noticed
        print(f"\nnothing was tried: {wrong[UNCHANGED]}")
        return 1
    print(f"\n{'mutant':38} {'as expected':12} protects")
    for mutant in chosen:
        print(f"{mutant.name:38} {'no' if mutant.name in wrong else 'yes':12} {mutant.protects}")
    caught = sum(not mutant.spare and mutant.name not in wrong for mutant in chosen)
    spare = sum(mutant.spare and mutant.name not in wrong for mutant in chosen)
    print(f"\n{caught} noticed, {spare} spare, {len(wrong)} wrong, in {time.perf_counter() - began_s:.0f} s")
    for name, what in wrong.items():
        print(f"\n{name}: {what}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

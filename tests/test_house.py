"""The house keeps its own rules: imports point down, nothing grows unnoticed, every exemption says why."""

import ast
import hashlib
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.tools.sizes import long_ones

ROOT = Path(__file__).resolve().parents[1]
LINT_IMPORTS = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
PACKAGES = ("hub", "consent", "agency_adapters")

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "agency_adapters",
    "consent",
    "deploy",
    "docs",
    "hub",
    "policies",
    "pyproject.toml",
    "tests",
    "uv.lock",
}

# What may be imported besides the standard library and the package itself.
ALLOWED = {
    "consent": {"rfc8785"},
    "agency_adapters": {"httpx", "cryptography", "joserfc", "typer", "rich"},
}
EXTRAS = {"agency_adapters": {"sqlalchemy", "kafka"}}  # loaded by the commands that need them


def tracked() -> list[Path]:
    """Return every file that git knows of; without git there is nothing to check."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: no list of tracked files")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def test_imports_point_down_only() -> None:
    """Every import contract in pyproject.toml holds."""
    ran = subprocess.run(LINT_IMPORTS, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


BREACHES = {
    "Imports inside the hub point down only": ("hub/ports.py", "import hub.store"),
    "consent knows nothing of the hub": ("consent/__init__.py", "import hub.core.errors"),
    "agency_adapters sees only itself and the public API": ("agency_adapters/__init__.py", "import sqlmodel"),
    "core has no I/O, no clock, no randomness": ("hub/core/errors.py", "import time"),
    "the agency's client needs no SQLAlchemy: it is the extra of agency_adapters.sql": (
        "agency_adapters/profile.py",
        "import sqlalchemy",
    ),
    "the agency's client needs no kafka-python: the extra of the bridge": (
        "agency_adapters/client.py",
        "import kafka",
    ),
}


def test_a_breach_of_each_contract_is_noticed(tmp_path: Path) -> None:
    """Put one forbidden import into each layer of a copy: every one of the contracts breaks."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "hub" / "store").mkdir(exist_ok=True)
    (tmp_path / "hub" / "store" / "__init__.py").touch()
    for path, line in BREACHES.values():
        spoilt = tmp_path / path
        spoilt.write_text(spoilt.read_text() + f"\n{line}\n")
    ran = subprocess.run(LINT_IMPORTS, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert [name for name in BREACHES if f"{name} BROKEN" not in ran.stdout] == [], ran.stdout + ran.stderr


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level package of every import in a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_what_stands_alone_imports_only_what_it_names(package: str) -> None:
    """`consent` and `agency_adapters` install elsewhere: a new dependency of theirs is a decision, made here."""
    mine = ALLOWED[package] | EXTRAS.get(package, set()) | {package} | sys.stdlib_module_names
    strangers = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in imported(path)
        if name not in mine
    }
    assert strangers == set()


def test_the_agency_side_installs_with_its_own_few_dependencies() -> None:
    """`pip install ./agency_adapters` asks for what it imports, in the versions that the hub is tested with."""
    alone, whole = (
        set(tomllib.loads((ROOT / name).read_text(encoding="utf-8"))["project"]["dependencies"])
        for name in ("agency_adapters/pyproject.toml", "pyproject.toml")
    )
    assert {re.split(r"[>=\[;]", dependency)[0] for dependency in alone} == ALLOWED["agency_adapters"]
    assert alone <= whole


def test_nothing_grows_too_long_unexplained() -> None:
    """No module over 400 lines and no function over 60, unless `# long: REASON` says why."""
    assert [f"{long.where}: {long.lines} lines" for long in long_ones(ROOT) if long.refused] == []


COMMENTS = {
    "noqa": re.compile(r"# noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*\s+[-#—:]\s*\S.{9,}"),
    "type: ignore": re.compile(r"# type: ignore\[[a-z, -]+\]\s+[-#—:]\s*\S.{9,}"),
    "pragma:": re.compile(r"# pragma: [a-z ]+\s+[-#—:]\s*\S.{9,}"),
}


def unexplained(path: Path) -> Iterator[str]:
    with path.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type == tokenize.COMMENT:
                for word, form in COMMENTS.items():
                    if f"# {word}" in token.string and not form.search(token.string):
                        yield f"{path.name}:{token.start[0]} {token.string}"


def test_every_exemption_says_why_on_its_line() -> None:
    """A rule is switched off for one line, by its name, with a reason: `# noqa: RULE - reason`."""
    assert [found for path in python_files() for found in unexplained(path)] == []


def test_an_exemption_without_a_reason_is_noticed(tmp_path: Path) -> None:
    """The check above can fail: a bare exemption, and one that names a rule but no reason, are both found."""
    path = tmp_path / "spoilt.py"
    lines = [
        "import a  # noqa",
        "import b  # noqa: F401",
        "c = 1  # type: ignore[x]",
        "import d  # noqa: F401 - on purpose",
    ]
    path.write_text("\n".join(lines))
    assert [found.split()[0] for found in unexplained(path)] == ["spoilt.py:1", "spoilt.py:2", "spoilt.py:3"]


# A class of one letter keeps a pattern from finding itself in this file.
FORBIDDEN = re.compile(
    r"""(?<![\w.-])/(?:[w]ork|[r]oot|[h]ome/\w+)/     # paths of the machine that something was written on
    | /tmp/[h]ub\w+
    | \b(?:[p]ypi|[p]ythonhosted|[n]pmjs)\.org       # registries; uv.lock alone says where packages came from
    | \b(?:[p]roxy|[s]um)\.golang\.org
    | \bissues?\s\#?\d                              # what was planned elsewhere means nothing to a reader
    | -----[B]EGIN\ [A-Z ]*PRIVATE\ KEY
    """,
    re.IGNORECASE | re.VERBOSE,
)
NAMES_HOSTS = {"uv.lock"}
# Names of tools that text and code are written with, as the first 12 digits of SHA-256, so that none stands here.
TOOLS = {
    "386ebc0efd04",
    "3ea125d0bff3",
    "487b91042c7c",
    "57de4cf40144",
    "5d72436256ad",
    "60965168ce76",
    "7d3194f79e64",
    "c70eca6b0f88",
    "c857d09db23e",
    "de2187af3fb0",
}


def forbidden(text: str) -> set[str]:
    """Return what a tracked file must not hold, as found in `text`."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    tools = {word for word in words if hashlib.sha256(word.encode()).hexdigest()[:12] in TOOLS}
    return tools | {match[0] for match in FORBIDDEN.finditer(text)}


def test_the_repository_speaks_of_itself_only() -> None:
    """No path of a machine, no registry's host, no tool that somebody used, no private key in any tracked file."""
    found = {
        path.relative_to(ROOT).as_posix(): sorted(bad)
        for path in tracked()
        if path.name not in NAMES_HOSTS and (bad := forbidden(path.read_text(encoding="utf-8", errors="replace")))
    }
    assert found == {}


def test_a_path_a_host_and_a_key_are_noticed() -> None:
    """The check above can fail; ordinary paths and words pass."""
    assert forbidden("/wo" + "rk/x") == {"/wo" + "rk/"}
    assert forbidden("see issue" + " 12") == {"issue" + " 1"}
    assert forbidden("-----BEGIN EC " + "PRIVATE KEY-----")
    assert forbidden("a frame/work/item in /v1/events, /tmp/x, an issue of AGR-12") == set()


def test_only_the_rooms_of_the_house_stand_at_the_top() -> None:
    """A new top-level entry is a decision: it is added here, and to the map in README.md."""
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} - TOP_LEVEL == set()


def test_no_room_is_called_after_nothing() -> None:
    """Modules are named for what they hold: no utils, helpers, common, base or managers."""
    nothing = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager", "managers"}
    assert [str(path.relative_to(ROOT)) for path in python_files() if path.stem in nothing] == []
    classes = re.compile(r"^class \w*(Manager|Helper|Base|Util)\b", re.MULTILINE)
    assert [path.name for path in python_files() if classes.search(path.read_text(encoding="utf-8"))] == []

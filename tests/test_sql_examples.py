"""The examples of the SQL adapters run as they stand, at a real hub; each is short enough to read in a minute."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agency_adapters.keys import new_key, public_jwk
from agency_adapters.profile import new_profile, write_profile
from tests.world import Town, link_family, town, until

EXAMPLES = Path(__file__).resolve().parents[1] / "agency_adapters" / "examples"
LINES_MOST = 25


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Town, Path]]:
    """A hub, and a folder with the profiles of the two agencies."""
    directory = tmp_path_factory.mktemp("examples")
    with town(tmp_path_factory.mktemp("hub")) as hub:
        link_family(hub, child="C-1", parent="P-1")
        for code in ("civil-registry", "family-benefits"):
            key = new_key()
            profile = new_profile(code, hub=hub.url, issuer="", ca_file=None)
            write_profile(directory / "hub-agency", profile, key)
            hub.hub.add_agency_key(code, public_jwk(key))
        yield hub, directory


def ran(directory: Path, *command: str) -> str:
    environment = os.environ | {"XDG_CONFIG_HOME": str(directory)}
    command = (sys.executable, *command)
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["outbox", "watermark", "snapshot"])
def test_an_example_publishes_a_row_that_the_inbox_example_receives(place: tuple[Town, Path], name: str) -> None:
    """From one agency's database into another's, by the two files alone."""
    _, directory = place
    if name == "outbox":
        ran(directory, "-m", "agency_adapters", "sql", "ddl", "outbox", "--create", "sqlite:///registry.sqlite")
    assert '"published": 1' in ran(directory, str(EXAMPLES / f"{name}.py"))
    received = until(lambda: ran(directory, str(EXAMPLES / "inbox.py")), bool)
    assert received == 'data FB-C-1 {"child_id": "FB-C-1", "dob": "2026-01-31"}\n'


def test_every_example_is_short() -> None:
    """Under 25 lines, so that it is read in a minute."""
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) < LINES_MOST, path.name

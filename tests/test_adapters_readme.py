"""The agencies' page tells the truth: from a row in one agency's database to another's inbox, as commands."""

import subprocess
from pathlib import Path

import orjson

from tests.test_readme import BLOCK, ROOT, Demo, demo

__all__ = ["demo"]  # a fixture: a running demo at a terminal of its own
PAGE = ROOT / "agency_adapters" / "README.md"


def test_a_row_of_one_agency_appears_as_the_minimal_row_in_anothers_inbox(demo: Demo, tmp_path: Path) -> None:
    """Line by line beside a running demo: of a birth with five fields, the municipality learns the month."""
    (text,) = [text for language, how, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if how == "demo"]
    lines = [line.split("  #")[0].strip() for line in text.splitlines()]
    assert lines[0] == "make demo"
    said = {}
    for line in lines[1:]:
        command = line.replace("http://127.0.0.1:8000", demo.address)
        told = ["bash", "-euc", command]
        ran = subprocess.run(told, cwd=tmp_path, env=demo.env, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
        said[line] = ran.stdout
    shown, counts = map(orjson.loads, said["hub-agency sql publish births.toml --dry-run"].splitlines())
    assert shown["data"] == {
        "child_id": "C***", "dob": "2***", "parent_ids": ["C***"], "sex": "f***", "hospital": "S***",
    }  # fmt: skip
    assert (counts["dry_run"], counts["read"], counts["refused"]) == (True, 1, 0)
    assert orjson.loads(said["hub-agency sql publish births.toml"])["published"] == 1
    assert said[lines[-1]].startswith(
        "('data', 'civil.birth.registered', 'TEST-GRANTED', 'KINDER-PLACE', '{\"dob_month\": \""
    )
    assert said[lines[-1]].count('":') == 1

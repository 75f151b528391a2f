"""An agency's own folder of rows becomes events by a mapping; what is wrong is named by file and line, no value."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agency_adapters.errors import AgencyError
from agency_adapters.folder import read_folder, read_map
from agency_adapters.ndjson import Broken
from tests.adapters_contract_hub import ContractHub
from tests.file_world import batches, left_over
from tests.test_adapters_commands import Run, hub, lindum, run  # noqa: F401 - fixtures of the commands' own tests, asked for by name

GOOD = """dataset = "pop.residence"
key = ["no", "at"]
subject = "person"
time = "at"
[fields]
resident = "person"
municipality_code = "town"
rooms = {column = "rooms", as = "int"}
share = {column = "share", as = "number"}
owner = {column = "owner", as = "bool"}
more = {column = "more", as = "json"}
"""
COLUMNS = "no,person,at,town,rooms,share,owner,more"
ROW = "1,P-1,2026-01-31,M-7,3,0.5,yes,[1]"
CANARY = "Doe-Jane-1990"


def events_of(tmp_path: Path, *, mapping: str = GOOD, key: bytes = b"k", **files: str) -> list[Any]:
    rows = tmp_path / "rows"
    rows.mkdir(exist_ok=True)
    for name, text in files.items():
        (rows / name.replace("_", ".")).write_text(text, encoding="utf-8")
    (tmp_path / "map.toml").write_text(mapping)
    return list(read_folder(rows, read_map(tmp_path / "map.toml"), publisher="lindum", id_key=key))


def test_a_row_is_an_event_whose_fields_are_what_the_mapping_says(tmp_path: Path) -> None:
    """Text as it is, the rest as what it is; a day is the instant at which it begins."""
    (event,) = events_of(tmp_path, a_csv=f"{COLUMNS}\n{ROW}\n")
    assert len(event.pop("id")) == 32
    assert event == {
        "specversion": "1.0", "source": "urn:agency:lindum", "type": "pop.residence", "subject": "P-1",
        "time": "2026-01-31T00:00:00Z", "data": {
            "resident": "P-1", "municipality_code": "M-7", "rooms": 3, "share": 0.5, "owner": True, "more": [1]
        },
    }  # fmt: skip


def test_ndjson_rows_give_the_same_events_as_csv(tmp_path: Path) -> None:
    """Values that are numbers already stay; so does the id."""
    row = {"no": 1, "person": "P-1", "at": "2026-01-31", "town": "M-7", "rooms": 3, "share": 0.5, "owner": True}
    first, second = events_of(tmp_path, a_csv=f"{COLUMNS}\n{ROW}\n", b_ndjson=json.dumps({**row, "more": [1]}) + "\n\n")
    assert first == second


def test_an_id_follows_from_the_key_columns_under_the_agencys_own_key(tmp_path: Path) -> None:
    """The same row again repeats it; another state of the record, or another agency's key, is another id."""
    other = ROW.replace("2026-01-31", "2026-02-01")
    first, second = events_of(tmp_path, a_csv=f"{COLUMNS}\n{ROW}\n{other}\n")
    again, _ = events_of(tmp_path)
    elsewhere, _ = events_of(tmp_path, key=b"other")
    assert first["id"] == again["id"]
    assert len({first["id"], second["id"], elsewhere["id"]}) == 3


def test_an_empty_cell_is_left_out(tmp_path: Path) -> None:
    """Whether that may be, the dataset's schema says."""
    (event,) = events_of(tmp_path, a_csv=f"{COLUMNS}\n1,P-1,2026-01-31,M-7,,,,\n")
    assert set(event["data"]) == {"resident", "municipality_code"}


BROKEN = [
    (f"{COLUMNS}\n,{CANARY},2026-01-31,M-7,,,,\n", "a.csv:2", "'no'"),
    (f"{COLUMNS}\n1,,2026-01-31,{CANARY},,,,\n", "a.csv:2", "'person'"),
    (f"{COLUMNS}\n1,P,2026-01-31,M,{CANARY},,,\n", "a.csv:2", "no int"),
    (f"{COLUMNS}\n1,P,2026-01-31,M,,{CANARY},,\n", "a.csv:2", "no number"),
    (f"{COLUMNS}\n1,P,2026-01-31,M,,true,,\n", "a.csv:2", "no number"),
    (f"{COLUMNS}\n1,P,2026-01-31,M,,,{CANARY},\n", "a.csv:2", "no bool"),
    (f"{COLUMNS}\n1,P,2026-01-31,M,,,,{CANARY}\n", "a.csv:2", "no json"),
    (f"{COLUMNS}\n1,{CANARY}\n", "a.csv:2", "cells"),
    (f"{COLUMNS}\n1,{CANARY},,,,,,,,,,\n", "a.csv:2", "cells"),
    (f'{COLUMNS}\n"{CANARY}', "a.csv:0", "no"),
]


@pytest.mark.parametrize(("text", "where", "reason"), BROKEN, ids=range(len(BROKEN)))
def test_a_row_that_gives_no_event_is_named_without_its_values(
    tmp_path: Path, text: str, where: str, reason: str
) -> None:
    """By file and line, and what is wrong; others are read."""
    (found,) = events_of(tmp_path, a_csv=text)
    assert isinstance(found, Broken)
    assert found.where == where
    assert reason in found.reason
    assert CANARY not in found.reason


@pytest.mark.parametrize("line", ["{", f'"{CANARY}"', "[1]", '{"no": 1}', "\\ud800"])
def test_a_line_of_ndjson_that_gives_no_event_is_named_as_well(tmp_path: Path, line: str) -> None:
    """And the next one is read."""
    good = json.dumps(dict(zip(COLUMNS.split(","), ROW.split(","), strict=True)))
    broken, event = events_of(tmp_path, a_ndjson=f"{line}\n{good}\n")
    assert isinstance(broken, Broken)
    assert broken.where == "a.ndjson:1"
    assert isinstance(event, Mapping)


def test_a_mapping_that_names_a_column_that_is_not_there_is_refused_before_any_row(tmp_path: Path) -> None:
    """With the column, the file, and the columns that there are."""
    with pytest.raises(AgencyError, match=r"a\.csv has no column 'town'") as told:
        events_of(tmp_path, a_csv="no,person,at,city,rooms,share,owner,more\n1,P,2026-01-31,M,,,,\n")
    assert "city" in told.value.remedy


MAPS = [
    ("", "dataset is missing"), ("dataset = 1", "dataset has the wrong type"),
    (GOOD.replace('key = ["no", "at"]\n', ""), "key is missing"),
    (GOOD.replace('["no", "at"]', "[]"), "key is missing"),
    (GOOD.replace('["no", "at"]', "[1]"), "key is a column"), (GOOD.partition("[fields]")[0], "fields is missing"),
    (GOOD.replace('"town"', "7"), "fields.municipality_code is a column's name"),
    (GOOD.replace('"int"', '"whole"'), "fields.rooms.as is one of"),
    (GOOD.replace("as =", "kind ="), "fields.rooms.kind means nothing"),
    (GOOD.replace('{column = "rooms", as = "int"}', '{from = "key"}'), "fields.rooms.from is for rows"),
    (GOOD.replace('as = "int"', 'type = "integer"'), 'what was type = "integer" is written as = "int" now'),
    (GOOD.replace('as = "json"', 'type = "json"'), 'what was type = "json" is written as = "json" now'),
    ("datasett = 1\n" + GOOD, "datasett means nothing. Did you mean dataset"), ("= =", "TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "what"), MAPS, ids=range(len(MAPS)))
def test_a_mapping_that_is_none_is_refused_in_words(tmp_path: Path, text: str, what: str) -> None:
    """What is missing in it or means nothing there."""
    with pytest.raises(AgencyError, match=what) as told:
        events_of(tmp_path, mapping=text, a_csv=f"{COLUMNS}\n{ROW}\n")
    assert told.value.remedy


def test_all_that_is_wrong_in_a_mapping_is_told_at_once(tmp_path: Path) -> None:
    """Not one mistake a run."""
    wrong = GOOD.replace('as = "int"', 'type = "integer"').replace('as = "bool"', 'as = "boole"')
    with pytest.raises(AgencyError) as told:
        events_of(tmp_path, mapping=wrong, a_csv=f"{COLUMNS}\n{ROW}\n")
    assert "fields.rooms: what was type" in told.value.what
    assert "fields.owner.as is one of" in told.value.what


def test_a_folder_is_mapped_in_the_words_of_a_database(tmp_path: Path) -> None:
    """Lists, look-ups, constants and dates of another form are said as for a table; an unknown code is told."""
    mapping = GOOD.partition("[fields]")[0] + (
        '[fields]\nsex = {column = "sex", as = "lookup", lookup = {F = "female"}}\nparents = {columns = ["a", "b"]}\n'
        'born = {column = "born", as = "date", format = "%d.%m.%Y"}\nkind = {constant = "move"}\n'
    )
    rows = "no,person,at,sex,a,b,born\n1,P-1,2026-01-31,F,A-1,,1.5.2023\n2,P-2,2026-01-31,X,,,\n"
    event, broken = events_of(tmp_path, mapping=mapping, a_csv=rows)
    assert event["data"] == {"sex": "female", "parents": ["A-1"], "born": "2023-05-01", "kind": "move"}
    assert (broken.where, broken.reason) == ("a.csv:3", "sex: what is in column sex is no lookup")


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    """A wrong path is not an empty export."""
    with pytest.raises(AgencyError, match=r"no .* in"):
        events_of(tmp_path)


def test_a_folder_is_published_by_one_command(lindum: ContractHub, run: Run, tmp_path: Path) -> None:  # noqa: F811 - fixtures of the commands' own tests, asked for by name
    """Over HTTP, again without doubling, or into a drop folder; a broken row is told and the others go."""
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "a.csv").write_text(f"{COLUMNS}\n{ROW}\n,,,,,,,\n")
    (tmp_path / "map.toml").write_text(GOOD)
    told = run("files", "publish", str(rows), "--map", str(tmp_path / "map.toml"))
    assert json.loads(told.stdout) == {"events": 1, "accepted": 1, "refused": 0, "broken_rows": 1, "dry_run": False}
    assert (told.returncode, "a.csv:3" in told.stderr) == (1, True)
    (rows / "a.csv").write_text(f"{COLUMNS}\n{ROW}\n")
    (event,) = lindum.events
    assert run("files", "publish", str(rows), "--map", str(tmp_path / "map.toml")).returncode == 0
    assert lindum.events == [event, event]
    (tmp_path / "drop" / "in").mkdir(parents=True)
    into = ["--into", str(tmp_path / "drop")]
    assert run("files", "publish", str(rows), "--map", str(tmp_path / "map.toml"), *into).returncode == 0
    (name,) = batches(tmp_path / "drop" / "in")
    assert json.loads((tmp_path / "drop" / "in" / f"{name}.ndjson").read_text()) == event


def test_a_drop_folder_is_received_by_one_command(lindum: ContractHub, run: Run, tmp_path: Path) -> None:  # noqa: F811 - fixtures of the commands' own tests, asked for by name
    """Each delivery once, the batch acknowledged; what is wrong with another is told, with exit code 1."""
    from hashlib import sha256

    home = tmp_path / "drop"
    for name in ("out", "ack"):
        (home / name).mkdir(parents=True)

    def put(batch: str, recipient: str) -> None:
        line = {"id": batch, "number": 1, "kind": "data", "type": "t", "subject": "p", "data": {}}
        body = json.dumps(line).encode() + b"\n"
        file = {"name": f"{batch}.ndjson", "count": 1, "bytes": len(body), "sha256": sha256(body).hexdigest()}
        manifest = {"format": 1, "batch": batch, "recipient": recipient, "count": 1, "files": [file]}
        (home / "out" / f"{batch}.ndjson").write_bytes(body)
        (home / "out" / f"{batch}.manifest.json").write_text(json.dumps(manifest))
        (home / "out" / f"{batch}.done").touch()

    put("lindum-1", "lindum")
    first = run("files", "receive", str(home))
    assert (first.returncode, json.loads(first.stdout)["id"]) == (0, "lindum-1")
    assert left_over(home / "ack") == ["lindum-1.ack"]
    put("lindum-2", "tax")
    second = run("files", "receive", str(home))
    assert (second.returncode, second.stdout) == (1, "")
    assert "another agency" in second.stderr

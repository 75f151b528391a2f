"""Deliveries as CSV: the columns that an agreement allows, one file for each of its lines, safe to open."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.file_world import Files
from tests.protocol_world import Hub, opened


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path / "hub") as one:
        one.grant(one.link("A"))
        yield one


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_a_row_holds_the_released_fields_and_an_empty_cell_for_the_rest(hub: Hub, tmp_path: Path) -> None:
    """Columns are those of the agreement's line, the same in every batch, whatever is released this time."""
    files = Files(hub, tmp_path / "drop", form="csv")
    hub.publish("e-1")
    hub.decide()
    told = files.manifest(files.write().batch)
    (file,) = told["files"]
    allowed = sorted(next(
        one.allowed for one in hub.catalogue.subscriptions.values()
        if (one.recipient, one.purpose.code, one.dataset.name) == ("lindum", "KINDER-PLACE", "pop.residence")
    ))  # fmt: skip
    assert file["columns"] == ["id", "number", "kind", "time", "subject", *allowed]
    assert (file["dataset"], file["purpose"], file["media_type"]) == (
        "pop.residence", "KINDER-PLACE", "text/csv; charset=utf-8"
    )  # fmt: skip
    (row,) = rows_of(files.out / file["name"])
    assert list(row) == file["columns"]
    assert (row["number"], row["kind"], row["municipality_code"]) == ("1", "data", "M-7")


def test_a_field_that_somebody_filled_with_a_formula_is_text(hub: Hub, tmp_path: Path) -> None:
    """From the publisher's event to the recipient's file."""
    files = Files(hub, tmp_path / "drop", form="csv")
    hub.publish("e-1", municipality_code="=1+1")
    hub.decide()
    (file,) = files.manifest(files.write().batch)["files"]
    assert b'"\'=1+1"' in (files.out / file["name"]).read_bytes()


def test_a_stop_stands_in_a_file_of_its_own_as_json(hub: Hub, tmp_path: Path) -> None:
    """It has none of the columns; its number says what it ends."""
    files = Files(hub, tmp_path / "drop", form="csv")
    hub.publish("e-1")
    hub.decide()
    files.write()
    person = hub.person("A")
    ((consent,),) = hub.rows("SELECT public FROM consent WHERE person = ?", (person,))
    hub.withdraw(person, consent)
    (file,) = files.manifest(files.write().batch)["files"]
    assert file["name"].endswith(".others.csv")
    (row,) = rows_of(files.out / file["name"])
    assert (row["kind"], row["type"]) == ("stop", "hub.stop")
    assert json.loads(row["event"])["id"] == row["id"]


@pytest.mark.parametrize("bom", [True, False])
def test_a_byte_order_mark_is_there_where_it_was_asked_for(hub: Hub, tmp_path: Path, bom: bool) -> None:
    """Excel needs it to read UTF-8; programs would rather not have it."""
    files = Files(hub, tmp_path / "drop", form="csv", bom=bom)
    hub.publish("e-1")
    hub.decide()
    (file,) = files.manifest(files.write().batch)["files"]
    assert (files.out / file["name"]).read_bytes().startswith(b"\xef\xbb\xbf") is bom

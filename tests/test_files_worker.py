"""File drop on a running hub: from one agency's file to another's, by commands, with nobody in the way of anybody."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hub.commands.files import app
from hub.core.errors import HubError
from hub.store.file_drop import there
from tests.doors import client_of
from tests.file_world import batches, lines
from tests.world import Town, birth, link_family, town, until


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Town]:
    drop = tmp_path / "drop"
    drop.mkdir(mode=0o750)
    with town(tmp_path / "hub", file_drop_dir=drop, file_every_s=0) as running:
        yield running


def switch(place: Town, agency: str, form: str = "ndjson") -> None:
    place.hub.file_drops.set(agency, form=form, bom=False)


def home(place: Town, agency: str) -> Path:
    assert place.hub.settings.file_drop_dir is not None
    return place.hub.settings.file_drop_dir / agency


def put(folder: Path, name: str, events: list[dict[str, Any]]) -> None:
    from hashlib import sha256

    body = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    told = {"name": f"{name}.ndjson", "count": len(events), "bytes": len(body), "sha256": sha256(body).hexdigest()}
    (folder / f"{name}.ndjson").write_bytes(body)
    manifest = {"format": 1, "publisher": folder.parent.name, "files": [told]}
    (folder / f"{name}.manifest.json").write_text(json.dumps(manifest))
    (folder / f"{name}.done").touch()


def test_a_file_of_one_agency_becomes_a_file_of_another(place: Town) -> None:
    """Published from a folder, decided, minimised, written into a folder, acknowledged there."""
    link_family(place)
    for agency in ("civil-registry", "family-benefits"):
        switch(place, agency)
    incoming, out = home(place, "civil-registry") / "in", home(place, "family-benefits") / "out"
    until(lambda: incoming.is_dir() and out.is_dir(), bool)
    put(incoming, "births", [birth("1")])
    until(lambda: batches(out), bool)
    (batch,) = batches(out)
    (line,) = lines(out, batch)
    assert line["subject"] == "FB-C-1"
    assert "hospital" not in line["data"]
    receipt = json.loads((incoming / "done" / "births.receipt.json").read_text())
    assert place.agency("civil-registry").status(receipt["lines"][0]["token"]) == "handled"
    (home(place, "family-benefits") / "ack" / f"{batch}.ack").write_text("all\n")
    number = place.hub.world.catalogue.agencies["family-benefits"].number
    until(lambda: [one.acked_us for one in listed(place, number)] != [None], bool)
    assert place.pull("family-benefits") == ()
    assert [one.acked_us is None for one in listed(place, number)] == [False]


def listed(place: Town, number: int) -> list[Any]:
    with place.hub.store.read() as tx:
        return there(tx, number)


def test_an_agency_whose_folder_cannot_be_used_holds_up_nobody_else(place: Town) -> None:
    """It is told in the list; the hub stays ready, and the others' files go out."""
    link_family(place)
    first = min(place.hub.world.catalogue.agencies.values(), key=lambda one: one.number).code
    home(place, first).write_text("a file where the folder should be")
    for agency in (first, "family-benefits"):
        switch(place, agency)
    place.agency("civil-registry").publish([birth("1")])
    until(lambda: batches(home(place, "family-benefits") / "out"), bool)
    assert len(batches(home(place, "family-benefits") / "out")) == 1
    told = {one["agency"]: one["trouble"] for one in place.hub.file_drops.listed()}
    assert "could not be opened" in told[first]
    assert told["family-benefits"] == ""
    assert place.hub.troubles() == ()


def test_stopped_releases_stop_files_as_well(place: Town) -> None:
    """Nothing is written until they are resumed; then it is."""
    link_family(place)
    place.hub.stop_releases(True)
    switch(place, "family-benefits")
    out = home(place, "family-benefits") / "out"
    done = place.agency("civil-registry").publish([birth("1")])
    assert place.decided(done.accepted[0].token) == "handled"
    until(lambda: place.hub.file_drops.listed()[0]["trouble"], bool)
    assert "stopped" in place.hub.file_drops.listed()[0]["trouble"]
    assert batches(out) == []
    place.hub.stop_releases(False)
    until(lambda: batches(out), bool)
    assert len(batches(out)) == 1


def test_no_name_of_a_file_and_nothing_of_its_content_is_logged(place: Town) -> None:
    """Agencies call their files what they like: somebody's name, for instance."""
    switch(place, "civil-registry")
    incoming = home(place, "civil-registry") / "in"
    until(incoming.is_dir, bool)
    put(incoming, "Doe-Jane", [birth("1", child="Doe-Jane-1990")])
    (incoming / "Roe-Jane.done").touch()
    until(lambda: all(one in place.said.getvalue() for one in ("files.taken", "files.refused")), bool)
    said = place.said.getvalue()
    assert '"event":"files.taken"' in said
    assert '"event":"files.refused"' in said
    assert "Jane" not in said


def test_file_drop_cannot_be_turned_on_for_nobody_or_nowhere(tmp_path: Path, place: Town) -> None:
    """An agency that the catalogue does not know; a hub without a directory for it."""
    with pytest.raises(HubError) as unknown:
        switch(place, "nobody")
    assert unknown.value.code == "agency-unknown"
    with town(tmp_path / "other") as other, pytest.raises(HubError) as nowhere:
        switch(other, "tax")
    assert nowhere.value.code == "file-drop-nowhere"


def test_file_drop_is_turned_on_and_off_by_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a running hub, on its store."""
    (tmp_path / "drop").mkdir()
    with town(tmp_path / "hub"):
        pass
    for name, value in (("MODE", "development"), ("DATA_DIR", tmp_path / "hub"), ("FILE_DROP_DIR", tmp_path / "drop")):
        monkeypatch.setenv(f"HUB_{name}", str(value))

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, words)

    assert run("on", "tax", "--format", "csv", "--bom").exit_code == 0
    (told,) = json.loads(run("list", "--json").stdout)["file_drop"]
    assert (told["agency"], told["format"], told["bom"], told["trouble"]) == ("tax", "csv", True, "")
    assert "tax" in run("list").stdout
    assert run("off", "tax").exit_code == 0
    assert "No agency has file drop" in run("list").stdout
    refused = run("on", "nobody", "--format", "csv").exception
    assert isinstance(refused, HubError)
    assert refused.code == "agency-unknown"


def test_file_drop_is_turned_on_over_the_operators_socket(place: Town) -> None:
    """What the command asks of a running hub."""
    from hub.web.apps import admin_app

    with client_of(admin_app(place.hub)) as operator:
        done = operator.post("/file-drop", json={"agency": "tax", "form": "csv", "bom": True})
        assert done.json() == {"agency": "tax", "format": "csv", "bom": True}
        (told,) = operator.get("/file-drop").json()["file_drop"]
        assert (told["agency"], told["format"]) == ("tax", "csv")
        assert operator.post("/file-drop", json={"agency": "tax", "form": "xml"}).status_code == 422

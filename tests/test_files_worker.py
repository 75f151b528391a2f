"""File drop on a running hub: from one agency's file to another's, by commands, with nobody in the way of anybody."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner, Result

from agency_adapters.keys import new_key
from agency_adapters.profile import new_profile, write_profile
from hub.commands.files import app
from hub.core.errors import HubError
from hub.store.file_drop import mark_files_of, there
from tests.doors import client_of
from tests.file_ways import DropPublishes, DropReceives, FolderPublishes
from tests.file_world import batches, left_over, lines
from tests.protocol_world import ROOT
from tests.stores import on_postgres, settings_of
from tests.world import Town, birth, link_family, town, until

pytestmark = pytest.mark.engines


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


def test_files_of_an_agency_whose_file_drop_was_turned_off_still_go_when_somebody_is_erased(place: Town) -> None:
    """Nothing new is written; what is there is removed like before, within a round."""
    link_family(place)
    switch(place, "family-benefits")
    out = home(place, "family-benefits") / "out"
    place.agency("civil-registry").publish([birth("1")])
    until(lambda: batches(out), bool)
    switch(place, "family-benefits", "")
    with place.hub.store.read() as tx:
        persons = [person for (person,) in tx.rows("SELECT DISTINCT person FROM handout_person")]
    for person in persons:
        place.hub.store.write(lambda tx, person=person: mark_files_of(tx, person))  # type: ignore[misc]  # each its own
    assert until(lambda: left_over(out), lambda left: not left) == []  # the marker goes first
    assert place.hub.file_drops.listed() == []


def test_file_drop_is_turned_on_and_off_by_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a running hub, on its store."""
    (tmp_path / "drop").mkdir()
    with town(tmp_path / "hub"):
        pass
    for name, value in (("MODE", "development"), ("DATA_DIR", tmp_path / "hub"), ("FILE_DROP_DIR", tmp_path / "drop")):
        monkeypatch.setenv(f"HUB_{name}", str(value))
    if on_postgres():
        monkeypatch.setenv("HUB_STORE_DSN", settings_of(tmp_path / "hub")["store_dsn"])

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


class Row(NamedTuple):
    number: int
    child: str
    dob: str


def test_the_ways_of_the_adapters_contract_carry_everything_once(place: Town, tmp_path: Path) -> None:
    """Rows of a folder over HTTP and into the drop folder; deliveries out of it, each once, in order."""
    link_family(place)
    for agency in ("civil-registry", "family-benefits"):
        switch(place, agency)
        until((home(place, agency) / "in" / "refused").is_dir, bool)
        (tmp_path / agency).mkdir()
        (tmp_path / agency / "drop").symlink_to(home(place, agency), target_is_directory=True)
    rows = [Row(at, "C-1", f"2026-01-{at:02d}") for at in range(1, 21)]
    over_http, by_file = FolderPublishes(tmp_path / "civil-registry"), DropPublishes(tmp_path / "civil-registry")
    receiving = DropReceives(tmp_path / "family-benefits")
    publisher, recipient = place.agency("civil-registry"), place.agency("family-benefits")
    over_http.add(rows[:10])
    assert over_http.run(publisher) == 0
    by_file.add(rows[10:])
    assert by_file.run(publisher) == 0  # all twenty once more: ten of them are repeats

    def arrived() -> int:
        receiving.run(recipient)
        return len(receiving.arrived())

    until(arrived, lambda count: count >= len(rows))
    assert len({one.id for one in receiving.arrived()}) == arrived() == len(rows)
    assert {one.kind for one in receiving.arrived()} == {"data"}


def test_the_examples_run_beside_a_hub(place: Town, tmp_path: Path) -> None:
    """Each is a program of its own, under 25 lines."""
    link_family(place)
    config = tmp_path / "config" / "hub-agency"
    for agency in ("civil-registry", "family-benefits"):
        switch(place, agency)
        until((home(place, agency) / "in" / "refused").is_dir, bool)
    rows = FolderPublishes(tmp_path)
    rows.add([Row(1, "C-1", "2026-01-31")])

    def example(agency: str, name: str, *words: Path) -> str:
        profile = new_profile(agency, hub=place.url, issuer="", ca_file=None)
        write_profile(config, profile, new_key())
        source = ROOT / "agency_adapters" / "examples" / name
        assert len(source.read_text().splitlines()) < 25
        env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(source), *map(str, words)]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True).stdout

    example(
        "civil-registry", "file_publish.py", tmp_path / "rows", tmp_path / "map.toml", home(place, "civil-registry")
    )
    out = home(place, "family-benefits") / "out"
    until(lambda: batches(out), bool)
    assert "data" in example("family-benefits", "file_receive.py", home(place, "family-benefits"))

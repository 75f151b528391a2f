"""The agency's side of file drop: against the hub's own files, and against what somebody else might put there."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from agency_adapters import csv_cells
from agency_adapters.errors import AgencyError
from agency_adapters.file_drop import BadBatch, read_batches, read_receipt, write_batch
from agency_adapters.results import Delivery
from agency_adapters.seen import Seen
from hub.exchange.csv_cells import escaped
from tests.file_world import Files, left_over
from tests.protocol_world import Hub, opened
from tests.test_csv_cells import FORMULAS, HARMLESS
from tests.test_files_out import consent_of

OTHER = "tax"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with opened(tmp_path / "hub") as one:
        one.grant(one.link("A"))
        yield one


@pytest.fixture
def files(hub: Hub, tmp_path: Path) -> Files:
    return Files(hub, tmp_path / "drop")


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    with Seen(tmp_path / "seen") as one:
        yield one


def publish(files: Files, *ids: str) -> str:
    """Let the recipient have a batch of these; returns its name."""
    for one in ids:
        files.hub.publish(one)
    files.hub.decide()
    return files.write().batch


def home(files: Files) -> Path:
    return files.out.parent


def received(files: Files, seen: Seen, bad: list[BadBatch] | None = None) -> list[Delivery]:
    return list(read_batches(home(files), agency=files.agency, seen=seen, bad=[] if bad is None else bad))


# What the contract suite plugs in: all of it out, all of it in.
def publish_rows(files: Files, count: int) -> str:
    """Put `count` events into the publisher's folder and let the hub take them."""
    events = [files.event(f"row-{at}") for at in range(count)]
    (files.base / files.publisher / "in").mkdir(parents=True, exist_ok=True)
    name = write_batch(files.base / files.publisher, events, agency=files.publisher)
    files.take(name)
    return name


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_what_one_agency_puts_there_another_takes_once_each(hub: Hub, tmp_path: Path, seen: Seen, form: str) -> None:
    """Rows in, receipt; decided; batches out; acknowledged; and nothing comes a second time."""
    files = Files(hub, tmp_path / "drop", form=form)
    files.limits = files.limits._replace(batch_max=7)
    name = publish_rows(files, 20)
    receipt = read_receipt(files.base / files.publisher, name)
    assert receipt is not None
    assert [(one.index, one.id) for one in receipt.accepted] == [(at, f"row-{at}") for at in range(20)]
    hub.decide()
    while files.write().full:
        pass
    taken = received(files, seen)
    assert [one.number for one in taken] == list(range(1, 21))
    assert {one.document["data"]["municipality_code"] for one in taken} == {"M-7"}
    assert {(one.type, one.document["purpose"]) for one in taken} == {("pop.residence", "KINDER-PLACE")}
    assert files.acknowledged() == 20
    assert received(files, seen) == []
    assert hub.rows("SELECT count(*) FROM handout WHERE acked_us IS NULL") == [(0,)]


def test_a_receipt_says_what_became_of_each_line_and_why(files: Files) -> None:
    """None while the hub has not come to it; as results like those of HTTP; a refused file is an error."""
    (files.base / files.publisher / "in").mkdir(parents=True)
    place = files.base / files.publisher
    name = write_batch(place, [files.event("e-1"), files.event("e-2", data={})], agency=files.publisher)
    assert read_receipt(place, name) is None
    files.take(name)
    receipt = read_receipt(place, name)
    assert receipt is not None
    assert [one.id for one in receipt.accepted] == ["e-1"]
    (refused,) = receipt.refused
    assert (refused.index, refused.problem.code) == (1, "event-schema")
    assert refused.problem.items
    theirs = write_batch(place, [files.event("e-3")], agency=OTHER)
    files.take(theirs)
    with pytest.raises(AgencyError, match="publisher") as told:
        read_receipt(place, theirs)
    assert told.value.remedy


def test_what_the_caller_did_not_finish_comes_again_and_is_not_acknowledged(files: Files, seen: Seen) -> None:
    """An exception in the loop ends it: what was handled is remembered, the rest comes again."""
    publish(files, "e-1", "e-2", "e-3")
    turns = read_batches(home(files), agency=files.agency, seen=seen)
    assert next(turns).number == 1
    assert next(turns).number == 2
    del turns
    assert left_over(files.ack) == []
    assert [one.number for one in received(files, seen)] == [2, 3]
    assert left_over(files.ack) != []


def test_a_delivery_in_a_second_batch_is_not_handled_twice(files: Files, seen: Seen) -> None:
    """Its acknowledgement got lost, the hub wrote it again: it is acknowledged and not yielded."""
    publish(files, "e-1")
    assert len(received(files, seen)) == 1
    for name in left_over(files.ack):
        (files.ack / name).unlink()
    files.hub.pass_by(86_401)
    files.keep_house()
    files.write()
    assert received(files, seen) == []
    assert files.acknowledged() == 1


def test_a_stop_is_read_from_csv_as_from_anywhere(hub: Hub, tmp_path: Path, seen: Seen) -> None:
    """The file of what has no columns holds events whole."""
    files = Files(hub, tmp_path / "drop", form="csv")
    publish(files, "e-1")
    received(files, seen)
    person = hub.person("A")
    hub.withdraw(person, consent_of(hub, person))
    files.write()
    (stop,) = received(files, seen)
    assert (stop.kind, stop.type) == ("stop", "hub.stop")
    assert stop.document["data"]["purpose"] == "KINDER-PLACE"


def test_a_kind_that_is_not_known_is_passed_on_and_never_acknowledged(files: Files, seen: Seen) -> None:
    """The others of its batch are, by their numbers."""
    batch = publish(files, "e-1", "e-2")
    path = files.out / f"{batch}.ndjson"
    first, second = path.read_bytes().splitlines(keepends=True)
    rewrite(files, batch, first + second.replace(b'"kind":"data"', b'"kind":"news"'))
    assert [one.kind for one in received(files, seen)] == ["data", "news"]
    assert (files.ack / f"{batch}.ack").read_text() == "1\n"
    assert [one.kind for one in received(files, seen)] == ["news"]
    assert files.acknowledged() == 1


def rewrite(files: Files, batch: str, body: bytes, **told: Any) -> None:
    """Replace a batch's file and let its manifest say so: as somebody would who could write there."""
    (files.out / f"{batch}.ndjson").write_bytes(body)
    manifest = files.manifest(batch)
    manifest["files"][0] |= {"bytes": len(body), "sha256": sha256(body).hexdigest(), **told.pop("file", {})}
    (files.out / f"{batch}.manifest.json").write_text(json.dumps(manifest | told))


def changed(files: Files, batch: str) -> None:
    with (files.out / f"{batch}.ndjson").open("ab") as file:
        file.write(b"{}\n")


def changed_in_place(files: Files, batch: str) -> None:
    path = files.out / f"{batch}.ndjson"
    path.write_bytes(path.read_bytes().replace(b"M-7", b"M-8"))


def cut(files: Files, batch: str) -> None:
    path = files.out / f"{batch}.ndjson"
    path.write_bytes(path.read_bytes()[:-5])


def of_another(files: Files, batch: str) -> None:
    rewrite(files, batch, (files.out / f"{batch}.ndjson").read_bytes(), recipient=OTHER)


def of_another_batch(files: Files, batch: str) -> None:
    manifest = files.manifest(batch) | {"batch": "x"}
    (files.out / f"{batch}.manifest.json").write_text(json.dumps(manifest))


def newer_form(files: Files, batch: str) -> None:
    rewrite(files, batch, (files.out / f"{batch}.ndjson").read_bytes(), format=2)


def path_trick(files: Files, batch: str) -> None:
    rewrite(files, batch, b"", file={"name": f"../ack/{batch}.ack"})


def other_name(files: Files, batch: str) -> None:
    (files.out / "stranger.ndjson").write_text("")
    rewrite(files, batch, b"", file={"name": "stranger.ndjson"})


def fewer(files: Files, batch: str) -> None:
    rewrite(files, batch, b"", file={"count": 0})


def not_json(files: Files, batch: str) -> None:
    rewrite(files, batch, b"{\n")


def not_utf8(files: Files, batch: str) -> None:
    rewrite(files, batch, b'{"id": "\xff"}\n')


def no_object(files: Files, batch: str) -> None:
    rewrite(files, batch, b"[1]\n")


def no_manifest(files: Files, batch: str) -> None:
    (files.out / f"{batch}.manifest.json").unlink()


def broken_manifest(files: Files, batch: str) -> None:
    (files.out / f"{batch}.manifest.json").write_text("{")


def no_file(files: Files, batch: str) -> None:
    (files.out / f"{batch}.ndjson").unlink()


def linked(files: Files, batch: str) -> None:
    path = files.out / f"{batch}.ndjson"
    path.rename(files.base / "elsewhere")
    path.symlink_to(files.base / "elsewhere")


SPOILT: list[Callable[[Files, str], None]] = [
    changed, changed_in_place, cut, of_another, of_another_batch, newer_form, path_trick, other_name, fewer,
    not_json, not_utf8, no_object, no_manifest, broken_manifest, no_file, linked,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT, ids=[spoil.__name__ for spoil in SPOILT])
def test_a_batch_that_is_not_what_it_says_is_put_aside_and_nothing_is_lost(
    files: Files, seen: Seen, spoil: Callable[[Files, str], None]
) -> None:
    """Not a line of it is handled or acknowledged; the next batch is; and what was in it comes again."""
    batch = publish(files, "e-1")
    spoil(files, batch)
    later = publish(files, "e-2")
    bad: list[BadBatch] = []
    assert [one.number for one in received(files, seen, bad)] == [2]
    ((told),) = bad
    assert (told.batch, told.quarantined) == (batch, True)
    assert told.what
    assert told.remedy
    assert (home(files) / "quarantine" / f"{batch}.reason.json").exists()
    assert left_over(files.ack) == [f"{later}.ack"]
    assert received(files, seen, bad) == []
    files.acknowledged()
    files.hub.pass_by(86_401)
    files.keep_house()
    files.write()
    assert [one.number for one in received(files, seen)] == [1]


def test_without_a_list_a_bad_batch_is_an_error_after_the_last_good_one(files: Files, seen: Seen) -> None:
    """Whoever forgets to look is told all the same."""
    changed(files, publish(files, "e-1"))
    publish(files, "e-2")
    taken: list[int] = []
    with pytest.raises(AgencyError, match="1 batches were not taken"):
        taken += [one.number for one in read_batches(home(files), agency=files.agency, seen=seen)]
    assert len(list((home(files) / "quarantine").glob("*.reason.json"))) == 1


def test_a_batch_without_its_marker_is_not_read_and_is_told_of_after_an_hour(files: Files, seen: Seen) -> None:
    """It may still be on its way: it is not put aside."""
    batch = publish(files, "e-1")
    (files.out / f"{batch}.done").unlink()
    bad: list[BadBatch] = []
    assert received(files, seen, bad) == []
    assert bad == []
    os.utime(files.out / f"{batch}.manifest.json", (0, 0))
    assert received(files, seen, bad) == []
    assert [(one.batch, one.quarantined) for one in bad] == [(batch, False)]
    assert (files.out / f"{batch}.ndjson").exists()


def test_a_folder_that_is_not_there_is_told_in_words(tmp_path: Path, seen: Seen) -> None:
    """For who reads and for who writes."""
    with pytest.raises(AgencyError, match="cannot be read"):
        list(read_batches(tmp_path / "nowhere", agency="tax", seen=seen))
    with pytest.raises(AgencyError, match="cannot be written"):
        write_batch(tmp_path / "nowhere", [], agency="tax")


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", "", "a b", "x" * 101])
def test_a_name_that_the_hub_does_not_take_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    """An empty one is replaced by one of our own."""
    (tmp_path / "in").mkdir()
    if name:
        with pytest.raises(AgencyError, match="name"):
            write_batch(tmp_path, [], agency="tax", name=name)
        assert left_over(tmp_path / "in") == []
    else:
        assert write_batch(tmp_path, [], agency="tax", name=name).startswith("tax-")


@pytest.mark.parametrize("text", [*FORMULAS, *HARMLESS, "''=1", "'=1"])
def test_both_sides_agree_on_what_was_escaped(text: str) -> None:
    """The rule stands in two places, for neither may import the other."""
    assert csv_cells.unescaped(escaped(text)) == text


def manifest_of(folder: Path, name: str) -> Mapping[str, Any]:
    told: dict[str, Any] = json.loads((folder / "in" / f"{name}.manifest.json").read_text())
    return told


def test_a_manifest_of_the_publisher_says_what_the_hub_checks(tmp_path: Path) -> None:
    """Bytes as written, whatever the system's own line ends are."""
    (tmp_path / "in").mkdir()
    name = write_batch(tmp_path, [{"id": "ä"}, {"id": "b"}], agency="tax")
    body = (tmp_path / "in" / f"{name}.ndjson").read_bytes()
    assert body == '{"id":"ä"}\n{"id":"b"}\n'.encode()
    (file,) = manifest_of(tmp_path, name)["files"]
    assert (file["count"], file["bytes"], file["sha256"]) == (2, len(body), sha256(body).hexdigest())
    assert left_over(tmp_path / "in") == sorted(f"{name}{part}" for part in (".done", ".manifest.json", ".ndjson"))

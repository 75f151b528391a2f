"""Files that an agency puts there are published line by line; one that is not as announced is refused whole."""

import json
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hub.core.errors import HubError, Kind
from hub.exchange.csv_cells import line
from hub.failpoints import arm, disarm
from hub.workers.files_in import Intake, half_written, ready, sweep, take
from hub.workers.folders import opened_place
from tests.file_world import Files, left_over, ndjson
from tests.promise_hub import Crash
from tests.protocol_world import opened

pytestmark = pytest.mark.engines

CANARY = "Doe-Jane-1990"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    with opened(tmp_path / "hub") as hub:
        hub.grant(hub.link("A"))
        files = Files(hub, tmp_path / "drop")
        with opened_place(files.base, files.publisher):
            yield files


def published(files: Files) -> int:
    ((count,),) = files.hub.rows("SELECT count(*) FROM bus_record")
    return int(count)


def test_every_line_is_published_and_has_a_receipt_with_its_token(files: Files) -> None:
    """Tokens are those that HTTP would have given; the file and its manifest move to `done`."""
    files.put("day", ndjson([files.event("e-1"), files.event("e-2")]))
    taken = files.take("day")
    assert taken is not None
    assert (taken.accepted, taken.refused, taken.refused_as) == (2, 0, "")
    told = files.receipt("day")
    assert [(one["line"], one["id"], one["status"]) for one in told["lines"]] == [
        (1, "e-1", "accepted"), (2, "e-2", "accepted")
    ]  # fmt: skip
    assert (told["accepted"], told["refused"], told["file"]) == (2, 0, "day.ndjson")
    assert told["lines"][0]["token"] == files.hub.publish("e-1")
    assert left_over(files.incoming) == []
    assert left_over(files.incoming / "done") == ["day.manifest.json", "day.ndjson", "day.receipt.json"]
    files.hub.decide()
    assert len(files.hub.pull().opened) == 2


def test_the_same_file_again_doubles_nothing(files: Files) -> None:
    """The same ids are repeats, under the same name or another."""
    body = ndjson([files.event("e-1"), files.event("e-2")])
    for name in ("day", "day", "copy"):
        files.put(name, body)
        files.take(name)
        files.hub.decide()
    assert len(files.hub.pull().opened) == 2
    assert files.receipt("copy")["accepted"] == 2


def test_a_bad_line_is_refused_by_itself_with_what_where_and_remedy(files: Files) -> None:
    """The others of its file are published; no value is repeated."""
    spoilt = files.event("e-2", data={"resident": CANARY})
    foreign = files.event("e-3", source="urn:agency:tax")
    theirs = files.event("e-4", type="civil.birth.registered")
    body = ndjson([files.event("e-1"), spoilt, foreign, theirs]) + b"not json " + CANARY.encode() + b"\n\xff\xfe\n[1]\n"
    files.put("day", body)
    files.take("day")
    told = files.receipt("day")
    found = [(one["line"], one["status"], one.get("code", "")) for one in told["lines"]]
    assert found == [
        (1, "accepted", ""), (2, "refused", "event-schema"), (3, "refused", "event-malformed"),
        (4, "refused", "dataset-unknown"), (5, "refused", "json-malformed"), (6, "refused", "json-malformed"),
        (7, "refused", "event-malformed"),
    ]  # fmt: skip
    assert all(one.get("what") and one.get("remedy") for one in told["lines"][1:])
    assert told["lines"][1]["items"][0]["where"].startswith("/data")
    assert CANARY not in json.dumps(told)
    assert (told["accepted"], told["refused"]) == (1, 6)
    assert published(files) == 1


def test_a_line_that_is_too_long_is_refused_and_the_next_ones_are_read(files: Files) -> None:
    """Its length is bounded while it is read, not after."""
    huge = json.dumps(files.event("e-1", data={"x": "0" * 200_000})).encode() + b"\n"
    files.put("day", huge + ndjson([files.event("e-2")]))
    files.take("day")
    assert [(one["line"], one.get("code", "accepted")) for one in files.receipt("day")["lines"]] == [
        (1, "event-too-large"), (2, "accepted")
    ]  # fmt: skip


def test_blank_lines_and_a_missing_last_line_end_count_for_nothing(files: Files) -> None:
    """As a text editor leaves a file."""
    files.put("day", b"\n" + ndjson([files.event("e-1")]) + b"  \n" + ndjson([files.event("e-2")]).rstrip())
    taken = files.take("day")
    assert taken is not None
    assert taken.accepted == 2


def test_a_file_without_its_done_marker_is_left_alone_and_reported_after_a_while(files: Files) -> None:
    """It is being written. Nothing of it is read, however long it lies there."""
    files.put("day", ndjson([files.event("e-1")]))
    (files.incoming / "day.done").unlink()
    now_us = files.hub.clock()
    for name in left_over(files.incoming):
        os.utime(files.incoming / name, (now_us / 1e6, now_us / 1e6))
    with opened_place(files.base, files.publisher) as place:
        assert ready(place) == []
        assert half_written(place, now_us + 599_000_000) == (0, 0)
        assert half_written(place, now_us + 601_000_000) == (2, 601_000_000)
    assert published(files) == 0


def change_after(files: Files) -> None:
    with (files.incoming / "day.ndjson").open("ab") as file:
        file.write(ndjson([files.event("e-9")]))


def change_in_place(files: Files) -> None:
    body = (files.incoming / "day.ndjson").read_bytes()
    (files.incoming / "day.ndjson").write_bytes(body.replace(b"M-7", b"M-8"))


def as_link(files: Files) -> None:
    elsewhere = files.base.parent / "elsewhere"
    (files.incoming / "day.ndjson").rename(elsewhere)
    (files.incoming / "day.ndjson").symlink_to(elsewhere)


def as_second_name(files: Files) -> None:
    os.link(files.incoming / "day.ndjson", files.base.parent / "second")


def as_fifo(files: Files) -> None:
    (files.incoming / "day.ndjson").unlink()
    os.mkfifo(files.incoming / "day.ndjson")


def as_folder(files: Files) -> None:
    (files.incoming / "day.ndjson").unlink()
    (files.incoming / "day.ndjson").mkdir()


def manifest_as_link(files: Files) -> None:
    elsewhere = files.base.parent / "elsewhere"
    (files.incoming / "day.manifest.json").rename(elsewhere)
    (files.incoming / "day.manifest.json").symlink_to(elsewhere)


def without_data(files: Files) -> None:
    (files.incoming / "day.ndjson").unlink()


def both_forms(files: Files) -> None:
    (files.incoming / "day.csv").touch()


def without_manifest(files: Files) -> None:
    (files.incoming / "day.manifest.json").unlink()


def manifest_not_json(files: Files) -> None:
    (files.incoming / "day.manifest.json").write_text("{")


def manifest_a_list(files: Files) -> None:
    (files.incoming / "day.manifest.json").write_text("[]")


SPOILT: list[tuple[Callable[[Files], None], str]] = [
    (change_after, "file-changed"), (change_in_place, "file-changed"), (as_link, "file-not-plain"),
    (as_second_name, "file-not-plain"), (as_fifo, "file-not-plain"), (as_folder, "file-not-plain"),
    (manifest_as_link, "file-not-plain"), (without_data, "file-missing"), (both_forms, "file-missing"),
    (without_manifest, "file-missing"), (manifest_not_json, "file-manifest"), (manifest_a_list, "file-manifest"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "code"), SPOILT, ids=[spoil.__name__ for spoil, _ in SPOILT])
def test_a_file_that_is_not_what_was_announced_is_refused_whole(
    files: Files, spoil: Callable[[Files], None], code: str
) -> None:
    """Nothing of it is published; it moves to `refused` with what is wrong and what to do, and frees its name."""
    files.put("day", ndjson([files.event("e-1")]))
    spoil(files)
    taken = files.take("day")
    assert taken is not None
    assert taken.refused_as == code
    assert published(files) == 0
    told = files.reason("day")
    assert told["code"] == code
    assert told["what"]
    assert told["remedy"]
    assert left_over(files.incoming) == []
    files.put("day", ndjson([files.event("e-1")]))
    assert files.take("day") == (1, 0, "")


MANIFESTS: list[tuple[dict[str, Any], str]] = [
    ({"format": 2}, "file-manifest"), ({"publisher": "tax"}, "file-of-another"), ({"files": []}, "file-manifest"),
    ({"file": {"name": "../../../etc/passwd"}}, "file-manifest"), ({"file": {"name": "other.ndjson"}}, "file-manifest"),
    ({"file": {"name": "day.ndjson/../x"}}, "file-manifest"), ({"file": {"count": 2}}, "file-count"),
    ({"file": {"count": -1}}, "file-manifest"), ({"file": {"bytes": 1}}, "file-changed"),
    ({"file": {"sha256": "0" * 64}}, "file-changed"), ({"file": {"sha256": None}}, "file-manifest"),
    ({"file": {"count": "1"}}, "file-manifest"),
]  # fmt: skip


@pytest.mark.parametrize(("told", "code"), MANIFESTS, ids=[str(told) for told, _ in MANIFESTS])
def test_a_manifest_that_does_not_fit_refuses_the_file(files: Files, told: dict[str, Any], code: str) -> None:
    """Another agency's, another file's, a path, a count that is none: no name in it is ever opened."""
    files.put("day", ndjson([files.event("e-1")]), **told)
    taken = files.take("day")
    assert taken is not None
    assert (taken.refused_as, published(files)) == (code, 0)


def test_a_file_beyond_its_limit_is_refused(files: Files) -> None:
    """Before it is read."""
    files.put("day", ndjson([files.event("e-1")]))
    taken = files.take("day", most_bytes=100)
    assert taken is not None
    assert taken.refused_as == "file-too-large"


def test_an_agency_that_does_not_publish_has_its_file_refused(files: Files) -> None:
    """Its folder is there for what it receives."""
    body = ndjson([files.event("e-1")])
    with opened_place(files.base, "lindum"):
        pass
    files.publisher = "lindum"
    files.put("day", body)
    taken = files.take("day")
    assert taken is not None
    assert taken.refused_as == "file-right"
    assert published(files) == 0


def test_a_name_that_is_not_taken_here_is_left_alone(files: Files) -> None:
    """Hidden ones, and ones with what has no place in a name."""
    for name in (".hidden.done", "a b.done", "x\n.done", "-x.done"):
        (files.incoming / name).touch()
    with opened_place(files.base, files.publisher) as place:
        assert ready(place) == []


def test_a_process_that_dies_between_publishing_and_the_receipt_doubles_nothing(files: Files) -> None:
    """The file is read again from its first line; the gate drops the repeats."""
    files.put("day", ndjson([files.event("e-1")]))

    def die() -> None:
        raise Crash

    def publish_and_die(_agency: str, events: int) -> None:
        arm("store.queued", die)

    intake = Intake(lambda: files.hub.publishing, publish_and_die, 1 << 28)
    with opened_place(files.base, files.publisher) as place:
        try:
            with pytest.raises(Crash):
                list(take(intake, place, files.publisher, "day"))
        finally:
            disarm()
    assert "day.done" in left_over(files.incoming)
    assert left_over(files.incoming / "done") == []
    assert files.take("day") == (1, 0, "")
    files.hub.decide()
    assert len(files.hub.pull().opened) == 1


def test_a_process_that_dies_while_it_moves_a_file_finishes_it_after_the_restart(files: Files) -> None:
    """The marker goes last; what is left with it is put away and nothing is published twice."""
    files.put("day", ndjson([files.event("e-1")]))
    assert files.take("day") == (1, 0, "")
    before = published(files)
    for name, text in (("day.manifest.json", "{}"), ("day.done", "")):
        (files.incoming / name).write_text(text)
    assert files.take("day") is None
    assert left_over(files.incoming) == []
    assert published(files) == before


def test_a_quota_makes_a_file_wait_and_refuses_nothing(files: Files) -> None:
    """What is over it goes on in a later round."""
    files.put("day", ndjson([files.event("e-1")]))
    refusals = [HubError(Kind.TOO_MANY, "slowly"), HubError(Kind.TOO_MANY, "slowly")]

    def quota(_agency: str, _events: int) -> None:
        if refusals:
            raise refusals.pop()

    with opened_place(files.base, files.publisher) as place:
        steps = list(take(Intake(lambda: files.hub.publishing, quota, 1 << 28), place, files.publisher, "day"))
    assert steps == [None, None, None, (1, 0, "")]


def test_a_bus_that_is_down_leaves_the_file_where_it_is(files: Files) -> None:
    """It is read again later; no half receipt is left."""
    files.put("day", ndjson([files.event("e-1")]))

    def quota(_agency: str, _events: int) -> None:
        raise HubError(Kind.UNAVAILABLE, "down")

    with opened_place(files.base, files.publisher) as place, pytest.raises(HubError, match="down"):
        list(take(Intake(lambda: files.hub.publishing, quota, 1 << 28), place, files.publisher, "day"))
    assert left_over(files.incoming) == ["day.done", "day.manifest.json", "day.ndjson"]
    assert left_over(files.incoming / "done") == []


def test_what_was_taken_is_removed_after_its_time(files: Files) -> None:
    """It holds people's data, in the clear."""
    files.put("day", ndjson([files.event("e-1")]))
    files.take("day")
    with opened_place(files.base, files.publisher) as place:
        now_us = int((files.incoming / "done" / "day.ndjson").stat().st_ctime * 1e6)
        assert sweep(place, now_us + 1_000_000, 3_600_000_000) == 0
        assert sweep(place, now_us + 3_700_000_000, 3_600_000_000) == 3
    assert left_over(files.incoming / "done") == []


HEADER = ["id", "type", "subject", "time", "resident", "municipality_code"]


def csv_of(*rows: list[Any], header: list[str] | None = None) -> bytes:
    return b"".join(map(line, [header or HEADER, *rows]))


def row(event_id: str, **changed: str) -> list[str]:
    cells = {"id": event_id, "type": "pop.residence", "subject": "A", "time": "2026-11-02T09:00:00Z",
             "resident": "A", "municipality_code": "M-7"}  # fmt: skip
    return list((cells | changed).values())


def test_a_csv_row_is_an_event_and_its_cells_are_what_the_schema_says(files: Files) -> None:
    """Attributes by their names, everything else data; what was escaped for a spreadsheet is itself again."""
    files.put("day", b"\xef\xbb\xbf" + csv_of(row("e-1"), row("e-2", municipality_code="=7")), form=".csv", count=2)
    assert files.take("day") == (2, 0, "")
    files.hub.decide()
    values = [one["data"]["municipality_code"] for one in files.hub.read(files.hub.pull())]
    assert values == ["M-7", "=7"]


BAD_CSV: list[tuple[bytes, int, str]] = [
    (csv_of(row("e-1"))[:-3], 1, "file-csv"),  # a quote that is never closed
    (csv_of(row("e-1")[:-1]), 1, "file-csv"),
    (csv_of(row("e-1")) + b'"\xff"\r\n', 2, "file-csv"),
    (csv_of(row("e-1"), header=["id", "type", "subject", "when", "resident", "municipality_code"]), 1, "file-csv"),
    (csv_of(row("e-1"), header=["id", "type", "subject", "time", "resident", "resident"]), 1, "file-csv"),
    (csv_of(row("e-1", resident="0" * 200_000)), 1, "file-csv"),
    (b"", 0, "file-csv"),
    (csv_of(row("e-1")), 2, "file-count"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "count", "code"), BAD_CSV, ids=range(len(BAD_CSV)))
def test_a_table_that_is_none_is_refused_whole(files: Files, body: bytes, count: int, code: str) -> None:
    """It is read once to its end before anything of it is published."""
    files.put("day", csv_of(row("e-0")) + body if body.startswith(b"\x00") else body, form=".csv", count=count)
    taken = files.take("day")
    assert taken is not None
    assert (taken.refused_as, published(files)) == (code, 0)


def test_a_cell_that_does_not_fit_its_field_is_refused_by_the_schema(files: Files) -> None:
    """As a line of the receipt: the row, and the field in it."""
    files.put("day", csv_of(row("e-1"), row("e-2", resident="B")), form=".csv", count=2)
    taken = files.take("day")
    assert taken is not None
    assert (taken.accepted, taken.refused) == (1, 1)
    assert files.receipt("day")["lines"][1]["items"][0]["where"] == "/data/resident"


def test_the_hash_may_be_written_in_capitals(files: Files) -> None:
    """Some tools do."""
    body = ndjson([files.event("e-1")])
    files.put("day", body, file={"sha256": sha256(body).hexdigest().upper()})
    assert files.take("day") == (1, 0, "")

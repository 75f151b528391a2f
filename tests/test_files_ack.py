"""Acknowledgements as files: all of a batch or what they list, never half of one, never another agency's."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.workers.folders import opened_place
from tests.file_world import Files, left_over
from tests.protocol_world import opened

pytestmark = pytest.mark.engines


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    """One linked person who said yes, and their events' recipient with file drop."""
    with opened(tmp_path / "hub") as hub:
        hub.grant(hub.link("A"))
        yield Files(hub, tmp_path / "drop")


def publish(files: Files, *ids: str) -> None:
    for one in ids:
        files.hub.publish(one)
    files.hub.decide()


ACKS = [
    ("", 3), ("all", 3), ("all\n", 3), ("1\n3\n", 2), ("2\r\n", 1), ("\n", 3),
]  # fmt: skip


@pytest.mark.parametrize(("text", "settled"), ACKS)
def test_an_acknowledgement_settles_all_or_what_it_lists(files: Files, text: str, settled: int) -> None:
    """An empty one means all once it has lain still; it is removed when it was taken."""
    publish(files, "e-1", "e-2", "e-3")
    batch = files.write().batch
    path = files.ack / f"{batch}.ack"
    path.write_bytes(text.encode())
    os.utime(path, (0, 0))
    assert files.acknowledged() == settled
    assert left_over(files.ack) == []
    path.write_bytes(text.encode())
    os.utime(path, (0, 0))
    assert files.acknowledged() == 0


@pytest.mark.parametrize("text", ["", "1\n2", "1"])
def test_an_acknowledgement_that_is_being_written_is_left_alone(files: Files, text: str) -> None:
    """A fresh empty file, or a list without its last line's end, may be half of one."""
    publish(files, "e-1", "e-2")
    path = files.ack / f"{files.write().batch}.ack"
    path.write_text(text)
    now_s = files.hub.clock() / 1e6
    os.utime(path, (now_s, now_s))
    assert files.acknowledged() == 0
    assert left_over(files.ack) == [path.name]


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("{batch}.ack", "1\n99\n", "ack-number"),
        ("{batch}.ack", "one\n", "ack-number"),
        ("{batch}.ack", "1" * 30 + "\n", "ack-number"),
        ("lindum-0000000001-20261102T090000Z-00000000.ack", "all\n", "ack-unknown"),
        ("nonsense.ack", "all\n", "ack-unknown"),
    ],
)
def test_an_acknowledgement_that_fits_no_batch_is_put_aside_with_the_reason(
    files: Files, name: str, text: str, code: str
) -> None:
    """Nothing of it is acknowledged, and it does not stand in the way of the next."""
    publish(files, "e-1")
    batch = files.write().batch
    name = name.format(batch=batch)
    (files.ack / name).write_text(text)
    assert files.acknowledged() == 0
    assert left_over(files.ack) == []
    refused = files.base / files.agency / "in" / "refused"
    told = json.loads((refused / f"{name}.reason.json").read_text())
    assert told["code"] == code
    assert told["remedy"]
    (files.ack / f"{batch}.ack").write_text("all\n")
    assert files.acknowledged() == 1


def test_an_acknowledgement_that_is_a_link_is_not_followed(files: Files, tmp_path: Path) -> None:
    """What it points at is neither read nor removed."""
    publish(files, "e-1")
    batch = files.write().batch
    target = tmp_path / "elsewhere"
    target.write_text("all\n")
    (files.ack / f"{batch}.ack").symlink_to(target)
    assert files.acknowledged() == 0
    assert target.read_text() == "all\n"


def test_another_agencys_acknowledgement_settles_nothing(files: Files) -> None:
    """A batch is looked for among the folder's own agency's."""
    publish(files, "e-1")
    batch = files.write().batch
    other = Files(files.hub, files.base)
    other.agency, other.drop = "tax", other.drop._replace(agency=files.hub.catalogue.agencies["tax"].number)
    with opened_place(files.base, "tax"):
        (other.ack / f"{batch}.ack").write_text("all\n")
    assert other.acknowledged() == 0
    assert files.hub.rows("SELECT acked_us FROM handout") == [(None,)]

"""Deliveries as files: a batch is seen whole or not at all, decided like any hand-out, taken back when it must be."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.core.leaf import LeafKind
from hub.failpoints import arm, disarm
from hub.store.file_drop import turn_off
from hub.workers.folders import opened_place, put
from tests.file_world import Files, left_over
from tests.protocol_world import CONSENT, Hub, opened

pytestmark = pytest.mark.engines

DAY_S = 86_400


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    """One linked person who said yes, and their events' recipient with file drop."""
    with opened(tmp_path / "hub") as hub:
        hub.grant(hub.link("A"))
        yield Files(hub, tmp_path / "drop")


def publish(files: Files, *ids: str, local_id: str = "A") -> None:
    for one in ids:
        files.hub.publish(one, local_id)
    files.hub.decide()


def consent_of(hub: Hub, person: int) -> str:
    ((public,),) = hub.rows("SELECT public FROM consent WHERE person = ?", (person,))
    return str(public)


def test_a_batch_holds_each_delivery_exactly_as_a_pull_gives_it(files: Files) -> None:
    """Same ids, same numbers, same fields; and what a pull is given afterwards is nothing, for it is opened."""
    publish(files, "e-1", "e-2")
    sent = files.write()
    lines = files.lines(sent.batch)
    assert files.hub.pull().opened == ()
    files.hub.pass_by(DAY_S + 1)
    assert lines == files.hub.read(files.hub.pull())
    assert [line["number"] for line in lines] == [1, 2]
    assert lines[0]["data"] == {"municipality_code": "M-7"}


def test_the_manifest_says_what_is_in_the_batch(files: Files) -> None:
    """Names, counts, bytes, hash, first and last number, for whom and when: enough to tell a damaged file."""
    publish(files, "e-1", "e-2")
    batch = files.write().batch
    told, body = files.manifest(batch), (files.out / f"{batch}.ndjson").read_bytes()
    assert told["files"] == [
        {
            "name": f"{batch}.ndjson", "media_type": "application/x-ndjson", "count": 2, "bytes": len(body),
            "sha256": sha256(body).hexdigest(), "first_number": 1, "last_number": 2,
        }
    ]  # fmt: skip
    rest = {name: told[name] for name in told if name not in ("files", "created")}
    assert rest == {
        "format": 1, "batch": batch, "recipient": "lindum", "count": 2, "first_number": 1, "last_number": 2
    }  # fmt: skip
    assert told["created"] == "2026-11-02T09:00:00Z"


def test_nobody_else_on_the_machine_can_read_a_batch(files: Files) -> None:
    """Files are for the hub and the folder's group; folders are made so that what is put there has that group."""
    publish(files, "e-1")
    batch = files.write().batch
    assert {(files.out / name).stat().st_mode & 0o7 for name in left_over(files.out)} == {0}
    assert (files.out / f"{batch}.ndjson").stat().st_mode & 0o777 == 0o640
    assert files.out.stat().st_mode & 0o7777 == 0o2750
    assert files.ack.stat().st_mode & 0o7777 == 0o2770


def test_nothing_is_written_where_nothing_is_due(files: Files) -> None:
    """No empty batches."""
    assert files.write().batch == ""
    assert left_over(files.out) == []


def test_a_batch_takes_no_more_than_its_limit_and_says_that_there_is_more(files: Files) -> None:
    """The rest comes in the next one, in order, without a number twice."""
    publish(files, "e-1", "e-2", "e-3")
    files.limits = files.limits._replace(batch_max=2)
    assert files.write().full
    assert not files.write().full
    numbers = [[line["number"] for line in files.lines(batch)] for batch in files.batches()]
    assert sorted(numbers) == [[1, 2], [3]]


def test_what_is_in_a_batch_comes_again_only_after_the_files_own_time(files: Files) -> None:
    """Not after a pull's minute: an agency may read its files once a day."""
    publish(files, "e-1")
    first = files.write().batch
    files.hub.pass_by(DAY_S - 10)
    assert files.write().batch == ""
    files.hub.pass_by(20)
    files.keep_house()
    assert files.batches() == []
    again = files.write().batch
    assert again != first
    assert [line["number"] for line in files.lines(again)] == [1]


def test_what_comes_again_in_a_file_is_decided_again(files: Files) -> None:
    """Withdrawn meanwhile, it does not: a stop comes under its number."""
    publish(files, "e-1")
    (line,) = files.lines(files.write().batch)
    person = files.hub.person("A")
    files.hub.withdraw(person, consent_of(files.hub, person))
    files.hub.pass_by(DAY_S + 1)
    files.keep_house()
    kinds = [(one["kind"], one["number"]) for _ in range(3) for one in files.lines_of(files.write().batch)]
    assert ("stop", line["number"]) in kinds
    assert "data" not in {kind for kind, _ in kinds}


def test_a_batch_that_a_withdrawal_touches_is_taken_back_while_it_is_not_acknowledged(files: Files) -> None:
    """Its files go when the stop goes out; what else was in it is decided again and comes in a later one."""
    files.hub.grant(files.hub.link("B"))
    publish(files, "e-1")
    publish(files, "e-2", local_id="B")
    first = files.write().batch
    person = files.hub.person("A")
    files.hub.withdraw(person, consent_of(files.hub, person))
    stop = files.write().batch
    assert files.batches() == [stop]
    assert [name for name in left_over(files.out) if name.startswith(first)] == []
    later = files.lines(files.write().batch)
    assert [(one["kind"], one["number"]) for one in later if one["kind"] == "data"] == [("data", 2)]


def test_a_late_acknowledgement_of_a_batch_that_was_taken_back_counts(files: Files) -> None:
    """The agency had read it before: what it has is settled; the stop that took a number over is still to be read."""
    files.hub.grant(files.hub.link("B"))
    publish(files, "e-1")
    publish(files, "e-2", local_id="B")
    first = files.write().batch
    person = files.hub.person("A")
    files.hub.withdraw(person, consent_of(files.hub, person))
    while files.write().batch:
        pass
    (files.ack / f"{first}.ack").write_text("all\n")
    assert files.acknowledged() == 1
    unacked = files.hub.rows("SELECT number, ended FROM handout WHERE acked_us IS NULL ORDER BY number")
    assert (1, 1) in unacked
    assert 2 not in [number for number, _ in unacked]


def test_a_withdrawal_between_the_hand_out_and_the_files_keeps_the_batch_back(files: Files) -> None:
    """Nothing of it becomes visible; the others in it come at once, the withdrawn one never."""
    files.hub.grant(files.hub.link("B"))
    publish(files, "e-1")
    publish(files, "e-2", local_id="B")
    person = files.hub.person("A")

    def withdraw() -> None:
        files.hub.withdraw(person, consent_of(files.hub, person))

    arm("files.written", withdraw)
    try:
        sent = files.write()
    finally:
        disarm()
    assert (sent.batch, sent.full) == ("", True)
    assert left_over(files.out) == []
    read = files.lines(files.write().batch)
    assert {one["number"] for one in read if one["kind"] == "data"} == {2}


def test_files_of_somebody_erased_are_removed_at_once_acknowledged_or_not(files: Files) -> None:
    """Their erasure marks them in its own transaction; the next round removes them and keeps the others'."""
    files.hub.grant(files.hub.link("B"))
    publish(files, "e-1")
    mine = files.write().batch
    publish(files, "e-2", local_id="B")
    theirs = files.write().batch
    (files.ack / f"{mine}.ack").write_text("all\n")
    files.acknowledged()
    person = files.hub.person("A")
    files.hub.erase(person)
    files.keep_house()
    assert files.batches() == [theirs]


def test_somebody_erased_between_the_hand_out_and_the_files_is_in_none(files: Files) -> None:
    """The batch is kept back; the others in it come at once."""
    files.hub.grant(files.hub.link("B"))
    publish(files, "e-1")
    publish(files, "e-2", local_id="B")
    person = files.hub.person("A")

    def erase() -> None:
        files.hub.erase(person)

    arm("files.written", erase)
    try:
        assert files.write().batch == ""
    finally:
        disarm()
    assert left_over(files.out) == []
    lines = files.lines(files.write().batch)
    assert [one["number"] for one in lines if one["kind"] == "data"] == [2]


def test_a_batch_that_took_too_long_to_write_is_decided_again(files: Files) -> None:
    """A disk that stalls for minutes lets nothing out that was decided before."""
    publish(files, "e-1")
    arm("files.written", lambda: files.hub.pass_by(31))
    try:
        assert files.write() == ("", {}, True)
    finally:
        disarm()
    assert left_over(files.out) == []
    assert [one["number"] for one in files.lines(files.write().batch)] == [1]


def test_a_batch_that_is_noted_and_not_shown_soon_is_taken_back_and_decided_again(files: Files) -> None:
    """Somebody in it may be erased in between, by another process: an erasure waits as long and no longer."""
    publish(files, "e-1")
    arm("files.noted", lambda: files.hub.pass_by(3))
    try:
        assert files.write() == ("", {}, True)
    finally:
        disarm()
    assert left_over(files.out) == []
    assert [one["number"] for one in files.lines(files.write().batch)] == [1]


def test_an_acknowledged_batch_stays_for_its_time_and_is_then_removed(files: Files) -> None:
    """The default is seven days; the row about it goes after the same again."""
    publish(files, "e-1")
    batch = files.write().batch
    (files.ack / f"{batch}.ack").write_text("all\n")
    assert files.acknowledged() == 1
    files.hub.pass_by(6.9 * DAY_S)
    files.keep_house()
    assert files.batches() == [batch]
    files.hub.pass_by(0.2 * DAY_S)
    files.keep_house()
    assert left_over(files.out) == []
    files.hub.pass_by(7.1 * DAY_S)
    files.keep_house()
    assert files.hub.rows("SELECT * FROM file_batch") == []


def test_what_was_acknowledged_over_http_counts_for_the_file_as_well(files: Files) -> None:
    """A batch of which everything is acknowledged, however, is not written again."""
    publish(files, "e-1")
    files.write()
    ((number, public),) = files.hub.rows(
        "SELECT h.number, d.public FROM handout h JOIN delivery d ON d.id = h.delivery"
    )
    from hub.exchange.acknowledge import Acknowledgement, acknowledge

    acknowledge(files.hub.world, files.agency, [Acknowledgement(number, public.hex())])
    files.keep_house()
    assert files.hub.rows("SELECT acked_us IS NOT NULL FROM file_batch") == [(1,)]


@contextmanager
def small_files(most_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond: the system's own way of saying that there is no room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_does_not_fit_on_the_disk_leaves_nothing_behind(files: Files) -> None:
    """The refusal says what to do and names no file; neither the file nor its beginning is there."""
    with opened_place(files.base, files.agency) as place:
        with small_files(1_000), pytest.raises(HubError) as refused:
            put(place.out, "x.ndjson", [b"0" * 600, b"1" * 600])
        assert refused.value.code == "file-drop-unusable"
        assert "x.ndjson" not in refused.value.what
    assert left_over(files.out) == []


def test_a_batch_that_cannot_be_written_comes_again_as_after_any_hand_out(files: Files) -> None:
    """Under the same number, as soon as the folder can be used."""
    publish(files, "e-1")
    with opened_place(files.base, files.agency):
        pass

    def spoil() -> None:  # another folder stands where the manifest was to be renamed to
        (batch,) = [path.name.removesuffix(".ndjson") for path in files.out.glob("*.ndjson")]
        (files.out / f"{batch}.manifest.json").mkdir()

    arm("files.written", spoil)
    try:
        with pytest.raises(HubError, match="folder"):
            files.write()
    finally:
        disarm()
    assert left_over(files.out) == []
    assert files.write().batch == ""
    files.hub.pass_by(61)
    assert [one["number"] for one in files.lines(files.write().batch)] == [1]


def test_a_folder_that_became_a_link_is_refused(files: Files, tmp_path: Path) -> None:
    """The agency may write below its directory: a link there must not lead the hub elsewhere."""
    with opened_place(files.base, files.agency):
        pass
    done = files.base / files.agency / "in" / "done"
    done.rmdir()
    done.symlink_to(tmp_path)
    with pytest.raises(HubError) as refused:
        files.write()
    assert refused.value.code == "file-drop-unusable"


def test_a_batch_that_was_noted_and_never_shown_comes_again_at_once_after_a_restart(files: Files) -> None:
    """Not after the day that its redelivery was put off by: nobody has seen it."""
    publish(files, "e-1")
    batch = files.write().batch
    (files.out / f"{batch}.done").unlink()
    assert files.recover() == 1
    assert left_over(files.out) == []
    assert [one["number"] for one in files.lines(files.write().batch)] == [1]


def test_a_batch_that_the_store_does_not_know_is_cleared_away_at_a_restart(files: Files) -> None:
    """The store was restored from a backup, say: what it held comes again, and nobody could acknowledge it."""
    publish(files, "e-1")
    files.write()
    files.hub.store.write(lambda tx: tx.run("DELETE FROM file_batch"))
    assert files.recover() == 1
    assert left_over(files.out) == []


def test_strangers_files_beside_the_hubs_own_are_left_alone(files: Files) -> None:
    """A restart clears what the hub had begun, and nothing else."""
    with opened_place(files.base, files.agency):
        pass
    for name in ("notes.txt", ".notes.part", "x.ndjson"):
        (files.out / name).write_text("theirs")
    assert files.recover() == 0
    assert left_over(files.out) == [".notes.part", "notes.txt", "x.ndjson"]


def test_turning_file_drop_on_and_off_leaves_audit_rows(files: Files) -> None:
    """Said in the clear: it is about an agency."""
    turn_off(files.hub.store, files.drop.agency, clock=files.hub.clock, salt=lambda nonce: nonce[:16])
    rows = files.hub.rows("SELECT detail FROM audit WHERE kind = ? ORDER BY id", (LeafKind.WAY_OUT.value,))
    acts = [json.loads(detail)["act"] for (detail,) in rows if b"file-drop" in detail]
    assert acts == ["file-drop-on", "file-drop-off"]
    assert files.hub.rows("SELECT format FROM file_drop") == [("",)]


def test_batches_sort_by_name_in_the_order_of_their_hand_outs_whatever_the_clock_does(files: Files) -> None:
    """Set back between two of them, and file drop turned off and on again: a later batch has a later name."""
    names = []
    for at in range(3):
        publish(files, f"e-{at}")
        names.append(files.write().batch)
        files.hub.pass_by(-3_600)
        turn_off(files.hub.store, files.drop.agency, clock=files.hub.clock, salt=lambda nonce: nonce[:16])
        files = Files(files.hub, files.base)
    assert names == sorted(names)
    assert files.batches() == names


def test_a_suspended_agreement_puts_nothing_into_a_file(files: Files) -> None:
    """A file goes through the same hand-out as everything else: what is refused there is cancelled."""
    publish(files, "e-1")
    files.hub.suspend(CONSENT)
    assert files.write().batch == ""
    assert left_over(files.out) == []

"""The marks beside the key: nothing is altered unnoticed, they name nobody, and several processes share them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.identity.marks import BLOCK, Marks, acts_path, marks_path
from hub.operations.counted import doubt
from hub.store.outside import Act

KEY = b"k" * 32
ACT = Act("withdrawn", "4611686018427387000", 1_790_000_000_000_000, 7, 3)


def opened(folder: Path, key: bytes = KEY) -> Marks:
    return Marks(folder / "root.key", key)


def test_acts_are_kept_in_order_and_the_person_is_a_keyed_hash(tmp_path: Path) -> None:
    """Who reads the file learns that somebody withdrew from whom, and not who."""
    marks = opened(tmp_path)
    marks.note(ACT)
    marks.note(ACT._replace(kind="agency", name="12"))
    first, second = opened(tmp_path).acts()
    assert first == ACT._replace(name=marks.hidden(ACT.name))
    assert second.name == "12"
    assert ACT.name.encode() not in acts_path(tmp_path / "root.key").read_bytes()
    (tmp_path / "other").mkdir()
    assert opened(tmp_path / "other", b"o" * 32).hidden(ACT.name) != first.name
    assert acts_path(tmp_path / "root.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b'"recipient":7', b'"recipient":8', 1),
        lambda text: b"".join(text.splitlines(keepends=True)[1:]),
        lambda text: b"".join(reversed(text.splitlines(keepends=True))),
        lambda text: b"no line\n" + text,
        lambda text: text.splitlines(keepends=True)[0],
    ],
    ids=["changed", "first line taken out", "swapped", "a stranger's line", "its end cut off"],
)
def test_altered_acts_are_refused_with_a_remedy(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """Each line's MAC covers the one before, and the marks count them."""
    marks = opened(tmp_path)
    marks.note(ACT)
    marks.note(ACT._replace(at_us=ACT.at_us + 1))
    marks.agree(1, "")
    path = acts_path(tmp_path / "root.key")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(HubError) as refused:
        opened(tmp_path)
    assert (refused.value.code, "backup" in refused.value.remedy) == ("marks-broken", True)


def test_altered_marks_another_hubs_and_open_ones_are_refused(tmp_path: Path) -> None:
    """A count that was set back would let an older copy pass."""
    opened(tmp_path).agree(7, "")
    path = marks_path(tmp_path / "root.key")
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"beats":7', b'"beats":6'))
    with pytest.raises(HubError, match="was altered"):
        opened(tmp_path)
    path.write_bytes(content)
    with pytest.raises(HubError, match="another hub's"):
        opened(tmp_path, b"o" * 32)
    path.chmod(0o640)
    with pytest.raises(HubError, match="open to others"):
        opened(tmp_path)


@pytest.mark.parametrize("left", [0, 1])
def test_acts_that_are_gone_under_a_running_hub_are_missed(tmp_path: Path, left: int) -> None:
    """Nothing is written behind what is not there: as if all was well, or in a way that no start could read."""
    marks = opened(tmp_path)
    marks.note(ACT)
    marks.note(ACT._replace(at_us=ACT.at_us + 1))
    path = acts_path(tmp_path / "root.key")
    there = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(there[:left]))
    with pytest.raises(HubError, match="lacks lines"):
        marks.note(ACT)
    with pytest.raises(HubError, match="lacks lines"):
        marks.agree(2, "")
    assert path.read_bytes() == b"".join(there[:left])


def test_marks_that_are_gone_under_a_running_hub_are_not_made_anew(tmp_path: Path) -> None:
    """They would say nothing of the other numbers; only who puts the store into quarantine makes new ones."""
    marks = opened(tmp_path)
    marks.reserve("numbers 7", 3)
    marks.path.unlink()
    with pytest.raises(HubError, match="is gone"):
        marks.reserve("numbers 8", 1)
    with pytest.raises(HubError, match="is gone"):
        marks.agree(5, "")
    assert marks.known() is None
    marks.agree(5, None)
    assert marks.known() is not None


def test_a_line_that_a_crash_cut_short_is_dropped(tmp_path: Path) -> None:
    """Its act did not commit; the next line stands on its own."""
    opened(tmp_path).note(ACT)
    path = acts_path(tmp_path / "root.key")
    path.write_bytes(path.read_bytes() + b'{"at_us":17')
    opened(tmp_path).note(ACT)
    assert len(list(opened(tmp_path).acts())) == 2


def test_numbers_are_reserved_in_blocks_before_they_leave(tmp_path: Path) -> None:
    """Each number that was reserved is covered by what is on the disk; a block is written once."""
    marks = opened(tmp_path)
    marks.reserve("numbers 7", 3)
    known = marks.known()
    assert known is not None
    assert known.given == {"numbers 7": 3 + BLOCK}
    before = marks.path.stat().st_mtime_ns
    marks.reserve("numbers 7", 3 + BLOCK)
    assert marks.path.stat().st_mtime_ns == before
    marks.reserve("numbers 7", 4 + BLOCK)
    again = marks.known()
    assert again is not None
    assert again.given["numbers 7"] == 4 + 2 * BLOCK


APPENDS = """
import sys
from pathlib import Path
from hub.identity.marks import Marks
from hub.store.outside import Act
marks = Marks(Path(sys.argv[1]), b"k" * 32)
for at in range(50):
    marks.note(Act("withdrawn", sys.argv[2], at))
    marks.reserve("numbers " + sys.argv[2], at * 10_000)
"""


def test_several_processes_append_to_one_chain(tmp_path: Path) -> None:
    """No line is lost, none stands in another's, and no process's blocks are forgotten by the other."""
    ours = opened(tmp_path)
    command = [sys.executable, "-c", APPENDS, str(tmp_path / "root.key")]
    running = [subprocess.Popen([*command, name]) for name in ("1", "2")]
    for at in range(50):
        ours.note(ACT._replace(at_us=at))
    assert [process.wait(60) for process in running] == [0, 0]
    ours.agree(1, "")
    assert len(list(opened(tmp_path).acts())) == 150
    known = ours.known()
    assert known is not None
    assert known.acts == 150
    assert known.given.keys() == {"numbers 1", "numbers 2"}


def test_where_it_cannot_be_written_the_act_is_refused(tmp_path: Path) -> None:
    """And nothing of it is there afterwards."""
    marks = opened(tmp_path)
    marks.path.with_name(marks.path.name + ".new").mkdir()
    with pytest.raises(HubError) as refused:
        marks.reserve("audit", 1)
    assert refused.value.code == "marks-down"
    assert marks.known() is None


def test_a_rotated_root_finds_both_beside_the_new_key(tmp_path: Path) -> None:
    """Also what was noted between the rotation and the restart, up to the last beat."""
    marks = opened(tmp_path)
    marks.note(ACT)
    marks.agree(3, "")
    marks.carry(tmp_path / "next.key")
    marks.note(ACT)
    marks.agree(4, "")
    following = Marks(tmp_path / "next.key", KEY)
    known = following.known()
    assert known is not None
    assert (known.beats, len(list(following.acts()))) == (4, 2)


def test_a_link_in_the_keys_folder_leads_to_where_all_processes_see_them(tmp_path: Path) -> None:
    """They are replaced where they lie, not in the folder with the link."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "root.key.marks").symlink_to(tmp_path / "shared" / "root.key.marks")
    (tmp_path / "root.key.acts").symlink_to(tmp_path / "shared" / "root.key.acts")
    opened(tmp_path).agree(2, "")
    assert (tmp_path / "root.key.marks").is_symlink()
    assert (tmp_path / "shared" / "root.key.marks").is_file()


def test_another_process_that_saw_to_the_failover_is_believed(tmp_path: Path) -> None:
    """An origin is trusted where the marks have it."""
    ours, theirs = opened(tmp_path), opened(tmp_path)
    ours.agree(1, "7/00000001")
    assert theirs.trusts("7/00000001")
    assert not theirs.trusts("7/00000002")
    ours.agree(2, "7/00000002")
    assert theirs.trusts("7/00000002")


def test_who_still_reaches_the_former_primary_lets_nothing_go_there(tmp_path: Path) -> None:
    """Another process has followed the failover: a withdrawal of since then is not there. Nor is it a new primary."""
    ours, theirs = opened(tmp_path), opened(tmp_path)
    ours.agree(1, "7/00000001")
    assert theirs.trusts("7/00000001")
    ours.agree(2, "7/00000002")
    assert not theirs.trusts("7/00000001")
    known = theirs.known()
    assert [doubt(known, 2, f"7/0000000{line}") for line in (1, 2, 3)] == ["older", "", "moved"]
    assert doubt(known, 2, "8/00000003") == "elsewhere"

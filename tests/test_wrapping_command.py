"""`hub keys rotate wrapping`: beside a running hub or without one, and never under a root that is not the store's."""

from pathlib import Path

import pytest

from hub.core.errors import HubError
from hub.identity.keys import make_key_file
from hub.operations.steered import rotate_wrapping_of
from tests.test_serve import command, environment, serving
from tests.world import link_family, town


def test_a_command_rotates_beside_a_hub_and_status_says_how_far_it_is(tmp_path: Path) -> None:
    """The hub's own worker does the rest; a second command is refused in words; without a hub it waits for a start."""
    environ = environment(tmp_path, "development")
    with serving(environ, tmp_path):
        done = command(environ, tmp_path, "keys", "rotate", "wrapping")
        assert done.returncode == 0, done.stderr
        assert "Everything is sealed under the wrapping key" in done.stdout
        again = command(environ, tmp_path, "keys", "rotate", "wrapping")
        assert (again.returncode, "under way" in again.stderr) == (1, True)
        assert "Wrapping key: rotated since" in command(environ, tmp_path, "status").stdout
        assert "Being rotated" in command(environ, tmp_path, "keys", "list").stdout
    other = tmp_path / "other"
    other.mkdir()
    environ = environment(other, "development")
    with serving(environ, other):
        pass
    done = command(environ, other, "keys", "rotate", "wrapping")
    assert done.returncode == 0, done.stderr
    with serving(environ, other):
        assert "Wrapping key: rotated since" in command(environ, other, "status").stdout


def test_a_key_file_that_was_changed_under_a_running_hub_is_refused(tmp_path: Path) -> None:
    """The new key would be wrapped under a root that this store does not open with."""
    with town(tmp_path / "data", key_file=_made(tmp_path / "first.key")) as place:
        link_family(place)
        (tmp_path / "first.key").unlink()
        make_key_file(tmp_path / "first.key")
        with pytest.raises(HubError, match="another key than the one") as refused:
            rotate_wrapping_of(place.hub)
        assert refused.value.code == "wrapping-root-other"
        assert place.hub.keys.wrapping.former is None


def _made(path: Path) -> Path:
    make_key_file(path)
    return path

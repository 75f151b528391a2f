"""`hub keys drill`: every rotation is rehearsed on a copy; the real store and key stay as they are; it can fail."""

import resource
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from hub.clock import system_clock
from hub.core.errors import HubError
from hub.operations import drill
from hub.operations.drill import rehearse
from hub.settings import Settings
from tests.test_serve import HUB, command, environment, serving
from tests.world import link_family, town


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A hub's folder with a family in it."""
    with town(tmp_path) as place:
        link_family(place)
        return place.hub.settings


def levels(settings: Settings, folder: Path | None = None) -> dict[str, str]:
    return {one.check: one.level for one in rehearse(settings, folder, clock=system_clock)}


def test_every_rotation_is_rehearsed_and_nothing_real_is_touched(settings: Settings) -> None:
    """Store and key file are byte for byte what they were, and the copy is gone."""

    def content() -> list[str]:
        files = (settings.store_path, settings.key_path)
        return [sha256(path.read_bytes()).hexdigest() for path in files]

    before = content()
    assert levels(settings) == dict.fromkeys(("copy", "token", "receipt", "root, cut off", "wrapping", "root"), "PASS")
    assert content() == before
    assert list(settings.data_dir.glob("drill-*")) == []


def test_it_runs_beside_a_hub(tmp_path: Path) -> None:
    """A snapshot is copied; the hub goes on."""
    environ = environment(tmp_path)
    with serving(environ, tmp_path) as hub:
        said = command(environ, tmp_path, "keys", "drill")
        assert said.returncode == 0, said.stdout + said.stderr
        assert [line[:4] for line in said.stdout.splitlines()] == ["PASS"] * 6
        assert hub.status().status_code == 200


def test_where_the_store_does_not_open_it_fails_in_words(settings: Settings) -> None:
    """The key file is another store's: no rotation would work, and each line says what to do."""
    settings.key_path.unlink()
    from hub.identity.keys import make_key_file

    make_key_file(settings.key_path)
    found = rehearse(settings, None, clock=system_clock)
    assert [one.level for one in found] == ["PASS", *["FAIL"] * 5]
    assert all("another store's key" in one.what and one.remedy for one in found[1:])


def test_without_a_store_there_is_nothing_to_rehearse(tmp_path: Path) -> None:
    """It says so, instead of making one."""
    from hub.identity.keys import make_key_file

    settings = Settings(mode="development", data_dir=tmp_path)
    make_key_file(settings.key_path)
    with pytest.raises(HubError, match="there is no store") as refused:
        rehearse(settings, None, clock=system_clock)
    assert refused.value.code == "drill-impossible"
    assert not settings.store_path.exists()


def test_on_a_full_disk_the_copy_fails_and_is_cleared_away(settings: Settings) -> None:
    """No file may grow beyond a few pages: the line says FAIL, nothing is left behind."""
    ran = subprocess.run(
        [*HUB, "keys", "drill"], env=environment(settings.data_dir), cwd=settings.data_dir, text=True,
        capture_output=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, 16_384)),
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.startswith("FAIL  copy ")
    assert "Traceback" not in ran.stderr
    assert list(settings.data_dir.glob("drill-*")) == []


def test_a_step_that_does_not_hold_is_a_failure() -> None:
    """Planted: a rehearsal in which a former key goes on for ever."""

    def broken() -> str:
        raise AssertionError("the former key verifies for ever")

    found = drill._timed("token", broken)
    assert (found.level, found.what) == ("FAIL", "AssertionError: the former key verifies for ever")
    assert found.remedy

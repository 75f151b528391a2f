"""The local store remembers and forgets for good, across restarts, for the eyes of its owner."""

import os
from pathlib import Path

import pytest

from hub.core.errors import HubError, Kind
from hub.identity.local_store import LocalStore
from tests.agency_world import NOW_US, S


def test_the_local_store_keeps_named_values_and_destroys_them_for_good(tmp_path: Path) -> None:
    """First come, first kept; what was destroyed is in neither file; the file is its owner's alone."""
    path = tmp_path / "edge.sqlite"
    store = LocalStore(path, clock=lambda: NOW_US)
    key = os.urandom(32)
    assert store.put_if_absent("day/civil-registry/1", key) == key
    assert store.put_if_absent("day/civil-registry/1", b"late") == key
    store.put("day/tax/1", b"other")
    store.put("dax", b"")
    assert store.names("day/") == ("day/civil-registry/1", "day/tax/1")
    assert store.get("nothing") is None
    assert key in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    store.destroy("day/civil-registry/1")
    assert key not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())
    store.close()
    assert LocalStore(path, clock=lambda: NOW_US).get("day/tax/1") == b"other"


def test_the_local_store_forgets_old_assertions(tmp_path: Path) -> None:
    """Used ids do not pile up: they go an hour after they could last have been sent again."""
    now_us = [NOW_US]
    store = LocalStore(tmp_path / "edge.sqlite", clock=lambda: now_us[0])
    assert store.claim_jti("lindum", "a", NOW_US + S)
    assert not store.claim_jti("lindum", "a", NOW_US + S)
    now_us[0] += 3_600 * S
    assert not store.claim_jti("lindum", "a", NOW_US + S)
    now_us[0] += 2 * S
    assert store.claim_jti("lindum", "a", NOW_US + S)


def test_a_local_store_that_is_none_is_refused_at_start(tmp_path: Path) -> None:
    """A file with other content, or no directory: STARTUP, and what to do."""
    (tmp_path / "edge.sqlite").write_text("this is not a database, and it is longer than a header" * 10)
    for path in (tmp_path / "edge.sqlite", tmp_path / "absent" / "edge.sqlite"):
        with pytest.raises(HubError) as caught:
            LocalStore(path, clock=lambda: NOW_US)
        assert (caught.value.kind, caught.value.code) == (Kind.STARTUP, "local-store-unusable")

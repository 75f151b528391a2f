"""Attacks on what has to outlast a bad hour: the ledger of erasures on a disk that is full."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub.core.errors import HubError, Kind
from hub.identity.ledger import Ledger

KEY = b"k" * 32


@contextmanager
def room_for(path: Path, more: int) -> Iterator[None]:
    """Let the system take so many bytes more of a file, as a disk does that is nearly full: a part, without a word."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + more, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_a_disk_that_takes_half_a_line_has_erased_nobody_and_spoils_no_later_line(tmp_path: Path) -> None:
    """Else a backup would bring that person back, and the hub would refuse its own ledger at the next start."""
    path = tmp_path / "hub.key.erasures"
    ledger = Ledger(path, KEY)
    ledger.append(7, 100)
    with room_for(path, 10), pytest.raises(HubError) as refused:
        ledger.append(8, 200)
    assert refused.value.kind is Kind.UNAVAILABLE
    assert Ledger(path, KEY).erased == {7: 100}
    ledger.append(8, 200)
    ledger.append(9, 300)
    assert Ledger(path, KEY).erased == ledger.erased == {7: 100, 8: 200, 9: 300}

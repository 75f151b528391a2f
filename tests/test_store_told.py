"""What PostgreSQL did not take is told without a value, and a request that it cannot hold is that request's fault."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hub.core.errors import HubError, Kind
from hub.store.engine import Tx
from hub.store.postgres import PgStore
from tests import stores


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PgStore]:
    running = PgStore(stores.dsn_of(tmp_path))
    yield running
    running.close()
    stores.drop_all()


def test_a_defect_is_said_without_the_values_that_it_met(store: PgStore) -> None:
    """PostgreSQL quotes the failing row; what it holds belongs into no log."""
    row = ("canary-name", "canary-value")
    store.write(lambda tx: tx.insert("fact(name, value)", [row]))
    cases: list[Callable[[Tx], Any]] = [
        lambda tx: tx.insert("fact(name, value)", [row]),
        lambda tx: tx.rows("SELECT CAST(value AS BIGINT) FROM fact"),
        lambda tx: tx.run("UPDATE fact SET value = NULL"),
    ]
    for case in cases:
        with pytest.raises(psycopg.Error) as caught:
            store.write(case)
        assert "canary" not in str(caught.value) + repr(caught.value.__cause__)


def test_a_text_that_postgresql_cannot_hold_is_the_requests_own_fault(store: PgStore) -> None:
    """U+0000, which SQLite takes: whether it was to be stored or only looked for. The connection serves on."""

    def look() -> None:
        with store.read() as tx:
            tx.rows("SELECT value FROM fact WHERE name = ?", ("a\x00b",))

    for act in (look, lambda: store.write(lambda tx: tx.insert("fact(name, value)", [("a\x00b", "c")]))):
        with pytest.raises(HubError) as refused:
            act()
        assert (refused.value.kind, "a\x00b" in str(vars(refused.value))) == (Kind.INVALID, False)
    with store.read() as tx:
        assert tx.rows("SELECT count(*) FROM fact WHERE value = 'c'") == [(0,)]

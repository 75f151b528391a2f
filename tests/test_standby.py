"""A real standby of PostgreSQL: what it confirmed survives a failover, what it did not is said not to be sure."""

import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

import psycopg
import pytest

from deploy.engines import launch
from deploy.engines.process import Engine, free_port, ran
from hub.core.errors import HubError
from hub.exchange.handout import hand_out
from hub.failpoints import arm, disarm
from hub.identity.keys import read_key_file
from hub.operations.newest import newest
from hub.operations.reconcile import reconcile
from hub.store.outside import Act
from hub.store.quarantine import enter
from hub.workers.marks import Counting
from tests.engines import own
from tests.protocol_world import CONSENT
from tests.restore_world import House

NAME = "second"


def until(done: Callable[[], bool], *, patience_s: float = 30.0) -> None:
    end_s = monotonic() + patience_s
    while not done():
        assert monotonic() < end_s, "it did not happen"
        sleep(0.05)


class Pair(NamedTuple):
    """A primary and its streaming standby, each on a port of its own."""

    primary: Engine
    standby: Engine
    database: str

    def synchronous(self) -> bool:
        row = asked(self.primary, "SELECT sync_state FROM pg_stat_replication")
        return row is not None and row[0] in ("sync", "quorum")

    def caught_up(self) -> bool:
        """Say whether the standby has flushed all there is."""
        row = asked(self.primary, "SELECT flush_lsn >= pg_current_wal_flush_lsn() FROM pg_stat_replication")
        return row is not None and bool(row[0])

    def demand_its_word(self) -> None:
        """Let no commit return before the standby has it."""
        asked(self.primary, f"ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 ({NAME})'")
        asked(self.primary, "SELECT pg_reload_conf()")
        until(self.synchronous)

    def fail_over(self) -> None:
        self.primary.kill()
        asked(self.standby, "SELECT pg_promote(true)")


def asked(engine: Engine, statement: str) -> tuple[Any, ...] | None:
    with psycopg.connect(engine.address, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchone() if cursor.description else None


def following(primary: Engine, directory: Path) -> Engine:
    """Copy the primary and start what follows it."""
    directory, port = directory.resolve(), free_port()
    root, binaries, data = launch._as_unprivileged(), launch._postgres_binaries(), directory.resolve() / launch.DATA
    data.mkdir(mode=0o700, parents=True)
    owner = (primary.directory / launch.DATA).stat()
    os.chown(data, owner.st_uid, owner.st_gid)
    where = f"host=127.0.0.1 port={primary.port} user=hub application_name={NAME}"
    copying = ["pg_basebackup", "-d", where, "-D", str(data), "-R", "-X", "stream", "-c", "fast"]
    ran([*root, str(binaries / copying[0]), *copying[1:]], "PostgreSQL's pg_basebackup")
    settings = [word if word != f"port={primary.port}" else f"port={port}" for word in primary.command]
    command = tuple(str(data) if word == str(primary.directory / launch.DATA) else word for word in settings)
    address = primary.address.replace(str(primary.port), str(port))
    return Engine(
        "postgresql", directory, port, address, command, launch.ANSWERS["postgresql"], stop_signal=signal.SIGINT
    ).start()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with own(lambda directory: launch.postgres(directory, fsync=False), tmp_path / "primary") as primary:
        database = f"t_{secrets.token_hex(4)}"
        asked(primary, f"CREATE DATABASE {database}")
        with own(lambda directory: following(primary, directory), tmp_path / "standby") as standby:
            yield Pair(primary, standby, database)


@pytest.fixture
def ours(pair: Pair, tmp_path: Path) -> Iterator[House]:
    """A hub that finds whichever of the two takes writes."""
    hosts = f"127.0.0.1:{pair.primary.port},127.0.0.1:{pair.standby.port}"
    dsn = f"postgresql://hub@{hosts}/{pair.database}?target_session_attrs=primary"
    there = House(tmp_path / "hub", store_dsn=dsn, store_idle_ms=30_000, clock_off_max_s=10**9)
    yield there
    there.close()


def test_a_withdrawal_that_a_standby_confirmed_survives_the_primary(pair: Pair, ours: House) -> None:
    """It is there after the failover, and the first release goes by it; until that was looked into nothing leaves."""
    pair.demand_its_word()
    withdrawn, _ = ours.consents("A", "B")
    assert ours.told("A", "B") == {ours.person("A"), ours.person("B")}
    ours.withdraw(ours.person("A"), withdrawn)
    ours.publish("A", "B")
    ours.decide()
    pair.fail_over()
    assert ours.rows("SELECT state FROM consent WHERE public = ?", (withdrawn,)) == [("withdrawn",)]
    with pytest.raises(HubError) as refused:
        hand_out(ours.hub.world, CONSENT.recipient, 500)
    assert refused.value.code == "quarantined"
    Counting(ours.hub).step(threading.Event())
    assert ours.quarantined() == ""
    assert ours.told() == {ours.person("B")}


def test_what_a_lagging_standby_lost_is_withdrawn_again_before_the_first_release(pair: Pair, ours: House) -> None:
    """Nobody demanded its word: the withdrawal is gone with the primary, and stands in the marks."""
    withdrawn, _ = ours.consents("A", "B")
    until(pair.caught_up)
    pair.standby.stop()
    ours.pass_by()
    ours.withdraw(ours.person("A"), withdrawn)
    pair.primary.kill()
    pair.standby.start_again()
    asked(pair.standby, "SELECT pg_promote(true)")
    assert ours.rows("SELECT state FROM consent WHERE public = ?", (withdrawn,)) == [("given",)]
    Counting(ours.hub).step(threading.Event())
    assert ours.rows("SELECT state FROM consent WHERE public = ?", (withdrawn,)) == [("withdrawn",)]
    assert ours.told("A", "B") == {ours.person("B")}


def test_a_failover_in_the_middle_of_reconciling_is_one_more_to_look_into(pair: Pair, ours: House) -> None:
    """The standby has the quarantine and not what was done again since: another server is not the one compared."""
    ours.consents("A", "B")
    withdrawn, hub = ours.person("A"), ours.hub
    numbers = (hub.approved().agencies[CONSENT.recipient].number, hub.approved().purposes[CONSENT.purpose].number)
    hub.marks.note(Act("withdrawn", str(withdrawn), ours.clock() + 1, *numbers))  # as a lost transaction did
    hub.store.write(lambda tx: enter(tx, "older", ours.clock()))
    until(pair.caught_up)
    pair.standby.stop()

    def fail_over() -> None:
        disarm()
        pair.primary.kill()
        pair.standby.start_again()
        asked(pair.standby, "SELECT pg_promote(true)")

    arm("withdraw.committed", fail_over)
    assert reconcile(hub)["acts"] == {"withdrawn": 1}
    with pytest.raises(HubError) as refused:
        hand_out(hub.world, CONSENT.recipient, 500)
    assert refused.value.code == "quarantined"
    Counting(hub).step(threading.Event())
    assert ours.told("A", "B") == {ours.person("B")}


def test_a_commit_that_no_standby_confirmed_is_not_called_done(pair: Pair, ours: House) -> None:
    """PostgreSQL ends a wait that is cut short with success and a warning; said again, it answers with the receipt."""
    pair.demand_its_word()
    (consent,) = ours.consents("A")
    pair.standby.stop()
    failed: list[HubError] = []

    def withdraw() -> None:
        try:
            ours.withdraw(ours.person("A"), consent)
        except HubError as error:
            failed.append(error)

    asking = threading.Thread(target=withdraw)
    asking.start()
    waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with psycopg.connect(pair.primary.address, autocommit=True) as connection:
        until(lambda: connection.execute(waiting).fetchone() is not None)
    asking.join(30)
    assert [(error.code, "did not confirm" in error.what) for error in failed] == [("store-unavailable", True)]
    pair.standby.start_again()
    until(pair.synchronous)
    ours.withdraw(ours.person("A"), consent)
    assert ours.rows("SELECT count(*) FROM receipt WHERE kind = 'withdraw'") == [(1,)]


def test_doctor_warns_in_production_where_no_standby_confirms(pair: Pair, ours: House) -> None:
    """And is content where one has to."""
    settings = ours.settings.model_copy(update={"mode": "production"})
    root = read_key_file(settings.key_path)
    assert {one.check: one.level for one in newest(settings, root)} == {"marks": "PASS", "standby": "WARN"}
    pair.demand_its_word()
    assert {one.check: one.level for one in newest(settings, root)} == {"marks": "PASS", "standby": "PASS"}

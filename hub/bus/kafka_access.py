"""How the hub reaches its Kafka, and as whom. The only place where the library's settings are put together."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from hub.core.errors import HubError, Kind
from hub.settings import Settings

Security = Literal["PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL"]
Client = TypeVar("Client")
Mechanism = Literal["SCRAM-SHA-256", "SCRAM-SHA-512"]
CONNECT_MS = 3_000  # until a client that is made gives up: a cluster that is there answers in a tenth of that
REQUEST_MS = 4_000  # for one answer: a leader that is elected anew takes a second or two
RECONNECT_MOST_MS = 1_000  # between two tries: a broker that is back is used a second later, not half a minute
METADATA_MS = 30_000  # a topic that was made meanwhile is noticed after this at the latest

logging.getLogger("kafka").setLevel(logging.INFO)  # at DEBUG the library logs its settings, the password among them


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """One account at one cluster. `prefix` stands before every topic's and the group's name."""

    bootstrap: tuple[str, ...]  # host:port each
    security: Security = "PLAINTEXT"
    mechanism: Mechanism = "SCRAM-SHA-512"
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    prefix: str = ""

    def settings(self) -> dict[str, Any]:
        """Return what every client of the library is made with."""
        said: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap),
            "client_id": "hub",
            "security_protocol": self.security,
            "bootstrap_timeout_ms": CONNECT_MS,
            "reconnect_backoff_max_ms": RECONNECT_MOST_MS,
            "metadata_max_age_ms": METADATA_MS,
        }
        if self.security.startswith("SASL_"):
            said |= {"sasl_mechanism": self.mechanism, "sasl_plain_username": self.username}
            said |= {"sasl_plain_password": self.password}
        if self.security.endswith("_SSL") and self.ca_file is not None:
            said["ssl_cafile"] = str(self.ca_file)
        return said


def connected(kind: Callable[..., Client], access: KafkaAccess, *, request_ms: int = REQUEST_MS, **more: Any) -> Client:
    """Make one of the library's clients. Raises KafkaError when nobody answers.

    One that found nobody leaves its thread and its sockets behind; they are taken back here, or a hub whose cluster is
    away would lose a few with each try.
    """
    made: list[KafkaNetClient] = []

    def noted(*args: Any, **settings: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(*args, **settings))
        return made[-1]

    try:
        return kind(**access.settings(), request_timeout_ms=request_ms, kafka_client=noted, **more)
    except BaseException:
        for one in made:
            one.close()
            one._net.stop()
        raise


def access_of(settings: Settings, *, of: Literal["gate", "publish", "admin"] = "gate") -> KafkaAccess:
    """Read the account that does this. One that is not named is the gate's. Raises HubError(STARTUP)."""
    username, file, named = settings.kafka_username, settings.kafka_password_file, "kafka_password_file"
    if of == "publish" and settings.kafka_publish_username:
        username, file = settings.kafka_publish_username, settings.kafka_publish_password_file
        named = "kafka_publish_password_file"
    if of == "admin" and settings.kafka_admin_username:
        username, file = settings.kafka_admin_username, settings.kafka_admin_password_file
        named = "kafka_admin_password_file"
    return KafkaAccess(
        settings.kafka_bootstrap,
        settings.kafka_security,
        settings.kafka_mechanism,
        username,
        _password(file, named) if settings.kafka_security != "PLAINTEXT" else "",
        settings.kafka_ca_file,
        settings.kafka_topic_prefix,
    )


def _password(file: Path | None, named: str) -> str:
    """Read a password. Raises HubError(STARTUP) where there is none, or others of this machine may read it."""
    try:
        closed = file is not None and file.stat().st_mode & 0o077 == 0
        password = file.read_text(encoding="utf-8").strip() if file is not None else ""
    except (OSError, UnicodeDecodeError):
        closed, password = False, ""
    if not closed or not password:
        raise HubError(
            Kind.STARTUP,
            "the password of an account at the brokers is not there, or others of this machine may read it",
            where=named,
            remedy=f"Write it to the file that HUB_{named.upper()} names, and run chmod 600 on that.",
            code="kafka-password",
        )
    return password


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn what the library raises into HubError(UNAVAILABLE): `what` was to be done and was not."""
    try:
        yield
    except (KafkaError, OSError) as cause:
        raise unavailable(what, type(cause).__name__) from cause


def unavailable(what: str, reason: str) -> HubError:
    """Say that the bus is down. The reason is the class of an error, never its text: that may hold addresses."""
    return HubError(
        Kind.UNAVAILABLE,
        f"{what} ({reason})",
        remedy="Try again in a moment, under the same ids. The operator finds what is wrong with `hub doctor`.",
        code="bus-unavailable",
        retry_after_s=2,
    )

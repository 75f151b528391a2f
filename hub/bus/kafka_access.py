"""How the hub reaches its Kafka, and as whom. The only place where the library's settings are put together."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kafka.errors import KafkaError

from hub.core.errors import HubError, Kind

Security = Literal["PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL"]
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
            "request_timeout_ms": REQUEST_MS,
            "reconnect_backoff_max_ms": RECONNECT_MOST_MS,
            "metadata_max_age_ms": METADATA_MS,
        }
        if self.security.startswith("SASL_"):
            said |= {"sasl_mechanism": self.mechanism, "sasl_plain_username": self.username}
            said |= {"sasl_plain_password": self.password}
        if self.security.endswith("_SSL") and self.ca_file is not None:
            said["ssl_cafile"] = str(self.ca_file)
        return said


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

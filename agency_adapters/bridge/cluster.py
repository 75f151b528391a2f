"""The agency's cluster: how it is reached, and what it refuses in plain words. Nothing told holds a secret or a value.

A client that was refused once is not used again: kafka-python 3.0 keeps an idempotent producer in the state in which
one record was refused, and says so of every later one. The next round opens another, with secrets read anew.
"""

import logging
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka import errors as refused

from agency_adapters.bridge.config import OAUTHBEARER, Access, Publish
from agency_adapters.bridge.tokens import Tokens
from agency_adapters.errors import AgencyError
from agency_adapters.profile import read_private

CONNECT_MS = 5_000  # until a client that is made gives up: a cluster that is there answers in a tenth of that
REQUEST_MS = 10_000  # for one answer: a leader that is elected anew takes a second or two
DELIVERY_MS = 20_000  # until a record counts as not stored; it is produced again, under the same CloudEvents id
REQUEST_BYTES = 1_048_576  # Kafka's own default of what a topic takes; a delivery has 64 KiB and its envelope
LISTENS_S = 2.0
LINGER_MS = 5  # the records of a page share requests
LEAST_REQUEST_MS = 2_000  # longer than a fetch waits at the broker
CLIENT = "hub-agency"
_LOGGER = logging.getLogger("kafka")
_LOGGER.addHandler(logging.NullHandler())  # what it has to say is told in our words
_LOGGER.setLevel(logging.INFO)  # at DEBUG the library logs its settings, the password among them


class ClusterRefused(AgencyError):
    """The cluster did not do what was asked, or was not reached. It may, later."""


_SAID: Mapping[type[Exception], tuple[str, str]] = {
    refused.SaslAuthenticationFailedError: (
        "it did not accept the sign-in",
        "Check the account in [security] and the file with its password or token's secret.",
    ),
    refused.UnsupportedSaslMechanismError: ("it knows no such security.mechanism", "Ask its operator which it takes."),
    refused.TopicAuthorizationFailedError: (
        "this account may not",
        "Grant it the topic: DESCRIBE and WRITE for what is fed, DESCRIBE and READ for what is published.",
    ),
    refused.GroupAuthorizationFailedError: ("this account may not use the group", "Grant it READ on publish.group."),
    refused.ClusterAuthorizationFailedError: ("this account may not", "Grant it IDEMPOTENT_WRITE on the cluster."),
    refused.MessageSizeTooLargeError: (
        "a record is larger than the topic takes",
        "Raise max.message.bytes of the topic; until then it waits, and what comes after it.",
    ),
    refused.RecordListTooLargeError: ("a record is larger than the topic takes", "Raise max.message.bytes."),
    refused.UnknownTopicOrPartitionError: ("there is no such topic", "Make it, or name another in the configuration."),
    refused.KafkaTimeoutError: ("no answer in time", "Check the cluster; it is tried again."),
    ssl.SSLCertVerificationError: (
        "its certificate is not trusted",
        "Name its CA by security.ca_file, and the servers as the certificate does.",
    ),
    ssl.SSLError: (
        "the TLS handshake failed",
        "Check security.protocol and the port; where it asks for a certificate, certificate_file and key_file.",
    ),
}
_SAYS_NOTHING = refused.RetriableError  # it broke off, or nobody answered: told so by whatever else is wrong
_ENDS = "it takes the connection and ends it"
_ENDS_REMEDY = (
    "Check security.protocol and the port, the account and its password's file, and that its CA is in security.ca_file."
)
_OTHERWISE = "Check the cluster; what was not finished comes again."


@contextmanager
def reaching(doing: str) -> Iterator[None]:
    """Turn what the library raises into ours: what was being done, and why not, by its class alone."""
    try:
        yield
    except (refused.KafkaError, OSError) as error:
        raise refusal(doing, error) from None  # its text may hold addresses, names or a record's value


def refusal(doing: str, error: BaseException) -> ClusterRefused:
    """Say in plain words why the cluster did not do it."""
    for kind, (what, remedy) in _SAID.items():
        if isinstance(error, kind):
            return ClusterRefused(f"the cluster could not {doing}: {what}", remedy=remedy)
    return ClusterRefused(f"the cluster could not {doing}: {type(error).__name__}", remedy=_OTHERWISE)


def open_producer(access: Access, topics: tuple[str, ...]) -> KafkaProducer:
    """Connect, and see that the topics are there. Idempotent, acks=all. Raises `ClusterRefused`, `AgencyError`."""
    with _opening(access):
        producer = KafkaProducer(
            **settings(access),
            acks="all",
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            max_request_size=REQUEST_BYTES,
            max_block_ms=CONNECT_MS,
            delivery_timeout_ms=DELIVERY_MS,
        )
    try:
        for topic in topics:
            _see(producer, topic)
    except AgencyError:
        producer.close(timeout=1)
        raise
    return producer


def open_consumer(access: Access, publish: Publish) -> KafkaConsumer:
    """Connect, see that the topics are there, and join the group. Raises `ClusterRefused`, `AgencyError`."""
    with _opening(access):
        consumer = KafkaConsumer(
            **settings(access),
            group_id=publish.group,
            enable_auto_commit=False,
            auto_offset_reset="none",  # a position that is gone is a loss, and not passed over in silence
            isolation_level="read_committed",
            max_poll_records=publish.batch_records,
            session_timeout_ms=publish.session_s * 1000,
            heartbeat_interval_ms=publish.session_s * 1000 // 3,
        )
    try:
        with reaching("name its topics"):
            there = consumer.topics()
        if missing := [topic for topic in publish.topics if topic not in there]:
            raise ClusterRefused(
                f"the cluster has no topic {', '.join(missing)}, or this account may not see it",
                remedy="Make it, grant DESCRIBE and READ, or name another by publish.topics.",
            )
        consumer.subscribe(list(publish.topics))
    except AgencyError:
        consumer.close(autocommit=False)
        raise
    return consumer


def settings(access: Access) -> dict[str, Any]:
    """Return what every client of the library is made with. Reads the secrets. Raises `AgencyError`."""
    said: dict[str, Any] = {
        "bootstrap_servers": list(access.servers),
        "client_id": CLIENT,
        "security_protocol": access.protocol,
        "bootstrap_timeout_ms": CONNECT_MS,
        "request_timeout_ms": REQUEST_MS,
        "reconnect_backoff_max_ms": 1_000,
        "allow_auto_create_topics": False,  # a typing error is no topic
        "metrics_enabled": False,
    }
    if access.protocol.endswith("SSL"):
        said["ssl_context"] = _tls(access)
    if access.mechanism == OAUTHBEARER and access.token is not None:
        said |= {"sasl_mechanism": OAUTHBEARER, "sasl_oauth_token_provider": Tokens(access.token)}
    elif access.mechanism and access.password_file is not None:
        password = read_private(access.password_file, remedy="Write the account's password there.")
        said |= {"sasl_mechanism": access.mechanism, "sasl_plain_username": access.username}
        said["sasl_plain_password"] = password.decode().strip()
    return said


def _tls(access: Access) -> ssl.SSLContext:
    """Trust the CA that is named, and no other; show our certificate where there is one."""
    try:
        context = ssl.create_default_context(cafile=access.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise AgencyError("security.ca_file cannot be read", remedy="Point it at a PEM file.") from error
    if access.certificate_file is not None and access.key_file is not None:
        read_private(access.key_file, remedy="Write the certificate's private key there, as PEM.")
        try:
            # without a password that cannot be asked for: nobody is at the terminal
            context.load_cert_chain(access.certificate_file, access.key_file, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            remedy = "Give both as PEM, the key without a password."
            raise AgencyError("security.certificate_file and key_file do not go together", remedy=remedy) from error
    return context


def _see(producer: KafkaProducer, topic: str) -> None:
    """See that a topic is there. One that is not looks like a cluster that does not answer, and that one just did."""
    try:
        with reaching(f"describe topic {topic}"):
            if producer.partitions_for(topic):
                return
    except ClusterRefused as error:
        if not isinstance(error.__context__, refused.KafkaTimeoutError):
            raise
    remedy = "Make it, or name another in the configuration; no topic is made by being named."
    raise ClusterRefused(f"the cluster has no topic {topic}", remedy=remedy)


class _Causes(logging.Handler):
    """Hears why the library could not connect: what it raises says only that it could not.

    The first cause that says something counts: a cluster that refused once only breaks the line afterwards.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        told = record.args if isinstance(record.args, tuple) else ()
        for one in told:
            if isinstance(one, BaseException) and not isinstance(one, _SAYS_NOTHING):
                self.first = self.first or one


def _listens(access: Access) -> bool:
    """Say whether anything takes a connection there."""
    for server in access.servers:
        host, _, port = server.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), LISTENS_S).close()
        except OSError:
            continue
        return True
    return False


@contextmanager
def _opening(access: Access) -> Iterator[None]:
    causes = _Causes()
    _LOGGER.addHandler(causes)
    doing = f"be reached at {', '.join(access.servers)}"
    try:
        yield
    except (refused.KafkaError, OSError) as error:
        if isinstance(causes.first, AgencyError):  # of the token's source
            raise causes.first from None
        if causes.first is None and _listens(access):
            raise ClusterRefused(f"the cluster could not {doing}: {_ENDS}", remedy=_ENDS_REMEDY) from None
        raise refusal(doing, causes.first or error) from None
    finally:
        _LOGGER.removeHandler(causes)

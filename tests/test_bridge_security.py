"""A bridge signs in as the agency's cluster wants it, and says in plain words where that fails. Never with a secret."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from agency_adapters.bridge.cluster import ClusterRefused, open_consumer, open_producer
from agency_adapters.bridge.config import Access, Publish, TokenSource
from agency_adapters.bridge.tokens import TokenRefused
from agency_adapters.errors import AgencyError
from tests.bridge_security import CLIENT, PASSWORD, SECRET, USER, Guarded, TokenEndpoint, guarded, token_endpoint


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One broker for all; its topic `open` is there."""
    with guarded(tmp_path_factory.mktemp("guarded")) as place:
        with place.admin() as admin:
            admin.create_topics({"open": {"num_partitions": 1}}, wait_for_metadata=True)
        yield place


@pytest.fixture
def tokens() -> Iterator[TokenEndpoint]:
    with token_endpoint() as endpoint:
        yield endpoint


def secret_file(directory: Path, secret: str, *, mode: int = 0o600) -> Path:
    path = directory / "secret"
    path.write_text(secret + "\n")
    path.chmod(mode)
    return path


def scram(broker: Guarded, directory: Path, *, password: str = PASSWORD, mechanism: str = "SCRAM-SHA-512") -> Access:
    return Access(
        (broker.address("scram"),), "SASL_SSL", mechanism, USER, secret_file(directory, password),
        broker.pems.directory / "ca.pem",
    )  # fmt: skip


def oauth(broker: Guarded, source: TokenSource) -> Access:
    ca = broker.pems.directory / "ca.pem"
    return Access((broker.address("oauth"),), "SASL_SSL", "OAUTHBEARER", ca_file=ca, token=source)


def stores(access: Access) -> bool:
    """Say whether a record reaches the topic."""
    producer = open_producer(access, ("open",))
    try:
        return int(producer.send("open", b"{}").get(timeout=20).offset) >= 0
    finally:
        producer.close(timeout=2)


def refused(access: Access) -> AgencyError:
    with pytest.raises(AgencyError) as told:
        stores(access)
    for secret in (PASSWORD, SECRET, "wrong password"):
        assert secret not in f"{told.value.what} {told.value.remedy}"
    return told.value


def may(broker: Guarded, kind: ResourceType, name: str, *operations: ACLOperation) -> None:
    with broker.admin() as admin:
        admin.create_acls(
            [ACL(f"User:{USER}", "*", one, ACLPermissionType.ALLOW, ResourcePattern(kind, name)) for one in operations]
        )


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_an_account_without_the_right_is_told_so_and_goes_on_with_it(
    broker: Guarded, tmp_path: Path, mechanism: str
) -> None:
    """SCRAM over TLS: signed in, refused at the topic and at the group; with the rights it writes and reads."""
    access, name = scram(broker, tmp_path, mechanism=mechanism), mechanism.lower()
    with broker.admin() as admin:
        admin.create_topics({name: {"num_partitions": 1}}, wait_for_metadata=True)
    with pytest.raises(ClusterRefused, match=f"describe topic {name}: this account may not") as told:
        open_producer(access, (name,))
    assert told.value.remedy.startswith("Grant it the topic")
    publish = Publish((name,), f"group-{name}", session_s=6)
    with pytest.raises(ClusterRefused, match=f"no topic {name}, or this account may not see it"):
        open_consumer(access, publish)
    may(broker, ResourceType.TOPIC, name, ACLOperation.DESCRIBE, ACLOperation.READ, ACLOperation.WRITE)
    open_producer(access, (name,)).close(timeout=2)
    open_consumer(access, publish).close(autocommit=False)


def test_a_wrong_password_is_told_as_that(broker: Guarded, tmp_path: Path) -> None:
    error = refused(scram(broker, tmp_path, password="wrong password"))
    assert "accept the sign-in" in error.what or "takes the connection and ends it" in error.what
    assert "password" in error.remedy


def test_a_password_that_others_may_read_is_refused(broker: Guarded, tmp_path: Path) -> None:
    access = scram(broker, tmp_path)
    secret_file(tmp_path, PASSWORD, mode=0o644)
    assert "others can read" in refused(access).what


def test_a_certificate_signs_in_and_without_it_nobody_does(broker: Guarded) -> None:
    """Mutual TLS: the same line without a certificate is told what is missing."""
    here, address = broker.pems.directory, (broker.address("mtls"),)
    shown = Access(
        address, "SSL", ca_file=here / "ca.pem", certificate_file=here / f"{USER}.pem", key_file=here / f"{USER}.key"
    )
    assert stores(shown)
    assert isinstance(refused(Access(address, "SSL", ca_file=here / "ca.pem")), ClusterRefused)


def test_a_cluster_whose_ca_is_not_named_is_not_trusted(broker: Guarded) -> None:
    error = refused(Access((broker.address("mtls"),), "SSL"))
    assert "certificate is not trusted" in error.what or "takes the connection and ends it" in error.what
    assert "security.ca_file" in error.remedy


def test_a_token_signs_in_by_secret_and_by_key(broker: Guarded, tokens: TokenEndpoint, tmp_path: Path) -> None:
    """OAUTHBEARER: client credentials by a secret and by an assertion; all connections of a client share a token."""
    by_secret = TokenSource(tokens.url, CLIENT, secret_file=secret_file(tmp_path, SECRET), scope="kafka")
    assert stores(oauth(broker, by_secret))
    assert [one.get("scope") for one in tokens.asked] == ["kafka"]
    assert stores(oauth(broker, TokenSource(tokens.url, CLIENT, key_file=broker.pems.directory / f"{USER}.key")))
    assert tokens.asked[-1]["client_assertion"].count(".") == 2


def test_a_token_endpoint_that_refuses_or_is_away_is_told_as_that(
    broker: Guarded, tokens: TokenEndpoint, tmp_path: Path
) -> None:
    """By status and OAuth's error code, without its words."""
    wrong = TokenSource(tokens.url, CLIENT, secret_file=secret_file(tmp_path, "wrong password"))
    error = refused(oauth(broker, wrong))
    assert isinstance(error, TokenRefused)
    assert error.what.endswith(f"refused client {CLIENT}: 401 invalid_client")
    away = TokenSource("http://127.0.0.1:1/token", CLIENT, secret_file=secret_file(tmp_path, SECRET))
    assert "no answer from the token endpoint" in refused(oauth(broker, away)).what


def test_a_cluster_that_is_away_is_told_with_its_address() -> None:
    error = refused(Access(("127.0.0.1:1",)))
    assert isinstance(error, ClusterRefused)
    assert "127.0.0.1:1" in error.what

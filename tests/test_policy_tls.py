"""An OPA server over TLS: only under a certificate of its own name, from an authority that the hub trusts."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from hub.core.errors import HubError, Kind
from hub.policy.opa import OpaServer
from hub.policy.server import ServerPolicy
from tests.decision_vectors import COMPILED
from tests.test_policy_server import (
    GIVEN,
    IN_TIME_S,
    PAPERS,
    REVISION,
    TIMEOUT_S,
    Behave,
    Fake,
    drips,
    says,
    sends,
    verdicts,
)
from tests.test_webhook_tls import issued


@contextmanager
def over_tls(pem: Path, behave: Behave) -> Iterator[Fake]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as plain, context.wrap_socket(plain, server_side=True) as listening:
        server = Fake(listening, behave)
        server.url = f"https://localhost:{listening.getsockname()[1]}"
        threading.Thread(target=server.run, daemon=True).start()
        yield server


def asked(url: str, ca_file: Path | None) -> frozenset[str]:
    policy = ServerPolicy(PAPERS, COMPILED, OpaServer(url, ca_file=ca_file, timeout_s=TIMEOUT_S))
    try:
        return policy.ask([GIVEN])[0].fields
    finally:
        policy.close()


def test_an_answer_under_a_certificate_of_the_named_authority_is_believed(tmp_path: Path) -> None:
    """The authority is the one in HUB_OPA_CA_FILE."""
    pem = issued(tmp_path / "opa.pem", "localhost")
    with over_tls(pem, sends(says(verdicts(1)))) as server:
        assert asked(server.url, pem) == {"dob"}
        assert server.requests[0].startswith(b"POST /v1/data/hub/release/answer")


@pytest.mark.parametrize("wrong", ["authority", "name", "no authority named"])
def test_any_other_certificate_is_no_answer_and_hears_no_question(tmp_path: Path, wrong: str) -> None:
    """It is said what is wrong, apart from a server that is not there."""
    pem = issued(tmp_path / "opa.pem", "opa.example" if wrong == "name" else "localhost")
    trusted = {"authority": issued(tmp_path / "other.pem", "localhost"), "name": pem}.get(wrong)
    with over_tls(pem, sends(says(verdicts(1)))) as server:
        with pytest.raises(HubError, match="certificate is not trusted") as told:
            asked(server.url, trusted)
        assert server.requests == []
    assert (told.value.kind, told.value.code) == (Kind.UNAVAILABLE, "policy-unavailable")


def test_an_answer_that_drips_is_late_over_tls_as_well(tmp_path: Path) -> None:
    """The limit is for the whole answer here too."""
    pem = issued(tmp_path / "opa.pem", "localhost")
    with over_tls(pem, drips(says(verdicts(1, REVISION)), 0.02)) as server:
        began_s = monotonic()
        with pytest.raises(HubError, match="in time"):
            asked(server.url, pem)
        assert monotonic() - began_s < IN_TIME_S

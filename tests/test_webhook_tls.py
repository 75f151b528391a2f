"""Webhooks over TLS: the name's own certificate on the address that was checked, and nothing is said to any other."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hub.clock import system_clock
from hub.core.errors import HubError
from hub.exchange.webhook_proof import register_and_prove
from tests.webhook_world import AGENCY, Post, machine


def issued(path: Path, name: str) -> Path:
    """Issue a certificate for `name` that signs itself: its file is its own authority's as well."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.fromtimestamp(system_clock() / 1e6, UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return issued(tmp_path / "receiver.pem", "localhost")


@pytest.fixture
def post(tmp_path: Path, pem: Path) -> Iterator[Post]:
    made = Post(tmp_path / "hub", settings={"webhook_ca_file": pem})
    yield made
    made.close()


def context_of(pem: Path, asked: list[str | None]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    return context


def test_a_delivery_goes_over_tls_under_the_names_certificate_on_one_connection(post: Post, pem: Path) -> None:
    """The server is asked for the name of the URL; the connection is used again for the next."""
    asked: list[str | None] = []
    with machine(tls=context_of(pem, asked)) as to:
        assert (
            register_and_prove(post.hub.webhooks, AGENCY, f"https://localhost:{to.server.server_port}/")["state"]
            == "active"
        )
        for number in ("1", "2", "3"):
            post.born(number)
            post.post()
        assert [one["number"] for one in to.deliveries] == [1, 2, 3]
        assert to.lines == 2  # the proof's, and one for all three
        assert asked == ["localhost"] * 2


def test_a_certificate_of_another_name_or_authority_proves_nothing_and_hears_nothing(
    post: Post, pem: Path, tmp_path: Path
) -> None:
    """Nothing of a message is sent before the certificate was found good."""
    strange = issued(tmp_path / "strange.pem", "localhost")
    for own, url in ((strange, "https://localhost:{}/"), (pem, "https://127.0.0.1:{}/")):
        with machine(tls=context_of(own, [])) as to:
            said = register_and_prove(post.hub.webhooks, AGENCY, url.format(to.server.server_port))
            assert (said["state"], said["reason"], to.messages) == ("unproven", "tls", [])


def test_a_server_without_tls_is_told_so(post: Post) -> None:
    """An https address whose machine speaks plain HTTP."""
    with machine() as to:
        said = register_and_prove(post.hub.webhooks, AGENCY, to.url.replace("http:", "https:"))
    assert (said["state"], said["reason"]) == ("unproven", "tls")


def test_a_file_of_authorities_that_is_none_stops_the_start(tmp_path: Path) -> None:
    """Rather than trusting fewer or others than meant."""
    (tmp_path / "none.pem").write_text("nothing")
    for name in ("none.pem", "absent.pem"):
        with pytest.raises(HubError) as caught:
            Post(tmp_path / "hub", settings={"webhook_ca_file": tmp_path / name})
        assert caught.value.code == "webhook-ca-file"
